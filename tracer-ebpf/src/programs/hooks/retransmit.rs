//! `tcp:tcp_retransmit_skb`.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::raw_tracepoint, programs::RawTracePointContext};

use crate::programs::{conn, sock};

#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
fn tcp_retransmit_skb(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let Some(conn) = conn::get(sk) else { return 0 };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    conn.retransmits += 1;
    if conn.retransmit_first_ns == 0 {
        conn.retransmit_first_ns = now;
    }
    conn.retransmit_last_ns = now;
    sock::refresh_local(sk, conn);
    0
}
