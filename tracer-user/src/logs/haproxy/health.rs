//! What HAProxy says of its servers and of itself, beside the requests.
//!
//! The same lines come by syslog and, with `[WARNING]  (8045) : ` before them, from its error output.

use crate::logs::entry::{Entry, Kind, LogAttempt, System};
use crate::logs::meaning::{Meaning, meanings};
use crate::logs::scan::{Scan, number, text};

use super::connect_error;

meanings! {
    DOWN Context
    "is DOWN"
    "HAProxy took the server out: its checks failed, or too many requests did. Requests that come \
     now go to the others, and get 503 if there are none."
    ["backend-process-exit", "backend-restart", "connect-refused"];

    UP Context
    "is UP"
    "HAProxy takes the server for healthy again."
    [];

    REFUSED Context
    "Layer4 connection problem"
    "A health check could not connect: the server refused, or could not be reached."
    ["connect-refused", "connect-unreachable", "backend-process-exit"];

    CONNECT_TIMEOUT Context
    "Layer4 timeout"
    "A health check's connection was not answered in time."
    ["connect-timeout", "listen-queue-overflow"];

    TLS Context
    "Layer6 invalid response"
    "A health check's TLS handshake failed."
    ["tls-alert-from-backend", "tls-verify-failed", "tls-peer-closed", "tls-to-plaintext"];

    TLS_TIMEOUT Context
    "Layer6 timeout"
    "A health check's TLS handshake was not done in time."
    ["tls-handshake-timeout"];

    TIMEOUT Context
    "Layer7 timeout"
    "The server took a health check's connection but did not answer in time: slow, stuck, or all of \
     its workers busy."
    ["response-timeout", "listen-queue-overflow"];

    INVALID Context
    "Layer7 invalid response"
    "What the server answered to a health check is no valid response, or it closed without one."
    ["fin-before-response", "malformed-response", "plaintext-to-tls"];

    WRONG_STATUS Context
    "Layer7 wrong status"
    "The server answers health checks, but with a status that counts as a failure. Its connections \
     are in order."
    ["application-502"];

    PASSIVE Context
    "consecutive errors"
    "HAProxy watched the requests themselves (`observe`) and saw too many of them fail in a row; \
     their own lines say how."
    ["fin-before-response", "rst-before-response", "connect-refused"];

    MAINTENANCE Context
    "for maintenance"
    "The server was taken out of, or brought back from, maintenance or drain: on purpose, not \
     because a check failed."
    [];

    UNRESOLVED Context
    "for maintenance (No IP for server)"
    "The name of the server could not be resolved any more, so HAProxy put it into maintenance."
    ["name-resolution-failed"];

    NO_SERVER Context
    "has no server available!"
    "The last server of the backend is gone. Requests now get 503 with <NOSRV> until one is back."
    ["no-backend-available"];

    RELOAD Context
    "Proxy … started / stopped"
    "A process of HAProxy started or stopped; on a reload the new one does the one and the old one \
     the other."
    [];

    CHECK_PASSED Context
    "Health check … succeeded"
    "A health check passed."
    [];

    CHECK_FAILED Context
    "Health check … failed"
    "A health check failed. The server stays in until as many have failed as `fall` says."
    [];
}

/// What follows a server's name. The first that stands in the text is taken.
const REASONS: &[(&str, &Meaning)] = &[
    ("consecutive errors", &PASSIVE),
    ("Layer4 connection problem", &REFUSED),
    ("Layer4 timeout", &CONNECT_TIMEOUT),
    ("Layer6 invalid response", &TLS),
    ("Layer6 timeout", &TLS_TIMEOUT),
    ("Layer7 wrong status", &WRONG_STATUS),
    ("Layer7 timeout", &TIMEOUT),
    ("Layer7 invalid response", &INVALID),
    ("No IP for server", &UNRESOLVED),
    ("DNS ", &UNRESOLVED),
    ("entry removed from SRV record", &UNRESOLVED),
];

/// Without a reason, or with one that says no more.
const CHANGES: &[(&str, &Meaning)] = &[
    (" maintenance", &MAINTENANCE),
    ("drain", &MAINTENANCE),
    (" is DOWN", &DOWN),
    (" is UP", &UP),
    (" is stopping", &MAINTENANCE),
    ("resolves again", &UP),
];

pub(super) fn looks_like(body: &[u8]) -> bool {
    parse(body).is_some()
}

/// `None` for lines about something else.
pub(super) fn parse(body: &[u8]) -> Option<Entry<'_>> {
    let (pid, message) = without_level(body);
    let (subject, meaning) = read(message)?;
    let mut entry = Entry::new(System::Haproxy, Kind::Health);
    entry.pid = pid;
    entry.says = Some(text(message.trim_ascii_end()));
    entry.meaning = Some(meaning);
    if let Some(subject) = subject {
        entry.attempts.push(LogAttempt {
            name: Some(text(subject)),
            ..LogAttempt::default()
        });
    }
    Some(entry)
}

