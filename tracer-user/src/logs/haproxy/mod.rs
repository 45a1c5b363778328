//! HAProxy: requests (`option httplog`, `httpslog`), sessions (`option tcplog`), connections that failed
//! before there was a request, and what it says of its servers.
//!
//! Fields: <https://docs.haproxy.org/2.6/configuration.html#8.2>.

mod clf;
mod connect_error;
mod connection;
mod extra;
mod head;
mod health;
mod http;
mod session;
mod state;
mod tcp;

use self::head::Head;
use crate::logs::entry::Entry;
use crate::logs::meaning::Meaning;
use crate::logs::scan::ParseError;
use crate::logs::stamp::Assume;
use crate::logs::syslog::{Prefix, prefix};

/// For `explain`.
pub(in crate::logs) static MEANINGS: &[&[&Meaning]] = &[
    state::MEANINGS,
    connect_error::MEANINGS,
    connection::MEANINGS,
    health::MEANINGS,
];

pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    let prefix = prefix(line);
    let own_tag = prefix.tag.is_some_and(|tag| tag == b"haproxy");
    own_tag || looks_like_body(&prefix)
}

/// HAProxy that logs to its own output writes no tag, and elsewhere `log-tag` can change it.
fn looks_like_body(prefix: &Prefix<'_>) -> bool {
    head::looks_like(prefix.body.rest())
        || health::looks_like(prefix.body.rest())
        || clf::looks_like(prefix.body.rest())
}

pub(in crate::logs) fn parse<'a>(line: &'a [u8], assume: &Assume) -> Result<Entry<'a>, ParseError> {
    let prefix = prefix(line);
    let mut entry = parse_body(&prefix, assume)?;
    entry.time = entry.time.or_else(|| prefix.time(assume));
    entry.pid = entry.pid.or(prefix.pid);
    Ok(entry)
}

