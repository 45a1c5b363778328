//! Where a proxy logs to, and whether its lines name the connection of a request.

use super::setting::Source;

/// Most logs that are kept of one configuration.
pub(super) const LOGS_MAX: usize = 32;

/// The logs of one proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// Its main configuration file.
    pub file: String,
    /// What it writes, access logs before error logs.
    pub logs: Vec<Log>,
    /// What could not be read.
    pub notes: Vec<String>,
}

/// What a log is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// Requests, or sessions of TCP.
    Access,
    /// Errors.
    Error,
}

impl LogKind {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Error => "error",
        }
    }
}

/// How a line of an access log can be tied to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// It names the connection, or an id that the request carries.
    Exact,
    /// It names the backend, whose connections are told apart by time.
    Backend,
    /// By time and request line only.
    Time,
    /// Nothing is logged.
    Nothing,
    /// The format could not be read whole.
    Unknown,
}

impl Tie {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Backend => "backend",
            Self::Time => "time",
            Self::Nothing => "nothing",
            Self::Unknown => "unknown",
        }
    }
}

/// One log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Of what.
    pub kind: LogKind,
    /// Path or address, as it is written there; `None`: nowhere, or where the program was built to.
    pub to: Option<String>,
    /// Name of its format, or level of an error log.
    pub format: String,
    /// What its lines name. Of an error log `None`.
    pub tie: Option<Tie>,
    /// Where that stands.
    pub source: Source,
}

/// Adds a log that is not yet among them, while there is room.
pub(super) fn add(logs: &mut Vec<Log>, log: Log) {
    let known = |other: &Log| {
        (other.kind, other.tie) == (log.kind, log.tie)
            && (&other.to, &other.format) == (&log.to, &log.format)
    };
    if logs.len() < LOGS_MAX && !logs.iter().any(known) {
        logs.push(log);
    }
}
