//! What stands out in a request or a response: the facts that rules about heads and bodies rest on.
//!
//! Everything is read from the first bytes, which may be cut anywhere and of which values and bodies
//! may be masked; names, framing and control characters are as they were sent.

use super::chunks::{self, Scan};
use super::head::{final_response_head, request_head};
use super::headers::{ContentLength, End, Headers, is_token};

/// Longest token that is kept of a header value, characters.
const TOKEN_MAX: usize = 40;

/// What a response begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum First {
    /// Nothing was kept.
    #[default]
    Unknown,
    /// `HTTP/`.
    Http,
    /// An HTTP/2 frame that opens or ends a connection (RFC 9113, 4.1).
    Http2(Http2Frame),
    /// A TLS record (RFC 8446, 5.1).
    Tls,
    /// Printable text.
    Text,
    /// Anything else.
    Binary,
}

/// Frames that an HTTP/2 server sends of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Frame {
    /// SETTINGS (RFC 9113, 6.5): the first frame of every server.
    Settings,
    /// GOAWAY (RFC 9113, 6.8).
    GoAway,
}

/// How far the head of the final response came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Head {
    /// It has not begun, or what came is no HTTP/1.x.
    #[default]
    Absent,
    /// It has begun; every byte is at hand and its end is not among them.
    Cut,
    /// It has begun, and more came than was kept, all of which is still head.
    Beyond,
    /// Its end is at hand.
    Whole {
        /// Bytes from the first of the response (interim heads included) to the blank line's end.
        len: u64,
    },
    /// It is not HTTP/1.x.
    Malformed,
}

/// A fault of a response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Offset within the response, bytes.
    pub offset: u64,
    /// What is wrong there.
    pub kind: FaultKind,
}

/// What is wrong with a head (RFC 9112, 2.2, 4 and 5; RFC 9110, 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The first line is no status line.
    StatusLine,
    /// A NUL.
    Nul,
    /// Another control character.
    Control(u8),
    /// A carriage return without a line feed.
    BareCr,
    /// A blank within, before or behind a header's name.
    BlankInName,
    /// Another character that a name may not have.
    BadName(u8),
    /// A header line without a colon.
    NoColon,
}

/// Lines about the body's length that contradict each other, or that nobody understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FramingFault {
    /// Two different `content-length` values.
    TwoLengths,
    /// A `content-length` that is no number.
    InvalidLength,
    /// The same `content-length` on several lines.
    RepeatedLength,
    /// `content-length` and `transfer-encoding`.
    LengthAndCoding,
    /// A transfer coding that is not registered.
    UnknownCoding(String),
}

/// What stands out in a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseFacts {
    /// Bytes at hand.
    pub kept: u64,
    /// What it begins with.
    pub first: First,
    /// Interim (1xx) heads among the bytes at hand.
    pub interim: u32,
    /// How far the final head came.
    pub head: Head,
    /// Header lines of the final head among the bytes at hand.
    pub fields: u32,
    /// The first fault of the head.
    pub fault: Option<Fault>,
    /// Contradicting lines about the body's length.
    pub framing: Option<FramingFault>,
    /// Offset within the response of the first chunk-size line (or chunk end) that is none.
    pub bad_chunk: Option<u64>,
    /// Bytes behind the end of a complete response.
    pub surplus: u64,
}

/// What a request asks for, as far as the backend's answer is to be judged by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// It is the preface of an HTTP/2 connection (RFC 9113, 3.4).
    pub http2: bool,
    /// The protocol that it wants to change to.
    pub upgrade: Option<String>,
    /// Bytes of its head, when all of it is at hand.
    pub head_len: Option<u64>,
    /// Its declared body length.
    pub content_length: Option<u64>,
    /// Its body is chunked.
    pub chunked: bool,
}

impl RequestFacts {
    /// Bytes of the whole request, where it declares its length.
    pub fn total(&self) -> Option<u64> {
        self.head_len?.checked_add(self.content_length?)
    }
}

/// Reads the first bytes of a request.
pub fn inspect_request(bytes: &[u8]) -> RequestFacts {
    let head = request_head(bytes);
    let head_len = match head.end {
        End::Complete { head_len } => Some(head_len as u64),
        End::Cut | End::Malformed { .. } => None,
    };
    let upgrade = head.headers.get("upgrade").filter(|_| {
        // Without it the header means nothing (RFC 9110, 7.8); in the part that was cut it may stand.
        head.headers.connection_has("upgrade") || head_len.is_none()
    });
    RequestFacts {
        http2: head.method == Some(b"PRI") && head.version == Some(b"HTTP/2.0"),
        upgrade: upgrade.map(token),
        head_len,
        content_length: match head.headers.content_length() {
            ContentLength::Known(length) => Some(length),
            ContentLength::Absent | ContentLength::Conflict | ContentLength::Invalid => None,
        },
        chunked: head.headers.chunked() == Some(true),
    }
}

