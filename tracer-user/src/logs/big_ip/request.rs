//! Request logging: the layout is free, but `key="value"` with F5's own names for the keys is what its
//! templates use, and the names of the template's variables are close to them.

use jiff::fmt::rfc2822;

use crate::logs::entry::{Entry, Kind, LogAttempt, Peer, System};
use crate::logs::meaning::{Blame, Meaning};
use crate::logs::scan::{ParseError, Scan, known, number, status, text};
use crate::logs::stamp::{Stamp, rfc3339};

use super::address::ip;

static PASSED: Meaning = Meaning {
    code: "5xx in the request log",
    text: "A response with this status went through BIG-IP. It does not make one itself when a pool \
           member fails (it resets the client), so this is the application's own answer, or that of an \
           iRule or a fallback host.",
    classes: &["application-502"],
    blame: Blame::Application,
};

pub(super) static MEANINGS: &[&Meaning] = &[&PASSED];

/// Keys of which one is in every such line. A key stands alone or behind a space or comma.
const MARKS: [&[u8]; 4] = [
    b"event_source=\"",
    b"http_statcode=\"",
    b"virtual_name=\"",
    b"virtual_pool_name=\"",
];
const SECOND_NS: u64 = 1_000_000_000;

pub(super) fn looks_like(body: &[u8]) -> bool {
    let key = body.iter().take_while(|byte| is_key(**byte)).count();
    key > 0
        && body.get(key..).is_some_and(|rest| rest.starts_with(b"=\""))
        && MARKS
            .iter()
            .any(|mark| memchr::memmem::find(body, mark).is_some())
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Parts of addresses that stand in keys of their own.
#[derive(Default)]
struct Ends<'a> {
    client: (Option<&'a [u8]>, Option<u16>),
    server: (Option<&'a [u8]>, Option<u16>),
    snat: (Option<&'a [u8]>, Option<u16>),
    query: Option<&'a [u8]>,
    pool: Option<&'a [u8]>,
    response_us: Option<u64>,
}

pub(super) fn parse(mut scan: Scan<'_>) -> Result<Entry<'_>, ParseError> {
    let mut entry = Entry::new(System::BigIp, Kind::Access);
    let mut ends = Ends::default();
    while !scan.is_done() {
        let rest = scan.rest();
        let key = rest.iter().take_while(|byte| is_key(**byte)).count();
        let name = rest.get(..key).unwrap_or_default();
        scan.skip(key);
        scan.expect("=")?;
        let value = scan.quoted("a value in quotes")?;
        take(&mut entry, &mut ends, name, value);
        while scan.take_if(",") || scan.take_if(" ") {}
    }
    finish(&mut entry, &ends);
    Ok(entry)
}

fn take<'a>(entry: &mut Entry<'a>, ends: &mut Ends<'a>, key: &[u8], value: &'a [u8]) {
    let ms = |value| number::<u64>(value)?.checked_mul(1000);
    match key.to_ascii_lowercase().as_slice() {
        b"client_ip" => ends.client.0 = Some(value),
        b"client_port" => ends.client.1 = number(value),
        b"server_ip" => ends.server.0 = Some(value),
        b"server_port" => ends.server.1 = number(value),
        b"snat_ip" => ends.snat.0 = Some(value),
        b"snat_port" => ends.snat.1 = number(value),
        b"http_method" => entry.method = known(value),
        b"http_uri" => entry.target = known(value),
        b"http_path" if entry.target.is_none() => entry.target = known(value),
        b"http_query" => ends.query = Some(value),
        b"http_version" => entry.protocol = known(value),
        b"http_host" | b"host" => entry.host = known(value),
        b"http_statcode" | b"http_status_code" => entry.status = status(value),
        b"http_status" if entry.status.is_none() => {
            let code = value.split(|byte| *byte == b' ').next();
            entry.status = code.and_then(status);
        }
        b"response_ms" | b"response_msecs" => ends.response_us = ms(value),
        b"response_usecs" => ends.response_us = number(value),
        b"virtual_pool_name" | b"pool_name" => ends.pool = Some(value),
        b"x_request_id" | b"x-request-id" | b"request_id" => entry.request_id = known(value),
        b"traceparent" => entry.traceparent = known(value),
        b"event_timestamp" => entry.time = time(&text(value)),
        _ => {}
    }
}

fn finish<'a>(entry: &mut Entry<'a>, ends: &Ends<'a>) {
    let parsed = |end: (Option<&[u8]>, Option<u16>)| Some((ip(&text(end.0?))?, end.1));
    entry.client = parsed(ends.client).map(|(ip, port)| Peer { ip, port });
    entry.timers.response_us = ends.response_us;
    let both = |(ip, port): (_, Option<u16>)| Some((ip, port?).into());
    let server = parsed(ends.server);
    let name = ends.server.0.or(ends.pool).and_then(known);
    if name.is_some() {
        entry.attempts.push(LogAttempt {
            name,
            addr: server.and_then(both),
            ip: server.map(|(ip, _)| ip),
            local: parsed(ends.snat).and_then(both),
            local_port: ends.snat.1,
            status: entry.status,
            response_us: ends.response_us,
            ..LogAttempt::default()
        });
    }
    if let (Some(path), Some(query)) = (&mut entry.target, ends.query.and_then(known))
        && !path.contains('?')
    {
        *path = format!("{path}?{query}").into();
    }
    let failed = entry.status.filter(|status| *status >= 500);
    entry.meaning = failed.map(|_| &PASSED);
}

/// `Sun, 22 Nov 2026 07:31:02 GMT`.
fn time(value: &str) -> Option<Stamp> {
    let Ok(at) = rfc2822::parse(value) else {
        return rfc3339(value);
    };
    Some(Stamp {
        unix_ns: i64::try_from(at.timestamp().as_nanosecond()).ok()?,
        resolution_ns: SECOND_NS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::big_ip::{looks_like, parse};
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry, assume};

    const LINE: &str = r#"event_source="response_logging",hostname="bigip-a.example.net",client_ip="203.0.113.5",server_ip="192.0.2.20",http_method="GET",http_uri="/cart",virtual_name="/Common/vs_web",event_timestamp="Sun, 22 Nov 2026 07:31:02 GMT",http_statcode="502",http_status="502 Bad Gateway",response_ms="734""#;

    #[test]
    fn a_response_that_went_through() {
        assert!(looks_like(LINE.as_bytes()));
        let entry = parse(LINE.as_bytes(), &assume()).unwrap();
        assert_eq!((entry.status, entry.path()), (Some(502), Some("/cart")));
        assert_eq!(entry.meaning, Some(&PASSED));
        assert_eq!(entry.attempts[0].ip, "192.0.2.20".parse().ok());
        assert_eq!(entry.attempts[0].addr, None);
        assert_eq!(entry.timers.response_us, Some(734_000));
        assert_eq!(
            entry.time.map(|at| at.unix_ns - MORNING_NS),
            Some(27_062_000_000_000)
        );
        any_prefix_is_an_error_or_an_entry(LINE.as_bytes(), |line| parse(line, &assume()));
    }

    #[test]
    fn both_ends_behind_a_prefix() {
        let line = br#"<14>Nov 22 07:31:02 bigip-a response[12]: snat_ip="192.0.2.10",snat_port="33210",server_ip="192.0.2.20%1",server_port="8080",http_path="/a",http_query="b=\"c",http_status="200 OK",virtual_name="v",client_ip="203.0.113.5",client_port="4""#;
        let entry = parse(line, &assume()).unwrap();
        let attempt = &entry.attempts[0];
        assert_eq!(attempt.addr, "192.0.2.20:8080".parse().ok());
        assert_eq!(attempt.local, "192.0.2.10:33210".parse().ok());
        assert_eq!(entry.path(), Some("/a"));
        assert_eq!((entry.status, entry.meaning), (Some(200), None));
        assert_eq!(entry.client.and_then(|client| client.port), Some(4));
        assert!(entry.time.is_some());
    }

    #[test]
    fn lines_of_others() {
        for line in [
            r#"key="value",other="event_source""#,
            r#"{"virtual_name":"x"}"#,
            r#"level=error msg="virtual_name=""#,
        ] {
            assert!(!looks_like(line.as_bytes()), "{line}");
        }
        let error = parse(br#"virtual_name="a",junk"#, &assume()).unwrap_err();
        assert_eq!((error.offset, error.expected), (21, "="));
    }
}
