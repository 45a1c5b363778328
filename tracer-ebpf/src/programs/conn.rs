//! The connection table.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    maps::Array,
};
use tracer_ebpf::{
    Conn, Direction, HEAD_USUAL, Role, Tracked, TrackedLong,
    conn::NO_REASON,
    flags,
    load::{PROCESS_BACKEND, process_filter_bit},
    loss, marks,
};

use super::maps::{
    BACKEND_PORTS, CONNS, CONNS_LONG, LISTEN_PORTS, PROCESS_FILTER, PROCESSES, count_loss,
    filter_index,
};
use super::{
    globals::{epoch, may_stand_by, snaplen, watched_processes},
    sock,
};

// SAFETY: all-zero bytes are a valid value.
static ZERO_CONN: TrackedLong = unsafe { core::mem::zeroed() };

/// Are longer heads kept than usual? The verifier knows, so only one of the tables is left to it.
#[inline(always)]
fn keeps_long() -> bool {
    snaplen() > HEAD_USUAL as u32
}

/// The tracked connection of a hook's socket. If payload of it may have gone unseen, what was known of its
/// messages is forgotten first.
#[inline(always)]
pub(crate) fn enter(sk: u64) -> Option<&'static mut Tracked> {
    let conn = find(sk)?;
    if may_stand_by() && conn.epoch != epoch() {
        // Not the hook's own pointer, which the verifier lets into no global function.
        conn_renew(conn.key.sk);
    }
    Some(conn)
}

/// The tracked connection of any socket; `None`, too, if nothing happened to it in this period: what is known of
/// its messages may be wrong.
#[inline(always)]
pub(crate) fn get(sk: u64) -> Option<&'static mut Tracked> {
    let conn = find(sk)?;
    (!may_stand_by() || conn.epoch == epoch()).then_some(conn)
}

/// Is there an entry for this socket?
#[inline(always)]
pub(crate) fn is_tracked(sk: u64) -> bool {
    find(sk).is_some()
}

/// Does tracing stand by now? It does in even periods.
#[inline(always)]
pub(crate) fn payload_goes_unseen() -> bool {
    may_stand_by() && epoch() & 1 == 0
}

/// Flags that tell of the connection, and not of what was seen of its messages.
const OF_CONNECTION: u32 = flags::ADOPTED
    | flags::USED_BEFORE
    | flags::TUNNEL
    | flags::PEER_FIN_FIRST
    | flags::ABORTED
    | flags::OVER
    | flags::BACKEND
    | flags::NO_SYN
    | flags::NO_DESCRIPTOR;

/// Payload may have gone unseen since this connection was last looked at: what was known of its messages is
/// forgotten, as if it had been found open just now. A global function: see the module comment of `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn conn_renew(sk: u64) -> u32 {
    let Some(conn) = find(sk) else { return 0 };
    conn.epoch = epoch();
    if conn.established_ns == 0 || !(conn.exchange > 0 || sock::has_carried(sk)) {
        return 0;
    }
    // Links to it were made for a message of before.
    // SAFETY: no arguments.
    conn.key.generation = unsafe { bpf_ktime_get_ns() };
    conn.flags = conn.flags & OF_CONNECTION | flags::ADOPTED | flags::USED_BEFORE;
    conn.marks &= marks::ENDED;
    conn.direction = Direction::None as u8;
    conn.exchange = 0;
    conn.status = 0;
    conn.request_head_len = 0;
    conn.response_head_len = 0;
    conn.tail_len = 0;
    conn.link.sk = 0;
    conn.link_how = 0;
    conn.total_us = 0;
    conn.idle_us = 0;
    conn.request_start_ns = 0;
    conn.response_start_ns = 0;
    conn.response_last_ns = 0;
    conn.request_bytes = 0;
    conn.response_bytes = 0;
    conn.target_hash = 0;
    conn.idle_since_ns = 0;
    conn.goodbye_ns = 0;
    conn.end_read_ns = 0;
    conn.retransmit_first_ns = 0;
    conn.retransmit_last_ns = 0;
    conn.retransmits = 0;
    conn.retransmit_same = 0;
    conn.sent_last_len = 0;
    conn.send_errno = 0;
    conn.recv_errno = 0;
    1
}

/// The same, whatever is known of its messages.
#[inline(always)]
fn find(sk: u64) -> Option<&'static mut Tracked> {
    let ptr = if keeps_long() {
        // A longer one begins in the same way.
        CONNS_LONG.get_ptr_mut(&sk)?.cast()
    } else {
        CONNS.get_ptr_mut(&sk)?
    };
    // SAFETY: a live map value; see the module comment of `programs` on concurrent use.
    Some(unsafe { &mut *ptr })
}

/// Makes an entry of zeroes. False if the table is full.
#[inline(always)]
fn add_zero(sk: u64) -> bool {
    let zero = &raw const ZERO_CONN;
    if keeps_long() {
        // SAFETY: a static.
        CONNS_LONG.insert(&sk, unsafe { &*zero }, 0).is_ok()
    } else {
        // SAFETY: a static; a longer one begins in the same way.
        CONNS
            .insert(&sk, unsafe { &*zero.cast::<Tracked>() }, 0)
            .is_ok()
    }
}

