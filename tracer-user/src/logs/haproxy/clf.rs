//! `option httplog clf`: begins like the "combined" form of other servers and goes on with what
//! HAProxy knows:
//! `%{+Q}o %{-Q}ci - - [%trg] %r %ST %B "" "" %cp %ms %ft %b %s %TR %Tw %Tc %Tr %Ta %tsc %ac %fc %bc %sc %rc %sq %bq %CC %CS %hrl %hsl`.

use crate::logs::entry::{Entry, Kind, System, peer};
use crate::logs::scan::{ParseError, Scan, number, status, text};
use crate::logs::stamp::{Stamp, clf};

use super::extra::Extra;
use super::http::read_request;
use super::session::{End, NO_SERVER, Retries, Route, Times, ended, finish, ms_as_us};

const NS_PER_MS: i64 = 1_000_000;
/// Fields in quotes before the client's port: request, two of "combined".
const BETWEEN: &[u8] = br#" "" "" "#;

/// The two empty fields and the port behind them are HAProxy's alone.
pub(super) fn looks_like(body: &[u8]) -> bool {
    let begins = || {
        let mut scan = Scan::new(body);
        scan.word("the client").ok()?;
        scan.take_if("- - [").then_some(())
    };
    begins().is_some()
        && memchr::memmem::find(body, BETWEEN).is_some_and(|at| {
            let mut scan = Scan::new(body.get(at + BETWEEN.len()..).unwrap_or_default());
            let numbers = [scan.word("the port"), scan.word("milliseconds")];
            let all = numbers.iter().all(|word| {
                word.as_ref()
                    .is_ok_and(|word| number::<u16>(word).is_some())
            });
            all && scan.rest().starts_with(b"\"")
        })
}

pub(super) fn parse(mut scan: Scan<'_>) -> Result<Entry<'_>, ParseError> {
    let mut entry = Entry::new(System::Haproxy, Kind::Access);
    entry.client = peer(&text(scan.word("the client")?));
    scan.expect("- - [")?;
    let before_time = scan.clone();
    let started = clf(&text(scan.until(b']', "the end of the time")?))
        .ok_or_else(|| before_time.error("a time like 22/Nov/2026:07:25:35 +0000"))?;
    scan.expect(" \"")?;
    let request = scan.until(b'"', "the closing quote")?;
    scan.expect(" ")?;
    let sent = status(scan.word("a status")?);
    let bytes = number(scan.word("the number of bytes")?);
    scan.expect("\"\" \"\" ")?;
    let port = number(scan.word("the client's port")?);
    let ms = number::<i64>(scan.word("milliseconds")?);
    let _frontend = scan.field("the frontend")?;
    let backend = scan.field("the backend")?;
    let server = scan.field("the server")?;
    let mut timer = || scan.word("a timer").map(ms_as_us);
    let _request = timer()?;
    let times = Times {
        queue_us: timer()?,
        connect_us: timer()?,
        header_us: timer()?,
        total_us: timer()?,
    };
    let before_state = scan.clone();
    let state = scan.word("a termination state")?;
    if state.len() != 4 {
        return Err(before_state.error("a termination state of four characters"));
    }
    for _ in 0..4 {
        scan.word("a number of connections")?;
    }
    let retries = Retries::of(scan.word("the number of retries")?);
    let mut extra = Extra::default();
    extra.read_captures(scan.rest());

    // Seconds stand in the time, ms in a field of their own.
    let started = match ms.filter(|ms| (0..1000).contains(ms)) {
        Some(ms) => Stamp {
            unix_ns: started.unix_ns.saturating_add(ms * NS_PER_MS),
            resolution_ns: NS_PER_MS.unsigned_abs(),
        },
        None => started,
    };
    entry.started = Some(started);
    entry.time = ended(started, times.total_us);
    if let Some(client) = &mut entry.client {
        client.port = port;
    }
    let route = Route {
        name: format!("{}/{}", text(backend), text(server)).into(),
        no_server: server == NO_SERVER,
    };
    let end = End {
        status: sent,
        state,
        retries,
        bytes_received: bytes,
        is_http: true,
    };
    finish(&mut entry, &route, &times, &end, extra);
    read_request(&mut entry, request);
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::haproxy::parse;
    use crate::logs::testing::{MORNING_NS, assume};

    #[test]
    fn a_line_that_looks_combined() {
        let line = br#"<134>Nov 22 20:04:56 vm haproxy[8045]: 127.0.0.1 - - [22/Nov/2026:07:00:00 +0000] "GET /fin HTTP/1.1" 502 209 "" "" 59174 784 "fe_clf" "be_shop" "app1" 0 0 0 -1 6 SH-- 1 1 0 0 0 0 0 "" "" "#;
        let entry = parse(line, &assume()).unwrap();
        assert_eq!((entry.status, entry.path()), (Some(502), Some("/fin")));
        assert_eq!(entry.upstream().as_deref(), Some("be_shop/app1"));
        assert_eq!(entry.client.and_then(|client| client.port), Some(59174));
        let ms = |at: Option<Stamp>| at.map(|at| (at.unix_ns - MORNING_NS) / NS_PER_MS);
        assert_eq!(ms(entry.started), Some(25_200_784));
        assert_eq!(ms(entry.time), Some(25_200_790));
        assert_eq!(entry.says.as_deref(), Some("SH--"));
    }

    #[test]
    fn combined_lines_of_others() {
        for line in [
            r#"127.0.0.1 - - [22/Nov/2026:07:00:00 +0000] "GET / HTTP/1.1" 502 209 "-" "curl""#,
            r#"127.0.0.1 - - [22/Nov/2026:07:00:00 +0000] "GET / HTTP/1.1" 502 209 "" """#,
            r#"127.0.0.1 - - [22/Nov/2026:07:00:00 +0000] "GET / HTTP/1.1" 502 209 "" "" 1.25 0.1"#,
        ] {
            assert!(!looks_like(line.as_bytes()), "{line}");
        }
    }
}
