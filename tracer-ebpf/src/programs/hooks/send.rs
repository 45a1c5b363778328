//! `sock:sock_send_length`: a send returned, in the thread that owns the socket (≥ 6.3).
//! <https://github.com/torvalds/linux/blob/v6.18/net/socket.c>, `call_trace_sock_send_length`.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_ebpf::{Direction, flags};

use crate::programs::{conn, dns, emit, exchange, link};

const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;

#[raw_tracepoint(tracepoint = "sock_send_length")]
fn sock_send_length(ctx: RawTracePointContext) -> i32 {
    let Some(pid_tgid) = conn::traced_thread() else {
        return 0;
    };
    let sk: u64 = ctx.arg(0);
    let ret: i32 = ctx.arg(1);
    if ret > 0 {
        match tracked(sk) {
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
    let Some(conn) = tracked(sk) else { return 0 };
    conn.send_errno = errno;
    conn.tgid = (pid_tgid >> 32) as u32;
    conn.tid = pid_tgid as u32;
    if conn::is_upstream(conn) {
        if conn.direction != Direction::Sent as u8 && conn.flags & flags::REPORTED == 0 {
            exchange::request_refused(sk, conn, pid_tgid);
        }
        // SAFETY: no arguments.
        link::note_upstream(pid_tgid, conn, unsafe { bpf_ktime_get_ns() });
    }
    0
}

#[inline(always)]
fn tracked(sk: u64) -> Option<&'static mut tracer_ebpf::ConnState> {
    // SAFETY: no arguments.
    conn::get(sk).or_else(|| conn::adopt(sk, unsafe { bpf_ktime_get_ns() }))
}
