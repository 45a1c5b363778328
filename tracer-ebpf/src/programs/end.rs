//! Something ends: an exchange, or the connection under it.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_probe_read_kernel,
};
use tracer_ebpf::{Cause, Conn, Tracked, flags, marks};

use super::{
    conn, emit,
    framing::{Completeness, completeness},
    globals::snaplen,
    head, link,
    maps::{CLOSED, Ends, LET_GO, LetGo},
    sock, stats, unseen,
};

/// Fewer bytes than this from a TLS server are its close_notify (24 or 31 bytes with the usual ciphers)
/// and no HTTP response.
const TLS_ANSWER_MIN: u64 = 40;

/// Did the peer end the connection, or the kernel give it up?
#[inline(always)]
fn peer_ended(conn: &Conn) -> bool {
    conn.marks & marks::ENDED != 0
        && (conn.fin_received_ns != 0
            || conn.reset_received_ns != 0
            || conn.sk_err != 0
            || conn.recv_errno != 0
            || conn.send_errno != 0)
}

/// Was the current exchange of an upstream connection cut short?
#[inline(always)]
fn unfinished(sk: u64, conn: &Conn) -> bool {
    if conn.flags & flags::TUNNEL != 0 {
        return false;
    }
    if conn.established_ns == 0 {
        return true;
    }
    if conn.exchange == 0 {
        return false;
    }
    if conn.flags & flags::HANDSHAKE != 0 {
        // A health check may do no more than the handshake.
        return conn.flags & flags::TLS_SECOND_FLIGHT == 0 || conn.link.sk != 0 || peer_ended(conn);
    }
    if conn.flags & flags::OPAQUE != 0 {
        // What the bytes mean is hidden: that no answer came, or that the client has none yet, is all
        // that can be told.
        return match conn::linked_client(conn) {
            Some(down) => conn.response_bytes == 0 || down.response_start_ns == 0,
            None => {
                conn.response_bytes == 0
                    && peer_ended(conn)
                    && !(conn.fin_received_ns != 0 && conn.fin_received_ns < conn.request_start_ns)
            }
        };
    }
    match completeness(sk) {
        Completeness::Complete => false,
        Completeness::Incomplete => true,
        Completeness::Unknown => conn.reset_received_ns != 0 || conn.sk_err != 0,
    }
}

/// An exchange is over because the next one begins.
#[inline(always)]
pub(crate) fn went_on<const UPSTREAM: bool>(sk: u64, conn: &mut Tracked, now: u64) {
    if UPSTREAM {
        stats::went_on(conn, now);
    }
    if conn.response_start_ns != 0 {
        sample(sk, conn);
    }
}

/// An exchange is over, and the connection with it.
#[inline(always)]
fn finished<const UPSTREAM: bool>(sk: u64, conn: &mut Tracked) {
    if conn.response_start_ns != 0 {
        if UPSTREAM {
            stats::finished(conn);
        }
        sample(sk, conn);
    }
}

#[inline(always)]
fn sample(sk: u64, conn: &mut Tracked) {
    if conn.flags & flags::SAMPLED != 0 && conn.flags & flags::REPORTED == 0 {
        emit::exchange(sk, Cause::Sampled);
    }
}

/// The connection is over for its process: it closed, or the socket is destroyed. Called more than
/// once; only the first call counts.
#[inline(always)]
pub(crate) fn connection_over(sk: u64) {
    end_connection(sk);
}

/// A global function: see the module comment of `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn end_connection(sk: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    if conn.flags & flags::OVER != 0 {
        return 0;
    }
    conn.flags |= flags::OVER;
    if conn::is_upstream(conn) {
        upstream_over(sk, conn);
    } else {
        client_over(sk, conn);
    }
    1
}