fn parse_body<'a>(prefix: &Prefix<'a>, assume: &Assume) -> Result<Entry<'a>, ParseError> {
    let mut scan = prefix.body.clone();
    if let Some(entry) = health::parse(scan.rest()) {
        return Ok(entry);
    }
    if clf::looks_like(scan.rest()) {
        return clf::parse(scan);
    }
    let head = Head::read(&mut scan, assume)?;
    if connection::is(&head, scan.rest()) {
        return connection::parse(&head, scan);
    }
    let route = session::Route::read(&mut scan)?;
    let before_timers = scan.clone();
    let timers = scan.word("timers")?;
    match memchr::memchr_iter(b'/', timers).count() {
        4 => http::parse(&head, &route, timers, scan),
        2 => tcp::parse(&head, &route, timers, scan),
        _ => Err(before_timers.error("three timers or five")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::entry::Kind;
    use crate::logs::testing::{any_prefix_is_an_error_or_an_entry, assume};

    const HTTP: &str = r#"127.0.0.1:34240 [22/Nov/2026:07:25:35.809] fe_main be_shop/app1 0/0/0/-1/0 502 209 - - SH-- 1/1/0/0/0 0/0 {shop|a b} {} "GET /fin HTTP/1.1""#;

    #[test]
    fn every_prefix_that_haproxy_writes() {
        for (prefix, pid) in [
            ("", None),
            ("<134>", None),
            ("<6>2026-11-22T20:04:48.221269+00:00 ", None),
            ("2026-11-22T20:04:48.221259+00:00 ", None),
            ("<134>Nov 22 20:04:48 vm haproxy[8045]: ", Some(8045)),
            (
                "<134>1 2026-11-22T20:04:48.221240+00:00 vm haproxy 8045 - - ",
                Some(8045),
            ),
            ("Nov 22 20:04:48 vm lb-edge[8045]: ", Some(8045)),
        ] {
            let line = format!("{prefix}{HTTP}");
            assert!(looks_like(line.as_bytes()), "{line}");
            let entry = parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!((entry.status, entry.pid), (Some(502), pid), "{line}");
        }
    }

    #[test]
    fn lines_of_others_are_not_claimed() {
        for line in [
            "",
            "Nov 22 07:25:36 lb1 sshd[12]: Server listening on 0.0.0.0 port 22.",
            r#"203.0.113.5 - - [22/Nov/2026:07:22:27 +0000] "GET / HTTP/1.1" 502 157 "-" "curl""#,
            "backend server is fine",
            "Proxy",
        ] {
            assert!(!looks_like(line.as_bytes()), "{line}");
            assert!(parse(line.as_bytes(), &assume()).is_err(), "{line}");
        }
    }

    #[test]
    fn errors_say_where() {
        for (line, offset, expected) in [
            (
                "Nov 22 07:25:36 haproxy[1]: hello",
                33,
                "an address and a time",
            ),
            (
                "1.2.3.4:5 [yesterday] fe be/app",
                11,
                "a time like 22/Nov/2026:07:25:35.809",
            ),
            (
                "1.2.3.4:5 [22/Nov/2026:07:25:35.809] fe be 0/0/0",
                40,
                "a backend and its server",
            ),
            (
                "1.2.3.4:5 [22/Nov/2026:07:25:35.809] fe be/app 0/0",
                47,
                "three timers or five",
            ),
            (
                "1.2.3.4:5 [22/Nov/2026:07:25:35.809] fe be/app 0/0/0/0/0 ok",
                57,
                "a status",
            ),
        ] {
            let error = parse(line.as_bytes(), &assume()).unwrap_err();
            assert_eq!((error.offset, error.expected), (offset, expected), "{line}");
        }
    }

    #[test]
    fn cut_or_changed_anywhere() {
        for line in [
            HTTP,
            r#"Nov 22 07:34:23 haproxy[22907]: ::1:53528 [22/Nov/2026:07:34:22.044] fe_main be_shop/app1 0/0/-1/-1/1008 503 217 - - SC-- 1/1/0/0/+1 0/0 "GET /#22pay HTTP/1.1" src=192.0.2.10:41022 dst=192.0.2.20:9023 be=34/"SSL handshake failure" sslbe=000000000A000086/"error:0A000086:SSL routines::certificate verify failed""#,
            "127.0.0.1:50718 [22/Nov/2026:20:04:54.578] tcp1 tcp1/t1 1/-1/1001 0 SC 1/1/0/0/1 0/0",
            "127.0.0.1:58116 [22/Nov/2026:20:04:52.475] fe_tls/1: SSL handshake failure",
            "127.0.0.1:58116 [22/Nov/2026:20:04:52.475] fe_tls 1/1 30/0000000000000000/0/0/0 -/TLSv1.3/-",
            r#"Server be_shop/app1 is DOWN, reason: Layer4 connection problem, info: "Connection refused", check duration: 0ms."#,
            r#"[WARNING]  (8045) : Server be_shop/app1 is DOWN."#,
            r#"127.0.0.1 - - [22/Nov/2026:20:04:56 +0000] "GET /fin HTTP/1.1" 502 209 "" "" 59174 784 "fe_clf" "be_shop" "app1" 0 0 0 -1 0 SH-- 1 1 0 0 0 0 0 "" "" "#,
        ] {
            let line = line.as_bytes();
            assert!(parse(line, &assume()).is_ok());
            any_prefix_is_an_error_or_an_entry(line, |line| parse(line, &assume()));
        }
    }

    #[test]
    fn kinds() {
        for (line, kind) in [
            (HTTP, Kind::Access),
            (
                "1.2.3.4:5 [22/Nov/2026:07:25:35.809] fe/1: SSL handshake failure",
                Kind::Connection,
            ),
            ("backend be_shop has no server available!", Kind::Health),
        ] {
            assert_eq!(parse(line.as_bytes(), &assume()).unwrap().kind, kind);
        }
    }
}
