//! The header lines of a head.

/// Where the reading of a head stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the blank line; the head has `head_len` bytes, that line included.
    Complete {
        /// Bytes from the first byte given to the one behind the blank line.
        head_len: usize,
    },
    /// The bytes ended before the blank line. What was read is sound.
    Cut,
    /// This is not HTTP/1.x from `offset` on. What was read before it is sound.
    Malformed {
        /// Offset of the first byte that does not fit.
        offset: usize,
    },
}

/// What the `content-length` lines of a head say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentLength {
    /// No such line.
    Absent,
    /// One value, in bytes; given once, or several times alike (RFC 9112, 6.3 allows that).
    Known(u64),
    /// Several values that differ.
    Conflict,
    /// Not a number, or too large for one.
    Invalid,
}

/// The header lines that could be read whole. A line that is cut is not among them: half a value is
/// worse than none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    lines: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Reads header lines from `offset` on, up to the blank line.
    pub(super) fn read(bytes: &'a [u8], offset: usize) -> (Self, End) {
        let mut at = offset;
        let end = loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some((line, next)) = split_line(rest) else {
                break match bad_byte(rest) {
                    Some(bad) => End::Malformed { offset: at + bad },
                    None => End::Cut,
                };
            };
            if line.is_empty() {
                break End::Complete {
                    head_len: at + next,
                };
            }
            if let Some(bad) = bad_byte(line) {
                break End::Malformed { offset: at + bad };
            }
            // A continuation (obs-fold) needs a line to continue.
            if !is_fold(line) && !line.contains(&b':') || is_fold(line) && at == offset {
                break End::Malformed { offset: at };
            }
            at += next;
        };
        let lines = bytes.get(offset..at).unwrap_or_default();
        (Self { lines }, end)
    }

    /// Names and values in order. Spaces around a value are taken off; of a value folded over
    /// several lines the first line is given.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.lines;
        std::iter::from_fn(move || {
            loop {
                let (line, next) = split_line(rest)?;
                rest = rest.get(next..).unwrap_or_default();
                if is_fold(line) {
                    continue;
                }
                let colon = line.iter().position(|b| *b == b':')?;
                return Some((&line[..colon], line[colon + 1..].trim_ascii()));
            }
        })
    }

    /// Values of the header of that name; case does not matter.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// First value of the header of that name; case does not matter.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Elements of a comma-separated header over all its lines, in order.
    pub fn list(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name)
            .flat_map(|value| value.split(|b| *b == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|element| !element.is_empty())
    }

    /// The declared body length.
    pub fn content_length(self) -> ContentLength {
        let mut found = ContentLength::Absent;
        for value in self
            .all("content-length")
            .flat_map(|v| v.split(|b| *b == b','))
        {
            let Some(length) = decimal(value.trim_ascii()) else {
                return ContentLength::Invalid;
            };
            match found {
                ContentLength::Known(other) if other != length => return ContentLength::Conflict,
                _ => found = ContentLength::Known(length),
            }
        }
        found
    }

    /// Is the last transfer coding `chunked`? `None` without a `transfer-encoding`.
    pub fn chunked(self) -> Option<bool> {
        self.list("transfer-encoding")
            .last()
            .map(|coding| coding.eq_ignore_ascii_case(b"chunked"))
    }

    /// Does a `connection` header name `option` (`close`, `keep-alive`, `upgrade`)?
    pub fn connection_has(self, option: &str) -> bool {
        self.list("connection")
            .any(|o| o.eq_ignore_ascii_case(option.as_bytes()))
    }
}

/// The line at the start of `bytes` without its end (CRLF or a bare LF), and the length with it.
pub(super) fn split_line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let lf = bytes.iter().position(|b| *b == b'\n')?;
    let line = &bytes[..lf];
    Some((line.strip_suffix(b"\r").unwrap_or(line), lf + 1))
}

