//! One HTTP exchange on a connection of its own, for talking to receivers. HTTP/1.0, so that the end
//! of the connection is the end of the answer and nothing comes in chunks.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Longest that one read or write may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is taken, bytes.
const ANSWER_MAX: u64 = 64 << 20;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines: name in small letters, and value.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a header, named in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// The body for a person.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("status {}, not JSON: {}", self.status, self.text()))
    }
}

/// Asks for a path (with query).
pub fn get(to: SocketAddr, path: &str) -> Result<Answer> {
    exchange(to, "GET", path, &[], &[])
}

/// Posts a JSON document.
pub fn post_json(to: SocketAddr, path: &str, body: &[u8]) -> Result<Answer> {
    exchange(
        to,
        "POST",
        path,
        &[("Content-Type", "application/json")],
        body,
    )
}

/// Any exchange. Errors: no connection, or no whole answer within ten seconds of silence.
pub fn exchange(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let what = || format!("{method} http://{to}{path}");
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).with_context(what)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {to}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).with_context(what)?;
    stream.write_all(body).with_context(what)?;
    let mut bytes = Vec::new();
    stream
        .take(ANSWER_MAX)
        .read_to_end(&mut bytes)
        .with_context(what)?;
    parse(&bytes).with_context(what)
}

/// Escapes a value for the query part of a path.
pub fn escape(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("the connection ended before the head of an answer did")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1."), "no HTTP: {status:?}");
    let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let answer = Answer {
        status: code.with_context(|| format!("no status: {status:?}"))?,
        headers,
        body: bytes[end + 4..].to_vec(),
    };
    if let Some(length) = answer.header("content-length") {
        ensure!(
            length == answer.body.len().to_string(),
            "{} of {length} bytes of the body came",
            answer.body.len()
        );
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let answer = parse(b"HTTP/1.1 503 No\r\nRetry-After:  7\r\n\r\nbody").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (503, "body"));
        assert_eq!(answer.header("retry-after"), Some("7"));
        assert_eq!(answer.header("x"), None);
        for torn in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n1234",
        ] {
            assert!(parse(torn).is_err(), "{torn:?}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(escape("a{b=\"c d\"}+é"), "a%7Bb%3D%22c%20d%22%7D%2B%C3%A9");
    }
}
