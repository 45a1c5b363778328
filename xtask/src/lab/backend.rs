//! A backend that fails as the request's path says ([`crate::lab::fault`]) and remembers what it
//! did, byte for byte, so that a tracer's numbers can be compared with the truth.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

use super::fault::{Death, End, Facts, Fault, Step, Target, plan};
use super::process::send;
use super::stream::Stream;

/// How long a caller waits for the backend to reach a state that it is about to reach.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest request that is taken, bytes; a longer one ends the connection.
const REQUEST_MAX: usize = 1 << 20;

/// How the connection stood after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Left open.
    Kept,
    /// We closed with FIN.
    Fin,
    /// We reset it.
    Reset,
    /// The peer was the first to go.
    ByPeer,
}

/// One exchange, as the backend saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The proxy's end of the connection.
    pub peer: SocketAddr,
    /// Number of the connection, from 1.
    pub connection: u64,
    /// Number of the exchange on its connection, from 1.
    pub exchange: u32,
    /// Request method.
    pub method: String,
    /// Path without the query string.
    pub path: String,
    /// Bytes of the request: head and body.
    pub request_bytes: u64,
    /// Bytes handed to the kernel for this response, interim responses included.
    pub response_bytes: u64,
    /// How it ended.
    pub ended: Ended,
}

/// A header that stands in for the request's target.
pub const FAULT_HEADER: &str = "x-lab-fault";

#[derive(Default)]
struct State {
    connections: u64,
    served: Vec<Served>,
    /// Connections that wait for a request, and who is at the other end.
    idle: BTreeMap<u64, SocketAddr>,
    /// Those of them that have been told to close.
    closing: BTreeSet<u64>,
    seen: HashSet<String>,
}

