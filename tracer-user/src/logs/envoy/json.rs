//! Access log of Envoy in JSON.
//!
//! Everybody chooses the names of the members: those that the documentation and Istio use are known by
//! name, and what is missing then is looked for by what the values look like.

use std::borrow::Cow;

use serde_json::Value;

use crate::logs::entry::{Entry, Kind, LogAttempt, System, Text, peer};
use crate::logs::json;
use crate::logs::meaning::Blame;
use crate::logs::scan::ParseError;
use crate::logs::stamp::rfc3339;

use super::flags::{Flags, are_flags};
use super::outcome::Outcome;
use super::text::ended;

// Names of members, the most likely first.
const STARTED: &[&str] = &["start_time", "startTime", "timestamp", "@timestamp", "time"];
const METHOD: &[&str] = &[
    "method",
    "request_method",
    "req_method",
    ":method",
    "x_method",
];
const PATH: &[&str] = &[
    "path",
    "x-envoy-original-path",
    "x_envoy_original_path",
    "request_path",
    "original_path",
    "uri_path",
    "uri",
    "url",
    ":path",
];
const PROTOCOL: &[&str] = &["protocol", "request_protocol"];
const STATUS: &[&str] = &[
    "response_code",
    "status",
    "status_code",
    "responseCode",
    "code",
];
const FLAGS: &[&str] = &[
    "response_flags",
    "response_flags_long",
    "responseFlags",
    "response_flag",
    "flags",
];
const DETAILS: &[&str] = &["response_code_details", "responseCodeDetails", "details"];
const TERMINATION: &[&str] = &[
    "connection_termination_details",
    "connectionTerminationDetails",
];
const TRANSPORT: &[&str] = &[
    "upstream_transport_failure_reason",
    "upstreamTransportFailureReason",
];
const UPSTREAM: &[&str] = &[
    "upstream_host",
    "upstreamHost",
    "upstream_remote_address",
    "upstream_address",
    "upstream",
];
const LOCAL: &[&str] = &["upstream_local_address", "upstreamLocalAddress"];
const CLUSTER: &[&str] = &[
    "upstream_cluster",
    "upstream_cluster_raw",
    "upstreamCluster",
];
const CLIENT: &[&str] = &[
    "downstream_remote_address",
    "downstream_direct_remote_address",
    "downstreamRemoteAddress",
    "client_address",
    "remote_address",
    "client_ip",
    "downstream_remote_address_without_port",
];
const FORWARDED: &[&str] = &["x_forwarded_for", "x-forwarded-for", "forwarded_for"];
const REQUEST_ID: &[&str] = &["request_id", "x_request_id", "x-request-id", "requestId"];
const TRACEPARENT: &[&str] = &["traceparent", "trace_parent"];
const DURATION: &[&str] = &["duration", "duration_ms", "response_duration"];
const SERVICE: &[&str] = &[
    "upstream_service_time",
    "x_envoy_upstream_service_time",
    "x-envoy-upstream-service-time",
];
const AUTHORITY: &[&str] = &["authority", ":authority", "host", "x_authority"];
const ATTEMPTS: &[&str] = &["upstream_request_attempt_count", "attempt_count"];
const CONNECTION: &[&str] = &["connection_id", "downstream_connection_id"];

/// Members and values that nobody but Envoy writes.
const MARKS: &[&[u8]] = &[
    b"\"response_flags",
    b"\"response_code_details\"",
    b"\"upstream_transport_failure_reason\"",
    b"\"upstream_request_attempt_count\"",
    b"\"upstream_local_address\"",
    b"\"via_upstream\"",
    b"upstream_reset_before_response_started",
    b"upstream_reset_after_response_started",
    b"\"no_healthy_upstream\"",
];

pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    let marked = |mark: &&[u8]| memchr::memmem::find(line, mark).is_some();
    line.trim_ascii_start().starts_with(b"{") && MARKS.iter().any(marked)
}