/// Reads the first bytes of a response of which `received` bytes came. `no_body`: the request was
/// HEAD.
pub fn inspect_response(bytes: &[u8], received: u64, head_request: bool) -> ResponseFacts {
    let mut facts = ResponseFacts {
        kept: bytes.len() as u64,
        first: first(bytes),
        ..ResponseFacts::default()
    };
    let more = received > facts.kept;
    if !matches!(facts.first, First::Http) {
        let text = matches!(facts.first, First::Text);
        // Four bytes may be all that came of "HTTP/1.1".
        let may_be_http = b"HTTP/".starts_with(&bytes[..bytes.len().min(5)]);
        if text && !may_be_http {
            facts.head = Head::Malformed;
            facts.fault = Some(Fault {
                offset: 0,
                kind: FaultKind::StatusLine,
            });
        }
        return facts;
    }
    let (head, interim) = final_response_head(bytes);
    facts.interim = interim as u32;
    facts.fields = head.headers.iter().count() as u32;
    let begun = head.version.is_some() || interim == 0;
    match head.end {
        End::Cut if more => facts.head = Head::Beyond,
        End::Cut if begun => facts.head = Head::Cut,
        End::Cut => {}
        End::Malformed { offset } => {
            facts.head = Head::Malformed;
            facts.fault = Some(fault(bytes, offset));
        }
        End::Complete { head_len } => {
            facts.head = Head::Whole {
                len: head_len as u64,
            };
            facts.fault = odd_version(head.version).or_else(|| odd_value(&bytes[..head_len]));
            facts.framing = framing(head.headers);
            let status = head.status.unwrap_or(0);
            body(
                &mut facts,
                &Body {
                    headers: head.headers,
                    bytes,
                    head_len,
                    received,
                    none: head_request || matches!(status, 204 | 304),
                    // What follows is another protocol.
                    other: status == 101,
                },
            );
        }
    }
    facts
}

struct Body<'a> {
    headers: Headers<'a>,
    bytes: &'a [u8],
    head_len: usize,
    received: u64,
    none: bool,
    other: bool,
}

fn body(facts: &mut ResponseFacts, body: &Body<'_>) {
    if body.other {
        return;
    }
    let received = body.received.saturating_sub(body.head_len as u64);
    if body.none {
        facts.surplus = received;
    } else if body.headers.chunked() == Some(true) {
        let kept = body.bytes.get(body.head_len..).unwrap_or_default();
        match chunks::scan(kept) {
            Scan::Bad { offset } => facts.bad_chunk = Some((body.head_len + offset) as u64),
            Scan::End { len } => facts.surplus = received.saturating_sub(len as u64),
            Scan::Open => {}
        }
    } else if body.headers.chunked().is_none()
        && let ContentLength::Known(length) = body.headers.content_length()
    {
        facts.surplus = received.saturating_sub(length);
    }
}

fn first(bytes: &[u8]) -> First {
    match bytes {
        [] => First::Unknown,
        [b'H', b'T', b'T', b'P', b'/', ..] => First::Http,
        // Length below the smallest limit of a frame, type, flags (ACK at most), stream 0.
        [0, len, _, 4, 0 | 1, 0, 0, 0, 0, ..] if *len <= 0x40 => First::Http2(Http2Frame::Settings),
        [0, len, _, 7, 0, 0, 0, 0, 0, ..] if *len <= 0x40 => First::Http2(Http2Frame::GoAway),
        [0x14..=0x17, 3, 0..=4, ..] => First::Tls,
        _ if bytes
            .iter()
            .take(16)
            .all(|b| matches!(b, b'\t' | b'\r' | b'\n' | b' '..=b'~')) =>
        {
            First::Text
        }
        _ => First::Binary,
    }
}

