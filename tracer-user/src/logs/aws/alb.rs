//! Access log of an AWS Application Load Balancer.
//!
//! Fields: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html>.
//! New fields are added at the end, so what follows those read here is left alone.

use crate::logs::entry::{Durations, Entry, Kind, LogAttempt, Skim, System, peer, request_line};
use crate::logs::meaning::{Blame, GAVE_UP, Meaning};
use crate::logs::scan::{ParseError, Scan, known, number, seconds_as_us, status, text};
use crate::logs::stamp::{rfc3339, rfc3339_utc};

const TYPES: [&str; 6] = ["http", "https", "h2", "grpcs", "ws", "wss"];

/// The balancer made the 502 itself.
static MADE_502: Meaning = Meaning {
    code: "502 -",
    text: "The balancer made the 502: the target refused the connection, closed or reset it while a \
           request was outstanding, or sent something that is no valid response. The log never says \
           which of these it was; the connection on the target's host does.",
    classes: &[
        "keepalive-race",
        "fin-before-response",
        "rst-before-response",
        "connect-refused",
        "backend-process-exit",
        "connect-unreachable",
        "header-too-large",
        "malformed-response",
        "conflicting-framing",
        "partial-header",
        "tls-peer-closed",
        "tls-reset",
        "tls-alert-from-backend",
        "tls-to-plaintext",
        "tls-handshake-timeout",
        "plaintext-to-tls",
        "protocol-version-mismatch",
        "request-body-rejected",
        "informational-only-response",
        "idle-drop-by-middlebox",
        "path-reset",
    ],
    blame: Blame::Backend,
};

static MADE_504: Meaning = Meaning {
    code: "504 -",
    text: "The balancer gave up: no connection within 10 s, or no answer from the target within the \
           idle timeout (60 s unless changed).",
    classes: GAVE_UP,
    blame: Blame::Backend,
};

static NO_TARGET_502: Meaning = Meaning {
    code: "502 without a target",
    text: "The balancer made the 502 and names no target: a Lambda function failed (see the error \
           reason in the line), or no target could be reached at all.",
    classes: &["connect-unreachable", "connect-refused"],
    blame: Blame::Backend,
};

static NO_TARGETS: Meaning = Meaning {
    code: "503 -",
    text: "No target is registered in the target group. (Targets that are all unhealthy are no \
           reason for a 503: the balancer then tries them all.)",
    classes: &["no-backend-available"],
    blame: Blame::Backend,
};

static CLIENT_LEFT: Meaning = Meaning {
    code: "460",
    text: "The client closed the connection before the balancer could answer; its timeout is shorter \
           than the target took.",
    classes: &["client-abort"],
    blame: Blame::Client,
};

static FORWARDED_FOR: Meaning = Meaning {
    code: "463",
    text: "The request carried more than 30 addresses in X-Forwarded-For.",
    classes: &[],
    blame: Blame::Client,
};

static PROTOCOL_VERSION: Meaning = Meaning {
    code: "464",
    text: "The protocol of the request does not fit the protocol version of the target group.",
    classes: &["protocol-version-mismatch"],
    blame: Blame::Proxy,
};

static IDENTITY: Meaning = Meaning {
    code: "561",
    text: "The identity provider answered an authentication with an error.",
    classes: &[],
    blame: Blame::Proxy,
};

static OWN_5XX: Meaning = Meaning {
    code: "5xx -",
    text: "The balancer made this status itself, for a reason of its own and not of a target's \
           connection.",
    classes: &[],
    blame: Blame::Proxy,
};

static APPLICATION: Meaning = Meaning {
    code: "5xx by the target",
    text: "The target itself answered with this status; its connection was in order. The cause is in \
           the application, or behind it.",
    classes: &["application-502"],
    blame: Blame::Application,
};

