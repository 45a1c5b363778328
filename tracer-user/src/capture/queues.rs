//! Accept queues of backends on this host: the kernel tells by a counter that one was full.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::discover::{ListenRow, covers, listening_rows};
use crate::event::{ListenQueue, MonoNs, canonical};

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
        let listeners: Vec<ListenRow> = listening_rows(root, pid).collect();
        let Some(full) = fullest(&listeners) else {
            return Vec::new();
        };
        addrs
            .iter()
            .filter(|addr| taker(&listeners, **addr).is_some_and(|taker| taker.addr == full.addr))
            .map(|addr| ListenQueue {
                time_ns: now,
                addr: *addr,
                waiting: full.waiting,
                overflows,
            })
            .collect()
    }
}

/// The counter is one for the whole namespace: only the longest queue can be told to be the full one,
/// and only if no other is as long.
fn fullest(listeners: &[ListenRow]) -> Option<ListenRow> {
    let longest = listeners.iter().max_by_key(|listener| listener.waiting)?;
    let alone = listeners
        .iter()
        .filter(|listener| listener.waiting == longest.waiting)
        .count()
        == 1;
    (longest.waiting > 0 && alone).then_some(*longest)
}

/// The listener that takes connections to the address: one bound to just that goes before a wildcard.
fn taker(listeners: &[ListenRow], addr: SocketAddr) -> Option<ListenRow> {
    let takes = || {
        listeners
            .iter()
            .filter(|listener| covers(listener.addr, addr))
    };
    let exact = takes().find(|listener| canonical(listener.addr.ip()) == canonical(addr.ip()));
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
    fn only_the_longest_queue_was_full() {
        let one = |addr: &str, waiting| ListenRow {
            inode: 1,
            addr: addr.parse().unwrap(),
            waiting,
        };
        let listeners = [
            one("0.0.0.0:80", 1),
            one("10.0.0.5:80", 4),
            one("10.0.0.6:81", 0),
        ];
        let full = fullest(&listeners).unwrap();
        assert_eq!(full.addr, "10.0.0.5:80".parse().unwrap());
        for (addr, at) in [
            ("10.0.0.5:80", Some("10.0.0.5:80")),
            ("10.0.0.9:80", Some("0.0.0.0:80")),
            ("10.0.0.9:81", None),
        ] {
            let taker =
                taker(&listeners, addr.parse().unwrap()).map(|taker| taker.addr.to_string());
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