#[inline(always)]
fn upstream_over(sk: u64, conn: &mut Tracked) {
    let failed = conn.flags & flags::REPORTED != 0
        || unfinished(sk, conn)
        || unseen::is_unanswered(sk, conn);
    if failed && conn.flags & flags::REPORTED == 0 {
        emit::exchange(sk, Cause::Ended);
    } else if !failed && conn.exchange > 0 {
        finished::<true>(sk, conn);
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    if conn.closed_ns != 0 && (pid_tgid >> 32) as u32 == conn.tgid {
        link::note_upstream(pid_tgid, conn, conn.closed_ns);
        if failed {
            link::note_failure(pid_tgid, conn, conn.closed_ns);
        }
    }
}

#[inline(always)]
fn client_over(sk: u64, conn: &mut Tracked) {
    if conn.flags & flags::UNSEEN != 0 {
        // Of its exchange there is no more to tell.
        return;
    }
    if conn.flags & flags::BACKEND != 0 {
        backend_over(sk, conn);
        return;
    }
    if conn.exchange == 0 || conn.tgid == 0 || conn.flags & flags::TUNNEL != 0 {
        return;
    }
    let cut = upstream_still_busy(conn) || refused_within(sk, conn);
    if conn.flags & flags::WATCH != 0 || conn.response_bytes == 0 || cut {
        emit::exchange(sk, Cause::Ended);
        conn.flags |= flags::REPORTED;
    } else {
        finished::<false>(sk, conn);
    }
}

/// A backend's connection is over: did it leave its client without a whole answer?
#[inline(always)]
fn backend_over(sk: u64, conn: &mut Tracked) {
    let cut = if conn.exchange == 0 {
        // Bytes came that no thread has read.
        !conn::payload_goes_unseen() && sock::payload_so_far(sk) > 0
    } else if conn.flags & flags::TLS != 0 {
        // A goodbye is no answer.
        conn.response_bytes < TLS_ANSWER_MIN
            || conn.flags & flags::ABORTED != 0 && sock::unread(sk) > 0
    } else if conn.flags & flags::OPAQUE != 0 {
        conn.response_bytes == 0
    } else {
        // A client that left before it had any answer is told from one that was left.
        unfinished(sk, conn)
            || peer_left_waiting(conn)
            // It closed while bytes of the next request lay there.
            || conn.flags & flags::ABORTED != 0 && sock::unread(sk) > 0
    };
    if cut && conn.flags & flags::REPORTED == 0 {
        emit::exchange(sk, Cause::Ended);
        conn.flags |= flags::REPORTED;
    } else if !cut {
        finished::<false>(sk, conn);
    }
}

/// Did the client end its side before the response began?
#[inline(always)]
fn peer_left_waiting(conn: &Conn) -> bool {
    let first = if conn.fin_received_ns != 0 {
        conn.fin_received_ns
    } else {
        conn.reset_received_ns
    };
    first != 0
        && first >= conn.request_start_ns
        && (conn.response_start_ns == 0 || first < conn.response_start_ns)
}

/// We reset a connection. On a backend's whose side is closed, that answers data which came too late.
#[inline(always)]
pub(crate) fn reset_sent(sk: u64, conn: &mut Tracked, answers_segment: bool) {
    // Or it closes for good, after its FIN, with a request unread that came in between.
    let late = answers_segment || conn.flags & flags::OVER != 0 && unread_request(sk, conn);
    if late && is_closed_backend(conn) {
        report_late(sk, conn);
    }
}

/// A backend's connection that its side has closed, and of which no failure was told?
#[inline(always)]
fn is_closed_backend(conn: &Conn) -> bool {
    const TOLD: u32 = flags::LATE_REQUEST | flags::REPORTED;
    conn.flags & flags::BACKEND != 0 && conn.closed_ns != 0 && conn.flags & TOLD == 0
}

/// A request came too late.
#[inline(always)]
fn report_late(sk: u64, conn: &mut Tracked) {
    conn.flags |= flags::LATE_REQUEST;
    emit::exchange(sk, Cause::Ended);
}

/// Do bytes lie unread that can be a request? A FIN of the peer's counts as one, and over TLS its
/// goodbye is no request.
#[inline(always)]
fn unread_request(sk: u64, conn: &Conn) -> bool {
    let unread = u64::from(sock::unread(sk));
    if conn.flags & flags::TLS != 0 {
        unread > TLS_ANSWER_MIN
    } else {
        unread > 1
    }
}

/// The socket of a backend's connection goes away: a request may lie there that nobody read, because its
/// client has let go of it before the backend closed for good.
#[inline(always)]
pub(crate) fn backend_gone(sk: u64, conn: &mut Tracked) {
    if is_closed_backend(conn) && conn.exchange > 0 && unread_request(sk, conn) {
        report_late(sk, conn);
    }
}

/// A segment came for a backend's connection that is no more.
#[inline(always)]
pub(crate) fn late_segment(ends: &Ends, reason: u32, now: u64) {
    let Some(closed) = CLOSED.get_ptr_mut(ends) else {
        return;
    };
    // SAFETY: a live map value.
    let conn = unsafe { &mut *closed };
    if conn.flags & flags::LATE_REQUEST != 0 {
        return;
    }
    conn.flags |= flags::LATE_REQUEST;
    conn.reset_sent_ns = now;
    conn.reset_sent_reason = reason;
    emit::closed(conn);
}

/// Remembers a backend's connection that its side closed first and in peace.
#[inline(always)]
pub(crate) fn remember_closed(conn: &Conn) {
    let ours_first = conn.reset_received_ns == 0
        && (conn.fin_received_ns == 0 || conn.closed_ns < conn.fin_received_ns);
    if !is_closed_backend(conn) || !ours_first {
        return;
    }
    let ends = Ends {
        remote_addr: conn.remote_addr,
        remote_port: conn.remote_port,
        local_port: conn.local_port,
    };
    // A full table forgets the oldest.
    let _ = CLOSED.insert(&ends, conn, 0);
}

// SAFETY: all-zero bytes are a valid value.
static ZERO_LET_GO: LetGo = unsafe { core::mem::zeroed() };

/// An upstream connection's socket is destroyed. Most proxies let go of an answer that they refuse
/// before they tell the client, so what is known is kept until the client's answer begins or ends.
/// A global function: see the module comment of `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn remember_let_go(sk: u64) -> u32 {
    let Some(up) = conn::get(sk) else { return 0 };
    const NOT: u32 = flags::REPORTED | flags::STATUS_REPORTED | flags::TUNNEL;
    if !conn::is_upstream(up)
        || up.flags & NOT != 0
        || up.closed_ns == 0
        || up.response_bytes == 0
        || conn::linked_client(up).is_none()
    {
        return 0;
    }
    let client = up.link;
    if LET_GO.insert(&client, &ZERO_LET_GO, 0).is_err() {
        return 0;
    }
    let Some(gone) = LET_GO.get_ptr_mut(&client) else {
        return 0;
    };
    let size = snaplen();
    // SAFETY: live map values; `size` is at most HEAD_MAX (the loader checks it).
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut (*gone).conn).cast(),
            size_of::<Conn>() as u32,
            (&raw const up.conn).cast(),
        );
        sock::facts(sk, &mut (*gone).socket);
        bpf_probe_read_kernel(
            (&raw mut (*gone).request).cast(),
            size,
            head::request(up).cast(),
        );
        bpf_probe_read_kernel(
            (&raw mut (*gone).response).cast(),
            size,
            head::response(up).cast(),
        );
    }
    1
}

