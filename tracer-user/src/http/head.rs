//! Request lines, status lines and the heads they begin.

use super::headers::{End, Headers, is_token};

/// The readable part of a request head.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method, if it was read to its end.
    pub method: Option<&'a [u8]>,
    /// The target as it stands in the request line, possibly cut (see `target_cut`).
    pub target: Option<&'a [u8]>,
    /// The bytes ended inside the target.
    pub target_cut: bool,
    /// `HTTP/1.1`, if it was read to its end.
    pub version: Option<&'a [u8]>,
    /// Header lines.
    pub headers: Headers<'a>,
    /// Where reading stopped.
    pub end: End,
}

/// The readable part of a response head.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// `HTTP/1.1`, if it was read to its end.
    pub version: Option<&'a [u8]>,
    /// The status, if its three digits are there.
    pub status: Option<u16>,
    /// Header lines.
    pub headers: Headers<'a>,
    /// Where reading stopped.
    pub end: End,
}

impl ResponseHead<'_> {
    /// An interim answer (1xx): another head follows. 101 is none, it is the last word of HTTP here.
    pub fn is_interim(&self) -> bool {
        matches!(self.status, Some(100 | 102..=199))
    }
}

/// Reads a request head. Blank lines in front of it are skipped (RFC 9112, 2.2).
pub fn request_head(bytes: &[u8]) -> RequestHead<'_> {
    let mut head = RequestHead {
        method: None,
        target: None,
        target_cut: false,
        version: None,
        headers: Headers::default(),
        end: End::Cut,
    };
    head.end = match read_request(bytes, &mut head) {
        Ok(end) | Err(end) => end,
    };
    head
}

/// `Err` is how `?` leaves early: both arms say where reading stopped.
fn read_request<'a>(bytes: &'a [u8], head: &mut RequestHead<'a>) -> Result<End, End> {
    let start = bytes
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .count();
    let (method, at) = word(bytes, start, is_token)?;
    head.method = Some(method);
    match word(bytes, at, |b| b > b' ' && b != 0x7f) {
        Ok((target, at)) => {
            head.target = Some(target);
            let (version, next) = version(bytes, at)?;
            let next = end_of_line(bytes, next)?;
            head.version = Some(version);
            let (headers, end) = Headers::read(bytes, next);
            head.headers = headers;
            Ok(end)
        }
        Err(End::Cut) => {
            let target = bytes.get(at..).unwrap_or_default();
            head.target = (!target.is_empty()).then_some(target);
            head.target_cut = true;
            Err(End::Cut)
        }
        Err(end) => Err(end),
    }
}

/// Reads one response head.
pub fn response_head(bytes: &[u8]) -> ResponseHead<'_> {
    let mut head = ResponseHead {
        version: None,
        status: None,
        headers: Headers::default(),
        end: End::Cut,
    };
    head.end = match read_response(bytes, &mut head) {
        Ok(end) | Err(end) => end,
    };
    head
}

fn read_response<'a>(bytes: &'a [u8], head: &mut ResponseHead<'a>) -> Result<End, End> {
    let (version, at) = version(bytes, 0)?;
    head.version = Some(version);
    let at = expect(bytes, at, |b| b == b' ')?;
    let mut status = 0;
    for i in 0..3 {
        expect(bytes, at + i, |b| b.is_ascii_digit())?;
        status = status * 10 + u16::from(bytes[at + i] - b'0');
    }
    head.status = Some(status);
    let at = at + 3;
    expect(bytes, at, |b| matches!(b, b' ' | b'\r' | b'\n'))?;
    let reason = bytes.get(at..).unwrap_or_default();
    let line = reason.iter().position(|b| *b == b'\n');
    if let Some(bad) = reason[..line.unwrap_or(reason.len())]
        .iter()
        .position(|b| *b == 0)
    {
        return Err(End::Malformed { offset: at + bad });
    }
    let next = at + line.ok_or(End::Cut)? + 1;
    let (headers, end) = Headers::read(bytes, next);
    head.headers = headers;
    Ok(end)
}

/// Reads the final response head, past any interim (1xx) ones. The offsets in its `end` count from
/// the first byte given. Second value: how many interim heads stood in front of it.
///
/// When the bytes end with an interim head, that head is the answer only if nothing follows it:
/// then `end` is [`End::Cut`] and `status` is `None`, for the final head has not begun.
pub fn final_response_head(bytes: &[u8]) -> (ResponseHead<'_>, usize) {
    let mut offset = 0;
    let mut interim = 0;
    loop {
        let mut head = response_head(bytes.get(offset..).unwrap_or_default());
        match head.end {
            End::Complete { head_len } if head.is_interim() => {
                offset += head_len;
                interim += 1;
                continue;
            }
            End::Complete { head_len } => {
                head.end = End::Complete {
                    head_len: head_len + offset,
                };
            }
            End::Malformed { offset: bad } => {
                head.end = End::Malformed {
                    offset: bad + offset,
                };
            }
            End::Cut => {}
        }
        return (head, interim);
    }
}

