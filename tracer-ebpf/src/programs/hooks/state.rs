//! `sock:inet_sock_set_state`: every TCP state change.
//! <https://github.com/torvalds/linux/blob/v6.18/net/ipv4/af_inet.c>, `inet_sk_state_store`.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_ebpf::{Conn, Direction, Role, Tracked, flags, process};

use crate::programs::{conn, emit, end, link, sock, stats};

// include/net/tcp_states.h
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const FIN_WAIT1: i32 = 4;
const CLOSE: i32 = 7;
const CLOSE_WAIT: i32 = 8;
const LAST_ACK: i32 = 9;
const LISTEN: i32 = 10;
const CLOSING: i32 = 11;

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    match new {
        SYN_SENT => connect(sk),
        LISTEN => listen(sk),
        _ => match conn::enter(sk) {
            Some(conn) => change(sk, conn, old, new),
            None if old == SYN_RECV && new == ESTABLISHED => accept(sk),
            None => {}
        },
    }
    0
}

#[inline(always)]
fn connect(sk: u64) {
    let Some(pid_tgid) = conn::traced_thread() else {
        return;
    };
    if conn::is_backend(pid_tgid) || !sock::is_tcp(sk) {
        return;
    }
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(conn) = conn::create(sk, Role::Connecting, now, 0) else {
        return;
    };
    conn.state = SYN_SENT as u8;
    conn.opened_ns = now;
    conn::used_by(conn, pid_tgid);
    stats::connecting(conn);
    link::attach(pid_tgid, conn, 0, false, now);
}

#[inline(always)]
fn listen(sk: u64) {
    let port = sock::local_port(sk);
    let pid_tgid = match conn::traced_thread() {
        Some(pid_tgid) => pid_tgid,
        // A backend comes back as another process.
        None if conn::is_backend_port(port) => conn::trace_backend(),
        None => return,
    };
    conn::add_listen_port(port, conn::is_backend(pid_tgid));
    emit::process(process::LISTEN, (pid_tgid >> 32) as u32, 0, port, 0);
}

/// A passive handshake is done. The owner shows when it first uses the socket; and so, while tracing stands by,
/// does the connection: until then there is nothing to know of it.
#[inline(always)]
fn accept(sk: u64) {
    if conn::payload_goes_unseen() {
        return;
    }
    let port = sock::local_port(sk);
    if !conn::is_listen_port(port) || !sock::is_tcp(sk) {
        return;
    }
    // Until its process is known, the port tells.
    let flags = if conn::is_backend_port(port) {
        flags::BACKEND
    } else {
        0
    };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if let Some(conn) = conn::create(sk, Role::Accepted, now, flags) {
        conn.state = ESTABLISHED as u8;
        conn.opened_ns = now;
        conn.established_ns = now;
    }
}

#[inline(always)]
fn change(sk: u64, conn: &mut Tracked, old: i32, new: i32) {
    conn.state = new as u8;
    if new != ESTABLISHED
        && new != CLOSE_WAIT
        && new != FIN_WAIT1
        && new != LAST_ACK
        && new != CLOSE
        && new != CLOSING
    {
        return;
    }
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    match new {
        ESTABLISHED => {
            conn.established_ns = now;
            sock::refresh_local(sk, conn);
            if conn::is_upstream(conn) {
                (conn.mss_start, conn.pmtu_start) = sock::segment_sizes(sk);
                stats::connected(conn);
            }
        }
        CLOSE_WAIT => {
            conn.fin_received_ns = now;
            conn::mark_ended(conn);
            sock::note_end(sk, conn);
            if conn::is_upstream(conn) && conn.direction == Direction::Received as u8 {
                stats::closed_idle(conn, now);
            }
        }
        CLOSING => {
            conn.fin_received_ns = now;
            conn::mark_ended(conn);
        }
        FIN_WAIT1 | LAST_ACK => {
            if conn.closed_ns == 0 {
                conn.closed_ns = now;
            }
            end::connection_over(sk);
        }
        _ => closed(sk, conn, old, now),
    }
}

/// CLOSE: by a reset, a timer, or the process (abort, or close of a socket that never connected).
#[inline(always)]
fn closed(sk: u64, conn: &mut Tracked, old: i32, now: u64) {
    let err = sock::err(sk);
    if err != 0 {
        conn.sk_err = err;
        conn::mark_ended(conn);
    }
    if old == LAST_ACK || old == CLOSING || conn.closed_ns != 0 {
        return;
    }
    if conn.reset_received_ns == 0 && conn.sk_err == 0 && is_owner(conn) {
        conn.closed_ns = now;
        if old != SYN_SENT {
            conn.flags |= flags::ABORTED;
        }
        sock::note_end(sk, conn);
        sock::refresh_local(sk, conn);
        // Now, not when the socket is destroyed: an abort wipes the sequence numbers in between.
        end::connection_over(sk);
    }
}

/// A timer or the network stack runs in whatever thread is current; a close runs in the owner's.
#[inline(always)]
fn is_owner(conn: &Conn) -> bool {
    (bpf_get_current_pid_tgid() >> 32) as u32 == conn.tgid
}
