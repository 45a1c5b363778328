//! A receive returned, in the thread that owns the socket.
//!
//! `sock:sock_recv_length` (≥ 6.3) tells of it:
//! <https://github.com/torvalds/linux/blob/v6.18/net/socket.c>, `call_trace_sock_recv_length`.
//! Before, the functions that the socket layer calls for IPv4 and IPv6 do:
//! <https://github.com/torvalds/linux/blob/v6.1/net/ipv4/af_inet.c>, `inet_recvmsg`. What `splice` takes
//! out of a socket passes neither.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{fexit, kprobe, kretprobe, raw_tracepoint},
    programs::{FExitContext, ProbeContext, RawTracePointContext, RetProbeContext},
};
use tracer_ebpf::{Tracked, marks};

use super::call;
use crate::programs::{conn, dns, emit, exchange, first, link, sock};

const MSG_PEEK: i32 = 2;
const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
/// Errnos from here on restart the call and never reach user space.
const ERESTARTSYS: i32 = 512;

#[raw_tracepoint(tracepoint = "sock_recv_length")]
fn sock_recv_length(ctx: RawTracePointContext) -> i32 {
    first::on_thread_stack(&ctx);
    received(ctx.arg(1), || ctx.arg(2), || ctx.arg(0))
}

/// `inet_recvmsg(sock, msg, size, flags)` and `inet6_recvmsg`, which look alike; the result is behind
/// the arguments.
#[fexit]
#[inline(always)]
fn recv_exit(ctx: FExitContext) -> i32 {
    received(ctx.arg(4), || ctx.arg(3), || sock::of_socket(ctx.arg(0)))
}

/// Either of the two.
#[kprobe]
fn recv_enter(ctx: ProbeContext) -> i32 {
    call::enter(ctx.arg(0), ctx.arg(3).unwrap_or(0));
    0
}

#[kretprobe]
#[inline(always)]
fn recv_return(ctx: RetProbeContext) -> i32 {
    match call::leave() {
        Some(call) => received(ctx.ret(), || call.flags, || sock::of_socket(call.socket)),
        None => 0,
    }
}

/// The handler of them all.
#[inline(always)]
fn received(ret: i32, flags: impl FnOnce() -> i32, sk: impl FnOnce() -> u64) -> i32 {
    if ret == -EAGAIN {
        return 0;
    }
    let Some(pid_tgid) = conn::maybe_traced_thread() else {
        return 0;
    };
    if flags() & MSG_PEEK != 0 {
        return 0;
    }
    let sk = sk();
    let found = conn::enter(sk);
    if !conn::is_traced(found.as_deref(), pid_tgid) {
        return 0;
    }
    if ret > 0 {
        // SAFETY: no arguments.
        match found.or_else(|| conn::adopt(sk, unsafe { bpf_ktime_get_ns() })) {
            Some(conn) => exchange::received(sk, conn, ret as u64, pid_tgid),
            None if dns::is_query(sk) => {
                emit::dns(pid_tgid, ret as u64, 1);
            }
            None => {}
        }
    } else if (ret == 0 || (-ret != EINTR && -ret < ERESTARTSYS))
        && let Some(conn) = found
    {
        end_read(conn, -ret, pid_tgid);
    }
    0
}

/// End of file, or an error.
#[inline(always)]
fn end_read(conn: &mut Tracked, errno: i32, pid_tgid: u64) {
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    conn::used_by(conn, pid_tgid);
    if conn.end_read_ns == 0 {
        conn.end_read_ns = now;
        conn.marks |= marks::EXCHANGE;
    }
    if errno != 0 {
        conn.recv_errno = errno;
        conn.marks |= marks::EXCHANGE;
        conn::mark_ended(conn);
    }
    if conn::is_upstream(conn) {
        link::note_upstream(pid_tgid, conn, now);
    }
}