/// A run of fitting bytes and the offset behind the single space that ends it.
fn word(bytes: &[u8], start: usize, fits: impl Fn(u8) -> bool) -> Result<(&[u8], usize), End> {
    let rest = bytes.get(start..).unwrap_or_default();
    let len = rest.iter().take_while(|b| fits(**b)).count();
    match rest.get(len) {
        None => Err(End::Cut),
        Some(b' ') if len > 0 => Ok((&rest[..len], start + len + 1)),
        Some(_) => Err(End::Malformed {
            offset: start + len,
        }),
    }
}

/// `HTTP/d.d` and the offset behind it.
fn version(bytes: &[u8], start: usize) -> Result<(&[u8], usize), End> {
    const PATTERN: &[u8] = b"HTTP/0.0";
    for (i, want) in PATTERN.iter().enumerate() {
        expect(bytes, start + i, |b| {
            b == *want || *want == b'0' && b.is_ascii_digit()
        })?;
    }
    let end = start + PATTERN.len();
    Ok((&bytes[start..end], end))
}

fn end_of_line(bytes: &[u8], at: usize) -> Result<usize, End> {
    let at = match bytes.get(at) {
        Some(b'\r') => at + 1,
        _ => at,
    };
    expect(bytes, at, |b| b == b'\n')
}

