//! `option httplog` and `httpslog`, and what a `log-format` appends to them:
//! `TR/Tw/Tc/Tr/Ta ST B CC CS tsc ac/fc/bc/sc/rc sq/bq {hr} {hs} "request"`.

use std::borrow::Cow;

use crate::logs::entry::{Entry, Text, request_line};
use crate::logs::scan::{ParseError, Scan, number, status, text};

use super::extra::Extra;
use super::head::Head;
use super::session::{End, Retries, Route, Times, entry, ms_as_us};

/// Stands where the request would, if it could not be read.
const BAD_REQUEST: &[u8] = b"<BADREQ>";

pub(super) fn parse<'a>(
    head: &Head<'a>,
    route: &Route<'a>,
    timers: &'a [u8],
    mut scan: Scan<'a>,
) -> Result<Entry<'a>, ParseError> {
    let times = times(timers);
    let before_status = scan.clone();
    let sent = scan.word("a status")?;
    let status_sent = status(sent);
    // -1: the client left before there was one.
    if status_sent.is_none() && !matches!(sent, b"-1" | b"0") {
        return Err(before_status.error("a status"));
    }
    let bytes = scan.word("the number of bytes")?;
    scan.word("the captured request cookie")?;
    scan.word("the captured response cookie")?;
    let before_state = scan.clone();
    let state = scan.word("a termination state")?;
    if state.len() != 4 {
        return Err(before_state.error("a termination state of four characters"));
    }
    let connections = scan.word("the numbers of connections")?;
    // What follows may have been cut off: by default a line ends after 1024 bytes.
    let _queues = scan.word("the queues");
    let (captures, request, rest) = split_request(scan.rest());
    let mut extra = Extra::default();
    extra.read_captures(captures);
    extra.read_pairs(rest);
    let end = End {
        status: status_sent,
        state,
        retries: Retries::of(connections),
        bytes_received: number(bytes.strip_prefix(b"+").unwrap_or(bytes)),
        is_http: true,
    };
    let mut entry = entry(head, route, &times, &end, extra);
    read_request(&mut entry, request);
    Ok(entry)
}

fn times(timers: &[u8]) -> Times {
    let mut timers = timers.split(|byte| *byte == b'/').map(ms_as_us);
    let mut next = || timers.next().flatten();
    let _request = next();
    Times {
        queue_us: next(),
        connect_us: next(),
        header_us: next(),
        total_us: next(),
    }
}

/// What stands before the request, the request, and what stands behind it. HAProxy writes a quote
/// within any of them as `#22`, so the first one is where the request begins.
fn split_request(fields: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let Some(open) = memchr::memchr(b'"', fields) else {
        return (fields, &[], &[]);
    };
    let (captures, inside) = (&fields[..open], &fields[open + 1..]);
    match memchr::memchr(b'"', inside) {
        Some(close) => (captures, &inside[..close], &inside[close + 1..]),
        None => (captures, inside, &[]),
    }
}

/// Puts method, target, protocol and host of a request line into the entry.
pub(super) fn read_request<'a>(entry: &mut Entry<'a>, request: &'a [u8]) {
    if request == BAD_REQUEST {
        return;
    }
    match decoded(request) {
        Cow::Borrowed(line) => {
            let (method, target, protocol) = request_line(line);
            entry.method = method.map(Cow::Borrowed);
            entry.target = target.map(Cow::Borrowed);
            entry.protocol = protocol.map(Cow::Borrowed);
            entry.host = target.and_then(host).map(Cow::Borrowed);
        }
        Cow::Owned(line) => {
            let own = |part: Option<&str>| part.map(|part| Cow::Owned(part.to_owned()));
            let (method, target, protocol) = request_line(&line);
            entry.method = own(method);
            entry.target = own(target);
            entry.protocol = own(protocol);
            entry.host = own(target.and_then(host));
        }
    }
}

/// The host of a target in absolute form, which is what HTTP/2 requests are logged in.
fn host(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let plain = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let authority = rest.split(['/', '?']).next()?;
    let port = |(_, port): &(&str, &str)| port.bytes().all(|byte| byte.is_ascii_digit());
    let named = authority.rsplit_once(':').filter(port);
    (plain && !authority.is_empty()).then(|| named.map_or(authority, |(host, _)| host))
}

