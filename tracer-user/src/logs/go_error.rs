//! Errors of Go's standard library, as Caddy and Traefik log them.
//!
//! The texts are in `net`, `net/http` and `crypto/tls`: <https://github.com/golang/go/tree/master/src>.

use std::net::SocketAddr;

use super::entry::LogAttempt;
use super::meaning::{Meaning, meanings};

meanings! {
    CLIENT_LEFT Client
    "context canceled"
    "The client left, and the proxy gave up the backend's connection too. A client that gives up \
     because a backend is slow looks the same."
    ["client-abort"];

    UNRESOLVED Backend
    "dial tcp: lookup"
    "The backend's name could not be resolved."
    ["name-resolution-failed"];

    REFUSED Backend
    "dial tcp: connect: connection refused"
    "The backend's host answered the connection attempt with a reset: nothing listens there, or a \
     firewall rejects it."
    ["connect-refused", "backend-restart", "backend-process-exit"];

    UNREACHABLE Backend
    "dial tcp: connect: no route to host"
    "There is no way to the backend: no route, or its host does not answer on its network."
    ["connect-unreachable"];

    PORTS_EXHAUSTED Proxy
    "dial tcp: connect: cannot assign requested address"
    "The proxy's host has no local port left for connections to this backend. No packet was sent."
    ["local-port-exhausted"];

    FD_EXHAUSTED Proxy
    "too many open files"
    "The proxy's process has no file descriptor left."
    ["local-fd-exhausted"];

    CONNECT_TIMED_OUT Backend
    "dial tcp: i/o timeout"
    "The backend's host did not answer the connection attempt in time (Caddy: `dial_timeout`, 3 s; \
     Traefik: `dialTimeout`, 30 s)."
    ["connect-timeout", "listen-queue-overflow", "packet-loss"];

    SOCKET_FAILED Backend
    "dial unix"
    "The connection to the backend's Unix socket could not be made; the end of the text is the \
     system's reason. The kernel's TCP tracing does not see Unix sockets."
    ["connect-refused", "listen-queue-overflow"];

    CONNECT_FAILED Backend
    "dial tcp"
    "The connection to the backend could not be made; the end of the text is the system's reason."
    ["connect-refused", "connect-unreachable", "connect-timeout"];

    TLS_VERIFY Backend
    "x509"
    "The proxy did not accept the backend's certificate; the text says why."
    ["tls-verify-failed"];

    TLS_PLAINTEXT Backend
    "tls: first record does not look like a TLS handshake"
    "What the backend answered to the TLS hello was no TLS: the port talks plain HTTP."
    ["tls-to-plaintext"];

    TLS_ALERT Backend
    "remote error: tls"
    "The backend ended TLS with an alert; the text names it."
    ["tls-alert-from-backend"];

    TLS_TIMED_OUT Backend
    "net/http: TLS handshake timeout"
    "The connection was made, but the TLS handshake did not come to its end in time."
    ["tls-handshake-timeout", "mtu-black-hole", "packet-loss"];

    TLS_FAILED Backend
    "tls"
    "The TLS handshake with the backend failed; the text says why."
    ["tls-alert-from-backend", "protocol-version-mismatch", "tls-verify-failed"];

    ANSWER_TIMED_OUT Backend
    "net/http: timeout awaiting response headers"
    "The request was sent, and no response head came in time. Neither proxy has such a limit unless \
     it is configured."
    ["response-timeout", "mtu-black-hole", "packet-loss", "listen-queue-overflow"];

    TIMED_OUT Backend
    "i/o timeout, context deadline exceeded"
    "A time limit ran out while the proxy worked with the backend. The text does not tell in which \
     phase."
    ["response-timeout", "connect-timeout", "tls-handshake-timeout"];

    IDLE_CLOSED Backend
    "http: server closed idle connection"
    "The backend closed a reused connection just when a request went out on it."
    ["keepalive-race"];

    WRITE_FAILED Backend
    "write tcp: broken pipe, connection reset by peer"
    "The backend closed or reset the connection while the request was being sent."
    ["request-body-rejected", "keepalive-race", "rst-before-response"];

    RESET Backend
    "read tcp: connection reset by peer"
    "The connection was reset before a response head came. Whether the backend did it or something \
     between, and whether the connection was a reused one, the log does not tell."
    ["rst-before-response", "keepalive-race", "backend-process-exit", "plaintext-to-tls",
     "tls-reset", "idle-drop-by-middlebox", "path-reset"];

    INVALID_CHUNKS Backend
    "invalid byte in chunk length, malformed chunked encoding"
    "The chunks of the response's body are not framed as they must be."
    ["chunk-framing-invalid"];

    FRAMING Backend
    "transfer encodings, Content-Length"
    "The response declares its length in ways that exclude each other or are not valid."
    ["conflicting-framing"];

    HEADER_TOO_LARGE Backend
    "net/http: server response headers exceeded"
    "The head of the response is larger than the proxy takes (Go's limit is 10 MB)."
    ["header-too-large"];

    INFORMATIONAL Backend
    "net/http: too many 1xx informational responses"
    "Only interim responses came, too many of them."
    ["informational-only-response"];

    MALFORMED Backend
    "malformed HTTP response"
    "What came in place of a response head is no valid HTTP/1; the text quotes it. Bytes like \
     \\x15\\x03 are TLS, and \\x00\\x00\\x12\\x04 are HTTP/2."
    ["malformed-response", "plaintext-to-tls", "protocol-version-mismatch", "partial-header"];

    HTTP2 Backend
    "http2"
    "The HTTP/2 connection or stream to the backend failed; the text has HTTP/2's reason."
    ["protocol-version-mismatch", "rst-before-response", "fin-before-response"];

    PARTIAL Backend
    "unexpected EOF"
    "The backend closed the connection in the middle of the response's head."
    ["partial-header", "backend-process-exit"];

    CLOSED_EARLY Backend
    "EOF"
    "The backend closed the connection in order (FIN) before a response came, or in the TLS \
     handshake. Whether the connection was a reused one, the log does not tell."
    ["fin-before-response", "keepalive-race", "backend-process-exit", "backend-restart",
     "tls-peer-closed"];

    BODY_RESET Backend
    "response body: connection reset by peer"
    "The connection was reset in the middle of the body. The status was sent already (mostly 200); \
     the client gets a response that is cut short."
    ["body-truncated-rst", "backend-process-exit", "path-reset"];

    BODY_TIMED_OUT Backend
    "response body: i/o timeout"
    "The response had begun, and then nothing came in time. The client gets a response that is cut \
     short."
    ["body-stalled", "mtu-black-hole", "packet-loss"];

    BODY_CUT Backend
    "response body: unexpected EOF"
    "The backend closed the connection before the whole body came. The status was sent already \
     (mostly 200); the client gets a response that is cut short."
    ["body-truncated-fin", "backend-process-exit"];

    BODY_FAILED Backend
    "response body"
    "The response's body did not come whole; the client gets a response that is cut short."
    ["body-truncated-fin", "body-truncated-rst", "body-stalled", "chunk-framing-invalid"];

    BODY_CLIENT_LEFT Client
    "response body: writing"
    "The client left while it was being sent the response."
    ["client-abort"];
}

