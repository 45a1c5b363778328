//! `tcp:tcp_retransmit_skb`.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::raw_tracepoint, programs::RawTracePointContext};

use tracer_ebpf::{Cause, flags, marks};

use crate::programs::{conn, emit, globals::offset, sock};

/// A segment that was sent again this often without another in between does not get through.
const IN_VAIN: u32 = 2;

#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
fn tcp_retransmit_skb(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let Some(conn) = conn::enter(sk) else {
        return 0;
    };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    conn.retransmits += 1;
    conn.marks |= marks::EXCHANGE;
    if conn.retransmit_first_ns == 0 {
        conn.retransmit_first_ns = now;
    }
    conn.retransmit_last_ns = now;
    // `struct tcp_skb_cb` of include/net/tcp.h: seq, then end_seq.
    if let Some([seq, end_seq]) = sock::read::<[u32; 2]>(ctx.arg(1), offset!(skb_cb)) {
        if conn.retransmit_same > 0 && conn.retransmit_seq == seq {
            conn.retransmit_same += 1;
        } else {
            conn.retransmit_same = 1;
        }
        conn.retransmit_seq = seq;
        conn.retransmit_len = end_seq.wrapping_sub(seq);
    }
    sock::refresh_local(sk, conn);
    // Its proxy may give up long before this side does.
    if conn.flags & flags::BACKEND != 0 && conn.retransmit_same == IN_VAIN {
        emit::exchange(sk, Cause::Unheard);
    }
    0
}
