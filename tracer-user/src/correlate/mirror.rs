//! A backend's record as the proxy at the other end would have made it, so that one set of rules judges
//! both: what we sent it received, what we closed it saw end.

use tracer_ebpf::{Role, flags};

use crate::event::{Exchange, MonoNs, Socket, Times};

/// Flags that mean the same at both ends.
const SAME: u32 = flags::ADOPTED
    | flags::USED_BEFORE
    | flags::OPAQUE
    | flags::TLS
    | flags::TUNNEL
    | flags::HEAD_REQUEST
    | flags::REQUEST_UNREAD
    | flags::RESPONSE_UNREAD;

/// The other end's view of a backend's record.
pub(super) fn mirrored(x: &Exchange) -> Exchange {
    let late = x.has(flags::LATE_REQUEST);
    let aborted = x.has(flags::ABORTED);
    let t = &x.times;
    let mut seen = Exchange {
        role: Role::Connecting,
        local: x.remote,
        remote: x.local,
        link: None,
        thread_last_upstream: None,
        flags: x.flags & SAME,
        times: Times {
            fin_received: t.closed.filter(|_| !aborted),
            reset_received: t.reset_sent.or(t.closed.filter(|_| aborted)),
            reset_sent: t.reset_received,
            closed: earliest(t.fin_received, t.reset_received),
            error: None,
            end_read: None,
            retransmit_first: None,
            retransmit_last: None,
            ..*t
        },
        retransmits: 0,
        retransmitted: None,
        reset_received_reason: x.reset_sent_reason,
        reset_sent_reason: None,
        sk_err: None,
        send_errno: None,
        recv_errno: None,
        // All of it arrived; whether it was read is the half's business.
        socket: Socket {
            unacked: Some(0),
            srtt_us: x.socket.srtt_us,
            ..Socket::default()
        },
        request_start_seq: 0,
        snd_una_at_end: 0,
        write_seq_at_end: 0,
        ..x.clone()
    };
    if late {
        next_request(&mut seen);
    } else if x.exchange == 0 {
        // Nobody accepted it, so nobody counted its bytes.
        seen.request_bytes = x.socket.bytes_received.unwrap_or(0);
        seen.times.request_start = t.established;
    }
    seen
}

fn earliest(a: Option<MonoNs>, b: Option<MonoNs>) -> Option<MonoNs> {
    [a, b].into_iter().flatten().min()
}

/// The record is of the exchange before; what came late is one more request.
fn next_request(seen: &mut Exchange) {
    let t = &mut seen.times;
    seen.exchange += 1;
    t.idle_since = t.response_last.or(t.request_start).or(t.established);
    t.request_start = t.reset_received;
    t.response_start = None;
    t.response_last = None;
    t.closed = None;
    seen.request_bytes = 0;
    seen.response_bytes = 0;
    seen.status = None;
    seen.request_head.clear();
    seen.response_head.clear();
    seen.response_tail.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{at, exchange};

    fn server() -> Exchange {
        let mut x = exchange(Role::Accepted, 1);
        x.flags = flags::BACKEND;
        x.times.established = Some(at(-1));
        x.times.request_start = Some(at(0));
        x.request_bytes = 100;
        x
    }

    #[test]
    fn ends_change_sides() {
        let mut x = server();
        x.times.closed = Some(at(5));
        x.times.reset_received = Some(at(7));
        let seen = mirrored(&x);
        assert_eq!((seen.local, seen.remote), (x.remote, x.local));
        assert_eq!(seen.times.fin_received, Some(at(5)));
        assert_eq!(seen.times.closed, Some(at(7)));
        assert_eq!(seen.role, Role::Connecting);
    }

    #[test]
    fn an_abort_is_a_reset() {
        let mut x = server();
        x.flags |= flags::ABORTED;
        x.times.closed = Some(at(5));
        x.reset_sent_reason = Some(4);
        let seen = mirrored(&x);
        assert_eq!(seen.times.fin_received, None);
        assert_eq!(seen.times.reset_received, Some(at(5)));
        assert_eq!(seen.reset_received_reason, Some(4));
    }

    #[test]
    fn a_late_request_is_one_more() {
        let mut x = server();
        x.flags |= flags::LATE_REQUEST;
        x.exchange = 3;
        x.status = Some(200);
        x.response_bytes = 70;
        x.times.response_last = Some(at(1));
        x.times.closed = Some(at(5000));
        x.times.reset_sent = Some(at(5001));
        let seen = mirrored(&x);
        assert_eq!((seen.exchange, seen.response_bytes), (4, 0));
        assert_eq!(seen.times.idle_since, Some(at(1)));
        assert_eq!(seen.times.request_start, Some(at(5001)));
        assert!(seen.reused());
    }
}
