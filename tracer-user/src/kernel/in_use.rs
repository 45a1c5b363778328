//! Connections to backends that were in use at a moment, out of the table of connections.

use std::collections::BTreeSet;

use tracer_ebpf::{BackendKey, Conn, Direction, Role, flags};

use crate::event::MonoNs;

/// Connections to backends, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Of the process: waited for a response.
    pub busy: u32,
    /// Of the process: waited for a next request.
    pub idle: u32,
    /// Waited for a response to a client of the port.
    pub route_busy: u32,
    /// Waited for a next request, to the backends of the former.
    pub route_idle: u32,
}

/// The backend of an upstream connection.
pub(super) fn key_of(conn: &Conn) -> BackendKey {
    BackendKey {
        addr: conn.remote_addr,
        family: conn.family,
        port: conn.remote_port,
    }
}

/// Counts those of process `pid`, and those that work for clients of the listening port `port`. The table is read
/// a little later than `at`: what began in between was not in use then, and what has ended is not there.
pub(super) fn count(
    conns: impl Iterator<Item = (u64, Conn)>,
    pid: u32,
    port: u16,
    at: MonoNs,
) -> InUse {
    let mut clients: BTreeSet<u64> = BTreeSet::new();
    let mut upstreams = Vec::new();
    for (sk, conn) in conns {
        if conn.role == Role::Accepted as u8 {
            if conn.local_port == port && conn.flags & flags::BACKEND == 0 {
                clients.insert(sk);
            }
        } else if conn.exchange > 0 && conn.flags & flags::OVER == 0 && conn.established_ns <= at {
            let waits = conn.direction == Direction::Sent as u8 && conn.request_start_ns <= at;
            let busy = waits || conn.flags & flags::TUNNEL != 0;
            upstreams.push((conn.tgid == pid, busy, conn.link.sk, key_of(&conn)));
        }
    }
    let of_route = |client: &u64| clients.contains(client);
    let backends: BTreeSet<BackendKey> = upstreams
        .iter()
        .filter(|(_, busy, client, _)| *busy && of_route(client))
        .map(|(.., backend)| *backend)
        .collect();
    let mut found = InUse::default();
    for (own, busy, client, backend) in &upstreams {
        match busy {
            true => {
                found.busy += u32::from(*own);
                found.route_busy += u32::from(of_route(client));
            }
            false => {
                found.idle += u32::from(*own);
                found.route_idle += u32::from(backends.contains(backend));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: u64 = 1;

    fn conn(change: impl FnOnce(&mut Conn)) -> Conn {
        // SAFETY: integers and arrays of them.
        let mut conn: Conn = unsafe { std::mem::zeroed() };
        change(&mut conn);
        conn
    }

    fn client() -> Conn {
        conn(|c| {
            c.role = Role::Accepted as u8;
            c.local_port = 80;
        })
    }

    /// Of process 7, for the client, opened at 10; sent its request at that time.
    fn upstream(requested_ns: u64) -> Conn {
        conn(|c| {
            c.role = Role::Connecting as u8;
            c.tgid = 7;
            c.exchange = 1;
            c.established_ns = 10;
            c.request_start_ns = requested_ns;
            c.direction = Direction::Sent as u8;
            c.link.sk = CLIENT;
        })
    }

    fn counted(upstream: Conn) -> (u32, u32, u32, u32) {
        let table = [(CLIENT, client()), (2, upstream)];
        let found = count(table.into_iter(), 7, 80, 100);
        (found.busy, found.idle, found.route_busy, found.route_idle)
    }

    #[test]
    fn busy_and_idle() {
        assert_eq!(counted(upstream(20)), (1, 0, 1, 0));
        let answered = Conn {
            direction: Direction::Received as u8,
            ..upstream(20)
        };
        assert_eq!(counted(answered), (0, 1, 0, 0));
        let other = Conn {
            tgid: 8,
            ..upstream(20)
        };
        assert_eq!(counted(other), (0, 0, 1, 0));
        let over = Conn {
            flags: flags::OVER,
            ..upstream(20)
        };
        assert_eq!(counted(over), (0, 0, 0, 0));
    }

    #[test]
    fn what_began_behind_the_moment_was_not_in_use() {
        // Opened before, and asked again behind it.
        assert_eq!(counted(upstream(101)), (0, 1, 0, 0));
        let opened_later = Conn {
            established_ns: 101,
            ..upstream(102)
        };
        assert_eq!(counted(opened_later), (0, 0, 0, 0));
    }
}
