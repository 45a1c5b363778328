//! `sock:inet_sk_error_report` (≥ 5.14): the socket has an error for its process.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::raw_tracepoint, programs::RawTracePointContext};

use crate::programs::{conn, sock};

#[raw_tracepoint(tracepoint = "inet_sk_error_report")]
fn inet_sk_error_report(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let Some(conn) = conn::get(sk) else { return 0 };
    let err = sock::err(sk);
    if err != 0 {
        // SAFETY: no arguments.
        conn.error_ns = unsafe { bpf_ktime_get_ns() };
        conn.sk_err = err;
    }
    0
}
