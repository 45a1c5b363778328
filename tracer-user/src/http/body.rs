//! Did a response come whole?

use super::chunks::{ChunkedEnd, judge_tail, walk};
use super::head::{ResponseHead, final_response_head};
use super::headers::{ContentLength, End};

/// What is known of a response: its first bytes, its last bytes and how many there were.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Method of the request it answers, if known (a response to HEAD has no body).
    pub method: Option<&'a [u8]>,
    /// First bytes, interim heads included.
    pub first: &'a [u8],
    /// Bytes counted, heads included.
    pub received: u64,
    /// Last bytes; may be empty. Needed only for a chunked body longer than `first`.
    pub last: &'a [u8],
}

/// How much of a response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// All of it.
    Complete,
    /// The head came whole, the body did not.
    Incomplete {
        /// Body bytes that the head declared; `None` for a chunked body.
        declared: Option<u64>,
        /// Body bytes that came (with their chunk lines, when chunked).
        received: u64,
    },
    /// The blank line behind the final head has not come (perhaps nothing has, or 1xx heads only).
    NoHead,
    /// Cannot be told: delimited by the close, not HTTP/1.x, head longer than what was kept,
    /// contradictory lengths.
    Unknown,
}

/// Judges how much of a response came, after RFC 9112, 6.3:
///
/// 1. no blank line although every byte is at hand: [`Completeness::NoHead`];
/// 2. answers to HEAD, 1xx, 204, 304, and 2xx to CONNECT end with their head;
/// 3. `transfer-encoding: chunked` ends with its last chunk and trailers;
/// 4. any other transfer coding ends with the connection: unknown;
/// 5. a valid `content-length` counts; contradicting ones do not;
/// 6. without any of them the close ends it: unknown.
pub fn body_progress(response: Response<'_>) -> Completeness {
    let (head, _) = final_response_head(response.first);
    let head_len = match head.end {
        End::Complete { head_len } => head_len,
        End::Cut if response.received <= response.first.len() as u64 => {
            return Completeness::NoHead;
        }
        End::Cut | End::Malformed { .. } => return Completeness::Unknown,
    };
    let received = response.received.saturating_sub(head_len as u64);
    if has_no_body(&head, response.method) {
        return Completeness::Complete;
    }
    match (head.headers.chunked(), head.headers.content_length()) {
        (Some(true), _) => chunked(response, head_len, received),
        (None, ContentLength::Known(declared)) if received >= declared => Completeness::Complete,
        // It may have been HEAD.
        (None, ContentLength::Known(_)) if received == 0 && response.method.is_none() => {
            Completeness::Unknown
        }
        (None, ContentLength::Known(declared)) => Completeness::Incomplete {
            declared: Some(declared),
            received,
        },
        _ => Completeness::Unknown,
    }
}

fn has_no_body(head: &ResponseHead<'_>, method: Option<&[u8]>) -> bool {
    let status = head.status.unwrap_or(0);
    matches!(status, 100..=199 | 204 | 304)
        || method == Some(b"HEAD")
        || method == Some(b"CONNECT") && matches!(status, 200..=299)
}

