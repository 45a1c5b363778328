//! An exchange record to an [`Exchange`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Buf;
use tracer_ebpf::{
    Cause, ConnKey, ConnState, Kind, LinkHow, RecordHeader, Role, SocketFacts, conn::NO_REASON,
    flags,
};

use super::{DecodeError, redact, wire};
use crate::event::{ConnId, Exchange, Link, Retransmitted, Socket, Times, canonical};

/// `RCV_SHUTDOWN` of include/net/sock.h: a FIN was received, which takes one sequence number.
const RCV_SHUTDOWN: u32 = 1;

pub(super) fn decode(
    header: RecordHeader,
    kind: Kind,
    mut body: &[u8],
) -> Result<Exchange, DecodeError> {
    let rest = &mut body;
    let conn = wire::conn(rest)?;
    let facts = wire::facts(rest)?;
    let (last, last_ns) = wire::key_and_time(rest)?;
    let stride = wire::u32_ne(rest)? as usize;
    let _pad = wire::u32_ne(rest)?;
    let mut request_head = head(rest, stride, conn.request_head_len)?;
    redact::request(&mut request_head);
    let mut response_head = head(rest, stride, conn.response_head_len)?;
    redact::response(&mut response_head);
    let role = Role::from_wire(conn.role).ok_or(DecodeError::Value {
        field: "role",
        value: u64::from(conn.role),
    })?;
    let expected = match kind {
        Kind::Upstream => Role::Connecting,
        _ => Role::Accepted,
    };
    if role != expected {
        return Err(DecodeError::Value {
            field: "role",
            value: u64::from(conn.role),
        });
    }
    Ok(Exchange {
        time_ns: header.time_ns,
        cause: Cause::from_wire(header.cause).ok_or(DecodeError::Value {
            field: "cause",
            value: u64::from(header.cause),
        })?,
        role,
        conn: conn_id(conn.key),
        link: link(&conn)?,
        thread_last_upstream: (last.sk != 0).then(|| (conn_id(last), last_ns)),
        local: address(conn.family, conn.local_addr, conn.local_port)?,
        remote: address(conn.family, conn.remote_addr, conn.remote_port)?,
        netns: conn.netns,
        pid: conn.tgid,
        tid: conn.tid,
        exchange: conn.exchange,
        flags: conn.flags,
        state: conn.state,
        times: times(&conn),
        request_bytes: conn.request_bytes,
        response_bytes: conn.response_bytes,
        status: (conn.status != 0).then_some(conn.status),
        retransmits: conn.retransmits,
        request_start_seq: conn.request_start_seq,
        snd_una_at_end: conn.snd_una_at_end,
        write_seq_at_end: conn.write_seq_at_end,
        reset_sent_reason: (conn.reset_sent_reason != NO_REASON).then_some(conn.reset_sent_reason),
        reset_received_reason: (conn.reset_received_reason != NO_REASON)
            .then_some(conn.reset_received_reason),
        sk_err: errno(conn.sk_err),
        send_errno: errno(conn.send_errno),
        recv_errno: errno(conn.recv_errno),
        socket: socket(&facts),
        request_head,
        response_head,
        response_tail: tail(&conn),
        sent_last: sent_last(&conn),
        sent_last_len: conn.sent_last_len,
        retransmitted: (conn.retransmit_same != 0).then_some(Retransmitted {
            seq: conn.retransmit_seq,
            len: conn.retransmit_len,
            times: conn.retransmit_same,
        }),
        mss_at_start: (conn.mss_start != 0).then_some(conn.mss_start),
        pmtu_at_start: (conn.pmtu_start != 0).then_some(conn.pmtu_start),
    })
}

/// The head region that follows, if this record has one; `len` of its bytes count.
fn head(rest: &mut &[u8], stride: usize, len: u16) -> Result<Vec<u8>, DecodeError> {
    let len = usize::from(len);
    if len == 0 && rest.len() < stride {
        return Ok(Vec::new());
    }
    if len > stride || rest.len() < stride {
        return Err(DecodeError::Short {
            have: rest.len().min(stride),
            need: len.max(stride),
        });
    }
    let bytes = rest[..len].to_vec();
    rest.advance(stride);
    Ok(bytes)
}

/// An identity without a kernel address in it: SplitMix64 of both halves
/// (<https://prng.di.unimi.it/splitmix64.c>).
fn conn_id(key: ConnKey) -> ConnId {
    let mut z = key.sk ^ key.generation.rotate_left(32);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ConnId(z ^ (z >> 31))
}

