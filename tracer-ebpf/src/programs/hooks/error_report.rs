//! `sock:inet_sk_error_report` (≥ 5.14): the socket has an error for its process.
//! Before, the function that every socket of a process reports it with, and that no other function
//! holds a copy of, since it is called by its address:
//! <https://github.com/torvalds/linux/blob/v5.10/net/core/sock.c>, `sock_def_error_report`.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{fentry, kprobe, raw_tracepoint},
    programs::{FEntryContext, ProbeContext, RawTracePointContext},
};

use crate::programs::{conn, sock};

#[raw_tracepoint(tracepoint = "inet_sk_error_report")]
fn inet_sk_error_report(ctx: RawTracePointContext) -> i32 {
    error_reported(ctx.arg(0))
}

#[fentry]
fn error_report_entry(ctx: FEntryContext) -> i32 {
    error_reported(ctx.arg(0))
}

#[kprobe]
fn error_report_enter(ctx: ProbeContext) -> i32 {
    ctx.arg(0).map_or(0, error_reported)
}

/// The handler of them all.
#[inline(always)]
fn error_reported(sk: u64) -> i32 {
    let Some(conn) = conn::enter(sk) else {
        return 0;
    };
    let err = sock::err(sk);
    if err != 0 {
        // SAFETY: no arguments.
        conn.error_ns = unsafe { bpf_ktime_get_ns() };
        conn.sk_err = err;
        conn::mark_ended(conn);
    }
    0
}
