//! Messages of NGINX's error log.
//!
//! The texts are in `ngx_http_upstream.c`, the modules beside it, `ngx_event_openssl.c` and
//! `ngx_event_connect.c`: <https://github.com/nginx/nginx/tree/master/src>.

use crate::logs::meaning::{Meaning, meanings};

/// What NGINX was doing: the words behind `while`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum While {
    Anything,
    Connecting,
    Handshaking,
    Sending,
    /// Reading the head of the response.
    Header,
    /// Reading its body.
    Body,
    Upgraded,
    /// A handshake with a client.
    ClientHandshake,
    /// Serving the client, in one way or another.
    Client,
    Resolving,
}

impl While {
    fn is(self, action: &str, quiet: bool) -> bool {
        match self {
            Self::Anything => true,
            Self::Connecting => action == "connecting to upstream",
            Self::Handshaking => action == "SSL handshaking to upstream",
            Self::Sending => action == "sending request to upstream",
            Self::Header => action == "reading response header from upstream",
            // While it sends to the client, NGINX also reads on; a client that fails is told at `info`.
            Self::Body => action == "reading upstream" || (!quiet && action == "sending to client"),
            Self::Upgraded => action == "proxying upgraded connection",
            Self::ClientHandshake => action == "SSL handshaking",
            Self::Client => {
                action.contains("client")
                    || matches!(action, "keepalive" | "waiting for request")
                    || action.starts_with("processing HTTP/2")
            }
            Self::Resolving => action == "resolving",
        }
    }
}

