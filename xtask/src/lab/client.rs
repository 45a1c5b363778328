//! A small HTTP/1.1 client that tells how its connection ended, which ordinary clients hide.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, SockRef, Socket, Type};

/// A request to send.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Method.
    pub method: &'a str,
    /// Request target.
    pub target: &'a str,
    /// `x-request-id`, if any.
    pub id: Option<&'a str>,
    /// Body; sent with its length when the method is not GET or HEAD.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A GET.
    pub const fn get(target: &'a str) -> Self {
        Self {
            method: "GET",
            target,
            id: None,
            body: b"",
        }
    }

    /// A POST.
    pub const fn post(target: &'a str, body: &'a [u8]) -> Self {
        Self {
            method: "POST",
            target,
            id: None,
            body,
        }
    }

    /// The same with a request id.
    pub const fn with_id(self, id: &'a str) -> Self {
        Self {
            id: Some(id),
            ..self
        }
    }

    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self {
            method,
            target,
            id,
            body,
        } = self;
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: lab.test\r\n");
        if let Some(id) = id {
            text += &format!("X-Request-Id: {id}\r\n");
        }
        if !matches!(*method, "GET" | "HEAD") {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += "\r\n";
        [text.as_bytes(), body].concat()
    }
}

/// The state of the connection after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyEnd {
    /// Still open.
    Open,
    /// The peer closed.
    Fin,
    /// The peer reset.
    Reset,
    /// Nothing more came in time.
    TimedOut,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status of the final response; `None` if there was no whole head.
    pub status: Option<u16>,
    /// Head of the final response.
    pub head: String,
    /// All bytes received for this request, interim responses included.
    pub bytes: u64,
    /// Bytes after the head.
    pub body_bytes: u64,
    /// The response is whole by its own framing.
    pub complete: bool,
    /// State of the connection.
    pub end: ReplyEnd,
}

