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
pub(super) fn walk(mut body: &[u8]) -> ChunkedEnd {
    loop {
        let Some((line, next)) = split_line(body) else {
            return ChunkedEnd::Missing;
        };
        let Some(size) = chunk_size(line) else {
            return ChunkedEnd::Unclear;
        };
        body = &body[next..];
        if size == 0 {
            return trailers(body);
        }
        let Some(rest) = usize::try_from(size).ok().and_then(|n| body.get(n..)) else {
            return ChunkedEnd::Missing;
        };
        match split_line(rest) {
            Some(([], next)) => body = &rest[next..],
            Some(_) => return ChunkedEnd::Unclear,
            None if rest.is_empty() || rest == b"\r" => return ChunkedEnd::Missing,
            None => return ChunkedEnd::Unclear,
        }
    }
}

fn trailers(mut section: &[u8]) -> ChunkedEnd {
    while let Some((line, next)) = split_line(section) {
        if line.is_empty() {
            return ChunkedEnd::Seen;
        }
        section = &section[next..];
    }
    ChunkedEnd::Missing
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