/// A character of a token (RFC 9110, 5.6.2): methods and header names are made of them.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A number in decimal digits only: no sign, no space, nothing else.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn is_fold(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// Offset of the first byte of a (possibly cut) header line that HTTP does not allow.
fn bad_byte(line: &[u8]) -> Option<usize> {
    if is_fold(line) {
        return line.iter().position(|b| *b == 0);
    }
    let name_len = line.iter().position(|b| *b == b':').unwrap_or(line.len());
    if name_len == 0 && !line.is_empty() {
        return Some(0);
    }
    // A cut line may end between CR and LF.
    let cut_cr = name_len == line.len() && line.last() == Some(&b'\r');
    let name = &line[..name_len - usize::from(cut_cr)];
    name.iter()
        .position(|b| !is_token(*b))
        .or_else(|| line.iter().position(|b| *b == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &[u8]) -> (Headers<'_>, End) {
        Headers::read(text, 0)
    }

    #[test]
    fn lines_end_where_they_should() {
        let cut = End::Cut;
        let whole = |head_len| End::Complete { head_len };
        let bad = |offset| End::Malformed { offset };
        for (text, want_end, want_count) in [
            (&b""[..], cut, 0),
            (b"\r\n", whole(2), 0),
            (b"\n", whole(1), 0),
            (b"\r", cut, 0),
            (b"A: b\r\n\r\nrest", whole(8), 1),
            (b"A: b\n\nrest", whole(6), 1),
            (b"A: b\r\nC: d", cut, 1),
            (b"A: b\r\nC: d\r", cut, 1),
            (b"A: b\r\nCont", cut, 1),
            (b"A: b\r\n\r", cut, 1),
            (b"A:\r\n\r\n", whole(6), 1),
            (b"A: b\r\n folded\r\nC: d\r\n\r\n", whole(23), 2),
            (b" folded\r\n\r\n", bad(0), 0),
            (b"no colon\r\n\r\n", bad(2), 0),
            (b"nocolon\r\n\r\n", bad(0), 0),
            (b": empty name\r\n\r\n", bad(0), 0),
            (b"A : space\r\n\r\n", bad(1), 0),
            (b"A: b\r\nX\0Y: d\r\n\r\n", bad(7), 1),
            (b"A: b\r\nX: \0\r\n\r\n", bad(9), 1),
            (b"\x16\x03\x01", bad(0), 0),
        ] {
            let (headers, end) = headers(text);
            let shown = text.escape_ascii();
            assert_eq!(end, want_end, "{shown}");
            assert_eq!(headers.iter().count(), want_count, "{shown}");
        }
    }

    #[test]
    fn values_are_found_by_name_and_trimmed() {
        let (h, _) = headers(b"HOST: \t a.example \r\nX: 1\r\nx: 2\r\nfold: a\r\n b\r\n\r\n");
        assert_eq!(h.get("host"), Some(&b"a.example"[..]));
        assert_eq!(h.all("X").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(h.get("fold"), Some(&b"a"[..]));
        assert_eq!(h.get("absent"), None);
    }

    #[test]
    fn content_length_is_known_only_when_all_agree() {
        for (text, want) in [
            (&b"A: b\r\n\r\n"[..], ContentLength::Absent),
            (b"Content-Length: 5\r\n\r\n", ContentLength::Known(5)),
            (b"content-length:0\r\n\r\n", ContentLength::Known(0)),
            (b"Content-Length: 5, 5\r\n\r\n", ContentLength::Known(5)),
            (
                b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
                ContentLength::Known(5),
            ),
            (b"Content-Length: 5, 6\r\n\r\n", ContentLength::Conflict),
            (
                b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
                ContentLength::Conflict,
            ),
            (b"Content-Length: -1\r\n\r\n", ContentLength::Invalid),
            (b"Content-Length: +1\r\n\r\n", ContentLength::Invalid),
            (b"Content-Length: 0x10\r\n\r\n", ContentLength::Invalid),
            (b"Content-Length:\r\n\r\n", ContentLength::Invalid),
            (
                b"Content-Length: 99999999999999999999\r\n\r\n",
                ContentLength::Invalid,
            ),
            // Cut: the number may go on.
            (b"Content-Length: 5", ContentLength::Absent),
        ] {
            assert_eq!(
                headers(text).0.content_length(),
                want,
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn codings_and_options() {
        for (text, want) in [
            (&b"\r\n"[..], None),
            (b"Transfer-Encoding: chunked\r\n\r\n", Some(true)),
            (b"transfer-encoding: gzip, Chunked\r\n\r\n", Some(true)),
            (
                b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
                Some(true),
            ),
            (b"Transfer-Encoding: chunked, gzip\r\n\r\n", Some(false)),
            (b"Transfer-Encoding: xchunked\r\n\r\n", Some(false)),
        ] {
            assert_eq!(headers(text).0.chunked(), want, "{}", text.escape_ascii());
        }
        let (h, _) = headers(b"Connection: Upgrade, Close\r\n\r\n");
        assert!(h.connection_has("close") && h.connection_has("upgrade"));
        assert!(!h.connection_has("keep-alive"));
    }
}
