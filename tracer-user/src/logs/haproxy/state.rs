//! What the termination state of a session means.
//!
//! Characters: <https://docs.haproxy.org/2.6/configuration.html#8.5>.

use crate::logs::meaning::{Blame, Meaning};

use super::connect_error;
use super::extra::ServerError;

static NO_SERVER: Meaning = Meaning {
    code: "SC <NOSRV>",
    text: "No server could be chosen: all of the backend's servers were marked down, in maintenance, or \
           not resolved. What took them down stands in earlier lines, or in their health checks.",
    classes: &["no-backend-available", "name-resolution-failed"],
    blame: Blame::Backend,
};

static CONNECT_TIMEOUT: Meaning = Meaning {
    code: "sC",
    text: "The connection to the server was not ready within `timeout connect`. The TLS handshake is \
           part of that time, so this need not be TCP.",
    classes: &[
        "connect-timeout",
        "tls-handshake-timeout",
        "listen-queue-overflow",
        "packet-loss",
        "connect-unreachable",
    ],
    blame: Blame::Backend,
};

static SERVER_CLOSED: Meaning = Meaning {
    code: "SH",
    text: "The server closed or reset the connection before it had sent a complete response header. \
           Which of the two, and whether it had read the request, is not logged.",
    classes: &[
        "fin-before-response",
        "rst-before-response",
        "keepalive-race",
        "backend-process-exit",
        "backend-restart",
        "partial-header",
        "plaintext-to-tls",
        "request-body-rejected",
        "informational-only-response",
        "upgrade-refused",
        "idle-drop-by-middlebox",
        "path-reset",
    ],
    blame: Blame::Backend,
};

static RESPONSE_TIMEOUT: Meaning = Meaning {
    code: "sH",
    text: "No complete response header came within `timeout server`. The server may be slow, stuck, or \
           never have got the request.",
    classes: &[
        "response-timeout",
        "listen-queue-overflow",
        "mtu-black-hole",
        "packet-loss",
        "idle-drop-by-middlebox",
    ],
    blame: Blame::Backend,
};

static BAD_RESPONSE: Meaning = Meaning {
    code: "PH",
    text: "HAProxy refused the server's response: invalid, conflicting in its lengths, or a header \
           larger than the buffer (`show errors` on the stats socket keeps the last one). An \
           `http-response deny` is logged the same way.",
    classes: &[
        "malformed-response",
        "header-too-large",
        "conflicting-framing",
        "chunk-framing-invalid",
        "protocol-version-mismatch",
        "plaintext-to-tls",
    ],
    blame: Blame::Backend,
};

static RESPONSE_RULE: Meaning = Meaning {
    code: "PH, not 502",
    text: "A rule of HAProxy's own stopped the response, or rewriting its header failed for want of room.",
    classes: &[],
    blame: Blame::Proxy,
};

static TRUNCATED: Meaning = Meaning {
    code: "SD",
    text: "The server ended the connection in the middle of the response's body. The status was already \
           sent: the client got a response that is cut short.",
    classes: &[
        "body-truncated-fin",
        "body-truncated-rst",
        "backend-process-exit",
        "backend-restart",
        "path-reset",
        "chunk-framing-invalid",
        "request-body-rejected",
    ],
    blame: Blame::Backend,
};

static STALLED: Meaning = Meaning {
    code: "sD",
    text: "The server stopped sending in the middle of the body for as long as `timeout server`. The \
           client got a response that is cut short.",
    classes: &["body-stalled", "mtu-black-hole", "packet-loss"],
    blame: Blame::Backend,
};

static BAD_CHUNK: Meaning = Meaning {
    code: "PD",
    text: "The body's chunks stopped making sense after the header had been passed on. The client got a \
           response that is cut short.",
    classes: &["chunk-framing-invalid"],
    blame: Blame::Backend,
};

static TCP_RESET: Meaning = Meaning {
    code: "SD (tcp)",
    text: "The server ended the session with an error, mostly a reset. Whether anything was lost by it \
           is the protocol's to say.",
    classes: &[
        "rst-before-response",
        "body-truncated-rst",
        "backend-process-exit",
        "backend-restart",
        "path-reset",
    ],
    blame: Blame::Backend,
};

static TCP_IDLE: Meaning = Meaning {
    code: "sD (tcp)",
    text: "The server sent nothing for as long as `timeout server`. A session that is just idle ends \
           like this too.",
    classes: &[
        "response-timeout",
        "body-stalled",
        "idle-drop-by-middlebox",
        "mtu-black-hole",
    ],
    blame: Blame::Backend,
};

