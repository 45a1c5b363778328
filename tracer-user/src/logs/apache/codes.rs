//! Numbers of Apache's messages, as far as they tell of backends.
//!
//! Apache writes two or three lines for most failures. The one that counts is the one that names the
//! backend's address, or, where none does, the one that is always there; the others are context.
//! The messages are in `modules/proxy` of <https://github.com/apache/httpd>.

use crate::logs::meaning::{Meaning, meanings};

meanings! {
    REFUSED Backend
    "AH00957 (111)Connection refused"
    "The backend's host answered the connection attempt with a reset: nothing listens there, or a \
     firewall rejects it. The client gets 503, and Apache may leave the backend out for `retry` \
     seconds (60), so one refusal can make many 503s."
    ["connect-refused", "backend-restart", "backend-process-exit"];

    CONNECT_TIMED_OUT Backend
    "AH00957 (70007)The timeout specified has expired"
    "The backend's host did not answer the connection attempt in time (`connectiontimeout`, else \
     `timeout`). The client gets 503."
    ["connect-timeout", "listen-queue-overflow", "packet-loss"];

    UNREACHABLE Backend
    "AH00957 (113)No route to host"
    "There is no way to the backend: no route, or its host does not answer on its network. The \
     client gets 503."
    ["connect-unreachable"];

    PORTS_EXHAUSTED Proxy
    "AH00957 (99)Cannot assign requested address"
    "The proxy's host has no local port left for connections to this backend. No packet was sent."
    ["local-port-exhausted"];

    FD_EXHAUSTED Proxy
    "AH00952 (24)Too many open files"
    "The process has no file descriptor left for a connection to the backend."
    ["local-fd-exhausted"];

    CONNECT_FAILED Backend
    "AH00957"
    "The connection to the backend could not be made; the text in front of the number is the \
     system's reason. The client gets 503."
    ["connect-refused", "connect-timeout", "connect-unreachable"];

    SOCKET_FAILED Backend
    "AH02454"
    "The connection to the backend's Unix socket could not be made: it is missing, not permitted, or \
     its accept queue is full. The kernel's TCP tracing does not see Unix sockets."
    ["connect-refused", "listen-queue-overflow"];

    CONNECT_FOLLOWS Context
    "AH01114, AH01079, AH03352"
    "No connection to the backend. The line in front of it (AH00957, AH02454) has the address and \
     the reason, and is the one that counts."
    [];

    TAKEN_OUT Context
    "AH00959"
    "After a failure the backend is left out for `retry` seconds; meanwhile requests get 503."
    ["no-backend-available"];

    LEFT_OUT Backend
    "AH00940"
    "The request was not tried: the backend is left out because it failed before (`retry`, 60 s). The \
     cause is in that earlier failure. The client gets 503."
    ["no-backend-available"];

    NO_WORKER Backend
    "AH01170, AH01167, AH01171"
    "All members of the balancer are left out after failures, or there is none. The cause is in the \
     failures just before. The client gets 503."
    ["no-backend-available"];

    ALL_BUSY Backend
    "AH00934"
    "All workers are busy: every connection that may be made to the backends is in use. The client \
     gets 503."
    ["queue-timeout", "no-backend-available"];

    CLOSED_EARLY Backend
    "AH01102 (20014)Internal error"
    "The backend closed the connection in order (FIN) before a status line came. Despite the wording, \
     nothing was wrong within Apache. The client gets 502."
    ["fin-before-response", "keepalive-race", "backend-process-exit", "backend-restart", "informational-only-response", "upgrade-refused", "plaintext-to-tls", "protocol-version-mismatch"];

    RESET Backend
    "AH01102 (104)Connection reset by peer"
    "The connection was reset before a status line came. Whether the backend did it or something \
     between, the log does not tell. The client gets 502."
    ["rst-before-response", "keepalive-race", "request-body-rejected", "backend-process-exit",
     "plaintext-to-tls", "idle-drop-by-middlebox", "path-reset"];

    TIMED_OUT Backend
    "AH01102 (70007)The timeout specified has expired"
    "The request was sent, and no status line came within `timeout` (`ProxyTimeout`). Apache answers \
     502 for it, not 504."
    ["response-timeout", "mtu-black-hole", "packet-loss", "idle-drop-by-middlebox",
     "listen-queue-overflow"];

    NO_STATUS_LINE Backend
    "AH01102"
    "No status line could be read from the backend; the text in front of the number is the reason. \
     The client gets 502."
    ["fin-before-response", "rst-before-response", "response-timeout"];

    READ_FOLLOWS Context
    "AH00898 Error reading from remote server"
    "The request failed while its response was awaited. The line in front of it (AH01102) has the \
     backend's address and the reason, and is the one that counts."
    [];

    TLS_FOLLOWS Context
    "AH00898 Error during SSL Handshake with remote server"
    "The TLS handshake with the backend failed or its certificate was not accepted (expiry and name \
     are checked unless switched off). AH01084 beside it has the address and is the line that counts. \
     The client gets 500."
    ["tls-verify-failed", "tls-peer-closed", "tls-reset", "tls-alert-from-backend",
     "tls-to-plaintext", "tls-handshake-timeout"];

    UNRESOLVED Backend
    "AH00898 DNS lookup failure"
    "The backend's name could not be resolved. The client gets 500."
    ["name-resolution-failed"];

    CORRUPT_STATUS Backend
    "AH00898 Corrupt status line returned by remote server"
    "What came in place of a status line is no HTTP. The client gets 502."
    ["malformed-response", "plaintext-to-tls", "protocol-version-mismatch"];

    OTHER_ERROR Proxy
    "AH00898"
    "Apache gave the request up itself; the text says why."
    [];

    WRITE_FAILED Backend
    "AH01084"
    "The request could not be written to the backend. With https:// that is mostly a failed TLS \
     handshake (AH00898 beside it then says so, and the client gets 500); otherwise the backend \
     closed the connection while it was being sent."
    ["tls-verify-failed", "tls-peer-closed", "tls-to-plaintext", "tls-alert-from-backend", "request-body-rejected", "keepalive-race", "tls-reset", "tls-handshake-timeout"];

    WRITE_RESET Backend
    "AH01084 (104)Connection reset by peer, (32)Broken pipe"
    "The connection was reset while the request was being written, or in the TLS handshake that \
     comes before it with https://."
    ["request-body-rejected", "keepalive-race", "tls-reset", "rst-before-response"];

    WRITE_TIMED_OUT Backend
    "AH01084 (70007)The timeout specified has expired"
    "The backend took nothing of the request in time, or did not finish the TLS handshake that comes \
     before it with https://."
    ["tls-handshake-timeout", "response-timeout", "mtu-black-hole", "packet-loss"];

    WRITE_FOLLOWS Context
    "AH01097, AH10154, AH01095, AH01096"
    "The request's body could not be passed on. AH01084 in front of it is the line that counts."
    [];

    CLIENT_BODY Client
    "AH02608, AH01086"
    "The request's body could not be read from the client, or was shorter than it declared."
    ["client-abort"];

    HEADER_TOO_LARGE Context
    "AH10124"
    "A line of the response's head is longer than `ResponseFieldSize` (8192 bytes). AH01106 behind it \
     is the line that counts. `No space left on device` is an internal code; no disk is full."
    ["header-too-large"];

    HEADER_CUT Context
    "AH10404"
    "The head of the response could not be read to its end; the text in front of the number is the \
     reason: (70014) the backend closed, (22) a byte that may not be there. AH01106 behind it is the \
     line that counts."
    ["partial-header", "malformed-response"];

    BAD_HEADER Backend
    "AH01106"
    "The response's head was too large, cut short or not valid: AH10124 or AH10404 in front of it says \
     which. Apache had read a status line. The client gets 502."
    ["header-too-large", "partial-header", "malformed-response"];

    BAD_HEADER_NAME Backend
    "AH02429, AH02430"
    "A header of the response holds letters that may not be there. The client gets 500."
    ["malformed-response"];

    BOTH_FRAMINGS Context
    "AH01107"
    "The response declares its length in two ways that exclude each other. Apache passes it on."
    ["conflicting-framing"];

    BODY_RESET Backend
    "AH01110 (104)Connection reset by peer"
    "The connection was reset in the middle of the response's body. The status was sent already \
     (mostly 200); the client gets a response that is cut short."
    ["body-truncated-rst", "backend-process-exit", "path-reset"];

    BODY_TIMED_OUT Backend
    "AH01110 (70007)The timeout specified has expired"
    "The response had begun, and then nothing came for `timeout`. The client gets a response that is \
     cut short."
    ["body-stalled", "mtu-black-hole", "packet-loss"];

    BODY_CUT Backend
    "AH01110 (70008)Partial results, (70014)End of file"
    "The backend closed the connection before the whole body came. The status was sent already \
     (mostly 200); the client gets a response that is cut short."
    ["body-truncated-fin", "backend-process-exit", "chunk-framing-invalid", "path-reset"];

    BODY_FAILED Backend
    "AH01110"
    "The response's body could not be read: its chunks are not framed as they must be, or the \
     connection ended. The client gets a response that is cut short, or 502 if it was the first chunk."
    ["chunk-framing-invalid", "body-truncated-fin", "conflicting-framing"];

    DROPPED Backend
    "AH01104"
    "The connection to the backend failed, and Apache closed the client's without an answer and \
     without a 502, because it could be an old connection that just ended. Logged at `debug` only."
    ["keepalive-race", "fin-before-response", "rst-before-response", "response-timeout"];

    FASTCGI_CLOSED Context
    "AH01067, AH01068, AH01069, AH01070, AH01072, AH01073, AH01074"
    "What came from the FastCGI backend could not be read, or it could not be written to. AH01075 \
     behind it is the line that counts."
    [];

    FASTCGI_FAILED Backend
    "AH01075"
    "The FastCGI backend closed or reset the connection, did not answer in time, or sent what is no \
     FastCGI. No line names its address. The client gets 503, or 502 for a bad response."
    ["fin-before-response", "rst-before-response", "response-timeout", "backend-process-exit",
     "protocol-version-mismatch", "malformed-response"];

    FASTCGI_STDERR Context
    "AH01071"
    "Text that the application itself wrote. It often names the cause of a failure beside it."
    [];

    HTTP2_READ Backend
    "AH03380, AH10023"
    "The HTTP/2 connection to the backend failed."
    ["rst-before-response", "fin-before-response", "protocol-version-mismatch"];
}

