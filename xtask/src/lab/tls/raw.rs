//! A listener that answers the first bytes of a connection with something that is no handshake, or
//! breaks the handshake off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::{ServerConfig, ServerConnection};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Bytes of a server's first flight that are sent before the silence: within the ServerHello.
const PART_OF_FLIGHT: usize = 60;

/// For how long a connection is held by a listener that does nothing with it.
const SILENCE: Duration = Duration::from_secs(20);

/// Such servers look up their client's name first. A banner that comes before the hello is sent is
/// something else: NGINX then gives up without a hello, and nothing shows that it wanted TLS.
const BEFORE_BANNER: Duration = Duration::from_millis(40);

/// What it does once the first bytes are there.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Closes with FIN.
    Fin,
    /// Resets.
    Reset,
    /// Sends a fatal alert of that number (RFC 8446, 6) in the clear and closes.
    Alert(u8),
    /// Sends this text and closes.
    Text(&'static str),
    /// Speaks first, whatever is asked, in a language that is not HTTP.
    Banner,
    /// Reads nothing and says nothing.
    Deaf,
    /// Reads and says nothing.
    Mute,
    /// Sends the begin of its flight and then nothing more.
    Part(Arc<ServerConfig>),
}

/// A running listener; dropping it closes all connections.
pub struct Raw {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Raw {
    /// Starts on that address.
    pub fn bind(addr: SocketAddr, answer: Answer) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a listener's runtime")?;
        let listener = runtime
            .block_on(TcpListener::bind(addr))
            .with_context(|| format!("cannot listen on {addr}"))?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("lab-raw".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(&listener, &answer) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Raw {
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

async fn accept(listener: &TcpListener, answer: &Answer) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, answer.clone()));
            }
            // Out of descriptors: wait for some to be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Errors here are the peer's going first, which is one of the ends that are wanted.
async fn serve(mut stream: TcpStream, answer: Answer) {
    if matches!(answer, Answer::Banner) {
        tokio::time::sleep(BEFORE_BANNER).await;
        let _ = stream.write_all(b"220 lab.test ESMTP ready\r\n").await;
    }
    if matches!(answer, Answer::Deaf) {
        tokio::time::sleep(SILENCE).await;
        return;
    }
    let mut first = vec![0; 16 * 1024];
    let Ok(length @ 1..) = stream.read(&mut first).await else {
        return;
    };
    let bytes = match &answer {
        Answer::Reset => {
            // Fails only on a socket that is gone; then there is nothing to reset.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return;
        }
        Answer::Fin | Answer::Deaf | Answer::Mute | Answer::Banner => Vec::new(),
        Answer::Alert(number) => alert(*number).to_vec(),
        Answer::Text(text) => text.as_bytes().to_vec(),
        Answer::Part(config) => {
            let mut flight = first_flight(config, &first[..length]);
            flight.truncate(PART_OF_FLIGHT);
            flight
        }
    };
    let _ = stream.write_all(&bytes).await;
    if matches!(answer, Answer::Mute | Answer::Part(_) | Answer::Banner) {
        let until_closed = async { while matches!(stream.read(&mut first).await, Ok(1..)) {} };
        let _ = tokio::time::timeout(SILENCE, until_closed).await;
    }
}

/// A record of the type alert, level fatal (RFC 8446, 5.1 and 6).
const fn alert(number: u8) -> [u8; 7] {
    [0x15, 0x03, 0x03, 0, 2, 2, number]
}

/// What a server answers to that hello; nothing if it is none.
fn first_flight(config: &Arc<ServerConfig>, hello: &[u8]) -> Vec<u8> {
    let mut flight = Vec::new();
    if let Ok(mut server) = ServerConnection::new(Arc::clone(config)) {
        let mut hello = hello;
        // What cannot be read gives no flight, and the silence comes at once.
        let _ = server.read_tls(&mut hello);
        let _ = server.process_new_packets();
        let _ = server.write_tls(&mut flight);
    }
    flight
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;
    use crate::lab::net::free_ports;

    fn answered(answer: Answer) -> Vec<u8> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1).unwrap()[0].port()));
        let _raw = Raw::bind(addr, answer).unwrap();
        let mut client = TcpStream::connect(addr).unwrap();
        client
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        client.write_all(b"hello").unwrap();
        let mut got = Vec::new();
        // A timeout or a reset ends it as well.
        let _ = client.read_to_end(&mut got);
        got
    }

    #[test]
    fn answers() {
        assert_eq!(answered(Answer::Alert(40)), [21, 3, 3, 0, 2, 2, 40]);
        assert!(answered(Answer::Text("HTTP/1.1 400 ")).starts_with(b"HTTP/1.1 400 "));
        assert!(answered(Answer::Banner).starts_with(b"220 "));
        for silent in [Answer::Fin, Answer::Reset, Answer::Deaf, Answer::Mute] {
            assert!(answered(silent).is_empty());
        }
    }
}
