//! Error log of NGINX.
//!
//! `time [level] pid#tid: *connection message while action, client: …, server: …, request: "…",
//! upstream: "…", host: "…", referrer: "…"`, cut at 2048 bytes: `ngx_log_error_core` in
//! <https://github.com/nginx/nginx/blob/master/src/core/ngx_log.c> and `ngx_http_log_error` in
//! `ngx_http_request.c`.

use super::messages;
pub(in crate::logs) use super::messages::MEANINGS;
use crate::logs::entry::{Entry, Kind, LogAttempt, System, Text, peer};
use crate::logs::scan::{ParseError, Scan, known, number, text};
use crate::logs::stamp::{Assume, slashed};

const TIME_LEN: usize = "2026/11/22 07:22:27".len();
const LEVELS: [&[u8]; 8] = [
    b"emerg", b"alert", b"crit", b"error", b"warn", b"notice", b"info", b"debug",
];

/// `2026/11/22 07:22:27 [error] 8432#8432: `. Go's default log begins with the same time.
pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    let Some((time, rest)) = line.split_at_checked(TIME_LEN) else {
        return false;
    };
    let form = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    };
    let mut scan = Scan::new(rest);
    time.iter().zip(b"0000/00/00 00:00:00").all(form)
        && scan.take_if(" [")
        && scan
            .until(b']', "")
            .is_ok_and(|level| LEVELS.contains(&level))
}

pub(in crate::logs) fn parse<'a>(line: &'a [u8], assume: &Assume) -> Result<Entry<'a>, ParseError> {
    let mut scan = Scan::new(line);
    let mut entry = Entry::new(System::Nginx, Kind::Error);
    entry.time = line
        .get(..TIME_LEN)
        .and_then(|time| slashed(&text(time), assume));
    if entry.time.is_none() {
        return Err(scan.error("a time like 2026/11/22 07:22:27"));
    }
    scan.skip(TIME_LEN);
    scan.expect(" [")?;
    let before_level = scan.clone();
    let level = scan.until(b']', "] behind the level")?;
    if !LEVELS.contains(&level) {
        return Err(before_level.error("a level of NGINX's"));
    }
    scan.expect(" ")?;
    let before_pid = scan.clone();
    entry.pid = number(scan.until(b'#', "pid#tid")?);
    entry.tid = number(scan.until_text(": ", "a colon behind pid#tid")?);
    if entry.pid.is_none() || entry.tid.is_none() {
        return Err(before_pid.error("pid#tid"));
    }
    if scan.rest().starts_with(b"*") {
        let mut ahead = scan.clone();
        ahead.skip(1);
        entry.connection = number(ahead.word("the connection's number")?);
        if entry.connection.is_some() {
            scan = ahead;
        }
    }
    let message = message(&mut scan);
    read_tail(&mut entry, &mut scan);
    let (what, action) = match memchr::memmem::rfind(message, b" while ") {
        Some(at) => {
            let (what, action) = message.split_at(at);
            (what, action.get(b" while ".len()..).unwrap_or_default())
        }
        None => (message, &b""[..]),
    };
    let quiet = matches!(level, b"notice" | b"info" | b"debug");
    entry.meaning = messages::meaning(&text(what), &text(action), quiet);
    entry.says = known(message);
    Ok(entry)
}

/// Takes the message; what is left begins with the client's address, if a client is named.
fn message<'a>(scan: &mut Scan<'a>) -> &'a [u8] {
    let rest = scan.rest();
    // The message may quote what an application wrote, so the address has to be one.
    let client = memchr::memmem::find_iter(rest, b", client: ").find(|at| {
        let behind = rest.get(at + b", client: ".len()..).unwrap_or_default();
        let end = memchr::memchr(b',', behind).unwrap_or(behind.len());
        let address = behind.get(..end).unwrap_or_default();
        // `unix:` is the address of every client that came over a Unix socket.
        address == b"unix:" || (address.len() <= 64 && peer(&text(address)).is_some())
    });
    let end = client.or_else(|| memchr::memmem::find(rest, b", resolver: "));
    let end = end.unwrap_or(rest.len());
    scan.skip(end);
    rest.get(..end).unwrap_or_default()
}