fn link(conn: &ConnState) -> Result<Option<Link>, DecodeError> {
    if conn.link.sk == 0 {
        return Ok(None);
    }
    let how = LinkHow::from_wire(conn.link_how).ok_or(DecodeError::Value {
        field: "link_how",
        value: u64::from(conn.link_how),
    })?;
    Ok(Some(Link {
        conn: conn_id(conn.link),
        exchange: conn.link_exchange,
        at_ns: conn.link_ns,
        how,
    }))
}

pub(super) fn address(family: u16, addr: [u8; 16], port: u16) -> Result<SocketAddr, DecodeError> {
    let [a, b, c, d, ..] = addr;
    let ip = match family {
        2 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        10 => canonical(IpAddr::V6(Ipv6Addr::from(addr))),
        _ => {
            return Err(DecodeError::Value {
                field: "family",
                value: u64::from(family),
            });
        }
    };
    Ok(SocketAddr::new(ip, port))
}

fn times(conn: &ConnState) -> Times {
    let at = |ns: u64| (ns != 0).then_some(ns);
    Times {
        opened: at(conn.opened_ns),
        established: at(conn.established_ns),
        fin_received: at(conn.fin_received_ns),
        reset_received: at(conn.reset_received_ns),
        reset_sent: at(conn.reset_sent_ns),
        error: at(conn.error_ns),
        closed: at(conn.closed_ns),
        goodbye: at(conn.goodbye_ns),
        idle_since: at(conn.idle_since_ns),
        request_start: at(conn.request_start_ns),
        response_start: at(conn.response_start_ns),
        response_last: at(conn.response_last_ns),
        end_read: at(conn.end_read_ns),
        retransmit_first: at(conn.retransmit_first_ns),
        retransmit_last: at(conn.retransmit_last_ns),
    }
}

fn errno(value: i32) -> Option<i32> {
    (value != 0).then_some(value)
}

fn socket(facts: &SocketFacts) -> Socket {
    let has = |bit: u32| facts.valid >> bit & 1 != 0;
    let both = |a: u32, b: u32, value: u32| (has(a) && has(b)).then_some(value);
    let fin = u32::from(facts.sk_shutdown & RCV_SHUTDOWN != 0);
    Socket {
        // A FIN counts in rcv_nxt; where nothing is unread it must not make −1.
        unread: both(
            0,
            1,
            facts
                .rcv_nxt
                .wrapping_sub(facts.copied_seq)
                .saturating_sub(fin),
        ),
        unacked: both(2, 3, facts.write_seq.wrapping_sub(facts.snd_una)),
        srtt_us: has(4).then_some(facts.srtt_us8 >> 3),
        total_retransmits: has(5).then_some(facts.total_retrans),
        mss: has(7).then_some(facts.mss_cache),
        pmtu: has(8).then_some(facts.pmtu),
        out_of_order: has(9).then_some(facts.rcv_ooopack),
        user_timeout_ms: has(10).then_some(facts.user_timeout_ms),
        soft_error: (has(11) && facts.sk_err_soft != 0).then_some(facts.sk_err_soft as i32),
        bytes_received: has(14).then_some(facts.bytes_received),
        bytes_acked: has(15).then_some(facts.bytes_acked),
    }
}

fn tail(conn: &ConnState) -> Vec<u8> {
    let len = usize::from(conn.tail_len).min(conn.tail.len());
    let mut tail = conn.tail[conn.tail.len() - len..].to_vec();
    redact::tail(&mut tail, conn.flags & flags::TLS != 0);
    tail
}

