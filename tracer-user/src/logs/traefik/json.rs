//! Access log and application log of Traefik in JSON.
//!
//! <https://doc.traefik.io/traefik/observability/access-logs/#limiting-the-fieldsincluding-headers>.

use serde_json::Value;

use super::statuses;
use crate::logs::entry::{Entry, Kind, Peer, System, peer};
use crate::logs::go_error;
use crate::logs::json::{names, number, object, status, text};
use crate::logs::meaning::Meaning;
use crate::logs::scan::ParseError;
use crate::logs::stamp::{Stamp, rfc3339};

/// Messages that are about a request, and the status the client gets.
const ANSWERS: [(&str, u16); 5] = [
    ("499 Client Closed Request", 499),
    ("500 Internal Server Error", 500),
    ("502 Bad Gateway", 502),
    ("503 Service Unavailable", 503),
    ("504 Gateway Timeout", 504),
];
const BODY_COPY: &str = "during body copy";
/// The resolution that Traefik's durations leave to an end that is counted from them.
const NS_PER_US: u64 = 1_000;

pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    let is_access = names(line, &["DownstreamStatus"]) || names(line, &["OriginStatus"]);
    let is_about_a_request = || {
        let has = |text: &str| memchr::memmem::find(line, text.as_bytes()).is_some();
        names(line, &["level", "time"])
            && (ANSWERS.iter().any(|(message, _)| has(message)) || has(BODY_COPY))
    };
    is_access || is_about_a_request()
}

pub(in crate::logs) fn parse<'a>(line: &'a [u8]) -> Result<Entry<'a>, ParseError> {
    let value = object(line)?;
    if value.get("DownstreamStatus").is_some() || value.get("OriginStatus").is_some() {
        return Ok(access(&value));
    }
    // Before Traefik 3 the member was `msg`.
    let message = text(&value, "message").or_else(|| text(&value, "msg"));
    let message = message.ok_or(ParseError {
        offset: 0,
        expected: "a member DownstreamStatus or message",
    })?;
    Ok(application(&value, &message))
}

fn access<'a>(value: &Value) -> Entry<'a> {
    let own = |key: &str| text(value, key);
    let mut entry = Entry::new(System::Traefik, Kind::Access);
    entry.started = own("StartUTC")
        .or_else(|| own("StartLocal"))
        .and_then(|at| rfc3339(&at));
    let total_ns = number(value, "Duration");
    entry.time = entry
        .started
        .zip(total_ns)
        .and_then(|(started, ns)| later(started, ns))
        .or_else(|| own("time").and_then(|at| rfc3339(&at)));
    entry.status = status(value, "DownstreamStatus").or_else(|| status(value, "OriginStatus"));
    entry.client = own("ClientAddr")
        .or_else(|| own("ClientHost"))
        .and_then(|client| peer(&client));
    if entry.client.is_none() {
        let ip = own("ClientHost").and_then(|ip| ip.parse().ok());
        let port = number(value, "ClientPort").and_then(|port| port.try_into().ok());
        entry.client = ip.map(|ip| Peer { ip, port });
    }
    entry.method = own("RequestMethod").map(Into::into);
    entry.target = own("RequestPath").map(Into::into);
    entry.protocol = own("RequestProtocol").map(Into::into);
    entry.host = own("RequestHost").map(Into::into);
    entry.request_id = header(value, "request_x-request-id").map(Into::into);
    entry.traceparent = header(value, "request_traceparent").map(Into::into);
    entry.timers.total_us = total_ns.map(|ns| ns / NS_PER_US);
    let origin_status = status(value, "OriginStatus");
    if let Some(server) = own("ServiceURL").or_else(|| own("ServiceAddr")) {
        let mut attempt = statuses::server(&server);
        if attempt.addr.is_none() {
            attempt.addr = own("ServiceAddr").and_then(|addr| addr.parse().ok());
        }
        attempt.status = origin_status;
        attempt.response_us = number(value, "OriginDuration").map(|ns| ns / NS_PER_US);
        entry.attempts.push(attempt);
    }
    let size =
        number(value, "OriginContentSize").or_else(|| number(value, "DownstreamContentSize"));
    let head = entry.method.as_deref() == Some("HEAD");
    // 0 as the origin's status means that no service was reached.
    let reached = !entry.attempts.is_empty() && number(value, "OriginStatus") != Some(0);
    let retried = number(value, "RetryAttempts").is_some_and(|retries| retries > 0);
    entry.meaning = entry.status.and_then(|status| {
        let meaning = statuses::meaning(status, size, reached, head);
        meaning.or(retried.then_some(&statuses::HIDDEN))
    });
    entry
}

