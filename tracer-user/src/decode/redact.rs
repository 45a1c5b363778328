//! What of a message's first bytes may leave the decoder: the start line without its query, the names
//! of headers, and the values of those that a diagnosis needs. The rest is overwritten, byte for
//! byte, so that lengths and offsets stay true; bodies are cut off. Cookies and credentials so never
//! reach a recording.

use crate::tls::plain_text_refusal;

/// Written over what is hidden.
const MASK: u8 = b'*';

/// Request headers whose values stay: what joins the two sides of the proxy, and framing.
const REQUEST_KEPT: [&str; 8] = [
    "host",
    "x-request-id",
    "traceparent",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "expect",
];

/// Response headers whose values stay: framing, and who wrote the response.
const RESPONSE_KEPT: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "content-type",
    "connection",
    "keep-alive",
    "upgrade",
    "server",
    "via",
    "retry-after",
];

/// First byte of a TLS handshake record: its hello is in the clear and holds no secret.
const TLS_HANDSHAKE: u8 = 0x16;
/// Bytes that are kept of a protocol that is neither HTTP/1.x nor TLS.
const UNKNOWN_KEPT: usize = 16;

/// Hides what a request's first bytes should not tell.
pub(super) fn request(head: &mut Vec<u8>) {
    if !is_text(head) {
        return unknown(head);
    }
    let end = headers(head, &REQUEST_KEPT);
    mask_query(head);
    if let Some(end) = end {
        head.truncate(end);
    }
}

/// Hides what a response's first bytes should not tell. The framing of a chunked body stays, its data
/// does not.
pub(super) fn response(head: &mut Vec<u8>) {
    if !head.starts_with(b"HTTP/") {
        return unknown(head);
    }
    let mut at = 0;
    while let Some(len) = headers(&mut head[at..], &RESPONSE_KEPT) {
        let interim = is_interim(&head[at..]);
        let chunked = is_chunked(&head[at..at + len]);
        at += len;
        if interim && head[at..].starts_with(b"HTTP/") {
            continue;
        }
        let refusal = refusal(&head[at - len..], len);
        if chunked {
            mask_chunks(&mut head[at..]);
        } else {
            let kept = refusal.map_or(0, |(from, words)| from + words.len());
            head.truncate(at + kept);
            mask(&mut head[at..]);
        }
        if let Some((from, words)) = refusal {
            head[at + from..at + from + words.len()].copy_from_slice(words.as_bytes());
        }
        return;
    }
}

/// Where the body of a 400 says, in well-known words, that plain text came where TLS was wanted. They
/// stay: they are the server program's own.
fn refusal(response: &[u8], head_len: usize) -> Option<(usize, &'static str)> {
    let body = response.get(head_len..)?;
    (response.get(9..12) == Some(b"400"))
        .then(|| plain_text_refusal(body))
        .flatten()
}

/// Hides what the last bytes of a response tell beyond its framing: of TLS an alert in the clear stays
/// (type, version, length 2, level, description; RFC 8446, 6), of anything else what a last chunk is
/// made of.
pub(super) fn tail(tail: &mut Vec<u8>, tls: bool) {
    const ALERT: usize = 7;
    if tls {
        let from = tail.len().saturating_sub(ALERT);
        tail.drain(..from);
        if !matches!(tail[..], [0x15, 3, _, 0, 2, _, _]) {
            tail.clear();
        }
        return;
    }
    for byte in tail {
        if !matches!(byte, b'\r' | b'\n' | b'0') {
            *byte = MASK;
        }
    }
}

fn unknown(head: &mut Vec<u8>) {
    match head[..] {
        [0x14..=0x17, 3, ..] => records(head),
        _ => head.truncate(UNKNOWN_KEPT),
    }
}

/// Of TLS the headers of the records stay, hellos and other handshake messages (in the clear they hold
/// no secret), and alerts in the clear. The rest is ciphertext.
fn records(head: &mut [u8]) {
    const HEADER: usize = 5;
    const ALERT: u8 = 0x15;
    let mut rest = head;
    while let [kind, 3, _, high, low, body @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let clear = *kind == TLS_HANDSHAKE || *kind == ALERT && len == 2;
        let (body, next) = body.split_at_mut(len.min(body.len()));
        if !clear {
            body.fill(MASK);
        }
        rest = next;
    }
    // A header that is cut, or what is no record.
    let cut = rest.len().min(HEADER);
    rest[cut..].fill(MASK);
}