/// What an error means that happened before the response's head was there.
pub(super) fn meaning(error: &str) -> Option<&'static Meaning> {
    let has = |part: &str| error.contains(part);
    let dial = has("dial ");
    let meaning = if has("context canceled") {
        &CLIENT_LEFT
    } else if has("too many open files") {
        &FD_EXHAUSTED
    } else if has("dial unix") {
        &SOCKET_FAILED
    } else if has("no such host") || (dial && has(": lookup ")) {
        &UNRESOLVED
    } else if has("connection refused") {
        &REFUSED
    } else if has("no route to host") || has("network is unreachable") {
        &UNREACHABLE
    } else if has("cannot assign requested address") {
        &PORTS_EXHAUSTED
    } else if dial && (has("timeout") || has("timed out") || has("deadline exceeded")) {
        &CONNECT_TIMED_OUT
    } else if dial {
        &CONNECT_FAILED
    } else if has("x509: ") {
        &TLS_VERIFY
    } else if has("first record does not look like a TLS handshake")
        || has("server gave HTTP response to HTTPS client")
    {
        &TLS_PLAINTEXT
    } else if has("remote error: tls: ") {
        &TLS_ALERT
    } else if has("TLS handshake timeout") {
        &TLS_TIMED_OUT
    } else if has("timeout awaiting response headers") {
        &ANSWER_TIMED_OUT
    } else if has("server closed idle connection") {
        &IDLE_CLOSED
    } else if has("broken pipe") || (has("write tcp ") && has("reset by peer")) {
        &WRITE_FAILED
    } else if has("reset by peer") {
        &RESET
    } else if has("chunk length") || has("chunked encoding") {
        &INVALID_CHUNKS
    } else if has("transfer encoding") || has("Content-Length") {
        &FRAMING
    } else if has("response headers exceeded") {
        &HEADER_TOO_LARGE
    } else if has("too many 1xx") {
        &INFORMATIONAL
    } else if has("malformed HTTP ") || has("malformed MIME header") {
        &MALFORMED
    } else if has("http2: ") {
        &HTTP2
    } else if has("unexpected EOF") {
        &PARTIAL
    } else if error == "EOF" || error.ends_with(": EOF") {
        &CLOSED_EARLY
    } else if has("i/o timeout") || has("deadline exceeded") {
        &TIMED_OUT
    } else if has("tls: ") {
        &TLS_FAILED
    } else {
        return None;
    };
    Some(meaning)
}