const EMFILE: u32 = 24;
const ENETUNREACH: u32 = 101;
const ECONNRESET: u32 = 104;
const ECONNABORTED: u32 = 103;
const ETIMEDOUT: u32 = 110;
const ECONNREFUSED: u32 = 111;
const EHOSTUNREACH: u32 = 113;
const EADDRNOTAVAIL: u32 = 99;
const EPIPE: u32 = 32;
// <https://apr.apache.org/docs/apr/1.7/group__apr__errno.html>
const APR_EGENERAL: u32 = 20014;
const APR_TIMEUP: u32 = 70007;
const APR_INCOMPLETE: u32 = 70008;
const APR_EOF: u32 = 70014;

/// What a message means; `reason` is the number in brackets in front of it.
pub(super) fn meaning(code: &str, message: &str, reason: Option<u32>) -> Option<&'static Meaning> {
    Some(match code {
        "AH00957" | "AH00958" | "AH00939" | "AH00952" => match reason {
            Some(ECONNREFUSED) => &REFUSED,
            Some(APR_TIMEUP | ETIMEDOUT) => &CONNECT_TIMED_OUT,
            Some(EHOSTUNREACH | ENETUNREACH) => &UNREACHABLE,
            Some(EADDRNOTAVAIL) => &PORTS_EXHAUSTED,
            Some(EMFILE) => &FD_EXHAUSTED,
            _ => &CONNECT_FAILED,
        },
        "AH02454" => &SOCKET_FAILED,
        "AH01114" | "AH01079" | "AH03352" => &CONNECT_FOLLOWS,
        "AH00959" => &TAKEN_OUT,
        "AH00940" => &LEFT_OUT,
        "AH01170" | "AH01167" | "AH01171" => &NO_WORKER,
        "AH00934" => &ALL_BUSY,
        "AH01102" => match reason {
            Some(APR_EGENERAL | APR_EOF) => &CLOSED_EARLY,
            Some(ECONNRESET | ECONNABORTED) => &RESET,
            Some(APR_TIMEUP | ETIMEDOUT) => &TIMED_OUT,
            _ => &NO_STATUS_LINE,
        },
        "AH00898" => returned(message),
        "AH01084" => match reason {
            Some(ECONNRESET | EPIPE | ECONNABORTED) => &WRITE_RESET,
            Some(APR_TIMEUP | ETIMEDOUT) => &WRITE_TIMED_OUT,
            _ => &WRITE_FAILED,
        },
        "AH01097" | "AH10154" | "AH01095" | "AH01096" | "AH03351" => &WRITE_FOLLOWS,
        "AH02608" | "AH01086" => &CLIENT_BODY,
        "AH10124" => &HEADER_TOO_LARGE,
        "AH10404" => &HEADER_CUT,
        "AH01106" => &BAD_HEADER,
        "AH02429" | "AH02430" => &BAD_HEADER_NAME,
        "AH01107" => &BOTH_FRAMINGS,
        "AH01110" => match reason {
            Some(ECONNRESET | ECONNABORTED) => &BODY_RESET,
            Some(APR_TIMEUP | ETIMEDOUT) => &BODY_TIMED_OUT,
            Some(APR_INCOMPLETE | APR_EOF) => &BODY_CUT,
            _ => &BODY_FAILED,
        },
        "AH01104" => &DROPPED,
        "AH01067" | "AH01068" | "AH01069" | "AH01070" | "AH01072" | "AH01073" | "AH01074" => {
            &FASTCGI_CLOSED
        }
        "AH01075" => &FASTCGI_FAILED,
        "AH01071" => &FASTCGI_STDERR,
        "AH03380" | "AH10023" => &HTTP2_READ,
        _ => return None,
    })
}

