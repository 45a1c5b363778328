//! Accept queues of backends on this host: the kernel tells by a counter that one was full.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;

use crate::event::{ListenQueue, MonoNs};

/// Listening sockets stand first in `/proc/net/tcp`; no host has more.
const ROWS_MAX: usize = 4096;

/// The counters of the last look, by process.
#[derive(Default)]
pub(super) struct Queues {
    overflows: HashMap<u32, u64>,
}

impl Queues {
    /// Reads the counter of the namespace that `pid` lives in. If it has grown, the queues of these
    /// addresses are read too.
    pub(super) fn look(
        &mut self,
        root: &Path,
        pid: u32,
        addrs: &BTreeSet<SocketAddr>,
        now: MonoNs,
    ) -> Vec<ListenQueue> {
        let net = root.join(pid.to_string()).join("net");
        let Some(total) = fs::read_to_string(net.join("netstat"))
            .ok()
            .and_then(|text| listen_overflows(&text))
        else {
            return Vec::new();
        };
        let before = self.overflows.insert(pid, total);
        let overflows = before.map_or(0, |before| total.saturating_sub(before));
        if overflows == 0 {
            return Vec::new();
        }
        addrs
            .iter()
            .filter_map(|addr| {
                let file = if addr.is_ipv4() { "tcp" } else { "tcp6" };
                let waiting = [file, "tcp6"].iter().find_map(|file| {
                    let table = BufReader::new(File::open(net.join(file)).ok()?);
                    let rows = table.lines().map_while(Result::ok).take(ROWS_MAX);
                    rows.filter_map(|row| queue(&row, addr.port())).max()
                })?;
                Some(ListenQueue {
                    time_ns: now,
                    addr: *addr,
                    waiting,
                    overflows,
                })
            })
            // Only one whose queue has waiting connections can have been the full one.
            .filter(|queue| queue.waiting > 0)
            .collect()
    }
}

/// `ListenOverflows` of the `TcpExt` lines: names in one, values in the next.
fn listen_overflows(netstat: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    names
        .split_ascii_whitespace()
        .zip(values.split_ascii_whitespace())
        .find(|(name, _)| *name == "ListenOverflows")
        .and_then(|(_, value)| value.parse().ok())
}

/// Length of the accept queue if this row is a listening socket on `port`: the kernel shows it in the
/// place of received bytes (`get_tcp4_sock` of net/ipv4/tcp_ipv4.c).
fn queue(row: &str, port: u16) -> Option<u32> {
    const LISTEN: &str = "0A";
    let mut fields = row.split_ascii_whitespace().skip(1);
    let (_, local_port) = fields.next()?.split_once(':')?;
    let _remote = fields.next()?;
    if fields.next()? != LISTEN || u16::from_str_radix(local_port, 16).ok()? != port {
        return None;
    }
    let (_, received) = fields.next()?.split_once(':')?;
    u32::from_str_radix(received, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_by_its_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 7 9\nIpExt: A\nIpExt: 3\n";
        assert_eq!(listen_overflows(text), Some(7));
        assert_eq!(listen_overflows("TcpExt: A\nTcpExt: 1\n"), None);
        assert_eq!(listen_overflows(""), None);
    }

    #[test]
    fn the_queue_of_a_listener() {
        let row =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000 0 0 42 1";
        assert_eq!(queue(row, 8080), Some(3));
        assert_eq!(queue(row, 8081), None);
        assert_eq!(queue(&row.replace("0A", "01"), 8080), None);
        assert_eq!(queue("sl local_address", 8080), None);
    }

    #[test]
    fn the_first_look_is_no_overflow() {
        let mut queues = Queues::default();
        let me = std::process::id();
        let addrs = BTreeSet::from([SocketAddr::from(([127, 0, 0, 1], 1))]);
        assert!(queues.look(Path::new("/proc"), me, &addrs, 1).is_empty());
        assert!(queues.overflows.contains_key(&me));
    }
}
