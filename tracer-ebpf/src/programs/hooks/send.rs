//! A send returned, in the thread that owns the socket.
//!
//! `sock:sock_send_length` (≥ 6.3) tells of all of them, but for what `sendfile` moves in 6.3 and 6.4.
//! <https://github.com/torvalds/linux/blob/v6.18/net/socket.c>, `call_trace_sock_send_length`.
//! Before, the functions that the socket layer calls for IPv4 and IPv6 do: no byte goes through two of
//! them, and `sendfile` and `splice` have one of their own, which is no more from 6.5 on.
//! <https://github.com/torvalds/linux/blob/v6.1/net/ipv4/af_inet.c>, `inet_sendmsg`, `inet_sendpage`.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{fexit, kprobe, kretprobe, raw_tracepoint},
    programs::{FExitContext, ProbeContext, RawTracePointContext, RetProbeContext},
};
use tracer_ebpf::{Direction, flags, marks};

use super::call;
use crate::programs::{conn, dns, emit, exchange, first, link, sock};

const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;

#[raw_tracepoint(tracepoint = "sock_send_length")]
fn sock_send_length(ctx: RawTracePointContext) -> i32 {
    first::on_thread_stack(&ctx);
    sent(ctx.arg(1), || ctx.arg(0))
}

// Inlined into what the macro makes of them: before 6.4 the verifier takes every number for precise once
// it has seen a call of a static function, and looks at each path anew.

/// `inet_sendmsg(sock, msg, size)` and `inet6_sendmsg`, which look alike; the result is behind the
/// arguments.
#[fexit]
#[inline(always)]
fn send_exit(ctx: FExitContext) -> i32 {
    sent(ctx.arg(3), || sock::of_socket(ctx.arg(0)))
}

/// `inet_sendpage(sock, page, offset, size, flags)`.
#[fexit]
#[inline(always)]
fn sendpage_exit(ctx: FExitContext) -> i32 {
    sent(ctx.arg(5), || sock::of_socket(ctx.arg(0)))
}

/// Any of the three.
#[kprobe]
fn send_enter(ctx: ProbeContext) -> i32 {
    call::enter(ctx.arg(0), 0);
    0
}

#[kretprobe]
#[inline(always)]
fn send_return(ctx: RetProbeContext) -> i32 {
    match call::leave() {
        Some(call) => sent(ctx.ret(), || sock::of_socket(call.socket)),
        None => 0,
    }
}

/// The handler of them all.
#[inline(always)]
fn sent(ret: i32, sk: impl FnOnce() -> u64) -> i32 {
    let Some(pid_tgid) = conn::maybe_traced_thread() else {
        return 0;
    };
    let sk = sk();
    let found = conn::enter(sk);
    if !conn::is_traced(found.as_deref(), pid_tgid) {
        return 0;
    }
    // SAFETY: no arguments.
    let tracked = || found.or_else(|| conn::adopt(sk, unsafe { bpf_ktime_get_ns() }));
    if ret > 0 {
        match tracked() {
            Some(conn) => exchange::sent(sk, conn, ret as u64, pid_tgid),
            None if dns::is_query(sk) => {
                emit::dns(pid_tgid, ret as u64, 0);
            }
            None => {}
        }
        return 0;
    }
    let errno = -ret;
    if errno != EPIPE && errno != ECONNRESET {
        return 0;
    }
    let Some(conn) = tracked() else { return 0 };
    conn.send_errno = errno;
    conn.marks |= marks::EXCHANGE;
    conn::mark_ended(conn);
    conn::used_by(conn, pid_tgid);
    if conn::is_upstream(conn) {
        if conn.direction != Direction::Sent as u8 && conn.flags & flags::REPORTED == 0 {
            exchange::request_refused(sk, conn, pid_tgid);
        }
        // SAFETY: no arguments.
        link::note_upstream(pid_tgid, conn, unsafe { bpf_ktime_get_ns() });
    }
    0
}
