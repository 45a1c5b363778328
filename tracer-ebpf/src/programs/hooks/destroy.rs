//! `tcp:tcp_destroy_sock`: the end of every TCP socket.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use tracer_ebpf::{Role, flags};

use crate::programs::{conn, end, link, regs, sock};

#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
fn tcp_destroy_sock(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let Some(conn) = conn::enter(sk) else {
        never_connected(sk);
        return 0;
    };
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
    end::backend_gone(sk, conn);
    end::remember_closed(conn);
    end::remember_let_go(sk);
    conn::forget(sk);
    0
}

/// A traced thread closes a TCP socket that was never connected, bound or listening: `connect` failed
/// before a SYN could be sent (no route, say), or `socket` found no descriptor for it, and no state
/// change was seen. That matters only if the
/// thread works for a client.
#[inline(always)]
fn never_connected(sk: u64) {
    let Some(pid_tgid) = conn::traced_thread() else {
        return;
    };
    if conn::is_backend(pid_tgid)
        || sock::source_port(sk) != 0
        || sock::remote_port(sk) != 0
        || sock::listen_backlog(sk) != 0
        || !sock::is_tcp(sk)
    {
        return;
    }
    // `socket` makes the socket first and looks for a descriptor then:
    // <https://github.com/torvalds/linux/blob/v6.18/net/socket.c>, `__sys_socket`.
    let flags = if regs::is_socket_call() {
        flags::NO_SYN | flags::NO_DESCRIPTOR
    } else {
        flags::NO_SYN
    };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(conn) = conn::create(sk, Role::Connecting, now, flags) else {
        return;
    };
    conn.opened_ns = now;
    conn.closed_ns = now;
    conn::used_by(conn, pid_tgid);
    link::attach(pid_tgid, conn, 0, false, now);
    if conn.link.sk != 0 {
        end::connection_over(sk);
    }
    conn::forget(sk);
}