/// The offset behind the byte at `at`, which must fit.
fn expect(bytes: &[u8], at: usize, fits: impl Fn(u8) -> bool) -> Result<usize, End> {
    match bytes.get(at) {
        None => Err(End::Cut),
        Some(byte) if fits(*byte) => Ok(at + 1),
        Some(_) => Err(End::Malformed { offset: at }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: End = End::Cut;

    fn whole(head_len: usize) -> End {
        End::Complete { head_len }
    }

    fn bad(offset: usize) -> End {
        End::Malformed { offset }
    }

    fn text(bytes: Option<&[u8]>) -> &str {
        bytes.map_or("-", |b| std::str::from_utf8(b).unwrap())
    }

    #[test]
    fn request_lines() {
        for (bytes, method, target, version, end) in [
            (&b""[..], "-", "-", "-", CUT),
            (b"G", "-", "-", "-", CUT),
            (b"GET", "-", "-", "-", CUT),
            (b"GET ", "GET", "-", "-", CUT),
            (b"GET /a", "GET", "/a", "-", CUT),
            (b"GET /a ", "GET", "/a", "-", CUT),
            (b"GET /a HTTP/1.", "GET", "/a", "-", CUT),
            (b"GET /a HTTP/1.1", "GET", "/a", "-", CUT),
            (b"GET /a HTTP/1.1\r", "GET", "/a", "-", CUT),
            (b"GET /a HTTP/1.1\r\n", "GET", "/a", "HTTP/1.1", CUT),
            (
                b"GET /a HTTP/1.1\r\n\r\n",
                "GET",
                "/a",
                "HTTP/1.1",
                whole(19),
            ),
            (b"GET /a HTTP/1.0\n\n", "GET", "/a", "HTTP/1.0", whole(17)),
            (
                b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                "GET",
                "/",
                "HTTP/1.1",
                whole(22),
            ),
            (
                b"PRI * HTTP/2.0\r\n\r\nSM",
                "PRI",
                "*",
                "HTTP/2.0",
                whole(18),
            ),
            (
                b"M-SEARCH * HTTP/1.1\r\n\r\n",
                "M-SEARCH",
                "*",
                "HTTP/1.1",
                whole(23),
            ),
            // HTTP/0.9, and things that are no request.
            (b"GET /a\r\n", "GET", "-", "-", bad(6)),
            (b"GET  /a HTTP/1.1\r\n", "GET", "-", "-", bad(4)),
            (b"GET /a b HTTP/1.1\r\n", "GET", "/a", "-", bad(7)),
            (b"GET /a HTTP/1.1 \r\n", "GET", "/a", "-", bad(15)),
            (b"GET /a HTTP/x.1\r\n", "GET", "/a", "-", bad(12)),
            (b"GET /\0 HTTP/1.1\r\n", "GET", "-", "-", bad(5)),
            (b" GET / HTTP/1.1\r\n", "-", "-", "-", bad(0)),
            (b"\x16\x03\x01\x02\x00", "-", "-", "-", bad(0)),
            (b"\xff\xfe", "-", "-", "-", bad(0)),
            (b"HTTP/1.1 200 OK\r\n", "-", "-", "-", bad(4)),
        ] {
            let head = request_head(bytes);
            let got = (
                text(head.method),
                text(head.target),
                text(head.version),
                head.end,
            );
            assert_eq!(
                got,
                (method, target, version, end),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn a_cut_target_is_marked() {
        for (bytes, cut) in [
            (&b"GET /chec"[..], true),
            (b"GET ", true),
            (b"GET /check ", false),
            (b"GE", false),
        ] {
            assert_eq!(
                request_head(bytes).target_cut,
                cut,
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn status_lines() {
        for (bytes, version, status, end) in [
            (&b""[..], "-", None, CUT),
            (b"HTT", "-", None, CUT),
            (b"HTTP/1.1", "HTTP/1.1", None, CUT),
            (b"HTTP/1.1 ", "HTTP/1.1", None, CUT),
            (b"HTTP/1.1 50", "HTTP/1.1", None, CUT),
            (b"HTTP/1.1 502", "HTTP/1.1", Some(502), CUT),
            (b"HTTP/1.1 502 Bad Ga", "HTTP/1.1", Some(502), CUT),
            (b"HTTP/1.1 502 Bad Gateway\r\n", "HTTP/1.1", Some(502), CUT),
            (
                b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
                "HTTP/1.1",
                Some(502),
                whole(28),
            ),
            (b"HTTP/1.0 200 \r\n\r\n", "HTTP/1.0", Some(200), whole(17)),
            (b"HTTP/1.1 200\r\n\r\n", "HTTP/1.1", Some(200), whole(16)),
            (b"HTTP/1.1 200\n\n", "HTTP/1.1", Some(200), whole(14)),
            (b"HTTP/1.1 2000 OK\r\n", "HTTP/1.1", Some(200), bad(12)),
            (b"HTTP/1.1 2x0 OK\r\n", "HTTP/1.1", None, bad(10)),
            (b"HTTP/1.1  200 OK\r\n", "HTTP/1.1", None, bad(9)),
            (b"HTTP/1.1 200 O\0K\r\n", "HTTP/1.1", Some(200), bad(14)),
            (
                b"HTTP/1.1 200 OK\r\nX\x01: y\r\n\r\n",
                "HTTP/1.1",
                Some(200),
                bad(18),
            ),
            (b"http/1.1 200 OK\r\n", "-", None, bad(0)),
            (b"SSH-2.0-x\r\n", "-", None, bad(0)),
            (b"\x15\x03\x03\x00\x02\x02\x28", "-", None, bad(0)),
        ] {
            let head = response_head(bytes);
            let got = (text(head.version), head.status, head.end);
            assert_eq!(got, (version, status, end), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn interim_heads_are_passed_over() {
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let last = b"HTTP/1.1 200 OK\r\n\r\n";
        let bytes = [&interim[..], hints, last].concat();
        let (head, count) = final_response_head(&bytes);
        assert_eq!((head.status, count), (Some(200), 2));
        assert_eq!(head.end, whole(bytes.len()));

        let (head, count) = final_response_head(interim);
        assert_eq!((head.status, head.end, count), (None, CUT, 1));

        let (head, _) = final_response_head(&interim[..20]);
        assert_eq!((head.status, head.end), (Some(100), CUT));

        let bytes = [&interim[..], b"garbage"].concat();
        let (head, count) = final_response_head(&bytes);
        assert_eq!((head.end, count), (bad(25), 1));

        let (head, count) = final_response_head(b"HTTP/1.1 101 Switching\r\n\r\n");
        assert_eq!((head.status, head.end, count), (Some(101), whole(26), 0));
    }

    /// Cutting can only ever lose: what a cut head says must be what the whole head says.
    #[test]
    fn every_cut_agrees_with_the_whole() {
        let request = b"POST /a/b?c=d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        let full = request_head(request);
        for len in 0..request.len() {
            let cut = request_head(&request[..len]);
            assert!(cut.method.is_none_or(|m| Some(m) == full.method), "{len}");
            if !cut.target_cut {
                assert!(cut.target.is_none_or(|t| Some(t) == full.target), "{len}");
            }
            let known: Vec<_> = cut.headers.iter().collect();
            let all: Vec<_> = full.headers.iter().collect();
            assert!(all.starts_with(&known), "{len}");
            assert!(!matches!(cut.end, End::Malformed { .. }), "{len}");
        }
        let response = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 502 Bad Gateway\r\nA: b\r\n\r\n";
        for len in 0..response.len() {
            let (cut, _) = final_response_head(&response[..len]);
            assert!(cut.status.is_none_or(|s| s == 502 || s == 100), "{len}");
            assert!(!matches!(cut.end, End::Malformed { .. }), "{len}");
        }
    }
}