/// A message begins with this, holds that, and NGINX was doing the third.
type Row = (&'static str, &'static str, While, &'static Meaning);

meanings! {
    REFUSED Backend
    "connect() failed (111: Connection refused) while connecting to upstream"
    "The backend's host answered the connection attempt with a reset: nothing listens on that port, \
     or a firewall rejects it. The client gets 502 unless another server takes over."
    ["connect-refused", "backend-restart", "backend-process-exit"];

    UNREACHABLE Backend
    "connect() failed (113: No route to host)"
    "There is no way to the backend: no route, or its host does not answer on the network it should \
     be in (that takes about 3 s). The client gets 502."
    ["connect-unreachable"];

    PORTS_EXHAUSTED Proxy
    "connect() failed (99: Cannot assign requested address)"
    "The proxy's host has no local port left for connections to this backend. No packet was sent; \
     the backend has nothing to do with it."
    ["local-port-exhausted"];

    SOCKET_MISSING Backend
    "connect() to unix: failed (2: No such file or directory)"
    "The backend's Unix socket does not exist: its process does not run, or makes the socket \
     elsewhere. The kernel's TCP tracing does not see Unix sockets."
    ["connect-refused"];

    SOCKET_DENIED Proxy
    "connect() to unix: failed (13: Permission denied)"
    "The worker process may not use the backend's Unix socket (or, under SELinux, may not connect \
     at all)."
    ["connect-refused"];

    SOCKET_FULL Backend
    "connect() to unix: failed (11: Resource temporarily unavailable)"
    "The accept queue of the backend's Unix socket is full: it does not take connections as fast as \
     they come."
    ["listen-queue-overflow"];

    CONNECT_TIMED_OUT Backend
    "upstream timed out (110: Connection timed out) while connecting to upstream"
    "The backend's host did not answer the connection attempt in time (`proxy_connect_timeout`, \
     60 s unless changed): its packets are dropped, its accept queue is full, or it is gone. The \
     client gets 504."
    ["connect-timeout", "listen-queue-overflow", "packet-loss"];

    CONNECT_FAILED Backend
    "connect() failed"
    "The connection to the backend could not be made; the text in brackets is the kernel's reason."
    ["connect-refused", "connect-unreachable", "connect-timeout", "rst-before-response"];

    HANDSHAKE_TIMED_OUT Backend
    "upstream timed out (110: Connection timed out) while SSL handshaking to upstream"
    "The connection was made, but the TLS handshake did not come to its end in time. The client \
     gets 504."
    ["tls-handshake-timeout", "mtu-black-hole", "packet-loss"];

    SEND_TIMED_OUT Backend
    "upstream timed out (110: Connection timed out) while sending request to upstream"
    "The backend took nothing of the request for `proxy_send_timeout` (60 s unless changed), or \
     large packets do not get through to it. The client gets 504."
    ["response-timeout", "mtu-black-hole", "packet-loss"];

    ANSWER_TIMED_OUT Backend
    "upstream timed out (110: Connection timed out) while reading response header from upstream"
    "The request was sent, and nothing came for `proxy_read_timeout` (60 s unless changed). Whether \
     the backend is slow, never read the request, or its answer got lost, the log does not tell. \
     The client gets 504."
    ["response-timeout", "mtu-black-hole", "packet-loss", "idle-drop-by-middlebox",
     "listen-queue-overflow"];

    BODY_TIMED_OUT Backend
    "upstream timed out (110: Connection timed out) while reading upstream"
    "The response had begun, and then nothing came for `proxy_read_timeout`. The status was sent \
     already (mostly 200); the client gets a response that is cut short."
    ["body-stalled", "mtu-black-hole", "packet-loss"];

    UPGRADED_TIMED_OUT Context
    "upstream timed out (110: Connection timed out) while proxying upgraded connection"
    "Nothing went over an upgraded connection (WebSocket) for `proxy_read_timeout`, so NGINX closed \
     it. Often that is only an idle connection."
    [];

    CLOSED_EARLY Backend
    "upstream prematurely closed connection while reading response header from upstream"
    "The backend closed the connection in order (FIN) before a whole response head came. The log \
     does not tell whether it had sent some of it, nor whether the connection was a reused one. \
     The client gets 502."
    ["fin-before-response", "keepalive-race", "partial-header", "backend-process-exit", "backend-restart", "informational-only-response", "tls-alert-from-backend", "upgrade-refused"];

    CLOSED_IN_BODY Backend
    "upstream prematurely closed connection while reading upstream"
    "The backend closed the connection before the whole body came. The status was sent already \
     (mostly 200); the client gets a response that is cut short."
    ["body-truncated-fin", "backend-process-exit"];

    CLOSED_SENDING Backend
    "upstream prematurely closed connection while sending request to upstream"
    "The backend closed the connection while the request was still being sent."
    ["request-body-rejected", "keepalive-race", "fin-before-response"];

    RESET Backend
    "recv() failed (104: Connection reset by peer) while reading response header from upstream"
    "The connection was reset before a response head came. Whether the backend did it or something \
     between, and whether the connection was a reused one, the log does not tell. The client gets 502."
    ["rst-before-response", "keepalive-race", "request-body-rejected", "backend-process-exit", "plaintext-to-tls", "idle-drop-by-middlebox", "path-reset", "partial-header"];

    RESET_IN_BODY Backend
    "recv() failed (104: Connection reset by peer) while reading upstream"
    "The connection was reset in the middle of the body. The status was sent already (mostly 200); \
     the client gets a response that is cut short."
    ["body-truncated-rst", "backend-process-exit", "path-reset"];

    SEND_FAILED Backend
    "writev() failed (32: Broken pipe) while sending request to upstream"
    "The backend closed or reset the connection while the request was being sent: it refused the \
     body without reading it all, or a reused connection was closed from its side. The client \
     gets 502."
    ["request-body-rejected", "keepalive-race", "rst-before-response"];

    HEADER_TOO_BIG Backend
    "upstream sent too big header"
    "The head of the response does not fit into `proxy_buffer_size` (one page, 4 KiB or 64 KiB, \
     unless changed). Large cookies are typical. The client gets 502."
    ["header-too-large"];

    INVALID_HEADER Backend
    "upstream sent invalid header"
    "A line of the response's head is not valid HTTP. The client gets 502."
    ["malformed-response"];

    NO_STATUS_LINE Backend
    "upstream sent no valid HTTP/1.0 header"
    "The response did not begin with a status line. NGINX does not answer 502: it passes the bytes \
     on as HTTP/0.9 and logs 009 as the status. Often the port talks TLS or HTTP/2."
    ["malformed-response", "plaintext-to-tls", "protocol-version-mismatch"];

    DUPLICATE_HEADER Backend
    "upstream sent duplicate header line"
    "The response has a header twice that may be there once. NGINX before 1.23 passed it on; since \
     then the client gets 502."
    ["conflicting-framing"];

    INVALID_LENGTH Backend
    "upstream sent invalid \"Content-Length\" header"
    "The length that the response declares is not valid. Since NGINX 1.23 the client gets 502."
    ["conflicting-framing"];

    BOTH_FRAMINGS Backend
    "upstream sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time"
    "The response declares its length in two ways that exclude each other. Since NGINX 1.23 the \
     client gets 502."
    ["conflicting-framing"];

    UNKNOWN_ENCODING Backend
    "upstream sent unknown \"Transfer-Encoding\""
    "The response has a transfer coding other than `chunked`. Since NGINX 1.23 the client gets 502."
    ["conflicting-framing"];

    EARLY_HINTS Backend
    "upstream sent HTTP/1.0 response with early hints"
    "An interim response came that HTTP/1.0 does not have. The client gets 502."
    ["malformed-response"];

    SURPLUS Context
    "upstream sent more data than specified in \"Content-Length\" header"
    "More bytes came than the response had declared. The client got the declared ones and nothing \
     failed, but the next response on such a connection can be spoilt."
    ["body-longer-than-declared"];

    SURPLUS_CHUNKS Context
    "upstream sent data after final chunk"
    "Bytes came behind the end of a chunked response. The client got the whole response."
    ["body-longer-than-declared"];

    INVALID_CHUNKS Backend
    "upstream sent invalid chunked response"
    "The chunks of the body are not framed as they must be. The status was sent already; the client \
     gets a response that is cut short."
    ["chunk-framing-invalid"];

    INVALID_TRAILER Backend
    "upstream sent invalid trailer"
    "What follows the last chunk is not valid, or too large. The response ends cut short."
    ["chunk-framing-invalid"];

    TLS_CLOSED Backend
    "peer closed connection in SSL handshake while SSL handshaking to upstream"
    "The backend closed the connection in the TLS handshake and said nothing. A port without TLS, or \
     a server that wants another name (SNI; `proxy_ssl_server_name` is off unless set), are typical."
    ["tls-peer-closed", "tls-to-plaintext"];

    TLS_RESET Backend
    "peer closed connection in SSL handshake (104: Connection reset by peer)"
    "The connection was reset in the TLS handshake."
    ["tls-reset", "path-reset"];

    TLS_PLAINTEXT Backend
    "SSL_do_handshake() failed: wrong version number"
    "What the backend answered to the TLS hello was no TLS: the port talks plain HTTP."
    ["tls-to-plaintext"];

    TLS_ALERT Backend
    "SSL_do_handshake() failed: SSL alert number"
    "The backend ended the TLS handshake with an alert; its number says why (40, 70, 71: version or \
     cipher; 42 to 48: the proxy's certificate; 112: the name; 116: it wants a certificate)."
    ["tls-alert-from-backend", "fin-before-response"];

    TLS_FAILED Backend
    "SSL_do_handshake() failed while SSL handshaking to upstream"
    "The TLS handshake with the backend failed; the text in brackets is OpenSSL's reason."
    ["tls-to-plaintext", "tls-peer-closed", "tls-reset", "tls-alert-from-backend"];

    TLS_BROKEN Backend
    "SSL_read() failed"
    "The TLS connection to the backend broke after the handshake. With TLS 1.3 a backend that wants \
     a certificate says so only then (alert 116)."
    ["tls-alert-from-backend", "rst-before-response", "fin-before-response"];

    TLS_VERIFY Backend
    "upstream SSL certificate verify error"
    "The proxy did not accept the backend's certificate (`proxy_ssl_verify on`); number and reason \
     are in brackets."
    ["tls-verify-failed"];

    TLS_NAME Backend
    "upstream SSL certificate does not match"
    "The backend's certificate is for another name than the one asked for (`proxy_ssl_name`)."
    ["tls-verify-failed"];

    EARLY_ANSWER Backend
    "upstream prematurely sent response"
    "The backend answered before it was asked, typically in plain text to a TLS hello."
    ["tls-to-plaintext"];

    NO_LIVE Backend
    "no live upstreams"
    "No server of the group was in use: all had been marked as failed, or were at `max_conns`. The \
     cause is in the failures just before. The client gets 502."
    ["no-backend-available", "queue-timeout"];

    MARKED_DOWN Context
    "upstream server temporarily disabled"
    "After this failure NGINX leaves the server out for `fail_timeout` (10 s unless changed)."
    [];

    UNRESOLVED Backend
    "could not be resolved"
    "The backend's name could not be resolved. The number in brackets is the resolver's, not an \
     error of the connection. The client gets 502."
    ["name-resolution-failed"];

    NO_RESOLVER Proxy
    "no resolver defined to resolve"
    "The backend's name is known only when a request comes, and the configuration has no `resolver`. \
     The client gets 502."
    ["name-resolution-failed"];

    RESOLVER_UNREACHABLE Context
    "send() failed while resolving"
    "A DNS server could not be asked. If none can, requests for names fail; they have lines of their own."
    ["name-resolution-failed"];

    NOT_FOUND_AT_START Proxy
    "host not found in upstream"
    "A name in the configuration could not be resolved at start or reload, so the configuration was \
     not taken."
    ["name-resolution-failed"];

    FD_EXHAUSTED Proxy
    "socket() failed (24: Too many open files)"
    "The worker process has no file descriptor left (`worker_rlimit_nofile`, `ulimit -n`). The \
     client gets 500."
    ["local-fd-exhausted"];

    CONNECTIONS_EXHAUSTED Proxy
    "worker_connections are not enough"
    "The worker process is at `worker_connections`; connections to backends count too. The client \
     gets 500, or no connection at all."
    ["local-fd-exhausted"];

    CLIENT_LEFT Client
    "client prematurely closed connection"
    "The client left before it had its response, and NGINX gave up the backend's connection too. \
     Logged as 499. A client that gives up because a backend is slow looks the same."
    ["client-abort"];

    CLIENT_TROUBLE Client
    "client closed or reset the connection"
    "The connection to the client ended or failed. It says nothing about a backend."
    ["client-abort"];

    CLIENT_TLS Client
    "SSL_do_handshake() failed while SSL handshaking"
    "The TLS handshake with a client failed. It says nothing about a backend."
    [];

    FASTCGI_STDERR Context
    "FastCGI sent in stderr"
    "Text that the application itself wrote. It often names the cause of a failure beside it."
    [];

    FASTCGI_PROTOCOL Backend
    "upstream sent unexpected FastCGI record"
    "What the backend sent is no FastCGI as NGINX knows it: the port talks another protocol."
    ["protocol-version-mismatch", "malformed-response"];

    STREAM_REJECTED Backend
    "upstream rejected request with error"
    "The backend reset the HTTP/2 stream of the request; the number is HTTP/2's error code."
    ["protocol-version-mismatch", "rst-before-response"];

    GOAWAY Backend
    "upstream sent goaway with error"
    "The backend ended the HTTP/2 connection with an error; the number is HTTP/2's error code."
    ["protocol-version-mismatch", "rst-before-response"];

    STREAM_CLOSED Backend
    "upstream prematurely closed stream"
    "The backend ended the HTTP/2 stream before the response was whole."
    ["fin-before-response", "body-truncated-fin", "protocol-version-mismatch"];

    LONGER_THAN_LENGTH Backend
    "upstream sent response body larger than indicated content length"
    "More bytes came over HTTP/2 than the response had declared."
    ["body-longer-than-declared", "malformed-response"];

    FLOW_CONTROL Backend
    "upstream violated flow control"
    "The backend sent more over HTTP/2 than it had been allowed to."
    ["malformed-response"];

    HTTP2_PROTOCOL Backend
    "upstream sent too large http2 frame"
    "What the backend sent is no valid HTTP/2. If every request of the route fails so, the port talks \
     HTTP/1."
    ["protocol-version-mismatch", "malformed-response"];

    WORKER_DIED Proxy
    "worker process exited on signal"
    "A worker process of NGINX crashed or was killed. All connections it had were cut, those of \
     clients and those to backends."
    [];

    LIMITED Proxy
    "limiting requests, limiting connections"
    "NGINX itself turned the request away, by a limit in its configuration (503 unless changed)."
    [];

    BODY_TOO_LARGE Client
    "client intended to send too large body"
    "The request's body is larger than `client_max_body_size`. The client gets 413."
    [];
}

/// The first row that fits is taken, so what is special stands before what is general.
static ROWS: &[Row] = &{
    use While as W;
    [
        ("", "client prematurely closed", W::Anything, &CLIENT_LEFT),
        ("FastCGI sent in stderr", "", W::Anything, &FASTCGI_STDERR),
        ("connect() ", "(111: ", W::Connecting, &REFUSED),
        ("connect() ", "(113: ", W::Connecting, &UNREACHABLE),
        ("connect() ", "(101: ", W::Connecting, &UNREACHABLE),
        ("connect() ", "(99: ", W::Connecting, &PORTS_EXHAUSTED),
        ("connect() ", "(110: ", W::Connecting, &CONNECT_TIMED_OUT),
        ("connect() to unix:", "(2: ", W::Connecting, &SOCKET_MISSING),
        ("connect() ", "(13: ", W::Connecting, &SOCKET_DENIED),
        ("connect() to unix:", "(11: ", W::Connecting, &SOCKET_FULL),
        ("connect() ", "", W::Connecting, &CONNECT_FAILED),
        ("upstream timed out", "", W::Connecting, &CONNECT_TIMED_OUT),
        (
            "upstream timed out",
            "",
            W::Handshaking,
            &HANDSHAKE_TIMED_OUT,
        ),
        ("upstream timed out", "", W::Sending, &SEND_TIMED_OUT),
        ("upstream timed out", "", W::Header, &ANSWER_TIMED_OUT),
        ("upstream timed out", "", W::Body, &BODY_TIMED_OUT),
        ("upstream timed out", "", W::Upgraded, &UPGRADED_TIMED_OUT),
        (
            "upstream prematurely closed stream",
            "",
            W::Anything,
            &STREAM_CLOSED,
        ),
        ("upstream prematurely closed", "", W::Header, &CLOSED_EARLY),
        ("upstream prematurely closed", "", W::Body, &CLOSED_IN_BODY),
        (
            "upstream prematurely closed",
            "",
            W::Sending,
            &CLOSED_SENDING,
        ),
        ("recv() failed", "", W::Header, &RESET),
        ("readv() failed", "", W::Header, &RESET),
        ("recv() failed", "", W::Sending, &SEND_FAILED),
        ("readv() failed", "", W::Body, &RESET_IN_BODY),
        ("recv() failed", "", W::Body, &RESET_IN_BODY),
        ("recv() failed", "", W::Client, &CLIENT_TROUBLE),
        ("writev() failed", "", W::Sending, &SEND_FAILED),
        ("send() failed", "", W::Sending, &SEND_FAILED),
        ("sendfile() failed", "", W::Sending, &SEND_FAILED),
        (
            "upstream sent too big header",
            "",
            W::Anything,
            &HEADER_TOO_BIG,
        ),
        (
            "upstream sent too big trailers",
            "",
            W::Anything,
            &INVALID_TRAILER,
        ),
        (
            "upstream sent invalid trailer",
            "",
            W::Anything,
            &INVALID_TRAILER,
        ),
        (
            "upstream sent invalid \"Content-Length\"",
            "",
            W::Anything,
            &INVALID_LENGTH,
        ),
        (
            "upstream sent invalid header",
            "",
            W::Anything,
            &INVALID_HEADER,
        ),
        (
            "upstream sent invalid status",
            "",
            W::Anything,
            &INVALID_HEADER,
        ),
        (
            "upstream sent no valid HTTP/1.0 header",
            "",
            W::Anything,
            &NO_STATUS_LINE,
        ),
        (
            "upstream sent duplicate header line",
            "",
            W::Anything,
            &DUPLICATE_HEADER,
        ),
        (
            "upstream sent \"Content-Length\" and",
            "",
            W::Anything,
            &BOTH_FRAMINGS,
        ),
        (
            "upstream sent unknown \"Transfer-Encoding\"",
            "",
            W::Anything,
            &UNKNOWN_ENCODING,
        ),
        (
            "upstream sent HTTP/1.0 response with early",
            "",
            W::Anything,
            &EARLY_HINTS,
        ),
        (
            "upstream sent more data than specified",
            "",
            W::Anything,
            &SURPLUS,
        ),
        ("upstream sent data after", "", W::Anything, &SURPLUS_CHUNKS),
        (
            "upstream sent invalid chunked response",
            "",
            W::Anything,
            &INVALID_CHUNKS,
        ),
        (
            "peer closed connection in SSL",
            "(104: ",
            W::Handshaking,
            &TLS_RESET,
        ),
        (
            "peer closed connection in SSL",
            "",
            W::Handshaking,
            &TLS_CLOSED,
        ),
        (
            "SSL_do_handshake() failed",
            "SSL alert number",
            W::Handshaking,
            &TLS_ALERT,
        ),
        (
            "SSL_do_handshake() failed",
            "wrong version number",
            W::Handshaking,
            &TLS_PLAINTEXT,
        ),
        (
            "SSL_do_handshake() failed",
            "packet length too long",
            W::Handshaking,
            &TLS_PLAINTEXT,
        ),
        (
            "SSL_do_handshake() failed",
            "record layer failure",
            W::Handshaking,
            &TLS_PLAINTEXT,
        ),
        (
            "SSL_do_handshake() failed",
            "unknown protocol",
            W::Handshaking,
            &TLS_PLAINTEXT,
        ),
        (
            "SSL_do_handshake() failed",
            "certificate verify failed",
            W::Handshaking,
            &TLS_VERIFY,
        ),
        ("SSL_do_handshake() failed", "", W::Handshaking, &TLS_FAILED),
        (
            "SSL_do_handshake() failed",
            "",
            W::ClientHandshake,
            &CLIENT_TLS,
        ),
        (
            "peer closed connection in SSL",
            "",
            W::ClientHandshake,
            &CLIENT_TLS,
        ),
        (
            "SSL_read() failed",
            "SSL alert number",
            W::Header,
            &TLS_ALERT,
        ),
        ("SSL_read() failed", "", W::Header, &TLS_BROKEN),
        ("SSL_read() failed", "", W::Sending, &TLS_BROKEN),
        ("SSL_write() failed", "", W::Sending, &TLS_BROKEN),
        (
            "upstream SSL certificate verify error",
            "",
            W::Anything,
            &TLS_VERIFY,
        ),
        (
            "upstream SSL certificate does not match",
            "",
            W::Anything,
            &TLS_NAME,
        ),
        (
            "upstream prematurely sent response",
            "",
            W::Anything,
            &EARLY_ANSWER,
        ),
        ("no live upstreams", "", W::Anything, &NO_LIVE),
        (
            "upstream server temporarily disabled",
            "",
            W::Anything,
            &MARKED_DOWN,
        ),
        (
            "no resolver defined to resolve",
            "",
            W::Anything,
            &NO_RESOLVER,
        ),
        (
            "host not found in upstream",
            "",
            W::Anything,
            &NOT_FOUND_AT_START,
        ),
        ("", " could not be resolved (", W::Anything, &UNRESOLVED),
        ("send() failed", "", W::Resolving, &RESOLVER_UNREACHABLE),
        ("recv() failed", "", W::Resolving, &RESOLVER_UNREACHABLE),
        ("", "(24: Too many open files)", W::Anything, &FD_EXHAUSTED),
        (
            "",
            "worker_connections are not enough",
            W::Anything,
            &CONNECTIONS_EXHAUSTED,
        ),
        (
            "upstream sent unexpected FastCGI",
            "",
            W::Anything,
            &FASTCGI_PROTOCOL,
        ),
        (
            "upstream sent unsupported FastCGI",
            "",
            W::Anything,
            &FASTCGI_PROTOCOL,
        ),
        (
            "upstream sent invalid FastCGI",
            "",
            W::Anything,
            &FASTCGI_PROTOCOL,
        ),
        (
            "upstream split a header line in FastCGI",
            "",
            W::Anything,
            &FASTCGI_PROTOCOL,
        ),
        (
            "upstream rejected request with error",
            "",
            W::Anything,
            &STREAM_REJECTED,
        ),
        ("upstream sent goaway with error", "", W::Anything, &GOAWAY),
        (
            "upstream sent response body larger than",
            "",
            W::Anything,
            &LONGER_THAN_LENGTH,
        ),
        (
            "upstream violated ",
            "flow control",
            W::Anything,
            &FLOW_CONTROL,
        ),
        // What is left of `upstream sent …` comes from the modules that speak HTTP/2.
        ("upstream sent ", "", W::Anything, &HTTP2_PROTOCOL),
        (
            "worker process ",
            "exited on signal",
            W::Anything,
            &WORKER_DIED,
        ),
        ("limiting ", "by zone", W::Anything, &LIMITED),
        (
            "client intended to send too large body",
            "",
            W::Anything,
            &BODY_TOO_LARGE,
        ),
        ("client ", "timed out", W::Anything, &CLIENT_TROUBLE),
        ("client timed out", "", W::Anything, &CLIENT_TROUBLE),
    ]
};

/// What a message means that NGINX wrote `while` it was doing `action`. `quiet`: at the level `info` or
/// below.
pub(super) fn meaning(message: &str, action: &str, quiet: bool) -> Option<&'static Meaning> {
    ROWS.iter()
        .find(|(begins, holds, during, _)| {
            message.starts_with(begins) && during.is(action, quiet) && message.contains(holds)
        })
        .map(|(.., meaning)| *meaning)
}
