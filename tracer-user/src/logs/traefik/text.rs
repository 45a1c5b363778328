//! Access log of Traefik in its text form: "common", and what Traefik adds.
//!
//! `host - user [time] "METHOD path protocol" status size "referer" "agent" count "router" "url" Nms`.
//! Traefik puts quotes around values but escapes none inside (`logger_formatters.go` in
//! <https://github.com/traefik/traefik/tree/master/pkg/middlewares/accesslog>), so a line is read from
//! both of its ends, and what the client chose freely stays in the middle.

use super::statuses;
pub(in crate::logs) use super::statuses::MEANINGS;
use crate::logs::entry::{Entry, Kind, System, peer};
use crate::logs::scan::{self, ParseError, Scan, known, number};
use crate::logs::stamp::{Stamp, clf};

const MS: u64 = 1_000_000;

/// What stands behind the user agent.
struct Tail<'a> {
    url: &'a [u8],
    elapsed_ms: u64,
}

pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    tail(line).is_some() && memchr::memmem::find(line, b"] \"").is_some()
}

pub(in crate::logs) fn parse<'a>(line: &'a [u8]) -> Result<Entry<'a>, ParseError> {
    let mut scan = Scan::new(line);
    let mut entry = Entry::new(System::Traefik, Kind::Access);
    let who = scan.until_text(" [", "the time in brackets")?;
    let client = who.split(|byte| *byte == b' ').next().unwrap_or_default();
    entry.client = peer(&scan::text(client));
    let before_time = scan.clone();
    entry.started = clf(&scan::text(scan.until(b']', "] behind the time")?));
    if entry.started.is_none() {
        return Err(before_time.error("a time like 22/Nov/2026:07:22:27 +0000"));
    }
    scan.expect(" \"")?;
    let before_request = scan.clone();
    let request =
        request(&mut scan).ok_or_else(|| before_request.error("the request, a quote, a status"))?;
    entry.set_request_line(scan::text(request));
    entry.status = scan::status(scan.word("the status")?);
    let size = scan.word("the size")?;
    let tail =
        tail(scan.rest()).ok_or_else(|| scan.error("router, service URL and Nms at the end"))?;
    entry.timers.total_us = tail.elapsed_ms.checked_mul(1000);
    entry.time = entry
        .started
        .and_then(|started| later(started, tail.elapsed_ms));
    if let Some(url) = known(tail.url) {
        let mut attempt = statuses::server(&url);
        attempt.status = entry.status;
        entry.attempts.push(attempt);
    }
    let head = entry.method.as_deref() == Some("HEAD");
    let reached = !entry.attempts.is_empty();
    entry.meaning = entry
        .status
        .and_then(|status| statuses::meaning(status, number(size), reached, head));
    Ok(entry)
}

/// Takes the request and the quote behind it: the first one that a status follows.
fn request<'a>(scan: &mut Scan<'a>) -> Option<&'a [u8]> {
    let rest = scan.rest();
    let end = memchr::memmem::find_iter(rest, b"\" ").find(|at| {
        match rest.get(at + 2..).unwrap_or_default() {
            [b'-', b' ', ..] => true,
            [a, b, c, b' ', ..] => [a, b, c].iter().all(|digit| digit.is_ascii_digit()),
            _ => false,
        }
    })?;
    scan.skip(end + 2);
    rest.get(..end)
}

/// `41 "router" "url" 2ms` at the end of a line.
fn tail(line: &[u8]) -> Option<Tail<'_>> {
    let line = line.trim_ascii_end().strip_suffix(b"ms")?;
    let (line, elapsed) = split_last(line, b' ')?;
    let elapsed_ms = number(elapsed)?;
    let (line, url) = split_last(line.strip_suffix(b"\"")?, b'"')?;
    let line = line.strip_suffix(b" ")?.strip_suffix(b"\"")?;
    let (line, _router) = split_last(line, b'"')?;
    let (_, count) = split_last(line.strip_suffix(b" ")?, b' ')?;
    let is_count = count == b"-" || count.iter().all(u8::is_ascii_digit);
    is_count.then_some(Tail { url, elapsed_ms })
}

