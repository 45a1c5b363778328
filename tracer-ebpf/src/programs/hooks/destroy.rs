//! `tcp:tcp_destroy_sock`: the end of every TCP socket.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use tracer_ebpf::flags;

use crate::programs::{conn, end, head, sock};

#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
fn tcp_destroy_sock(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let Some(conn) = conn::get(sk) else { return 0 };
    if conn.flags & flags::OVER == 0 {
        if conn.closed_ns == 0 {
            // Reset by the peer or given up by the kernel before: this is the process letting go.
            // SAFETY: no arguments.
            conn.closed_ns = unsafe { bpf_ktime_get_ns() };
        }
        sock::refresh_local(sk, conn);
        end::connection_over(sk);
    }
    // Pruned by the verifier unless the loader raises AYA_LOG_LEVEL.
    debug!(
        &ctx,
        "connection of process {} ends: exchange {}, {} request bytes, {} response bytes",
        conn.tgid,
        conn.exchange,
        conn.request_bytes,
        conn.response_bytes
    );
    head::forget(sk);
    0
}
