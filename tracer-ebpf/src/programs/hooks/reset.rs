//! `tcp:tcp_send_reset` and `tcp:tcp_receive_reset`.
//! <https://github.com/torvalds/linux/blob/v6.18/include/trace/events/tcp.h>

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_ebpf::{
    ABSENT,
    conn::{NO_REASON, REASON_CLOSED, REASON_UNNAMED, REASON_UNREAD},
};

use crate::programs::{
    conn, end,
    globals::offset,
    maps::{ARRIVED_RESETS, ArrivedReset, Ends, SAME_RESET_NS, SENT_RESETS, SentReset},
    sock,
};

// include/net/tcp_states.h
const CLOSE: u8 = 7;

/// We, or somebody else on this host, sent RST. Sockets of other processes count too: the peer of a
/// traced connection may live on this host, and then its kernel's reason is ours to read.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
fn tcp_send_reset(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let skb: u64 = ctx.arg(1);
    // Third argument from 6.10 on; reading an argument that is not there would be refused.
    let reason = if offset!(reset_reason_arg) == ABSENT {
        concluded(sk, skb)
    } else {
        ctx.arg::<u32>(2)
    };
    let (source, dest) = ports(sk, skb);
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if source != 0 {
        let ports = port_pair(source, dest);
        let sent = SentReset {
            reason,
            pad: 0,
            at_ns: now,
        };
        // A full table forgets the oldest.
        let _ = SENT_RESETS.insert(&ports, &sent, 0);
        if let Some(arrived) = ARRIVED_RESETS.get_ptr(&ports) {
            // SAFETY: a live map value.
            let arrived = unsafe { *arrived };
            if now.wrapping_sub(arrived.at_ns) < SAME_RESET_NS
                && let Some(peer) = conn::enter(arrived.sk)
                && peer.reset_received_reason == NO_REASON
            {
                peer.reset_received_reason = reason;
            }
        }
    }
    let tracked = if sk == 0 { None } else { conn::enter(sk) };
    match tracked {
        Some(conn) => {
            conn.reset_sent_ns = now;
            conn.reset_sent_reason = reason;
            end::reset_sent(sk, conn, skb != 0);
        }
        // It answers a segment for a connection that is no more.
        None if skb != 0 && conn::is_backend_port(source) => late(skb, reason, source, dest, now),
        None => {}
    }
    0
}

/// Why a socket sends a reset, on a kernel that does not say so.
#[inline(always)]
fn concluded(sk: u64, skb: u64) -> u32 {
    // Before it answers, `tcp_rcv_state_process` has a closed socket that data came for done with
    // (`tcp_reset`); other sockets that answer with a reset listen or are about to connect.
    // https://github.com/torvalds/linux/blob/v6.1/net/ipv4/tcp_input.c, TCPABORTONDATA
    if sk != 0 && skb != 0 && sock::state(sk) == CLOSE {
        return REASON_CLOSED;
    }
    // `__tcp_close` shuts both directions down first, and its reset is the only one then for which
    // payload lies unread; a FIN counts as one there.
    // https://github.com/torvalds/linux/blob/v6.1/net/ipv4/tcp.c, TCPABORTONCLOSE
    if sk != 0 && skb == 0 && sock::is_shut(sk) && sock::unread(sk) > 1 {
        return REASON_UNREAD;
    }
    REASON_UNNAMED
}

#[inline(always)]
fn port_pair(source: u16, dest: u16) -> u32 {
    u32::from(source) << 16 | u32::from(dest)
}

/// A segment came for a backend's connection that its side had closed.
#[inline(always)]
fn late(skb: u64, reason: u32, source: u16, dest: u16, now: u64) {
    let ends = Ends {
        remote_addr: sock::segment_source(skb),
        remote_port: dest,
        local_port: source,
    };
    end::late_segment(&ends, reason, now);
}

/// Source and destination port of the reset.
#[inline(always)]
fn ports(sk: u64, skb: u64) -> (u16, u16) {
    if skb != 0
        && let Some(head) = sock::read::<u64>(skb, offset!(skb_head))
        && let Some(transport) = sock::read::<u16>(skb, offset!(skb_transport_header))
        && let Some([source, dest]) = sock::read::<[u16; 2]>(head, u32::from(transport))
    {
        // It answers the segment in `skb`.
        return (u16::from_be(dest), u16::from_be(source));
    }
    if sk != 0 {
        // An abortive close: a full socket, which may have given its port back already.
        return (sock::source_port(sk), sock::remote_port(sk));
    }
    (0, 0)
}

#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
fn tcp_receive_reset(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let Some(conn) = conn::enter(sk) else {
        return 0;
    };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    conn.reset_received_ns = now;
    conn::mark_ended(conn);
    sock::note_end(sk, conn);
    sock::refresh_local(sk, conn);
    let ports = port_pair(conn.remote_port, conn.local_port);
    if let Some(sent) = SENT_RESETS.get_ptr(&ports) {
        // SAFETY: a live map value.
        let sent = unsafe { *sent };
        if now.wrapping_sub(sent.at_ns) < SAME_RESET_NS {
            conn.reset_received_reason = sent.reason;
            return 0;
        }
    }
    let arrived = ArrivedReset { sk, at_ns: now };
    // A full table forgets the oldest.
    let _ = ARRIVED_RESETS.insert(&ports, &arrived, 0);
    0
}
