//! Error log of Apache httpd.
//!
//! `[time] [module:level] [pid P:tid T] (errno)text: [client A] AHnnnnn: message, referer: R`; most of it
//! can be missing: <https://httpd.apache.org/docs/2.4/mod/core.html#errorlogformat>.

mod codes;

pub(in crate::logs) use codes::MEANINGS;

use super::entry::{Entry, Kind, LogAttempt, System, Text, peer};
use super::escape::unescape;
use super::scan::{ParseError, Scan, known, number, text};
use super::stamp::{Assume, asctime};

/// An error of the system or of APR: `(111)Connection refused: `.
#[derive(Clone, Copy, Debug)]
struct Reason<'a> {
    /// Number of the error; APR's own begin at 20000.
    number: Option<u32>,
    /// With number and text.
    whole: &'a [u8],
}

/// `[Sun Nov 22 07:27:42.570753 2026] [`.
pub(super) fn looks_like(line: &[u8]) -> bool {
    const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    let mut scan = Scan::new(line);
    scan.take_if("[")
        && scan.word("").is_ok_and(|day| DAYS.contains(&day))
        && scan.until(b']', "").is_ok_and(|rest| {
            rest.len() < 40
                && rest
                    .last_chunk()
                    .is_some_and(|year: &[u8; 4]| year.iter().all(u8::is_ascii_digit))
        })
        && scan.take_if(" [")
}

pub(super) fn parse<'a>(line: &'a [u8], assume: &Assume) -> Result<Entry<'a>, ParseError> {
    let mut scan = Scan::new(line);
    let mut entry = Entry::new(System::Apache, Kind::Error);
    scan.expect("[")?;
    let before_time = scan.clone();
    entry.time = asctime(&text(scan.until(b']', "] behind the time")?), assume);
    if entry.time.is_none() {
        return Err(before_time.error("a time like Sun Nov 22 07:27:42.570753 2026"));
    }
    scan.expect(" ")?;
    let mut module = None;
    brackets(&mut entry, &mut scan, &mut module);
    if module.is_none() && entry.pid.is_none() {
        return Err(scan.error("[module:level] or [pid …]"));
    }
    let reason = reason(&mut scan);
    brackets(&mut entry, &mut scan, &mut module);
    let message = without_referer(scan.rest());
    entry.says = says(reason, message);
    let (code, what) = match memchr::memmem::find(message, b": ") {
        Some(at) if is_code(message.get(..at).unwrap_or_default()) => {
            let (code, what) = message.split_at(at);
            (code, what.get(2..).unwrap_or_default())
        }
        _ => (&b""[..], message),
    };
    let what = unescape(what);
    let number = reason.and_then(|reason| reason.number);
    entry.meaning = codes::meaning(&text(code), &what, number);
    entry.target = codes::target(&text(code), &what).map(|target| target.to_owned().into());
    entry
        .attempts
        .extend(codes::backend(&text(code), &what).map(attempt));
    if codes::is_health(&text(code)) {
        entry.kind = Kind::Health;
    }
    Ok(entry)
}

/// Takes fields in brackets; those that are not known are passed over.
fn brackets<'a>(entry: &mut Entry<'a>, scan: &mut Scan<'a>, module: &mut Option<&'a [u8]>) {
    loop {
        let mut ahead = scan.clone();
        if !ahead.take_if("[") {
            return;
        }
        let Ok(mut inside) = ahead.until(b']', "]") else {
            return;
        };
        if inside.starts_with(b"client [") || inside.starts_with(b"remote [") {
            // An IPv6 address in brackets of its own.
            let Ok(port) = ahead.until(b']', "]") else {
                return;
            };
            let start = scan.rest().get(1..).unwrap_or_default();
            inside = start
                .get(..inside.len() + 1 + port.len())
                .unwrap_or_default();
        }
        if let Some(process) = inside.strip_prefix(b"pid ") {
            let (pid, tid) = match memchr::memmem::find(process, b":tid ") {
                Some(at) => (process.get(..at), process.get(at + b":tid ".len()..)),
                None => (Some(process), None),
            };
            entry.pid = pid.and_then(number);
            entry.tid = tid.and_then(number);
        } else if let Some(client) = inside.strip_prefix(b"client ") {
            entry.client = peer(&text(client));
        } else if module.is_none() && entry.pid.is_none() {
            *module = Some(inside);
        } else if !matches!(
            inside.split(|byte| *byte == b' ').next(),
            Some(b"remote" | b"tid" | b"host")
        ) {
            // Not a field but the beginning of a message.
            return;
        }
        ahead.take_if(" ");
        *scan = ahead;
    }
}