pub(in crate::logs) fn parse<'a>(line: &'a [u8]) -> Result<Entry<'a>, ParseError> {
    let object = json::object(line)?;
    let status = first(STATUS, |key| json::status(&object, key));
    let flags = first(FLAGS, |key| flags_of(&object, key))
        .or_else(|| by_content(&object, is_flag_list))
        .unwrap_or_default();
    let details = first(DETAILS, |key| json::text(&object, key))
        .or_else(|| by_content(&object, is_details))
        .unwrap_or_default();
    if status.is_none() && flags.is_empty() && details.is_empty() {
        return Err(ParseError {
            offset: 0,
            expected: "response_code, response_flags or response_code_details",
        });
    }
    let transport = first(TRANSPORT, |key| json::text(&object, key))
        .or_else(|| by_content(&object, is_transport_reason))
        .unwrap_or_default();
    let termination = first(TERMINATION, |key| json::text(&object, key)).unwrap_or_default();
    let upstream = first(UPSTREAM, |key| json::text(&object, key));
    let outcome = Outcome {
        flags: Flags(&flags),
        details: &details,
        transport: &transport,
        termination: &termination,
        status,
        has_upstream: upstream.is_some(),
        attempts: first(ATTEMPTS, |key| json::number(&object, key)),
    };

    let mut entry = Entry::new(System::Envoy, Kind::Access);
    entry.status = status;
    entry.meaning = outcome.meaning();
    entry.says = entry.meaning.and_then(|_| outcome.says());
    read_request(&mut entry, &object);
    let ms_as_us = |ms: u64| ms.checked_mul(1000);
    entry.timers.total_us = first(DURATION, |key| json::number(&object, key)).and_then(ms_as_us);
    entry.timers.header_us = first(SERVICE, |key| json::number(&object, key)).and_then(ms_as_us);
    entry.started = first(STARTED, |key| rfc3339(&json::text(&object, key)?))
        .or_else(|| rfc3339(&by_content(&object, is_time)?));
    entry.time = ended(entry.started, entry.timers.total_us);

    let blames_backend = entry
        .meaning
        .is_some_and(|meaning| meaning.blame == Blame::Backend);
    let cluster = || first(CLUSTER, |key| json::text(&object, key)).filter(|_| blames_backend);
    if let Some(name) = upstream.or_else(cluster) {
        let header_us = entry.timers.header_us;
        entry.attempts.push(LogAttempt {
            addr: name.parse().ok(),
            name: Some(Cow::Owned(name)),
            local: first(LOCAL, |key| json::text(&object, key)?.parse().ok()),
            status: status.filter(|_| header_us.is_some() || details == "via_upstream"),
            header_us,
            ..LogAttempt::default()
        });
    }
    Ok(entry)
}

fn read_request(entry: &mut Entry<'_>, object: &Value) {
    let text = |keys: &[&str]| -> Option<Text<'static>> {
        first(keys, |key| json::text(object, key)).map(Cow::Owned)
    };
    entry.method = text(METHOD);
    entry.target = text(PATH);
    entry.protocol = text(PROTOCOL);
    entry.host = text(AUTHORITY);
    entry.request_id = text(REQUEST_ID);
    entry.traceparent = text(TRACEPARENT);
    entry.connection = first(CONNECTION, |key| json::number(object, key));
    entry.client = text(CLIENT)
        .and_then(|client| peer(&client))
        // Of several addresses the last is the one that Envoy saw itself.
        .or_else(|| peer(text(FORWARDED)?.rsplit(',').next()?.trim()));
}

/// What the first of these members gives that gives anything.
fn first<T>(keys: &[&str], of: impl Fn(&str) -> Option<T>) -> Option<T> {
    keys.iter().find_map(|key| of(key))
}

/// Flags are text; the typed form is a list of text.
fn flags_of(object: &Value, key: &str) -> Option<String> {
    match object.get(key)? {
        Value::String(flags) if !flags.is_empty() => Some(flags.clone()),
        Value::Array(flags) => {
            let names: Vec<&str> = flags.iter().filter_map(Value::as_str).collect();
            Some(names.join(","))
        }
        _ => None,
    }
}

/// The first member whose value is such text.
fn by_content(object: &Value, is: fn(&str) -> bool) -> Option<String> {
    let mut values = object.as_object()?.values().filter_map(Value::as_str);
    values.find(|text| is(text)).map(str::to_owned)
}

/// A flag by itself: `-` stands for so much that it says nothing.
fn is_flag_list(text: &str) -> bool {
    text != "-" && are_flags(text)
}

fn is_details(text: &str) -> bool {
    matches!(
        text,
        "via_upstream" | "no_healthy_upstream" | "response_timeout" | "upstream_response_timeout"
    ) || text.starts_with("upstream_reset_before_response_started")
        || text.starts_with("upstream_reset_after_response_started")
}

fn is_transport_reason(text: &str) -> bool {
    [
        "delayed_connect_error",
        "immediate_connect_error",
        "TLS_error",
    ]
    .iter()
    .any(|begin| text.starts_with(begin))
}