/// Does it begin like an HTTP/1.x request? A start of nothing but letters may be one.
fn is_text(head: &[u8]) -> bool {
    let method = head.split(|byte| *byte == b' ').next().unwrap_or_default();
    method.len() <= 20 && method.iter().all(u8::is_ascii_uppercase)
}

/// Masks the values of all header lines but the kept ones; gives the offset behind the blank line.
fn headers(head: &mut [u8], kept: &[&str]) -> Option<usize> {
    let mut at = line_end(head, 0)?;
    let mut keep = false;
    while at < head.len() {
        let end = line_end(head, at);
        let line = &head[at..end.unwrap_or(head.len())];
        if matches!(line, b"\r\n" | b"\n") {
            return end;
        }
        let value = match line.iter().position(|byte| *byte == b':') {
            // A folded line goes on with the value before it.
            _ if line.starts_with(b" ") || line.starts_with(b"\t") => at,
            Some(colon) => {
                let name = line[..colon].trim_ascii();
                keep = kept
                    .iter()
                    .any(|kept| name.eq_ignore_ascii_case(kept.as_bytes()));
                at + colon + 1
            }
            // Cut within the name, or no header at all.
            None => at,
        };
        let stop = end.unwrap_or(head.len());
        if !keep {
            mask(&mut head[value..stop]);
        }
        at = end?;
    }
    None
}

/// Offset behind the line feed that ends the line at `from`.
fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    Some(from + rest.iter().position(|byte| *byte == b'\n')? + 1)
}

/// Masks all but blanks, line ends and other control characters: these are what a proxy may have
/// refused the head for.
fn mask(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b' ' && !byte.is_ascii_control() {
            *byte = MASK;
        }
    }
}

/// Masks the query of the request target.
fn mask_query(head: &mut [u8]) {
    let line = line_end(head, 0).unwrap_or(head.len());
    let line = &mut head[..line];
    let Some(query) = line.iter().position(|byte| *byte == b'?') else {
        return;
    };
    // A target may hold blanks in spite of the RFC; the version is behind the last one.
    let end = line
        .iter()
        .rposition(|byte| *byte == b' ')
        .filter(|end| *end > query)
        .unwrap_or(line.len());
    for byte in &mut line[query + 1..end] {
        if !matches!(byte, b'\r' | b'\n') {
            *byte = MASK;
        }
    }
}

fn is_interim(head: &[u8]) -> bool {
    head.get(9) == Some(&b'1') && head.get(9..12) != Some(b"101")
}

fn is_chunked(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').any(|line| {
        let name = b"transfer-encoding:";
        line.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    })
}

/// Masks the data of chunks; size lines stay. What is not chunks is masked to the end.
fn mask_chunks(body: &mut [u8]) {
    let mut at = 0;
    while let Some(end) = line_end(body, at) {
        let line = body[at..end].trim_ascii();
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let Some(size) = size else {
            break;
        };
        if size == 0 {
            // Trailers have names and values like headers.
            let mut trailers = end;
            while let Some(next) = line_end(body, trailers) {
                mask_data(&mut body[trailers..next]);
                trailers = next;
            }
            at = trailers;
            break;
        }
        let data_end = end.saturating_add(size).min(body.len());
        for byte in &mut body[end..data_end] {
            *byte = MASK;
        }
        let next = line_end(body, data_end).unwrap_or(data_end);
        // Where the size is wrong, data stands behind it.
        mask_data(&mut body[data_end..next]);
        at = next;
    }
    mask_data(&mut body[at..]);
}

