//! Log entries of Google Cloud Application Load Balancers.
//!
//! Global and classic: <https://cloud.google.com/load-balancing/docs/https/https-logging-monitoring>
//! (`statusDetails`). Regional and internal:
//! <https://cloud.google.com/load-balancing/docs/https/https-reg-logging-monitoring> (`proxyStatus`, in the
//! form of <https://www.rfc-editor.org/rfc/rfc9209>).

use super::entry::{Entry, Kind, LogAttempt, System, host_of, peer};
use super::json;
use super::meaning::{Blame, Meaning};
use super::scan::{ParseError, Scan};
use super::stamp::{Stamp, rfc3339};

/// What only entries of a balancer have.
const MARKS: [&str; 5] = [
    "http_load_balancer",
    "http_external_regional_lb_rule",
    "internal_http_lb_rule",
    "statusDetails",
    "proxyStatus",
];

static APPLICATION: Meaning = Meaning {
    code: "response_sent_by_backend",
    text: "The backend itself answered with this status; its connection was in order. The cause is in \
           the application, or behind it.",
    classes: &["application-502"],
    blame: Blame::Application,
};

static UNKNOWN: Meaning = Meaning {
    code: "5xx without known details",
    text: "The balancer answered with this status and gave no reason that is known here. It counts as \
           a failure of the backend's connection until something says otherwise.",
    classes: &[],
    blame: Blame::Backend,
};

const CLOSED_EARLY: &[&str] = &[
    "keepalive-race",
    "fin-before-response",
    "rst-before-response",
    "backend-process-exit",
    "idle-drop-by-middlebox",
    "path-reset",
];
const CERTIFICATE: &str = "The balancer did not accept the backend's certificate, which it looks at \
    only where that was configured. The handshake ended there, and no request was sent.";
const NAMES: &str = "The backend's name could not be resolved, so no connection was made.";
const PLATFORM: &str = "Something within Google's own platform; mostly it passes by itself. The line \
    says nothing about the backend.";
const POLICY: &str = "A policy answered in place of the backend, as it was configured to; no backend \
    was asked.";
const PROXY_OWN: &str =
    "The balancer's own configuration or inner working; no backend had a part in it.";