/// Names what does not fit at `offset`.
fn fault(bytes: &[u8], offset: usize) -> Fault {
    let before = bytes.get(..offset).unwrap_or_default();
    let line_start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    let line = bytes.get(line_start..).unwrap_or_default();
    let byte = bytes.get(offset).copied().unwrap_or(0);
    let kind = match byte {
        0 => FaultKind::Nul,
        // A status line where a header was to come is an odd name, not a status line.
        _ if line_start == 0 || line.starts_with(b"HTTP/") => FaultKind::StatusLine,
        b'\r' if bytes.get(offset + 1) != Some(&b'\n') => FaultKind::BareCr,
        b' ' | b'\t' => FaultKind::BlankInName,
        _ if byte.is_ascii_control() => FaultKind::Control(byte),
        _ if offset == line_start && is_token(byte) => FaultKind::NoColon,
        _ => FaultKind::BadName(byte),
    };
    Fault {
        offset: offset as u64,
        kind,
    }
}

/// A major version other than 1: HTTP/2 and later have no status line.
fn odd_version(version: Option<&[u8]>) -> Option<Fault> {
    const MAJOR: usize = b"HTTP/".len();
    let major = *version?.get(MAJOR)?;
    (major != b'1').then_some(Fault {
        offset: MAJOR as u64,
        kind: FaultKind::StatusLine,
    })
}

/// A control character where a complete head has a value.
fn odd_value(head: &[u8]) -> Option<Fault> {
    let odd = |at: usize, byte: u8| match byte {
        b'\r' => (head.get(at + 1) != Some(&b'\n')).then_some(FaultKind::BareCr),
        b'\t' | b'\n' => None,
        _ if byte.is_ascii_control() => Some(FaultKind::Control(byte)),
        _ => None,
    };
    head.iter().enumerate().find_map(|(at, byte)| {
        Some(Fault {
            offset: at as u64,
            kind: odd(at, *byte)?,
        })
    })
}

/// Transfer codings that are registered (RFC 9112, 7 and 12.1).
const CODINGS: [&str; 7] = [
    "chunked",
    "gzip",
    "x-gzip",
    "deflate",
    "compress",
    "x-compress",
    "identity",
];

fn framing(headers: Headers<'_>) -> Option<FramingFault> {
    let lengths = headers.all("content-length").count();
    let unknown = headers.list("transfer-encoding").find(|coding| {
        let name = coding.split(|b| *b == b';').next().unwrap_or_default();
        !CODINGS
            .iter()
            .any(|known| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes()))
    });
    match headers.content_length() {
        _ if unknown.is_some() => unknown.map(|name| FramingFault::UnknownCoding(token(name))),
        ContentLength::Conflict => Some(FramingFault::TwoLengths),
        ContentLength::Invalid => Some(FramingFault::InvalidLength),
        ContentLength::Known(_) if headers.chunked().is_some() => {
            Some(FramingFault::LengthAndCoding)
        }
        ContentLength::Known(_) if lengths > 1 => Some(FramingFault::RepeatedLength),
        ContentLength::Known(_) | ContentLength::Absent => None,
    }
}

