//! `tcp:tcp_send_reset` and `tcp:tcp_receive_reset`.
//! <https://github.com/torvalds/linux/blob/v6.18/include/trace/events/tcp.h>

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_ebpf::{ABSENT, conn::NO_REASON};

use crate::programs::{
    conn,
    globals::offset,
    maps::{ArrivedReset, LAST_ARRIVED, LAST_RESET, SAME_RESET_NS, SentReset},
    sock,
};

/// We, or somebody else on this host, sent RST. Sockets of other processes count too: the peer of a
/// traced connection may live on this host, and then its kernel's reason is ours to read.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
fn tcp_send_reset(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let skb: u64 = ctx.arg(1);
    // Third argument from 6.10 on; reading an argument that is not there would be refused.
    let reason = if offset!(reset_reason_arg) == ABSENT {
        NO_REASON
    } else {
        ctx.arg::<u32>(2)
    };
    let (source, dest) = ports(sk, skb);
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if let Some(slot) = LAST_RESET.get_ptr_mut(0) {
        // SAFETY: per-CPU slot that lives as long as the map.
        unsafe {
            *slot = SentReset {
                source,
                dest,
                reason,
                at_ns: now,
            }
        };
    }
    if let Some(arrived) = LAST_ARRIVED.get_ptr(0) {
        // SAFETY: per-CPU slot that lives as long as the map.
        let arrived = unsafe { *arrived };
        if source != 0
            && arrived.source == source
            && arrived.dest == dest
            && now.wrapping_sub(arrived.at_ns) < SAME_RESET_NS
            && let Some(peer) = conn::get(arrived.sk)
            && peer.reset_received_reason == NO_REASON
        {
            peer.reset_received_reason = reason;
        }
    }
    if sk != 0
        && let Some(conn) = conn::get(sk)
    {
        conn.reset_sent_ns = now;
        conn.reset_sent_reason = reason;
    }
    0
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
    let Some(conn) = conn::get(sk) else { return 0 };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    conn.reset_received_ns = now;
    sock::note_end(sk, conn);
    sock::refresh_local(sk, conn);
    if let Some(sent) = LAST_RESET.get_ptr(0) {
        // SAFETY: per-CPU slot that lives as long as the map.
        let sent = unsafe { *sent };
        if sent.source == conn.remote_port
            && sent.dest == conn.local_port
            && now.wrapping_sub(sent.at_ns) < SAME_RESET_NS
        {
            conn.reset_received_reason = sent.reason;
            return 0;
        }
    }
    if let Some(slot) = LAST_ARRIVED.get_ptr_mut(0) {
        let (source, dest) = (conn.remote_port, conn.local_port);
        // SAFETY: per-CPU slot that lives as long as the map.
        unsafe {
            *slot = ArrivedReset {
                sk,
                source,
                dest,
                pad: 0,
                at_ns: now,
            }
        };
    }
    0
}