/// For `explain`. Some codes are only the beginning of several: they end in `_`.
pub(in crate::logs) static MEANINGS: &[&Meaning] = &[
    &APPLICATION,
    &UNKNOWN,
    &backend(
        "backend_connection_closed_before_data_sent_to_client",
        "The backend closed or reset the connection before the client had got anything. The balancer \
         keeps idle connections for 600 s, fixed, so a backend with a shorter keep-alive is the first \
         suspect; the line does not prove it.",
        CLOSED_EARLY,
    ),
    &backend(
        "backend_connection_closed_after_partial_response_sent",
        "The backend ended the connection in the middle of its response: the client has a part of it. \
         Status 0 means that not even the head was complete.",
        &[
            "body-truncated-fin",
            "body-truncated-rst",
            "partial-header",
            "path-reset",
        ],
    ),
    &backend(
        "backend_timeout",
        "The backend did not finish in the backend service's timeout (30 s unless changed). A slow \
         application and a path that loses packets look alike here.",
        &[
            "response-timeout",
            "body-stalled",
            "mtu-black-hole",
            "packet-loss",
        ],
    ),
    &backend(
        "failed_to_connect_to_backend",
        "No connection to the backend came about: refused, no answer, unreachable, or the TLS \
         handshake failed. The line does not say which.",
        &[
            "connect-refused",
            "connect-timeout",
            "connect-unreachable",
            "listen-queue-overflow",
            "tls-peer-closed",
            "tls-reset",
            "tls-alert-from-backend",
            "tls-to-plaintext",
            "tls-handshake-timeout",
        ],
    ),
    &backend(
        "failed_to_pick_backend",
        "The balancer had no healthy backend with room for the request, so it made no connection. \
         Health checks that a firewall keeps out (35.191.0.0/16 and 130.211.0.0/22) end here too.",
        &[
            "no-backend-available",
            "queue-timeout",
            "name-resolution-failed",
        ],
    ),
    &backend(
        "failed_to_negotiate_alpn",
        "The backend did not agree to the protocol that the backend service asks for (HTTP/2 or gRPC).",
        &["protocol-version-mismatch", "tls-alert-from-backend"],
    ),
    &backend(
        "backend_response_headers_too_long",
        "The head of the backend's response is larger than the balancer takes.",
        &["header-too-large"],
    ),
    &backend(
        "backend_response_corrupted",
        "The backend's response was no valid HTTP, or its lengths or chunks contradict one another.",
        &[
            "malformed-response",
            "conflicting-framing",
            "chunk-framing-invalid",
            "protocol-version-mismatch",
            "plaintext-to-tls",
        ],
    ),
    &backend(
        "backend_early_response_with_non_error_status",
        "The backend answered with success before the request was complete, which the balancer takes \
         for an error. A backend must read the whole body first.",
        &["request-body-rejected"],
    ),
    &backend(
        "aborted_request_due_to_backend_early_response",
        "The backend answered with an error before the request was complete; the rest of the request \
         was not sent.",
        &["request-body-rejected", "application-502"],
    ),
    &backend(
        "backend_interim_response_not_supported",
        "The backend sent an interim response (1xx) where the balancer does not expect one.",
        &["informational-only-response"],
    ),
    &backend(
        "error_uncompressing_gzipped_body",
        "The body that the backend sent as gzip could not be unpacked.",
        &["malformed-response"],
    ),
    &backend(
        "websocket_handshake_failed",
        "The backend did not agree to become a WebSocket.",
        &["upgrade-refused"],
    ),
    &certificate("ssl_certificate_san_verification_failed"),
    &certificate("ssl_certificate_chain_verification_failed"),
    &certificate("server_cert_chain_exceeded_limit"),
    &certificate("server_cert_chain_invalid_eku"),
    &certificate("server_cert_chain_max_name_constraints_exceeded"),
    &certificate("server_cert_exceeded_size_limit"),
    &certificate("server_cert_invalid_rsa_key_size"),
    &certificate("server_cert_not_provided"),
    &certificate("server_cert_pki_too_large"),
    &certificate("server_cert_trust_config_not_found"),
    &certificate("server_cert_unsupported_"),
    &certificate("server_cert_validation_"),
    &other("config_not_found", PLATFORM, Blame::Proxy),
    &other("retriable_error", PLATFORM, Blame::Proxy),
    &other("internal_error", PLATFORM, Blame::Proxy),
    &other(
        "request_loop_detected",
        "The request came back to a balancer that it had already passed.",
        Blame::Proxy,
    ),
    &backend(
        "serverless_neg_routing_failed",
        "The serverless backend that the request is meant for does not exist, or not in this region.",
        &["no-backend-available"],
    ),
    &client(
        "client_disconnected_before_any_response",
        "The client left before it had got anything.",
    ),
    &client(
        "client_disconnected_after_partial_response",
        "The client left in the middle of the response.",
    ),
    &client(
        "client_timed_out",
        "The client did not send its request, or take the response, in time.",
    ),
    &other(
        "headers_too_long",
        "The head of the client's request is larger than the balancer takes.",
        Blame::Client,
    ),
    &other(
        "body_not_allowed",
        "The client sent a body where there may be none.",
        Blame::Client,
    ),
    &other("handled_by_identity_aware_proxy", POLICY, Blame::Proxy),
    &other("denied_by_security_policy", POLICY, Blame::Proxy),
    &other("redirected_by_security_policy", POLICY, Blame::Proxy),
    // `proxyStatus`, RFC 9209 section 2.3.
    &backend("dns_timeout", NAMES, &["name-resolution-failed"]),
    &backend("dns_error", NAMES, &["name-resolution-failed"]),
    &other("destination_not_found", PROXY_OWN, Blame::Proxy),
    &backend(
        "destination_unavailable",
        "The balancer takes the backend to be down, mostly since its health checks fail, and did not \
         ask it.",
        &["no-backend-available", "connect-refused", "connect-timeout"],
    ),
    &other("destination_ip_prohibited", PROXY_OWN, Blame::Proxy),
    &backend(
        "destination_ip_unroutable",
        "There is no route to the backend's address.",
        &["connect-unreachable"],
    ),
    &backend(
        "connection_refused",
        "The backend refused the connection: nothing listens on that port, or a firewall rejects it.",
        &["connect-refused"],
    ),
    &backend(
        "connection_terminated",
        "The backend closed or reset the connection before its response was complete. Idle \
         connections are kept for 600 s, fixed, so a backend with a shorter keep-alive is the first \
         suspect; the line does not prove it.",
        &[
            "keepalive-race",
            "fin-before-response",
            "rst-before-response",
            "backend-process-exit",
            "partial-header",
            "idle-drop-by-middlebox",
            "path-reset",
        ],
    ),
    &backend(
        "connection_timeout",
        "The backend did not accept a connection in time.",
        &[
            "connect-timeout",
            "listen-queue-overflow",
            "tls-handshake-timeout",
        ],
    ),
    &backend(
        "connection_read_timeout",
        "Nothing came from the backend for too long.",
        &[
            "response-timeout",
            "body-stalled",
            "mtu-black-hole",
            "packet-loss",
        ],
    ),
    &backend(
        "connection_write_timeout",
        "The backend did not take the request in time.",
        &["response-timeout", "mtu-black-hole", "packet-loss"],
    ),
    &backend(
        "connection_limit_reached",
        "The balancer has as many connections to the backend as it may have.",
        &["queue-timeout", "no-backend-available"],
    ),
    &backend(
        "tls_protocol_error",
        "The TLS handshake with the backend failed.",
        &[
            "tls-peer-closed",
            "tls-reset",
            "tls-to-plaintext",
            "tls-alert-from-backend",
            "tls-handshake-timeout",
        ],
    ),
    &certificate("tls_certificate_error"),
    &backend(
        "tls_alert_received",
        "The backend ended the TLS handshake with an alert.",
        &["tls-alert-from-backend"],
    ),
    &other(
        "http_request_error",
        "The client's request could not be served as it stood.",
        Blame::Client,
    ),
    &other("http_request_denied", POLICY, Blame::Proxy),
    &backend(
        "http_response_incomplete",
        "The backend's response ended before it was complete.",
        &[
            "partial-header",
            "body-truncated-fin",
            "body-truncated-rst",
            "fin-before-response",
        ],
    ),
    &backend(
        "http_response_header_section_size",
        "The head of the backend's response is larger than the balancer takes.",
        &["header-too-large"],
    ),
    &backend(
        "http_response_header_size",
        "A header field of the backend's response is larger than the balancer takes.",
        &["header-too-large"],
    ),
    &backend(
        "http_response_timeout",
        "The backend's response was not complete in time.",
        &[
            "response-timeout",
            "body-stalled",
            "mtu-black-hole",
            "packet-loss",
        ],
    ),
    &backend(
        "http_upgrade_failed",
        "The backend did not agree to change the protocol.",
        &["upgrade-refused"],
    ),
    &backend(
        "http_protocol_error",
        "What the backend sent was no valid HTTP.",
        &[
            "malformed-response",
            "conflicting-framing",
            "chunk-framing-invalid",
        ],
    ),
    &other("proxy_internal_response", PROXY_OWN, Blame::Proxy),
    &other("proxy_internal_error", PROXY_OWN, Blame::Proxy),
    &other("proxy_configuration_error", PROXY_OWN, Blame::Proxy),
    &other("proxy_loop_detected", PROXY_OWN, Blame::Proxy),
];

