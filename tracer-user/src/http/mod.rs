//! Reads HTTP/1.x heads, complete or cut.
//!
//! What the kernel keeps of a message is its first bytes: cut at any place by the capture length, or
//! not HTTP at all. Every function here takes any bytes whatever and answers with what can be read
//! from them, and where reading stopped.
//!
//! `httparse` was looked at: for a head that is cut it answers "partial" and keeps back what it had
//! read of the line it is in, and one odd byte in a late header hides the rest. Here the readable
//! part of a cut or damaged head is the product.

mod body;
mod chunks;
mod head;
mod headers;
mod inspect;
mod summary;

pub use body::{Completeness, Response, body_progress};
pub use head::{RequestHead, ResponseHead, final_response_head, request_head, response_head};
pub use headers::{ContentLength, End, Headers};
pub use inspect::{
    Fault, FaultKind, First, FramingFault, Head, Http2Frame, RequestFacts, ResponseFacts,
    inspect_request, inspect_response,
};
pub use summary::{is_traceparent, summarise};

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [&[u8]; 5] = [
        b"GET http://u@h/a?b#c HTTP/1.1\r\nHost: h\r\nX-Request-Id: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\n folded\n\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];

    /// Reads `bytes` in every way there is; the ends must lie inside.
    fn read(bytes: &[u8]) {
        let inside = |end| match end {
            End::Complete { head_len } => assert!(head_len <= bytes.len()),
            End::Malformed { offset } => assert!(offset < bytes.len()),
            End::Cut => {}
        };
        let request = request_head(bytes);
        inside(request.end);
        let _count = request.headers.iter().count();
        inside(response_head(bytes).end);
        inside(final_response_head(bytes).0.end);
        let _summary = summarise(bytes);
        let _facts = inspect_request(bytes);
        for received in [0, bytes.len() as u64, u64::MAX] {
            let _facts = inspect_response(bytes, received, false);
        }
        for received in [0, bytes.len() as u64 / 2, bytes.len() as u64, u64::MAX] {
            for last in [&b""[..], bytes] {
                body_progress(Response {
                    method: Some(b"GET"),
                    first: bytes,
                    received,
                    last,
                });
            }
        }
    }

    #[test]
    fn cut_and_damaged_bytes_never_panic() {
        for sample in SAMPLES {
            for len in 0..=sample.len() {
                read(&sample[..len]);
            }
            let mut bytes = sample.to_vec();
            for at in 0..bytes.len() {
                for value in [0, b'\n', b'\r', b' ', b':', b'0', b'f', 0x7f, 0xff] {
                    let kept = std::mem::replace(&mut bytes[at], value);
                    read(&bytes);
                    bytes[at] = kept;
                }
            }
        }
    }
}
