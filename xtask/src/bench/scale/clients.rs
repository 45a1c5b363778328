//! Clients that stay: processes of their own, since each end of a connection takes a descriptor and a
//! process may have no more than the limit (`ulimit -Hn`).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::lab::process::{Running, bound, raise_descriptors};

/// The hidden command that runs [`hold`].
pub const CLIENTS_COMMAND: &str = "bench-clients";

/// What such a process prints when its connections are open.
const OPEN: &str = "open";

/// Clients have this many ports for each of their addresses, from [`FIRST_PORT`] on: below those that Linux
/// gives out by default (`net.ipv4.ip_local_port_range`).
const OF_ONE_ADDRESS: usize = 20_000;
const FIRST_PORT: u16 = 12_000;

/// A process of clients; their connections close when it is dropped.
pub(super) struct Clients {
    running: Running,
}

impl Clients {
    /// Starts the clients from the n-th on. Errors: there is no such program.
    pub(super) fn start(addr: SocketAddr, first: usize, count: usize) -> Result<Self> {
        let mut command = bound(&std::env::current_exe()?);
        command
            .arg(CLIENTS_COMMAND)
            .args([addr.to_string(), first.to_string(), count.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Ok(Self {
            running: Running::start(&mut command)?,
        })
    }

    /// Waits until each has had its answer. Errors: one has not; what it said stands on standard error.
    pub(super) fn await_open(&mut self) -> Result<()> {
        let stdout = self.running.child().stdout.take();
        let mut line = String::new();
        BufReader::new(stdout.context("waited twice")?).read_line(&mut line)?;
        ensure!(
            line.trim_end() == OPEN,
            "a process of clients ended before its connections were open"
        );
        Ok(())
    }
}

/// Opens connections, asks over each, says so, and keeps them until the process is ended.
///
/// # Errors
/// One of them gets no good response.
pub fn hold(addr: SocketAddr, first: usize, count: usize) -> Result<()> {
    raise_descriptors(count + 100);
    let mut open = Vec::with_capacity(count);
    for n in first..first + count {
        open.push(ask(addr, n).with_context(|| format!("connection {n}"))?);
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{OPEN}")?;
    stdout.flush()?;
    loop {
        std::thread::park();
    }
}

/// Connects as the n-th client, asks, and stays.
fn ask(addr: SocketAddr, n: usize) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // All of 127.0.0.0/8 is this machine.
    let from = 1 + u32::try_from(n / OF_ONE_ADDRESS)?;
    let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + from);
    let port = FIRST_PORT + u16::try_from(n % OF_ONE_ADDRESS)?;
    // Else the kernel looks for a port that no connection at all has.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((source, port)).into())?;
    socket.connect(&addr.into())?;
    let mut client = TcpStream::from(socket);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
    let mut answer = [0; 1024];
    let len = client.read(&mut answer)?;
    ensure!(
        answer[..len].starts_with(b"HTTP/1.1 200"),
        "not a good response"
    );
    Ok(client)
}
