//! The spans of a case: what the client asked the proxy for, and each try of the proxy to get it.
//! Names are those of the semantic conventions for HTTP
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>); what these have no name for is
//! under `why502.`, by its name in the JSON of why502 (docs/json-schema.md).

use std::net::SocketAddr;

use super::attributes::{Attributes, LABEL_MAX, TEXT_MAX};
use super::place::{Place, Places};
use super::resource::Origin;
use super::span::{Event, Kind, Span};
use crate::case::{Attempt, Case, How, Outcome, RequestSummary, SeenFrom, TimelineEvent};
use crate::event::MonoNs;
use crate::session::blamed_attempt;

/// Most events of a span.
const EVENTS_MAX: usize = 64;
/// The methods that are named; any other is `_OTHER`
/// (<https://opentelemetry.io/docs/specs/semconv/registry/attributes/http/>).
const METHODS: [&str; 10] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];

/// All spans of a case, that of the request first.
pub(super) fn of(case: &Case, origin: &Origin) -> Vec<Span> {
    let places = Places::of(case, &origin.host);
    let attempts = case.attempts.iter().enumerate();
    let clients = attempts
        .zip(places.clients)
        .map(|((index, attempt), place)| client(case, index, attempt, place, origin));
    let mut spans = vec![server(case, places.server, origin)];
    spans.extend(clients);
    spans
}

fn server(case: &Case, place: Place, origin: &Origin) -> Span {
    let request = case.downstream.request.as_ref();
    let mut found = Attributes::default();
    asked(&mut found, request);
    if let Some(request) = request {
        found.text("url.path", &request.path, TEXT_MAX);
        found.text("url.scheme", "http", LABEL_MAX);
        let (host, port) = host_and_port(request.host.as_deref().unwrap_or_default());
        found.text("server.address", host, LABEL_MAX);
        found.int("server.port", port.map(u64::from));
    }
    if let Some(client) = case.downstream.client {
        found.text("client.address", &client.ip().to_string(), LABEL_MAX);
        found.int("client.port", Some(client.port().into()));
    }
    ends(&mut found, case.downstream.local, case.downstream.client);
    found.int("http.response.status_code", case.status.map(u64::from));
    let failed = failed_request(case);
    if failed {
        let by_code = case
            .status
            .filter(|_| case.outcome == Outcome::ErrorResponse);
        let error = by_code.map_or_else(|| case.verdict.rule.to_owned(), |code| code.to_string());
        found.text("error.type", &error, LABEL_MAX);
    }
    found.extend(judged(case));
    if let Some(log) = &case.log {
        found.text("why502.log.source", log.source, LABEL_MAX);
        found.text("why502.log.line", &log.line, TEXT_MAX);
    }
    found.int(
        "why502.downstream.response_bytes",
        case.downstream.response_bytes,
    );
    found.int("why502.downstream.ttfb_us", case.downstream.ttfb_us);
    found.int("why502.attempts", Some(case.attempts.len() as u64));
    found.int("thread.id", Some(case.proxy.tid.into()));
    // On a backend's host there is one connection: the client's is the one that failed.
    let own = case.attempts.last();
    let own = own.filter(|_| case.seen_from == SeenFrom::Backend);
    let mut events = Vec::new();
    if let Some(attempt) = own {
        found.extend(measured(attempt));
        events = events_of(attempt, origin);
    }
    let end = origin.unix(case.time_ns);
    Span {
        trace: place.trace,
        id: place.id,
        parent: place.parent,
        flags: place.flags,
        kind: Kind::Server,
        name: name(request),
        start: origin.unix(first_moment(case)).min(end),
        end,
        attributes: found,
        events,
        links: place.links,
        failed: failed.then(|| case.verdict.summary.clone()),
    }
}

