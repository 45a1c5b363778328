//! Caddy's logs in JSON, access and error.
//!
//! <https://caddyserver.com/docs/logging>; the errors of backends are those of Go.

use serde_json::Value;

use super::entry::{Entry, Kind, LogAttempt, Peer, System, peer};
use super::go_error;
use super::json::{names, number, object, seconds_us, status, text};
use super::meaning::{Blame, Meaning};
use super::scan::ParseError;
use super::stamp::{epoch, rfc3339};

static NO_UPSTREAMS: Meaning = Meaning {
    code: "no upstreams available",
    text: "No backend was in use: all had failed a health check or had been marked as failed, or were \
           at their request limit. The cause is in what happened before. The client gets 503.",
    classes: &["no-backend-available"],
    blame: Blame::Backend,
};

static OWN_ERROR: Meaning = Meaning {
    code: "http.log.error",
    text: "Caddy itself gave the request up; the message says why. It is none of the known failures of \
           a backend's connection.",
    classes: &[],
    blame: Blame::Proxy,
};

static CLIENT_SIDE: Meaning = Meaning {
    code: "http.log.error (the client's connection)",
    text: "The connection to the client failed; the message has the client's address.",
    classes: &["client-abort"],
    blame: Blame::Client,
};

static MADE: Meaning = Meaning {
    code: "502, 504 (access)",
    text: "Caddy made this status, as far as the line tells: no header of the response came from a \
           backend. The `http.log.error` line of the same request has the reason.",
    classes: &[
        "fin-before-response",
        "rst-before-response",
        "keepalive-race",
        "connect-refused",
        "connect-timeout",
        "connect-unreachable",
        "response-timeout",
        "partial-header",
        "malformed-response",
        "tls-verify-failed",
        "tls-to-plaintext",
        "tls-handshake-timeout",
    ],
    blame: Blame::Backend,
};

static MADE_503: Meaning = Meaning {
    code: "503 (access)",
    text: "Caddy made the 503, as far as the line tells: no backend was in use, or a handler of its own \
           answered so.",
    classes: &["no-backend-available"],
    blame: Blame::Backend,
};

static APPLICATION: Meaning = Meaning {
    code: "5xx with a Date header (access)",
    text: "The response has a `Date` that Caddy copied from the backend's: the backend itself answered \
           with this status.",
    classes: &["application-502"],
    blame: Blame::Application,
};

static PROBABLY_APPLICATION: Meaning = Meaning {
    code: "5xx with headers of a response (access)",
    text: "The response has headers that Caddy does not set on an error of its own: most likely the \
           backend itself answered with this status. A page of `handle_errors` looks the same.",
    classes: &[
        "application-502",
        "fin-before-response",
        "rst-before-response",
    ],
    blame: Blame::Application,
};

static OWN_5XX: Meaning = Meaning {
    code: "5xx (access)",
    text: "Caddy or a handler of it made this status. It is not how a failed connection to a backend \
           shows.",
    classes: &[],
    blame: Blame::Proxy,
};

static CLIENT_LEFT: Meaning = Meaning {
    code: "499, 0 (access)",
    text: "The client left before it had a response (Caddy up to 2.6 logs 0). A client that gives up \
           because a backend is slow looks the same.",
    classes: &["client-abort"],
    blame: Blame::Client,
};

static READING: Meaning = Meaning {
    code: "reading from backend",
    text: "The response's body did not come whole. The line `aborting with incomplete response` behind \
           it has the backend's address, and is the one that counts.",
    classes: &["body-truncated-fin", "body-truncated-rst", "body-stalled"],
    blame: Blame::Context,
};

static HEALTH: Meaning = Meaning {
    code: "health_checker",
    text: "A health check of a backend. No request failed by it.",
    classes: &[],
    blame: Blame::Context,
};

/// For `explain`; those of Go's errors are in `go_error`.
pub(in crate::logs) static MEANINGS: &[&Meaning] = &[
    &NO_UPSTREAMS,
    &OWN_ERROR,
    &CLIENT_SIDE,
    &MADE,
    &MADE_503,
    &APPLICATION,
    &PROBABLY_APPLICATION,
    &OWN_5XX,
    &CLIENT_LEFT,
    &READING,
    &HEALTH,
];