/// What NGINX says about the request. A line that was cut may end in the middle of it.
fn read_tail<'a>(entry: &mut Entry<'a>, scan: &mut Scan<'a>) {
    if scan.take_if(", client: ") {
        entry.client = peer(&text(until_comma(scan)));
    }
    if scan.take_if(", server: ") {
        until_comma(scan);
    }
    if scan.take_if(", request: \"") {
        let (request, _) = quoted(scan, is_request_end);
        entry.set_request_line(text(request));
    }
    let next_field = |rest: &[u8], _: &[u8]| is_field_or_end(rest);
    if scan.take_if(", subrequest: \"") {
        quoted(scan, next_field);
    }
    if scan.take_if(", upstream: \"") {
        let (url, whole) = quoted(scan, next_field);
        entry.attempts.extend(attempt(url, whole));
    }
    if scan.take_if(", host: \"") {
        let (host, whole) = quoted(scan, next_field);
        entry.host = known(host).filter(|_| whole);
    }
}

fn until_comma<'a>(scan: &mut Scan<'a>) -> &'a [u8] {
    let rest = scan.rest();
    let end = memchr::memchr(b',', rest).unwrap_or(rest.len());
    scan.skip(end);
    rest.get(..end).unwrap_or_default()
}

/// Takes up to the first quote at which `ends(what follows it, what stands before it)`: NGINX does not
/// escape the quotes inside. False: the line was cut before such a quote.
fn quoted<'a>(scan: &mut Scan<'a>, ends: impl Fn(&[u8], &[u8]) -> bool) -> (&'a [u8], bool) {
    let rest = scan.rest();
    let split = |at: usize| rest.split_at_checked(at);
    let end = memchr::memchr_iter(b'"', rest).find(|at| {
        split(*at).is_some_and(|(before, quote)| ends(quote.get(1..).unwrap_or_default(), before))
    });
    let value = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    scan.skip(value.len() + 1);
    (value, end.is_some())
}

/// Does another field of the line begin here, or does the line end?
fn is_field_or_end(rest: &[u8]) -> bool {
    const FIELDS: [&[u8]; 6] = [
        b", subrequest: \"",
        b", upstream: \"",
        b", host: \"",
        b", referrer: \"",
        b", login: \"",
        b", bytes from/to client:",
    ];
    rest.is_empty() || FIELDS.iter().any(|field| rest.starts_with(field))
}