fn is_time(text: &str) -> bool {
    text.as_bytes().get(10) == Some(&b'T') && rfc3339(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::envoy::meanings as is;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const REFUSED: &str = r#"{"start_time":"2026-11-22T07:31:05.001Z","method":"GET","path":"/cart?id=7","protocol":"HTTP/1.1","response_code":503,"response_flags":"URX,UF","response_code_details":"upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}","connection_termination_details":null,"upstream_transport_failure_reason":"delayed_connect_error:_Connection_refused","bytes_received":0,"bytes_sent":190,"duration":63,"upstream_host":"192.0.2.20:8080","upstream_cluster":"shop","upstream_local_address":"192.0.2.10:41022","upstream_request_attempt_count":3,"downstream_remote_address":"203.0.113.5:55310","x_request_id":"9ccd9d1a","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","authority":"shop.example.com"}"#;

    fn read(line: &str) -> Entry<'_> {
        assert!(looks_like(line.as_bytes()), "{line}");
        parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn members_by_name() {
        let entry = read(REFUSED);
        assert_eq!((entry.status, entry.path()), (Some(503), Some("/cart")));
        assert_eq!(entry.host.as_deref(), Some("shop.example.com"));
        assert_eq!(entry.request_id.as_deref(), Some("9ccd9d1a"));
        assert!(entry.traceparent.is_some());
        assert_eq!(entry.client, peer("203.0.113.5:55310"));
        let attempt = &entry.attempts[0];
        assert_eq!(attempt.addr, "192.0.2.20:8080".parse().ok());
        assert_eq!(attempt.local, "192.0.2.10:41022".parse().ok());
        assert_eq!(attempt.status, None);
        assert_eq!(entry.meaning, Some(&is::REFUSED));
        assert_eq!(
            entry.says.as_deref(),
            Some(
                "URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
            )
        );
        assert_eq!(
            entry.time.map(|at| (at.unix_ns - MORNING_NS) / 1_000_000),
            Some(27_065_064)
        );
    }

    #[test]
    fn members_by_what_they_hold() {
        let entry = read(
            r#"{"a":"2026-11-22T07:31:05.001Z","b":"UC","c":"upstream_reset_after_response_started{connection_termination}","d":"-","status":"200","upstream":"192.0.2.20:8080"}"#,
        );
        assert_eq!(entry.meaning, Some(&is::TRUNCATED));
        assert_eq!(
            entry.started.map(|at| at.unix_ns - MORNING_NS),
            Some(27_065_001_000_000)
        );
        let entry = read(
            r#"{"code":503,"flags":"UF","why":"delayed_connect_error:_111","upstream_local_address":null}"#,
        );
        assert_eq!(entry.meaning, Some(&is::REFUSED));
    }

    #[test]
    fn what_the_lines_mean() {
        for (line, meaning) in [
            (
                r#"{"response_code":502,"response_flags":"-","response_code_details":"via_upstream","upstream_host":"192.0.2.20:8080"}"#,
                Some(&is::APPLICATION),
            ),
            (
                r#"{"response_code":200,"response_flags":"-","response_code_details":"via_upstream","upstream_request_attempt_count":2}"#,
                Some(&is::RETRIED),
            ),
            (
                r#"{"response_code":"200","response_flags":"-","upstream_request_attempt_count":"1"}"#,
                None,
            ),
            (
                r#"{"response_code":503,"response_flags":["NoHealthyUpstream"],"upstream_host":null,"upstream_cluster":"shop"}"#,
                Some(&is::NO_HOST),
            ),
            (
                r#"{"response_code":0,"response_flags":"DC","response_code_details":"downstream_remote_disconnect"}"#,
                Some(&is::CLIENT_LEFT),
            ),
        ] {
            assert_eq!(read(line).meaning, meaning, "{line}");
        }
        let nobody = read(
            r#"{"response_code":503,"response_flags":"UH","upstream_host":null,"upstream_cluster":"shop"}"#,
        );
        assert_eq!(nobody.upstream().as_deref(), Some("shop"));
        let answered = read(
            r#"{"response_code":502,"response_code_details":"via_upstream","upstream_host":"192.0.2.20:8080"}"#,
        );
        assert_eq!(answered.attempts[0].status, Some(502));
    }

    #[test]
    fn lines_of_others() {
        for line in [
            "",
            "{}",
            r#"{"level":"error","logger":"http.log.error","msg":"EOF","status":502}"#,
            r#"{"status":"502","upstream_addr":"192.0.2.20:8080","upstream_status":"502"}"#,
            r#"{"OriginStatus":502,"DownstreamStatus":502,"ServiceAddr":"192.0.2.20:8080"}"#,
            r#"[2026-11-22T07:31:02.417Z] "GET /?"via_upstream" HTTP/1.1""#,
        ] {
            assert!(!looks_like(line.as_bytes()), "{line}");
        }
        let error = parse(b"{\"level\":\"info\"}").unwrap_err();
        assert_eq!(error.offset, 0);
        assert_eq!(parse(b"{\"a\":}").unwrap_err().offset, 5);
    }

    #[test]
    fn cut_or_changed_anywhere() {
        any_prefix_is_an_error_or_an_entry(REFUSED.as_bytes(), parse);
    }
}