/// For `explain`.
pub(in crate::logs) static MEANINGS: &[&Meaning] = &[
    &MADE_502,
    &NO_TARGET_502,
    &NO_TARGETS,
    &MADE_504,
    &CLIENT_LEFT,
    &FORWARDED_FOR,
    &PROTOCOL_VERSION,
    &IDENTITY,
    &OWN_5XX,
    &APPLICATION,
];

/// `type time app/…`: no other form begins like this.
pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    let mut scan = Scan::new(line);
    let kind = scan.word("type").unwrap_or_default();
    TYPES.iter().any(|name| name.as_bytes() == kind)
        && scan.word("time").is_ok()
        && scan.rest().starts_with(b"app/")
}

pub(in crate::logs) fn parse(line: &[u8]) -> Result<Entry<'_>, ParseError> {
    let mut scan = Scan::new(line);
    let kind = scan.word("the type")?;
    if !TYPES.iter().any(|name| name.as_bytes() == kind) {
        return Err(Scan::new(line).error("http, https, h2, grpcs, ws or wss"));
    }
    let mut entry = Entry::new(System::AwsAlb, Kind::Access);
    let before_time = scan.clone();
    entry.time = rfc3339(&text(scan.word("the time")?));
    if entry.time.is_none() {
        return Err(before_time.error("a time in ISO 8601"));
    }
    scan.word("the balancer")?;
    entry.client = peer(&text(scan.word("the client")?));
    let target = scan.word("the target")?;
    let request_us = seconds_as_us(scan.word("request_processing_time")?);
    let target_us = seconds_as_us(scan.word("target_processing_time")?);
    let response_us = seconds_as_us(scan.word("response_processing_time")?);
    let before_status = scan.clone();
    let balancer_status = scan.word("elb_status_code")?;
    entry.status = status(balancer_status);
    if entry.status.is_none() && balancer_status != b"-" {
        return Err(before_status.error("a status or -"));
    }
    let target_status = status(scan.word("target_status_code")?);
    // Sizes of what went from and to the client, also where the balancer made the answer itself.
    scan.word("received_bytes")?;
    scan.word("sent_bytes")?;
    let request = scan.quoted("the request in quotes")?;
    scan.take_if(" ");
    read_request(&mut entry, request);
    read_rest(&mut entry, &mut scan);

    entry.timers.header_us = target_us;
    entry.timers.total_us = total(request_us, target_us, response_us);
    if let Some(name) = known(target) {
        entry.attempts.push(LogAttempt {
            addr: name.parse().ok(),
            name: Some(name),
            status: target_status,
            header_us: target_us,
            ..LogAttempt::default()
        });
    }
    entry.meaning = meaning(entry.status, target_status, entry.attempts.is_empty());
    Ok(entry)
}

/// As [`parse`], of lines whose status says of no failure.
pub(in crate::logs) fn skim(line: &[u8]) -> Option<Skim> {
    let mut scan = Scan::new(line);
    let mut word = || scan.word("").ok();
    let kind = word()?;
    if !TYPES.iter().any(|name| name.as_bytes() == kind) {
        return None;
    }
    let time = rfc3339_utc(word()?)?;
    let (_balancer, _client, _target) = (word()?, word()?, word()?);
    let request_us = seconds_as_us(word()?);
    let target_us = seconds_as_us(word()?);
    let response_us = seconds_as_us(word()?);
    let status = match word()? {
        [
            hundreds @ b'1'..=b'4',
            tens @ b'0'..=b'9',
            ones @ b'0'..=b'9',
        ] => [hundreds, tens, ones]
            .into_iter()
            .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')),
        _ => return None,
    };
    let (target_status, _received, _sent) = (word()?, word()?, word()?);
    if meaning(Some(status), number(target_status), false).is_some() {
        return None;
    }
    scan.quoted("").ok()?;
    Some(Skim {
        time: Some(time),
        status: Some(status),
        durations: Durations {
            connect_us: None,
            header_us: target_us,
            total_us: total(request_us, target_us, response_us),
        },
    })
}

