//! The "combined" form that NGINX and Apache share, and the "common" one that ends earlier.
//!
//! It names no backend and tells no phases, so what a status means is said by the status alone.

use super::entry::{Entry, Kind, System, peer};
use super::escape::unescape;
use super::meaning::{Blame, Meaning};
use super::scan::{ParseError, Scan, known, status, text};
use super::stamp::clf;

static EITHER_502: Meaning = Meaning {
    code: "502",
    text: "The proxy got no usable response from the backend, or the backend itself answered 502. \
           This form of log names neither the backend nor the failure; the error log does.",
    classes: &[
        "fin-before-response",
        "rst-before-response",
        "keepalive-race",
        "backend-process-exit",
        "connect-refused",
        "connect-unreachable",
        "no-backend-available",
        "header-too-large",
        "partial-header",
        "malformed-response",
        "response-timeout",
        "application-502",
    ],
    blame: Blame::Backend,
};

static EITHER_504: Meaning = Meaning {
    code: "504",
    text: "The backend did not take the connection or did not answer in time, or itself answered 504. \
           This form of log does not tell which; the error log does.",
    classes: &[
        "response-timeout",
        "connect-timeout",
        "listen-queue-overflow",
        "tls-handshake-timeout",
        "mtu-black-hole",
        "packet-loss",
        "idle-drop-by-middlebox",
        "application-502",
    ],
    blame: Blame::Backend,
};

static NGINX_503: Meaning = Meaning {
    code: "503 (NGINX)",
    text: "The application answered 503, or NGINX itself did: a rate or connection limit, or a \
           `return`. NGINX does not answer 503 when a backend cannot be reached.",
    classes: &["application-502"],
    blame: Blame::Application,
};

static APACHE_503: Meaning = Meaning {
    code: "503 (Apache)",
    text: "Apache could not connect to the backend, or had put it out of use after it failed once \
           (`retry`, 60 s), or the application answered 503. The error log tells which.",
    classes: &[
        "connect-refused",
        "connect-timeout",
        "connect-unreachable",
        "no-backend-available",
        "application-502",
    ],
    blame: Blame::Backend,
};

static EITHER_503: Meaning = Meaning {
    code: "503",
    text: "From Apache: the backend could not be reached. From NGINX: a limit of its own. From both: \
           the application answered 503. The line does not tell whose it is.",
    classes: &[
        "connect-refused",
        "connect-timeout",
        "connect-unreachable",
        "no-backend-available",
        "application-502",
    ],
    blame: Blame::Backend,
};

static APACHE_500: Meaning = Meaning {
    code: "500 (Apache)",
    text: "Mostly the application's own. But Apache also answers 500 when the TLS handshake with a \
           backend fails, when its name cannot be resolved, and for a response header that is not \
           valid; the error log then has a line.",
    classes: &[
        "tls-verify-failed",
        "tls-peer-closed",
        "tls-to-plaintext",
        "tls-handshake-timeout",
        "name-resolution-failed",
        "malformed-response",
    ],
    blame: Blame::Application,
};

static OTHER_5XX: Meaning = Meaning {
    code: "5xx",
    text: "A failure of the application, or of the server that wrote the line. It is not how a failed \
           connection to a backend shows.",
    classes: &[],
    blame: Blame::Application,
};

static CLIENT_LEFT: Meaning = Meaning {
    code: "499",
    text: "The client closed the connection before it had an answer. A client that gives up because a \
           backend is slow looks the same.",
    classes: &["client-abort"],
    blame: Blame::Client,
};

static NO_STATUS_LINE: Meaning = Meaning {
    code: "009",
    text: "The backend's response did not begin with a status line; NGINX passed it on as HTTP/0.9 and \
           logged 009. Often the port talks another protocol: TLS, HTTP/2, or no HTTP at all.",
    classes: &[
        "malformed-response",
        "plaintext-to-tls",
        "protocol-version-mismatch",
    ],
    blame: Blame::Backend,
};

/// For `explain`.
pub(in crate::logs) static MEANINGS: &[&Meaning] = &[
    &EITHER_502,
    &NGINX_503,
    &APACHE_503,
    &EITHER_503,
    &EITHER_504,
    &APACHE_500,
    &OTHER_5XX,
    &CLIENT_LEFT,
    &NO_STATUS_LINE,
];

/// What can be said of a status about which nothing else is known.
pub(super) fn by_status(system: System, status: u16) -> Option<&'static Meaning> {
    Some(match (status, system) {
        (9, _) => &NO_STATUS_LINE,
        (499, _) => &CLIENT_LEFT,
        (500, System::Apache | System::Combined) => &APACHE_500,
        (502, _) => &EITHER_502,
        (503, System::Nginx) => &NGINX_503,
        (503, System::Apache) => &APACHE_503,
        (503, _) => &EITHER_503,
        (504, _) => &EITHER_504,
        (500..=599, _) => &OTHER_5XX,
        _ => return None,
    })
}

/// `words [dd/Mon/yyyy:hh:mm:ss +zzzz] "`.
pub(super) fn looks_like(line: &[u8]) -> bool {
    let mut scan = Scan::new(line);
    scan.until_text(" [", "the time").is_ok()
        && scan
            .until(b']', "the end of the time")
            .is_ok_and(|time| clf(&text(time)).is_some())
        && scan.take_if(" \"")
}

