//! What a session finds: cases, their attempts and verdicts. Plain values without I/O; `report`
//! turns them into JSON and text.

use std::net::SocketAddr;

use crate::event::{MonoNs, ProxyKind};

/// What the client got (contract, DESIGN section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The proxy answered with a watched status.
    ErrorResponse,
    /// The response began and was cut.
    Truncated,
    /// The client connection ended without a response.
    Dropped,
    /// A retry hid the failure; the status is what the client got.
    Masked,
}

impl Outcome {
    /// All of them, in the order of the contract.
    pub const ALL: [Self; 4] = [
        Self::ErrorResponse,
        Self::Truncated,
        Self::Dropped,
        Self::Masked,
    ];

    /// The name in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ErrorResponse => "error-response",
            Self::Truncated => "truncated",
            Self::Dropped => "dropped",
            Self::Masked => "masked",
        }
    }

    /// The outcome of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// Who ended the backend connection (contract).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndedBy {
    /// The backend.
    Backend,
    /// The proxy.
    Proxy,
    /// The proxy's kernel: retransmission, keep-alive or user timeout.
    Kernel,
    /// The path: ICMP.
    Network,
    /// The client, and the proxy followed.
    Client,
    /// Not known.
    Unknown,
}

impl EndedBy {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Proxy => "proxy",
            Self::Kernel => "kernel",
            Self::Network => "network",
            Self::Client => "client",
            Self::Unknown => "unknown",
        }
    }
}

/// How it ended (contract).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// FIN.
    Fin,
    /// RST on an established connection.
    Reset,
    /// RST to the SYN.
    Refused,
    /// A timer.
    Timeout,
    /// ICMP or a missing route.
    Unreachable,
    /// No connection was made at all.
    NoConnection,
    /// The exchange was complete.
    Completed,
    /// Not known.
    Unknown,
}

impl How {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::NoConnection => "no-connection",
            Self::Completed => "completed",
            Self::Unknown => "unknown",
        }
    }
}

/// How sure the tie between the failure and the response is (contract, DESIGN section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Confidence {
    /// No kernel cause, or the backend sent the status itself.
    None,
    /// Same process and a time window.
    Weak,
    /// Same thread and order of events.
    Strong,
    /// Same request id or traceparent on both sides.
    Exact,
}

impl Confidence {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Weak => "weak",
            Self::Strong => "strong",
            Self::Exact => "exact",
        }
    }
}

/// One moment in the life of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEvent {
    /// µs after the attempt's first moment ([`Attempt::start_ns`]); negative for what came before
    /// (the last use of a pooled connection).
    pub t_us: i64,
    /// Name in snake case: `syn_sent`, `connected`, `last_used`, `request_sent`, `fin_received`, …
    pub event: &'static str,
    /// Payload bytes, where the event has some.
    pub bytes: Option<u64>,
    /// A detail: errno or reset reason by name.
    pub detail: Option<String>,
}

/// One try of the proxy to get an answer from a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The backend.
    pub upstream: SocketAddr,
    /// The proxy's own end; `None` while it had no port.
    pub local: Option<SocketAddr>,
    /// The connection had carried an exchange before.
    pub reused: bool,
    /// Was open before the capture began.
    pub adopted: bool,
    /// Number of the exchange on its connection, from 1; `None` when no request was sent.
    pub exchange: Option<u32>,
    /// The request as the backend got it; `None` where none was sent, or it could not be read.
    pub request: Option<RequestSummary>,
    /// First moment: SYN of a fresh connection, first request byte of a reused one.
    pub start_ns: MonoNs,
    /// SYN to established, µs (fresh connections only).
    pub connect_us: Option<u64>,
    /// First request byte to first response byte, µs.
    pub ttfb_us: Option<u64>,
    /// First moment to the end of the connection, µs.
    pub duration_us: Option<u64>,
    /// Request bytes written.
    pub request_bytes: u64,
    /// Of those, bytes that the backend's kernel had not acknowledged at the end.
    pub request_bytes_unacked: Option<u64>,
    /// Response bytes read.
    pub response_bytes: u64,
    /// Response bytes that had arrived and were never read.
    pub response_bytes_unread: Option<u64>,
    /// Body length that the response head declared.
    pub content_length: Option<u64>,
    /// Status of the backend's response.
    pub status: Option<u16>,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// How.
    pub how: How,
    /// Idle time of the connection before this exchange, µs (reused connections).
    pub idle_before_us: Option<u64>,
    /// Smoothed round-trip time, µs.
    pub srtt_us: Option<u64>,
    /// Retransmissions during this exchange.
    pub retransmits: u32,
    /// Name of the reset reason: told by a kernel, or on older ones concluded from the socket that sent it.
    pub reset_reason: Option<String>,
    /// Errno that the socket reported.
    pub errno: Option<i32>,
    /// What happened, in order.
    pub events: Vec<TimelineEvent>,
}

