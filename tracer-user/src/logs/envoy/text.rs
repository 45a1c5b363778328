//! Access log of Envoy in its default text form, and Istio's, which has more columns.
//!
//! Default: <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#default-format-string>.
//! Istio: <https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format>.
//! Envoy escapes nothing: a quote that a client sent stands in the line as it is.

use std::net::SocketAddr;

use crate::logs::entry::{Entry, Kind, LogAttempt, Peer, System, peer, request_line};
use crate::logs::meaning::Blame;
use crate::logs::scan::{ParseError, Scan, known, number, status, text};
use crate::logs::stamp::{Stamp, rfc3339};

use super::flags::Flags;
use super::outcome::Outcome;

/// Columns of Istio's between flags and numbers; a few more than there are.
const EXTRA_MAX: usize = 6;
const MS_NS: u64 = 1_000_000;

/// `[2026-11-22T07:31:02.417Z] "`.
pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    let mut scan = Scan::new(line);
    scan.take_if("[")
        && matches!(scan.rest(), [_, _, _, _, b'-', _, _, b'-', _, _, b'T', ..])
        && scan.until(b']', "the end of the time").is_ok()
        && scan.take_if(" \"")
}

pub(in crate::logs) fn parse<'a>(line: &'a [u8]) -> Result<Entry<'a>, ParseError> {
    let mut scan = Scan::new(line);
    scan.expect("[")?;
    let before_time = scan.clone();
    let started = rfc3339(&text(scan.until(b']', "the end of the time")?));
    if started.is_none() {
        return Err(before_time.error("a time in ISO 8601"));
    }
    scan.expect(" \"")?;
    let request = take_request(&mut scan)?;
    let sent = status(scan.word("a status")?);
    let before_flags = scan.clone();
    let flags = scan.word("response flags or -")?;
    let Ok(flags) = std::str::from_utf8(flags) else {
        return Err(before_flags.error("response flags or -"));
    };
    let reasons = Reasons::take(&mut scan);
    let _received = scan.word("bytes_received")?;
    let _sent = scan.word("bytes_sent")?;
    let duration_us = ms_as_us(scan.word("duration")?);
    let service_us = ms_as_us(scan.word("x-envoy-upstream-service-time")?);
    let [forwarded, _agent, id, authority, host] = split_tail(scan.rest());
    let columns = Columns::read(scan.rest());

    let mut entry = Entry::new(System::Envoy, Kind::Access);
    entry.started = started;
    entry.time = ended(started, duration_us);
    entry.status = sent;
    read_request(&mut entry, request);
    entry.host = known(authority);
    entry.request_id = known(id);
    entry.timers.header_us = service_us;
    entry.timers.total_us = duration_us;
    // Of several addresses the last is the one that Envoy saw itself.
    let forwarded = text(forwarded);
    let nearest = forwarded.rsplit(',').next().and_then(|ip| peer(ip.trim()));
    entry.client = columns.client.or(nearest);

    let (details, termination) = (text(reasons.details), text(reasons.termination));
    let transport = text(reasons.transport);
    let outcome = Outcome {
        flags: Flags(flags),
        details: &details,
        transport: &transport,
        termination: &termination,
        status: sent,
        has_upstream: known(host).is_some(),
        attempts: None,
    };
    entry.meaning = outcome.meaning();
    entry.says = entry.meaning.and_then(|_| outcome.says());
    let blames_backend = entry
        .meaning
        .is_some_and(|meaning| meaning.blame == Blame::Backend);
    // Where no host could be chosen, the cluster is what there is to name.
    let name = known(host).or_else(|| known(columns.cluster).filter(|_| blames_backend));
    if let Some(name) = name {
        entry.attempts.push(LogAttempt {
            addr: name.parse().ok(),
            name: Some(name),
            local: columns.local,
            status: sent.filter(|_| service_us.is_some()),
            header_us: service_us,
            ..LogAttempt::default()
        });
    }
    Ok(entry)
}

/// The request ends at a quote that a status follows; a quote within it has none behind it.
fn take_request<'a>(scan: &mut Scan<'a>) -> Result<&'a [u8], ParseError> {
    let rest = scan.rest();
    for at in memchr::memchr_iter(b'"', rest) {
        let behind = rest.get(at + 1..).unwrap_or_default();
        let ends = match behind {
            [b' ', b'0', b' ', ..] => true,
            [b' ', a, b, c, b' ', ..] => [a, b, c].iter().all(|digit| digit.is_ascii_digit()),
            _ => false,
        };
        if ends {
            scan.skip(at + 2);
            return Ok(&rest[..at]);
        }
    }
    let mut end = scan.clone();
    end.skip(rest.len());
    Err(end.error("the closing quote and a status"))
}

fn read_request<'a>(entry: &mut Entry<'a>, request: &'a [u8]) {
    // A request that could not be read is logged as "- - HTTP/1.1".
    let Ok(line) = std::str::from_utf8(request) else {
        return;
    };
    let (method, target, protocol) = request_line(line);
    entry.method = method.map(Into::into);
    entry.target = target.map(Into::into);
    entry.protocol = protocol.map(Into::into);
}