/// Reports the upstream connection that was let go for this client's request, unless the client gets
/// its very status. `cut`: whatever the status is. A global function, too.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn report_let_go(sk: u64, cut: u32) -> u32 {
    let Some(down) = conn::get(sk) else { return 0 };
    let client = down.key;
    let Some(gone) = LET_GO.get_ptr_mut(&client) else {
        return 0;
    };
    // SAFETY: a live map value.
    let gone = unsafe { &mut *gone };
    if gone.conn.link_exchange != down.exchange
        || gone.conn.flags & flags::REPORTED != 0
        || (cut == 0 && gone.conn.status == down.status)
    {
        return 0;
    }
    gone.conn.flags |= flags::REPORTED;
    u32::from(emit::let_go(gone))
}

/// Was the client left with less than its whole answer, by a proxy that had let go of the backend's?
/// Then that is reported.
#[inline(always)]
fn refused_within(sk: u64, down: &mut Tracked) -> bool {
    if down.flags & (flags::OPAQUE | flags::TLS) != 0 || conn::client_left(down) {
        return false;
    }
    let up = linked_upstream(down).filter(|up| up.closed_ns != 0 && up.response_bytes != 0);
    if up.is_none() && LET_GO.get_ptr(&down.key).is_none() {
        return false;
    }
    if down.response_bytes != 0 && !matches!(completeness(sk), Completeness::Incomplete) {
        return false;
    }
    match up {
        Some(up) => {
            emit::exchange(up.key.sk, Cause::Ended);
            true
        }
        None => report_let_go(sk, 1) != 0,
    }
}

