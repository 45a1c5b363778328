//! What an access log of NGINX says about a failure, by status and by how far each try came.
//!
//! `$upstream_connect_time` stays `-` until the connection, with its TLS handshake, is made;
//! `$upstream_header_time` stays `-` until the whole head of a response was taken.

use crate::logs::combined::by_status;
use crate::logs::entry::{LogAttempt, System};
use crate::logs::meaning::{Blame, Meaning};

static CONNECT_502: Meaning = Meaning {
    code: "502, upstream_connect_time -",
    text: "NGINX made the 502: it got no connection to the backend, or the TLS handshake with it \
           failed. Which of the two, only the error log says.",
    classes: &[
        "connect-refused",
        "connect-unreachable",
        "tls-verify-failed",
        "tls-peer-closed",
        "tls-reset",
        "tls-alert-from-backend",
        "tls-to-plaintext",
        "listen-queue-overflow",
        "local-port-exhausted",
    ],
    blame: Blame::Backend,
};

static UNSENT_502: Meaning = Meaning {
    code: "502, upstream_bytes_sent 0",
    text: "NGINX made the 502: the connection was there, but broke before any of the request was \
           written to it.",
    classes: &[
        "keepalive-race",
        "rst-before-response",
        "fin-before-response",
        "idle-drop-by-middlebox",
        "path-reset",
    ],
    blame: Blame::Backend,
};

static SILENT_502: Meaning = Meaning {
    code: "502, upstream_header_time -",
    text: "NGINX made the 502: the request was sent, and the connection ended before a response came. \
           Whether by FIN or RST, and whether the connection was reused, the access log does not \
           tell (a connect time of 0.000 proves no reuse).",
    classes: &[
        "fin-before-response",
        "keepalive-race",
        "rst-before-response",
        "backend-process-exit",
        "backend-restart",
        "request-body-rejected",
        "plaintext-to-tls",
        "tls-alert-from-backend",
        "idle-drop-by-middlebox",
        "path-reset",
        "upgrade-refused",
    ],
    blame: Blame::Backend,
};

static HEADER_502: Meaning = Meaning {
    code: "502, upstream_bytes_received but no upstream_header_time",
    text: "NGINX made the 502: bytes of a response came, but not a head that it could take: cut short, \
           larger than `proxy_buffer_size` (the bytes are then about as many), or not valid.",
    classes: &[
        "header-too-large",
        "partial-header",
        "malformed-response",
        "conflicting-framing",
        "protocol-version-mismatch",
        "backend-process-exit",
    ],
    blame: Blame::Backend,
};

static MADE_502: Meaning = Meaning {
    code: "502, phase not logged",
    text: "NGINX made the 502. Too few variables are logged to tell how far it came with the backend.",
    classes: &[
        "fin-before-response",
        "rst-before-response",
        "keepalive-race",
        "connect-refused",
        "backend-process-exit",
        "connect-unreachable",
        "header-too-large",
        "partial-header",
        "malformed-response",
        "conflicting-framing",
        "tls-peer-closed",
        "tls-reset",
        "tls-alert-from-backend",
        "tls-to-plaintext",
        "tls-verify-failed",
        "request-body-rejected",
        "idle-drop-by-middlebox",
        "path-reset",
    ],
    blame: Blame::Backend,
};

static NO_LIVE: Meaning = Meaning {
    code: "502, upstream_addr is a group",
    text: "No server of the group was in use: all had been marked as failed, or were at `max_conns`. \
           The cause is in the failures just before this one.",
    classes: &["no-backend-available", "queue-timeout"],
    blame: Blame::Backend,
};

static UNASKED_502: Meaning = Meaning {
    code: "502, upstream_addr -",
    text: "NGINX made the 502 before it asked any backend: mostly, the backend's name could not be \
           resolved. A `return 502` in the configuration looks the same.",
    classes: &["name-resolution-failed"],
    blame: Blame::Backend,
};

static UNASKED: Meaning = Meaning {
    code: "5xx, upstream_addr -",
    text: "NGINX itself answered, without asking a backend: a limit, a `return`, a lack of resources, \
           a mistake in the configuration.",
    classes: &["local-fd-exhausted"],
    blame: Blame::Proxy,
};

