//! A server that does as a script says.

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) line: String,
    /// Names in small letters.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// What to do with it.
pub(super) enum Reply {
    /// Status line and headers without their ends, and the body.
    Http(u16, &'static [&'static str], Vec<u8>),
    /// These bytes, and close.
    Raw(Vec<u8>),
    /// Nothing at all, but stay.
    Never,
    /// Nothing, and close.
    Close,
    /// A 200 whose body has no end.
    Endless,
}

impl Reply {
    pub(super) fn ok() -> Self {
        Self::Http(
            200,
            &["Content-Type: application/json"],
            b"{\"partialSuccess\":{}}".to_vec(),
        )
    }

    pub(super) fn status(status: u16) -> Self {
        Self::Http(status, &[], Vec::new())
    }
}

type Script = dyn Fn(usize, &Request) -> Reply + Send + Sync;

/// Listens until dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<(Mutex<Vec<Request>>, Condvar)>,
}

impl Server {
    /// `script` gets the number of the request, from 0.
    pub(super) fn start(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), script)
    }

    pub(super) fn at(
        address: SocketAddr,
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let script: Arc<Script> = Arc::new(script);
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, script) = (Arc::clone(&shared), Arc::clone(&script));
                let Ok(stream) = stream else { return };
                thread::spawn(move || serve(stream, &seen, &*script));
            }
        });
        Self { address, seen }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.seen.0.lock().unwrap().clone()
    }

    pub(super) fn bodies(&self) -> Vec<Vec<u8>> {
        self.requests()
            .into_iter()
            .map(|request| request.body)
            .collect()
    }

    /// Waits until so many have come.
    pub(super) fn wait_for(&self, count: usize) {
        let (seen, more) = &*self.seen;
        let seen = seen.lock().unwrap();
        let few = |seen: &mut Vec<Request>| seen.len() < count;
        let (seen, waited) = more.wait_timeout_while(seen, super::LONG, few).unwrap();
        assert!(!waited.timed_out(), "only {} of {count} came", seen.len());
    }
}

fn serve(stream: TcpStream, seen: &(Mutex<Vec<Request>>, Condvar), script: &Script) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut reader) {
        let number = {
            let mut all = seen.0.lock().unwrap();
            all.push(request.clone());
            seen.1.notify_all();
            all.len() - 1
        };
        if !answer(&stream, script(number, &request)) {
            let _gone = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// True: the connection goes on.
fn answer(mut stream: &TcpStream, reply: Reply) -> bool {
    match reply {
        Reply::Http(status, headers, body) => {
            let mut head = format!(
                "HTTP/1.1 {status} Told\r\nContent-Length: {}\r\n",
                body.len()
            );
            for header in headers {
                head.push_str(header);
                head.push_str("\r\n");
            }
            head.push_str("\r\n");
            let bytes = [head.as_bytes(), &body].concat();
            stream.write_all(&bytes).is_ok()
        }
        Reply::Raw(bytes) => {
            let _gone = stream.write_all(&bytes);
            false
        }
        Reply::Never => {
            thread::sleep(super::LONG);
            false
        }
        Reply::Close => false,
        Reply::Endless => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
            let mut sent = stream.write_all(head.as_bytes());
            while sent.is_ok() {
                sent = stream.write_all(&[b' '; 1 << 16]);
            }
            false
        }
    }
}

pub(super) fn read(reader: &mut impl std::io::BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let len = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        line: line.trim_end().to_owned(),
        headers,
        body,
    })
}

/// A port of this host at which nothing listens for now.
pub(super) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// For servers that are to come up later.
pub(super) fn pause() {
    thread::sleep(Duration::from_millis(150));
}