pub(super) fn parse(line: &[u8], system: System) -> Result<Entry<'_>, ParseError> {
    let mut scan = Scan::new(line);
    let mut entry = Entry::new(system, Kind::Access);
    // A user's name may hold spaces.
    let who = scan.until_text(" [", "the time in brackets")?;
    let mut words = who.split(|byte| *byte == b' ');
    let first = words.next().unwrap_or_default();
    entry.client = peer(&text(first));
    if entry.client.is_none() && !first.is_empty() {
        // Debian's "vhost_combined" puts host:port in front.
        entry.client = words.next().and_then(|word| peer(&text(word)));
        if entry.client.is_some() {
            let end = memchr::memrchr(b':', first).unwrap_or(first.len());
            entry.host = first.get(..end).and_then(known);
        }
    }
    let before_time = scan.clone();
    entry.time = clf(&text(scan.until(b']', "] behind the time")?));
    if entry.time.is_none() {
        return Err(before_time.error("a time like 22/Nov/2026:07:22:27 +0000"));
    }
    scan.expect(" ")?;
    let request = scan.quoted("the request in quotes")?;
    entry.set_request_line(unescape(request));
    scan.expect(" ")?;
    let before_status = scan.clone();
    let code = scan.word("a status")?;
    entry.status = status(code);
    if entry.status.is_none() && !matches!(code, b"-" | b"0" | b"000") {
        return Err(before_status.error("a status"));
    }
    scan.word("the size, or -")?;
    // Referer, user agent and whatever was appended say nothing about backends.
    entry.meaning = entry.status.and_then(|status| by_status(system, status));
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const LINE: &str = r#"203.0.113.5 - - [22/Nov/2026:07:22:27 +0000] "GET /cart?a=\"b\x22 HTTP/1.1" 502 157 "-" "curl/8.5""#;

    fn read(line: &str, system: System) -> Entry<'_> {
        assert!(looks_like(line.as_bytes()), "{line}");
        parse(line.as_bytes(), system).unwrap()
    }

    #[test]
    fn a_502() {
        let entry = read(LINE, System::Nginx);
        assert_eq!(entry.status, Some(502));
        assert_eq!(entry.method.as_deref(), Some("GET"));
        assert_eq!(entry.target.as_deref(), Some("/cart?a=\"b\""));
        assert_eq!(entry.protocol.as_deref(), Some("HTTP/1.1"));
        assert_eq!(
            entry.time.map(|at| at.unix_ns - MORNING_NS),
            Some(26_547_000_000_000)
        );
        assert_eq!(
            entry.client.map(|client| client.ip.to_string()).as_deref(),
            Some("203.0.113.5")
        );
        assert!(entry.attempts.is_empty());
        assert_eq!(entry.meaning, Some(&EITHER_502));
    }

    #[test]
    fn what_the_statuses_mean() {
        for (status, system, meaning) in [
            ("009", System::Nginx, Some(&NO_STATUS_LINE)),
            ("499", System::Nginx, Some(&CLIENT_LEFT)),
            ("503", System::Nginx, Some(&NGINX_503)),
            ("503", System::Apache, Some(&APACHE_503)),
            ("503", System::Combined, Some(&EITHER_503)),
            ("504", System::Combined, Some(&EITHER_504)),
            ("500", System::Apache, Some(&APACHE_500)),
            ("500", System::Nginx, Some(&OTHER_5XX)),
            ("200", System::Combined, None),
            ("404", System::Combined, None),
            ("-", System::Combined, None),
        ] {
            let line = LINE.replace(" 502 ", &format!(" {status} "));
            assert_eq!(read(&line, system).meaning, meaning, "{status}");
        }
    }

    #[test]
    fn unpleasant_lines() {
        // Only "common", IPv6 and a user's name with a space.
        let common = r#"2001:db8::5 - Ada L [22/Nov/2026:07:22:27 +0000] "GET / HTTP/1.0" 504 -"#;
        let entry = read(common, System::Apache);
        assert_eq!(
            entry.client.map(|client| client.ip.to_string()).as_deref(),
            Some("2001:db8::5")
        );
        assert_eq!(entry.status, Some(504));

        let hello = r#"203.0.113.5 - - [22/Nov/2026:07:22:27 +0000] "\x16\x03\x01\x00" 400 157 "-" "-" "extra" 0.1"#;
        let entry = read(hello, System::Nginx);
        assert_eq!((entry.method, entry.target), (None, None));

        let none = r#"203.0.113.5 - - [22/Nov/2026:07:22:27 +0000] "-" 408 - "-" "-""#;
        assert_eq!(read(none, System::Apache).target, None);

        let vhost = format!("shop.example.com:443 {LINE}");
        let entry = read(&vhost, System::Apache);
        assert_eq!(entry.host.as_deref(), Some("shop.example.com"));
        assert!(entry.client.is_some());

        for (line, offset) in [
            ("", 0),
            ("203.0.113.5 - - [yesterday] \"GET / HTTP/1.1\" 200 1", 17),
            ("203.0.113.5 - - [22/Nov/2026:07:22:27 +0000] GET", 45),
            (
                "203.0.113.5 - - [22/Nov/2026:07:22:27 +0000] \"GET\" no 1",
                51,
            ),
        ] {
            assert_eq!(
                parse(line.as_bytes(), System::Combined).unwrap_err().offset,
                offset,
                "{line}"
            );
            assert!(!looks_like(line.as_bytes()) || offset > 44);
        }
        any_prefix_is_an_error_or_an_entry(LINE.as_bytes(), |line| parse(line, System::Combined));
    }
}