/// Takes `(111)Connection refused: `, with whatever APR calls the number.
fn reason<'a>(scan: &mut Scan<'a>) -> Option<Reason<'a>> {
    const ENDS: [&[u8]; 3] = [b": [client ", b": [remote ", b": AH"];
    let rest = scan.rest();
    let inside = rest.strip_prefix(b"(")?;
    let close = memchr::memchr(b')', inside)?;
    let number = inside.get(..close)?;
    let is_number = number.first().is_some_and(u8::is_ascii_digit) || number.starts_with(b"EAI ");
    if !is_number || close > 16 {
        return None;
    }
    let end = memchr::memmem::find_iter(rest, b": ").find(|at| {
        let here = rest.get(*at..).unwrap_or_default();
        ENDS.iter().any(|end| here.starts_with(end))
    });
    let end = end.or_else(|| memchr::memmem::find(rest, b": "))?;
    let whole = rest.get(..end)?;
    scan.skip(end + 2);
    Some(Reason {
        number: super::scan::number(number),
        whole,
    })
}

fn without_referer(message: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(message, b", referer: ").unwrap_or(message.len());
    message.get(..end).unwrap_or_default()
}

fn says<'a>(reason: Option<Reason<'a>>, message: &'a [u8]) -> Option<Text<'a>> {
    match reason {
        None => known(message),
        Some(reason) => Some(format!("{}: {}", text(reason.whole), text(message)).into()),
    }
}

/// `AH` and five or six digits.
fn is_code(text: &[u8]) -> bool {
    text.strip_prefix(b"AH").is_some_and(|digits| {
        matches!(digits.len(), 5 | 6) && digits.iter().all(u8::is_ascii_digit)
    })
}

