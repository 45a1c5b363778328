//! The part of a request that is kept: no query string, three headers, bounded.

use super::head::request_head;
use crate::case::RequestSummary;

/// Longest path kept, bytes.
const PATH_MAX: usize = 512;
/// Longest method, host or id kept, bytes.
const FIELD_MAX: usize = 128;

/// Summarises the first bytes of a request; `None` if not even method and target can be read.
///
/// What is longer than its bound, or was cut by the capture, ends with `…`. The query string never
/// gets in: it often carries secrets.
pub fn summarise(bytes: &[u8]) -> Option<RequestSummary> {
    let head = request_head(bytes);
    let (method, target) = (head.method?, head.target?);
    let (path, cut) = path_of(target, head.target_cut);
    let text = |name| {
        head.headers
            .get(name)
            .map(|value| bounded(value, FIELD_MAX, false))
    };
    Some(RequestSummary {
        method: bounded(method, FIELD_MAX, false),
        path: bounded(path, PATH_MAX, cut),
        protocol: bounded(head.version.unwrap_or_default(), FIELD_MAX, false),
        host: text("host"),
        request_id: text("x-request-id"),
        traceparent: head
            .headers
            .get("traceparent")
            .filter(|value| is_traceparent(value))
            .map(|value| bounded(value, FIELD_MAX, false)),
    })
}

/// The path of a target, and whether it is cut.
fn path_of(target: &[u8], target_cut: bool) -> (&[u8], bool) {
    let stop = target.iter().position(|b| matches!(b, b'?' | b'#'));
    let (path, cut) = match stop {
        Some(stop) => (&target[..stop], false),
        None => (target, target_cut),
    };
    // Absolute form (`http://user@host/path`): scheme and authority are not the path.
    let scheme = path.windows(3).position(|w| w == b"://");
    let Some(scheme) = scheme.filter(|at| path[..*at].iter().all(u8::is_ascii_alphanumeric)) else {
        return (path, cut);
    };
    let authority = &path[scheme + 3..];
    match authority.iter().position(|b| *b == b'/') {
        Some(slash) => (&authority[slash..], cut),
        None => (b"/", cut),
    }
}

fn bounded(bytes: &[u8], max: usize, cut: bool) -> String {
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(max)]).into_owned();
    // A replacement character takes three bytes where one stood.
    while text.len() > max {
        text.pop();
    }
    if cut || bytes.len() > max {
        text.push('…');
    }
    text
}

/// Is this a `traceparent` value by the grammar of W3C Trace Context, section 3.2?
///
/// Version 00 has exactly four fields; a later version may append more. Version `ff`, a trace id of
/// zeros and a parent id of zeros are not valid, and letters are lower case.
pub fn is_traceparent(value: &[u8]) -> bool {
    let hex = |field: &[u8]| field.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |field: &[u8]| field.iter().all(|b| *b == b'0');
    let mut fields = value.splitn(5, |b| *b == b'-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return false;
    };
    let more = fields.next().is_some();
    version.len() == 2
        && hex(version)
        && version != b"ff"
        && trace.len() == 32
        && hex(trace)
        && !zero(trace)
        && parent.len() == 16
        && hex(parent)
        && !zero(parent)
        && flags.len() == 2
        && hex(flags)
        && !(more && version == b"00")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn keeps_what_is_allowed_and_nothing_else() {
        let head = format!(
            "POST /pay?card=4111#x HTTP/1.1\r\nHost: shop.example\r\nCookie: secret\r\n\
             Authorization: secret\r\nX-Request-ID: r-1\r\nTraceParent: {TRACE}\r\n\r\nsecret"
        );
        let summary = summarise(head.as_bytes()).unwrap();
        assert_eq!(
            summary,
            RequestSummary {
                method: "POST".into(),
                path: "/pay".into(),
                protocol: "HTTP/1.1".into(),
                host: Some("shop.example".into()),
                request_id: Some("r-1".into()),
                traceparent: Some(TRACE.into()),
            }
        );
        assert!(!format!("{summary:?}").contains("secret"));
    }

    #[test]
    fn paths() {
        for (line, want) in [
            ("GET / HTTP/1.1\r\n", "/"),
            ("GET /a?b HTTP/1.1\r\n", "/a"),
            ("GET /a#b HTTP/1.1\r\n", "/a"),
            ("GET ? HTTP/1.1\r\n", ""),
            ("GET http://u:p@h/a/b?c HTTP/1.1\r\n", "/a/b"),
            ("GET http://h HTTP/1.1\r\n", "/"),
            ("GET https://h?token=1 HTTP/1.1\r\n", "/"),
            ("GET /to?u=http://h/x HTTP/1.1\r\n", "/to"),
            ("GET /to/http://h/x HTTP/1.1\r\n", "/to/http://h/x"),
            ("OPTIONS * HTTP/1.1\r\n", "*"),
            ("CONNECT h:443 HTTP/1.1\r\n", "h:443"),
            ("GET /cut-here", "/cut-here…"),
            ("GET /cut?secr", "/cut"),
            ("GET http://user:pass", "/…"),
        ] {
            assert_eq!(summarise(line.as_bytes()).unwrap().path, want, "{line:?}");
        }
    }

    #[test]
    fn long_and_binary_fields_are_bounded() {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64 * 1024));
        let path = summarise(long.as_bytes()).unwrap().path;
        assert_eq!(path.chars().count(), PATH_MAX + 1);
        assert!(path.ends_with('…'));

        let mut binary = b"GET /".to_vec();
        binary.extend([0xff; 700]);
        binary.extend(b" HTTP/1.1\r\n\r\n");
        let path = summarise(&binary).unwrap().path;
        assert!(path.len() <= PATH_MAX + '…'.len_utf8(), "{}", path.len());

        for garbage in [&b""[..], b"GET", b"\x16\x03\x01", b"GET ", b"\0\0\0\0"] {
            assert_eq!(summarise(garbage), None);
        }
    }

    #[test]
    fn traceparents() {
        for (value, want) in [
            (TRACE, true),
            (
                "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
                true,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
                false,
            ),
            (
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                false,
            ),
            (
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(is_traceparent(value.as_bytes()), want, "{value}");
        }
    }
}