const fn backend(
    code: &'static str,
    text: &'static str,
    classes: &'static [&'static str],
) -> Meaning {
    Meaning {
        code,
        text,
        classes,
        blame: Blame::Backend,
    }
}

const fn certificate(code: &'static str) -> Meaning {
    backend(code, CERTIFICATE, &["tls-verify-failed"])
}

const fn client(code: &'static str, text: &'static str) -> Meaning {
    Meaning {
        code,
        text,
        classes: &["client-abort"],
        blame: Blame::Client,
    }
}

const fn other(code: &'static str, text: &'static str, blame: Blame) -> Meaning {
    Meaning {
        code,
        text,
        classes: &[],
        blame,
    }
}

pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    MARKS
        .iter()
        .any(|mark| json::names(line, &["httpRequest", mark]))
}

pub(in crate::logs) fn parse(line: &[u8]) -> Result<Entry<'_>, ParseError> {
    let record = json::object(line)?;
    let Some(request) = record.get("httpRequest").filter(|part| part.is_object()) else {
        return Err(Scan::new(line).error("a log entry with httpRequest"));
    };
    let mut entry = Entry::new(System::Gcp, Kind::Access);
    // The timestamp is of the request; the response was complete a latency later.
    entry.started = json::text(&record, "timestamp").and_then(|time| rfc3339(&time));
    entry.timers.total_us = json::seconds_us(request, "latency");
    entry.time = entry
        .started
        .map(|started| later(started, entry.timers.total_us));
    entry.status = json::status(request, "status");
    entry.client = json::text(request, "remoteIp").and_then(|ip| peer(&ip));
    entry.method = json::text(request, "requestMethod").map(Into::into);
    entry.protocol = json::text(request, "protocol").map(Into::into);
    let target = json::text(request, "requestUrl");
    entry.host = target
        .as_deref()
        .and_then(host_of)
        .map(|host| host.to_owned().into());
    entry.target = target.map(Into::into);

    let payload = record.get("jsonPayload");
    let detail = |key| payload.and_then(|payload| json::text(payload, key));
    let says = detail("statusDetails").or_else(|| detail("proxyStatus"));
    let by_backend = says.as_deref() == Some(APPLICATION.code);
    entry.meaning = meaning(entry.status, says.as_deref());
    entry.says = says.map(Into::into);
    if let Some(server) = json::text(request, "serverIp").and_then(|ip| peer(&ip)) {
        entry.attempts.push(LogAttempt {
            addr: server.port.map(|port| (server.ip, port).into()),
            ip: server.port.is_none().then_some(server.ip),
            status: entry.status.filter(|_| by_backend),
            ..LogAttempt::default()
        });
    }
    Ok(entry)
}