/// The client's side of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downstream {
    /// The client (or the balancer in front); `None` where only a log knows of the request.
    pub client: Option<SocketAddr>,
    /// The proxy's listening end; likewise.
    pub local: Option<SocketAddr>,
    /// Method, target without query, version and the kept headers; `None` if they could not be read.
    pub request: Option<RequestSummary>,
    /// First byte of the request; `None` if the capture came too late for it.
    pub start_ns: Option<MonoNs>,
    /// Response bytes that the proxy sent; `None` where only a log knows of the request.
    pub response_bytes: Option<u64>,
    /// First request byte to first response byte, µs.
    pub ttfb_us: Option<u64>,
}

/// The part of a request head that is kept (DESIGN section 10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestSummary {
    /// Method.
    pub method: String,
    /// Path without its query string.
    pub path: String,
    /// `HTTP/1.1`.
    pub protocol: String,
    /// `host` header.
    pub host: Option<String>,
    /// `x-request-id` header.
    pub request_id: Option<String>,
    /// `traceparent` header.
    pub traceparent: Option<String>,
}

/// The process that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyRef {
    /// What it is.
    pub kind: ProxyKind,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
}

/// A statement that a verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Name of the fact, in kebab case, for scripts.
    pub fact: &'static str,
    /// The fact in words with its numbers.
    pub text: String,
    /// Index of the attempt it belongs to.
    pub attempt: Option<usize>,
}

/// What to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// Where: `nginx`, `haproxy`, `envoy`, `apache`, `backend`, `network`.
    pub target: String,
    /// The directive or action, ready to paste where there is one.
    pub change: String,
    /// Why it helps.
    pub why: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Rule id (contract).
    pub rule: &'static str,
    /// How sure.
    pub confidence: Confidence,
    /// Part of the evidence was inferred and not seen: however sure the tie is, it stays weak.
    pub inferred: bool,
    /// Rule id of a deeper cause, where one is known (contract): the end of the backend's process.
    pub because: Option<&'static str>,
    /// One sentence with addresses and numbers.
    pub summary: String,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// What to change, most useful first.
    pub remedies: Vec<Remedy>,
    /// Does the proxy's own log line say the same? `None` without a log line.
    pub agrees_with_log: Option<bool>,
}

/// By what a log line was joined to a case, the surest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JoinKey {
    /// Request or thread, and time.
    Time,
    /// The backend's address and time.
    Upstream,
    /// The client's address and port, and time.
    Client,
    /// Both ends of the backend connection.
    Connection,
    /// `x-request-id` or `traceparent`.
    RequestId,
}

impl JoinKey {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "request-and-time",
            Self::Upstream => "upstream-and-time",
            Self::Client => "client-port",
            Self::Connection => "connection",
            Self::RequestId => "request-id",
        }
    }
}

/// A log line joined to a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// `nginx-error`, `haproxy`, …
    pub source: &'static str,
    /// The line, without query strings.
    pub line: String,
    /// The file.
    pub path: String,
    /// Number of the line, from 1.
    pub number: u64,
    /// When it was written, by the clock of its writer, ns since the epoch.
    pub written_unix_ns: Option<i64>,
    /// By what it was joined.
    pub joined_by: JoinKey,
    /// What it means; `None` where it does not say that something failed.
    pub meaning: Option<&'static crate::logs::Meaning>,
}

/// From which end of the backend connection a case was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SeenFrom {
    /// On the proxy's host: what the client got is known.
    #[default]
    Proxy,
    /// On the backend's host: the client is the proxy or balancer, and what it made of the failure is
    /// in its own log. The attempt is told as that other end saw it.
    Backend,
}

impl SeenFrom {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Backend => "backend",
        }
    }
}

/// One failed response, or one failed exchange that a retry hid.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Unique within the session, stable over replay.
    pub id: String,
    /// When the client got the outcome, monotonic ns.
    pub time_ns: MonoNs,
    /// What the client got.
    pub outcome: Outcome,
    /// Status that was sent; `None` when nothing was sent.
    pub status: Option<u16>,
    /// From which end of the backend connection it was seen.
    pub seen_from: SeenFrom,
    /// Who answered.
    pub proxy: ProxyRef,
    /// The client's side.
    pub downstream: Downstream,
    /// Tries, oldest first; the last one decided the outcome.
    pub attempts: Vec<Attempt>,
    /// Why.
    pub verdict: Verdict,
    /// The proxy's or balancer's own word: the line that says most.
    pub log: Option<LogLine>,
    /// Further lines about the same request.
    pub log_more: Vec<LogLine>,
}
