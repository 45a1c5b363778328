//! What a capture needs to know. The command line is turned into this once, in [`crate::cli`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::case::{Case, Outcome};
use crate::discover::Selection;
use crate::event::HostRole;
use crate::kernel::types::TypeSource;
use crate::logs::Format as LogFormat;
use crate::report::Format;

/// Size of the ring buffer, bytes, where nothing else is said.
pub const RING_BYTES: u32 = 8 << 20;
/// Connections that can be open at once, where nothing else is said.
pub const MAX_CONNECTIONS: u32 = 131_072;

/// Which cases make the program exit with 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FailOn {
    /// None.
    #[default]
    Never,
    /// Every one.
    AnyCase,
    /// Those whose verdict is one of these rules.
    Rules(Vec<String>),
}

impl FailOn {
    /// Does this case make the program fail?
    pub fn matches(&self, case: &Case) -> bool {
        match self {
            Self::Never => false,
            Self::AnyCase => true,
            Self::Rules(rules) => rules.iter().any(|rule| rule == case.verdict.rule),
        }
    }
}

/// A log to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOption {
    /// The file.
    pub path: PathBuf,
    /// The form of its lines; `None`: found out from them.
    pub format: Option<LogFormat>,
}

/// Where cases are sent, as somebody typed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// Base URL of an OTLP receiver.
    pub otlp: Option<String>,
    /// URL of a Zipkin server.
    pub zipkin: Option<String>,
    /// Headers for both.
    pub headers_file: Option<PathBuf>,
}

/// One capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Which processes to trace.
    pub selection: Selection,
    /// Where this host stands.
    pub role: HostRole,
    /// Look at backends of the proxies that live on this host, too.
    pub local_backends: bool,
    /// Leave out what only a backend on this host can tell.
    pub remote_view: bool,
    /// End after this time; `None`: at Ctrl-C, or when `command` or `count` ends it.
    pub duration: Option<Duration>,
    /// End after this many cases.
    pub count: Option<u64>,
    /// Statuses that count as error responses, ascending. 499 stands for a request whose client
    /// gave up before an answer, and never for a status on the wire.
    pub statuses: Vec<u16>,
    /// Outcomes to report, in the order of the contract.
    pub outcomes: Vec<Outcome>,
    /// Record every n-th healthy exchange; 0 none, 1 all.
    pub sample_every: u32,
    /// Stand by until something fails, and again after this time without a failure; `None`: look at everything
    /// all the time.
    pub standby: Option<Duration>,
    /// Bytes of each message head to keep.
    pub snaplen: u16,
    /// Logs to follow.
    pub logs: Vec<LogOption>,
    /// Recording to write.
    pub write: Option<PathBuf>,
    /// Form of the report on standard output.
    pub format: Format,
    /// Receivers of the cases.
    pub exports: Exports,
    /// Show the programs' own diagnostics on standard error.
    pub verbose: bool,
    /// What makes the exit code 1.
    pub fail_on: FailOn,
    /// Program and arguments to run; the capture ends when it does. Empty: none.
    pub command: Vec<OsString>,
    /// Size of the ring buffer, bytes; a power of two.
    pub ring_bytes: u32,
    /// Connections that can be open at once.
    pub max_connections: u32,
    /// Where the kernel's types are described.
    pub types: TypeSource,
}