/// A target may hold a quote and what looks like the next field, but no space: so the end of a request
/// line is where the protocol stands before it, or, in HTTP/0.9, no space behind the method's.
fn is_request_end(rest: &[u8], before: &[u8]) -> bool {
    let protocol = before.last_chunk::<9>().is_some_and(|end| {
        matches!(end, [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit())
    });
    is_field_or_end(rest) && (protocol || rest.is_empty() || !has_protocol_ahead(rest))
}

/// Is there, in the next bytes, the end of a request line still to come?
fn has_protocol_ahead(rest: &[u8]) -> bool {
    const AHEAD_MAX: usize = 2048;
    let ahead = rest.get(..AHEAD_MAX).unwrap_or(rest);
    memchr::memmem::find(ahead, b" HTTP/").is_some()
}

/// `scheme://peer/path`; a peer is an address, a group's name or `unix:/path:`.
fn attempt(url: &[u8], whole: bool) -> Option<LogAttempt<'_>> {
    let url = match memchr::memmem::find(url, b"://") {
        // A stream proxy names the peer alone.
        Some(at) if at < 16 => url.get(at + 3..).unwrap_or_default(),
        _ => url,
    };
    let end = match url.strip_prefix(b"unix:") {
        Some(path) => memchr::memchr(b':', path).map(|at| at + b"unix:".len()),
        None => memchr::memchr(b'/', url),
    };
    // Of a line that was cut in the middle of the address, the address is another one.
    let end = end.or_else(|| whole.then_some(url.len()))?;
    let name: Text<'_> = known(url.get(..end)?)?;
    Some(LogAttempt {
        addr: name.parse().ok(),
        name: Some(name),
        ..LogAttempt::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Blame;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry, assume};

    const RESET: &str = r#"2026/11/22 07:22:30 [error] 8432#8433: *11 recv() failed (104: Connection reset by peer) while reading response header from upstream, client: 203.0.113.5, server: shop.example.com, request: "POST /order?a="b HTTP/1.1", upstream: "http://192.0.2.20:9005/order?a="b", host: "shop.example.com", referrer: "https://x/", upstream: "http://198.51.100.66:1/""#;

    fn read(line: &str) -> Entry<'_> {
        assert!(looks_like(line.as_bytes()), "{line}");
        parse(line.as_bytes(), &assume()).unwrap()
    }

    #[test]
    fn every_field_of_a_line() {
        let entry = read(RESET);
        assert_eq!(
            entry
                .time
                .map(|at| (at.unix_ns - MORNING_NS, at.resolution_ns)),
            Some((26_550_000_000_000, 1_000_000_000))
        );
        assert_eq!((entry.pid, entry.tid), (Some(8432), Some(8433)));
        assert_eq!(entry.connection, Some(11));
        assert_eq!(
            entry
                .client
                .map(|client| (client.ip.to_string(), client.port)),
            Some(("203.0.113.5".to_owned(), None))
        );
        assert_eq!(entry.method.as_deref(), Some("POST"));
        assert_eq!(entry.target.as_deref(), Some("/order?a=\"b"));
        assert_eq!(entry.protocol.as_deref(), Some("HTTP/1.1"));
        assert_eq!(entry.host.as_deref(), Some("shop.example.com"));
        assert_eq!((entry.status, entry.attempts.len()), (None, 1));
        assert_eq!(entry.upstream().as_deref(), Some("192.0.2.20:9005"));
        assert_eq!(
            entry.says.as_deref(),
            Some(
                "recv() failed (104: Connection reset by peer) while reading response header from upstream"
            )
        );
        assert_eq!(entry.classes().first(), Some(&"rst-before-response"));
    }

    #[test]
    fn peers_of_upstreams() {
        for (upstream, name, addr) in [
            ("http://192.0.2.20:9001/cart", "192.0.2.20:9001", true),
            ("https://[2001:db8::21]:8443/", "[2001:db8::21]:8443", true),
            ("http://shop_pool/cart", "shop_pool", false),
            ("grpc://192.0.2.20:50051", "192.0.2.20:50051", true),
            ("grpcs://192.0.2.20:50051", "192.0.2.20:50051", true),
            ("uwsgi://192.0.2.20:3031", "192.0.2.20:3031", true),
            ("fastcgi://127.0.0.1:9000", "127.0.0.1:9000", true),
            (
                "fastcgi://unix:/run/php/php-fpm.sock:",
                "unix:/run/php/php-fpm.sock",
                false,
            ),
            (
                "http://unix:/run/a.sock:/y?q=\"z",
                "unix:/run/a.sock",
                false,
            ),
            ("192.0.2.20:5432", "192.0.2.20:5432", true),
        ] {
            let line = RESET.replace("http://192.0.2.20:9005/order?a=\"b", upstream);
            let entry = read(&line);
            let [attempt] = &entry.attempts[..] else {
                panic!("{upstream}: {:?}", entry.attempts);
            };
            assert_eq!(attempt.name.as_deref(), Some(name));
            assert_eq!(attempt.addr.is_some(), addr, "{upstream}");
            assert_eq!(entry.host.as_deref(), Some("shop.example.com"));
        }
    }

    /// Message with its action, and how its meaning's code begins and its first class.
    #[test]
    fn what_the_messages_mean() {
        let up = |action: &str| format!(" while {action} upstream");
        let [connecting, handshaking, sending, header, body] = [
            up("connecting to"),
            up("SSL handshaking to"),
            up("sending request to"),
            up("reading response header from"),
            up("reading"),
        ];
        let none = String::new();
        let timeout = "upstream timed out (110: Connection timed out)";
        let closed = "upstream prematurely closed connection";
        let reset = "(104: Connection reset by peer)";
        let handshake = "SSL_do_handshake() failed (SSL: error:0A000";
        for (message, action, class) in [
            (
                "connect() failed (111: Connection refused)",
                &connecting,
                "connect-refused",
            ),
            (
                "connect() to [2001:db8::21]:80 failed (101: Network is unreachable)",
                &connecting,
                "connect-unreachable",
            ),
            (
                "connect() failed (113: No route to host)",
                &connecting,
                "connect-unreachable",
            ),
            (
                "connect() to 192.0.2.20:9019 failed (99: Cannot assign requested address)",
                &connecting,
                "local-port-exhausted",
            ),
            (
                "connect() to unix:/run/a.sock failed (2: No such file or directory)",
                &connecting,
                "connect-refused",
            ),
            (
                "connect() to unix:/run/a.sock failed (11: Resource temporarily unavailable)",
                &connecting,
                "listen-queue-overflow",
            ),
            (timeout, &connecting, "connect-timeout"),
            (timeout, &handshaking, "tls-handshake-timeout"),
            (timeout, &sending, "response-timeout"),
            (timeout, &header, "response-timeout"),
            (timeout, &body, "body-stalled"),
            (closed, &header, "fin-before-response"),
            (closed, &body, "body-truncated-fin"),
            (
                "upstream prematurely closed FastCGI stdout",
                &header,
                "fin-before-response",
            ),
            (
                "upstream prematurely closed FastCGI request",
                &body,
                "body-truncated-fin",
            ),
            (
                &format!("recv() failed {reset}"),
                &header,
                "rst-before-response",
            ),
            (
                &format!("readv() failed {reset}"),
                &body,
                "body-truncated-rst",
            ),
            (
                &format!("recv() failed {reset}"),
                &body,
                "body-truncated-rst",
            ),
            (
                "writev() failed (32: Broken pipe)",
                &sending,
                "request-body-rejected",
            ),
            (
                &format!("sendfile() failed {reset}"),
                &sending,
                "request-body-rejected",
            ),
            ("upstream sent too big header", &header, "header-too-large"),
            (
                r#"upstream sent invalid header: "X-Bad\x00...""#,
                &header,
                "malformed-response",
            ),
            (
                "upstream sent no valid HTTP/1.0 header",
                &header,
                "malformed-response",
            ),
            (
                r#"upstream sent duplicate header line: "Content-Length: 1", previous value: "Content-Length: 2""#,
                &header,
                "conflicting-framing",
            ),
            (
                r#"upstream sent invalid "Content-Length" header: "Content-Length: x""#,
                &header,
                "conflicting-framing",
            ),
            (
                r#"upstream sent "Content-Length" and "Transfer-Encoding" headers at the same time"#,
                &header,
                "conflicting-framing",
            ),
            (
                r#"upstream sent unknown "Transfer-Encoding": "gzip""#,
                &header,
                "conflicting-framing",
            ),
            (
                r#"upstream sent more data than specified in "Content-Length" header"#,
                &body,
                "body-longer-than-declared",
            ),
            (
                "upstream sent data after final chunk",
                &body,
                "body-longer-than-declared",
            ),
            (
                "upstream sent invalid chunked response",
                &body,
                "chunk-framing-invalid",
            ),
            (
                "upstream sent too big trailers",
                &body,
                "chunk-framing-invalid",
            ),
            (
                "peer closed connection in SSL handshake",
                &handshaking,
                "tls-peer-closed",
            ),
            (
                &format!("peer closed connection in SSL handshake {reset}"),
                &handshaking,
                "tls-reset",
            ),
            (
                &format!("{handshake}10B:SSL routines::wrong version number)"),
                &handshaking,
                "tls-to-plaintext",
            ),
            (
                &format!(
                    "{handshake}42E:SSL routines::tlsv1 alert protocol version:SSL alert number 70)"
                ),
                &handshaking,
                "tls-alert-from-backend",
            ),
            (
                "upstream SSL certificate verify error: (10:certificate has expired)",
                &handshaking,
                "tls-verify-failed",
            ),
            (
                r#"upstream SSL certificate does not match "shop""#,
                &handshaking,
                "tls-verify-failed",
            ),
            (
                "upstream prematurely sent response",
                &handshaking,
                "tls-to-plaintext",
            ),
            (
                "SSL_read() failed (SSL: error:0A00045C:SSL routines::tlsv13 alert certificate required:SSL alert number 116)",
                &header,
                "tls-alert-from-backend",
            ),
            (
                "SSL_read() failed (SSL: error:0A000126:SSL routines::unexpected eof while reading)",
                &header,
                "tls-alert-from-backend",
            ),
            ("no live upstreams", &connecting, "no-backend-available"),
            (
                "nosuch.invalid could not be resolved (110: Operation timed out)",
                &none,
                "name-resolution-failed",
            ),
            (
                "no resolver defined to resolve a.b",
                &none,
                "name-resolution-failed",
            ),
            (
                "socket() failed (24: Too many open files)",
                &connecting,
                "local-fd-exhausted",
            ),
            (
                "512 worker_connections are not enough",
                &connecting,
                "local-fd-exhausted",
            ),
            (
                "epoll_wait() reported that client prematurely closed connection, so upstream connection is closed too",
                &header,
                "client-abort",
            ),
            (
                "upstream sent unexpected FastCGI record: 7",
                &header,
                "protocol-version-mismatch",
            ),
            (
                "upstream sent unsupported FastCGI protocol version: 72",
                &header,
                "protocol-version-mismatch",
            ),
            (
                "upstream rejected request with error 2",
                &header,
                "protocol-version-mismatch",
            ),
            (
                "upstream sent goaway with error 1",
                &header,
                "protocol-version-mismatch",
            ),
            (
                "upstream sent too large http2 frame: 4740180",
                &header,
                "protocol-version-mismatch",
            ),
            (
                "upstream sent no :status header",
                &header,
                "protocol-version-mismatch",
            ),
            (
                "upstream violated stream flow control, received 9 data frame with window 1",
                &body,
                "malformed-response",
            ),
        ] {
            let message = format!("{message}{action}");
            let line = format!(
                r#"2026/11/22 07:22:30 [error] 1#1: *1 {message}, client: 203.0.113.5, server: , request: "GET / HTTP/1.1""#
            );
            let entry = read(&line);
            assert_eq!(entry.classes().first(), Some(&class), "{message}");
            assert_eq!(entry.says.as_deref(), Some(&*message));
            assert_eq!(entry.method.as_deref(), Some("GET"));
        }
    }

    #[test]
    fn lines_of_other_kinds() {
        for (line, blame, connection) in [
            (
                "[warn] 1#1: *4 upstream server temporarily disabled while connecting to upstream, client: 203.0.113.5, server: a",
                Some(Blame::Context),
                Some(4),
            ),
            (
                r#"[error] 1#1: *4 FastCGI sent in stderr: "PHP message: x, client: me while y" while reading response header from upstream, client: 203.0.113.5, server: a"#,
                Some(Blame::Context),
                Some(4),
            ),
            (
                "[alert] 8431#8431: worker process 8432 exited on signal 11 (core dumped)",
                Some(Blame::Proxy),
                None,
            ),
            (
                "[error] 1#1: send() failed (111: Connection refused) while resolving, resolver: 127.0.0.1:1",
                Some(Blame::Context),
                None,
            ),
            (
                "[emerg] 1#1: host not found in upstream \"x\" in /etc/nginx/nginx.conf:3",
                Some(Blame::Proxy),
                None,
            ),
            (
                "[info] 1#1: *9 recv() failed (104: Connection reset by peer) while sending to client, client: 203.0.113.5, server: a",
                Some(Blame::Client),
                Some(9),
            ),
            (
                "[error] 1#1: *9 recv() failed (104: Connection reset by peer) while sending to client, client: 203.0.113.5, server: a",
                Some(Blame::Backend),
                Some(9),
            ),
            (
                "[crit] 1#1: *9 SSL_do_handshake() failed (SSL: error:1:alert x:SSL alert number 46) while SSL handshaking, client: 203.0.113.5, server: 0.0.0.0:443",
                Some(Blame::Client),
                Some(9),
            ),
            (
                "[error] 1#1: *9 limiting requests, excess: 1.0 by zone \"a\", client: unix:, server: a",
                Some(Blame::Proxy),
                Some(9),
            ),
            ("[notice] 1#1: signal process started", None, None),
            (
                "[info] 1#1: *3 client 203.0.113.5 closed keepalive connection",
                None,
                Some(3),
            ),
            ("[error] 1#1: *x nobody knows this", None, None),
            ("[notice] 1#1: ", None, None),
        ] {
            let line = format!("2026/11/22 07:22:30 {line}");
            let entry = read(&line);
            assert_eq!(entry.meaning.map(|one| one.blame), blame, "{line}");
            assert_eq!(entry.connection, connection, "{line}");
            assert_eq!((entry.kind, entry.attempts.len()), (Kind::Error, 0));
        }
    }

    /// NGINX proxies TCP too; such lines have no request.
    #[test]
    fn a_line_of_the_stream_module() {
        let entry = read(
            r#"2026/11/22 07:22:30 [error] 1#1: *7 connect() failed (111: Connection refused) while connecting to upstream, client: 2001:db8::5, server: 0.0.0.0:5432, upstream: "192.0.2.20:5433", bytes from/to client:0/0, bytes from/to upstream:0/0"#,
        );
        assert_eq!(entry.upstream().as_deref(), Some("192.0.2.20:5433"));
        assert_eq!(entry.classes().first(), Some(&"connect-refused"));
        assert!(entry.client.is_some() && entry.method.is_none());
    }

    #[test]
    fn cut_lines_do_not_make_up_addresses() {
        for (end, upstream) in [
            ("http://192.0.2.20:9005/order", Some("192.0.2.20:9005")),
            ("http://192.0.2.20:90", None),
            ("http://192.0.2.2", None),
            ("http://unix:/run/a", None),
            (", upstr", None),
        ] {
            let at = RESET.find(end).map_or(RESET.len(), |at| at + end.len());
            let (cut, _) = RESET.split_at(at);
            let cut = match end {
                "http://unix:/run/a" => cut
                    .replace("http://192.0.2.20:9005/order?a=\"b\"", end)
                    .split(", host")
                    .next()
                    .unwrap()
                    .to_owned(),
                _ => cut.to_owned(),
            };
            let entry = read(&cut);
            assert_eq!(entry.upstream().as_deref(), upstream, "{cut}");
            assert_eq!(entry.meaning.map(|one| one.blame), Some(Blame::Backend));
            assert_eq!(entry.host, None);
        }
        // No upstream was chosen; the one in the referrer is the client's invention.
        let line = RESET.replace(r#" upstream: "http://192.0.2.20:9005/order?a="b","#, "");
        let entry = read(&line);
        assert_eq!((entry.attempts.len(), entry.host.is_some()), (0, true));
        let old = RESET.replace(" HTTP/1.1", "");
        assert_eq!(read(&old).upstream().as_deref(), Some("192.0.2.20:9005"));
        let fake = RESET.replace(
            "/order?a=\"b HTTP",
            "/order\", upstream: \"http://198.51.100.66:1/ HTTP",
        );
        assert_eq!(read(&fake).upstream().as_deref(), Some("192.0.2.20:9005"));
    }

    #[test]
    fn other_lines_are_errors() {
        for (line, offset) in [
            ("", 0),
            ("2026/11/22 07:22:30", 19),
            ("2026/13/22 07:22:30 [error] 1#1: x", 0),
            ("2026/11/22 07:22:30 [fatal] 1#1: x", 21),
            ("2026/11/22 07:22:30 [error] one#1: x", 28),
            ("2026/11/22 07:22:30 http: TLS handshake error", 19),
        ] {
            let error = parse(line.as_bytes(), &assume()).unwrap_err();
            assert_eq!(error.offset, offset, "{line}");
        }
        any_prefix_is_an_error_or_an_entry(RESET.as_bytes(), |line| parse(line, &assume()));
    }

    /// A megabyte of what could be the end of something but is not, in a moment.
    #[test]
    fn long_lines() {
        for filler in [
            "\"",
            ", client: ",
            " while ",
            "\", upstream: \"",
            "\"\", HTTP/1",
        ] {
            let line = RESET
                .replace("recv()", &filler.repeat(500_000 / filler.len()))
                .replace("/order", &filler.repeat(500_000 / filler.len()));
            assert!(parse(line.as_bytes(), &assume()).is_ok());
        }
    }
}