static QUEUE_TIMEOUT: Meaning = Meaning {
    code: "sQ",
    text: "The request waited in the queue for as long as `timeout queue` and was never sent: all \
           connections that `maxconn` allows were busy.",
    classes: &["queue-timeout"],
    blame: Blame::Backend,
};

static QUEUE_DOWN: Meaning = Meaning {
    code: "SQ",
    text: "The server was marked down while the request waited in its queue.",
    classes: &["no-backend-available", "connect-refused", "backend-restart"],
    blame: Blame::Backend,
};

static PROXY_SOCKETS: Meaning = Meaning {
    code: "PC",
    text: "HAProxy had reached its limit of sockets and did not try to connect.",
    classes: &["local-fd-exhausted"],
    blame: Blame::Backend,
};

static RESOURCE: Meaning = Meaning {
    code: "RC",
    text: "HAProxy's host had no local port, socket or memory left for a connection to the server. The \
           server was never asked.",
    classes: &["local-port-exhausted", "local-fd-exhausted"],
    blame: Blame::Backend,
};

static MARKED_DOWN: Meaning = Meaning {
    code: "D…",
    text: "HAProxy ended the session because its health checks found the server down \
           (`on-marked-down shutdown-sessions`).",
    classes: &["backend-process-exit", "backend-restart", "connect-refused"],
    blame: Blame::Backend,
};

static ACTIVE_IS_BACK: Meaning = Meaning {
    code: "U…",
    text: "HAProxy ended the session on a backup server because an active server came back.",
    classes: &[],
    blame: Blame::Proxy,
};

static KILLED: Meaning = Meaning {
    code: "K…",
    text: "An administrator ended the session.",
    classes: &[],
    blame: Blame::Proxy,
};

static INTERNAL: Meaning = Meaning {
    code: "I…",
    text: "HAProxy met an internal error: a bug, or no memory.",
    classes: &[],
    blame: Blame::Proxy,
};

static OTHER_RESOURCE: Meaning = Meaning {
    code: "R…",
    text: "A resource of HAProxy's ran out.",
    classes: &[],
    blame: Blame::Proxy,
};

static CLIENT_LEFT: Meaning = Meaning {
    code: "C…",
    text: "The client closed the connection before it had everything. The second character tells how far \
           the request was; the server may have been slow, but it did not fail.",
    classes: &["client-abort"],
    blame: Blame::Client,
};

static CLIENT_STALLED: Meaning = Meaning {
    code: "c…",
    text: "The client neither read nor sent for as long as `timeout client`.",
    classes: &["client-abort"],
    blame: Blame::Client,
};

static CLIENT_INCOMPLETE: Meaning = Meaning {
    code: "CR",
    text: "The client left before it had sent a whole request. Browsers that connect in advance do that.",
    classes: &[],
    blame: Blame::Client,
};

static CLIENT_SLOW: Meaning = Meaning {
    code: "cR",
    text: "The client did not send a whole request in time.",
    classes: &[],
    blame: Blame::Client,
};

static REQUEST_REFUSED: Meaning = Meaning {
    code: "PR",
    text: "HAProxy refused the request, by a rule or because it is invalid. No server was asked.",
    classes: &[],
    blame: Blame::Proxy,
};

static BAD_REQUEST: Meaning = Meaning {
    code: "PR 400",
    text: "What the client sent is no valid request. No server was asked.",
    classes: &[],
    blame: Blame::Client,
};

static LOCAL: Meaning = Meaning {
    code: "L… 5xx",
    text: "HAProxy's configuration answers this request itself, with this status.",
    classes: &[],
    blame: Blame::Proxy,
};

static APPLICATION: Meaning = Meaning {
    code: "---- 5xx",
    text: "The server itself answered with this status; its connection was in order. The cause is in the \
           application, or behind it.",
    classes: &["application-502", "upgrade-refused"],
    blame: Blame::Application,
};

static RETRIED: Meaning = Meaning {
    code: "retries > 0",
    text: "The request succeeded, but not at the first try: a connection to a server failed and was \
           tried again, with `+` on another server. Clients only saw the delay.",
    classes: &[
        "connect-refused",
        "connect-timeout",
        "connect-unreachable",
        "keepalive-race",
        "backend-restart",
        "tls-peer-closed",
    ],
    blame: Blame::Backend,
};

static UNKNOWN: Meaning = Meaning {
    code: "another termination state",
    text: "The session did not end normally; this termination state is not in HAProxy's manual.",
    classes: &[],
    blame: Blame::Proxy,
};

