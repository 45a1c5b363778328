//! An HTTP server that gives the same answer to everything and remembers what it was asked: for what
//! a real receiver cannot be made to say on demand, and for files that Prometheus scrapes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Longest that a client may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest body that is taken, bytes.
const BODY_MAX: u64 = 64 << 20;

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Always {
    /// Status code.
    pub status: u16,
    /// Further header lines, without line ends.
    pub headers: Vec<String>,
    /// Body.
    pub body: Vec<u8>,
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// First line.
    pub line: String,
    /// Header lines: name in small letters, and value.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

struct Shared {
    always: Mutex<Always>,
    asked: Mutex<Vec<Asked>>,
    over: AtomicBool,
}

/// A running server; ended when dropped.
pub struct Answering {
    addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(always: Always) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            always: Mutex::new(always),
            asked: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.over.load(Ordering::Relaxed) {
                    return;
                }
                // A client that goes away in the middle is its own affair. One at a time will do.
                let _ = stream.and_then(|stream| serve(&stream, &for_thread));
            }
        });
        Ok(Self {
            addr,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers so from now on.
    pub fn answer(&self, always: Always) {
        *self
            .shared
            .always
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = always;
    }

    /// What came so far.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.shared.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the thread from waiting for a connection.
        let _ = TcpStream::connect_timeout(&self.addr, PATIENCE);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(());
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = Vec::new();
    reader
        .by_ref()
        .take(BODY_MAX.min(length))
        .read_to_end(&mut body)?;
    let asked = Asked {
        line: line.trim_end().to_owned(),
        headers,
        body,
    };
    shared
        .asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(asked);

    let always = shared
        .always
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let mut head = format!(
        "HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n",
        always.status,
        always.body.len()
    );
    for header in &always.headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(&always.body)?;
    stream.shutdown(Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::receivers::http;

    #[test]
    fn it_answers_as_told_and_remembers() {
        let mut always = Always {
            status: 429,
            headers: vec!["Retry-After: 7".into()],
            body: b"slow down".to_vec(),
        };
        let server = Answering::start(always.clone()).unwrap();
        let answer = http::post_json(server.addr(), "/v1/traces", b"{}").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (429, "slow down"));
        assert_eq!(answer.header("retry-after"), Some("7"));
        always.status = 200;
        server.answer(always);
        assert_eq!(http::get(server.addr(), "/x").unwrap().status, 200);
        let asked = server.asked();
        assert_eq!(asked[0].line, "POST /v1/traces HTTP/1.0");
        assert_eq!(asked[0].body, b"{}");
        assert_eq!(asked[1].line, "GET /x HTTP/1.0");
        let addr = server.addr();
        drop(server);
        assert!(http::get(addr, "/").is_err());
    }
}
