//! A case as it is serialised. Mirrors of [`crate::case`], so that what users script against does
//! not change with what the program computes with.

use std::net::SocketAddr;

use serde::Serialize;

use super::Clock;
use super::clock::unix_time;
use crate::case::{
    Attempt, Case, Downstream, Evidence, LogLine, ProxyRef, Remedy, RequestSummary, TimelineEvent,
    Verdict,
};

/// One failed response, or one failed exchange that a retry hid.
#[derive(Clone, Debug, Serialize)]
pub struct CaseDoc {
    /// Always `case`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Unique within the session, the same in every replay.
    pub id: String,
    /// RFC 3339, UTC, µs.
    pub time: String,
    /// What the client got.
    pub outcome: &'static str,
    /// Status that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `proxy` or `backend`: the end of the backend connection at which it was seen.
    pub seen_from: &'static str,
    /// The process that answered.
    pub proxy: ProxyDoc,
    /// The client's side.
    pub downstream: DownstreamDoc,
    /// Tries, oldest first.
    pub attempts: Vec<AttemptDoc>,
    /// Why.
    pub verdict: VerdictDoc,
    /// The proxy's or balancer's own word: the line that says most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogDoc>,
    /// Further lines about the same request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log_more: Vec<LogDoc>,
}

impl CaseDoc {
    /// Mirrors a case, with its time on the wall clock.
    pub fn new(case: &Case, clock: Clock) -> Self {
        let Case {
            id,
            time_ns,
            outcome,
            status,
            seen_from,
            proxy,
            downstream,
            attempts,
            verdict,
            log,
            log_more,
        } = case;
        Self {
            kind: "case",
            id: id.clone(),
            time: clock.wall(*time_ns),
            outcome: outcome.name(),
            status: *status,
            seen_from: seen_from.name(),
            proxy: proxy.into(),
            downstream: downstream.into(),
            attempts: attempts.iter().map(Into::into).collect(),
            verdict: verdict.into(),
            log: log.as_ref().map(Into::into),
            log_more: log_more.iter().map(Into::into).collect(),
        }
    }
}

/// A process and its thread.
#[derive(Clone, Debug, Serialize)]
pub struct ProxyDoc {
    /// `nginx`, `haproxy`, …
    pub kind: String,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
}

impl From<&ProxyRef> for ProxyDoc {
    fn from(proxy: &ProxyRef) -> Self {
        let ProxyRef { kind, pid, tid } = proxy;
        Self {
            kind: kind.name().to_owned(),
            pid: *pid,
            tid: *tid,
        }
    }
}

/// The client's side.
#[derive(Clone, Debug, Serialize)]
pub struct DownstreamDoc {
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
    /// The proxy's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<SocketAddr>,
    /// Method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path without query string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `HTTP/1.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// `x-request-id` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// `traceparent` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// `host` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Response bytes that the proxy sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
    /// First request byte to first response byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttfb_us: Option<u64>,
}

impl From<&Downstream> for DownstreamDoc {
    fn from(downstream: &Downstream) -> Self {
        let Downstream {
            client,
            local,
            request,
            start_ns: _,
            response_bytes,
            ttfb_us,
        } = downstream;
        let RequestSummary {
            method,
            path,
            protocol,
            host,
            request_id,
            traceparent,
        } = request.clone().unwrap_or_default();
        let known = |text: String| (!text.is_empty()).then_some(text);
        Self {
            client: *client,
            local: *local,
            method: known(method),
            path: known(path),
            protocol: known(protocol),
            request_id,
            traceparent,
            host,
            response_bytes: *response_bytes,
            ttfb_us: *ttfb_us,
        }
    }
}

/// One try to get an answer from a backend.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptDoc {
    /// The backend.
    pub upstream: SocketAddr,
    /// The proxy's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<SocketAddr>,
    /// The connection had carried an exchange before.
    pub reused: bool,
    /// Number of the exchange on its connection, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<u32>,
    /// `x-request-id` of the request as the backend got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// SYN to established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u64>,
    /// First request byte to first response byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttfb_us: Option<u64>,
    /// Request bytes written.
    pub request_bytes: u64,
    /// Of those, not acknowledged by the backend's kernel at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_bytes_unacked: Option<u64>,
    /// Response bytes read.
    pub response_bytes: u64,
    /// Who ended it.
    pub ended_by: &'static str,
    /// How.
    pub how: &'static str,
    /// Idle time of the connection before this exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_before_us: Option<u64>,
    /// Smoothed round-trip time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srtt_us: Option<u64>,
    /// Retransmissions during this exchange.
    pub retransmits: u32,
    /// What happened, in order.
    pub events: Vec<EventDoc>,
    /// The connection was open before the capture began.
    pub adopted: bool,
    /// First moment to the end of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// Status of the backend's response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Body bytes that the response head declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_length: Option<u64>,
    /// Response bytes that had arrived and were never read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes_unread: Option<u64>,
    /// Name of the reset reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_reason: Option<String>,
    /// Errno that the socket reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
}

