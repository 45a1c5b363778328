//! `sock:sock_recv_length`: a receive returned, in the thread that owns the socket (≥ 6.3).
//! <https://github.com/torvalds/linux/blob/v6.18/net/socket.c>, `call_trace_sock_recv_length`.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_ebpf::ConnState;

use crate::programs::{conn, dns, emit, exchange, link};

const MSG_PEEK: i32 = 2;
const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
/// Errnos from here on restart the call and never reach user space.
const ERESTARTSYS: i32 = 512;

#[raw_tracepoint(tracepoint = "sock_recv_length")]
fn sock_recv_length(ctx: RawTracePointContext) -> i32 {
    let ret: i32 = ctx.arg(1);
    if ret == -EAGAIN {
        return 0;
    }
    let Some(pid_tgid) = conn::traced_thread() else {
        return 0;
    };
    let flags: i32 = ctx.arg(2);
    if flags & MSG_PEEK != 0 {
        return 0;
    }
    let sk: u64 = ctx.arg(0);
    if ret > 0 {
        // SAFETY: no arguments.
        let found = conn::get(sk).or_else(|| conn::adopt(sk, unsafe { bpf_ktime_get_ns() }));
        match found {
            Some(conn) => exchange::received(sk, conn, ret as u64, pid_tgid),
            None if dns::is_query(sk) => {
                emit::dns(pid_tgid, ret as u64, 1);
            }
            None => {}
        }
    } else if (ret == 0 || (-ret != EINTR && -ret < ERESTARTSYS))
        && let Some(conn) = conn::get(sk)
    {
        end_read(conn, -ret, pid_tgid);
    }
    0
}

/// End of file, or an error.
#[inline(always)]
fn end_read(conn: &mut ConnState, errno: i32, pid_tgid: u64) {
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    conn.tgid = (pid_tgid >> 32) as u32;
    conn.tid = pid_tgid as u32;
    if conn.end_read_ns == 0 {
        conn.end_read_ns = now;
    }
    if errno != 0 {
        conn.recv_errno = errno;
    }
    if conn::is_upstream(conn) {
        link::note_upstream(pid_tgid, conn, now);
    }
}