/// A header value as a short printable text.
fn token(value: &[u8]) -> String {
    crate::printable::printable(&String::from_utf8_lossy(value), TOKEN_MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> ResponseFacts {
        inspect_response(text.as_bytes(), text.len() as u64, false)
    }

    #[test]
    fn first_bytes() {
        for (bytes, want) in [
            (&b""[..], First::Unknown),
            (b"HTTP/1.1 200", First::Http),
            (
                b"\0\0\x12\x04\0\0\0\0\0\0\x03",
                First::Http2(Http2Frame::Settings),
            ),
            (
                b"\0\0\x08\x07\0\0\0\0\0\0\0",
                First::Http2(Http2Frame::GoAway),
            ),
            (b"\0\0\x12\x04\0\0\0\0", First::Binary),
            (b"\x15\x03\x03\0\x02\x02\x28", First::Tls),
            (b"SSH-2.0-x\r\n", First::Text),
            (b"\xff\xfe", First::Binary),
        ] {
            assert_eq!(first(bytes), want, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn heads_and_their_faults() {
        let bad = |offset, kind| (Head::Malformed, Some(Fault { offset, kind }));
        for (text, want) in [
            ("HTT", (Head::Absent, None)),
            ("HELLO\r\n", bad(0, FaultKind::StatusLine)),
            ("HTTP/1.1 2x0 OK\r\n", bad(10, FaultKind::StatusLine)),
            ("HTTP/1.1 200 O\0K\r\n", bad(14, FaultKind::Nul)),
            ("HTTP/1.1 200 OK\r\nA", (Head::Cut, None)),
            (
                "HTTP/1.1 200 OK\r\nA b: c\r\n",
                bad(18, FaultKind::BlankInName),
            ),
            (
                "HTTP/1.1 200 OK\r\nA : c\r\n",
                bad(18, FaultKind::BlankInName),
            ),
            (
                "HTTP/1.1 200 OK\r\nA\x01: c\r\n",
                bad(18, FaultKind::Control(1)),
            ),
            ("HTTP/1.1 200 OK\r\nA\rB: c\r\n", bad(18, FaultKind::BareCr)),
            (
                "HTTP/1.1 200 OK\r\nA(: c\r\n",
                bad(18, FaultKind::BadName(b'(')),
            ),
            (
                "HTTP/1.1 200 OK\r\nnothing\r\n",
                bad(17, FaultKind::NoColon),
            ),
            ("HTTP/1.1 200 OK\r\nA: \0\r\n", bad(20, FaultKind::Nul)),
            (
                "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
                (
                    Head::Whole { len: 27 },
                    Some(Fault {
                        offset: 21,
                        kind: FaultKind::BareCr,
                    }),
                ),
            ),
            (
                "HTTP/1.1 200 OK\r\nA: \x07\r\n\r\n",
                (
                    Head::Whole { len: 25 },
                    Some(Fault {
                        offset: 20,
                        kind: FaultKind::Control(7),
                    }),
                ),
            ),
            (
                "HTTP/1.1 200 OK\r\nA:\tb\r\n\r\n",
                (Head::Whole { len: 25 }, None),
            ),
            (
                "HTTP/9.9 200 OK\r\n\r\n",
                (
                    Head::Whole { len: 19 },
                    Some(Fault {
                        offset: 5,
                        kind: FaultKind::StatusLine,
                    }),
                ),
            ),
            ("HTTP/1.1 100 Continue\r\n\r\n", (Head::Absent, None)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2", (Head::Cut, None)),
        ] {
            let got = response(text);
            assert_eq!((got.head, got.fault), want, "{text:?}");
        }
        let cut = inspect_response(b"HTTP/1.1 200 OK\r\nA: b", 4096, false);
        assert_eq!((cut.head, cut.kept), (Head::Beyond, 21));
        assert_eq!(response("HTTP/1.1 103 X\r\n\r\n").interim, 1);
    }

    #[test]
    fn contradicting_lengths() {
        for (lines, want) in [
            ("Content-Length: 5", None),
            (
                "Content-Length: 5\r\nContent-Length: 6",
                Some(FramingFault::TwoLengths),
            ),
            (
                "Content-Length: 5\r\nContent-Length: 5",
                Some(FramingFault::RepeatedLength),
            ),
            ("Content-Length: x", Some(FramingFault::InvalidLength)),
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                Some(FramingFault::LengthAndCoding),
            ),
            (
                "Transfer-Encoding: magic\x1b",
                Some(FramingFault::UnknownCoding("magic\\x1b".into())),
            ),
            ("Transfer-Encoding: gzip, chunked", None),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
            assert_eq!(response(&text).framing, want, "{lines}");
        }
    }

    #[test]
    fn bodies() {
        const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let at = CHUNKED.len() as u64;
        for (text, bad_chunk, surplus) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab".to_owned(),
                None,
                0,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcde".to_owned(),
                None,
                3,
            ),
            ("HTTP/1.1 204 X\r\n\r\nabc".to_owned(), None, 3),
            ("HTTP/1.1 101 X\r\n\r\nabc".to_owned(), None, 0),
            (format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n"), None, 0),
            (format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\nxyz"), None, 3),
            (format!("{CHUNKED}zz\r\nhello"), Some(at), 0),
            (format!("{CHUNKED}5\r\nhelloXX\r\n"), Some(at + 8), 0),
        ] {
            let got = response(&text);
            assert_eq!(
                (got.bad_chunk, got.surplus),
                (bad_chunk, surplus),
                "{text:?}"
            );
        }
        let head = inspect_response(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 41, true);
        assert_eq!(head.surplus, 3);
    }

    #[test]
    fn requests() {
        let facts = inspect_request(
            b"GET /ws HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        assert_eq!(facts.upgrade.as_deref(), Some("websocket"));
        let facts = inspect_request(b"GET /ws HTTP/1.1\r\nUpgrade: h2c\r\n\r\n");
        assert_eq!(facts.upgrade, None);
        let facts = inspect_request(b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n");
        assert_eq!(facts.total(), Some(5041));
        assert!(inspect_request(b"PRI * HTTP/2.0\r\n\r\n").http2);
    }
}