pub(super) static MEANINGS: &[&Meaning] = &[
    &NO_SERVER,
    &CONNECT_TIMEOUT,
    &SERVER_CLOSED,
    &RESPONSE_TIMEOUT,
    &BAD_RESPONSE,
    &RESPONSE_RULE,
    &TRUNCATED,
    &STALLED,
    &BAD_CHUNK,
    &TCP_RESET,
    &TCP_IDLE,
    &QUEUE_TIMEOUT,
    &QUEUE_DOWN,
    &PROXY_SOCKETS,
    &RESOURCE,
    &OTHER_RESOURCE,
    &MARKED_DOWN,
    &ACTIVE_IS_BACK,
    &KILLED,
    &INTERNAL,
    &CLIENT_LEFT,
    &CLIENT_STALLED,
    &CLIENT_INCOMPLETE,
    &CLIENT_SLOW,
    &REQUEST_REFUSED,
    &BAD_REQUEST,
    &LOCAL,
    &APPLICATION,
    &RETRIED,
    &UNKNOWN,
];

/// What a line says of how it ended.
pub(super) struct Outcome<'l, 'a> {
    pub(super) state: &'a [u8],
    pub(super) status: Option<u16>,
    /// `<NOSRV>`.
    pub(super) no_server: bool,
    /// A connection was tried again.
    pub(super) retried: bool,
    pub(super) is_http: bool,
    pub(super) error: &'l ServerError<'a>,
}

pub(super) fn meaning(outcome: &Outcome<'_, '_>) -> Option<&'static Meaning> {
    let &[who, at, ..] = outcome.state else {
        return None;
    };
    let made_5xx = outcome.status.is_some_and(|status| status >= 500);
    let found = match (who, at) {
        (b'-', b'-') if made_5xx && outcome.no_server => &LOCAL,
        (b'-', b'-') if made_5xx => &APPLICATION,
        (b'-', b'-') if outcome.retried => &RETRIED,
        (b'-', b'-') => return None,
        (b'L', _) if made_5xx => &LOCAL,
        (b'L', _) => return None,
        (b's', b'Q') => &QUEUE_TIMEOUT,
        (b'S', b'Q') => &QUEUE_DOWN,
        (b'S', b'C') if outcome.no_server => &NO_SERVER,
        (b'S', b'C') => connect_error::meaning(outcome.error),
        (b's', b'C') if timed_out_in_tls(outcome.error) => &connect_error::TLS_TIMEOUT,
        (b's', b'C') => &CONNECT_TIMEOUT,
        (b'S', b'H') => &SERVER_CLOSED,
        (b's', b'H') => &RESPONSE_TIMEOUT,
        (b'S', b'D' | b'L') if outcome.is_http => &TRUNCATED,
        (b'S', b'D' | b'L') => &TCP_RESET,
        (b's', b'D' | b'L') if outcome.is_http => &STALLED,
        (b's', b'D' | b'L') => &TCP_IDLE,
        (b'P', b'H') if outcome.status == Some(502) => &BAD_RESPONSE,
        (b'P', b'H') => &RESPONSE_RULE,
        (b'P', b'D' | b'L') if outcome.is_http => &BAD_CHUNK,
        (b'P', b'C') => &PROXY_SOCKETS,
        (b'P', b'R') if outcome.status == Some(400) => &BAD_REQUEST,
        (b'P', b'R' | b'T' | b'Q') => &REQUEST_REFUSED,
        (b'R', b'C') => &RESOURCE,
        (b'R', _) => &OTHER_RESOURCE,
        (b'D', _) => &MARKED_DOWN,
        (b'U', _) => &ACTIVE_IS_BACK,
        (b'K', _) => &KILLED,
        (b'I', _) => &INTERNAL,
        (b'C', b'R') => &CLIENT_INCOMPLETE,
        (b'C', _) => &CLIENT_LEFT,
        (b'c', b'R') => &CLIENT_SLOW,
        (b'c', _) => &CLIENT_STALLED,
        _ => &UNKNOWN,
    };
    Some(found)
}

