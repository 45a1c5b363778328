//! `option tcplog`, and what a `log-format` appends to it: `Tw/Tc/Tt B ts ac/fc/bc/sc/rc sq/bq`.

use crate::logs::entry::Entry;
use crate::logs::scan::{ParseError, Scan, number};

use super::extra::Extra;
use super::head::Head;
use super::session::{End, Retries, Route, Times, entry, ms_as_us};

pub(super) fn parse<'a>(
    head: &Head<'a>,
    route: &Route<'a>,
    timers: &'a [u8],
    mut scan: Scan<'a>,
) -> Result<Entry<'a>, ParseError> {
    let mut timers = timers.split(|byte| *byte == b'/').map(ms_as_us);
    let mut next = || timers.next().flatten();
    let times = Times {
        queue_us: next(),
        connect_us: next(),
        header_us: None,
        total_us: next(),
    };
    let bytes = scan.word("the number of bytes")?;
    let before_state = scan.clone();
    let state = scan.word("a termination state")?;
    if state.len() != 2 {
        return Err(before_state.error("a termination state of two characters"));
    }
    let connections = scan.word("the numbers of connections")?;
    let mut extra = Extra::default();
    extra.read_pairs(scan.rest());
    let end = End {
        status: None,
        state,
        retries: Retries::of(connections),
        bytes_received: number(bytes.strip_prefix(b"+").unwrap_or(bytes)),
        is_http: false,
    };
    Ok(entry(head, route, &times, &end, extra))
}

#[cfg(test)]
mod tests {
    use crate::logs::haproxy::parse;
    use crate::logs::testing::{MORNING_NS, assume};

    #[test]
    fn sessions() {
        for (end, says, connect_us, bytes) in [
            ("1/-1/1001 0 SC 1/1/0/0/1 0/0", Some("SC"), None, Some(0)),
            ("1/0/1001 40 -- 1/1/0/0/0 0/0", None, Some(0), Some(40)),
            (
                "1/2/1001 +9 sD 1/1/0/0/0 0/0",
                Some("sD"),
                Some(2_000),
                Some(9),
            ),
        ] {
            let line = format!("127.0.0.1:50718 [22/Nov/2026:07:00:00.578] tcp1 tcp1/t1 {end}");
            let entry = parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!(entry.says.as_deref(), says, "{line}");
            assert_eq!(entry.timers.connect_us, connect_us);
            assert_eq!(entry.attempts[0].received_bytes, bytes);
            assert_eq!(entry.upstream().as_deref(), Some("tcp1/t1"));
            assert_eq!(
                entry.time.map(|at| (at.unix_ns - MORNING_NS) / 1_000_000),
                Some(25_201_579)
            );
        }
    }

    #[test]
    fn both_ends() {
        let line = b"127.0.0.1:5 [22/Nov/2026:07:00:00.578] t t/t1 1/0/9 0 SD 1/1/0/0/0 0/0 src=192.0.2.10:4 dst=192.0.2.20:5";
        let entry = parse(line, &assume()).unwrap();
        assert_eq!(entry.upstream().as_deref(), Some("192.0.2.20:5"));
        assert_eq!(entry.attempts[0].local, "192.0.2.10:4".parse().ok());
    }
}
