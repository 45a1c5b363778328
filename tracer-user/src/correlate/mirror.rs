//! A backend's record as the proxy at the other end would have made it, so that one set of rules judges
//! both: what we sent it received, what we closed it saw end.

use tracer_ebpf::{Cause, Role, flags};

use super::intake;
use crate::diagnose::Progress;
use crate::event::{Exchange, MonoNs, Socket, Times};
use crate::http::{self, ContentLength};

/// Flags that mean the same at both ends.
const SAME: u32 = flags::ADOPTED
    | flags::USED_BEFORE
    | flags::OPAQUE
    | flags::TLS
    | flags::TUNNEL
    | flags::HEAD_REQUEST
    | flags::REQUEST_UNREAD
    | flags::RESPONSE_UNREAD;

/// Most bytes of a close_notify over TLS with its record header.
const GOODBYE_MAX: u64 = 31;

/// The other end's view of a backend's record.
pub(super) fn mirrored(x: &Exchange) -> Exchange {
    let late = is_late(x);
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
        next_request(&mut seen, x.socket.unread.unwrap_or(0).into());
    } else if x.exchange == 0 {
        // Nobody accepted it, so nobody counted its bytes.
        seen.request_bytes = x.socket.bytes_received.unwrap_or(0);
        seen.times.request_start = t.established;
    }
    seen
}

/// Did a request come that the backend did not read, because it had closed or was just closing? In the
/// latter case its close is a reset, with the exchange before complete and bytes unread.
pub(super) fn is_late(x: &Exchange) -> bool {
    let unread = x.socket.unread.unwrap_or(0);
    if x.has(flags::TLS) && x.has(flags::ABORTED) && u64::from(unread) > GOODBYE_MAX {
        // An answer was sent, so what lies there came after it.
        let answered = x.times.response_last > x.times.request_start;
        return answered && x.response_bytes > GOODBYE_MAX;
    }
    x.has(flags::LATE_REQUEST)
        || x.has(flags::ABORTED)
            && unread > 0
            && x.cause == Cause::Ended
            && intake::progress(x) == Progress::Complete
            && request_is_whole(x)
}

/// Did all of the current request arrive, by its own Content-Length?
fn request_is_whole(x: &Exchange) -> bool {
    let head = http::request_head(&x.request_head);
    let http::End::Complete { head_len } = head.end else {
        return false;
    };
    let body = match head.headers.content_length() {
        ContentLength::Known(bytes) => bytes,
        ContentLength::Absent if head.headers.chunked().is_none() => 0,
        _ => return false,
    };
    x.request_bytes >= head_len as u64 + body
}

fn earliest(a: Option<MonoNs>, b: Option<MonoNs>) -> Option<MonoNs> {
    [a, b].into_iter().flatten().min()
}

/// The record is of the exchange before; what came late is one more request.
fn next_request(seen: &mut Exchange, unread: u64) {
    let t = &mut seen.times;
    seen.exchange += 1;
    t.idle_since = t.response_last.or(t.request_start).or(t.established);
    t.request_start = t.reset_received;
    t.response_start = None;
    t.response_last = None;
    t.closed = None;
    seen.request_bytes = unread;
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
    fn unread_bytes_behind_a_complete_exchange_are_the_next_request() {
        let mut x = server();
        x.flags |= flags::ABORTED;
        x.request_head = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        x.request_bytes = x.request_head.len() as u64;
        x.response_head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
        x.response_bytes = x.response_head.len() as u64;
        x.status = Some(200);
        x.socket.unread = Some(80);
        assert!(is_late(&x));
        assert_eq!(mirrored(&x).request_bytes, 80);
        // They belong to the body of the same request.
        x.request_head = b"POST / HTTP/1.1\r\nContent-Length: 90\r\n\r\n".to_vec();
        assert!(!is_late(&x));
        x.socket.unread = Some(0);
        assert!(!is_late(&x));
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