#[derive(Default)]
struct Shared {
    /// Do paths choose faults?
    faults: bool,
    /// May a request end the process?
    mortal: bool,
    /// Speaks TLS.
    tls: Option<TlsAcceptor>,
    /// Remember nothing of what was served?
    forgetful: bool,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `ready` gives something.
    fn wait<T>(&self, mut ready: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.lock();
        loop {
            if let Some(result) = ready(&state) {
                return Some(result);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// A running backend. Dropping it closes all connections and joins its thread.
pub struct Backend {
    addr: SocketAddr,
    shared: Arc<Shared>,
    close_idle: watch::Sender<()>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// Starts on a free port of 127.0.0.1.
    pub fn start() -> Result<Self> {
        Self::bind((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts one that answers every path with 200: where retries go.
    pub fn start_good() -> Result<Self> {
        Self::serve((Ipv4Addr::LOCALHOST, 0).into(), Shared::default())
    }

    /// Starts on that address.
    pub fn bind(addr: SocketAddr) -> Result<Self> {
        Self::serve(
            addr,
            Shared {
                faults: true,
                ..Shared::default()
            },
        )
    }

    /// Starts one on that address that speaks TLS. A handshake that fails ends the connection, with
    /// the alert that belongs to it.
    pub fn bind_tls(addr: SocketAddr, config: Arc<ServerConfig>) -> Result<Self> {
        Self::serve(
            addr,
            Shared {
                faults: true,
                tls: Some(TlsAcceptor::from(config)),
                ..Shared::default()
            },
        )
    }

    /// Starts one on that address whose requests may end this very process.
    pub fn bind_mortal(addr: SocketAddr) -> Result<Self> {
        Self::serve(
            addr,
            Shared {
                faults: true,
                mortal: true,
                ..Shared::default()
            },
        )
    }

    /// Starts one on that address that remembers nothing, for much traffic.
    pub fn bind_forgetful(addr: SocketAddr) -> Result<Self> {
        Self::serve(
            addr,
            Shared {
                faults: true,
                forgetful: true,
                ..Shared::default()
            },
        )
    }

    fn serve(addr: SocketAddr, shared: Shared) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the backend's runtime")?;
        let listener = runtime
            .block_on(TcpListener::bind(addr))
            .with_context(|| format!("cannot listen on {addr}"))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(shared);
        let (close_idle, idle_signal) = watch::channel(());
        let (stop, stopped) = oneshot::channel();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("lab-backend".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, for_thread, idle_signal) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            addr,
            shared,
            close_idle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Everything that was served so far.
    pub fn served(&self) -> Vec<Served> {
        self.shared.lock().served.clone()
    }

    /// What was done for that path, waiting a moment for the first; the oldest first.
    pub fn served_for(&self, path: &str) -> Vec<Served> {
        let find = |state: &State| -> Vec<Served> {
            let hits = state.served.iter().filter(|served| served.path == path);
            hits.cloned().collect()
        };
        self.shared
            .wait(|state| Some(find(state)).filter(|found| !found.is_empty()))
            .unwrap_or_default()
    }

    /// Number of open connections that wait for a next request.
    pub fn idle(&self) -> usize {
        self.shared.lock().idle.len()
    }

    /// Closes every idle keep-alive connection with FIN, now, and gives their number. When this
    /// returns, `close()` has returned for all of them.
    pub fn close_idle(&self) -> usize {
        self.close_where(|_| true)
    }

    /// The same for the connection to that peer only.
    pub fn close_peer(&self, peer: SocketAddr) -> usize {
        self.close_where(|other| other == peer)
    }

    fn close_where(&self, wanted: impl Fn(SocketAddr) -> bool) -> usize {
        let closing: BTreeSet<u64> = {
            let mut state = self.shared.lock();
            let idle = state.idle.iter();
            let numbers = idle.filter(|(_, peer)| wanted(**peer));
            let numbers: BTreeSet<u64> = numbers.map(|(number, _)| *number).collect();
            state.closing.extend(&numbers);
            numbers
        };
        self.close_idle.send_replace(());
        self.shared.wait(|state| {
            let open = closing.iter().any(|number| state.idle.contains_key(number));
            (!open).then_some(())
        });
        closing.len()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended by itself; then there is nobody to tell.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, idle_signal: watch::Receiver<()>) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors: wait for some to be closed.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let number = shared.update(|state| {
            state.connections += 1;
            state.connections
        });
        let shared = Arc::clone(&shared);
        let idle_signal = idle_signal.clone();
        tokio::spawn(async move {
            let stream = match &shared.tls {
                None => Stream::Plain(stream),
                // What fails is told to the peer; there is nothing left to serve.
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => Stream::Tls(Box::new(stream)),
                    Err(_) => return,
                },
            };
            let connection = Connection {
                stream,
                peer,
                number,
                exchange: 0,
                buffer: Vec::new(),
                shared,
                idle_signal,
            };
            connection.serve().await;
        });
    }
}

struct Connection {
    stream: Stream,
    peer: SocketAddr,
    number: u64,
    exchange: u32,
    buffer: Vec<u8>,
    shared: Arc<Shared>,
    idle_signal: watch::Receiver<()>,
}

struct Request {
    method: String,
    target: String,
    bytes: u64,
    keep_alive: bool,
}

impl Connection {
    async fn serve(mut self) {
        let mut idle_limit = None;
        self.set_idle(true);
        while self.next_request(idle_limit).await {
            self.set_idle(false);
            let Ok(Some(request)) = self.read_request().await else {
                break;
            };
            self.exchange += 1;
            match self.answer(&request).await {
                Some(limit) => idle_limit = limit,
                None => return,
            }
        }
        self.say_goodbye().await;
        let Self {
            stream,
            shared,
            number,
            ..
        } = self;
        drop(stream);
        shared.update(|state| {
            state.idle.remove(&number);
            state.closing.remove(&number);
        });
    }

    /// TLS has a word for the end of a connection (RFC 8446, 6.1), which well-bred servers say
    /// before they close.
    async fn say_goodbye(&mut self) {
        if self.stream.is_tls() {
            // The peer may be gone already.
            let _ = self.stream.shutdown().await;
        }
    }

    fn set_idle(&mut self, idle: bool) {
        self.idle_signal.mark_unchanged();
        self.shared.update(|state| {
            if idle {
                state.idle.insert(self.number, self.peer);
            } else {
                state.idle.remove(&self.number);
                state.closing.remove(&self.number);
            }
        });
    }

    /// Waits for the first byte of a request; `false`: there will be none.
    async fn next_request(&mut self, limit: Option<Duration>) -> bool {
        let timeout = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(timeout);
        loop {
            if self.shared.lock().closing.contains(&self.number) {
                return false;
            }
            tokio::select! {
                biased;
                changed = self.idle_signal.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                }
                () = &mut timeout => return false,
                read = self.stream.read_buf(&mut self.buffer) => return matches!(read, Ok(1..)),
            }
        }
    }

    async fn read_request(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some((request, rest)) = parse(&self.buffer, self.shared.faults) {
                self.buffer = rest;
                return Ok(Some(request));
            }
            if self.buffer.len() > REQUEST_MAX || self.stream.read_buf(&mut self.buffer).await? == 0
            {
                return Ok(None);
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Carries out the plan. Gives the idle limit if the connection goes on.
    async fn answer(&mut self, request: &Request) -> Option<Option<Duration>> {
        let mut target = Target::parse(&request.target);
        if !self.shared.faults {
            target.fault = Fault::Ok;
        }
        let seen = !self.shared.forgetful
            && self
                .shared
                .update(|state| !state.seen.insert(target.path.to_owned()));
        let plan = plan(
            &target,
            Facts {
                method: &request.method,
                peer: self.peer,
                seen,
            },
        );
        let (end, limit) = match plan.end {
            End::Keep if request.keep_alive => (Ended::Kept, None),
            End::KeepFor(limit) if request.keep_alive => (Ended::Kept, Some(limit)),
            End::Keep | End::KeepFor(_) | End::Fin => (Ended::Fin, None),
            End::Reset => (Ended::Reset, None),
            End::Hang => (Ended::ByPeer, None),
            End::Die(_) | End::Echo(_) => (Ended::Fin, None),
        };
        if end == Ended::Kept {
            // Before the response: whoever has read it may call `close_idle` at once.
            self.set_idle(true);
        }
        let mut response_bytes = 0;
        let mut end_seen = end;
        for step in plan.steps {
            match step {
                Step::Pause(pause) => tokio::time::sleep(pause).await,
                Step::Write(bytes) => match self.write(&bytes).await {
                    Ok(()) => response_bytes += bytes.len() as u64,
                    Err(_) => {
                        end_seen = Ended::ByPeer;
                        break;
                    }
                },
            }
        }
        if let End::Die(death) = plan.end
            && self.shared.mortal
        {
            die(death);
        }
        if let End::Echo(limit) = plan.end {
            self.echo(limit).await;
        }
        if plan.end == End::Hang {
            let mut sink = [0; 1024];
            while matches!(self.stream.read(&mut sink).await, Ok(1..)) {}
        }
        let served = Served {
            peer: self.peer,
            connection: self.number,
            exchange: self.exchange,
            method: request.method.clone(),
            path: target.path.to_owned(),
            request_bytes: request.bytes,
            response_bytes,
            ended: end_seen,
        };
        if !self.shared.forgetful {
            self.shared.update(|state| state.served.push(served));
        }
        if end_seen == Ended::Kept {
            return Some(limit);
        }
        if end_seen == Ended::Reset {
            // Fails only on a socket that is gone; then there is nothing to reset.
            let _ = SockRef::from(self.stream.tcp()).set_linger(Some(Duration::ZERO));
        } else if end_seen == Ended::Fin {
            self.say_goodbye().await;
        }
        self.set_idle(false);
        None
    }
}

impl Connection {
    async fn echo(&mut self, limit: Option<Duration>) {
        let (mut from, mut to) = tokio::io::split(&mut self.stream);
        let copy = tokio::io::copy(&mut from, &mut to);
        // The peer's end of it is one of the two ends that are wanted.
        let _ = tokio::time::timeout(limit.unwrap_or(PATIENCE), copy).await;
    }
}

/// Ends this process. The signals have their default actions here.
fn die(death: Death) -> ! {
    let signal = match death {
        Death::Segv => Signal::SEGV,
        Death::Abort => Signal::ABORT,
        Death::Kill => Signal::KILL,
        Death::Exit => std::process::exit(3),
    };
    // Rust's own handler of SIGSEGV takes itself away at the first; the second meets the default.
    for _ in 0..2 {
        // Cannot fail for ourselves; if it did, we still end.
        let _ = send(std::process::id(), signal);
    }
    std::process::abort()
}

/// One whole request at the front of the buffer, and what follows it.
///
/// With `faults`, a request whose fault does not wait for the body ends with its head.
fn parse(buffer: &[u8], faults: bool) -> Option<(Request, Vec<u8>)> {
    let head_len = find(buffer, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&buffer[..head_len]);
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or("").split(' ');
    let method = words.next().unwrap_or("").to_owned();
    let mut target = words.next().unwrap_or("/").to_owned();
    let mut keep_alive = words.next() == Some("HTTP/1.1");
    let mut body_len = Some(0);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "connection" if value.eq_ignore_ascii_case("close") => keep_alive = false,
            "connection" if value.eq_ignore_ascii_case("keep-alive") => keep_alive = true,
            // Requests that look alike from outside and are answered differently.
            FAULT_HEADER => target = value.to_owned(),
            "content-length" => body_len = value.parse().ok(),
            "transfer-encoding" => {
                body_len = find(&buffer[head_len..], b"0\r\n\r\n").map(|at| at + 5);
            }
            _ => {}
        }
    }
    if faults && Target::parse(&target).is_early() {
        body_len = Some(0);
    }
    let whole = head_len + body_len?;
    if buffer.len() < whole {
        return None;
    }
    let request = Request {
        method,
        target,
        bytes: whole as u64,
        keep_alive,
    };
    Some((request, buffer[whole..].to_vec()))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|part| part == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::client::{Client, ReplyEnd, Request};

    fn get(backend: &Backend, path: &str) -> (Client, crate::lab::client::Reply) {
        let mut client = Client::connect(backend.addr()).unwrap();
        let reply = client.send(&Request::get(path)).unwrap();
        (client, reply)
    }

    #[test]
    fn requests_are_cut_where_they_end() {
        let (request, rest) =
            parse(b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET", true).unwrap();
        assert_eq!((request.bytes, rest.as_slice()), (42, b"GET".as_slice()));
        assert!(request.keep_alive);
        assert!(parse(b"POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nabc", true).is_none());
        let (request, _) = parse(b"GET / HTTP/1.0\r\n\r\n", true).unwrap();
        assert!(!request.keep_alive);
        let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        assert_eq!(parse(chunked, true).unwrap().0.bytes, chunked.len() as u64);
    }

    #[test]
    fn each_fault_is_what_a_client_sees() {
        let backend = Backend::start().unwrap();
        for (path, status, complete, end) in [
            ("/ok", Some(200), true, ReplyEnd::Open),
            ("/ok/big?bytes=70000", Some(200), true, ReplyEnd::Open),
            ("/slow?ms=20", Some(200), true, ReplyEnd::Open),
            ("/fin", None, false, ReplyEnd::Fin),
            ("/rst", None, false, ReplyEnd::Reset),
            ("/partial-header", None, false, ReplyEnd::Fin),
            ("/partial-header-rst", None, false, ReplyEnd::Reset),
            ("/body-fin", Some(200), false, ReplyEnd::Fin),
            ("/body-rst", Some(200), false, ReplyEnd::Reset),
            ("/chunked-ok", Some(200), true, ReplyEnd::Open),
            ("/chunked-fin", Some(200), false, ReplyEnd::Fin),
            ("/chunked-rst", Some(200), false, ReplyEnd::Reset),
            ("/502", Some(502), true, ReplyEnd::Open),
            ("/204", Some(204), true, ReplyEnd::Open),
            ("/cl-delimited", Some(200), true, ReplyEnd::Fin),
            ("/100-continue", Some(200), true, ReplyEnd::Open),
            ("/103-hints", Some(200), true, ReplyEnd::Open),
        ] {
            let (client, reply) = get(&backend, path);
            assert_eq!(
                (reply.status, reply.complete, reply.end),
                (status, complete, end),
                "{path}"
            );
            let path = path.split('?').next().unwrap();
            let served = backend.served_for(path);
            let last = served.last().unwrap();
            assert_eq!(last.peer, client.local(), "{path}");
            assert_eq!(last.response_bytes, reply.bytes, "{path}");
            assert_eq!(last.request_bytes, client.sent(), "{path}");
        }
    }

    #[test]
    fn idle_connections_close_on_command() {
        let backend = Backend::start().unwrap();
        let (mut client, _) = get(&backend, "/ok/a");
        assert_eq!(backend.idle(), 1);
        assert_eq!(backend.close_idle(), 1);
        assert_eq!(client.wait_end(Duration::from_secs(1)), ReplyEnd::Fin);
        assert_eq!(backend.close_idle(), 0);
    }

    #[test]
    fn idle_connections_close_by_themselves() {
        let backend = Backend::start().unwrap();
        let (mut client, reply) = get(&backend, "/close-after?ms=30");
        assert_eq!(reply.end, ReplyEnd::Open);
        assert_eq!(client.wait_end(Duration::from_secs(1)), ReplyEnd::Fin);
    }

    #[test]
    fn exchanges_are_numbered_on_their_connection() {
        let backend = Backend::start().unwrap();
        let mut client = Client::connect(backend.addr()).unwrap();
        for (path, number) in [("/ok/1", 1), ("/204/2", 2), ("/chunked-ok/3", 3)] {
            client.send(&Request::get(path)).unwrap();
            assert_eq!(backend.served_for(path)[0].exchange, number);
        }
    }

    #[test]
    fn dropping_closes_everything() {
        let backend = Backend::start().unwrap();
        let (mut idle, _) = get(&backend, "/ok");
        let mut hanging = Client::connect(backend.addr()).unwrap();
        hanging.write(&Request::get("/hang")).unwrap();
        drop(backend);
        assert_ne!(idle.wait_end(Duration::from_secs(1)), ReplyEnd::Open);
        assert_ne!(hanging.wait_end(Duration::from_secs(1)), ReplyEnd::Open);
    }
}
