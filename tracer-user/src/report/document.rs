//! The document of a whole session, field by field as `docs/json-schema.md` describes it. What is
//! unknown is absent. Fields are only ever added.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::LogSourceDoc;

use super::CaseDoc;
use crate::advise::Advice;
use crate::config::Directive;
use crate::latency::Latency;

/// Name and version of the format.
pub const SCHEMA: &str = "why502/1";

/// What is known when a session starts.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Version of the why502 that captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Kernel release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// RFC 3339, UTC, µs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Limits of this capture.
    pub notes: Vec<String>,
}

/// A whole session.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Kernel release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// RFC 3339, UTC, µs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// End of the capture, or the last moment known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Cases that look alike, largest group first.
    pub groups: Vec<GroupDoc>,
    /// Cases kept as examples, in the order in which they became known.
    pub cases: Vec<CaseDoc>,
    /// Per upstream address, sorted by it.
    pub backends: Vec<BackendDoc>,
    /// Lost records and table overflows by name.
    pub losses: BTreeMap<String, u64>,
    /// What the reader must know about this capture.
    pub notes: Vec<String>,
    /// Version of the why502 that captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What was looked at.
    pub watched: Watched,
    /// Sums.
    pub totals: Totals,
    /// What the correlation of events set aside, by name.
    pub counters: BTreeMap<String, u64>,
    /// What became of the lines of logs, by file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogSourceDoc>,
}

/// Cases with the same rule, backend, outcome and status.
#[derive(Clone, Debug, Serialize)]
pub struct GroupDoc {
    /// Rule id, or `other` for the cases that found no room in a group of their own.
    pub rule: &'static str,
    /// Backend of the attempt that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<SocketAddr>,
    /// What the client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    /// Status that the client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Cases, exact.
    pub count: u64,
    /// Time of the first.
    pub first: String,
    /// Time of the last.
    pub last: String,
    /// Ids of a few; each is in `cases`.
    pub examples: Vec<String>,
}

/// One upstream address.
#[derive(Clone, Debug, Serialize)]
pub struct BackendDoc {
    /// The address.
    pub upstream: SocketAddr,
    /// Connection attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connects: Option<u64>,
    /// Requests sent to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchanges: Option<u64>,
    /// Cases by outcome, those that occurred.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// SYN to established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<LatencyDoc>,
    /// First request byte to first response byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttfb: Option<LatencyDoc>,
    /// First request byte to last response byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<LatencyDoc>,
    /// What the measurements ask to change.
    pub advice: Vec<AdviceDoc>,
}

impl BackendDoc {
    /// A backend of which nothing is known.
    pub fn new(upstream: SocketAddr) -> Self {
        Self {
            upstream,
            connects: None,
            exchanges: None,
            outcomes: BTreeMap::new(),
            connect: None,
            ttfb: None,
            response: None,
            advice: Vec::new(),
        }
    }
}

/// A change that the measurements at a backend ask for.
#[derive(Clone, Debug, Serialize)]
pub struct AdviceDoc {
    /// Name for scripts.
    pub kind: &'static str,
    /// What was measured, what is in force, what follows.
    pub text: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// The directive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<&'static str>,
    /// Its value in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `file:line`, or `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The numbers.
    pub measured: BTreeMap<&'static str, u64>,
}

impl From<Advice> for AdviceDoc {
    fn from(advice: Advice) -> Self {
        let Advice {
            kind,
            text,
            change,
            setting,
            value,
            source,
            measured,
        } = advice;
        Self {
            kind,
            text,
            change,
            setting: setting.map(Directive::name),
            value,
            source,
            measured,
        }
    }
}

/// A distribution of durations.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyDoc {
    /// Number of durations.
    pub count: u64,
    /// No duration was shorter.
    pub min_us: u64,
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// No duration was longer.
    pub max_us: u64,
    /// HdrHistogram V2 (DEFLATE), base64.
    pub hdr_v2: String,
}

impl From<Latency> for LatencyDoc {
    fn from(latency: Latency) -> Self {
        let Latency {
            count,
            min_us,
            p50_us,
            p90_us,
            p99_us,
            p999_us,
            max_us,
            hdr_v2,
        } = latency;
        Self {
            count,
            min_us,
            p50_us,
            p90_us,
            p99_us,
            p999_us,
            max_us,
            hdr_v2,
        }
    }
}

/// What a session looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Watched {
    /// Statuses that count as error responses.
    pub statuses: Vec<u16>,
    /// Outcomes that are reported.
    pub outcomes: Vec<&'static str>,
    /// Traced processes.
    pub processes: Vec<ProcessDoc>,
}

/// A traced process.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessDoc {
    /// `nginx`, `haproxy`, …
    pub kind: String,
    /// Process id.
    pub pid: u32,
}

/// Sums over a session.
#[derive(Clone, Debug, Serialize)]
pub struct Totals {
    /// Cases found, exact.
    pub cases: u64,
    /// Of those, how many are in `cases`.
    pub cases_listed: u64,
    /// Cases by outcome, those that occurred.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Connections that the proxies tried to open to backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connects: Option<u64>,
    /// Requests that the proxies sent to backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchanges: Option<u64>,
}
