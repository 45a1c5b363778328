//! What flags and details stand for.

use crate::logs::meaning::{Blame, Meaning};

macro_rules! meanings {
    ($($name:ident = ($code:literal, $blame:ident, [$($class:literal),* $(,)?], $text:literal);)*) => {
        $(pub(super) static $name: Meaning = Meaning {
            code: $code,
            text: $text,
            classes: &[$($class),*],
            blame: Blame::$blame,
        };)*
        pub(in crate::logs) static MEANINGS: &[&Meaning] = &[$(&$name),*];
    };
}

meanings! {
    CONNECT = ("UF", Backend, [
        "connect-refused", "connect-timeout", "connect-unreachable", "tls-to-plaintext",
        "tls-verify-failed", "tls-alert-from-backend", "tls-peer-closed", "tls-reset",
        "tls-handshake-timeout", "listen-queue-overflow", "local-port-exhausted",
        "local-fd-exhausted",
    ], "No connection to the backend came up: it refused, did not answer, could not be reached, or the \
        TLS handshake failed. UPSTREAM_TRANSPORT_FAILURE_REASON in the log format would tell which.");
    REFUSED = ("UF Connection_refused", Backend, ["connect-refused"],
        "The backend's host refused the connection: nothing listens on that port, or a firewall answers \
         for it.");
    CONNECT_TIMEOUT = ("UF connection_timeout", Backend, [
        "connect-timeout", "tls-handshake-timeout", "listen-queue-overflow", "packet-loss",
    ], "The connection was not ready within the cluster's connect_timeout. The TLS handshake is part of \
        that time, so this need not be TCP.");
    UNREACHABLE = ("UF No_route_to_host", Backend, ["connect-unreachable"],
        "There was no way to the backend: no route, no neighbour, or a router or firewall said so.");
    PORTS = ("UF Cannot_assign_requested_address", Backend, ["local-port-exhausted"],
        "Envoy found no local port for another connection to this backend. The backend was never asked.");
    FILES = ("UF Too_many_open_files", Backend, ["local-fd-exhausted"],
        "Envoy has no more file descriptors. The backend was never asked.");
    CONNECT_RESET = ("UF Connection_reset", Backend, [
        "tls-reset", "connect-refused", "listen-queue-overflow", "path-reset",
    ], "The connection was reset while it was being made, or in its TLS handshake.");
    LOCAL_CONNECT = ("UF local_connection_failure", Backend, [
        "connect-unreachable", "local-port-exhausted", "local-fd-exhausted", "tls-verify-failed",
    ], "The connection failed on Envoy's side, before the backend could say anything.");
    CUT_CONNECT = ("UF remote_connection_failure", Backend, [
        "tls-peer-closed", "tls-reset", "connect-refused",
    ], "The other end gave the connection up before it was ready, and Envoy has no error of TCP or TLS \
        for it. With TLS that is a backend that closes in the handshake without an alert.");
    VERIFY = ("TLS_error CERTIFICATE_VERIFY_FAILED", Backend, ["tls-verify-failed"],
        "Envoy did not accept the backend's certificate: unknown authority, expired, or a name that does \
         not fit. The backend itself was ready to serve.");
    ALERT = ("TLS_error … ALERT", Backend, ["tls-alert-from-backend"],
        "The backend ended the TLS handshake with an alert, which names what it did not like: the \
         protocol version, the ciphers, the name, or the client certificate.");
    PLAINTEXT = ("TLS_error WRONG_VERSION_NUMBER", Backend, ["tls-to-plaintext"],
        "What the backend answered to the TLS hello is no TLS: the port speaks plain text, or another \
         protocol.");
    TLS = ("TLS_error", Backend, [
        "tls-alert-from-backend", "tls-verify-failed", "tls-peer-closed", "tls-reset",
        "tls-to-plaintext",
    ], "TLS with the backend failed; the error of the TLS library is in the line.");
    DNS = ("DF", Backend, ["name-resolution-failed"],
        "The backend's name could not be resolved.");
    CLOSED = ("UC", Backend, [
        "keepalive-race", "fin-before-response", "rst-before-response", "backend-process-exit",
        "backend-restart", "plaintext-to-tls", "partial-header", "request-body-rejected",
        "informational-only-response", "upgrade-refused", "idle-drop-by-middlebox", "path-reset",
    ], "The backend's connection was closed or reset before a response began. Envoy keeps idle \
        connections for an hour, longer than most backends, so a race with the backend's keep-alive \
        timeout is common; the line does not tell it from a crash.");
    TRUNCATED = ("UC after the response began", Backend, ["body-truncated-fin", "body-truncated-rst", "backend-process-exit", "backend-restart", "path-reset", "informational-only-response"], "The backend's connection ended in the middle of the response. The status was already sent: the \
        client got a response that is cut short.");
    PROTOCOL = ("UPE", Backend, [
        "malformed-response", "header-too-large", "partial-header", "conflicting-framing",
        "protocol-version-mismatch", "plaintext-to-tls", "informational-only-response",
    ], "The backend sent something that is no valid response: a broken or cut-off head, a header that is \
        too large, contradictory lengths, or another version of HTTP than the cluster expects.");
    TOO_LARGE = ("UPE headers_too_large", Backend, ["header-too-large"],
        "The response's header is larger, or has more fields, than the cluster allows (60 KiB and 100 \
         fields unless changed).");
    CODEC = ("UPE codec_error", Backend, [
        "malformed-response", "conflicting-framing", "protocol-version-mismatch", "plaintext-to-tls",
    ], "Envoy could not make sense of the response's bytes.");
    BROKEN_BODY = ("UPE after the response began", Backend, ["chunk-framing-invalid", "malformed-response", "body-truncated-fin", "body-truncated-rst", "backend-process-exit", "path-reset"],
        "The response stopped making sense after its head had been passed on. The client got a response \
         that is cut short.");
    TIMEOUT = ("UT", Backend, ["response-timeout", "mtu-black-hole", "packet-loss", "idle-drop-by-middlebox", "listen-queue-overflow", "body-stalled"], "The route's timeout (15 s unless changed), or that of one try, was over before the backend had \
        answered. It may be slow, stuck, or never have got the request.");
    BODY_TIMEOUT = ("UT after the response began", Backend, ["body-stalled", "response-timeout"],
        "The timeout was over in the middle of the response. The client got a response that is cut short.");
    MAX_DURATION = ("UMSDR / DT", Backend, ["response-timeout", "body-stalled"],
        "The request was as long as it may take at most, and Envoy ended it.");
    IDLE = ("SI", Backend, ["body-stalled", "response-timeout"],
        "Nothing moved on the request for as long as the stream idle timeout (5 minutes unless changed). \
         Which side was silent is not in the flag.");
    IDLE_REQUEST = ("SI 408", Client, [],
        "The client did not send its whole request within the stream idle timeout.");
    REMOTE_RESET = ("UR", Backend, ["rst-before-response", "protocol-version-mismatch"],
        "The backend reset the HTTP/2 or HTTP/3 stream; the connection itself may well live on.");
    LOCAL_RESET = ("LR", Proxy, [],
        "Envoy reset the request to the backend itself.");
    NO_HOST = ("UH", Backend, ["no-backend-available", "name-resolution-failed"],
        "The cluster has no healthy host: all were ejected or failed their checks, or there is none at \
         all. What took them out happened before.");
    OVERFLOW = ("UO", Backend, ["queue-timeout"],
        "A circuit breaker of the cluster was open: as many connections, requests or retries as it allows \
         were already under way. This request was not sent.");
    NO_ROUTE = ("NR / NC", Proxy, [],
        "No route matches the request, or its cluster does not exist: configuration, not a backend.");
    CLIENT_LEFT = ("DC", Client, ["client-abort"],
        "The client closed the connection before it had everything. The backend may have been slow, but \
         it did not fail.");
    CLIENT_PROTOCOL = ("DPE", Client, [],
        "What the client sent is no valid HTTP.");
    OVERLOAD = ("OM / DO / LH", Proxy, [],
        "Envoy turned the request away to protect itself, or because it was told to fail its own health \
         check.");
    POLICY = ("UAEX / RL / FI / …", Proxy, [],
        "A filter of Envoy's answered: authorisation, rate limit, an injected fault, or the like.");
    RETRY_LIMIT = ("URX", Backend, [
        "connect-refused", "fin-before-response", "rst-before-response", "application-502",
    ], "All tries that the retry policy allows failed. The line does not say how the last one did.");
    LOCAL_REPLY = ("5xx without a backend", Proxy, [],
        "Envoy's configuration answers this request itself, with this status.");
    APPLICATION = ("5xx via_upstream", Application, ["application-502", "upgrade-refused"],
        "The backend itself answered with this status; its connection was in order. The cause is in the \
         application, or behind it.");
    RETRIED = ("attempts > 1", Backend, [
        "keepalive-race", "connect-refused", "fin-before-response", "rst-before-response",
        "connect-timeout", "backend-restart", "application-502",
    ], "The request succeeded, but not at the first try: a failure before it was hidden by a retry.");
}
