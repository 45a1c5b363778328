//! What a status in Traefik's access log means.
//!
//! Traefik makes its status from Go's error (`ComputeStatusCode` in
//! <https://github.com/traefik/traefik/blob/master/pkg/proxy/httputil/proxy.go>) and sends the status's
//! text as the body, so the size of the body hints at whose status it is.

use crate::logs::entry::LogAttempt;
use crate::logs::meaning::{Blame, Meaning};

macro_rules! meanings {
    ($($name:ident $blame:ident $code:literal $text:literal $classes:expr;)*) => {
        $(pub(super) static $name: Meaning = Meaning {
            code: $code,
            text: $text,
            classes: &$classes,
            blame: Blame::$blame,
        };)*
        /// For `explain`; those of Go's errors are in `go_error`.
        pub(in crate::logs) static MEANINGS: &[&Meaning] = &[$(&$name),*];
    };
}

meanings! {
    MADE_502 Backend
    "502, 11 bytes"
    "Traefik made the 502, going by the size of the body: the backend refused the connection, closed \
     or reset it, or could not be reached. Traefik logs the reason at DEBUG only."
    ["fin-before-response", "rst-before-response", "keepalive-race", "connect-refused",
     "backend-process-exit", "connect-unreachable", "tls-peer-closed", "tls-reset",
     "tls-alert-from-backend", "name-resolution-failed", "local-port-exhausted"];

    EITHER_502 Backend
    "502"
    "Traefik made the 502, or the backend answered so. `OriginStatus` is 502 in both cases; a body of \
     11 bytes would hint at Traefik."
    ["fin-before-response", "rst-before-response", "keepalive-race", "connect-refused",
     "backend-process-exit", "connect-unreachable", "application-502"];

    MADE_504 Backend
    "504, 15 bytes"
    "Traefik gave up on the backend, going by the size of the body: no connection within \
     `dialTimeout` (30 s), no TLS handshake in time, or no answer where `responseHeaderTimeout` is set."
    ["connect-timeout", "response-timeout", "listen-queue-overflow", "tls-handshake-timeout",
     "mtu-black-hole", "packet-loss"];

    EITHER_504 Backend
    "504"
    "Traefik gave up on the backend, or the backend answered 504. A body of 15 bytes would hint at \
     Traefik."
    ["connect-timeout", "response-timeout", "listen-queue-overflow", "tls-handshake-timeout",
     "application-502"];

    MADE_500 Backend
    "500, 21 bytes"
    "Traefik made the 500, going by the size of the body. It does so for a backend whose certificate \
     it does not accept, that talks no TLS or no valid HTTP, or that closed a reused connection."
    ["tls-verify-failed", "tls-to-plaintext", "malformed-response", "keepalive-race",
     "conflicting-framing", "plaintext-to-tls", "protocol-version-mismatch"];

    EITHER_500 Application
    "500"
    "Mostly the application's own. But Traefik answers 500 too when it does not accept a backend's \
     certificate, or when the backend talks no TLS or no valid HTTP; a body of 21 bytes would hint \
     at that."
    ["tls-verify-failed", "tls-to-plaintext", "malformed-response"];

    NO_SERVER Backend
    "503 without a service URL"
    "No server of the service was in use: none is known, or all fail their health check."
    ["no-backend-available"];

    OWN_5XX Proxy
    "5xx without a service URL"
    "Traefik or one of its middlewares answered; no backend was asked."
    [];

    APPLICATION Application
    "5xx, the body is not Traefik's"
    "The backend itself answered with this status, going by the size of the body. The cause is in the \
     application, or behind it."
    ["application-502"];

    CLIENT_LEFT Client
    "499"
    "The client left before it had a response. If that took long, the backend is slow and the \
     client's timeout is the shorter one."
    ["client-abort", "response-timeout"];

    HIDDEN Backend
    "RetryAttempts > 0"
    "A try with a backend failed and the retry middleware hid it from the client. The line names only \
     the backend of the last try."
    ["connect-refused", "keepalive-race", "fin-before-response", "rst-before-response",
     "connect-timeout", "connect-unreachable"];

    HEALTH Context
    "Health check failed"
    "A server of a service was found to be down. No request failed by it."
    [];
}

/// `size`: bytes of the body. `reached`: a server of a service was chosen.
pub(super) fn meaning(
    status: u16,
    size: Option<u64>,
    reached: bool,
    head: bool,
) -> Option<&'static Meaning> {
    // The answer to HEAD has no body, whoever makes it.
    let size = size.filter(|_| !head);
    let own = |text: &str| size.map(|size| size == text.len() as u64);
    Some(match (status, reached) {
        (499, _) => &CLIENT_LEFT,
        (503, false) => &NO_SERVER,
        (500..=599, false) => &OWN_5XX,
        (502, _) => whose(own("Bad Gateway"), &MADE_502, &EITHER_502),
        (504, _) => whose(own("Gateway Timeout"), &MADE_504, &EITHER_504),
        (500, _) => whose(own("Internal Server Error"), &MADE_500, &EITHER_500),
        (501..=599, _) => &APPLICATION,
        _ => return None,
    })
}

fn whose(own: Option<bool>, made: &'static Meaning, either: &'static Meaning) -> &'static Meaning {
    match own {
        Some(true) => made,
        Some(false) => &APPLICATION,
        None => either,
    }
}

/// The server of a service's URL: `http://192.0.2.20:8080`.
pub(super) fn server<'a>(url: &str) -> LogAttempt<'a> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    LogAttempt {
        name: Some(authority.to_owned().into()),
        addr: authority.parse().ok(),
        ..LogAttempt::default()
    }
}
