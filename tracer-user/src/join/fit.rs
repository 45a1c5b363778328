//! How well a log line fits a case.

use std::net::SocketAddr;

use super::sighting::{SightedAttempt, Sighting};
use crate::case::{Case, JoinKey, SeenFrom};
use crate::correlate::UNKNOWN_PROXY;
use crate::event::{MonoNs, ProxyKind};
use crate::logs::Kind;

/// A path this long may have been cut on either side.
const LONG_PATH: usize = 100;
/// A line of a proxy's own log is written this soon before or after what it tells of.
pub(super) const SLACK_NS: u64 = 300_000_000;

/// What of a case can stand in a log.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// When the client got it.
    pub(super) at: MonoNs,
    pub(super) seen_from: SeenFrom,
    pub(super) status: Option<u16>,
    pub(super) client: Option<SocketAddr>,
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) request_ids: Vec<String>,
    pub(super) trace_id: Option<String>,
    /// What answered; `None` where it is elsewhere, or not known.
    pub(super) kind: Option<ProxyKind>,
    pub(super) pid: u32,
    pub(super) tid: u32,
    /// Backend, own end, last moment.
    pub(super) attempts: Vec<(SocketAddr, Option<SocketAddr>, MonoNs)>,
    pub(super) rule: &'static str,
}

impl Told {
    pub(super) fn of(case: &Case) -> Self {
        let request = case.downstream.request.as_ref();
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let whole = |id: &&String| !id.is_empty() && !id.ends_with('…');
        let own = request.and_then(|request| request.request_id.as_ref());
        let sent = case
            .attempts
            .iter()
            .filter_map(|a| a.request.as_ref()?.request_id.as_ref());
        let attempts: Vec<_> = case
            .attempts
            .iter()
            // One that did not get as far as to have an address.
            .filter(|attempt| !attempt.upstream.ip().is_unspecified())
            .map(|attempt| {
                let took = attempt.duration_us.unwrap_or(0).saturating_mul(1000);
                let local = attempt.local.map(canonical);
                let end = attempt.start_ns.saturating_add(took);
                (canonical(attempt.upstream), local, end)
            })
            .collect();
        Self {
            at: case.time_ns,
            seen_from: case.seen_from,
            status: case.status,
            client: case.downstream.client.map(canonical),
            method: request.and_then(|request| text(&request.method)),
            path: request.and_then(|request| text(&request.path)),
            request_ids: own.into_iter().chain(sent).filter(whole).cloned().collect(),
            trace_id: request.and_then(|request| trace_id(request.traceparent.as_deref()?)),
            kind: Some(case.proxy.kind.clone())
                .filter(|kind| case.seen_from == SeenFrom::Proxy && kind.name() != UNKNOWN_PROXY),
            pid: case.proxy.pid,
            tid: case.proxy.tid,
            attempts,
            rule: case.verdict.rule,
        }
    }
}

pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// The trace id of a `traceparent`.
pub(super) fn trace_id(traceparent: &str) -> Option<String> {
    traceparent.get(3..35).map(str::to_ascii_lowercase)
}

/// How well a line and a case fit; the greater, the better. Time is left out: it says that they can
/// belong together, and among equals it gives the order, no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fit {
    pub(super) key: JoinKey,
    path: bool,
    thread: bool,
    upstream: bool,
    class: bool,
}

impl Fit {
    /// Is it found whatever else was going on to the same backend at that time?
    pub(super) fn stands_out(self) -> bool {
        self.path || self.key > JoinKey::Upstream
    }

    /// Do address and process, or more, say that the two are about one thing?
    pub(super) fn is_sure(self) -> bool {
        self.key > JoinKey::Upstream || self.upstream && (self.thread || self.path)
    }
}

/// `None`: the line cannot be about this case. `slack_ns` is how far their times may be apart.
pub(super) fn fit(line: &Sighting, case: &Told, slack_ns: u64) -> Option<Fit> {
    if contradicts(line, case) {
        return None;
    }
    // What a line tells of is the end of an attempt, or what the client then got; some proxies close
    // the client's connection long after that.
    let window = line.from.saturating_sub(slack_ns)..=line.to.saturating_add(slack_ns);
    let ends = case.attempts.iter().map(|(_, _, end)| end);
    let in_time = ends.chain([&case.at]).any(|end| window.contains(end));
    let same_id = line
        .request_id
        .as_ref()
        .is_some_and(|id| case.request_ids.contains(id));
    let same_trace =
        case.trace_id.is_some() && line.traceparent.as_deref().and_then(trace_id) == case.trace_id;
    let upstream = last_named(line).is_some_and(|try_| {
        let mut upstreams = case.attempts.iter().map(|(upstream, _, _)| *upstream);
        upstreams.any(|upstream| try_.is_to(upstream))
    });
    let connection = line.attempts.iter().any(|try_| {
        let ends = |(upstream, local, _): &(SocketAddr, Option<SocketAddr>, MonoNs)| {
            try_.is_to(*upstream) && local.is_some_and(|local| try_.is_from(local))
        };
        case.attempts.iter().any(ends)
    });
    let client = line.client_addr().is_some() && line.client_addr() == case.client;
    let path = line.path.is_some() && case.path.is_some();
    let thread = line
        .tid
        .map_or(line.pid == Some(case.pid), |tid| tid == case.tid);
    let key = match () {
        () if same_id || same_trace => JoinKey::RequestId,
        () if !in_time => return None,
        () if connection => JoinKey::Connection,
        () if client => JoinKey::Client,
        () if upstream => JoinKey::Upstream,
        () if path || thread => JoinKey::Time,
        () => return None,
    };
    let classes = line.meaning.map_or(&[][..], |meaning| meaning.classes);
    Some(Fit {
        key,
        path,
        thread,
        upstream,
        class: classes.contains(&case.rule),
    })
}

/// The last try whose backend the line names.
fn last_named(line: &Sighting) -> Option<&SightedAttempt> {
    line.attempts.iter().rfind(|try_| try_.names_backend())
}

/// Do the two say things that cannot both be true of one request?
fn contradicts(line: &Sighting, case: &Told) -> bool {
    let differ = |a: &Option<String>, b: &Option<String>| matches!((a, b), (Some(a), Some(b)) if !a.eq_ignore_ascii_case(b));
    let other_backend = last_named(line).is_some_and(|try_| {
        !case.attempts.is_empty() && case.attempts.iter().all(|(up, _, _)| !try_.is_to(*up))
    });
    let other_status = line.kind == Kind::Access
        && case.seen_from == SeenFrom::Proxy
        && matches!((line.status, case.status), (Some(a), Some(b)) if a != b);
    let other_port = case.seen_from == SeenFrom::Proxy
        && matches!((line.client_addr(), case.client), (Some(a), Some(b))
            if a.ip() == b.ip() && a.port() != b.port());
    let other_program = case
        .kind
        .as_ref()
        .is_some_and(|kind| !line.system.is_of(kind));
    other_program
        || differ(&line.method, &case.method)
        || other_backend
        || other_status
        || other_port
        || matches!((&line.path, &case.path), (Some(a), Some(b)) if !same_path(a, b))
}

/// The same, or one of them cut.
fn same_path(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim_end_matches('…'), b.trim_end_matches('…'));
    a == b || a.len().min(b.len()) >= LONG_PATH && (a.starts_with(b) || b.starts_with(a))
}
