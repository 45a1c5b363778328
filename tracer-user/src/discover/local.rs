//! Backends that live on this host: who listens on an address, in whatever network namespace owns it.
//! Behind address translation (a container's published port) the address is not the one that the
//! backend's socket has, and it is not found.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::{listen, process};
use crate::event::canonical;

/// State number of an established connection in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// Who listens on an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalListener {
    /// Inode number of the network namespace.
    pub netns: u64,
    /// A thread that lives in it.
    pub thread: u32,
    /// The processes that hold the listening socket, ascending.
    pub pids: Vec<u32>,
}

/// Finds the processes of this host that listen on `addr`, as it is reached from the network
/// namespace `from`. `None`: the address belongs to another host, or we may not look.
pub fn local_listener(root: &Path, addr: SocketAddr, from: u64) -> Option<LocalListener> {
    namespaces(root)
        .into_iter()
        .filter(|(netns, place)| {
            if addr.ip().is_loopback() {
                *netns == from
            } else {
                owns(root, place.thread, addr.ip())
            }
        })
        .find_map(|(netns, Place { thread, pids })| {
            let sockets: HashSet<u64> = listen::listening_sockets(root, thread)
                .into_iter()
                .filter(|(_, at)| covers(*at, addr))
                .map(|(inode, _)| inode)
                .collect();
            if sockets.is_empty() {
                return None;
            }
            let pids: Vec<u32> = pids
                .into_iter()
                .filter(|pid| {
                    let held = listen::socket_inodes(root, *pid);
                    held.iter().any(|inode| sockets.contains(inode))
                })
                .collect();
            (!pids.is_empty()).then_some(LocalListener {
                netns,
                thread,
                pids,
            })
        })
}

/// Remote addresses of the connections that the process has open and that did not come in on one of
/// its `ports`.
pub fn established_remotes(root: &Path, pid: u32, ports: &HashSet<u16>) -> Vec<SocketAddr> {
    let held: HashSet<u64> = listen::socket_inodes(root, pid).into_iter().collect();
    let net = root.join(pid.to_string()).join("net");
    let mut remotes: Vec<SocketAddr> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|file| File::open(net.join(file)).ok())
        .flat_map(|file| BufReader::new(file).lines().map_while(Result::ok))
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let local = listen::parse_addr(fields.get(1)?)?;
            let remote = listen::parse_addr(fields.get(2)?)?;
            let inode = fields.get(9)?.parse().ok()?;
            let ours = *fields.get(3)? == ESTABLISHED
                && held.contains(&inode)
                && !ports.contains(&local.port());
            ours.then(|| SocketAddr::new(canonical(remote.ip()), remote.port()))
        })
        .collect();
    remotes.sort_unstable();
    remotes.dedup();
    remotes
}

/// Who lives in a network namespace.
struct Place {
    /// One thread.
    thread: u32,
    /// The processes, ascending.
    pids: BTreeSet<u32>,
}

/// All network namespaces that processes live in. A single thread may live in another one than its
/// process.
fn namespaces(root: &Path) -> BTreeMap<u64, Place> {
    let mut found: BTreeMap<u64, Place> = BTreeMap::new();
    for pid in numbers(root) {
        for thread in numbers(&root.join(pid.to_string()).join("task")) {
            if let Some(netns) = process::netns(root, thread) {
                let place = found.entry(netns).or_insert_with(|| Place {
                    thread,
                    pids: BTreeSet::new(),
                });
                place.pids.insert(pid);
            }
        }
    }
    found
}

/// Entries of a directory that are numbers.
fn numbers(dir: &Path) -> impl Iterator<Item = u32> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Does a socket bound to `at` take connections to `addr`?
pub fn covers(at: SocketAddr, addr: SocketAddr) -> bool {
    let ip = canonical(at.ip());
    at.port() == addr.port()
        && (at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            || ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && addr.is_ipv4()
            || ip == canonical(addr.ip()))
}

/// Is this an address of the network namespace that `pid` lives in?
fn owns(root: &Path, pid: u32, ip: IpAddr) -> bool {
    let net = root.join(pid.to_string()).join("net");
    match ip {
        IpAddr::V4(ip) => fs::read_to_string(net.join("fib_trie"))
            .is_ok_and(|trie| local_v4(&trie).any(|local| local == ip)),
        IpAddr::V6(ip) => fs::read_to_string(net.join("if_inet6"))
            .is_ok_and(|table| table.lines().filter_map(local_v6).any(|local| local == ip)),
    }
}

/// `|-- 10.0.0.5` followed by `/32 host LOCAL`: an address of our own
/// (`fib_trie_seq_show` of net/ipv4/fib_trie.c).
fn local_v4(trie: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut last = None;
    trie.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
            return None;
        }
        line.starts_with("/32 host LOCAL").then_some(last).flatten()
    })
}

/// The first column: 32 hexadecimal digits.
fn local_v6(line: &str) -> Option<Ipv6Addr> {
    let digits = line.split_ascii_whitespace().next()?;
    if digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn addresses_of_our_own() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(
            local_v4(trie).collect::<Vec<_>>(),
            [Ipv4Addr::new(10, 0, 0, 5)]
        );
        assert_eq!(
            local_v6("fe80000000000000abcdef0000000001 02 40 20 80 eth0"),
            Some("fe80::abcd:ef00:0:1".parse().unwrap())
        );
        assert_eq!(local_v6("short 02"), None);
    }

    #[test]
    fn a_wildcard_covers_every_address() {
        for (at, addr, want) in [
            ("0.0.0.0:80", "10.0.0.5:80", true),
            ("0.0.0.0:80", "10.0.0.5:81", false),
            ("[::]:80", "10.0.0.5:80", true),
            ("10.0.0.5:80", "10.0.0.5:80", true),
            ("10.0.0.6:80", "10.0.0.5:80", false),
            ("0.0.0.0:80", "[fd00::1]:80", false),
        ] {
            assert_eq!(
                covers(at.parse().unwrap(), addr.parse().unwrap()),
                want,
                "{at} {addr}"
            );
        }
    }

    #[test]
    fn this_process_is_found_behind_its_own_port() {
        let root = Path::new("/proc");
        let me = std::process::id();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let netns = process::netns(root, me).unwrap();
        let found = local_listener(root, addr, netns).unwrap();
        assert_eq!((found.netns, found.pids), (netns, vec![me]));
        assert_eq!(local_listener(root, addr, netns + 1), None);
        let _client = TcpStream::connect(addr).unwrap();
        let remotes = established_remotes(root, me, &HashSet::from([addr.port()]));
        assert!(remotes.contains(&addr), "{remotes:?}");
    }
}
