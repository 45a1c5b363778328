//! The connection table.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, maps::Array};
use tracer_ebpf::{ConnState, Role, conn::NO_REASON, flags, load::PROCESS_BACKEND, loss};

use super::maps::{BACKEND_PORTS, CONNS, LISTEN_PORTS, PROCESSES, count_loss};
use super::sock;

// SAFETY: all-zero bytes are a valid ConnState.
static ZERO_CONN: ConnState = unsafe { core::mem::zeroed() };

/// The tracked connection of this socket.
#[inline(always)]
pub(crate) fn get(sk: u64) -> Option<&'static mut ConnState> {
    let ptr = CONNS.get_ptr_mut(&sk)?;
    // SAFETY: a live map value; see the module comment of `programs` on concurrent use.
    Some(unsafe { &mut *ptr })
}

/// Current thread, if its process is traced.
#[inline(always)]
pub(crate) fn traced_thread() -> Option<u64> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    PROCESSES.get_ptr(&tgid).map(|_| pid_tgid)
}

/// Is the current process a backend?
#[inline(always)]
pub(crate) fn is_backend(pid_tgid: u64) -> bool {
    let tgid = (pid_tgid >> 32) as u32;
    PROCESSES
        .get_ptr(&tgid)
        // SAFETY: a live map value.
        .is_some_and(|value| unsafe { *value } == PROCESS_BACKEND)
}

/// Traces the current process as a backend.
#[inline(always)]
pub(crate) fn trace_backend() -> u64 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if PROCESSES.insert(&tgid, &PROCESS_BACKEND, 0).is_err() {
        count_loss(loss::PROCESS_TABLE);
    }
    pid_tgid
}

/// The process that reads a client's request owns the connection: a proxy, or a backend.
#[inline(always)]
pub(crate) fn note_owner(down: &mut ConnState) {
    let pid_tgid = u64::from(down.tgid) << 32;
    if is_backend(pid_tgid) {
        down.flags |= flags::BACKEND;
    } else {
        down.flags &= !flags::BACKEND;
    }
}

/// Does a backend listen on this port?
#[inline(always)]
pub(crate) fn is_backend_port(port: u16) -> bool {
    holds(&BACKEND_PORTS, port)
}

/// Does a traced process listen on this port?
#[inline(always)]
pub(crate) fn is_listen_port(port: u16) -> bool {
    holds(&LISTEN_PORTS, port)
}

#[inline(always)]
fn holds(ports: &Array<u64>, port: u16) -> bool {
    ports
        .get(u32::from(port >> 6))
        .is_some_and(|word| *word >> (port & 63) & 1 != 0)
}

/// Starts to track a socket. `None` if the table is full.
#[inline(always)]
pub(crate) fn create(sk: u64, role: Role, now: u64, flags: u32) -> Option<&'static mut ConnState> {
    if CONNS.insert(&sk, &ZERO_CONN, 0).is_err() {
        count_loss(loss::CONN_TABLE);
        return None;
    }
    let conn = get(sk)?;
    conn.key.sk = sk;
    conn.key.generation = now;
    conn.role = role as u8;
    conn.flags = flags;
    conn.reset_sent_reason = NO_REASON;
    conn.reset_received_reason = NO_REASON;
    sock::read_tuple(sk, conn);
    Some(conn)
}

/// A traced process uses a socket that is not tracked: it was open before the capture began, or
/// was accepted. `None` if it is not TCP.
#[inline(always)]
pub(crate) fn adopt(sk: u64, now: u64) -> Option<&'static mut ConnState> {
    if !sock::is_tcp(sk) {
        return None;
    }
    let role = if is_listen_port(sock::local_port(sk)) {
        Role::Accepted
    } else if is_backend(bpf_get_current_pid_tgid()) {
        return None;
    } else {
        Role::Connecting
    };
    let conn = create(sk, role, now, flags::ADOPTED)?;
    conn.state = sock::state(sk);
    conn.established_ns = now;
    if sock::payload_so_far(sk) > 0 {
        conn.flags |= flags::USED_BEFORE;
    }
    Some(conn)
}

/// The client connection that an upstream exchange works for, while it is at that request.
#[inline(always)]
pub(crate) fn linked_client(up: &ConnState) -> Option<&'static mut ConnState> {
    if up.link.sk == 0 {
        return None;
    }
    let down = get(up.link.sk)?;
    (down.key.generation == up.link.generation && down.exchange == up.link_exchange).then_some(down)
}

/// Did the client end its side before it had its answer? One that leaves with an error page in hand
/// has it.
#[inline(always)]
pub(crate) fn client_left(down: &ConnState) -> bool {
    (down.fin_received_ns != 0 || down.reset_received_ns != 0)
        && down.flags & flags::STATUS_REPORTED == 0
}

#[inline(always)]
pub(crate) fn is_upstream(conn: &ConnState) -> bool {
    conn.role == Role::Connecting as u8
}

/// A traced process listens on this port from now on.
#[inline(always)]
pub(crate) fn add_listen_port(port: u16, backend: bool) {
    if backend {
        add(&BACKEND_PORTS, port);
    }
    add(&LISTEN_PORTS, port);
}

#[inline(always)]
fn add(ports: &Array<u64>, port: u16) {
    if let Some(word) = ports.get_ptr_mut(u32::from(port >> 6)) {
        // SAFETY: a live map value. Two listeners at the same instant in one word of 64 ports could
        // lose one bit; user space sets it again from the LISTEN record.
        unsafe { *word |= 1 << (port & 63) };
    }
}