/// Columns that Istio has between flags and numbers; empty where they are not there.
#[derive(Default)]
struct Reasons<'a> {
    details: &'a [u8],
    termination: &'a [u8],
    transport: &'a [u8],
}

impl<'a> Reasons<'a> {
    /// Takes what stands before the first column that is a number. Older versions of Istio have fewer
    /// columns, so only quotes tell the transport's reason from the others.
    fn take(scan: &mut Scan<'a>) -> Self {
        let mut found = Self::default();
        for _ in 0..EXTRA_MAX {
            let mut ahead = scan.clone();
            if ahead.take_if("\"") {
                let Ok(reason) = ahead.until_text("\" ", "the closing quote") else {
                    break;
                };
                found.transport = reason;
            } else {
                let Ok(word) = ahead.word("a column") else {
                    break;
                };
                if number::<u64>(word).is_some() {
                    break;
                }
                if found.details.is_empty() {
                    found.details = word;
                } else {
                    found.termination = word;
                }
            }
            *scan = ahead;
        }
        found
    }
}

/// Columns that Istio has behind the backend's.
#[derive(Default)]
struct Columns<'a> {
    cluster: &'a [u8],
    local: Option<SocketAddr>,
    client: Option<Peer>,
}

impl<'a> Columns<'a> {
    /// `cluster upstream_local downstream_local downstream_remote sni route`, known by the addresses.
    fn read(tail: &'a [u8]) -> Self {
        let behind = memchr::memmem::rfind(tail, b"\" ").map_or(tail.len(), |at| at + 2);
        let mut words = tail
            .get(behind..)
            .unwrap_or_default()
            .split(|byte| *byte == b' ');
        let mut next = || words.next().unwrap_or_default();
        let (cluster, upstream_local, downstream_local, remote) = (next(), next(), next(), next());
        let addr = |word| text(word).parse::<SocketAddr>().ok();
        let local = addr(upstream_local);
        let fits = (local.is_some() || upstream_local == b"-") && addr(downstream_local).is_some();
        if !fits {
            return Self::default();
        }
        Self {
            cluster,
            local,
            client: peer(&text(remote)),
        }
    }
}

/// The five fields in quotes: X-Forwarded-For, User-Agent, X-Request-Id, :authority, backend. A user
/// agent may hold anything, so if there seem to be more fields, the last that can be a backend counts.
fn split_tail(tail: &[u8]) -> [&[u8]; 5] {
    let mut parts = Vec::new();
    let mut rest = tail.strip_prefix(b"\"").unwrap_or_default();
    while let Some(end) = memchr::memmem::find(rest, b"\" \"") {
        parts.push(&rest[..end]);
        rest = &rest[end + 3..];
    }
    // Columns without quotes may follow the last.
    let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
    parts.push(&rest[..end]);

    let is_backend = |field: &&[u8]| **field == *b"-" || text(field).parse::<SocketAddr>().is_ok();
    let at = |place: usize| parts.get(place).copied().unwrap_or_default();
    let host = if parts.len() > 5 && !is_backend(&at(4)) {
        let last = parts.iter().skip(5).rposition(is_backend);
        last.map_or(4, |last| last + 5)
    } else {
        4
    };
    [at(0), at(1), at(host - 2), at(host - 1), at(host)]
}

fn ms_as_us(field: &[u8]) -> Option<u64> {
    number::<u64>(field)?.checked_mul(1000)
}