fn chunked(response: Response<'_>, head_len: usize, received: u64) -> Completeness {
    if received == 0 && response.method.is_none() {
        return Completeness::Unknown;
    }
    let whole = response.received <= response.first.len() as u64;
    let end = if whole {
        let len = response.received as usize;
        walk(response.first.get(head_len..len).unwrap_or_default())
    } else {
        judge_tail(response.last)
    };
    match end {
        ChunkedEnd::Seen => Completeness::Complete,
        ChunkedEnd::Missing => Completeness::Incomplete {
            declared: None,
            received,
        },
        ChunkedEnd::Unclear => Completeness::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::Completeness::{Complete, NoHead, Unknown};
    use super::*;

    fn incomplete(declared: impl Into<Option<u64>>, received: u64) -> Completeness {
        Completeness::Incomplete {
            declared: declared.into(),
            received,
        }
    }

    #[test]
    fn responses_of_which_every_byte_is_at_hand() {
        const LEN5: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (method, head, body, want) in [
            ("GET", "", "", NoHead),
            ("GET", "HTTP/1.1 200 OK\r\n", "", NoHead),
            ("GET", "HTTP/1.1 200 OK\r\nContent-Le", "", NoHead),
            ("GET", "HTTP/1.1 100 Continue\r\n\r\n", "", NoHead),
            ("GET", "\x15\x03\x03", "", Unknown),
            ("GET", LEN5, "", incomplete(5, 0)),
            ("GET", LEN5, "hell", incomplete(5, 4)),
            ("GET", LEN5, "hello", Complete),
            ("GET", LEN5, "hello and more", Complete),
            ("HEAD", LEN5, "", Complete),
            ("-", LEN5, "", Unknown),
            ("-", LEN5, "he", incomplete(5, 2)),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "", Complete),
            (
                "GET",
                "HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n",
                "",
                Complete,
            ),
            ("GET", "HTTP/1.1 101 X\r\n\r\n", "ws", Complete),
            ("CONNECT", "HTTP/1.1 200 OK\r\n\r\n", "tunnel", Complete),
            (
                "CONNECT",
                "HTTP/1.1 502 X\r\nContent-Length: 2\r\n\r\n",
                "a",
                incomplete(2, 1),
            ),
            ("GET", "HTTP/1.1 200 OK\r\n\r\n", "until close", Unknown),
            (
                "GET",
                "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
                "a",
                Unknown,
            ),
            (
                "GET",
                "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                "a",
                Unknown,
            ),
            (
                "GET",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
                "a",
                Unknown,
            ),
            (
                "GET",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                "ab",
                Complete,
            ),
            ("GET", CHUNKED, "", incomplete(None, 0)),
            ("GET", CHUNKED, "5\r\nhello\r\n", incomplete(None, 10)),
            ("GET", CHUNKED, "5\r\nhello\r\n0\r\n\r\n", Complete),
            ("GET", CHUNKED, "0\r\nA: b\r\n\r\n", Complete),
            ("GET", CHUNKED, "nonsense\r\n", Unknown),
            ("HEAD", CHUNKED, "", Complete),
            // Transfer coding beats length (RFC 9112, 6.3).
            (
                "GET",
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "1\r\n",
                incomplete(None, 3),
            ),
        ] {
            let bytes = format!("{head}{body}");
            let got = body_progress(Response {
                method: (method != "-").then_some(method.as_bytes()),
                first: bytes.as_bytes(),
                received: bytes.len() as u64,
                last: b"",
            });
            assert_eq!(got, want, "{method} {bytes:?}");
        }
    }

    #[test]
    fn responses_longer_than_what_was_kept() {
        const LEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
        const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\nab";
        let head = LEN.len() as u64;
        let body = CHUNKED.find("1000").unwrap() as u64;
        for (first, received, last, want) in [
            (LEN, head + 40_000, "", incomplete(100_000, 40_000)),
            (LEN, head + 100_000, "", Complete),
            (CHUNKED, body + 5000, "z\r\n0\r\n\r\n", Complete),
            (CHUNKED, body + 5000, "zzzzzzzz", incomplete(None, 5000)),
            (CHUNKED, body + 5000, "zzzz\r\n\r\n", Unknown),
            (CHUNKED, body + 5000, "", Unknown),
            // The head itself was not kept whole, or not at all.
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: ",
                5000,
                "",
                Unknown,
            ),
            ("", 5000, "", Unknown),
        ] {
            let got = body_progress(Response {
                method: Some(b"GET"),
                first: first.as_bytes(),
                received,
                last: last.as_bytes(),
            });
            assert_eq!(got, want, "{first:?} {received} {last:?}");
        }
    }
}