fn client(case: &Case, index: usize, attempt: &Attempt, place: Place, origin: &Origin) -> Span {
    let mut found = Attributes::default();
    let request = attempt.request.as_ref();
    // A try that failed before anything was sent was for the same method.
    asked(&mut found, request.or(case.downstream.request.as_ref()));
    found.text(
        "server.address",
        &attempt.upstream.ip().to_string(),
        LABEL_MAX,
    );
    found.int("server.port", Some(attempt.upstream.port().into()));
    if let Some(request) = request.filter(|request| request.path.starts_with('/')) {
        let url = format!("http://{}{}", attempt.upstream, request.path);
        found.text("url.full", &url, TEXT_MAX);
    }
    ends(&mut found, attempt.local, Some(attempt.upstream));
    found.int("http.response.status_code", attempt.status.map(u64::from));
    found.int(
        "http.request.resend_count",
        (index > 0).then_some(index as u64),
    );
    let is_blamed = blamed_attempt(case) == Some(index);
    let failed = failed_attempt(case, attempt, is_blamed);
    if failed {
        let rule = is_blamed.then_some(case.verdict.rule);
        let by_code = attempt.status.filter(|code| *code >= 400);
        let error = match (by_code, rule) {
            (Some(code), _) => code.to_string(),
            (None, Some(rule)) => rule.to_owned(),
            (None, None) => attempt.how.name().to_owned(),
        };
        found.text("error.type", &error, LABEL_MAX);
    }
    found.text("why502.case.id", &case.id, LABEL_MAX);
    found.bool("why502.blamed", is_blamed);
    if is_blamed {
        found.extend(judged(case));
    }
    found.extend(measured(attempt));
    let summary = match is_blamed {
        true => case.verdict.summary.clone(),
        false => String::new(),
    };
    let start = origin.unix(attempt.start_ns);
    Span {
        trace: place.trace,
        id: place.id,
        parent: place.parent,
        flags: place.flags,
        kind: Kind::Client,
        name: name(request.or(case.downstream.request.as_ref())),
        start,
        end: origin.unix(last_moment(attempt)).max(start),
        attributes: found,
        events: events_of(attempt, origin),
        links: place.links,
        failed: failed.then_some(summary),
    }
}

/// The span of the failed request, for what points to it.
pub(super) fn server_place(case: &Case, origin: &Origin) -> Place {
    Places::of(case, &origin.host).server
}

/// Did the client get an error, or less than a response?
fn failed_request(case: &Case) -> bool {
    match case.outcome {
        Outcome::ErrorResponse => case.status.is_none_or(|code| code >= 500),
        Outcome::Masked => case.status.is_some_and(|code| code >= 500),
        Outcome::Truncated | Outcome::Dropped => true,
    }
}

fn failed_attempt(case: &Case, attempt: &Attempt, is_blamed: bool) -> bool {
    let status = attempt.status.is_some_and(|code| code >= 400);
    status || attempt.how != How::Completed || is_blamed && case.outcome != Outcome::Masked
}

/// `GET`: never the path, of which there are too many
/// (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/#name>).
fn name(request: Option<&RequestSummary>) -> String {
    match request.map(|request| request.method.as_str()) {
        Some(method) if METHODS.contains(&method) => method.to_owned(),
        _ => "HTTP".to_owned(),
    }
}

/// What was asked for, as far as both ends have it in common.
pub(super) fn asked(found: &mut Attributes, request: Option<&RequestSummary>) {
    found.text("network.protocol.name", "http", LABEL_MAX);
    let Some(request) = request else { return };
    if METHODS.contains(&request.method.as_str()) {
        found.text("http.request.method", &request.method, LABEL_MAX);
    } else {
        found.text("http.request.method", "_OTHER", LABEL_MAX);
        found.text("http.request.method_original", &request.method, LABEL_MAX);
    }
    let version = request.protocol.strip_prefix("HTTP/");
    found.maybe("network.protocol.version", version, LABEL_MAX);
    found.texts("http.request.header.x-request-id", &request.request_id);
}

/// Both ends of a connection.
fn ends(found: &mut Attributes, local: Option<SocketAddr>, peer: Option<SocketAddr>) {
    found.text("network.transport", "tcp", LABEL_MAX);
    if let Some(peer) = peer {
        let family = if peer.is_ipv4() { "ipv4" } else { "ipv6" };
        found.text("network.type", family, LABEL_MAX);
        found.text("network.peer.address", &peer.ip().to_string(), LABEL_MAX);
        found.int("network.peer.port", Some(peer.port().into()));
    }
    if let Some(local) = local {
        found.text("network.local.address", &local.ip().to_string(), LABEL_MAX);
        found.int("network.local.port", Some(local.port().into()));
    }
}

/// A `host` header: `shop.example:8080`, `[2001:db8::1]:80`, `shop.example`.
pub(super) fn host_and_port(host: &str) -> (&str, Option<u16>) {
    let digits = |port: &&str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match host.rsplit_once(':') {
        Some((name, port)) if digits(&port) && (!name.contains(':') || name.ends_with(']')) => {
            let name = name.trim_start_matches('[').trim_end_matches(']');
            (name, port.parse().ok())
        }
        _ => (host.trim_start_matches('[').trim_end_matches(']'), None),
    }
}