pub(super) fn looks_like(line: &[u8]) -> bool {
    names(line, &["level", "ts", "logger"]) && memchr::memmem::find(line, b"\"http.").is_some()
}

pub(super) fn parse<'a>(line: &'a [u8]) -> Result<Entry<'a>, ParseError> {
    let value = object(line)?;
    let logger = text(&value, "logger").unwrap_or_default();
    let message = text(&value, "msg").unwrap_or_default();
    if logger.is_empty() && message.is_empty() {
        return Err(ParseError {
            offset: 0,
            expected: "a member logger or msg",
        });
    }
    let error = text(&value, "error");
    let kind = if logger.starts_with("http.log.access") {
        Kind::Access
    } else if logger.contains("health_checker") {
        Kind::Health
    } else {
        Kind::Error
    };
    let mut entry = Entry::new(System::Caddy, kind);
    entry.time = text(&value, "ts").and_then(|ts| epoch(&ts).or_else(|| rfc3339(&ts)));
    entry.status = status(&value, "status");
    entry.timers.total_us = seconds_us(&value, "duration");
    if let Some(request) = value.get("request") {
        read_request(&mut entry, request);
    }
    let upstream =
        text(&value, "upstream").or_else(|| text(&value, "host").filter(|_| kind == Kind::Health));
    entry.says = match (&error, kind) {
        (_, Kind::Access) => None,
        (Some(error), _) => Some(format!("{message}: {error}").into()),
        (None, _) => Some(message.clone().into()),
    };
    let reason = error.as_deref().unwrap_or(&message);
    let named = match kind {
        Kind::Access | Kind::Health => None,
        Kind::Error | Kind::Connection => go_error::connection(reason),
    };
    let client_side = named.as_ref().is_some_and(|named| is_client(&entry, named));
    entry.meaning = match kind {
        Kind::Access => access(&value, entry.status),
        Kind::Health => Some(&HEALTH),
        Kind::Error | Kind::Connection if client_side => Some(&CLIENT_SIDE),
        Kind::Error | Kind::Connection => {
            failure(&logger, &message, error.as_deref(), entry.status)
        }
    };
    entry
        .attempts
        .extend(merged(named.filter(|_| !client_side), upstream));
    Ok(entry)
}

fn read_request(entry: &mut Entry<'_>, request: &Value) {
    let own = |key: &str| text(request, key);
    // Before Caddy 2.5 address and port were one.
    entry.client = own("remote_addr").and_then(|addr| peer(&addr));
    if let Some(ip) = own("remote_ip").and_then(|ip| ip.parse().ok()) {
        let port = number(request, "remote_port").and_then(|port| port.try_into().ok());
        entry.client = Some(Peer { ip, port });
    }
    entry.method = own("method").map(Into::into);
    entry.target = own("uri").map(Into::into);
    entry.protocol = own("proto").map(Into::into);
    entry.host = own("host").map(Into::into);
    entry.request_id = header(request, "headers", "x-request-id").map(Into::into);
    entry.traceparent = header(request, "headers", "traceparent").map(Into::into);
}

/// The first value of a header; its name can be written in any case.
fn header(object: &Value, headers: &str, name: &str) -> Option<String> {
    let headers = object.get(headers)?.as_object()?;
    let (_, values) = headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    let first = match values {
        Value::Array(values) => values.first()?,
        value => value,
    };
    first
        .as_str()
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
}

/// Does an error name the client's connection and not a backend's?
fn is_client(entry: &Entry<'_>, named: &LogAttempt<'_>) -> bool {
    let (Some(client), Some(addr)) = (entry.client, named.addr) else {
        return false;
    };
    named.local.is_some() && client.ip == addr.ip() && client.port == Some(addr.port())
}

/// The backend of the member `upstream`, with what the error knows of the connection to it.
fn merged<'a>(named: Option<LogAttempt<'a>>, upstream: Option<String>) -> Option<LogAttempt<'a>> {
    let Some(upstream) = upstream else {
        return named;
    };
    let mut attempt = named.unwrap_or_default();
    attempt.addr = attempt.addr.or_else(|| upstream.parse().ok());
    attempt.name = Some(upstream.into());
    Some(attempt)
}