fn timed_out_in_tls(error: &ServerError<'_>) -> bool {
    error.connection == Some(connect_error::TLS_TIMEOUT.code.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::haproxy::parse;
    use crate::logs::testing::assume;

    /// A line with these: server, timers, status and the rest.
    fn http(server: &str, timers: &str, status: &str, state: &str, retries: &str) -> String {
        format!(
            r#"203.0.113.5:55652 [22/Nov/2026:07:25:35.809] fe_main be_shop/{server} {timers} {status} 217 - - {state} 1/1/0/0/{retries} 0/0 "GET /cart HTTP/1.1""#
        )
    }

    #[test]
    fn what_the_states_mean() {
        for (server, timers, status, state, meaning) in [
            ("app1", "0/0/4003/-1/4003", "503", "sC--", &CONNECT_TIMEOUT),
            ("app1", "0/0/0/-1/1", "502", "SH--", &SERVER_CLOSED),
            ("app1", "0/0/0/0/51", "200", "SD--", &TRUNCATED),
            ("app1", "0/0/0/0/51", "200", "sD--", &STALLED),
            ("app1", "0/0/0/0/51", "200", "PD--", &BAD_CHUNK),
            ("app1", "0/0/0/-1/0", "502", "PH--", &BAD_RESPONSE),
            ("app1", "0/0/0/-1/0", "403", "PH--", &RESPONSE_RULE),
            ("app1", "0/0/4/-1/2005", "504", "sHVN", &RESPONSE_TIMEOUT),
            ("<NOSRV>", "0/-1/-1/-1/0", "503", "SC--", &NO_SERVER),
            (
                "<NOSRV>",
                "0/1001/-1/-1/1001",
                "503",
                "sQ--",
                &QUEUE_TIMEOUT,
            ),
            ("app1", "0/1001/-1/-1/1001", "503", "SQ--", &QUEUE_DOWN),
            ("app1", "0/0/-1/-1/0", "503", "RC--", &RESOURCE),
            ("app1", "0/0/-1/-1/0", "503", "PC--", &PROXY_SOCKETS),
            ("app1", "0/0/-1/-1/0", "500", "IC--", &INTERNAL),
            ("app1", "0/0/-1/-1/70", "-1", "CC--", &CLIENT_LEFT),
            ("app1", "0/0/0/-1/70", "400", "CH--", &CLIENT_LEFT),
            ("app1", "0/0/0/1/70", "200", "CD--", &CLIENT_LEFT),
            ("app1", "0/0/0/1/70", "200", "cD--", &CLIENT_STALLED),
            (
                "<NOSRV>",
                "-1/-1/-1/-1/5",
                "400",
                "CR--",
                &CLIENT_INCOMPLETE,
            ),
            ("<NOSRV>", "-1/-1/-1/-1/5", "408", "cR--", &CLIENT_SLOW),
            ("<NOSRV>", "0/-1/-1/-1/5", "403", "PR--", &REQUEST_REFUSED),
            ("<NOSRV>", "-1/-1/-1/-1/5", "400", "PR--", &BAD_REQUEST),
            ("<NOSRV>", "0/-1/-1/-1/5", "503", "LR--", &LOCAL),
            ("app1", "0/0/0/1/5", "502", "DH--", &MARKED_DOWN),
            ("app1", "0/0/0/1/5", "200", "KD--", &KILLED),
            ("app1", "0/0/0/1/5", "200", "UD--", &ACTIVE_IS_BACK),
            ("app1", "0/0/0/1/1", "502", "----", &APPLICATION),
            ("app1", "0/0/0/1/1", "500", "--NI", &APPLICATION),
            ("app1", "0/0/0/1/1", "200", "ZZ--", &UNKNOWN),
        ] {
            let line = http(server, timers, status, state, "0");
            let entry = parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!(entry.meaning, Some(meaning), "{line}");
            assert_eq!(entry.says.as_deref(), Some(state));
        }
    }

    #[test]
    fn retries_hide_failures() {
        for (status, state, retries, meaning) in [
            ("200", "----", "0", None),
            ("404", "----", "0", None),
            ("200", "LR--", "0", None),
            ("200", "----", "+1", Some(&RETRIED)),
            ("404", "--VN", "2", Some(&RETRIED)),
            ("200", "----", "+0", Some(&RETRIED)),
            ("502", "----", "1", Some(&APPLICATION)),
            ("502", "SH--", "1", Some(&SERVER_CLOSED)),
        ] {
            let line = http("app2", "0/0/0/1/1", status, state, retries);
            let entry = parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!(entry.meaning, meaning, "{line}");
        }
    }

    #[test]
    fn sessions_without_http() {
        for (state, meaning) in [
            ("--", None),
            ("SD", Some(&TCP_RESET)),
            ("sD", Some(&TCP_IDLE)),
            ("CD", Some(&CLIENT_LEFT)),
            ("sC", Some(&CONNECT_TIMEOUT)),
        ] {
            let line = format!(
                "127.0.0.1:5 [22/Nov/2026:07:25:35.578] t t/t1 1/0/10 0 {state} 1/1/0/0/0 0/0"
            );
            let entry = parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!(entry.meaning, meaning, "{line}");
        }
    }

    #[test]
    fn a_timeout_in_tls_is_told_apart() {
        let line = format!(
            r#"{} be=26/"Timeout during SSL handshake" sslbe=-/-"#,
            http("app1", "0/0/-1/-1/4003", "503", "sC--", "0")
        );
        let entry = parse(line.as_bytes(), &assume()).unwrap();
        assert_eq!(entry.classes(), ["tls-handshake-timeout"]);
    }
}
