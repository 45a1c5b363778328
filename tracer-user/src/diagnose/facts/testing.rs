//! Builds facts for tests. Times are milliseconds after the first request byte.

use std::net::SocketAddr;

use tracer_ebpf::{Cause, LinkHow, Role, flags};

use super::{Around, AttemptFacts, CaseFacts, PeerHalf, Progress, TlsFacts, WantsTls};
use crate::case::{Confidence, EndedBy, How, Outcome, SeenFrom};
use crate::diagnose::{ending, judge};
use crate::event::{
    ConnId, Exchange, IcmpError, IcmpSays, Link, ListenQueue, MonoNs, ProxyKind, Retransmitted,
    Socket, Times, UpstreamsInUse,
};
use crate::http::{RequestFacts, ResponseFacts, inspect_request, inspect_response};

/// Time 0 of the builders.
pub(crate) const BASE_NS: MonoNs = 1_000_000_000_000;
/// Length of the built requests, bytes.
pub(crate) const REQUEST_BYTES: u64 = 100;
const START_SEQ: u32 = 5000;

/// A moment, ms after time 0.
pub(crate) fn at(ms: i64) -> MonoNs {
    BASE_NS.saturating_add_signed(ms * 1_000_000)
}

/// An exchange without any event.
pub(crate) fn exchange(role: Role, conn: u64) -> Exchange {
    let (local, remote): (SocketAddr, SocketAddr) = match role {
        Role::Accepted => (
            ([192, 0, 2, 1], 80).into(),
            ([192, 0, 2, 7], 50_000 + conn as u16).into(),
        ),
        Role::Connecting => (
            ([10, 0, 0, 1], 40_000 + conn as u16).into(),
            ([10, 0, 0, 5], 8080).into(),
        ),
    };
    Exchange {
        time_ns: at(0),
        cause: Cause::Ended,
        role,
        conn: ConnId(conn),
        link: None,
        thread_last_upstream: None,
        local,
        remote,
        netns: 1,
        pid: 100,
        tid: 100,
        exchange: 1,
        flags: 0,
        state: 1,
        times: Times::default(),
        request_bytes: 0,
        response_bytes: 0,
        status: None,
        retransmits: 0,
        request_start_seq: START_SEQ,
        snd_una_at_end: START_SEQ,
        write_seq_at_end: START_SEQ,
        reset_sent_reason: None,
        reset_received_reason: None,
        sk_err: None,
        send_errno: None,
        recv_errno: None,
        socket: Socket::default(),
        request_head: Vec::new(),
        response_head: Vec::new(),
        response_tail: Vec::new(),
        sent_last: Vec::new(),
        sent_last_len: 0,
        retransmitted: None,
        mss_at_start: None,
        pmtu_at_start: None,
    }
}

/// Builds one attempt at a backend.
#[derive(Clone)]
pub(crate) struct AttemptBuilder(AttemptFacts);

impl AttemptBuilder {
    fn new() -> Self {
        Self(AttemptFacts {
            exchange: exchange(Role::Connecting, 1),
            progress: Progress::Nothing,
            request: None,
            reset_received_reason: None,
            reset_sent_reason: None,
            asked: RequestFacts::default(),
            response: ResponseFacts::default(),
            reasons_known: false,
            icmp: Vec::new(),
            peer_local: false,
            peer: None,
            process_end: None,
            tls: None,
            tls_answer: None,
            wants_tls: None,
            listen_queue: None,
        })
    }

    /// SYN sent at -1 ms.
    pub(crate) fn connecting() -> Self {
        let mut new = Self::new();
        new.0.exchange.exchange = 0;
        new.0.exchange.times.opened = Some(at(-1));
        new
    }

    /// The request was sent on a fresh connection and acknowledged.
    pub(crate) fn sent() -> Self {
        let mut new = Self::new();
        let x = &mut new.0.exchange;
        x.times.opened = Some(at(-1));
        x.times.established = Some(at(0));
        x.times.request_start = Some(at(0));
        x.request_bytes = REQUEST_BYTES;
        x.socket.unacked = Some(0);
        x.socket.srtt_us = Some(200);
        new.seq(100, 100)
    }

    /// The same on a connection that had been idle for so long.
    pub(crate) fn reused(idle_ms: i64) -> Self {
        let mut new = Self::sent();
        let x = &mut new.0.exchange;
        x.exchange = 7;
        x.times.opened = Some(at(-idle_ms - 10_000));
        x.times.established = x.times.opened;
        x.times.idle_since = Some(at(-idle_ms));
        new
    }