/// `[WARNING]  (8045) : ` and, before 2.4, `[WARNING] 325/200446 (8045) : `.
fn without_level(body: &[u8]) -> (Option<u32>, &[u8]) {
    let whole = (None, body);
    let Some(open) = body.strip_prefix(b"[") else {
        return whole;
    };
    let mut scan = Scan::new(open);
    let Ok(level) = scan.until(b']', "a level") else {
        return whole;
    };
    let named = !level.is_empty() && level.iter().all(u8::is_ascii_uppercase);
    let Ok(before) = scan.until(b')', "a process") else {
        return whole;
    };
    if !named || !scan.take_if(" : ") {
        return whole;
    }
    let pid = before.rsplit(|byte| *byte == b'(').next().and_then(number);
    (pid, scan.rest())
}

/// Of whom the message is, and what it means.
fn read(message: &[u8]) -> Option<(Option<&[u8]>, &'static Meaning)> {
    let mut scan = Scan::new(message);
    if scan.take_if("Connect() failed for backend ") {
        let name = scan.until(b':', "the backend").ok()?;
        return Some((Some(name), connect_error::by_reason(scan.rest())));
    }
    if scan.take_if("backend ") || scan.take_if("proxy ") || scan.take_if("listener ") {
        let name = scan.word("a name").ok()?;
        let gone = scan.take_if("has no server available!");
        return gone.then_some((Some(name), &NO_SERVER));
    }
    if scan.take_if("Proxy ") {
        let _name = scan.word("a name").ok()?;
        return match scan.rest() {
            rest if rest.starts_with(b"stopped") || rest.starts_with(b"started") => {
                Some((None, &RELOAD))
            }
            rest if rest.starts_with(b"reached process FD limit")
                || rest.starts_with(b"reached system FD limit") =>
            {
                Some((None, connect_error::sockets()))
            }
            _ => None,
        };
    }
    if scan.take_if("Stopping ") {
        let kind = scan.word("a kind of proxy").unwrap_or_default();
        let known = matches!(kind, b"frontend" | b"backend" | b"proxy");
        return known.then_some((None, &RELOAD));
    }
    if scan.take_if("Health check for ") {
        scan.take_if("backup ");
        if !scan.take_if("server ") {
            return None;
        }
        let name = server_name(&mut scan)?;
        return if scan.take_if("succeeded") {
            Some((Some(name), &CHECK_PASSED))
        } else if scan.take_if("failed") {
            Some((
                Some(name),
                find(scan.rest(), REASONS).unwrap_or(&CHECK_FAILED),
            ))
        } else {
            None
        };
    }
    scan.take_if("Backup ");
    if !scan.take_if("Server ") {
        return None;
    }
    let name = server_name(&mut scan)?;
    // The change begins with the space that is still there for the last words of a name.
    let change = message.get(message.len() - scan.rest().len() - 1..)?;
    let meaning = if change.starts_with(b" is UP") {
        find(change, &[("leaving", &MAINTENANCE)]).unwrap_or(&UP)
    } else {
        find(change, REASONS).or_else(|| find(change, CHANGES))?
    };
    Some((Some(name), meaning))
}

/// `backend/server `.
fn server_name<'a>(scan: &mut Scan<'a>) -> Option<&'a [u8]> {
    let name = scan.word("a backend and its server").ok()?;
    (memchr::memchr(b'/', name).is_some() && !scan.is_done()).then_some(name)
}