/// Forgets a connection and its heads.
#[inline(always)]
pub(crate) fn forget(sk: u64) {
    if keeps_long() {
        let _ = CONNS_LONG.remove(&sk);
    } else {
        let _ = CONNS.remove(&sk);
    }
}

/// Current thread, if its process is traced.
#[inline(always)]
pub(crate) fn traced_thread() -> Option<u64> {
    let pid_tgid = maybe_traced_thread()?;
    PROCESSES.get_ptr(&tgid(pid_tgid)).map(|_| pid_tgid)
}

/// Current thread, unless its process is certainly not traced.
#[inline(always)]
pub(crate) fn maybe_traced_thread() -> Option<u64> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let maybe = PROCESS_FILTER.get(filter_index(tgid(pid_tgid)))?;
    (*maybe != 0).then_some(pid_tgid)
}

/// The same, and unless it is certainly none whose clients are looked at while tracing stands by: what a backend
/// of a traced proxy answers is seen where the proxy passes it on.
#[inline(always)]
pub(crate) fn maybe_watched_thread() -> Option<u64> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let maybe = PROCESS_FILTER.get(filter_index(tgid(pid_tgid)))?;
    (u32::from(*maybe) & watched_processes() != 0).then_some(pid_tgid)
}

/// Is this thread's process traced? One that is known to use a traced connection is.
#[inline(always)]
pub(crate) fn is_traced(used: Option<&Tracked>, pid_tgid: u64) -> bool {
    let tgid = tgid(pid_tgid);
    used.is_some_and(|conn| conn.tgid == tgid) || PROCESSES.get_ptr(&tgid).is_some()
}

/// Process of a thread.
#[inline(always)]
pub(crate) fn tgid(pid_tgid: u64) -> u32 {
    (pid_tgid >> 32) as u32
}

/// What the process of a thread is, one of `load::PROCESS_*`; `None` if it is not traced.
#[inline(always)]
pub(crate) fn kind(pid_tgid: u64) -> Option<u32> {
    // SAFETY: a live map value, written as a whole.
    PROCESSES
        .get_ptr(&tgid(pid_tgid))
        .map(|kind| unsafe { *kind })
}

/// Is the process of this thread a backend?
#[inline(always)]
pub(crate) fn is_backend(pid_tgid: u64) -> bool {
    kind(pid_tgid) == Some(PROCESS_BACKEND)
}

/// Traces a process from now on.
#[inline(always)]
pub(crate) fn trace(tgid: u32, kind: u32) {
    if PROCESSES.insert(&tgid, &kind, 0).is_err() {
        count_loss(loss::PROCESS_TABLE);
        return;
    }
    if let Some(maybe) = PROCESS_FILTER.get_ptr_mut(filter_index(tgid)) {
        // SAFETY: a live map value. Two at the same instant at one place could lose a bit: the next process of
        // that kind there sets it again.
        unsafe { *maybe |= process_filter_bit(kind) };
    }
}

/// Traces the current process as a backend.
#[inline(always)]
pub(crate) fn trace_backend() -> u64 {
    let pid_tgid = bpf_get_current_pid_tgid();
    trace(tgid(pid_tgid), PROCESS_BACKEND);
    pid_tgid
}

/// A thread uses the connection.
#[inline(always)]
pub(crate) fn used_by(conn: &mut Tracked, pid_tgid: u64) {
    if conn.tgid != tgid(pid_tgid) {
        conn.tgid = tgid(pid_tgid);
        conn.owner = kind(pid_tgid).unwrap_or(0);
    }
    conn.tid = pid_tgid as u32;
}

/// The process that reads a client's request owns the connection: a proxy, or a backend.
#[inline(always)]
pub(crate) fn note_owner(down: &mut Tracked) {
    if down.owner == PROCESS_BACKEND {
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
pub(crate) fn create(sk: u64, role: Role, now: u64, flags: u32) -> Option<&'static mut Tracked> {
    if !add_zero(sk) {
        count_loss(loss::CONN_TABLE);
        return None;
    }
    let conn = find(sk)?;
    conn.key.sk = sk;
    conn.key.generation = now;
    if may_stand_by() {
        conn.epoch = epoch();
    }
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
pub(crate) fn adopt(sk: u64, now: u64) -> Option<&'static mut Tracked> {
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

/// The peer may have ended the connection, or the kernel given it up.
#[inline(always)]
pub(crate) fn mark_ended(conn: &mut Tracked) {
    conn.marks |= marks::ENDED;
    if is_upstream(conn)
        && let Some(down) = linked_client(conn)
    {
        down.marks |= marks::LINK_ENDED;
    }
}

/// The client connection that an upstream exchange works for, while it is at that request.
#[inline(always)]
pub(crate) fn linked_client(up: &Conn) -> Option<&'static mut Tracked> {
    if up.link.sk == 0 {
        return None;
    }
    let down = get(up.link.sk)?;
    (down.key.generation == up.link.generation && down.exchange == up.link_exchange).then_some(down)
}

/// Did the client end its side before it had its answer? One that leaves with an error page in hand
/// has it.
#[inline(always)]
pub(crate) fn client_left(down: &Conn) -> bool {
    (down.fin_received_ns != 0 || down.reset_received_ns != 0)
        && down.flags & flags::STATUS_REPORTED == 0
}

#[inline(always)]
pub(crate) fn is_upstream(conn: &Conn) -> bool {
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
