//! Access log of NGINX in JSON, with keys named after its variables.

use serde_json::Value;

use super::fields::{Fields, Variable};
pub(in crate::logs) use super::statuses::MEANINGS;
use crate::logs::entry::Entry;
use crate::logs::json::{names, object};
use crate::logs::scan::{ParseError, unhex};
use crate::logs::stamp::Assume;

pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    const TELLING: [&str; 5] = [
        "upstream_addr",
        "upstream_status",
        "upstream_response_time",
        "remote_addr",
        "request_time",
    ];
    names(line, &["status"]) && TELLING.iter().any(|key| names(line, &[*key]))
}

pub(in crate::logs) fn parse<'a>(
    line: &'a [u8],
    _assume: &Assume,
) -> Result<Entry<'a>, ParseError> {
    let value = match object(line) {
        Ok(value) => value,
        Err(error) => {
            let repaired = repaired(line).ok_or(error)?;
            object(&repaired).map_err(|_| error)?
        }
    };
    let mut fields = Fields::new();
    let mut any = false;
    if let Value::Object(members) = value {
        for (key, value) in members {
            let (Some(variable), Some(value)) = (Variable::named(&key), plain(value)) else {
                continue;
            };
            any = true;
            fields.set(variable, value.into());
        }
    }
    if !any {
        return Err(ParseError {
            offset: 0,
            expected: "a member named after a variable of NGINX",
        });
    }
    Ok(fields.finish())
}

