//! Accept queues of backends on this host: the kernel tells by a counter that one was full.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;

use crate::discover::{covers, parse_addr};
use crate::event::{ListenQueue, MonoNs, canonical};

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
        let listeners: Vec<Listener> = ["tcp", "tcp6"]
            .iter()
            .filter_map(|file| File::open(net.join(file)).ok())
            .flat_map(|file| {
                let rows = BufReader::new(file).lines().map_while(Result::ok);
                rows.take(ROWS_MAX).filter_map(|row| listener(&row))
            })
            .collect();
        let Some(full) = fullest(&listeners) else {
            return Vec::new();
        };
        addrs
            .iter()
            .filter(|addr| taker(&listeners, **addr).is_some_and(|taker| taker.at == full.at))
            .map(|addr| ListenQueue {
                time_ns: now,
                addr: *addr,
                waiting: full.waiting,
                overflows,
            })
            .collect()
    }
}

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listener {
    at: SocketAddr,
    /// Connections that wait to be accepted.
    waiting: u32,
}

/// The counter is one for the whole namespace: only the longest queue can be told to be the full one,
/// and only if no other is as long.
fn fullest(listeners: &[Listener]) -> Option<Listener> {
    let longest = listeners.iter().max_by_key(|listener| listener.waiting)?;
    let alone = listeners
        .iter()
        .filter(|listener| listener.waiting == longest.waiting)
        .count()
        == 1;
    (longest.waiting > 0 && alone).then_some(*longest)
}

/// The listener that takes connections to the address: one bound to just that goes before a wildcard.
fn taker(listeners: &[Listener], addr: SocketAddr) -> Option<Listener> {
    let takes = || {
        listeners
            .iter()
            .filter(|listener| covers(listener.at, addr))
    };
    let exact = takes().find(|listener| canonical(listener.at.ip()) == canonical(addr.ip()));
    exact.or_else(|| takes().next()).copied()
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

/// The listening socket of a row, if it is one: the kernel shows the length of the accept queue in the
/// place of received bytes (`get_tcp4_sock` of net/ipv4/tcp_ipv4.c).
fn listener(row: &str) -> Option<Listener> {
    const LISTEN: &str = "0A";
    let mut fields = row.split_ascii_whitespace().skip(1);
    let at = parse_addr(fields.next()?)?;
    let _remote = fields.next()?;
    if fields.next()? != LISTEN {
        return None;
    }
    let (_, received) = fields.next()?.split_once(':')?;
    let waiting = u32::from_str_radix(received, 16).ok()?;
    Some(Listener { at, waiting })
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
        let want = Listener {
            at: ([127, 0, 0, 1], 8080).into(),
            waiting: 3,
        };
        assert_eq!(listener(row), Some(want));
        assert_eq!(listener(&row.replace("0A", "01")), None);
        assert_eq!(listener("sl local_address"), None);
    }

    #[test]
    fn only_the_longest_queue_was_full() {
        let one = |at: &str, waiting| Listener {
            at: at.parse().unwrap(),
            waiting,
        };
        let listeners = [
            one("0.0.0.0:80", 1),
            one("10.0.0.5:80", 4),
            one("10.0.0.6:81", 0),
        ];
        let full = fullest(&listeners).unwrap();
        assert_eq!(full.at, "10.0.0.5:80".parse().unwrap());
        for (addr, at) in [
            ("10.0.0.5:80", Some("10.0.0.5:80")),
            ("10.0.0.9:80", Some("0.0.0.0:80")),
            ("10.0.0.9:81", None),
        ] {
            let taker = taker(&listeners, addr.parse().unwrap()).map(|taker| taker.at.to_string());
            assert_eq!(taker.as_deref(), at, "{addr}");
        }
        assert_eq!(
            fullest(&[one("10.0.0.5:80", 4), one("10.0.0.6:80", 4)]),
            None
        );
        assert_eq!(fullest(&[one("10.0.0.5:80", 0)]), None);
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
