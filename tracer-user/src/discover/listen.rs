//! Listening TCP ports of processes: `/proc/PID/net/tcp{,6}` joined with the sockets in
//! `/proc/PID/fd`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::process;

/// A port that a process listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listener {
    /// The process.
    pub pid: u32,
    /// The address within the network namespace of the process.
    pub addr: SocketAddr,
}

/// A listening socket of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenRow {
    /// Inode number of its file.
    pub inode: u64,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Connections that wait to be accepted.
    pub waiting: u32,
}

/// State number in `/proc/net/tcp`, hexadecimal (`include/net/tcp_states.h`).
const LISTEN: &str = "0A";
const NEW_SYN_RECV: &str = "0C";
const SYN_RECV: &str = "03";
const CLOSE: &str = "07";

/// What the processes listen on, sorted, each address once a process. Workers that share a socket
/// each have it. Reads each network namespace once, however many processes live in it.
pub fn listening_ports(root: &Path, pids: &[u32]) -> Vec<Listener> {
    // Keyed by namespace; a process whose namespace we may not see gets a table of its own.
    let mut tables: HashMap<Result<u64, u32>, HashMap<u64, SocketAddr>> = HashMap::new();
    let mut listeners = Vec::new();
    for &pid in pids {
        let namespace = process::netns(root, pid).ok_or(pid);
        let inodes = socket_inodes(root, pid);
        if inodes.is_empty() {
            continue;
        }
        let table = tables
            .entry(namespace)
            .or_insert_with(|| listening_sockets(root, pid));
        listeners.extend(
            inodes
                .iter()
                .filter_map(|inode| table.get(inode))
                .map(|&addr| Listener { pid, addr }),
        );
    }
    listeners.sort_unstable();
    listeners.dedup();
    listeners
}

/// Does the process listen on an address that other hosts can reach? This program itself does not.
pub(super) fn is_reachable(root: &Path, pid: u32) -> bool {
    let inodes = socket_inodes(root, pid);
    if inodes.is_empty() || pid == std::process::id() {
        return false;
    }
    let table = listening_sockets(root, pid);
    inodes
        .iter()
        .filter_map(|inode| table.get(inode))
        .any(|addr| !addr.ip().is_loopback())
}

/// Inode numbers of the sockets that the process has open; empty when it is gone or may not be
/// looked at.
pub fn socket_inodes(root: &Path, pid: u32) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(root.join(pid.to_string()).join("fd")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            process::inode_of_link(link.to_str()?, "socket:[")
        })
        .collect()
}

/// Listening sockets of the network namespace that `pid` lives in, by inode.
pub(super) fn listening_sockets(root: &Path, pid: u32) -> HashMap<u64, SocketAddr> {
    listening_rows(root, pid)
        .map(|row| (row.inode, row.addr))
        .collect()
}

/// Listening sockets of the network namespace that `pid` lives in.
pub fn listening_rows(root: &Path, pid: u32) -> impl Iterator<Item = ListenRow> {
    let net = root.join(pid.to_string()).join("net");
    ["tcp", "tcp6"]
        .iter()
        .filter_map(move |file| File::open(net.join(file)).ok())
        .flat_map(|file| parse_table(BufReader::new(file)))
}

/// The listening rows of `/proc/net/tcp`. The kernel writes all of them before the first connection
/// (`tcp_seq_start` in `net/ipv4/tcp_ipv4.c`), so reading stops there: a busy proxy has a hundred
/// thousand connections and a dozen listeners.
fn parse_table(table: impl BufRead) -> Vec<ListenRow> {
    table
        .lines()
        .skip(1)
        .map_while(Result::ok)
        .map_while(|line| match line.split_ascii_whitespace().nth(3) {
            Some(LISTEN) => Some(parse_row(&line)),
            // A listener that is being closed, or a handshake, is no reason to stop.
            Some(CLOSE | SYN_RECV | NEW_SYN_RECV) | None => Some(None),
            Some(_) => None,
        })
        .flatten()
        .collect()
}

/// `sl local remote state queues timer retransmits uid timeout inode …`. Of a listener the kernel shows
/// the length of the accept queue in the place of received bytes (`get_tcp4_sock` of
/// `net/ipv4/tcp_ipv4.c`).
fn parse_row(line: &str) -> Option<ListenRow> {
    let mut fields = line.split_ascii_whitespace();
    let addr = parse_addr(fields.nth(1)?)?;
    let (_, received) = fields.nth(2)?.split_once(':')?;
    let waiting = u32::from_str_radix(received, 16).ok()?;
    let inode = fields.nth(4)?.parse().ok()?;
    Some(ListenRow {
        inode,
        addr,
        waiting,
    })
}