    /// A ClientHello was sent on a fresh connection and acknowledged.
    pub(crate) fn handshake(change: impl FnOnce(&mut TlsFacts)) -> Self {
        let mut new =
            Self::sent().with(|x| x.flags |= flags::TLS | flags::OPAQUE | flags::HANDSHAKE);
        let mut tls = TlsFacts::default();
        change(&mut tls);
        new.0.exchange.response_bytes = tls.received;
        if tls.received > 0 {
            new.0.progress = Progress::Opaque;
        }
        new.0.tls = Some(tls);
        new
    }

    /// The answer showed that the backend wants TLS.
    pub(crate) fn wants_tls(mut self, wants: WantsTls) -> Self {
        self.0.wants_tls = Some(wants);
        self
    }

    /// The backend's FIN.
    pub(crate) fn fin(self, ms: i64) -> Self {
        self.with(|x| x.times.fin_received = Some(at(ms)))
    }

    /// The backend's RST.
    pub(crate) fn reset(self, ms: i64) -> Self {
        self.with(|x| {
            x.times.reset_received = Some(at(ms));
            x.sk_err = Some(104);
        })
    }

    /// Name of the reason for the backend's RST.
    pub(crate) fn reason(mut self, name: &str) -> Self {
        self.0.reset_received_reason = Some(name.to_owned());
        self
    }

    /// The proxy closed.
    pub(crate) fn closed(self, ms: i64) -> Self {
        self.with(|x| {
            x.times.closed = Some(at(ms));
            x.time_ns = at(ms);
        })
    }

    /// The socket reported an error.
    pub(crate) fn error(self, errno: i32, ms: i64) -> Self {
        self.with(|x| {
            x.sk_err = Some(errno);
            x.times.error = Some(at(ms));
        })
    }

    /// Acknowledged and written request bytes when the backend's FIN or RST arrived.
    pub(crate) fn seq(self, acked: u32, written: u32) -> Self {
        self.with(|x| {
            x.snd_una_at_end = START_SEQ + acked;
            x.write_seq_at_end = START_SEQ + written;
        })
    }

    /// No byte of the request was ever acknowledged.
    pub(crate) fn unacked(self, written_at_end: u32) -> Self {
        self.seq(0, written_at_end)
            .with(|x| x.socket.unacked = Some(REQUEST_BYTES as u32))
    }

    /// Response bytes arrived, the last of them at 5 ms.
    pub(crate) fn received(self, status: u16, bytes: u64) -> Self {
        self.with(|x| {
            x.status = Some(status);
            x.response_bytes = bytes;
            x.times.response_start = Some(at(3));
            x.times.response_last = Some(at(5));
        })
    }

    /// How much of the response arrived.
    pub(crate) fn progress(mut self, progress: Progress) -> Self {
        self.0.progress = progress;
        self
    }

    /// The backend's accept queue was found full, with so many waiting.
    pub(crate) fn queue_full(mut self, waiting: u32) -> Self {
        self.0.listen_queue = Some(ListenQueue {
            time_ns: at(0),
            addr: self.0.exchange.remote,
            waiting,
            overflows: 6,
        });
        self
    }

    /// The same, and so many segments found it full.
    pub(crate) fn overflows(mut self, overflows: u64) -> Self {
        self = self.queue_full(5);
        if let Some(queue) = &mut self.0.listen_queue {
            queue.overflows = overflows;
        }
        self
    }