/// The three parts together, if all of them are known.
fn total(request: Option<u64>, target: Option<u64>, response: Option<u64>) -> Option<u64> {
    request?.checked_add(target?)?.checked_add(response?)
}

fn read_request<'a>(entry: &mut Entry<'a>, request: &'a [u8]) {
    // A request that could not be read is logged as "- http://host:port- -".
    let Ok(line) = std::str::from_utf8(request) else {
        return;
    };
    let (method, target, protocol) = request_line(line);
    entry.method = method.filter(|method| *method != "-").map(Into::into);
    entry.target = target.map(Into::into);
    entry.protocol = protocol.map(Into::into);
    let authority = target.and_then(|target| target.split_once("://")?.1.split(['/', '?']).next());
    entry.host = authority.map(|authority| {
        authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host)
            .into()
    });
}

/// What stands behind the request. Older logs end early, so nothing of it is required.
fn read_rest<'a>(entry: &mut Entry<'a>, scan: &mut Scan<'a>) {
    let mut next = || scan.field("a field").ok();
    let _user_agent = next();
    let (_cipher, _protocol, _group) = (next(), next(), next());
    entry.request_id = next().and_then(known);
    let (_domain, _certificate, _priority) = (next(), next(), next());
    entry.started = next().and_then(|created| rfc3339(&text(created)));
    let (_actions, _redirect) = (next(), next());
    entry.says = next().and_then(known);
}

