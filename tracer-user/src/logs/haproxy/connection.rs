//! Connections of clients that failed before there was a request: the fixed line
//! (`frontend/listener: message`), and the manual's example of an `error-log-format`.

use crate::logs::entry::{Entry, Kind, System};
use crate::logs::meaning::{Blame, Meaning};
use crate::logs::scan::{ParseError, Scan, known, number, text};

use super::head::Head;

static CLIENT_HANDSHAKE: Meaning = Meaning {
    code: "SSL handshake failure (client)",
    text: "The TLS handshake between a client and HAProxy failed, so there never was a request. This \
           says nothing about the connections to servers; port scans and plain health checks look \
           like this too.",
    classes: &[],
    blame: Blame::Client,
};

static PROXY_HEADER: Meaning = Meaning {
    code: "PROXY protocol header",
    text: "The listener expects a PROXY protocol header and the client did not send a good one. \
           Either what stands before HAProxy does not send it, or somebody came past it.",
    classes: &[],
    blame: Blame::Client,
};

static CLIENT_CONNECTION: Meaning = Meaning {
    code: "connection error (client)",
    text: "A client's connection failed before there was a request.",
    classes: &[],
    blame: Blame::Client,
};

pub(super) static MEANINGS: &[&Meaning] = &[&CLIENT_HANDSHAKE, &PROXY_HEADER, &CLIENT_CONNECTION];

/// Does the head begin no line of a request or session? A listener's name ends with a colon; the
/// numbers of connections (`1/1`) stand where a backend would.
pub(super) fn is(head: &Head<'_>, rest: &[u8]) -> bool {
    let first = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    head.frontend.ends_with(b":") || is_fraction(first)
}

/// `12/3`.
fn is_fraction(word: &[u8]) -> bool {
    let mut parts = word.split(|byte| *byte == b'/');
    let mut digits = || {
        parts
            .next()
            .is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
    };
    digits() && digits() && parts.next().is_none()
}

pub(super) fn parse<'a>(head: &Head<'a>, mut scan: Scan<'a>) -> Result<Entry<'a>, ParseError> {
    let mut entry = Entry::new(System::Haproxy, Kind::Connection);
    entry.started = Some(head.started);
    entry.client = head.client;
    let rest = scan.rest();
    if head.frontend.ends_with(b":") {
        entry.says = known(rest);
        entry.meaning = Some(by_message(rest));
        return Ok(entry);
    }
    scan.word("the numbers of connections")?;
    let before_errors = scan.clone();
    let errors = scan.word("the error of the client's connection")?;
    let code = errors
        .split(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    let Some(code) = number::<u16>(code) else {
        return Err(before_errors.error("the error of the client's connection"));
    };
    entry.says = Some(text(errors));
    entry.meaning = match code {
        0 => None,
        // Codes of fc_err_str: https://docs.haproxy.org/3.0/configuration.html#7.3.3-fc_err_str
        11..=23 => Some(&PROXY_HEADER),
        24..=38 | 43 => Some(&CLIENT_HANDSHAKE),
        _ => Some(&CLIENT_CONNECTION),
    };
    Ok(entry)
}

fn by_message(message: &[u8]) -> &'static Meaning {
    let holds = |part: &str| memchr::memmem::find(message, part.as_bytes()).is_some();
    if holds("PROXY protocol") || holds("NetScaler") {
        &PROXY_HEADER
    } else if holds("SSL") {
        &CLIENT_HANDSHAKE
    } else {
        &CLIENT_CONNECTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::haproxy::parse;
    use crate::logs::testing::assume;

    #[test]
    fn connections_that_failed() {
        for (end, says, meaning) in [
            (
                "fe_tls/1: SSL handshake failure",
                "SSL handshake failure",
                Some(&CLIENT_HANDSHAKE),
            ),
            (
                "fe_tls/1: Timeout during SSL handshake",
                "Timeout during SSL handshake",
                Some(&CLIENT_HANDSHAKE),
            ),
            (
                "fe/a: Received something which does not look like a PROXY protocol header",
                "Received something which does not look like a PROXY protocol header",
                Some(&PROXY_HEADER),
            ),
            (
                "fe_tls~ 1/1 30/000000000A00009C/0/0/0 -/TLSv1.3/(NONE)",
                "30/000000000A00009C/0/0/0",
                Some(&CLIENT_HANDSHAKE),
            ),
            (
                "fe 12/3 15/-/-/-/- -/-/-",
                "15/-/-/-/-",
                Some(&PROXY_HEADER),
            ),
            ("fe 12/3 0/-/-/-/- -/-/-", "0/-/-/-/-", None),
        ] {
            let line = format!("203.0.113.5:58116 [22/Nov/2026:20:04:52.475] {end}");
            let entry = parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!(entry.kind, Kind::Connection);
            assert_eq!(entry.says.as_deref(), Some(says));
            assert_eq!(entry.meaning, meaning, "{line}");
            assert!(entry.started.is_some() && entry.client.is_some());
        }
    }
}