/// Text in which HAProxy wrote control characters, quotes, `#` and what is not ASCII as `#XX`.
fn decoded(request: &[u8]) -> Text<'_> {
    if memchr::memchr(b'#', request).is_none() {
        return text(request);
    }
    let mut plain = Vec::with_capacity(request.len());
    let mut rest = request;
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [high, low, ..] if *first == b'#' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                plain.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use crate::logs::entry::Entry;
    use crate::logs::haproxy::parse;
    use crate::logs::testing::{MORNING_NS, assume};

    fn read(line: &str) -> Entry<'_> {
        parse(line.as_bytes(), &assume()).unwrap()
    }

    #[test]
    fn a_refused_connection() {
        let entry = read(
            r#"Nov 22 07:25:36 haproxy[8486]: 203.0.113.5:55652 [22/Nov/2026:07:25:35.809] fe_main be_shop/app1 0/12/-1/-1/1002 503 217 - - SC-- 1/1/0/0/1 0/0 "GET /cart?id=7 HTTP/1.1""#,
        );
        let since_morning = |at: Option<crate::logs::Stamp>| {
            at.map(|at| ((at.unix_ns - MORNING_NS) / 1_000_000, at.resolution_ns))
        };
        assert_eq!(since_morning(entry.started), Some((26_735_809, 1_000_000)));
        assert_eq!(since_morning(entry.time), Some((26_736_811, 2_000_000)));
        assert_eq!((entry.status, entry.pid), (Some(503), Some(8486)));
        assert_eq!(entry.client.and_then(|client| client.port), Some(55652));
        assert_eq!(
            (
                entry.method.as_deref(),
                entry.path(),
                entry.protocol.as_deref()
            ),
            (Some("GET"), Some("/cart"), Some("HTTP/1.1"))
        );
        assert_eq!(entry.upstream().as_deref(), Some("be_shop/app1"));
        let timers = entry.timers;
        assert_eq!(
            (
                timers.queue_us,
                timers.connect_us,
                timers.header_us,
                timers.total_us
            ),
            (Some(12_000), None, None, Some(1_002_000))
        );
        assert_eq!(entry.says.as_deref(), Some("SC--"));
        assert_eq!(entry.attempts[0].status, None);
        assert_eq!(entry.attempts[0].received_bytes, None);
    }

    #[test]
    fn both_ends_of_the_servers_connection() {
        let entry = read(
            r#"203.0.113.5:53528 [22/Nov/2026:07:34:22.044] fe_main be_shop/app1 0/0/-1/-1/1008 503 217 - - SC-- 1/1/0/0/1 0/0 "GET /pay HTTP/1.1" src=192.0.2.10:41022 dst=192.0.2.20:9023 be=34/"SSL handshake failure" sslbe=000000000A000086/"error:0A000086:SSL routines::certificate verify failed" id=7F000001:ACBC"#,
        );
        let attempt = &entry.attempts[0];
        assert_eq!(attempt.local, "192.0.2.10:41022".parse().ok());
        assert_eq!(attempt.addr, "192.0.2.20:9023".parse().ok());
        assert_eq!(attempt.name.as_deref(), Some("be_shop/app1"));
        assert_eq!(entry.request_id.as_deref(), Some("7F000001:ACBC"));
        assert_eq!(
            entry.says.as_deref(),
            Some(
                "SC-- SSL handshake failure error:0A000086:SSL routines::certificate verify failed"
            )
        );
    }

    #[test]
    fn unpleasant_requests() {
        for (request, method, target, host) in [
            (r#""<BADREQ>""#, None, None, None),
            (
                r#""GET /x#22y\z{a}#23 HTTP/1.1""#,
                Some("GET"),
                Some("/x\"y\\z{a}#"),
                None,
            ),
            (
                r#""GET /caf#C3#A9 HTTP/1.1" x"y"#,
                Some("GET"),
                Some("/café"),
                None,
            ),
            (r#""GET /a#2"#, Some("GET"), Some("/a#2"), None),
            (
                r#""GET /cut-off-he"#,
                Some("GET"),
                Some("/cut-off-he"),
                None,
            ),
            (r#"{shop|"#, None, None, None),
            ("", None, None, None),
            (
                r#""GET https://shop.example.com:8443/a?b HTTP/2.0""#,
                Some("GET"),
                Some("https://shop.example.com:8443/a?b"),
                Some("shop.example.com"),
            ),
        ] {
            let line = format!(
                "::1:3743 [22/Nov/2026:20:04:51.138] fe be/a 0/0/0/-1/1 502 209 - - SH-- 2/2/1/1/0 0/0 {request}"
            );
            let entry = read(&line);
            assert_eq!(entry.client.map(|client| client.port), Some(Some(3743)));
            assert_eq!(
                (
                    entry.method.as_deref(),
                    entry.target.as_deref(),
                    entry.host.as_deref()
                ),
                (method, target, host),
                "{line}"
            );
        }
    }

    #[test]
    fn clients_of_a_unix_socket_and_early_lines() {
        let entry = read(
            r#"unix:2 [22/Nov/2026:20:04:51.086] fe be/a 0/0/0/4/+0 200 +51 - - ---- 2/2/1/1/0 0/0 {shop|a b} {} "GET / HTTP/1.1""#,
        );
        assert_eq!((entry.client, entry.status), (None, Some(200)));
        assert_eq!(entry.timers.total_us, Some(0));
        assert_eq!(entry.attempts[0].received_bytes, Some(51));
        assert_eq!(entry.attempts[0].status, Some(200));
        assert_eq!((entry.meaning, entry.says), (None, None));
    }

    #[test]
    fn nobody_was_asked() {
        let line = r#"1.2.3.4:5 [22/Nov/2026:07:26:11.187] fe_main be_down/<NOSRV> 0/-1/-1/-1/0 503 217 - - SC-- 1/1/0/0/0 0/0 "GET /cart HTTP/1.1""#;
        assert_eq!(read(line).upstream().as_deref(), Some("be_down/<NOSRV>"));
        let denied = line
            .replace("be_down", "fe_main")
            .replace("503 217 - - SC", "403 192 - - PR");
        assert_eq!(read(&denied).upstream(), None);
        let gone = line.replace("503 217 - - SC", "-1 0 - - CR");
        assert_eq!((read(&gone).status, read(&gone).upstream()), (None, None));
    }
}
