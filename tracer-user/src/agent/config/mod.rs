//! The agent's configuration: TOML, every key with a default but the addresses of receivers.
//! `scripts/agent/why502.toml` shows all of them; a test compares it with what stands here.

mod parse;
mod place;
mod section;
mod show;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use place::{Problem, Problems};

use crate::capture::options::{
    CaptureOptions, Exports, FailOn, LogOption, MAX_CONNECTIONS, RING_BYTES,
};
use crate::case::Outcome;
use crate::event::HostRole;
use crate::kernel::types::TypeSource;
use crate::report::Format;

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the lock and the control socket are.
    pub runtime_directory: PathBuf,
    /// What is traced.
    pub capture: Capture,
    /// Logs to follow.
    pub logs: Vec<LogOption>,
    /// The recent past that is kept.
    pub lookback: LookBack,
    /// Where it is written, and when.
    pub snapshot: Snapshot,
    /// Receivers of cases and counts.
    pub export: Export,
    /// Where metrics and health can be asked for; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// The agent's own log.
    pub log_output: LogOutput,
}

/// What is traced and what counts as a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Names of proxies; `auto` for all that are known.
    pub proxies: Vec<String>,
    /// Processes, with their descendants.
    pub pids: Vec<u32>,
    /// Where this host stands.
    pub role: Role,
    /// Statuses that count as failures.
    pub statuses: Vec<u16>,
    /// Outcomes to report.
    pub outcomes: Vec<Outcome>,
    /// Bytes of each head to keep.
    pub snaplen: u16,
    /// Every n-th healthy exchange is recorded; 0: none.
    pub sample_every: u32,
    /// Tracing stands by until something fails, and again after so many seconds without a failure; 0: never.
    pub standby_seconds: u64,
    /// Size of the ring buffer between kernel and agent, bytes.
    pub ring_bytes: u32,
    /// Connections that can be open at once.
    pub max_connections: u32,
    /// Where the kernel's types are described.
    pub types: TypeSource,
}

/// Where a host stands, and whether backends on it are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// As proxy; both halves of a connection to a backend on this host.
    Auto,
    /// As proxy only.
    Proxy,
    /// As backend.
    Backend,
}

/// How much of the recent past is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookBack {
    /// Minutes.
    pub minutes: u64,
    /// At most this many bytes of memory.
    pub bytes: u64,
}

/// Snapshots of the recent past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Where they are written.
    pub directory: PathBuf,
    /// Most of them; older ones are deleted.
    pub max_files: u64,
    /// Most bytes of all; older ones are deleted.
    pub max_bytes: u64,
    /// That many failures …
    pub burst_failures: u64,
    /// … within this time make a snapshot. 0 failures: never.
    pub burst_seconds: u64,
    /// Not again for this time.
    pub burst_pause_seconds: u64,
}

/// Receivers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// OTLP over HTTP, JSON.
    pub otlp: Option<Receiver>,
    /// Zipkin v2.
    pub zipkin: Option<Receiver>,
    /// A file.
    pub ndjson: Option<NdjsonFile>,
}

/// A receiver over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its URL.
    pub endpoint: String,
    /// File with headers, which are secret.
    pub headers_file: Option<PathBuf>,
    /// Compress bodies?
    pub compression: Compression,
    /// Patience with one request.
    pub timeout_seconds: u64,
    /// Where documents wait while it is down.
    pub spool_directory: PathBuf,
    /// Most bytes that wait.
    pub spool_bytes: u64,
}

/// Compression of request bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// gzip.
    Gzip,
}

/// A file of NDJSON, rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NdjsonFile {
    /// The file.
    pub path: PathBuf,
    /// A new one begins at this size, bytes.
    pub max_bytes: u64,
    /// So many former ones are kept.
    pub max_files: u64,
}

/// The agent's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOutput {
    /// Its form.
    pub format: LogForm,
    /// What is told.
    pub level: LogLevel,
}

/// What the agent's own log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What ends it.
    Error,
    /// And what goes wrong.
    Warn,
    /// And what it does.
    Info,
    /// And how.
    Debug,
}

impl LogLevel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Form of the agent's own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogForm {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runtime_directory: "/run/why502".into(),
            capture: Capture::default(),
            logs: Vec::new(),
            lookback: LookBack {
                minutes: 10,
                bytes: 16 << 20,
            },
            snapshot: Snapshot {
                directory: "/var/lib/why502/snapshots".into(),
                max_files: 20,
                max_bytes: 1 << 30,
                burst_failures: 50,
                burst_seconds: 10,
                burst_pause_seconds: 600,
            },
            export: Export::default(),
            metrics_listen: Some((Ipv4Addr::LOCALHOST, 9502).into()),
            log_output: LogOutput {
                format: LogForm::Text,
                level: LogLevel::Info,
            },
        }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            proxies: vec!["auto".into()],
            pids: Vec::new(),
            role: Role::Auto,
            statuses: vec![502, 503, 504],
            outcomes: Outcome::ALL.to_vec(),
            snaplen: 512,
            sample_every: 0,
            standby_seconds: 0,
            ring_bytes: RING_BYTES,
            max_connections: MAX_CONNECTIONS,
            types: TypeSource::Kernel,
        }
    }
}

impl Receiver {
    /// With the defaults of everything else.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            headers_file: None,
            compression: Compression::None,
            timeout_seconds: 10,
            spool_directory: "/var/lib/why502/spool".into(),
            spool_bytes: 64 << 20,
        }
    }
}

impl NdjsonFile {
    /// With the defaults of everything else.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_bytes: 64 << 20,
            max_files: 5,
        }
    }
}

impl Config {
    /// Reads a configuration; a wrong one gives everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        parse::parse(text)
    }

    /// As TOML, with every value that would be used. Files that hold secrets are named, not read.
    pub fn show(&self) -> String {
        show::show(self)
    }

    /// Path of the control socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime_directory.join("agent.sock")
    }

    /// The same as options of a capture.
    pub fn capture_options(&self) -> CaptureOptions {
        let capture = &self.capture;
        CaptureOptions {
            selection: crate::cli::convert::selection(
                &capture.proxies,
                capture.pids.clone(),
                capture.role == Role::Backend,
            ),
            role: match capture.role {
                Role::Auto | Role::Proxy => HostRole::Proxy,
                Role::Backend => HostRole::Backend,
            },
            local_backends: capture.role == Role::Auto,
            remote_view: false,
            duration: None,
            count: None,
            statuses: capture.statuses.clone(),
            outcomes: capture.outcomes.clone(),
            sample_every: capture.sample_every,
            standby: match capture.standby_seconds {
                0 => None,
                seconds => Some(Duration::from_secs(seconds)),
            },
            snaplen: capture.snaplen,
            logs: self.logs.clone(),
            write: None,
            format: Format::Text,
            verbose: false,
            fail_on: FailOn::Never,
            // What is exported goes through the agent's own exporters.
            exports: Exports::default(),
            command: Vec::new(),
            ring_bytes: capture.ring_bytes,
            max_connections: capture.max_connections,
            types: capture.types.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