/// The case and its verdict.
pub(super) fn judged(case: &Case) -> Attributes {
    let verdict = &case.verdict;
    let mut found = Attributes::default();
    found.text("why502.case.id", &case.id, LABEL_MAX);
    found.text("why502.outcome", case.outcome.name(), LABEL_MAX);
    found.text("why502.seen_from", case.seen_from.name(), LABEL_MAX);
    found.text("why502.rule", verdict.rule, LABEL_MAX);
    found.text("why502.confidence", verdict.confidence.name(), LABEL_MAX);
    found.maybe("why502.because", verdict.because, LABEL_MAX);
    found.text("why502.summary", &verdict.summary, TEXT_MAX);
    found.texts("why502.evidence", verdict.evidence.iter().map(|e| &e.text));
    let remedies = verdict.remedies.iter();
    found.texts(
        "why502.remedies",
        remedies.map(|r| format!("{}: {}\n{}", r.target, r.change, r.why)),
    );
    if let Some(agrees) = verdict.agrees_with_log {
        found.bool("why502.agrees_with_log", agrees);
    }
    found
}

/// What was seen of the connection.
fn measured(attempt: &Attempt) -> Attributes {
    let Attempt {
        upstream: _,
        local: _,
        reused,
        adopted,
        exchange,
        request: _,
        start_ns: _,
        connect_us,
        ttfb_us,
        duration_us,
        request_bytes,
        request_bytes_unacked,
        response_bytes,
        response_bytes_unread,
        content_length,
        status: _,
        ended_by,
        how,
        idle_before_us,
        srtt_us,
        retransmits,
        reset_reason,
        errno,
        events: _,
    } = attempt;
    let mut found = Attributes::default();
    found.text("why502.ended_by", ended_by.name(), LABEL_MAX);
    found.text("why502.how", how.name(), LABEL_MAX);
    found.bool("why502.reused", *reused);
    found.bool("why502.adopted", *adopted);
    found.int("why502.exchange", exchange.map(u64::from));
    found.int("why502.connect_us", *connect_us);
    found.int("why502.ttfb_us", *ttfb_us);
    found.int("why502.duration_us", *duration_us);
    found.int("why502.request_bytes", Some(*request_bytes));
    found.int("why502.request_bytes_unacked", *request_bytes_unacked);
    found.int("why502.response_bytes", Some(*response_bytes));
    found.int("why502.response_bytes_unread", *response_bytes_unread);
    found.int("why502.content_length", *content_length);
    found.int("why502.idle_before_us", *idle_before_us);
    found.int("why502.srtt_us", *srtt_us);
    found.int("why502.retransmits", Some((*retransmits).into()));
    found.maybe("why502.reset_reason", reset_reason.as_deref(), LABEL_MAX);
    let errno = errno.and_then(|errno| u64::try_from(errno).ok());
    found.int("why502.errno", errno);
    found
}

fn events_of(attempt: &Attempt, origin: &Origin) -> Vec<Event> {
    let event = |moment: &TimelineEvent| {
        let mut found = Attributes::default();
        found.int("why502.bytes", moment.bytes);
        found.maybe("why502.detail", moment.detail.as_deref(), LABEL_MAX);
        Event {
            at: origin.unix(at(attempt, moment.t_us)),
            name: format!("why502.{}", moment.event),
            attributes: found,
        }
    };
    attempt.events.iter().take(EVENTS_MAX).map(event).collect()
}

/// A moment of an attempt on the monotonic clock.
pub(super) fn at(attempt: &Attempt, t_us: i64) -> MonoNs {
    let ns = t_us.saturating_mul(1000);
    attempt.start_ns.saturating_add_signed(ns)
}

fn first_moment(case: &Case) -> MonoNs {
    let by_response = |ttfb_us: u64| case.time_ns.saturating_sub(ttfb_us.saturating_mul(1000));
    let own = case.downstream.start_ns;
    own.or_else(|| case.downstream.ttfb_us.map(by_response))
        .or_else(|| case.attempts.iter().map(|attempt| attempt.start_ns).min())
        .unwrap_or(case.time_ns)
}

fn last_moment(attempt: &Attempt) -> MonoNs {
    let by_duration = attempt.duration_us.map(|us| us.saturating_mul(1000));
    let by_duration = by_duration.map(|ns| attempt.start_ns.saturating_add(ns));
    let by_event = attempt.events.last().map(|event| at(attempt, event.t_us));
    by_duration.or(by_event).unwrap_or(attempt.start_ns)
}

#[cfg(test)]
mod tests {
    use super::super::attributes::Value;
    use super::*;
    use crate::report::fixture;