/// A header that was kept, whatever the case of its name.
fn header(value: &Value, name: &str) -> Option<String> {
    let members = value.as_object()?;
    let (key, _) = members
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    text(value, key)
}

fn later(started: Stamp, elapsed_ns: u64) -> Option<Stamp> {
    Some(Stamp {
        unix_ns: started
            .unix_ns
            .checked_add(i64::try_from(elapsed_ns).ok()?)?,
        resolution_ns: started.resolution_ns.max(NS_PER_US),
    })
}

fn application<'a>(value: &Value, message: &str) -> Entry<'a> {
    let is_health = message.starts_with("Health check failed");
    let kind = if is_health { Kind::Health } else { Kind::Error };
    let mut entry = Entry::new(System::Traefik, kind);
    entry.time = text(value, "time").and_then(|at| rfc3339(&at));
    // Traefik 2: `'502 Bad Gateway' caused by: EOF`.
    let answer = message.trim_start_matches('\'');
    entry.status = ANSWERS
        .iter()
        .find(|(text, _)| answer.starts_with(text))
        .map(|(_, status)| *status);
    let error = text(value, "error").or_else(|| {
        let (_, error) = message
            .split_once("caused by: ")
            .or_else(|| message.split_once("during body copy: "))?;
        Some(error.to_owned())
    });
    entry.says = Some(match text(value, "error") {
        Some(error) => format!("{message}: {error}").into(),
        None => message.to_owned().into(),
    });
    if is_health {
        let target = text(value, "targetURL").map(|url| statuses::server(&url));
        entry.attempts.extend(target);
        entry.meaning = Some(&statuses::HEALTH);
    } else if let Some(error) = error {
        entry.meaning = error_meaning(message, entry.status, &error);
        if entry.meaning.is_some() {
            entry.attempts.extend(go_error::connection(&error));
        }
    }
    entry
}

