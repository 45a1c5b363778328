//! The end of a chunked body (RFC 9112, 7.1).

use super::headers::split_line;

/// What is known of a chunked body's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkedEnd {
    /// The last chunk and the trailer section are there.
    Seen,
    /// They are not.
    Missing,
    /// The bytes at hand do not tell.
    Unclear,
}

/// Walks a body of which every byte is at hand.
pub(super) fn walk(body: &[u8]) -> ChunkedEnd {
    match scan(body) {
        Scan::End { .. } => ChunkedEnd::Seen,
        Scan::Bad { .. } => ChunkedEnd::Unclear,
        Scan::Open => ChunkedEnd::Missing,
    }
}

/// What the first bytes of a chunked body hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// All of it.
    End {
        /// Bytes up to the end of the trailer section.
        len: usize,
    },
    /// Something that is no chunked body from `offset` on.
    Bad {
        /// Offset of the first byte that does not fit, or of the line that does not.
        offset: usize,
    },
    /// Nothing wrong, and no end.
    Open,
}

/// Longest chunk-size line that is waited for: 16 digits and an extension.
const SIZE_LINE_MAX: usize = 256;

/// Reads a chunked body as far as it is at hand.
pub(super) fn scan(body: &[u8]) -> Scan {
    let mut at = 0;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        let Some((line, next)) = split_line(rest) else {
            let digit = rest
                .first()
                .is_none_or(|b| b.is_ascii_hexdigit() || is_blank(*b));
            return if digit && rest.len() <= SIZE_LINE_MAX {
                Scan::Open
            } else {
                Scan::Bad { offset: at }
            };
        };
        let Some(size) = chunk_size(line) else {
            return Scan::Bad { offset: at };
        };
        at += next;
        if size == 0 {
            return trailers(body, at);
        }
        let Some(end) = usize::try_from(size)
            .ok()
            .and_then(|size| at.checked_add(size))
            .filter(|end| *end <= body.len())
        else {
            return Scan::Open;
        };
        at = end;
        match body.get(at..).unwrap_or_default() {
            [] | [b'\r'] => return Scan::Open,
            [b'\r', b'\n', ..] => at += 2,
            [b'\n', ..] => at += 1,
            _ => return Scan::Bad { offset: at },
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

fn trailers(body: &[u8], mut at: usize) -> Scan {
    while let Some((line, next)) = split_line(body.get(at..).unwrap_or_default()) {
        at += next;
        if line.is_empty() {
            return Scan::End { len: at };
        }
    }
    Scan::Open
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|b| *b == b';').next()?.trim_ascii();
    if digits.is_empty() || digits[0] == b'+' {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Judges by the last bytes of the body alone.
///
/// A last chunk is a line of zeros and a blank line. A body that ends with a blank line but has
/// something else in front of it may have ended with a trailer section, or may have been cut behind
/// a chunk whose data ends in a line break: that stays open.
pub(super) fn judge_tail(tail: &[u8]) -> ChunkedEnd {
    let Some(rest) = tail.strip_suffix(b"\r\n\r\n") else {
        return if tail.len() >= 4 {
            ChunkedEnd::Missing
        } else {
            ChunkedEnd::Unclear
        };
    };
    let zeros = rest.iter().rev().take_while(|b| **b == b'0').count();
    let before = rest.get(..rest.len() - zeros).and_then(<[u8]>::last);
    if zeros > 0 && before == Some(&b'\n') {
        ChunkedEnd::Seen
    } else {
        ChunkedEnd::Unclear
    }
}

#[cfg(test)]
mod tests {
    use super::ChunkedEnd::{Missing, Seen, Unclear};
    use super::*;

    #[test]
    fn walks() {
        for (body, want) in [
            (&b""[..], Missing),
            (b"5", Missing),
            (b"5\r\nhel", Missing),
            (b"5\r\nhello", Missing),
            (b"5\r\nhello\r", Missing),
            (b"5\r\nhello\r\n", Missing),
            (b"5\r\nhello\r\n0\r\n", Missing),
            (b"5\r\nhello\r\n0\r\n\r\n", Seen),
            (b"0\r\n\r\n", Seen),
            (b"0\n\n", Seen),
            (b"5;ext=1\r\nhello\r\n0;x\r\nTrailer: y\r\n\r\n", Seen),
            (b"0\r\nTrailer: y\r\n", Missing),
            // Data that looks like an end.
            (b"A\r\nab\r\n0\r\n\r\nc", Missing),
            (b"5\r\nhelloXX\r\n", Unclear),
            (b"zz\r\nhello", Unclear),
            (b"+5\r\nhello\r\n", Unclear),
            (b"\r\n", Unclear),
            (b"ffffffffffffffff\r\nx", Missing),
            (b"fffffffffffffffff\r\nx", Unclear),
        ] {
            assert_eq!(walk(body), want, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn tails() {
        for (tail, want) in [
            (&b"o\r\n0\r\n\r\n"[..], Seen),
            (b"\r\n000\r\n\r\n", Seen),
            (b"\n0\r\n\r\n", Seen),
            (b"data 10\r\n\r\n", Unclear),
            (b": y\r\n\r\n", Unclear),
            (b"0\r\n\r\n", Unclear),
            (b"hello wo", Missing),
            (b"lo\r\n0\r\n", Missing),
            (b"\r\n", Unclear),
            (b"", Unclear),
        ] {
            assert_eq!(judge_tail(tail), want, "{}", tail.escape_ascii());
        }
    }
}