impl From<&Attempt> for AttemptDoc {
    fn from(attempt: &Attempt) -> Self {
        let Attempt {
            upstream,
            local,
            reused,
            adopted,
            exchange,
            request,
            start_ns: _,
            connect_us,
            ttfb_us,
            duration_us,
            request_bytes,
            request_bytes_unacked,
            response_bytes,
            response_bytes_unread,
            content_length,
            status,
            ended_by,
            how,
            idle_before_us,
            srtt_us,
            retransmits,
            reset_reason,
            errno,
            events,
        } = attempt;
        Self {
            upstream: *upstream,
            local: *local,
            reused: *reused,
            exchange: *exchange,
            request_id: request.as_ref().and_then(|r| r.request_id.clone()),
            connect_us: *connect_us,
            ttfb_us: *ttfb_us,
            request_bytes: *request_bytes,
            request_bytes_unacked: *request_bytes_unacked,
            response_bytes: *response_bytes,
            ended_by: ended_by.name(),
            how: how.name(),
            idle_before_us: *idle_before_us,
            srtt_us: *srtt_us,
            retransmits: *retransmits,
            events: events.iter().map(Into::into).collect(),
            adopted: *adopted,
            duration_us: *duration_us,
            status: *status,
            content_length: *content_length,
            response_bytes_unread: *response_bytes_unread,
            reset_reason: reset_reason.clone(),
            errno: *errno,
        }
    }
}

/// One moment of an attempt.
#[derive(Clone, Debug, Serialize)]
pub struct EventDoc {
    /// After the attempt's first moment; negative for what came before.
    pub t_us: i64,
    /// Name in snake case.
    pub event: &'static str,
    /// Payload bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Errno or reset reason by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl From<&TimelineEvent> for EventDoc {
    fn from(moment: &TimelineEvent) -> Self {
        let TimelineEvent {
            t_us,
            event,
            bytes,
            detail,
        } = moment;
        Self {
            t_us: *t_us,
            event,
            bytes: *bytes,
            detail: detail.clone(),
        }
    }
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct VerdictDoc {
    /// Rule id.
    pub rule: &'static str,
    /// `exact`, `strong`, `weak` or `none`.
    pub confidence: &'static str,
    /// Rule id of a deeper cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<&'static str>,
    /// One sentence.
    pub summary: String,
    /// What it rests on.
    pub evidence: Vec<EvidenceDoc>,
    /// What to change, most useful first.
    pub remedies: Vec<RemedyDoc>,
    /// Does the proxy's log say the same?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agrees_with_log: Option<bool>,
}

impl From<&Verdict> for VerdictDoc {
    fn from(verdict: &Verdict) -> Self {
        let Verdict {
            rule,
            confidence,
            inferred: _,
            because,
            summary,
            evidence,
            remedies,
            agrees_with_log,
        } = verdict;
        Self {
            rule,
            confidence: confidence.name(),
            because: *because,
            summary: summary.clone(),
            evidence: evidence.iter().map(Into::into).collect(),
            remedies: remedies.iter().map(Into::into).collect(),
            agrees_with_log: *agrees_with_log,
        }
    }
}

/// A statement that a verdict rests on.
#[derive(Clone, Debug, Serialize)]
pub struct EvidenceDoc {
    /// Name in kebab case.
    pub fact: &'static str,
    /// In words.
    pub text: String,
    /// Index in `attempts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<usize>,
}

impl From<&Evidence> for EvidenceDoc {
    fn from(evidence: &Evidence) -> Self {
        let Evidence {
            fact,
            text,
            attempt,
        } = evidence;
        Self {
            fact,
            text: text.clone(),
            attempt: *attempt,
        }
    }
}

/// What to change.
#[derive(Clone, Debug, Serialize)]
pub struct RemedyDoc {
    /// `nginx`, `backend`, `network`, …
    pub target: String,
    /// The directive or action.
    pub change: String,
    /// Why it helps.
    pub why: String,
}

impl From<&Remedy> for RemedyDoc {
    fn from(remedy: &Remedy) -> Self {
        let Remedy {
            target,
            change,
            why,
        } = remedy;
        Self {
            target: target.clone(),
            change: change.clone(),
            why: why.clone(),
        }
    }
}

/// A log line.
#[derive(Clone, Debug, Serialize)]
pub struct LogDoc {
    /// `nginx-error`, …
    pub source: &'static str,
    /// The line, without query strings.
    pub line: String,
    /// The file.
    pub path: String,
    /// Number of the line, from 1.
    pub line_number: u64,
    /// When it was written, by its writer's clock: RFC 3339, UTC, µs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// By what it was joined: `request-id`, `connection`, `client-port`, `upstream-and-time` or
    /// `request-and-time`.
    pub joined_by: &'static str,
    /// The code or message by which the line is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What that means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<&'static str>,
    /// Rules that can be behind it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes_possible: Vec<&'static str>,
}

impl From<&LogLine> for LogDoc {
    fn from(log: &LogLine) -> Self {
        let LogLine {
            source,
            line,
            path,
            number,
            written_unix_ns,
            joined_by,
            meaning,
        } = log;
        Self {
            source,
            line: line.clone(),
            path: path.clone(),
            line_number: *number,
            time: written_unix_ns.map(unix_time),
            joined_by: joined_by.name(),
            code: meaning.map(|meaning| meaning.code),
            meaning: meaning.map(|meaning| meaning.text),
            classes_possible: meaning.map_or_else(Vec::new, |meaning| meaning.classes.to_vec()),
        }
    }
}
