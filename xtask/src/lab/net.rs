//! Addresses that misbehave: a port that refuses, one that never answers, and a way to lose the
//! FINs of a backend.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

/// That many free ports of 127.0.0.1. Another process may take one before we do; nothing on a test
/// machine hands out ephemeral ports that fast.
pub fn free_ports(count: usize) -> Result<Vec<SocketAddr>> {
    let held = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<Vec<_>, _>>()
        .context("no free port on 127.0.0.1")?;
    held.iter().map(|one| Ok(one.local_addr()?)).collect()
}

/// A port that answers a SYN with RST: bound, so that nobody else gets it, and not listening.
pub struct RefusedPort {
    addr: SocketAddr,
    _held: Socket,
}

impl RefusedPort {
    /// Takes a free port.
    pub fn new() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let addr = socket
            .local_addr()?
            .as_socket()
            .context("the bound address is not an IP address")?;
        Ok(Self {
            addr,
            _held: socket,
        })
    }

    /// Its address.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// A packet filter table of our own, gone when dropped. Needs root and `nft`.
pub struct Filter {
    table: String,
}

impl Filter {
    /// Drops everything that comes in and matches the nftables expression.
    fn drop_input(expression: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        remove_stale();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let table = format!("{PREFIX}{}_{number}", std::process::id());
        nft(&format!(
            "table inet {table} {{\nchain input {{\n\
             type filter hook input priority 0; policy accept;\n{expression} drop\n}}\n}}\n"
        ))?;
        Ok(Self { table })
    }

    /// Loses every FIN that leaves that address, until dropped. Everything else passes, so the
    /// other side goes on believing in a connection that is closed: what a race with a slow path
    /// looks like.
    pub fn lose_fins_from(backend: SocketAddr) -> Result<Self> {
        Self::drop_input(&format!(
            "ip saddr {} tcp sport {} tcp flags & fin == fin",
            backend.ip(),
            backend.port()
        ))
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Err(error) = nft(&format!("delete table inet {}", self.table)) {
            eprintln!("lab: cannot remove the packet filter table: {error:#}");
        }
    }
}

/// Where SYNs vanish while a [`BlackHole`] exists. Nobody listens there.
pub const BLACK_HOLE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77)), 9);

/// Makes [`BLACK_HOLE`] swallow SYNs, until dropped.
pub struct BlackHole {
    _filter: Filter,
}

impl BlackHole {
    /// Needs root and `nft`.
    pub fn new() -> Result<Self> {
        let filter = Filter::drop_input(&format!(
            "ip daddr {} tcp dport {}",
            BLACK_HOLE.ip(),
            BLACK_HOLE.port()
        ))?;
        Ok(Self { _filter: filter })
    }
}

const PREFIX: &str = "why502_lab_";

/// Removes the tables of labs that were killed before they could do so.
fn remove_stale() {
    let Ok(listed) = Command::new("nft")
        .args(["list", "tables", "inet"])
        .output()
    else {
        return;
    };
    for table in stale(&String::from_utf8_lossy(&listed.stdout), |pid| {
        std::path::Path::new(&format!("/proc/{pid}")).exists()
    }) {
        // Another lab may have removed it in between.
        let _ = nft(&format!("delete table inet {table}"));
    }
}

fn stale(listed: &str, alive: impl Fn(u32) -> bool) -> Vec<String> {
    listed
        .lines()
        .filter_map(|line| line.strip_prefix("table inet "))
        .filter(|table| {
            let owner = table
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split('_').next())
                .and_then(|pid| pid.parse().ok());
            owner.is_some_and(|pid| !alive(pid))
        })
        .map(str::to_owned)
        .collect()
}

fn nft(script: &str) -> Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run nft (package nftables)")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "nft refused `{script}`: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::TcpStream;

    #[test]
    fn a_refused_port_refuses() {
        let port = RefusedPort::new().unwrap();
        let error = TcpStream::connect(port.addr()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn free_ports_differ() {
        let ports = free_ports(8).unwrap();
        let unique: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(unique.len(), 8);
    }

    #[test]
    fn only_tables_of_dead_labs_are_stale() {
        let listed = "table inet filter\ntable inet why502_lab_7_0\ntable inet why502_lab_8_1\ntable inet why502_lab_x\n";
        assert_eq!(stale(listed, |pid| pid == 8), ["why502_lab_7_0"]);
    }
}