/// What an error means that cut a response's body short.
pub(super) fn body_meaning(error: &str) -> &'static Meaning {
    let has = |part: &str| error.contains(part);
    if has("context canceled") || error.starts_with("writing: ") || has("write tcp ") {
        &BODY_CLIENT_LEFT
    } else if has("chunk") {
        &INVALID_CHUNKS
    } else if has("reset by peer") {
        &BODY_RESET
    } else if has("timeout") || has("deadline exceeded") {
        &BODY_TIMED_OUT
    } else if has("EOF") {
        &BODY_CUT
    } else {
        &BODY_FAILED
    }
}

/// The connection that an error names: `read tcp LOCAL->REMOTE: `, `dial tcp REMOTE: `, `dial unix
/// PATH: `.
pub(super) fn connection<'a>(error: &str) -> Option<LogAttempt<'a>> {
    let operations = [
        "dial tcp ",
        "read tcp ",
        "write tcp ",
        "readfrom tcp ",
        "dial unix ",
    ];
    let (_, behind) = operations
        .iter()
        .find_map(|operation| error.split_once(operation))?;
    let ends = behind.split_once(": ").map_or(behind, |(ends, _)| ends);
    let (local, remote) = match ends.split_once("->") {
        Some((local, remote)) => (local.parse::<SocketAddr>().ok(), remote),
        None => (None, ends),
    };
    Some(LogAttempt {
        name: Some(remote.to_owned().into()),
        addr: remote.parse().ok(),
        local,
        ..LogAttempt::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_errors_mean() {
        for (error, class) in [
            (
                "dial tcp 192.0.2.20:9001: connect: connection refused",
                "connect-refused",
            ),
            ("dial tcp 192.0.2.20:9002: i/o timeout", "connect-timeout"),
            (
                "dial tcp [2001:db8::21]:80: connect: no route to host",
                "connect-unreachable",
            ),
            (
                "dial tcp 192.0.2.20:80: connect: cannot assign requested address",
                "local-port-exhausted",
            ),
            (
                "dial tcp 192.0.2.20:80: socket: too many open files",
                "local-fd-exhausted",
            ),
            (
                "dial tcp: lookup shop on 127.0.0.11:53: no such host",
                "name-resolution-failed",
            ),
            (
                "dial tcp: lookup shop: i/o timeout",
                "name-resolution-failed",
            ),
            (
                "dial unix /run/a.sock: connect: no such file or directory",
                "connect-refused",
            ),
            ("EOF", "fin-before-response"),
            ("Get \"http://a/\": EOF", "fin-before-response"),
            (
                "read tcp 192.0.2.10:51042->192.0.2.20:9005: read: connection reset by peer",
                "rst-before-response",
            ),
            (
                "write tcp 192.0.2.10:51042->192.0.2.20:9005: write: broken pipe",
                "request-body-rejected",
            ),
            ("http: server closed idle connection", "keepalive-race"),
            (
                "net/http: HTTP/1.x transport connection broken: unexpected EOF",
                "partial-header",
            ),
            (
                "net/http: HTTP/1.x transport connection broken: malformed HTTP response \"garbage\"",
                "malformed-response",
            ),
            (
                "net/http: HTTP/1.x transport connection broken: too many transfer encodings: [\"a\"]",
                "conflicting-framing",
            ),
            (
                "net/http: timeout awaiting response headers",
                "response-timeout",
            ),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                "tls-verify-failed",
            ),
            (
                "x509: certificate has expired or is not yet valid: current time",
                "tls-verify-failed",
            ),
            (
                "tls: first record does not look like a TLS handshake",
                "tls-to-plaintext",
            ),
            (
                "remote error: tls: handshake failure",
                "tls-alert-from-backend",
            ),
            ("net/http: TLS handshake timeout", "tls-handshake-timeout"),
            (
                "http2: server sent GOAWAY and closed the connection",
                "protocol-version-mismatch",
            ),
            ("context canceled", "client-abort"),
        ] {
            let found = meaning(error).and_then(|one| one.classes.first());
            assert_eq!(found, Some(&class), "{error}");
        }
        assert_eq!(meaning("template: no such template"), None);
        for (error, class) in [
            ("unexpected EOF", "body-truncated-fin"),
            (
                "reading: read tcp 1.2.3.4:1->1.2.3.5:2: read: connection reset by peer",
                "body-truncated-rst",
            ),
            ("reading: context canceled", "client-abort"),
            (
                "writing: write tcp 1.2.3.4:443->1.2.3.5:2: write: broken pipe",
                "client-abort",
            ),
            ("malformed chunked encoding", "chunk-framing-invalid"),
            ("i/o timeout", "body-stalled"),
        ] {
            assert_eq!(body_meaning(error).classes.first(), Some(&class), "{error}");
        }
    }

    #[test]
    fn connections_of_errors() {
        let known = |error: &str| {
            connection(error).map(|one| {
                let text = |addr: Option<SocketAddr>| addr.map(|addr| addr.to_string());
                (
                    one.name.unwrap_or_default().into_owned(),
                    text(one.local),
                    text(one.addr),
                )
            })
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            known("read tcp 192.0.2.10:51042->192.0.2.20:9005: read: connection reset by peer"),
            Some((
                "192.0.2.20:9005".to_owned(),
                some("192.0.2.10:51042"),
                some("192.0.2.20:9005")
            ))
        );
        assert_eq!(
            known("dial tcp [2001:db8::21]:8443: connect: connection refused"),
            Some((
                "[2001:db8::21]:8443".to_owned(),
                None,
                some("[2001:db8::21]:8443")
            ))
        );
        assert_eq!(
            known("dial unix /run/a.sock: connect: no such file or directory"),
            Some(("/run/a.sock".to_owned(), None, None))
        );
        assert_eq!(known("dial tcp: lookup shop: no such host"), None);
        assert_eq!(known("EOF"), None);
    }
}