fn failure(
    logger: &str,
    message: &str,
    error: Option<&str>,
    status: Option<u16>,
) -> Option<&'static Meaning> {
    if message.starts_with("aborting with incomplete response") {
        return Some(go_error::body_meaning(error.unwrap_or_default()));
    }
    if message == "reading from backend" {
        return Some(&READING);
    }
    let reason = error.unwrap_or(message);
    if reason.contains("no upstreams available") {
        return Some(&NO_UPSTREAMS);
    }
    let is_request = logger.starts_with("http.log.error");
    if !is_request && !logger.contains("reverse_proxy") {
        return None;
    }
    let own = status.is_some_and(|status| is_request && status >= 500);
    go_error::meaning(reason).or(own.then_some(&OWN_ERROR))
}

fn access(value: &Value, status: Option<u16>) -> Option<&'static Meaning> {
    let Some(status) = status else {
        // A status of 0 is logged as such.
        return (number(value, "status") == Some(0)).then_some(&CLIENT_LEFT);
    };
    // Go's server adds its own `Date` only when it writes the response, behind the log's back.
    let from_backend = || header(value, "resp_headers", "date").is_some();
    match status {
        499 => Some(&CLIENT_LEFT),
        500..=599 if from_backend() => Some(&APPLICATION),
        500..=599 if has_headers_beside_own(value) => Some(&PROBABLY_APPLICATION),
        502 | 504 => Some(&MADE),
        503 => Some(&MADE_503),
        500..=599 => Some(&OWN_5XX),
        _ => None,
    }
}