/// `0100007F:1F90`: the address as the 32-bit words of the machine's byte order, the port as a
/// number.
pub(super) fn parse_addr(text: &str) -> Option<SocketAddr> {
    let (addr, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(addr.get(at..at + 8)?, 16).ok();
    let ip = match addr.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::symlink;

    use super::super::process::fake::Proc;
    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn row(local: &str, state: &str, inode: u64) -> String {
        format!(
            "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0000000000000000 100 0 0 10 0\n"
        )
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses() {
        let table = [
            ("0100007F:1F90", Some("127.0.0.1:8080")),
            ("00000000:0050", Some("0.0.0.0:80")),
            ("00000000000000000000000000000000:01BB", Some("[::]:443")),
            ("00000000000000000000000001000000:01BB", Some("[::1]:443")),
            (
                "B80D01200000000067452301EFCDAB89:0001",
                Some("[2001:db8::123:4567:89ab:cdef]:1"),
            ),
            ("0100007F", None),
            ("0100007:1F90", None),
            ("0100007F:1F90F", None),
            ("0100007é:1F90", None),
            (":", None),
        ];
        for (text, expected) in table {
            assert_eq!(
                parse_addr(text),
                expected.map(|addr| addr.parse().unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_table_is_read_up_to_its_first_connection() {
        let text = [
            HEAD,
            &row("00000000:0050", "0A", 100),
            &row("00000000:0051", "07", 101),
            "torn\n",
            &row("00000000:0052", "0A", 102),
            &row("00000000:0053", "01", 103),
            &row("00000000:0054", "0A", 104),
        ]
        .concat();
        let inodes: Vec<u64> = parse_table(text.as_bytes())
            .iter()
            .map(|row| row.inode)
            .collect();
        assert_eq!(inodes, [100, 102]);
        assert!(parse_table(&b""[..]).is_empty());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_queue_of_a_listener() {
        let row =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000 0 0 42 1";
        let read = |row: &str| parse_table(format!("{HEAD}{row}\n").as_bytes());
        let want = ListenRow {
            inode: 42,
            addr: ([127, 0, 0, 1], 8080).into(),
            waiting: 3,
        };
        assert_eq!(read(row), [want]);
        assert!(read(&row.replace("0A", "01")).is_empty());
        assert!(read("sl local_address").is_empty());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn workers_share_a_listener_and_a_namespace_has_its_own_ports() {
        let proc = Proc::new();
        for (pid, namespace, port) in [(10, 1, "0050"), (11, 1, "0050"), (20, 2, "0051")] {
            proc.process(pid, 1, "nginx", None);
            proc.netns(pid, namespace);
            let dir = proc.dir(pid);
            fs::create_dir_all(dir.join("net")).unwrap();
            fs::create_dir_all(dir.join("fd")).unwrap();
            let table = [HEAD, &row(&format!("00000000:{port}"), "0A", 500)].concat();
            fs::write(dir.join("net/tcp"), table).unwrap();
            for (fd, target) in [
                ("0", "/dev/null"),
                ("1", "socket:[7]"),
                ("6", "socket:[500]"),
            ] {
                symlink(target, dir.join("fd").join(fd)).unwrap();
            }
        }
        let listeners: Vec<_> = listening_ports(proc.root(), &[20, 10, 11, 99])
            .into_iter()
            .map(|listener| (listener.pid, listener.addr.port()))
            .collect();
        assert_eq!(listeners, [(10, 80), (11, 80), (20, 81)]);
        assert_eq!(socket_inodes(proc.root(), 10).len(), 2);
    }

    #[test]
    fn a_real_listener_is_found() {
        let me = std::process::id();
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = TcpListener::bind(bind) else {
                continue; // no IPv6 here
            };
            let addr = socket.local_addr().unwrap();
            let listeners = listening_ports(Path::new("/proc"), &[me]);
            assert!(
                listeners.contains(&Listener { pid: me, addr }),
                "{addr} not among {listeners:?}"
            );
            drop(socket);
            assert!(
                listening_ports(Path::new("/proc"), &[me])
                    .iter()
                    .all(|listener| listener.addr != addr)
            );
        }
    }
}