fn mask_data(bytes: &mut [u8]) {
    for byte in bytes {
        if !matches!(byte, b'\r' | b'\n') {
            *byte = MASK;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Completeness, Response, body_progress, summarise};

    fn redacted(hide: fn(&mut Vec<u8>), text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        hide(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn requests() {
        let table = [
            (
                "GET /a?token=s3cret HTTP/1.1\r\nHost: shop\r\nCookie: sid=1 2\r\nX-Request-Id: r1\r\n\r\nbody",
                "GET /a?************ HTTP/1.1\r\nHost: shop\r\nCookie: ***** *\r\nX-Request-Id: r1\r\n\r\n",
            ),
            // Cut within a value, within a name, within the query.
            (
                "GET / HTTP/1.1\r\nAuthorization: Bas",
                "GET / HTTP/1.1\r\nAuthorization: ***",
            ),
            ("GET / HTTP/1.1\r\nAuthor", "GET / HTTP/1.1\r\n******"),
            ("GET /?q=1", "GET /?***"),
            // A folded value.
            (
                "GET / HTTP/1.1\r\nCookie: a\r\n b=c\r\nHost: h\r\n\tx\r\n",
                "GET / HTTP/1.1\r\nCookie: *\r\n ***\r\nHost: h\r\n\tx\r\n",
            ),
            ("", ""),
        ];
        for (before, after) in table {
            assert_eq!(redacted(request, before), after);
        }
        // A hello stays, ciphertext does not, lengths are true.
        let mut tls = vec![
            TLS_HANDSHAKE,
            3,
            3,
            0,
            2,
            1,
            2,
            0x17,
            3,
            3,
            0,
            3,
            7,
            8,
            9,
            0x17,
            3,
        ];
        let hidden = [
            TLS_HANDSHAKE,
            3,
            3,
            0,
            2,
            1,
            2,
            0x17,
            3,
            3,
            0,
            3,
            MASK,
            MASK,
            MASK,
            0x17,
            3,
        ];
        request(&mut tls);
        assert_eq!(tls, hidden);
        let mut alert = vec![0x15, 3, 3, 0, 2, 2, 40, 0x15, 3, 3, 0, 26, 5, 5];
        response(&mut alert);
        assert_eq!(
            alert,
            [0x15, 3, 3, 0, 2, 2, 40, 0x15, 3, 3, 0, 26, MASK, MASK]
        );
        let mut other = vec![1; 100];
        request(&mut other);
        assert_eq!(other.len(), UNKNOWN_KEPT);
    }

    #[test]
    fn responses() {
        let table = [
            (
                "HTTP/1.1 200 OK\r\nSet-Cookie: sid=1\r\nContent-Length: 9\r\n\r\npassword=",
                "HTTP/1.1 200 OK\r\nSet-Cookie: *****\r\nContent-Length: 9\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe\nlo\r\n0\r\nx: y\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n*****\r\n0\r\n****\r\n\r\n",
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Key: k\r\n\r\nbody",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Key: *\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Le",
                "HTTP/1.1 200 OK\r\n**********",
            ),
            (
                "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
                "HTTP/1.0 400 Bad Request\r\n\r\n****** sent an HTTP request to an HTTPS server",
            ),
            (
                "HTTP/1.1 400 B\r\nTransfer-Encoding: chunked\r\n\r\n36\r\n<p>The plain HTTP request was sent to HTTPS port</p>a=b\r\n",
                "HTTP/1.1 400 B\r\nTransfer-Encoding: chunked\r\n\r\n36\r\n***The plain HTTP request was sent to HTTPS port*******\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nX: y\r\n\r\nThe plain HTTP request was sent to HTTPS port",
                "HTTP/1.1 200 OK\r\nX: *\r\n\r\n",
            ),
            // What a proxy may have refused it for.
            (
                "HTTP/1.1 200 OK\r\nX Y: s\x01e\rc\0\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\n",
                "HTTP/1.1 200 OK\r\nX Y: *\x01*\r*\0\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\n",
            ),
            // A chunk with a wrong size.
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nsecret\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n******\r\n",
            ),
        ];
        for (before, after) in table {
            assert_eq!(redacted(response, before), after);
        }
    }

    #[test]
    fn a_diagnosis_sees_the_same() {
        let heads = [
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX: y\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        ];
        for text in heads {
            let progress = |first: &[u8]| -> Completeness {
                body_progress(Response {
                    method: Some(b"GET"),
                    first,
                    received: text.len() as u64,
                    last: &[],
                })
            };
            let hidden = redacted(response, text);
            assert_eq!(
                progress(text.as_bytes()),
                progress(hidden.as_bytes()),
                "{text}"
            );
        }
        let text = "GET /a?b=c HTTP/1.1\r\nHost: h\r\nCookie: x\r\nX-Request-Id: 7\r\n\r\n";
        assert_eq!(
            summarise(text.as_bytes()),
            summarise(redacted(request, text).as_bytes())
        );
    }

    #[test]
    fn any_bytes_are_taken() {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx\r\n0\r\n\r\n";
        for cut in 0..text.len() {
            for flip in [0u8, 0x80, b'\n', b'?'] {
                let mut bytes = text[..cut].to_vec();
                if let Some(last) = bytes.last_mut() {
                    *last ^= flip;
                }
                let mut as_request = bytes.clone();
                request(&mut as_request);
                response(&mut bytes);
            }
        }
    }
}