fn find(text: &[u8], table: &[(&str, &'static Meaning)]) -> Option<&'static Meaning> {
    let holds = |part: &str| memchr::memmem::find(text, part.as_bytes()).is_some();
    let (_, meaning) = table.iter().find(|(part, _)| holds(part))?;
    Some(meaning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::haproxy::{looks_like, parse};
    use crate::logs::testing::{MORNING_NS, assume};

    #[test]
    fn what_is_said_of_servers() {
        for (message, subject, meaning) in [
            (
                r#"Server be_shop/app1 is DOWN, reason: Layer4 connection problem, info: "Connection refused", check duration: 0ms. 1 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue."#,
                Some("be_shop/app1"),
                &REFUSED,
            ),
            (
                r#"Backup Server be_shop/app2 is DOWN, reason: Layer7 wrong status, code: 503, info: "Service Unavailable", check duration: 2ms."#,
                Some("be_shop/app2"),
                &WRONG_STATUS,
            ),
            (
                "Server be_shop/app1 is DOWN, reason: Layer4 timeout, check duration: 1001ms.",
                Some("be_shop/app1"),
                &CONNECT_TIMEOUT,
            ),
            (
                r#"Server be_shop/app1 is DOWN, reason: Layer6 invalid response, info: "SSL handshake failure""#,
                Some("be_shop/app1"),
                &TLS,
            ),
            (
                r#"Server be_shop/app1 is DOWN, reason: Layer6 timeout"#,
                Some("be_shop/app1"),
                &TLS_TIMEOUT,
            ),
            (
                "Server be_shop/app1 is DOWN, reason: Layer7 timeout, check duration: 2001ms.",
                Some("be_shop/app1"),
                &TIMEOUT,
            ),
            (
                "Server be_shop/app1 is DOWN, reason: Layer7 invalid response, info: \"\"",
                Some("be_shop/app1"),
                &INVALID,
            ),
            (
                r#"Server be_shop/app1 is DOWN, reason: Health analyze, info: "Detected 10 consecutive errors, last one was: Close from server (http)"."#,
                Some("be_shop/app1"),
                &PASSIVE,
            ),
            (
                "Server be_shop/app1 is DOWN via be_other/app1.",
                Some("be_shop/app1"),
                &DOWN,
            ),
            (
                "Server be_shop/app1 is UP, reason: Layer7 check passed, code: 200, check duration: 1ms.",
                Some("be_shop/app1"),
                &UP,
            ),
            (
                "Server be_shop/app1 is UP/READY (leaving forced maintenance).",
                Some("be_shop/app1"),
                &MAINTENANCE,
            ),
            (
                "Server be_shop/app1 is going DOWN for maintenance. 1 active and 0 backup servers left.",
                Some("be_shop/app1"),
                &MAINTENANCE,
            ),
            (
                "Server be_shop/app1 is going DOWN for maintenance (No IP for server ). 0 active",
                Some("be_shop/app1"),
                &UNRESOLVED,
            ),
            (
                "Server be_shop/app1 ('app1.example.net') is UP/READY (resolves again).",
                Some("be_shop/app1"),
                &UP,
            ),
            (
                "Health check for server be_shop/app1 failed, reason: Layer4 timeout, check duration: 9ms, status: 2/3 UP.",
                Some("be_shop/app1"),
                &CONNECT_TIMEOUT,
            ),
            (
                "Health check for backup server be_shop/app1 succeeded, reason: Layer4 check passed",
                Some("be_shop/app1"),
                &CHECK_PASSED,
            ),
            (
                "backend be_shop has no server available!",
                Some("be_shop"),
                &NO_SERVER,
            ),
            ("Stopping backend be_shop in 0 ms.", None, &RELOAD),
            ("Proxy fe_main started.", None, &RELOAD),
            (
                "Proxy fe_main stopped (cumulated conns: FE: 1, BE: 0).",
                None,
                &RELOAD,
            ),
        ] {
            let line = format!("Nov 22 07:22:07 haproxy[8486]: {message}");
            let entry = parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!(entry.meaning, Some(meaning), "{line}");
            assert_eq!(entry.upstream().as_deref(), subject, "{line}");
            assert_eq!(entry.says.as_deref(), Some(message));
            assert_eq!((entry.kind, entry.pid), (Kind::Health, Some(8486)));
            assert_eq!(entry.meaning.map(Meaning::is_failure), Some(false));
            assert_eq!(
                entry.time.map(|at| at.unix_ns - MORNING_NS),
                Some(26_527_000_000_000)
            );
            assert!(looks_like(message.as_bytes()), "{message}");
        }
    }

    #[test]
    fn what_runs_out_is_a_failure() {
        for (line, class) in [
            (
                "Connect() failed for backend be_shop: no free ports.",
                "local-port-exhausted",
            ),
            (
                "Connect() failed for backend be_shop: local address already in use.",
                "local-port-exhausted",
            ),
            (
                "Proxy fe_main reached process FD limit (maxsock=4033). Please check 'ulimit-n' and restart.",
                "local-fd-exhausted",
            ),
        ] {
            let entry = parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!(entry.meaning.map(Meaning::is_failure), Some(true), "{line}");
            assert_eq!(entry.classes(), [class]);
        }
    }

    #[test]
    fn lines_of_the_error_output() {
        for line in [
            "[WARNING]  (8045) : Server be_refuse/r1 is DOWN.",
            "[WARNING] 325/200446 (8045) : Server be_refuse/r1 is DOWN.",
            "Nov 22 20:04:46 vm haproxy[1]: [ALERT]    (8045) : Server be_refuse/r1 is DOWN.",
        ] {
            let entry = parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!(
                (entry.pid, entry.meaning),
                (Some(8045), Some(&DOWN)),
                "{line}"
            );
            assert_eq!(entry.upstream().as_deref(), Some("be_refuse/r1"));
        }
    }
}
