//! What the kernel's own counters tell of an exchange whose payload went unseen because tracing stood by: that
//! its connection ended without an answer, and the beginning of what the client then got.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user};
use tracer_ebpf::{Cause, Conn, Direction, Tracked, flags};

use super::{
    conn, emit,
    globals::{may_stand_by, status_watched},
    head, sock,
    user::Current,
};

/// Bytes in front of a response that hold its status.
const BEGINNING: usize = 16;

/// No more bytes than this behind the backend's end are a goodbye over TLS (24 or 31 with the usual ciphers);
/// the shortest request of a proxy is longer.
const GOODBYE_MAX: u32 = 64;

/// A proxy that lets go of a connection sooner than this after it sent something did not wait in vain: what it
/// sent was a goodbye, or its client is gone.
const PATIENCE_US: u64 = 100_000;

/// Did this upstream connection end with a request unanswered, of which nothing was seen? Then what is known is
/// put down as its exchange.
#[inline(always)]
pub(crate) fn is_unanswered(sk: u64, conn: &Conn) -> bool {
    may_stand_by()
        && conn.exchange == 0
        && conn.flags & flags::TUNNEL == 0
        && unseen_request(sk) != 0
}

/// A global function: see the module comment of `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn unseen_request(sk: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    let pid_tgid = bpf_get_current_pid_tgid();
    if conn.tgid == 0 && conn::traced_thread().is_none()
        || conn.tgid != 0 && conn.tgid != conn::tgid(pid_tgid)
    {
        return 0;
    }
    let by_peer = conn.fin_received_ns != 0 || conn.reset_received_ns != 0 || conn.sk_err != 0;
    let began_us = sock::first_tx_us(sk);
    if !by_peer && conn.closed_ns / 1000 < began_us + PATIENCE_US {
        return 0;
    }
    let written = sock::write_seq(sk);
    let behind_end = written.wrapping_sub(conn.write_seq_at_end);
    let used = sock::has_received(sk, conn.fin_received_ns != 0);
    let (request, unanswered) = if conn.fin_received_ns != 0 && behind_end != 0 {
        // Sent to a backend that had closed.
        (behind_end, behind_end > GOODBYE_MAX)
    } else if used {
        // How long the request was is not known: what is not acknowledged is of it.
        (sock::unacknowledged(sk), sock::sent_after_received(sk))
    } else {
        let sent = sock::sent(sk);
        (sent, sent != 0)
    };
    if !unanswered {
        return 0;
    }
    if used {
        conn.flags |= flags::USED_BEFORE;
    }
    conn::used_by(conn, pid_tgid);
    conn.flags |= flags::UNSEEN;
    conn.exchange = 1;
    conn.direction = Direction::Sent as u8;
    conn.request_bytes = u64::from(request);
    conn.request_start_seq = written.wrapping_sub(request);
    conn.request_start_ns = began_us * 1000;
    1
}

/// Status of the response that the current call sends; 0 if it begins in another way.
#[inline(always)]
pub(crate) fn status(current: &Current) -> u16 {
    // SAFETY: the helper checks the address.
    let Ok(beginning) = (unsafe {
        bpf_probe_read_user(current.first.base as *const [u64; BEGINNING / size_of::<u64>()])
    }) else {
        return 0;
    };
    let len = if current.first.len < BEGINNING as u64 {
        current.first.len as u32
    } else {
        BEGINNING as u32
    };
    head::status_at(beginning.as_ptr().cast(), 0, len)
}

/// A traced thread sends a client something, and everything is looked at again; but its request came before
/// that.
#[inline(always)]
pub(crate) fn answers_late(conn: &mut Tracked, current: &Current, bytes: u64, pid_tgid: u64) {
    if !may_stand_by() || conn::payload_goes_unseen() {
        return;
    }
    let status = status(current);
    if status_watched(status) {
        // SAFETY: no arguments.
        answered(conn, bytes, status, unsafe { bpf_ktime_get_ns() }, pid_tgid);
    }
}

/// A traced thread sends a client a response with a watched status.
#[inline(always)]
pub(crate) fn answered(conn: &mut Tracked, bytes: u64, status: u16, now: u64, pid_tgid: u64) {
    // Once everything is looked at again, the other hook sees it as well.
    if !conn::payload_goes_unseen() && conn.exchange != 0 {
        return;
    }
    conn::used_by(conn, pid_tgid);
    conn::note_owner(conn);
    conn.flags |= flags::UNSEEN | flags::STATUS_REPORTED;
    conn.exchange += 1;
    conn.direction = Direction::Sent as u8;
    conn.status = status;
    conn.response_start_ns = now;
    conn.response_last_ns = now;
    conn.response_bytes = bytes;
    emit::exchange(conn.key.sk, Cause::Status);
}