/// A plain-text alert holds no secret; of anything else the type and length of the record are enough.
fn sent_last(conn: &ConnState) -> Vec<u8> {
    const HEADER: usize = 5;
    const ALERT: u8 = 0x15;
    let len = (conn.sent_last_len as usize).min(conn.sent_last.len());
    let shown = if conn.sent_last[0] == ALERT {
        len
    } else {
        len.min(HEADER)
    };
    conn.sent_last[..shown].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: usize = size_of::<tracer_ebpf::ExchangeRecord>();

    /// A record with every byte of the fixed part zero but what a test sets.
    struct Record(Vec<u8>);

    impl Record {
        fn upstream(stride: usize, regions: usize) -> Self {
            let mut bytes = vec![0; FIXED + stride * regions];
            let len = bytes.len() as u32;
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
            bytes[4] = 1;
            bytes[5] = 1;
            let mut record = Self(bytes);
            record.set(
                core::mem::offset_of!(tracer_ebpf::ExchangeRecord, head_stride),
                &(stride as u32).to_ne_bytes(),
            );
            record.conn(core::mem::offset_of!(ConnState, role), &[2]);
            record.conn(
                core::mem::offset_of!(ConnState, family),
                &2u16.to_ne_bytes(),
            );
            record.conn(
                core::mem::offset_of!(ConnState, reset_sent_reason),
                &[255; 8],
            );
            record
        }

        fn set(&mut self, at: usize, bytes: &[u8]) {
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
        }

        fn conn(&mut self, at: usize, bytes: &[u8]) {
            let base = core::mem::offset_of!(tracer_ebpf::ExchangeRecord, conn);
            self.set(base + at, bytes);
        }

        fn exchange(&self) -> Result<Exchange, DecodeError> {
            match super::super::decode(&self.0)? {
                crate::event::KernelEvent::Exchange(exchange) => Ok(*exchange),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn fields_land_where_they_belong() {
        let mut record = Record::upstream(16, 2);
        record.conn(
            core::mem::offset_of!(ConnState, remote_addr),
            &[10, 0, 0, 5],
        );
        record.conn(
            core::mem::offset_of!(ConnState, remote_port),
            &8080u16.to_ne_bytes(),
        );
        record.conn(
            core::mem::offset_of!(ConnState, request_bytes),
            &412u64.to_ne_bytes(),
        );
        record.conn(
            core::mem::offset_of!(ConnState, status),
            &502u16.to_ne_bytes(),
        );
        record.conn(
            core::mem::offset_of!(ConnState, request_head_len),
            &3u16.to_ne_bytes(),
        );
        record.conn(
            core::mem::offset_of!(ConnState, response_head_len),
            &2u16.to_ne_bytes(),
        );
        record.conn(core::mem::offset_of!(ConnState, tail_len), &[2]);
        record.conn(
            core::mem::offset_of!(ConnState, tail),
            b"______________\r\n",
        );
        record.conn(
            core::mem::offset_of!(ConnState, sk_err),
            &104i32.to_ne_bytes(),
        );
        record.set(FIXED, b"GET");
        record.set(FIXED + 16, b"HT");
        let exchange = record.exchange().unwrap();
        assert_eq!(exchange.remote, "10.0.0.5:8080".parse().unwrap());
        assert_eq!(exchange.request_bytes, 412);
        assert_eq!(exchange.status, Some(502));
        assert_eq!(exchange.request_head, b"GET");
        assert_eq!(exchange.response_head, b"HT");
        assert_eq!(exchange.response_tail, b"\r\n");
        assert_eq!(exchange.sk_err, Some(104));
        assert_eq!(exchange.reset_received_reason, None);
        assert_eq!(exchange.socket, Socket::default());
        assert_eq!(exchange.link, None);
    }

    #[test]
    fn impossible_values_are_errors() {
        let mut role = Record::upstream(0, 0);
        role.conn(core::mem::offset_of!(ConnState, role), &[1]);
        assert!(matches!(
            role.exchange(),
            Err(DecodeError::Value { field: "role", .. })
        ));
        let mut family = Record::upstream(0, 0);
        family.conn(core::mem::offset_of!(ConnState, family), &[9, 0]);
        assert!(matches!(
            family.exchange(),
            Err(DecodeError::Value {
                field: "family",
                ..
            })
        ));
        let mut head = Record::upstream(16, 1);
        head.conn(
            core::mem::offset_of!(ConnState, request_head_len),
            &17u16.to_ne_bytes(),
        );
        assert!(matches!(head.exchange(), Err(DecodeError::Short { .. })));
    }

    #[test]
    fn every_cut_is_an_error_or_a_value() {
        let record = Record::upstream(16, 2);
        for cut in 0..record.0.len() {
            let mut bytes = record.0[..cut].to_vec();
            assert!(super::super::decode(&bytes).is_err(), "cut at {cut}");
            if cut >= 4 {
                bytes[..4].copy_from_slice(&(cut as u32).to_ne_bytes());
                let _ = super::super::decode(&bytes);
            }
        }
    }

    #[test]
    fn unread_does_not_count_the_fin() {
        let facts = |rcv_nxt, copied_seq, sk_shutdown| SocketFacts {
            valid: 0b11,
            rcv_nxt,
            copied_seq,
            sk_shutdown,
            ..SocketFacts::default()
        };
        assert_eq!(socket(&facts(101, 100, 1)).unread, Some(0));
        assert_eq!(socket(&facts(111, 100, 1)).unread, Some(10));
        assert_eq!(socket(&facts(100, 100, 1)).unread, Some(0));
        assert_eq!(socket(&facts(5, u32::MAX, 0)).unread, Some(6));
    }
}