impl Reply {
    /// Value of a header of the final response.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// One connection to a proxy.
pub struct Client {
    stream: TcpStream,
    local: SocketAddr,
    sent: u64,
}

impl Client {
    /// Connects. Reads give up after ten seconds.
    pub fn connect(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))
            .with_context(|| format!("cannot connect to {to}"))?;
        Self::over(stream)
    }

    /// The same from that address and port of this host.
    pub fn connect_from(from: SocketAddr, to: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let connected = socket
            .bind(&from.into())
            .and_then(|()| socket.connect_timeout(&to.into(), Duration::from_secs(2)));
        connected.with_context(|| format!("cannot connect from {from} to {to}"))?;
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Result<Self> {
        // A proxy that does not take a whole request must not hold us for ever.
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        Ok(Self {
            stream,
            local,
            sent: 0,
        })
    }

    /// Our end.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Bytes sent on this connection.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends a request without waiting for the answer.
    pub fn write(&mut self, request: &Request<'_>) -> Result<()> {
        self.write_raw(&request.to_bytes())
    }

    /// Sends any bytes.
    pub fn write_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("cannot send")?;
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Sends a request and reads its answer.
    pub fn send(&mut self, request: &Request<'_>) -> Result<Reply> {
        self.write(request)?;
        Ok(self.read(request.method == "HEAD"))
    }

    /// Reads an answer to its end, as far as there is one.
    pub fn read(&mut self, to_head: bool) -> Reply {
        let mut bytes = Vec::new();
        loop {
            let shape = Shape::of(&bytes, to_head);
            if shape.complete == Some(true) {
                return shape.reply(&bytes, ReplyEnd::Open);
            }
            let mut chunk = [0; 16 * 1024];
            let end = match self.stream.read(&mut chunk) {
                Ok(0) => ReplyEnd::Fin,
                Ok(n) => {
                    bytes.extend_from_slice(&chunk[..n]);
                    continue;
                }
                Err(error) => end_of(error.kind()),
            };
            return shape.reply(&bytes, end);
        }
    }

    /// Reads until the head of the final response is there, and whatever came with it.
    pub fn read_head(&mut self) -> Result<Reply> {
        let mut bytes = Vec::new();
        loop {
            let shape = Shape::of(&bytes, false);
            if shape.status.is_some() {
                return Ok(shape.reply(&bytes, ReplyEnd::Open));
            }
            let mut chunk = [0; 16 * 1024];
            let n = self.stream.read(&mut chunk).context("no response head")?;
            ensure!(n > 0, "the connection ended before the response head");
            bytes.extend_from_slice(&chunk[..n]);
        }
    }

    /// Reads whatever is there next, as text.
    pub fn read_some(&mut self) -> Result<String> {
        let mut chunk = [0; 16 * 1024];
        let n = self.stream.read(&mut chunk).context("nothing to read")?;
        ensure!(n > 0, "the connection ended");
        Ok(String::from_utf8_lossy(&chunk[..n]).into_owned())
    }

    /// Waits for the peer to end the connection; `Open` if it does not in that time.
    pub fn wait_end(&mut self, patience: Duration) -> ReplyEnd {
        // A zero timeout is refused by the system; ours are not zero.
        let _ = self.stream.set_read_timeout(Some(patience));
        loop {
            let mut sink = [0; 1024];
            match self.stream.read(&mut sink) {
                Ok(0) => return ReplyEnd::Fin,
                Ok(_) => {}
                Err(error) => {
                    return match end_of(error.kind()) {
                        ReplyEnd::TimedOut => ReplyEnd::Open,
                        end => end,
                    };
                }
            }
        }
    }

    /// Goes away with a reset.
    pub fn abort(self) {
        // Fails only on a socket that is gone already.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

fn end_of(kind: ErrorKind) -> ReplyEnd {
    match kind {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ReplyEnd::TimedOut,
        _ => ReplyEnd::Reset,
    }
}

/// What the bytes so far are.
#[derive(Default)]
struct Shape {
    status: Option<u16>,
    head: std::ops::Range<usize>,
    /// `None`: the end of the connection ends the body.
    complete: Option<bool>,
}

impl Shape {
    fn of(bytes: &[u8], to_head: bool) -> Self {
        let mut start = 0;
        loop {
            let Some(len) = find(&bytes[start..], b"\r\n\r\n") else {
                return Self {
                    complete: Some(false),
                    ..Self::default()
                };
            };
            let head = start..start + len + 4;
            let text = String::from_utf8_lossy(&bytes[head.clone()]);
            let status: Option<u16> = text.split(' ').nth(1).and_then(|word| word.parse().ok());
            if matches!(status, Some(100..=199)) {
                start = head.end;
                continue;
            }
            let body = &bytes[head.end..];
            let header = |name: &str| {
                let mut lines = text.lines().filter_map(|line| line.split_once(':'));
                lines
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.trim().to_owned())
            };
            let complete = if to_head || matches!(status, Some(204 | 304)) {
                Some(true)
            } else if header("transfer-encoding").is_some() {
                Some(body.ends_with(b"0\r\n\r\n"))
            } else {
                header("content-length")
                    .and_then(|length| length.parse::<usize>().ok())
                    .map(|length| body.len() >= length)
            };
            return Self {
                status,
                head,
                complete,
            };
        }
    }

    fn reply(self, bytes: &[u8], end: ReplyEnd) -> Reply {
        let Self {
            status,
            head,
            complete,
        } = self;
        Reply {
            status,
            body_bytes: bytes.len().saturating_sub(head.end) as u64,
            head: String::from_utf8_lossy(&bytes[head]).into_owned(),
            bytes: bytes.len() as u64,
            complete: complete.unwrap_or(end == ReplyEnd::Fin),
            end,
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|part| part == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_decides_what_is_whole() {
        for (text, to_head, status, complete) in [
            ("", false, None, Some(false)),
            ("HTTP/1.1 200 OK\r\n", false, None, Some(false)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na",
                false,
                Some(200),
                Some(false),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
                false,
                Some(200),
                Some(true),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                true,
                Some(200),
                Some(true),
            ),
            ("HTTP/1.1 204 No\r\n\r\n", false, Some(204), Some(true)),
            ("HTTP/1.1 200 OK\r\n\r\nabc", false, Some(200), None),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
                false,
                Some(200),
                Some(false),
            ),
            (
                "HTTP/1.1 103 Hi\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
                false,
                Some(204),
                Some(true),
            ),
            ("HTTP/1.1 100 Continue\r\n\r\n", false, None, Some(false)),
        ] {
            let shape = Shape::of(text.as_bytes(), to_head);
            assert_eq!((shape.status, shape.complete), (status, complete), "{text}");
        }
    }
}