fn plain(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A format without `escape=json` writes `\xHH`, which JSON does not know, and even with it bytes that
/// are no UTF-8 come as they are. `None`: neither is the case.
fn repaired(line: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(line);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let mut changed = text.as_bytes() != line;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escape) = rest.split_at(at);
        out.extend_from_slice(before);
        let used = match *escape {
            [_, b'x', high, low, ..] if unhex(high).and(unhex(low)).is_some() => {
                changed = true;
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                4
            }
            [one, other, ..] => {
                out.extend_from_slice(&[one, other]);
                2
            }
            _ => {
                out.extend_from_slice(escape);
                escape.len()
            }
        };
        rest = escape.get(used..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry, assume};

    const REFUSED: &str = r#"{"time":"2026-11-22T07:22:27+00:00","msec":"1795332147.389","connection":"1","remote_addr":"203.0.113.5","remote_port":"33178","request":"GET /cart HTTP/1.1","status":"502","bytes":"157","request_time":"0.000","upstream_addr":"192.0.2.20:9001","upstream_status":"502","upstream_connect_time":"-","upstream_header_time":"-","upstream_response_time":"0.000","upstream_bytes_received":"0","upstream_bytes_sent":"0","request_id":"8f0c","http_x_request_id":"from-client","http_traceparent":"00-ab-cd-01"}"#;

    fn read(line: &str) -> Entry<'_> {
        assert!(looks_like(line.as_bytes()), "{line}");
        parse(line.as_bytes(), &assume()).unwrap()
    }

    #[test]
    fn every_variable_has_its_place() {
        let entry = read(REFUSED);
        assert_eq!(
            entry
                .time
                .map(|at| (at.unix_ns - MORNING_NS, at.resolution_ns)),
            Some((26_547_389_000_000, 1_000_000))
        );
        assert_eq!(entry.status, Some(502));
        assert_eq!(entry.connection, Some(1));
        assert_eq!(entry.client.and_then(|client| client.port), Some(33178));
        assert_eq!(entry.path(), Some("/cart"));
        assert_eq!(entry.request_id.as_deref(), Some("from-client"));
        assert_eq!(entry.traceparent.as_deref(), Some("00-ab-cd-01"));
        assert_eq!(entry.timers.total_us, Some(0));
        let [attempt] = &entry.attempts[..] else {
            panic!("{:?}", entry.attempts);
        };
        assert_eq!(attempt.addr, "192.0.2.20:9001".parse().ok());
        assert_eq!((attempt.status, attempt.connect_us), (Some(502), None));
        assert_eq!(attempt.response_us, Some(0));
        assert_eq!(
            (attempt.sent_bytes, attempt.received_bytes),
            (Some(0), Some(0))
        );
    }

    /// Status, addr, upstream status, connect, header, received, sent; and the meaning's code.
    #[test]
    fn what_the_variables_mean_together() {
        let peer = "192.0.2.20:9001";
        for (status, addr, own, connect, header, received, sent, code) in [
            (
                "502",
                peer,
                "502",
                "-",
                "-",
                "0",
                "0",
                "502, upstream_connect_time -",
            ),
            (
                "502",
                peer,
                "502",
                "0.001",
                "-",
                "0",
                "100",
                "502, upstream_header_time -",
            ),
            (
                "502",
                peer,
                "502",
                "0.000",
                "-",
                "0",
                "0",
                "502, upstream_bytes_sent 0",
            ),
            (
                "502",
                peer,
                "502",
                "0.001",
                "-",
                "4096",
                "103",
                "502, upstream_bytes_received but no upstream_header_time",
            ),
            (
                "502",
                peer,
                "502",
                "0.001",
                "0.002",
                "180",
                "103",
                "5xx, upstream_header_time is a number",
            ),
            (
                "504",
                peer,
                "504",
                "-",
                "-",
                "0",
                "0",
                "504, upstream_connect_time -",
            ),
            (
                "504",
                peer,
                "504",
                "0.001",
                "-",
                "0",
                "100",
                "504, upstream_header_time -",
            ),
            (
                "504",
                peer,
                "504",
                "0.001",
                "9.000",
                "200",
                "100",
                "5xx, upstream_header_time is a number",
            ),
            ("500", peer, "500", "-", "-", "0", "0", "5xx made by NGINX"),
            (
                "502",
                "shop",
                "502",
                "-",
                "-",
                "0",
                "0",
                "502, upstream_addr is a group",
            ),
            (
                "502",
                "192.0.2.20:9001, shop",
                "502, 502",
                "-, -",
                "-, -",
                "0, 0",
                "0, 0",
                "502, upstream_connect_time -",
            ),
            ("502", "", "", "", "", "", "", "502, upstream_addr -"),
            ("502", "-", "-", "-", "-", "-", "-", "502, upstream_addr -"),
            ("503", "-", "-", "-", "-", "-", "-", "5xx, upstream_addr -"),
            (
                "200",
                "192.0.2.20:9031, [2001:db8::21]:9031",
                "502, 200",
                "0.000, 0.000",
                "-, 0.000",
                "0, 40",
                "75, 75",
                "a 502 or 504 in upstream_status only",
            ),
            (
                "200",
                "192.0.2.20:9031, 192.0.2.21:9031",
                "503, 200",
                "0.000, 0.000",
                "0.000, 0.000",
                "99, 40",
                "75, 75",
                "a 5xx with upstream_header_time in upstream_status only",
            ),
            (
                "200",
                "shop : 127.0.0.1:39102",
                "502 : 200",
                "- : 0.000",
                "- : 0.000",
                "0 : 43",
                "0 : 155",
                "a 502 or 504 in upstream_status only",
            ),
            (
                "502",
                "192.0.2.20:9031 : 127.0.0.1:39102",
                "502 : 200",
                "- : 0.000",
                "- : 0.000",
                "0 : 43",
                "0 : 155",
                "502, upstream_connect_time -",
            ),
            (
                "499",
                peer,
                "-",
                "-",
                "-",
                "0",
                "0",
                "499, upstream_connect_time -",
            ),
            (
                "499",
                peer,
                "-",
                "0.000",
                "-",
                "0",
                "103",
                "499, upstream_header_time -",
            ),
            (
                "499",
                peer,
                "200",
                "0.000",
                "0.001",
                "900",
                "103",
                "499, upstream_header_time is a number",
            ),
            ("499", "-", "-", "-", "-", "-", "-", "499"),
            ("009", peer, "200", "0.002", "0.002", "21", "100", "009"),
            ("200", peer, "200", "0.002", "0.002", "21", "100", ""),
            ("404", peer, "404", "0.002", "0.002", "21", "100", ""),
        ] {
            let line = format!(
                r#"{{"status":"{status}","upstream_addr":"{addr}","upstream_status":"{own}","upstream_connect_time":"{connect}","upstream_header_time":"{header}","upstream_bytes_received":"{received}","upstream_bytes_sent":"{sent}"}}"#
            );
            let entry = read(&line);
            let found = entry.meaning.map_or("", |meaning| meaning.code);
            assert_eq!(found, code, "{line}");
        }
    }

    #[test]
    fn lists_keep_their_order() {
        let entry = read(
            r#"{"status":502,"upstream_addr":"192.0.2.20:9001, unix:/run/app.sock : [2001:db8::21]:8443 : ","upstream_status":"502, 502 : 502 : ","upstream_connect_time":"-, - : 0.004 : "}"#,
        );
        let peers: Vec<_> = entry
            .attempts
            .iter()
            .map(|one| (one.name.as_deref(), one.addr.is_some(), one.connect_us))
            .collect();
        assert_eq!(
            peers,
            [
                (Some("192.0.2.20:9001"), true, None),
                (Some("unix:/run/app.sock"), false, None),
                (Some("[2001:db8::21]:8443"), true, Some(4000)),
            ]
        );
    }

    /// What is not logged is not taken for `-`.
    #[test]
    fn formats_with_fewer_variables() {
        for (line, code) in [
            (r#"{"status":"502","request_time":"0.1"}"#, "502"),
            (
                r#"{"status":"502","upstream_addr":"192.0.2.20:1","upstream_status":"502"}"#,
                "502",
            ),
            (
                r#"{"status":"502","upstream_addr":"192.0.2.20:1","upstream_header_time":"-"}"#,
                "502, phase not logged",
            ),
            (
                r#"{"status":"504","upstream_addr":"192.0.2.20:1","upstream_header_time":"-"}"#,
                "504, phase not logged",
            ),
            (
                r#"{"status":"502","upstream_addr":"-","upstream_cache_status":"HIT"}"#,
                "5xx from the cache",
            ),
        ] {
            assert_eq!(read(line).meaning.map(|one| one.code), Some(code), "{line}");
        }
    }

    #[test]
    fn unpleasant_lines() {
        let old = br#"{"status":"502","request":"GET /\x22\xC3\xA9 HTTP/1.1","upstream_addr":"-"}"#;
        let entry = parse(old, &assume()).unwrap();
        assert_eq!(entry.target.as_deref(), Some("/\"\u{c3}\u{a9}"));
        let raw = b"{\"status\":\"502\",\"request_uri\":\"/\xff\",\"upstream_addr\":\"-\"}";
        let entry = parse(raw, &assume()).unwrap();
        assert_eq!(entry.target.as_deref(), Some("/\u{fffd}"));

        let many = format!(
            r#"{{"status":"502","upstream_addr":"{}"}}"#,
            "192.0.2.20:1, ".repeat(10_000)
        );
        assert_eq!(read(&many).attempts.len(), 64);

        for line in ["", "[]", "{", r#"{"answer":42}"#, r#"{"status":}"#] {
            assert!(parse(line.as_bytes(), &assume()).is_err(), "{line}");
        }
        any_prefix_is_an_error_or_an_entry(REFUSED.as_bytes(), |line| parse(line, &assume()));
    }

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<_> = MEANINGS.iter().map(|one| one.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), MEANINGS.len());
    }
}