fn split_last(line: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memrchr(byte, line)?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

/// The line's own time is that of the request's arrival.
fn later(started: Stamp, elapsed_ms: u64) -> Option<Stamp> {
    let elapsed_ns = i64::try_from(elapsed_ms.checked_mul(MS)?).ok()?;
    Some(Stamp {
        unix_ns: started.unix_ns.checked_add(elapsed_ns)?,
        resolution_ns: started.resolution_ns.saturating_add(MS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const LINE: &str = r#"203.0.113.5 - - [22/Nov/2026:07:31:02 +0000] "GET /cart?a="b HTTP/1.1" 502 11 "-" "a"gent" 1 "x" "http://198.51.100.66:1" 5ms" 41 "shop@docker" "http://192.0.2.20:8080" 2114ms"#;

    fn read(line: &str) -> Entry<'_> {
        assert!(looks_like(line.as_bytes()), "{line}");
        parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn every_field_of_a_line() {
        let entry = read(LINE);
        assert_eq!(
            entry.started.map(|at| at.unix_ns - MORNING_NS),
            Some(27_062_000_000_000)
        );
        assert_eq!(
            entry
                .time
                .map(|at| (at.unix_ns - MORNING_NS, at.resolution_ns)),
            Some((27_064_114_000_000, 1_001_000_000))
        );
        assert_eq!(entry.target.as_deref(), Some("/cart?a=\"b"));
        assert_eq!(entry.upstream().as_deref(), Some("192.0.2.20:8080"));
        assert_eq!(entry.timers.total_us, Some(2_114_000));
        assert_eq!(entry.meaning, Some(&statuses::MADE_502));
    }

    #[test]
    fn what_the_statuses_mean() {
        for (from, to, meaning) in [
            ("502 11", "502 180", Some(&statuses::APPLICATION)),
            ("502 11", "502 -", Some(&statuses::EITHER_502)),
            ("GET", "HEAD", Some(&statuses::EITHER_502)),
            ("502 11", "504 15", Some(&statuses::MADE_504)),
            ("502 11", "500 21", Some(&statuses::MADE_500)),
            ("502 11", "500 99", Some(&statuses::APPLICATION)),
            ("502 11", "499 21", Some(&statuses::CLIENT_LEFT)),
            ("502 11", "503 9", Some(&statuses::APPLICATION)),
            ("http://192.0.2.20:8080", "-", Some(&statuses::OWN_5XX)),
            ("502 11", "200 11", None),
            ("502 11", "- -", None),
        ] {
            let line = LINE.replacen(from, to, 1);
            assert_eq!(read(&line).meaning, meaning, "{line}");
        }
        let none = LINE
            .replace("http://192.0.2.20:8080", "-")
            .replace("502 11", "503 20");
        assert_eq!(read(&none).meaning, Some(&statuses::NO_SERVER));
        let named = LINE.replace("http://192.0.2.20:8080", "https://[2001:db8::21]:8443/a");
        assert_eq!(
            read(&named).upstream().as_deref(),
            Some("[2001:db8::21]:8443")
        );
    }

    #[test]
    fn other_lines_are_errors() {
        for (line, offset) in [
            ("", 0),
            (
                r#"203.0.113.5 - - [-] "GET / HTTP/1.1" 200 1 "-" "-" 1 "-" "-" 1ms"#,
                17,
            ),
            (
                r#"203.0.113.5 - - [22/Nov/2026:07:31:02 +0000] "GET /" ok 1"#,
                46,
            ),
            (
                r#"203.0.113.5 - - [22/Nov/2026:07:31:02 +0000] "GET /" 200 1 "-" "-""#,
                59,
            ),
        ] {
            assert_eq!(parse(line.as_bytes()).unwrap_err().offset, offset, "{line}");
        }
        any_prefix_is_an_error_or_an_entry(LINE.as_bytes(), parse);
        let long = LINE.replace("gent", &"\" 5".repeat(300_000));
        assert!(parse(long.as_bytes()).is_ok());
    }
}
