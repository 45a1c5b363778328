//! `/var/log/ltm`: `MSGID:LEVEL: text` behind a syslog prefix that has the severity's name in it.

use crate::logs::entry::{Entry, Kind, LogAttempt, System};
use crate::logs::meaning::{Blame, Meaning};
use crate::logs::scan::{ParseError, Scan, number, text};

use super::address::socket;
use super::reset;

/// Hex digits of a message's number.
const ID: usize = 8;

static HEADER_TOO_LARGE: Meaning = Meaning {
    code: "011f0005 (Server side)",
    text: "The response's header is larger than the HTTP profile allows (32 KiB unless changed), so \
           BIG-IP reset the connection.",
    classes: &["header-too-large"],
    blame: Blame::Backend,
};

static REQUEST_TOO_LARGE: Meaning = Meaning {
    code: "011f0005 (Client side)",
    text: "The request's header is larger than the HTTP profile allows (32 KiB unless changed).",
    classes: &[],
    blame: Blame::Client,
};

static TLS: Meaning = Meaning {
    code: "01260013",
    text: "A TLS handshake failed. The line does not say whether with a client or with a pool member: \
           the addresses do, and the line 01260009 beside it has the reason.",
    classes: &[
        "tls-alert-from-backend",
        "tls-verify-failed",
        "tls-peer-closed",
        "tls-reset",
        "tls-handshake-timeout",
        "tls-to-plaintext",
    ],
    blame: Blame::Context,
};

static TLS_DETAIL: Meaning = Meaning {
    code: "01260009",
    text: "Why TLS failed on a connection, with the number of the alert. It belongs to a line 01260013 \
           beside it, and does not say which side it was.",
    classes: &["tls-alert-from-backend", "tls-verify-failed"],
    blame: Blame::Context,
};

static CIPHERS: Meaning = Meaning {
    code: "01260026",
    text: "The two ends of a TLS handshake have no cipher in common.",
    classes: &["tls-alert-from-backend"],
    blame: Blame::Context,
};

static NO_MEMBERS: Meaning = Meaning {
    code: "01010028",
    text: "No member of the pool is available: connections for it are reset until one is back.",
    classes: &["no-backend-available"],
    blame: Blame::Context,
};

static MEMBER_DOWN: Meaning = Meaning {
    code: "01070638",
    text: "A monitor took the pool member down.",
    classes: &["backend-process-exit", "backend-restart", "connect-refused"],
    blame: Blame::Context,
};

static MEMBER_UP: Meaning = Meaning {
    code: "01070727",
    text: "A monitor found the pool member up again.",
    classes: &[],
    blame: Blame::Context,
};

static IRULE: Meaning = Meaning {
    code: "01220001",
    text: "An iRule failed, which resets the connection it ran for. No pool member failed.",
    classes: &[],
    blame: Blame::Proxy,
};

static PORTS: Meaning = Meaning {
    code: "01010201",
    text: "BIG-IP used up the source ports of a SNAT address towards this destination. The pool member \
           was never asked.",
    classes: &["local-port-exhausted"],
    blame: Blame::Backend,
};

pub(super) static MEANINGS: &[&Meaning] = &[
    &HEADER_TOO_LARGE,
    &REQUEST_TOO_LARGE,
    &TLS,
    &TLS_DETAIL,
    &CIPHERS,
    &NO_MEMBERS,
    &MEMBER_DOWN,
    &MEMBER_UP,
    &IRULE,
    &PORTS,
];

/// `01230140:3: `.
pub(super) fn looks_like(body: &[u8]) -> bool {
    number_of(&mut Scan::new(body)).is_ok()
}

fn number_of<'a>(scan: &mut Scan<'a>) -> Result<&'a [u8], ParseError> {
    let mut ahead = scan.clone();
    let expected = "a message's number like 01230140:3:";
    let id = ahead
        .until(b':', expected)
        .map_err(|_| scan.error(expected))?;
    let level = ahead
        .until(b':', expected)
        .map_err(|_| scan.error(expected))?;
    let fits = id.len() == ID
        && id.iter().all(u8::is_ascii_hexdigit)
        && number::<u8>(level).is_some_and(|level| level <= 7)
        && ahead.take_if(" ");
    if !fits {
        return Err(scan.error(expected));
    }
    *scan = ahead;
    Ok(id)
}

pub(super) fn parse(mut scan: Scan<'_>) -> Result<Entry<'_>, ParseError> {
    let id = number_of(&mut scan)?;
    let message = scan.rest();
    let mut entry = Entry::new(System::BigIp, Kind::Error);
    entry.says = Some(text(message));
    match id.to_ascii_lowercase().as_slice() {
        b"01230140" => reset::read(&mut entry, scan)?,
        b"011f0005" => {
            let by_server = memchr::memmem::find(message, b"(Server side").is_some();
            entry.meaning = Some(if by_server {
                &HEADER_TOO_LARGE
            } else {
                &REQUEST_TOO_LARGE
            });
            name(&mut entry, between(message, b"pool=", b")"));
        }
        b"01260013" => {
            entry.meaning = Some(&TLS);
            read_tls_ends(&mut entry, message);
        }
        b"01260009" => entry.meaning = Some(&TLS_DETAIL),
        b"01260026" => entry.meaning = Some(&CIPHERS),
        b"01010028" => {
            entry.kind = Kind::Health;
            entry.meaning = Some(&NO_MEMBERS);
            name(&mut entry, between(message, b"for pool ", b" "));
        }
        b"01070638" => read_monitor(&mut entry, message, &MEMBER_DOWN),
        b"01070727" => read_monitor(&mut entry, message, &MEMBER_UP),
        b"01220001" => entry.meaning = Some(&IRULE),
        b"01010201" => {
            entry.meaning = Some(&PORTS);
            read_exhausted(&mut entry, message);
        }
        // The log has thousands of messages; one that is not about connections says nothing here.
        _ => {}
    }
    Ok(entry)
}

/// `SSL Handshake failed for TCP A:p -> B:q`.
fn read_tls_ends<'a>(entry: &mut Entry<'a>, message: &'a [u8]) {
    let from = between(message, b"for TCP ", b" ").and_then(|from| socket(&text(from)));
    let to = between(message, b"-> ", b" ").and_then(|to| socket(&text(to)));
    if let (Some(from), Some(to)) = (from, to) {
        entry.attempts.push(LogAttempt {
            name: Some(to.to_string().into()),
            addr: Some(to),
            local: Some(from),
            ..LogAttempt::default()
        });
    }
}