static CONNECT_504: Meaning = Meaning {
    code: "504, upstream_connect_time -",
    text: "NGINX gave up connecting to the backend, or the TLS handshake with it \
           (`proxy_connect_timeout`, 60 s unless changed).",
    classes: &[
        "connect-timeout",
        "listen-queue-overflow",
        "tls-handshake-timeout",
        "mtu-black-hole",
        "packet-loss",
    ],
    blame: Blame::Backend,
};

static WAIT_504: Meaning = Meaning {
    code: "504, upstream_header_time -",
    text: "The connection was made, and then for `proxy_read_timeout` (60 s unless changed) no \
           response came, or for `proxy_send_timeout` the backend took nothing of the request.",
    classes: &[
        "response-timeout",
        "mtu-black-hole",
        "packet-loss",
        "idle-drop-by-middlebox",
        "listen-queue-overflow",
    ],
    blame: Blame::Backend,
};

static MADE_504: Meaning = Meaning {
    code: "504, phase not logged",
    text: "NGINX gave up on the backend. Too few variables are logged to tell whether it waited for a \
           connection or for a response.",
    classes: &[
        "response-timeout",
        "connect-timeout",
        "listen-queue-overflow",
        "tls-handshake-timeout",
        "mtu-black-hole",
        "packet-loss",
        "idle-drop-by-middlebox",
    ],
    blame: Blame::Backend,
};

static APPLICATION: Meaning = Meaning {
    code: "5xx, upstream_header_time is a number",
    text: "The backend itself answered with this status; its connection was in order. The cause is in \
           the application, or behind it.",
    classes: &["application-502", "upgrade-refused"],
    blame: Blame::Application,
};

static FROM_CACHE: Meaning = Meaning {
    code: "5xx from the cache",
    text: "The response was kept in NGINX's cache. The backend answered so at some time before.",
    classes: &["application-502"],
    blame: Blame::Application,
};

static OWN_5XX: Meaning = Meaning {
    code: "5xx made by NGINX",
    text: "NGINX made this status itself, for a reason that is not the backend's connection: no file \
           descriptor or connection left, or a mistake in the configuration. The error log says which.",
    classes: &["local-fd-exhausted"],
    blame: Blame::Proxy,
};

static HIDDEN: Meaning = Meaning {
    code: "a 502 or 504 in upstream_status only",
    text: "A try with a backend failed, and another try or an error page hid it from the client. It is \
           the same failure as one that shows.",
    classes: &[
        "keepalive-race",
        "connect-refused",
        "fin-before-response",
        "rst-before-response",
        "backend-process-exit",
        "connect-timeout",
        "connect-unreachable",
        "response-timeout",
        "no-backend-available",
        "idle-drop-by-middlebox",
        "path-reset",
    ],
    blame: Blame::Backend,
};

static HIDDEN_APPLICATION: Meaning = Meaning {
    code: "a 5xx with upstream_header_time in upstream_status only",
    text: "A backend answered with an error, and another try or an error page hid it from the client.",
    classes: &["application-502"],
    blame: Blame::Application,
};

static LEFT_CONNECTING: Meaning = Meaning {
    code: "499, upstream_connect_time -",
    text: "The client left while NGINX was still connecting to the backend. If the time is long, the \
           backend did not take the connection and the client was only the first to give up.",
    classes: &["client-abort", "connect-timeout", "listen-queue-overflow"],
    blame: Blame::Client,
};

static LEFT_WAITING: Meaning = Meaning {
    code: "499, upstream_header_time -",
    text: "The client left while NGINX waited for the backend's response. If the time is long, the \
           backend is slow and the client's timeout is the shorter one.",
    classes: &["client-abort", "response-timeout"],
    blame: Blame::Client,
};

static LEFT_READING: Meaning = Meaning {
    code: "499, upstream_header_time is a number",
    text: "The client left when the backend's response had begun.",
    classes: &["client-abort"],
    blame: Blame::Client,
};

/// For `explain`.
pub(in crate::logs) static MEANINGS: &[&Meaning] = &[
    &CONNECT_502,
    &UNSENT_502,
    &SILENT_502,
    &HEADER_502,
    &MADE_502,
    &NO_LIVE,
    &UNASKED_502,
    &UNASKED,
    &CONNECT_504,
    &WAIT_504,
    &MADE_504,
    &APPLICATION,
    &FROM_CACHE,
    &OWN_5XX,
    &HIDDEN,
    &HIDDEN_APPLICATION,
    &LEFT_CONNECTING,
    &LEFT_WAITING,
    &LEFT_READING,
];