/// Traefik logs errors of much else, such as its providers'.
fn error_meaning(message: &str, status: Option<u16>, error: &str) -> Option<&'static Meaning> {
    if message.contains(BODY_COPY) {
        return Some(go_error::body_meaning(error));
    }
    status.and_then(|_| go_error::meaning(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Blame;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const ACCESS: &str = r#"{"ClientAddr":"203.0.113.5:51544","ClientHost":"203.0.113.5","DownstreamStatus":502,"Duration":2114313,"OriginDuration":2001200,"OriginStatus":502,"OriginContentSize":11,"RequestCount":41,"RequestHost":"shop.example.com","RequestMethod":"GET","RequestPath":"/cart?a=b","RequestProtocol":"HTTP/1.1","RetryAttempts":0,"RouterName":"shop@docker","ServiceAddr":"192.0.2.20:8080","ServiceName":"shop@docker","ServiceURL":"http://192.0.2.20:8080","StartUTC":"2026-11-22T07:31:02.415Z","level":"info","msg":"","request_X-Request-Id":"r-1","request_Traceparent":"00-ab-cd-01","time":"2026-11-22T07:31:02Z"}"#;

    fn read(line: &str) -> Entry<'_> {
        assert!(looks_like(line.as_bytes()), "{line}");
        parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn every_field_of_an_access() {
        let entry = read(ACCESS);
        assert_eq!(
            entry.started.map(|at| at.unix_ns - MORNING_NS),
            Some(27_062_415_000_000)
        );
        assert_eq!(
            entry
                .time
                .map(|at| (at.unix_ns - MORNING_NS, at.resolution_ns)),
            Some((27_062_417_114_313, 1_000_000))
        );
        assert_eq!(entry.client.and_then(|client| client.port), Some(51544));
        assert_eq!(entry.path(), Some("/cart"));
        assert_eq!(entry.host.as_deref(), Some("shop.example.com"));
        assert_eq!(entry.request_id.as_deref(), Some("r-1"));
        assert_eq!(entry.traceparent.as_deref(), Some("00-ab-cd-01"));
        assert_eq!(entry.timers.total_us, Some(2114));
        assert_eq!(entry.upstream().as_deref(), Some("192.0.2.20:8080"));
        let attempt = entry.attempts.first();
        assert_eq!(attempt.and_then(|one| one.response_us), Some(2001));
        assert_eq!(entry.meaning, Some(&statuses::MADE_502));
    }

    #[test]
    fn what_the_accesses_mean() {
        for (from, to, meaning) in [
            (
                r#""OriginContentSize":11,"#,
                "",
                Some(&statuses::EITHER_502),
            ),
            (
                r#""OriginContentSize":11"#,
                r#""OriginContentSize":99"#,
                Some(&statuses::APPLICATION),
            ),
            (
                r#""DownstreamStatus":502"#,
                r#""DownstreamStatus":200"#,
                None,
            ),
            (
                r#"502,"Duration":2114313,"OriginDuration":2001200,"OriginStatus":502,"OriginContentSize":11"#,
                r#"503,"OriginStatus":0"#,
                Some(&statuses::NO_SERVER),
            ),
            (
                r#""DownstreamStatus":502"#,
                r#""DownstreamStatus":499"#,
                Some(&statuses::CLIENT_LEFT),
            ),
        ] {
            let line = ACCESS.replacen(from, to, 1);
            assert_eq!(read(&line).meaning, meaning, "{line}");
        }
        let retried = ACCESS
            .replace("502", "200")
            .replace(r#""RetryAttempts":0"#, r#""RetryAttempts":1"#);
        assert_eq!(read(&retried).meaning, Some(&statuses::HIDDEN));
    }

    #[test]
    fn what_the_application_log_says() {
        for (members, status, class, upstream) in [
            (
                r#""error":"dial tcp 192.0.2.20:8080: connect: connection refused","message":"502 Bad Gateway""#,
                Some(502),
                "connect-refused",
                "192.0.2.20:8080",
            ),
            (
                r#""error":"tls: failed to verify certificate: x509: certificate has expired","message":"500 Internal Server Error""#,
                Some(500),
                "tls-verify-failed",
                "",
            ),
            (
                r#""msg":"'502 Bad Gateway' caused by: EOF""#,
                Some(502),
                "fin-before-response",
                "",
            ),
            (
                r#""error":"context canceled","message":"499 Client Closed Request""#,
                Some(499),
                "client-abort",
                "",
            ),
            (
                r#""message":"httputil: ReverseProxy read error during body copy: unexpected EOF""#,
                None,
                "body-truncated-fin",
                "",
            ),
        ] {
            let line = format!(r#"{{"level":"debug","time":"2026-11-22T07:31:02Z",{members}}}"#);
            let entry = read(&line);
            assert_eq!(entry.status, status, "{line}");
            assert_eq!(entry.classes().first(), Some(&class), "{line}");
            assert_eq!(entry.upstream().unwrap_or_default(), upstream, "{line}");
            assert!(entry.time.is_some() && entry.says.is_some());
        }
        let provider = br#"{"level":"error","error":"dial unix /var/run/docker.sock: connect: permission denied","time":"2026-11-22T07:31:02Z","message":"Provider error"}"#;
        assert!(!looks_like(provider));
        let entry = parse(provider).unwrap();
        assert_eq!((entry.meaning, entry.attempts.len()), (None, 0));
        let health = br#"{"level":"warn","error":"x","targetURL":"http://192.0.2.20:8080","message":"Health check failed."}"#;
        let entry = parse(health).unwrap();
        assert_eq!(entry.kind, Kind::Health);
        assert_eq!(entry.meaning.map(|one| one.blame), Some(Blame::Context));
        assert_eq!(entry.upstream().as_deref(), Some("192.0.2.20:8080"));
    }

    #[test]
    fn other_lines_are_errors() {
        for line in ["", "[]", "{}", r#"{"level":"info"}"#, r#"{"message":"#] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
        any_prefix_is_an_error_or_an_entry(ACCESS.as_bytes(), parse);
    }
}