    fn spans(case: &Case) -> Vec<Span> {
        of(case, &super::super::testing::origin())
    }

    fn text(span: &Span, key: &str) -> String {
        match span.attributes.get(key) {
            None => "-".into(),
            Some(Value::Text(text)) => text.clone(),
            Some(Value::Int(number)) => number.to_string(),
            Some(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn statuses_and_errors_by_outcome() {
        let race = fixture::reuse_race();
        let outcome = |outcome, status| {
            let mut case = race.clone();
            (case.outcome, case.status) = (outcome, status);
            case
        };
        for (case, failed, error) in [
            (race.clone(), true, "502"),
            (outcome(Outcome::ErrorResponse, Some(499)), false, "-"),
            (
                outcome(Outcome::Truncated, Some(200)),
                true,
                "keepalive-race",
            ),
            (outcome(Outcome::Dropped, None), true, "keepalive-race"),
            (outcome(Outcome::Masked, Some(200)), false, "-"),
        ] {
            let server = &spans(&case)[0];
            assert_eq!(server.failed.is_some(), failed, "{:?}", case.outcome);
            assert_eq!(text(server, "error.type"), error);
        }
    }

    #[test]
    fn a_retry_is_told_as_one() {
        let spans = spans(&fixture::masked());
        let [server, refused, good] = &spans[..] else {
            panic!("{spans:?}")
        };
        assert_eq!(text(refused, "error.type"), "connect-refused");
        assert_eq!(text(refused, "why502.rule"), "connect-refused");
        assert_eq!(text(refused, "http.request.resend_count"), "-");
        assert_eq!(text(refused, "server.address"), "2001:db8::5");
        assert_eq!(text(refused, "network.type"), "ipv6");
        // Nothing was sent, so there is no URL; what was to be asked for is known.
        assert_eq!(text(refused, "url.full"), "-");
        assert_eq!(text(refused, "http.request.method"), "POST");
        assert_eq!((good.failed.as_ref(), server.failed.as_ref()), (None, None));
        assert_eq!(text(good, "http.request.resend_count"), "1");
        assert_eq!(text(good, "http.response.status_code"), "200");
        assert_eq!(text(good, "url.full"), "http://10.0.0.6:8080/shop/checkout");
        assert_eq!(text(good, "error.type"), "-");
    }

    #[test]
    fn a_backends_host_tells_one_span() {
        let mut case = fixture::reuse_race();
        case.seen_from = SeenFrom::Backend;
        let spans = spans(&case);
        assert_eq!(spans.len(), 1);
        assert_eq!(text(&spans[0], "why502.how"), "reset");
        assert_eq!(spans[0].events.len(), case.attempts[0].events.len());
    }

    #[test]
    fn methods_that_nobody_knows() {
        let mut case = fixture::reuse_race();
        case.downstream.request.as_mut().unwrap().method = "BREW\n/pot".into();
        let server = &spans(&case)[0];
        assert_eq!(server.name, "HTTP");
        assert_eq!(text(server, "http.request.method"), "_OTHER");
        assert_eq!(text(server, "http.request.method_original"), "BREW\n/pot");
    }

    #[test]
    fn hosts() {
        for (host, want) in [
            ("shop.example", ("shop.example", None)),
            ("shop.example:8080", ("shop.example", Some(8080))),
            ("[2001:db8::1]:80", ("2001:db8::1", Some(80))),
            ("[2001:db8::1]", ("2001:db8::1", None)),
            ("2001:db8::1", ("2001:db8::1", None)),
            ("a:99999", ("a", None)),
            ("a:", ("a:", None)),
            ("", ("", None)),
        ] {
            assert_eq!(host_and_port(host), want, "{host}");
        }
    }

    #[test]
    fn no_span_ends_before_it_begins() {
        let mut case = fixture::reuse_race();
        for time in [0, case.time_ns, u64::MAX] {
            case.time_ns = time;
            case.attempts[0].duration_us = Some(u64::MAX);
            case.attempts[0].events[0].t_us = i64::MIN;
            for span in spans(&case) {
                assert!(span.start <= span.end, "{span:?}");
            }
        }
    }

    #[test]
    fn a_span_covers_its_request() {
        let case = fixture::reuse_race();
        let [server, client] = &spans(&case)[..] else {
            panic!()
        };
        assert!(server.start < client.start && client.end < server.end);
        assert_eq!(client.end - client.start, 340_000);
        assert_eq!(client.start - server.start, 200_000);
    }
}