fn attempt<'a>(name: &str) -> LogAttempt<'a> {
    let addr = name.parse().ok();
    LogAttempt {
        addr,
        ip: addr.is_none().then(|| name.parse().ok()).flatten(),
        name: Some(name.to_owned().into()),
        ..LogAttempt::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Blame;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry, assume};

    const RESET: &str = r#"[Sun Nov 22 07:27:45.488842 2026] [proxy_http:error] [pid 18270:tid 18307] (104)Connection reset by peer: [client 203.0.113.5:50158] AH01102: error reading status line from remote server 192.0.2.20:9005, referer: http://a/"b: AH00957"#;

    fn read(line: &str) -> Entry<'_> {
        assert!(looks_like(line.as_bytes()), "{line}");
        parse(line.as_bytes(), &assume()).unwrap()
    }

    fn found(line: &str) -> Entry<'static> {
        let line = format!("[Sun Nov 22 07:27:45.488842 2026] [proxy:error] [pid 1:tid 2] {line}");
        read(Box::leak(line.into_boxed_str()))
    }

    #[test]
    fn every_field_of_a_line() {
        let entry = read(RESET);
        assert_eq!(
            entry
                .time
                .map(|at| (at.unix_ns - MORNING_NS, at.resolution_ns)),
            Some((26_865_488_842_000, 1_000))
        );
        assert_eq!((entry.pid, entry.tid), (Some(18270), Some(18307)));
        assert_eq!(entry.client.and_then(|client| client.port), Some(50158));
        assert_eq!(entry.upstream().as_deref(), Some("192.0.2.20:9005"));
        assert_eq!(
            entry.says.as_deref(),
            Some(
                "(104)Connection reset by peer: AH01102: error reading status line from remote server 192.0.2.20:9005"
            )
        );
        assert_eq!(entry.meaning.map(|one| one.blame), Some(Blame::Backend));
    }

    /// Line, first class, does it count, backend's name, path.
    #[test]
    fn what_the_messages_mean() {
        for (line, class, counts, backend, path) in [
            (
                "(111)Connection refused: AH00957: http: attempt to connect to 192.0.2.20:9001 (192.0.2.20:9001) failed",
                "connect-refused",
                true,
                "192.0.2.20:9001",
                "",
            ),
            (
                "[client 203.0.113.5:43328] AH01114: HTTP: failed to make connection to backend: 192.0.2.20",
                "",
                false,
                "192.0.2.20",
                "",
            ),
            (
                "(70007)The timeout specified has expired: AH00957: FCGI: attempt to connect to [2001:db8::21]:9000 (fcgi.example.com:9000) failed",
                "connect-timeout",
                true,
                "[2001:db8::21]:9000",
                "",
            ),
            (
                "(113)No route to host: AH00957: http: attempt to connect to 192.0.2.20:9001 (*) failed",
                "connect-unreachable",
                true,
                "192.0.2.20:9001",
                "",
            ),
            (
                "(2)No such file or directory: AH02454: http: attempt to connect to Unix domain socket /run/a.sock (localhost:80) failed",
                "connect-refused",
                true,
                "/run/a.sock",
                "",
            ),
            (
                "AH00959: ap_proxy_connect_backend disabling worker for (192.0.2.20:9001) for 60s",
                "no-backend-available",
                false,
                "192.0.2.20:9001",
                "",
            ),
            (
                "AH00940: HTTP: disabled connection for (192.0.2.20:9001)",
                "no-backend-available",
                true,
                "192.0.2.20:9001",
                "",
            ),
            (
                "(20014)Internal error (specific information not available): [client 203.0.113.5:50150] AH01102: error reading status line from remote server shop:9004",
                "fin-before-response",
                true,
                "shop:9004",
                "",
            ),
            (
                "(70007)The timeout specified has expired: [client 203.0.113.5:50150] AH01102: error reading status line from remote server 192.0.2.20:9004",
                "response-timeout",
                true,
                "192.0.2.20:9004",
                "",
            ),
            (
                "[client 203.0.113.5:50150] AH00898: Error reading from remote server returned by /cart, referer: http://a/",
                "",
                false,
                "",
                "/cart",
            ),
            (
                "[client 203.0.113.5:56994] AH00898: Error during SSL Handshake with remote server returned by /pay",
                "tls-verify-failed",
                false,
                "",
                "/pay",
            ),
            (
                "(EAI 2)Name or service not known: [client 203.0.113.5:1] AH00898: DNS lookup failure for: nosuch.invalid returned by /dns",
                "name-resolution-failed",
                true,
                "nosuch.invalid",
                "/dns",
            ),
            (
                "(20014)Internal error (specific information not available): [client 203.0.113.5:1] AH01084: pass request body failed to 192.0.2.20:9024 (192.0.2.20)",
                "tls-verify-failed",
                true,
                "192.0.2.20:9024",
                "",
            ),
            (
                "(32)Broken pipe: [client 203.0.113.5:1] AH01084: pass request body failed to 192.0.2.20:9024 (192.0.2.20)",
                "request-body-rejected",
                true,
                "192.0.2.20:9024",
                "",
            ),
            (
                "[client 203.0.113.5:1] AH01097: pass request body failed to 192.0.2.20:9024 (192.0.2.20) from 203.0.113.5 ()",
                "",
                false,
                "192.0.2.20:9024",
                "",
            ),
            (
                "(28)No space left on device: [client 203.0.113.5:50210] AH10124: header size is over the limit allowed by ResponseFieldSize (8192 bytes). Bad response header: 'X-Big: aaa[...]aaa'",
                "header-too-large",
                false,
                "",
                "",
            ),
            (
                "(70014)End of file found: [client 203.0.113.5:1] AH10404: Error reading headers from backend",
                "partial-header",
                false,
                "",
                "",
            ),
            (
                "[client 203.0.113.5:1] AH01106: bad HTTP/1.1 header returned by /login (GET)",
                "header-too-large",
                true,
                "",
                "/login",
            ),
            (
                "[client 203.0.113.5:1] AH02429: Response header name 'X Bad' contains invalid characters, aborting request",
                "malformed-response",
                true,
                "",
                "",
            ),
            (
                "(104)Connection reset by peer: [client 203.0.113.5:50192] AH01110: error reading response",
                "body-truncated-rst",
                true,
                "",
                "",
            ),
            (
                "(70008)Partial results are valid but processing is incomplete: [client 203.0.113.5:1] AH01110: error reading response",
                "body-truncated-fin",
                true,
                "",
                "",
            ),
            (
                "(70007)The timeout specified has expired: [client 203.0.113.5:1] AH01110: error reading response",
                "body-stalled",
                true,
                "",
                "",
            ),
            (
                "AH01170: balancer://shop: All workers are in error state",
                "no-backend-available",
                true,
                "",
                "",
            ),
            (
                "AH00934: all workers are busy.  Unable to serve http://192.0.2.20/",
                "queue-timeout",
                true,
                "",
                "",
            ),
            (
                "(70014)End of file found: [client 203.0.113.5:1] AH01075: Error dispatching request to :80: ",
                "fin-before-response",
                true,
                "",
                "",
            ),
            (
                "[client 203.0.113.5:1] AH01104: Closing connection to client because reading from backend server 192.0.2.20:9001 failed. Number of keepalives 1",
                "keepalive-race",
                true,
                "192.0.2.20:9001",
                "",
            ),
        ] {
            let entry = found(line);
            assert_eq!(
                entry.classes().first().copied().unwrap_or_default(),
                class,
                "{line}"
            );
            assert_eq!(
                entry.meaning.is_some_and(crate::logs::Meaning::is_failure),
                counts,
                "{line}"
            );
            let name = entry.attempts.first().and_then(|one| one.name.as_deref());
            assert_eq!(name.unwrap_or_default(), backend, "{line}");
            assert_eq!(entry.path().unwrap_or_default(), path, "{line}");
            assert_eq!(entry.client.is_some(), line.contains("[client"), "{line}");
        }
    }

    #[test]
    fn fields_that_may_be_missing() {
        let prefork =
            "[Sun Nov 22 07:27:45 2026] [core:notice] [pid 7] AH00094: Command line: 'apache2'";
        let entry = read(prefork);
        assert_eq!((entry.pid, entry.tid, entry.meaning), (Some(7), None, None));
        let old = "[Sun Nov 22 07:27:45 2026] [error] [client 2001:db8::5] File does not exist";
        let entry = read(old);
        assert!(entry.client.is_some());
        assert_eq!(entry.says.as_deref(), Some("File does not exist"));
        let six = found(
            "[client [2001:db8::5]:443] AH01106: bad HTTP/1.1 header returned by /a (b) (GET)",
        );
        assert_eq!(six.client.and_then(|client| client.port), Some(443));
        assert_eq!(six.target.as_deref(), Some("/a (b)"));
        let bracketed = found("[client 203.0.113.5:1] [strange] text (5) AH");
        assert_eq!(bracketed.says.as_deref(), Some("[strange] text (5) AH"));
        let peerless = found(
            "(104)Connection reset by peer: [remote 192.0.2.20:80] AH01110: error reading response",
        );
        assert_eq!(peerless.classes().first(), Some(&"body-truncated-rst"));
        assert_eq!(found("AH00898: odd returned by nowhere").target, None);
    }

    #[test]
    fn other_lines_are_errors() {
        for (line, offset) in [
            ("", 0),
            ("[yesterday] [core:error] x", 1),
            ("[Sun Nov 22 07:27:45 2026]", 26),
            ("[Sun Nov 22 07:27:45 2026] x", 27),
        ] {
            let error = parse(line.as_bytes(), &assume()).unwrap_err();
            assert_eq!(error.offset, offset, "{line}");
            assert!(!looks_like(line.as_bytes()), "{line}");
        }
        any_prefix_is_an_error_or_an_entry(RESET.as_bytes(), |line| parse(line, &assume()));
        let open = format!("{}{}", &RESET[..80], "[a] ".repeat(200_000));
        assert!(parse(open.as_bytes(), &assume()).is_ok());
        let colons = RESET.replace("reset by", &": ".repeat(400_000));
        assert!(parse(colons.as_bytes(), &assume()).is_ok());
    }
}