/// `status` is what the client got; `target` is what the target sent.
fn meaning(status: Option<u16>, target: Option<u16>, no_target: bool) -> Option<&'static Meaning> {
    let status = status?;
    match (status, target) {
        (500..=599, Some(own)) if own == status => Some(&APPLICATION),
        (460, _) => Some(&CLIENT_LEFT),
        (463, _) => Some(&FORWARDED_FOR),
        (464, _) => Some(&PROTOCOL_VERSION),
        (561, _) => Some(&IDENTITY),
        (502, _) if no_target => Some(&NO_TARGET_502),
        (502, _) => Some(&MADE_502),
        (503, _) => Some(&NO_TARGETS),
        (504, _) => Some(&MADE_504),
        (500..=599, _) => Some(&OWN_5XX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const MADE: &str = r#"http 2026-11-22T07:31:02.417305Z app/shop/50dc6c495c0c9188 203.0.113.5:51544 192.0.2.20:8080 0.000 -1 -1 502 - 312 277 "GET http://shop.example.com:80/cart?id=7 HTTP/1.1" "curl/8.5 \"x\"" - - arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/shop/73e2d6bc24d8a067 "Root=1-69216c66-36d228ad5d99923122bbe354" "-" "-" 0 2026-11-22T07:31:02.415000Z "forward" "-" "-" "192.0.2.20:8080" "-" "-" "-" TID_dc2d1b4c9e6b4e0cbd1f3a5b7c8d9e0f "-" "-" "-" 198.51.100.17"#;

    #[test]
    fn a_502_that_the_balancer_made() {
        assert!(looks_like(MADE.as_bytes()));
        let entry = parse(MADE.as_bytes()).unwrap();
        assert_eq!(entry.status, Some(502));
        assert_eq!(entry.path(), Some("/cart"));
        assert_eq!(entry.host.as_deref(), Some("shop.example.com"));
        assert_eq!(entry.upstream().as_deref(), Some("192.0.2.20:8080"));
        assert_eq!(entry.client.and_then(|client| client.port), Some(51544));
        assert_eq!(
            entry.request_id.as_deref(),
            Some("Root=1-69216c66-36d228ad5d99923122bbe354")
        );
        let since_morning =
            |stamp: Option<crate::logs::Stamp>| stamp.map(|at| at.unix_ns - MORNING_NS);
        assert_eq!(since_morning(entry.time), Some(27_062_417_305_000));
        assert_eq!(since_morning(entry.started), Some(27_062_415_000_000));
        assert_eq!(entry.says, None);
        assert_eq!(entry.meaning, Some(&MADE_502));
        assert_eq!(entry.timers.total_us, None);
        // The 277 bytes were the balancer's own.
        assert_eq!(entry.attempts[0].received_bytes, None);
    }

    #[test]
    fn what_the_statuses_mean() {
        for (from, to, meaning, classes) in [
            ("502 - ", "502 502 ", &APPLICATION, &["application-502"][..]),
            ("502 - ", "503 - ", &NO_TARGETS, &["no-backend-available"]),
            ("502 - ", "504 - ", &MADE_504, MADE_504.classes),
            ("502 - ", "460 - ", &CLIENT_LEFT, &["client-abort"]),
            (
                "192.0.2.20:8080 0",
                "- 0",
                &NO_TARGET_502,
                NO_TARGET_502.classes,
            ),
            ("502 - ", "500 - ", &OWN_5XX, &[]),
        ] {
            let line = MADE.replacen(from, to, 1);
            let entry = parse(line.as_bytes()).unwrap();
            assert_eq!(entry.meaning, Some(meaning), "{line}");
            assert_eq!(entry.classes(), classes);
        }
        let healthy = MADE.replacen("-1 -1 502 - ", "0.734 0.001 200 200 ", 1);
        let entry = parse(healthy.as_bytes()).unwrap();
        assert_eq!(
            (entry.meaning, entry.timers.total_us),
            (None, Some(735_000))
        );
        assert_eq!(entry.timers.header_us, Some(734_000));
    }

    #[test]
    fn a_skim_agrees_with_the_whole_reading() {
        let healthy = MADE.replacen("0.000 -1 -1 502 - ", "0.001 0.734 0.002 200 200 ", 1);
        assert!(skim(healthy.as_bytes()).is_some());
        let mut skimmed = 0;
        let mut check = |line: &[u8]| {
            let Some(skim) = skim(line) else { return };
            skimmed += 1;
            let entry = parse(line).unwrap();
            assert_eq!(entry.meaning, None);
            assert_eq!(
                (skim.time, skim.status, skim.durations),
                (entry.time, entry.status, entry.durations())
            );
        };
        for statuses in [
            "200 200", "200 502", "101 101", "404 -", "460 -", "463 -", "464 464", "499 -",
        ] {
            check(healthy.replacen("200 200", statuses, 1).as_bytes());
        }
        for end in 0..healthy.len() {
            check(&healthy.as_bytes()[..end]);
        }
        for at in 0..healthy.len() {
            for byte in [0, b' ', b'"', b'\\', b'-', b'.', b'5', b'9', 0xff] {
                let mut line = healthy.clone().into_bytes();
                line[at] = byte;
                check(&line);
            }
        }
        assert!(skimmed > 1000, "{skimmed}");
        for (whole, line) in [("502", MADE), ("too early", &healthy[..100])] {
            assert_eq!(skim(line.as_bytes()), None, "{whole}");
        }
    }

    #[test]
    fn unpleasant_lines() {
        // IPv6, a request nobody could read, and a log of the time before the later fields.
        let line = r#"https 2026-11-22T07:31:40.112840Z app/shop/50 [2001:db8::5]:51610 [2001:db8::21]:8443 -1 -1 -1 400 - 0 277 "- http://shop.example.com:80- -" "-" - - -"#;
        let entry = parse(line.as_bytes()).unwrap();
        assert_eq!(entry.method, None);
        assert_eq!(entry.upstream().as_deref(), Some("[2001:db8::21]:8443"));
        assert_eq!((entry.started, entry.meaning), (None, None));

        let binary = MADE
            .replacen("GET http", "\u{16}\u{3} http", 1)
            .replace("/cart", "/\u{1b}[2J");
        assert!(parse(binary.as_bytes()).is_ok());

        let error = parse(b"http yesterday app/x").unwrap_err();
        assert_eq!((error.offset, error.expected), (5, "a time in ISO 8601"));
        any_prefix_is_an_error_or_an_entry(MADE.as_bytes(), parse);
    }
}