    /// Anything else.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Exchange)) -> Self {
        change(&mut self.0.exchange);
        self
    }

    /// Works for this client exchange.
    pub(crate) fn linked(self, client: u64, number: u32, how: LinkHow) -> Self {
        self.with(|x| {
            x.link = Some(Link {
                conn: ConnId(client),
                exchange: number,
                at_ns: x
                    .times
                    .request_start
                    .or(x.times.opened)
                    .unwrap_or(x.time_ns),
                how,
            });
        })
    }

    /// The client left before the attempt ended.
    pub(crate) fn client_left(self) -> Self {
        self.with(|x| x.flags |= flags::LINK_CLIENT_LEFT)
    }

    /// The connection that it runs on.
    pub(crate) fn conn(self, conn: u64) -> Self {
        self.with(|x| x.conn = ConnId(conn))
    }

    /// First bytes of the request.
    pub(crate) fn request(self, head: &str) -> Self {
        self.with(|x| x.request_head = head.as_bytes().to_vec())
    }

    /// A response of which these first bytes, and so many body bytes, arrived.
    pub(crate) fn response(self, status: u16, head: &str, body: u64) -> Self {
        self.with(|x| x.response_head = head.as_bytes().to_vec())
            .received(status, head.len() as u64 + body)
    }

    /// What the rules know of a request that begins with these bytes.
    pub(crate) fn asked(mut self, head: &str) -> Self {
        self.0.asked = inspect_request(head.as_bytes());
        self
    }

    /// The same of a response that begins with these bytes; `more` came behind them.
    pub(crate) fn answered(mut self, head: &str, more: u64) -> Self {
        let received = head.len() as u64 + more;
        self.0.response = inspect_response(head.as_bytes(), received, false);
        let status = head.get(9..12).and_then(|digits| digits.parse().ok());
        let mut new = self.received(status.unwrap_or(0), received);
        if status.is_none() {
            new.0.exchange.status = None;
        }
        new
    }

    /// The backend runs on this host, whose kernel gives reasons for resets.
    pub(crate) fn local_peer(mut self) -> Self {
        self.0.peer_local = true;
        self.0.reasons_known = true;
        self
    }

    /// The backend's kernel sent a segment of the response again and again.
    pub(crate) fn unheard(mut self, len: u32, times: u32) -> Self {
        self.0.peer = Some(PeerHalf {
            pid: 7,
            unread: Some(0),
            request_read: true,
            closed_ns: None,
            reset_reason: None,
            late_request: false,
            unheard: Some(Retransmitted { seq: 1, len, times }),
        });
        self
    }

    /// "Packet too big" came for this connection.
    pub(crate) fn too_big(self, mtu: u32) -> Self {
        self.icmp(IcmpSays::TooBig { mtu })
    }

    /// An ICMP error came for this connection.
    pub(crate) fn icmp(mut self, says: IcmpSays) -> Self {
        self.0.icmp.push(IcmpError {
            time_ns: at(1),
            from: [192, 0, 2, 254].into(),
            local: self.0.exchange.local,
            remote: self.0.exchange.remote,
            says,
        });
        self
    }

    /// This segment was sent again so often.
    pub(crate) fn resent(self, len: u32, times: u32) -> Self {
        self.with(|x| {
            x.retransmits = times;
            x.mss_at_start = Some(1448);
            x.retransmitted = Some(Retransmitted {
                seq: START_SEQ,
                len,
                times,
            });
        })
    }

    /// The proxy had read the end.
    pub(crate) fn end_read(self, ms: i64) -> Self {
        self.with(|x| x.times.end_read = Some(at(ms)))
    }

    /// The attempt as the kernel reports it.
    pub(crate) fn exchange(self) -> Exchange {
        self.0.exchange
    }

    /// The attempt.
    pub(crate) fn build(self) -> AttemptFacts {
        self.0
    }
}

/// A case with these attempts: an error response with this status, tied strongly.
pub(crate) fn case(proxy: ProxyKind, status: u16, attempts: Vec<AttemptFacts>) -> CaseFacts {
    CaseFacts {
        around: Around::default(),
        seen_from: SeenFrom::Proxy,
        proxy,
        outcome: Outcome::ErrorResponse,
        status: Some(status),
        attempts,
        tie: Confidence::Strong,
        client_left_ns: None,
        request_start_ns: Some(at(-2)),
        client_bytes: Some(150),
        hidden_by: None,
        taken_up: true,
        client_upgrade: None,
    }
}

/// A case without any attempt, of which so much is known. The client had waited for 300 ms.
pub(crate) fn alone(proxy: ProxyKind, status: u16, change: impl FnOnce(&mut Around)) -> CaseFacts {
    let mut facts = case(proxy, status, Vec::new());
    facts.taken_up = false;
    facts.tie = Confidence::Weak;
    facts.around.waited_ns = Some(300_000_000);
    change(&mut facts.around);
    facts
}

/// Connections and descriptors of the built processes.
pub(crate) fn in_use(busy: u32, idle: u32, descriptors: u64) -> UpstreamsInUse {
    UpstreamsInUse {
        port: None,
        route_busy: None,
        route_idle: None,
        time_ns: at(0),
        pid: 100,
        busy,
        idle,
        descriptors: Some(descriptors),
        descriptor_limit: Some(1024),
    }
}

/// Expects rule, who and how of a case with this one attempt, answered by nginx with this status.
pub(crate) fn expect(status: u16, attempt: AttemptBuilder, want: (&str, EndedBy, How)) {
    let facts = case(ProxyKind::Nginx, status, vec![attempt.build()]);
    let (ended_by, how) = ending(&facts, 0);
    assert_eq!((judge(&facts).rule, ended_by, how), want, "{facts:#?}");
}
