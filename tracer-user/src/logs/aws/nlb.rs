//! Access log of an AWS Network Load Balancer, which exists for TLS listeners only.
//!
//! Fields: <https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-access-logs.html>.
//! The balancer passes bytes on: there is no HTTP status, and the target is not in the line.

use crate::logs::entry::{Entry, Kind, System, peer};
use crate::logs::meaning::{Blame, Meaning};
use crate::logs::scan::{ParseError, Scan, known, number, text};
use crate::logs::stamp::rfc3339;

/// A TLS listener drops idle connections after 350 s, fixed
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html>), ms.
const IDLE_MS: u64 = 350_000;
/// A connection that was idle from its beginning ends so much later at most, ms. One that lives
/// longer than both together may have ended for any reason.
const SLACK_MS: u64 = 5_000;

static ALERT: Meaning = Meaning {
    code: "incoming_tls_alert",
    text: "The client sent this TLS alert: it refused the balancer's certificate or what was offered. \
           The targets have no part in it.",
    classes: &[],
    blame: Blame::Client,
};

static NO_HANDSHAKE: Meaning = Meaning {
    code: "tls_handshake_time -",
    text: "The TLS handshake between client and balancer was never completed. The targets have no part \
           in it.",
    classes: &[],
    blame: Blame::Client,
};

static IDLE: Meaning = Meaning {
    code: "connection_time 350000",
    text: "The connection ended just after the balancer's idle timeout of 350 s. The balancer tells \
           neither end: whoever sends next gets a reset. The line alone does not prove that anybody did.",
    classes: &["idle-drop-by-middlebox"],
    blame: Blame::Context,
};

static NOTHING_SENT: Meaning = Meaning {
    code: "sent_bytes 0",
    text: "The client sent data and got not a byte back: the target could not be reached, ended the \
           connection without an answer, or the client left before one came. The line does not say which.",
    classes: &[
        "connect-refused",
        "connect-timeout",
        "rst-before-response",
        "fin-before-response",
        "response-timeout",
        "client-abort",
    ],
    blame: Blame::Backend,
};

/// For `explain`.
pub(in crate::logs) static MEANINGS: &[&Meaning] = &[&ALERT, &NO_HANDSHAKE, &IDLE, &NOTHING_SENT];

/// `tls version time net/…`: no other form begins like this.
pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    let mut scan = Scan::new(line);
    scan.take_if("tls ")
        && scan.word("version").is_ok()
        && scan.word("time").is_ok()
        && scan.rest().starts_with(b"net/")
}

pub(in crate::logs) fn parse(line: &[u8]) -> Result<Entry<'_>, ParseError> {
    let mut scan = Scan::new(line);
    scan.expect("tls ")?;
    scan.word("the version")?;
    let mut entry = Entry::new(System::AwsNlb, Kind::Connection);
    let before_time = scan.clone();
    entry.time = rfc3339(&text(scan.word("the time")?));
    if entry.time.is_none() {
        return Err(before_time.error("a time in ISO 8601"));
    }
    scan.word("the balancer")?;
    scan.word("the listener")?;
    let before_client = scan.clone();
    entry.client = peer(&text(scan.word("the client")?));
    if entry.client.is_none() {
        return Err(before_client.error("the client's address and port"));
    }
    // Where the client connected to: the balancer itself, and no target.
    scan.word("the destination")?;
    let connection_ms: Option<u64> = number(scan.word("connection_time")?);
    let handshake_ms: Option<u64> = number(scan.word("tls_handshake_time")?);
    let received: Option<u64> = number(scan.word("received_bytes")?);
    let sent: Option<u64> = number(scan.word("sent_bytes")?);
    let alert = known(scan.word("incoming_tls_alert")?);
    for field in [
        "chosen_cert_arn",
        "chosen_cert_serial",
        "tls_cipher",
        "tls_protocol_version",
        "tls_named_group",
    ] {
        scan.word(field)?;
    }
    entry.host = known(scan.word("domain_name")?);
    entry.timers.total_us = connection_ms.and_then(|ms| ms.checked_mul(1000));
    // Behind the ALPN fields, whose list the client chose.
    let last = scan.rest().rsplit(|byte| *byte == b' ').next();
    entry.started = last.and_then(|created| rfc3339(&text(created)));
    let idle_from_the_start =
        connection_ms.is_some_and(|ms| (IDLE_MS..IDLE_MS + SLACK_MS).contains(&ms));
    entry.meaning = if alert.is_some() {
        Some(&ALERT)
    } else if handshake_ms.is_none() {
        Some(&NO_HANDSHAKE)
    } else if idle_from_the_start {
        Some(&IDLE)
    } else if sent == Some(0) && received.is_some_and(|bytes| bytes > 0) {
        Some(&NOTHING_SENT)
    } else {
        None
    };
    entry.says = alert;
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const GOOD: &str = "tls 2.0 2026-11-22T07:31:02 net/shop-nlb/c6e77e28c25b2234 g3d4b5e8bb8464cd 203.0.113.5:51544 198.51.100.185:443 5 2 98 246 - arn:aws:acm:us-east-2:123456789012:certificate/2a108f19 - ECDHE-RSA-AES128-SHA tlsv12 - shop.example.com - - - 2026-11-22T07:31:01";

    #[test]
    fn a_session() {
        assert!(looks_like(GOOD.as_bytes()));
        let entry = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(
            (entry.system, entry.kind),
            (System::AwsNlb, Kind::Connection)
        );
        assert_eq!(entry.client.unwrap().port, Some(51544));
        assert_eq!(entry.host.as_deref(), Some("shop.example.com"));
        assert_eq!(entry.time.unwrap().unix_ns - MORNING_NS, 27_062_000_000_000);
        assert_eq!(
            entry.started.unwrap().unix_ns - MORNING_NS,
            27_061_000_000_000
        );
        assert_eq!(entry.timers.total_us, Some(5_000));
        assert_eq!((entry.status, entry.meaning), (None, None));
        assert!(entry.attempts.is_empty(), "the line names no target");
    }

    #[test]
    fn what_sessions_mean() {
        for (from, to, meaning) in [
            (" 5 2 98 246 - ", " 12 11 0 0 48 ", Some(&ALERT)),
            (" 5 2 98 246 - ", " 10003 - 0 0 - ", Some(&NO_HANDSHAKE)),
            (" 5 2 98 246 - ", " 351020 2 1204 8890 - ", Some(&IDLE)),
            (" 5 2 98 246 - ", " 349000 2 1204 8890 - ", None),
            (" 5 2 98 246 - ", " 3600000 2 1204 8890 - ", None),
            (" 5 2 98 246 - ", " 21 4 517 0 - ", Some(&NOTHING_SENT)),
            (" 5 2 98 246 - ", " 21 4 0 0 - ", None),
        ] {
            let line = GOOD.replacen(from, to, 1);
            assert_eq!(parse(line.as_bytes()).unwrap().meaning, meaning, "{to}");
        }
    }

    #[test]
    fn unpleasant_lines() {
        let list = GOOD
            .replace("- - - 2026", r#"h2 h2 "h2","a b" 2026"#)
            .replace("203.0.113.5:51544", "[2001:db8::5]:51544");
        assert!(parse(list.as_bytes()).unwrap().started.is_some());
        let early = GOOD.split(" shop.example.com").next().unwrap();
        assert!(parse(early.as_bytes()).is_err());
        let error = parse(b"tls 2.0 yesterday net/x").unwrap_err();
        assert_eq!((error.offset, error.expected), (8, "a time in ISO 8601"));
        any_prefix_is_an_error_or_an_entry(GOOD.as_bytes(), parse);
    }
}