fn later(at: Stamp, us: Option<u64>) -> Stamp {
    let ns = us.and_then(|us| i64::try_from(us.checked_mul(1000)?).ok());
    let unix_ns = ns.and_then(|ns| at.unix_ns.checked_add(ns));
    Stamp {
        unix_ns: unix_ns.unwrap_or(at.unix_ns),
        ..at
    }
}

fn meaning(status: Option<u16>, says: Option<&str>) -> Option<&'static Meaning> {
    let failed = status.is_some_and(|status| status >= 500);
    let found = says.and_then(|says| {
        // The details are nearer to the cause than the type of error.
        known(says)
            .or_else(|| known(&parameter(says, "details")?))
            .or_else(|| known(&parameter(says, "error")?))
    });
    match found {
        Some(meaning) if meaning == &APPLICATION => failed.then_some(meaning),
        None if failed => Some(&UNKNOWN),
        found => found,
    }
}

fn known(code: &str) -> Option<&'static Meaning> {
    let fits = |meaning: &&&Meaning| {
        meaning.code == code || (meaning.code.ends_with('_') && code.starts_with(meaning.code))
    };
    MEANINGS.iter().find(fits).copied()
}

/// A parameter of the last member of a list like `a; error=b, c; error="d"; details="e \" f"`: the last
/// proxy is the one nearest to the client, which wrote the log.
fn parameter(list: &str, name: &str) -> Option<String> {
    let mut found = None;
    let mut rest = list;
    while !rest.is_empty() {
        let (part, end, next) = cut(rest);
        if let Some((key, value)) = part.split_once('=')
            && key.trim() == name
        {
            found = Some(unquoted(value.trim()));
        }
        if end == Some(',') {
            found = None;
        }
        rest = next;
    }
    found
}

/// What stands before the next `;` or `,` outside quotes, which of them it is, and what follows.
fn cut(text: &str) -> (&str, Option<char>, &str) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' | ',' if !quoted => return (&text[..at], Some(c), &text[at + 1..]),
            _ => {}
        }
    }
    (text, None, "")
}