/// Does the response have headers that Caddy's own errors do not have?
fn has_headers_beside_own(value: &Value) -> bool {
    let headers = value.get("resp_headers").and_then(Value::as_object);
    headers.is_some_and(|headers| {
        let own = |name: &String| {
            name.eq_ignore_ascii_case("server") || name.eq_ignore_ascii_case("alt-svc")
        };
        !headers.keys().all(own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const RESET: &str = r#"{"level":"error","ts":1795332514.3320000,"logger":"http.log.error","msg":"read tcp 192.0.2.10:51042->192.0.2.20:9005: read: connection reset by peer","request":{"remote_ip":"203.0.113.5","remote_port":"41510","client_ip":"198.51.100.1","proto":"HTTP/1.1","method":"POST","host":"shop.example.com","uri":"/order?a=b","headers":{"X-Request-Id":["r-1"],"Traceparent":["00-ab-cd-01"]}},"duration":0.000911,"status":502,"err_id":"k9m2n3p4q","err_trace":"reverseproxy.statusError (reverseproxy.go:1272)"}"#;

    fn read(line: &str) -> Entry<'_> {
        assert!(looks_like(line.as_bytes()), "{line}");
        parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn every_field_of_an_error() {
        let entry = read(RESET);
        assert_eq!(entry.kind, Kind::Error);
        assert_eq!(
            entry.time.map(|at| at.unix_ns - MORNING_NS),
            Some(26_914_332_000_000)
        );
        assert_eq!(entry.status, Some(502));
        assert_eq!(
            entry
                .client
                .map(|client| (client.ip.to_string(), client.port)),
            Some(("203.0.113.5".to_owned(), Some(41510)))
        );
        assert_eq!(entry.method.as_deref(), Some("POST"));
        assert_eq!(entry.path(), Some("/order"));
        assert_eq!(entry.host.as_deref(), Some("shop.example.com"));
        assert_eq!(entry.request_id.as_deref(), Some("r-1"));
        assert_eq!(entry.traceparent.as_deref(), Some("00-ab-cd-01"));
        assert_eq!(entry.timers.total_us, Some(911));
        let [attempt] = &entry.attempts[..] else {
            panic!("{:?}", entry.attempts);
        };
        assert_eq!(attempt.local, "192.0.2.10:51042".parse().ok());
        assert_eq!(attempt.addr, "192.0.2.20:9005".parse().ok());
        assert_eq!(entry.classes().first(), Some(&"rst-before-response"));
    }

    /// Logger, message, further members, first class, blame, upstream.
    #[test]
    fn what_the_lines_mean() {
        let error = "http.log.error";
        let proxy = "http.handlers.reverse_proxy";
        let access = "http.log.access.log0";
        for (logger, message, more, class, blame, upstream) in [
            (
                error,
                "dial tcp 192.0.2.20:9001: connect: connection refused",
                r#""status":502"#,
                "connect-refused",
                Some(Blame::Backend),
                "192.0.2.20:9001",
            ),
            (
                error,
                "EOF",
                r#""status":502"#,
                "fin-before-response",
                Some(Blame::Backend),
                "",
            ),
            (
                "http.log.error.log0",
                "no upstreams available",
                r#""status":503"#,
                "no-backend-available",
                Some(Blame::Backend),
                "",
            ),
            (
                error,
                "context canceled",
                r#""status":499"#,
                "client-abort",
                Some(Blame::Client),
                "",
            ),
            (
                error,
                "template broken",
                r#""status":500"#,
                "",
                Some(Blame::Proxy),
                "",
            ),
            (error, "no such file", r#""status":404"#, "", None, ""),
            (
                error,
                "read tcp 192.0.2.10:443->203.0.113.5:41510: i/o timeout",
                r#""status":502,"request":{"remote_ip":"203.0.113.5","remote_port":"41510"}"#,
                "client-abort",
                Some(Blame::Client),
                "",
            ),
            (
                proxy,
                "aborting with incomplete response",
                r#""upstream":"192.0.2.20:9010","error":"reading: unexpected EOF""#,
                "body-truncated-fin",
                Some(Blame::Backend),
                "192.0.2.20:9010",
            ),
            (
                proxy,
                "aborting with incomplete response",
                r#""upstream":"shop:9010","error":"read tcp 192.0.2.10:1->192.0.2.20:9010: read: connection reset by peer""#,
                "body-truncated-rst",
                Some(Blame::Backend),
                "192.0.2.20:9010",
            ),
            (
                proxy,
                "reading from backend",
                r#""error":"unexpected EOF""#,
                "body-truncated-fin",
                Some(Blame::Context),
                "",
            ),
            (
                "http.handlers.reverse_proxy.health_checker.active",
                "HTTP request failed",
                r#""host":"192.0.2.20:9010","error":"dial tcp 192.0.2.20:9010: connect: connection refused""#,
                "",
                Some(Blame::Context),
                "192.0.2.20:9010",
            ),
            (
                access,
                "handled request",
                r#""status":502,"resp_headers":{"Server":["Caddy"]}"#,
                "fin-before-response",
                Some(Blame::Backend),
                "",
            ),
            (
                access,
                "handled request",
                r#""status":502,"resp_headers":{"Server":["Caddy"],"Date":["Sun"]}"#,
                "application-502",
                Some(Blame::Application),
                "",
            ),
            (
                access,
                "handled request",
                r#""status":502,"resp_headers":{"Server":["Caddy"],"Content-Length":["21"]}"#,
                "application-502",
                Some(Blame::Application),
                "",
            ),
            (
                access,
                "handled request",
                r#""status":0"#,
                "client-abort",
                Some(Blame::Client),
                "",
            ),
            (access, "handled request", r#""status":200"#, "", None, ""),
            ("tls.obtain", "EOF", r#""x":"http.""#, "", None, ""),
        ] {
            let line = format!(
                r#"{{"level":"error","ts":1795332514.5,"logger":"{logger}","msg":"{message}",{more}}}"#
            );
            let entry = read(&line);
            assert_eq!(
                entry.classes().first().copied().unwrap_or_default(),
                class,
                "{line}"
            );
            assert_eq!(entry.meaning.map(|one| one.blame), blame, "{line}");
            assert_eq!(entry.upstream().unwrap_or_default(), upstream, "{line}");
        }
    }

    #[test]
    fn unpleasant_lines() {
        let old = r#"{"level":"info","ts":"2026-11-22T07:22:27.5Z","logger":"http.log.access","msg":"handled request","request":{"remote_addr":"[2001:db8::5]:51544","headers":{"X-Request-Id":[]}},"status":"-"}"#;
        let entry = read(old);
        assert_eq!(entry.client.and_then(|client| client.port), Some(51544));
        assert_eq!(
            entry.time.map(|at| at.unix_ns - MORNING_NS),
            Some(26_547_500_000_000)
        );
        assert_eq!((entry.status, entry.request_id), (None, None));
        for line in ["", "[]", "{}", r#"{"logger":1}"#, r#"{"logger":"a","msg""#] {
            assert_eq!(parse(line.as_bytes()).is_ok(), line.contains('1'), "{line}");
        }
        any_prefix_is_an_error_or_an_entry(RESET.as_bytes(), parse);
    }
}