/// Looks at the upstream connection that works for this client's request: is its exchange cut short
/// or still going on? A failure that its process has not acted on yet is reported first, so that its
/// record is there before the client's.
#[inline(always)]
fn upstream_still_busy(down: &mut Tracked) -> bool {
    let Some(up) = linked_upstream(down) else {
        return false;
    };
    let client_left = conn::client_left(down);
    if client_left {
        up.flags |= flags::LINK_CLIENT_LEFT;
    }
    if !unfinished(up.key.sk, up) {
        return false;
    }
    if peer_ended(up) && !client_left {
        report_failure(up);
    }
    true
}

/// A client is about to get its answer: if the backend has ended the exchange already and the proxy
/// has not closed yet, the failure is reported now. If the proxy answers with an error while the
/// backend still owes the response, it has given up: that is the thread's last word on the backend,
/// although the close comes later.
#[inline(always)]
pub(crate) fn flush_upstream(down: &mut Tracked, error: bool) {
    if !error && down.marks & marks::LINK_ENDED == 0 {
        return;
    }
    let Some(up) = linked_upstream(down) else {
        if error {
            report_let_go(down.key.sk, 0);
        }
        return;
    };
    let ended = peer_ended(up);
    // The answer came, and the client gets another: the proxy has refused it.
    let refused = error && up.response_bytes != 0 && up.status != down.status;
    if !refused && ((!ended && !error) || !unfinished(up.key.sk, up)) {
        return;
    }
    // The proxy has yet to read of the response: it passes it on while it comes, or this answer is to an equal
    // request of the same client's. A FIN counts as a byte.
    if !error && sock::unread(up.key.sk) > 1 {
        return;
    }
    if ended || refused {
        report_failure(up);
    } else {
        act_on(up);
    }
}

/// Reports a failure that its process is acting on now.
#[inline(always)]
fn report_failure(up: &Conn) {
    act_on(up);
    emit::exchange(up.key.sk, Cause::Ended);
}

/// The thread that owns both sides acts on what happened upstream.
#[inline(always)]
fn act_on(up: &Conn) {
    let pid_tgid = bpf_get_current_pid_tgid();
    if pid_tgid as u32 == up.tid {
        // SAFETY: no arguments.
        link::note_upstream(pid_tgid, up, unsafe { bpf_ktime_get_ns() });
    }
}

#[inline(always)]
fn linked_upstream(down: &Conn) -> Option<&'static mut Tracked> {
    if down.link.sk == 0 {
        return None;
    }
    let up = conn::get(down.link.sk)?;
    (up.key.generation == down.link.generation
        && up.link.sk == down.key.sk
        && up.link.generation == down.key.generation
        && up.link_exchange == down.exchange
        && up.flags & flags::REPORTED == 0)
        .then_some(up)
}

/// Does the answer that the client now gets come from another backend exchange than one that failed?
/// If the failed one itself had begun to answer, the client's response is of interest to its end.
#[inline(always)]
pub(crate) fn answered_by_another(down: &Conn) -> bool {
    match conn::get(down.link.sk) {
        Some(up) => up.key.generation == down.link.generation && up.flags & flags::REPORTED == 0,
        None => false,
    }
}