/// What a line holds beside the status. That a variable is not logged is something else than `-`.
#[derive(Debug)]
pub(super) struct Seen<'s, 'a> {
    pub(super) attempts: &'s [LogAttempt<'a>],
    /// Is it logged which backends were asked?
    pub(super) upstream: bool,
    /// Is the connect time logged?
    pub(super) connect: bool,
    /// Is the header time logged?
    pub(super) header: bool,
    pub(super) from_cache: bool,
}

pub(super) fn meaning(status: u16, seen: &Seen<'_, '_>) -> Option<&'static Meaning> {
    match status {
        499 => client_left(seen),
        500..=599 if seen.from_cache && seen.attempts.is_empty() => Some(&FROM_CACHE),
        500..=599 => failed(status, seen),
        9 => by_status(System::Nginx, status),
        _ => hidden(seen),
    }
}

fn client_left(seen: &Seen<'_, '_>) -> Option<&'static Meaning> {
    match seen.attempts.last() {
        Some(last) if seen.connect && last.connect_us.is_none() => Some(&LEFT_CONNECTING),
        Some(last) if seen.header && last.header_us.is_none() => Some(&LEFT_WAITING),
        Some(_) if seen.header => Some(&LEFT_READING),
        _ => by_status(System::Nginx, 499),
    }
}

fn failed(status: u16, seen: &Seen<'_, '_>) -> Option<&'static Meaning> {
    let Some(attempt) = deciding(status, seen.attempts) else {
        return match (seen.upstream, status) {
            (false, _) => by_status(System::Nginx, status),
            (true, 502) => Some(&UNASKED_502),
            (true, _) => Some(&UNASKED),
        };
    };
    if attempt.header_us.is_some() {
        // Another status than the backend's comes from an error page or a redirect.
        return Some(match attempt.status {
            Some(own) if own == status => &APPLICATION,
            _ => &OWN_5XX,
        });
    }
    if !seen.header && !matches!(status, 502 | 504) {
        return by_status(System::Nginx, status);
    }
    if status == 502 && !is_peer(attempt) && attempt.name.is_some() {
        return Some(&NO_LIVE);
    }
    let unconnected = seen.connect && attempt.connect_us.is_none();
    Some(match status {
        502 if unconnected => &CONNECT_502,
        502 if !seen.header => by_status(System::Nginx, status)?,
        502 if attempt.received_bytes.is_some_and(|bytes| bytes > 0) => &HEADER_502,
        502 if seen.connect && attempt.sent_bytes == Some(0) => &UNSENT_502,
        502 if seen.connect => &SILENT_502,
        502 => &MADE_502,
        504 if unconnected => &CONNECT_504,
        504 if !seen.header => by_status(System::Nginx, status)?,
        504 if seen.connect => &WAIT_504,
        504 => &MADE_504,
        _ => &OWN_5XX,
    })
}

/// The try that the client's status comes from. When a group ran out of servers, it is the last server
/// that failed; an error page may have asked yet another one.
fn deciding<'s, 'a>(status: u16, attempts: &'s [LogAttempt<'a>]) -> Option<&'s LogAttempt<'a>> {
    let same = || {
        attempts
            .iter()
            .rev()
            .filter(|one| one.status == Some(status))
    };
    same()
        .find(|one| is_peer(one))
        .or_else(|| same().next())
        .or_else(|| attempts.last())
}

/// An address or a socket, not a group's name.
fn is_peer(attempt: &LogAttempt<'_>) -> bool {
    let unix = |name: &str| name.starts_with("unix:");
    attempt.addr.is_some() || attempt.name.as_deref().is_some_and(unix)
}

fn hidden(seen: &Seen<'_, '_>) -> Option<&'static Meaning> {
    let of = |wanted: fn(u16) -> bool| {
        let failed = move |one: &&LogAttempt<'_>| one.status.is_some_and(wanted);
        seen.attempts.iter().filter(failed)
    };
    if of(|status| matches!(status, 502 | 504)).any(|one| one.header_us.is_none()) {
        return Some(&HIDDEN);
    }
    of(|status| (500..=599).contains(&status))
        .any(|one| one.header_us.is_some())
        .then_some(&HIDDEN_APPLICATION)
}
