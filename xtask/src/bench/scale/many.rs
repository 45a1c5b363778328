//! Connections of clients that are open, each of which has carried a request.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use socket2::{Domain, Socket, Type};

use super::super::site::Site;
use super::{Counted, Watched};
use crate::lab::proxy::Kind;

/// Clients have this many ports for each of their addresses, from [`FIRST_PORT`] on: below those that Linux
/// gives out by default (`net.ipv4.ip_local_port_range`).
const OF_ONE_ADDRESS: usize = 20_000;
const FIRST_PORT: u16 = 12_000;

/// What came out.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Many {
    /// Open at the end.
    pub connections: usize,
    /// Opened in a second, each with a request.
    pub opened_per_second: f64,
    /// Resident before, bytes.
    pub rss_bytes_before: u64,
    /// Resident with all of them, bytes.
    pub rss_bytes: u64,
    /// Time of the process on a processor by time that went by, while they were opened.
    pub user_cpu_ratio: f64,
    /// What the capture counted.
    pub counted: Counted,
}

pub(super) fn run(count: usize, why502: &Path, stop: &AtomicBool) -> Result<Option<Many>> {
    let site = Site::start_for(Kind::Nginx, 3, count + 1000)?;
    let pid = site.proxy_pid().to_string();
    let args = ["--pid", &pid, "--format", "ndjson"];
    let watched = Watched::start(why502, &args)?;
    let mut open = Vec::with_capacity(count);
    for n in 0..count {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let port = FIRST_PORT + u16::try_from(n % OF_ONE_ADDRESS)?;
        let client = ask(site.addr(), n / OF_ONE_ADDRESS, port)
            .with_context(|| format!("connection {n} of {count}"))?;
        open.push(client);
        if (n + 1) % 20_000 == 0 {
            eprintln!("bench: {} of {count} connections are open", n + 1);
        }
    }
    let (cost, ended) = watched.end()?;
    Ok(Some(Many {
        connections: open.len(),
        opened_per_second: count as f64 / cost.took.as_secs_f64(),
        rss_bytes_before: cost.before.rss_bytes,
        rss_bytes: cost.after.rss_bytes,
        user_cpu_ratio: cost.cpu_ratio,
        counted: Counted::of(&ended)?,
    }))
}

/// Connects from the n-th address of this machine, asks, and stays.
fn ask(addr: SocketAddr, from: usize, port: u16) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // All of 127.0.0.0/8 is this machine.
    let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + 1 + u32::try_from(from)?);
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