fn unquoted(value: &str) -> String {
    let inside = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    inside.map_or_else(|| value.to_owned(), |inside| inside.replace("\\\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const LINE: &str = r#"{"severity":"WARNING","timestamp":"2026-11-22T07:31:02.417305Z","httpRequest":{"requestMethod":"GET","requestUrl":"https://shop.example.com/cart?x","status":502,"remoteIp":"203.0.113.5:51544","serverIp":"192.0.2.20","latency":"0.004211s"},"resource":{"type":"http_load_balancer"},"jsonPayload":{"statusDetails":"backend_connection_closed_before_data_sent_to_client"}}"#;

    fn with(details: &str) -> String {
        LINE.replace(
            "backend_connection_closed_before_data_sent_to_client",
            details,
        )
    }

    #[test]
    fn a_connection_that_was_closed() {
        assert!(looks_like(LINE.as_bytes()));
        let entry = parse(LINE.as_bytes()).unwrap();
        assert_eq!(
            entry.started.unwrap().unix_ns - MORNING_NS,
            27_062_417_305_000
        );
        assert_eq!(entry.time.unwrap().unix_ns - MORNING_NS, 27_062_421_516_000);
        assert_eq!(entry.timers.total_us, Some(4_211));
        assert_eq!((entry.status, entry.path()), (Some(502), Some("/cart")));
        assert_eq!(entry.host.as_deref(), Some("shop.example.com"));
        assert_eq!(entry.client.unwrap().port, Some(51544));
        let attempt = &entry.attempts[0];
        assert_eq!(
            (attempt.ip, attempt.addr),
            ("192.0.2.20".parse().ok(), None)
        );
        assert_eq!(attempt.status, None);
        assert_eq!(entry.classes(), CLOSED_EARLY);
    }

    #[test]
    fn what_the_details_mean() {
        for (details, class) in [
            ("failed_to_pick_backend", Some("no-backend-available")),
            (
                "server_cert_unsupported_key_type",
                Some("tls-verify-failed"),
            ),
            ("server_cert_validation_internal", Some("tls-verify-failed")),
            ("websocket_handshake_failed", Some("upgrade-refused")),
            ("denied_by_security_policy", None),
            ("something_new", None),
        ] {
            let line = with(details);
            let entry = parse(line.as_bytes()).unwrap();
            assert_eq!(entry.classes().first().copied(), class, "{details}");
            assert_eq!(entry.says.as_deref(), Some(details));
        }
        let of = |line: String| parse(line.as_bytes()).unwrap().meaning;
        assert_eq!(of(with(APPLICATION.code)), Some(&APPLICATION));
        assert_eq!(of(with("something_new")), Some(&UNKNOWN));
        assert_eq!(of(with("")), Some(&UNKNOWN));
        let fine = |line: String| line.replace(":502,", ":200,");
        assert_eq!(of(fine(with(APPLICATION.code))), None);
        assert_eq!(of(fine(with("something_new"))), None);
        assert!(
            of(fine(with(
                "backend_connection_closed_after_partial_response_sent"
            )))
            .is_some()
        );
        let gone = with("client_disconnected_before_any_response").replace(":502,", ":0,");
        let entry = parse(gone.as_bytes()).unwrap();
        assert_eq!(
            (entry.status, entry.classes()),
            (None, &["client-abort"][..])
        );
    }

    #[test]
    fn proxy_status() {
        for (status, code) in [
            (
                r#"error=\"connection_terminated\"; details=\"backend_connection_closed\""#,
                "connection_terminated",
            ),
            (r#"error=connection_refused"#, "connection_refused"),
            (
                r#"error=\"destination_unavailable\"; details=\"failed_to_pick_backend\""#,
                "failed_to_pick_backend",
            ),
            (
                r#"origin; error=dns_error, lb; error=\"http_protocol_error\""#,
                "http_protocol_error",
            ),
            (
                r#"lb; details=\"a ; error=dns_error \\\" , x\"; error=tls_alert_received"#,
                "tls_alert_received",
            ),
            (r#"a; error=dns_error, b"#, UNKNOWN.code),
            (r#"error=\"unclosed"#, UNKNOWN.code),
        ] {
            let line = with(status).replace("statusDetails", "proxyStatus");
            let entry = parse(line.as_bytes()).unwrap();
            assert_eq!(entry.meaning.map(|m| m.code), Some(code), "{status}");
        }
    }

    #[test]
    fn text_and_numbers() {
        let other_types = LINE
            .replace(":502,", ":\"502\",")
            .replace("\"0.004211s\"", "0.004211");
        assert_eq!(parse(other_types.as_bytes()), parse(LINE.as_bytes()));
    }

    #[test]
    fn unpleasant_lines() {
        let bare = r#"{"httpRequest":{"serverIp":"[2001:db8::20]:443"},"resource":{"type":"internal_http_lb_rule"},"jsonPayload":[]}"#;
        assert!(looks_like(bare.as_bytes()));
        let entry = parse(bare.as_bytes()).unwrap();
        assert_eq!(entry.upstream().as_deref(), Some("[2001:db8::20]:443"));
        assert_eq!((entry.time, entry.meaning), (None, None));
        assert_eq!(parse(br#"{"jsonPayload":{}}"#).unwrap_err().offset, 0);
        any_prefix_is_an_error_or_an_entry(LINE.as_bytes(), parse);
    }
}