/// AH00898 is one number for many failures.
fn returned(message: &str) -> &'static Meaning {
    [
        ("Error reading from remote server", &READ_FOLLOWS),
        ("Error during SSL Handshake", &TLS_FOLLOWS),
        ("DNS lookup failure", &UNRESOLVED),
        ("Corrupt status line", &CORRUPT_STATUS),
    ]
    .into_iter()
    .find(|(begins, _)| message.starts_with(begins))
    .map_or(&OTHER_ERROR, |(_, meaning)| meaning)
}

/// The backend as a message names it.
pub(super) fn backend<'m>(code: &str, message: &'m str) -> Option<&'m str> {
    let behind = |words: &str| message.split_once(words).map(|(_, behind)| behind);
    let word = |rest: &'m str| rest.split(' ').next().filter(|word| !word.is_empty());
    match code {
        "AH00957" | "AH00939" => word(behind("attempt to connect to ")?),
        "AH02454" => word(behind("Unix domain socket ")?),
        "AH00952" => word(behind(" socket to ")?),
        "AH01114" | "AH01079" | "AH03352" => word(behind("to make connection to backend: ")?),
        "AH00940" | "AH00959" => behind("(")?.split(')').next(),
        "AH01102" => word(behind("from remote server ")?),
        "AH01104" => word(behind("from backend server ")?),
        "AH01084" | "AH01097" | "AH10154" | "AH01095" | "AH01096" => {
            word(behind("request body failed to ")?)
        }
        "AH00898" => word(behind("DNS lookup failure for: ")?),
        "AH01107" => word(behind("server ")?),
        _ => None,
    }
}

/// The path of the request, where a message has it.
pub(super) fn target<'m>(code: &str, message: &'m str) -> Option<&'m str> {
    if !matches!(code, "AH00898" | "AH01106") {
        return None;
    }
    let (_, target) = message.rsplit_once(" returned by ")?;
    let target = match code {
        "AH01106" => target
            .rsplit_once(" (")
            .map_or(target, |(target, _)| target),
        _ => target,
    };
    target.starts_with('/').then_some(target)
}

/// Does the message tell of a backend, and not of a request?
pub(super) fn is_health(code: &str) -> bool {
    code == "AH00959"
}