/// The start is cut to ms, and so is the duration.
pub(super) fn ended(started: Option<Stamp>, duration_us: Option<u64>) -> Option<Stamp> {
    let started = started?;
    let duration_ns = i64::try_from(duration_us?.checked_mul(1000)?).ok()?;
    Some(Stamp {
        unix_ns: started.unix_ns.checked_add(duration_ns)?,
        resolution_ns: started.resolution_ns.saturating_add(MS_NS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::envoy::meanings as is;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const CLOSED: &str = r#"[2026-11-22T07:31:02.417Z] "GET /cart?id=7 HTTP/1.1" 503 UC 0 95 1 - "203.0.113.5" "curl/8.5.0" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "shop.example.com" "192.0.2.20:8080""#;
    const ISTIO: &str = r#"[2026-11-22T07:31:06.304Z] "GET /pay HTTP/1.1" 503 UF upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end} - "TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end" 0 98 3 - "-" "a "b" "29b57b14-56fa-4b67-ad37-9134ac2fc640" "shop" "192.0.2.20:8443" outbound|443||pay 192.0.2.10:58280 127.0.0.1:46680 203.0.113.5:55346 - default"#;

    fn read(line: &str) -> Entry<'_> {
        assert!(looks_like(line.as_bytes()), "{line}");
        parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn a_closed_connection() {
        let entry = read(CLOSED);
        assert_eq!((entry.status, entry.path()), (Some(503), Some("/cart")));
        assert_eq!(entry.upstream().as_deref(), Some("192.0.2.20:8080"));
        assert_eq!(entry.host.as_deref(), Some("shop.example.com"));
        assert_eq!(
            entry.request_id.as_deref(),
            Some("cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2")
        );
        assert_eq!(entry.client, peer("203.0.113.5"));
        let ms = |at: Option<Stamp>| at.map(|at| (at.unix_ns - MORNING_NS) / 1_000_000);
        assert_eq!(
            (ms(entry.started), ms(entry.time)),
            (Some(27_062_417), Some(27_062_418))
        );
        assert_eq!(entry.says.as_deref(), Some("UC"));
        assert_eq!(entry.meaning, Some(&is::CLOSED));
        assert_eq!(entry.attempts[0].status, None);
    }

    #[test]
    fn istios_columns() {
        let entry = read(ISTIO);
        assert_eq!(entry.meaning, Some(&is::PLAINTEXT));
        assert_eq!(entry.attempts[0].local, "192.0.2.10:58280".parse().ok());
        assert_eq!(entry.attempts[0].addr, "192.0.2.20:8443".parse().ok());
        assert_eq!(entry.client, peer("203.0.113.5:55346"));
        assert_eq!(entry.timers.total_us, Some(3_000));
        assert!(
            entry
                .says
                .unwrap()
                .starts_with("UF upstream_reset_before_response_started{")
        );

        let nobody = ISTIO
            .replace("192.0.2.20:8443", "-")
            .replace("192.0.2.10:58280", "-")
            .replace(" UF ", " UH ");
        assert_eq!(
            read(&nobody).upstream().as_deref(),
            Some("outbound|443||pay")
        );

        // Before 1.9 there were two columns in quotes.
        let old = r#"[2026-11-22T07:31:06.304Z] "GET /pay HTTP/1.1" 503 UF,URX "-" "TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER" 0 91 3 - "-" "curl" "29b57b14" "shop" "[2001:db8::20]:8443" outbound|443||pay - 127.0.0.1:46680 203.0.113.5:55346 - default"#;
        let entry = read(old);
        assert_eq!(entry.meaning, Some(&is::PLAINTEXT));
        assert_eq!(entry.upstream().as_deref(), Some("[2001:db8::20]:8443"));
    }

    #[test]
    fn what_the_lines_mean() {
        for (from, to, meaning) in [
            (
                "503 UC 0 95 1 -",
                "502 - 0 3 310 309",
                Some(&is::APPLICATION),
            ),
            ("503 UC", "200 UC", Some(&is::TRUNCATED)),
            ("503 UC", "503 URX,UF", Some(&is::CONNECT)),
            ("503 UC 0 95 1 -", "200 - 0 3 310 309", None),
            ("503 UC", "0 DC", Some(&is::CLIENT_LEFT)),
        ] {
            let line = CLOSED.replacen(from, to, 1);
            let entry = read(&line);
            assert_eq!(entry.meaning, meaning, "{line}");
        }
        let answered = CLOSED.replacen("503 UC 0 95 1 -", "502 - 0 3 310 309", 1);
        let entry = read(&answered);
        assert_eq!(entry.attempts[0].status, Some(502));
        assert_eq!(entry.timers.header_us, Some(309_000));
    }

    #[test]
    fn unpleasant_lines() {
        for (from, to, path, upstream) in [
            (
                "/cart?id=7",
                "/x\"y",
                Some("/x\"y"),
                Some("192.0.2.20:8080"),
            ),
            (
                "curl/8.5.0",
                "a \" \"b",
                Some("/cart"),
                Some("192.0.2.20:8080"),
            ),
            (
                "\"curl/8.5.0\"",
                "\"-\"",
                Some("/cart"),
                Some("192.0.2.20:8080"),
            ),
            (
                "192.0.2.20:8080\"",
                "[2001:db8::20]:80\" \"extra\" 7",
                Some("/cart"),
                Some("[2001:db8::20]:80"),
            ),
            (
                "192.0.2.20:8080",
                "/run/app.sock",
                Some("/cart"),
                Some("/run/app.sock"),
            ),
            ("192.0.2.20:8080", "-", Some("/cart"), None),
            ("GET /cart?id=7", "- -", None, Some("192.0.2.20:8080")),
        ] {
            let line = CLOSED.replacen(from, to, 1);
            let entry = read(&line);
            assert_eq!(entry.path(), path, "{line}");
            assert_eq!(entry.upstream().as_deref(), upstream, "{line}");
            assert_eq!(
                entry.request_id.as_deref(),
                Some("cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2"),
                "{line}"
            );
        }
        let error = parse(b"[yesterday] \"").unwrap_err();
        assert_eq!((error.offset, error.expected), (1, "a time in ISO 8601"));
        let error = parse(&CLOSED.as_bytes()[..40]).unwrap_err();
        assert_eq!(
            (error.offset, error.expected),
            (40, "the closing quote and a status")
        );
        for line in [CLOSED, ISTIO] {
            any_prefix_is_an_error_or_an_entry(line.as_bytes(), parse);
        }
        assert!(!looks_like(b"[22/Nov/2026:07:31:02] \"GET / HTTP/1.1\""));
        assert!(!looks_like(
            b"[Sun Nov 22 07:27:42.570753 2026] [proxy:error]"
        ));
    }
}