/// `Inet port exhaustion on A to B:q (proto 6)`.
fn read_exhausted<'a>(entry: &mut Entry<'a>, message: &'a [u8]) {
    let Some(to) = between(message, b" to ", b" ") else {
        return;
    };
    entry.attempts.push(LogAttempt {
        name: Some(text(to)),
        addr: socket(&text(to)),
        ..LogAttempt::default()
    });
}

/// `Pool P member M monitor status down. …`.
fn read_monitor<'a>(entry: &mut Entry<'a>, message: &'a [u8], meaning: &'static Meaning) {
    entry.kind = Kind::Health;
    entry.meaning = Some(meaning);
    name(entry, between(message, b" member ", b" "));
}

fn name<'a>(entry: &mut Entry<'a>, name: Option<&'a [u8]>) {
    let Some(name) = name else {
        return;
    };
    // Members are named by folder, node and port; nodes are often named by their address.
    let name = text(name);
    let addr = name.rsplit('/').next().and_then(socket);
    entry.attempts.push(LogAttempt {
        name: Some(name),
        addr,
        ..LogAttempt::default()
    });
}

/// What stands behind `from`, up to `to` or the end.
fn between<'a>(message: &'a [u8], from: &[u8], to: &[u8]) -> Option<&'a [u8]> {
    let at = memchr::memmem::find(message, from)? + from.len();
    let rest = message.get(at..)?;
    let end = memchr::memmem::find(rest, to).unwrap_or(rest.len());
    rest.get(..end).filter(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::big_ip::{looks_like, parse};
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry, assume};

    #[test]
    fn messages() {
        for (message, upstream, meaning) in [
            (
                "011f0005:3: HTTP header (40211) exceeded maximum allowed size of 32768 (Server side: vip=vs_web profile=http_web pool=web_pool)",
                Some("web_pool"),
                &HEADER_TOO_LARGE,
            ),
            (
                "011f0005:3: HTTP header (40211) exceeded maximum allowed size of 32768 (Client side: vip=vs_web profile=http_web pool=web_pool)",
                Some("web_pool"),
                &REQUEST_TOO_LARGE,
            ),
            (
                "01260013:4: SSL Handshake failed for TCP 192.0.2.10:33300 -> 192.0.2.20:8443",
                Some("192.0.2.20:8443"),
                &TLS,
            ),
            (
                "01260009:4: Connection error: ssl_select_suite:8181: no shared ciphers (40)",
                None,
                &TLS_DETAIL,
            ),
            (
                "01260026:4: No shared ciphers between SSL peers 192.0.2.10.33300:192.0.2.20.8443.",
                None,
                &CIPHERS,
            ),
            (
                "01070638:5: Pool /Common/web_pool member /Common/app1:8080 monitor status down. [ /Common/http: down; last error:  ]  [ was up for 837hrs:31mins:36sec ]",
                Some("/Common/app1:8080"),
                &MEMBER_DOWN,
            ),
            (
                "01070727:5: Pool /Common/web_pool member /Common/192.0.2.20:8080 monitor status up.",
                Some("192.0.2.20:8080"),
                &MEMBER_UP,
            ),
            (
                "01010028:3: No members available for pool /Common/web_pool",
                Some("/Common/web_pool"),
                &NO_MEMBERS,
            ),
            (
                "01220001:3: TCL error: /Common/r_route <HTTP_REQUEST> - no such variable (line 8)",
                None,
                &IRULE,
            ),
            (
                "01010201:2: Inet port exhaustion on 192.0.2.10 to 192.0.2.20:8080 (proto 6)",
                Some("192.0.2.20:8080"),
                &PORTS,
            ),
        ] {
            let line = format!("Nov 22 07:31:20 bigip-a.example.net warning tmm[11925]: {message}");
            assert!(looks_like(line.as_bytes()), "{line}");
            let entry = parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!(entry.meaning, Some(meaning), "{line}");
            assert_eq!(entry.upstream().as_deref(), upstream, "{line}");
            assert_eq!(entry.pid, Some(11925));
            assert_eq!(
                entry.time.map(|at| at.unix_ns - MORNING_NS),
                Some(27_080_000_000_000)
            );
            any_prefix_is_an_error_or_an_entry(line.as_bytes(), |line| parse(line, &assume()));
        }
    }

    #[test]
    fn messages_about_something_else() {
        let line = b"Nov 22 07:31:20 b notice mcpd[1]: 01070410:5: Removed subscription";
        let entry = parse(line, &assume()).unwrap();
        assert_eq!(entry.meaning, None);
        for line in [
            "",
            "Nov 22 07:25:36 haproxy[8486]: Server be/a is UP.",
            "Nov 22 07:25:36 b err tmm[1]: 0123:3: RST",
            "12345678:9: x",
            "zzzzzzzz:3: x",
        ] {
            assert!(!looks_like(line.as_bytes()), "{line}");
            let error = parse(line.as_bytes(), &assume()).unwrap_err();
            assert!(error.offset <= line.len());
        }
    }
}
