//! Payload moved: where requests and responses begin and go on.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tracer_ebpf::{Cause, Conn, Direction, Tracked, flags, loss, marks};

use super::{
    conn, emit, end,
    first::First,
    framing,
    globals::{sample_every, snaplen, status_watched},
    head::{self, Part},
    link,
    maps::count_loss,
    sock, stats, unseen,
    user::Current,
};

/// Flags that belong to one exchange and go with it.
const PER_EXCHANGE: u32 = flags::WATCH
    | flags::REPORTED
    | flags::STATUS_REPORTED
    | flags::REQUEST_UNREAD
    | flags::RESPONSE_UNREAD
    | flags::HEAD_REQUEST
    | flags::SAMPLED
    | flags::LINK_GONE
    | flags::LINK_CLIENT_LEFT
    | flags::LINK_ANSWERED
    | flags::RESPONSE_GAP;

/// Marks that belong to one response and go with it.
const PER_RESPONSE: u8 = marks::FRAMING_SEEN | marks::LENGTH_KNOWN;

/// Requests whose target will never be known.
const UNKNOWN_TARGET: u32 = flags::OPAQUE | flags::REQUEST_UNREAD;

/// TLS records smaller than this that start a turn are alerts (close_notify), not requests.
const TLS_ALERT_MAX: u64 = 32;

/// A second flight of a handshake is longer than this; an encrypted alert is shorter (RFC 8446,
/// 4.4.4 and 6: at least 58 bytes against 24 with the usual ciphers).
const TLS_SECOND_FLIGHT_MIN: u64 = 50;

/// Sends over TLS of this many bytes or more are no goodbye.
const TLS_GOODBYE_MAX: u64 = 64;
/// An alert of TLS 1.3 with its record header: two bytes, the inner type and the cipher's 16.
const TLS13_ALERT: u64 = 24;
/// Where the handshake fails, a ChangeCipherSpec record of this length may go in front.
const TLS_CHANGE_CIPHER_SPEC_LEN: u64 = 6;

// Record types of RFC 8446, 5.1.
const TLS_CHANGE_CIPHER_SPEC: u8 = 0x14;
const TLS_ALERT: u8 = 0x15;
const TLS_HANDSHAKE: u8 = 0x16;
const TLS_APPLICATION_DATA: u8 = 0x17;

/// Of a response this long it pays to look how it is framed: that takes as long as a few calls.
const LONG_RESPONSE: u64 = 8 * 1024;

/// Stands for a method that is not known yet.
const GET: u32 = u32::from_ne_bytes(*b"GET ");

const SENT: u8 = Direction::Sent as u8;
const RECEIVED: u8 = Direction::Received as u8;

/// A traced thread sent `bytes` of payload: a request to a backend or a response to a client.
#[inline(always)]
pub(crate) fn sent(sk: u64, conn: &mut Tracked, bytes: u64, pid_tgid: u64) {
    if !enters(conn, pid_tgid) {
        return;
    }
    let turn = conn.direction != SENT;
    if !turn && body_goes_on(conn, bytes) {
        return;
    }
    let current = Current::look();
    if bytes < TLS_GOODBYE_MAX && conn.flags & flags::TLS != 0 && is_goodbye(&current, bytes) {
        goodbye(sk, conn, &current, bytes);
        return;
    }
    if conn::is_upstream(conn) {
        if turn {
            request_turn::<true>(sk, conn, &current, bytes, pid_tgid);
        } else {
            request_goes_on(sk, conn, &current, bytes, pid_tgid);
        }
    } else if turn || is_interim(conn.status) || is_pipelined(sk, conn, &current) {
        conn.direction = SENT;
        if conn.exchange > 0 {
            response_begins::<false>(sk, conn, &current, bytes, 0);
        } else {
            unseen::answers_late(conn, &current, bytes, pid_tgid);
        }
    } else {
        response_goes_on(sk, conn, &current, bytes);
    }
}

/// Does another response begin behind the one before? Then its request is taken for read.
#[inline(always)]
fn is_pipelined(sk: u64, conn: &Conn, current: &Current) -> bool {
    conn.exchange > 0
        && current.first_word() == u32::from_ne_bytes(*b"HTTP")
        && request_pipelined(sk) != 0
}

/// A traced thread received `bytes` of payload: a request of a client or a response of a backend.
#[inline(always)]
pub(crate) fn received(sk: u64, conn: &mut Tracked, bytes: u64, pid_tgid: u64) {
    if !enters(conn, pid_tgid) {
        return;
    }
    let turn = conn.direction != RECEIVED;
    if !turn && body_goes_on(conn, bytes) {
        return;
    }
    let current = Current::look();
    if !conn::is_upstream(conn) {
        if turn {
            request_turn::<false>(sk, conn, &current, bytes, pid_tgid);
        } else {
            request_goes_on(sk, conn, &current, bytes, pid_tgid);
        }
    } else if turn || is_interim(conn.status) {
        conn.direction = RECEIVED;
        // Without a request before: a connection that was open before the capture began.
        if conn.exchange > 0 {
            response_begins::<true>(sk, conn, &current, bytes, pid_tgid);
        }
    } else {
        response_goes_on(sk, conn, &current, bytes);
    }
}

/// Notes the thread; false if the payload has no exchanges.
#[inline(always)]
fn enters(conn: &mut Tracked, pid_tgid: u64) -> bool {
    conn::used_by(conn, pid_tgid);
    conn.flags & flags::TUNNEL == 0
}

/// Counts what a call moved of a response of which it is known where it ends: before that no other message
/// begins, and its last bytes tell nothing. False if the caller's buffer has to be looked at.
#[inline(always)]
fn body_goes_on(conn: &mut Tracked, bytes: u64) -> bool {
    if conn.marks & marks::LENGTH_KNOWN == 0 || conn.response_bytes >= conn.response_ends_at {
        return false;
    }
    conn.response_bytes += bytes;
    // SAFETY: no arguments.
    conn.response_last_ns = unsafe { bpf_ktime_get_ns() };
    true
}

/// Another response without a request read in between: the client had sent several at once. The
/// request's own bytes are behind the kept ones, and when it was read is not known. A global function:
/// see the module comment of `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn request_pipelined(sk: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    let earliest = conn.response_start_ns;
    // SAFETY: no arguments.
    begin::<false>(sk, conn, unsafe { bpf_ktime_get_ns() });
    conn.request_start_ns = earliest;
    conn.flags |= flags::REQUEST_UNREAD;
    conn.link.sk = 0;
    conn.link_how = 0;
    1
}

#[inline(always)]
fn is_tls(word: u32) -> bool {
    let bytes = word.to_ne_bytes();
    (0x14..=0x17).contains(&bytes[0]) && bytes[1] == 3
}

/// Is a short send over TLS an alert? In TLS 1.2 its record says so; in TLS 1.3 only its size does, and
/// no request is that short.
#[inline(always)]
fn is_goodbye(current: &Current, bytes: u64) -> bool {
    let kind = current.first_word().to_ne_bytes()[0];
    kind == TLS_ALERT
        || kind == TLS_APPLICATION_DATA && bytes == TLS13_ALERT
        || kind == TLS_CHANGE_CIPHER_SPEC && bytes == TLS13_ALERT + TLS_CHANGE_CIPHER_SPEC_LEN
}

/// An alert, most often close_notify, is neither request nor response.
#[inline(always)]
fn goodbye(sk: u64, conn: &mut Tracked, current: &Current, bytes: u64) {
    // SAFETY: no arguments.
    conn.goodbye_ns = unsafe { bpf_ktime_get_ns() };
    if conn.flags & flags::HANDSHAKE != 0 {
        sent_in_handshake(sk, conn, current, bytes);
    }
}

/// Of a handshake the last send is kept.
#[inline(always)]
fn sent_in_handshake(sk: u64, conn: &mut Tracked, current: &Current, bytes: u64) {
    conn.request_bytes += bytes;
    conn.sent_last_len = bytes as u32;
    conn.marks |= marks::EXCHANGE;
    head::head_sent(sk, bytes, current.buffer.base, current.buffer.count);
}

/// A send within a TLS handshake: is it still part of it? In TLS 1.3 the end of the handshake looks
/// like application data from outside.
#[inline(always)]
fn handshake_goes_on(
    sk: u64,
    conn: &mut Tracked,
    current: &Current,
    bytes: u64,
    word: u32,
) -> bool {
    let data = word.to_ne_bytes()[0] == TLS_APPLICATION_DATA;
    let second_flight_sent = conn.flags & flags::TLS_SECOND_FLIGHT != 0;
    if data && second_flight_sent {
        return false;
    }
    sent_in_handshake(sk, conn, current, bytes);
    if bytes >= TLS_SECOND_FLIGHT_MIN {
        conn.flags |= flags::TLS_SECOND_FLIGHT;
        // A ChangeCipherSpec record of six bytes may stand in front.
        let [first, .., behind, _] = conn.sent_last;
        if first == TLS_APPLICATION_DATA
            || first == TLS_CHANGE_CIPHER_SPEC && behind == TLS_APPLICATION_DATA
        {
            conn.flags |= flags::TLS13;
        }
    }
    true
}

#[inline(always)]
fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

#[inline(always)]
fn request_turn<const UPSTREAM: bool>(
    sk: u64,
    conn: &mut Tracked,
    current: &Current,
    bytes: u64,
    pid_tgid: u64,
) {
    let direction = if UPSTREAM { SENT } else { RECEIVED };
    // Fewer bytes than a method has tell nothing yet: a head may come byte by byte.
    let mut space = MaybeUninit::uninit();
    let first = First::read(&mut space, current, bytes);
    let word = match first {
        Some(first) if bytes >= 4 => first.word(),
        None if bytes >= 4 => 0,
        _ => GET,
    };
    // A plain number from here on: else each method is a path of its own through all that follows.
    let method = head::head_method(word);
    if conn.exchange > 0 && method == head::NO_METHOD {
        if conn.flags & flags::OPAQUE == 0 {
            // The body goes on after an interim or an early response.
            conn.request_bytes += bytes;
            if is_interim(conn.status) {
                conn.direction = direction;
            }
            return;
        }
        if conn.flags & flags::HANDSHAKE != 0 {
            if handshake_goes_on(sk, conn, current, bytes, word) {
                return;
            }
            // The handshake was no exchange.
            conn.flags &= !flags::HANDSHAKE;
            conn.exchange = 0;
        } else if UPSTREAM && conn.status != 0 {
            // HTTP/1.x answered something else, which so was not understood: what follows is no
            // request, but a farewell (HTTP/2 GOAWAY).
            conn.request_bytes += bytes;
            return;
        } else if conn.flags & flags::TLS != 0 && bytes < TLS_ALERT_MAX {
            return;
        }
    }
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    begin::<UPSTREAM>(sk, conn, now);
    conn.direction = direction;
    conn.request_bytes = bytes;
    if UPSTREAM {
        conn.request_start_seq = sock::write_seq(sk).wrapping_sub(bytes as u32);
    }
    if method == head::NO_METHOD {
        conn.flags |= flags::OPAQUE;
        if is_tls(word) {
            conn.flags |= flags::TLS;
            if UPSTREAM && conn.exchange == 1 && word.to_ne_bytes()[0] == TLS_HANDSHAKE {
                conn.flags |= flags::HANDSHAKE;
            }
        }
    }
    if !UPSTREAM {
        conn::note_owner(conn);
    }
    keep_request(conn, first, current, bytes, method);
    tie::<UPSTREAM>(conn, pid_tgid, now);
}

/// A send failed before any byte of a new request left (EPIPE, ECONNRESET): that is an exchange too.
#[inline(always)]
pub(crate) fn request_refused(sk: u64, conn: &mut Tracked, pid_tgid: u64) {
    let current = Current::look();
    let method = head::head_method(current.first_word());
    if conn.flags & flags::TUNNEL != 0 || method == head::NO_METHOD {
        return;
    }
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    begin_refused(sk, now);
    let kept = head::keep_pieces_of(sk, Part::Request, &current, u64::from(snaplen()));
    request_kept(conn, kept, method);
    tie::<true>(conn, pid_tgid, now);
}

/// A global function: see the module comment of `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn begin_refused(sk: u64, now: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    let errno = conn.send_errno;
    begin::<true>(sk, conn, now);
    conn.send_errno = errno;
    conn.marks |= marks::EXCHANGE;
    conn.direction = SENT;
    conn.request_start_seq = sock::write_seq(sk);
    1
}

/// Ends the exchange before, if there was one, and resets what belongs to one exchange.
#[inline(always)]
fn begin<const UPSTREAM: bool>(sk: u64, conn: &mut Tracked, now: u64) {
    conn.idle_since_ns = if conn.response_last_ns > conn.request_start_ns {
        conn.response_last_ns
    } else {
        conn.request_start_ns
    };
    if conn.exchange > 0 {
        end::went_on::<UPSTREAM>(sk, conn, now);
    }
    conn.exchange += 1;
    conn.flags &= !PER_EXCHANGE;
    conn.request_start_ns = now;
    clear(&mut conn.response_start_ns);
    clear(&mut conn.response_last_ns);
    clear(&mut conn.request_bytes);
    clear(&mut conn.response_bytes);
    clear(&mut conn.status);
    clear(&mut conn.request_head_len);
    clear(&mut conn.response_head_len);
    clear(&mut conn.tail_len);
    clear(&mut conn.target_hash);
    conn.marks &= if UPSTREAM {
        !PER_RESPONSE
    } else {
        !(PER_RESPONSE | marks::LINK_ENDED)
    };
    if conn.marks & marks::EXCHANGE != 0 {
        conn.marks &= !marks::EXCHANGE;
        clear(&mut conn.end_read_ns);
        clear(&mut conn.retransmits);
        clear(&mut conn.retransmit_first_ns);
        clear(&mut conn.retransmit_last_ns);
        clear(&mut conn.retransmit_same);
        clear(&mut conn.send_errno);
        clear(&mut conn.recv_errno);
        clear(&mut conn.sent_last_len);
    }
    let every = u64::from(sample_every());
    if every != 0 && now.is_multiple_of(every) {
        conn.flags |= flags::SAMPLED;
    }
}

/// Sets a field to zero, alone: of several in a row the compiler makes a call of `memset`, which goes byte by
/// byte.
#[inline(always)]
fn clear<T: Default>(field: &mut T) {
    // SAFETY: a reference.
    unsafe { (&raw mut *field).write_volatile(T::default()) };
}

#[inline(always)]
fn keep_request(
    conn: &mut Tracked,
    first: Option<&First>,
    current: &Current,
    bytes: u64,
    method: u32,
) {
    match first {
        Some(first) => {
            let kept = head::keep(conn, Part::Request, first, current, bytes);
            request_kept(conn, kept, method);
        }
        None => {
            count_loss(loss::USER_READ);
            conn.flags |= flags::REQUEST_UNREAD;
        }
    }
}

/// So many bytes of the request are kept.
#[inline(always)]
fn request_kept(conn: &mut Tracked, kept: u32, method: u32) {
    conn.request_head_len = kept as u16;
    if conn.flags & flags::OPAQUE == 0 {
        conn.target_hash = head::target_of(conn, kept);
    }
    if method == head::HEAD {
        conn.flags |= flags::HEAD_REQUEST;
    } else if method == head::CONNECT {
        conn.flags |= flags::TUNNEL;
    }
}

/// Ties the two sides: a client's request is remembered, a backend's is looked up.
#[inline(always)]
fn tie<const UPSTREAM: bool>(conn: &mut Tracked, pid_tgid: u64, now: u64) {
    if UPSTREAM {
        if conn.exchange > 1 || conn.flags & flags::ADOPTED != 0 {
            // The link of the exchange before; a fresh connection keeps the one of its connect.
            conn.link.sk = 0;
            conn.link_how = 0;
        }
        link::attach(pid_tgid, conn, conn.target_hash, true, now);
    } else {
        conn.link.sk = 0;
        conn.link_how = 0;
        if conn.target_hash != head::LINE_CUT || conn.flags & UNKNOWN_TARGET != 0 {
            link::remember(pid_tgid, conn);
        }
    }
}

#[inline(always)]
fn request_goes_on(sk: u64, conn: &mut Tracked, current: &Current, bytes: u64, pid_tgid: u64) {
    conn.request_bytes += bytes;
    let grows = conn.request_head_len > 0 && u32::from(conn.request_head_len) < snaplen();
    if !grows || request_head_grows(sk, bytes, current.buffer.base, current.buffer.count) == 0 {
        return;
    }
    // From here, not from there: the stack is short.
    if conn::is_upstream(conn) {
        // SAFETY: no arguments.
        let now = unsafe { bpf_ktime_get_ns() };
        link::attach(pid_tgid, conn, conn.target_hash, true, now);
    } else {
        link::remember(pid_tgid, conn);
    }
}

/// The request head came in pieces. Returns 1 if its first line is complete now, so that the two sides can be
/// tied. A global function, too.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn request_head_grows(sk: u64, bytes: u64, base: u64, count: u64) -> u32 {
    let kept = head::head_append(sk, Part::Request as u32, bytes, base, count);
    let Some(conn) = conn::get(sk) else { return 0 };
    if conn.target_hash != head::LINE_CUT || conn.flags & UNKNOWN_TARGET != 0 {
        return 0;
    }
    let hash = head::head_target(sk, kept);
    if hash == head::LINE_CUT {
        return 0;
    }
    conn.target_hash = hash;
    if hash == head::NOT_HTTP {
        conn.flags |= flags::OPAQUE;
        conn.target_hash = 0;
    }
    1
}

#[inline(always)]
fn response_begins<const UPSTREAM: bool>(
    sk: u64,
    conn: &mut Tracked,
    current: &Current,
    bytes: u64,
    pid_tgid: u64,
) {
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let interim_before = is_interim(conn.status);
    conn.response_start_ns = now;
    conn.response_last_ns = now;
    conn.response_bytes = bytes;
    conn.marks &= !PER_RESPONSE;
    conn.tail_len = 0;
    conn.status = 0;
    conn.response_head_len = 0;
    let mut space = MaybeUninit::uninit();
    match First::read(&mut space, current, bytes) {
        Some(first) => {
            let kept = head::keep(conn, Part::Response, first, current, bytes);
            conn.response_head_len = kept as u16;
            conn.status = head::status_of(conn, kept);
            if is_interim(conn.status) {
                conn.status = head::head_status(sk, kept) as u16;
            }
            if bytes > u64::from(kept) {
                head::keep_tail(sk, current, bytes);
            }
        }
        None => {
            count_loss(loss::USER_READ);
            conn.flags |= flags::RESPONSE_UNREAD;
        }
    }
    if UPSTREAM {
        link::note_upstream(pid_tgid, conn, now);
        if !interim_before && conn.flags & flags::HANDSHAKE == 0 {
            stats::responded(conn);
        }
    } else {
        end::flush_upstream(conn, status_watched(conn.status));
    }
    if status_watched(conn.status) {
        conn.flags |= flags::STATUS_REPORTED;
        if UPSTREAM {
            watch_client(conn);
        }
        emit::exchange(sk, Cause::Status);
        if !UPSTREAM {
            conn.flags &= !flags::WATCH;
        }
    } else if !UPSTREAM && conn.flags & flags::WATCH != 0 && !is_interim(conn.status) {
        emit::exchange(sk, Cause::Watched);
        if end::answered_by_another(conn) {
            conn.flags &= !flags::WATCH;
        }
    }
    if conn.status == 101 {
        conn.flags |= flags::TUNNEL;
    }
}

/// A backend answered with a watched status itself; if the proxy retries, the client's answer is of
/// interest whatever it is.
#[inline(always)]
fn watch_client(up: &Conn) {
    if let Some(down) = conn::linked_client(up) {
        down.flags |= flags::WATCH;
    }
}

#[inline(always)]
fn response_goes_on(sk: u64, conn: &mut Tracked, current: &Current, bytes: u64) {
    if conn.exchange == 0 {
        return;
    }
    conn.response_bytes += bytes;
    // SAFETY: no arguments.
    conn.response_last_ns = unsafe { bpf_ktime_get_ns() };
    if conn.response_head_len > 0 && u32::from(conn.response_head_len) < snaplen() {
        let kept = head::head_append(
            sk,
            Part::Response as u32,
            bytes,
            current.buffer.base,
            current.buffer.count,
        );
        if conn.status == 0 {
            conn.status = head::head_status(sk, kept) as u16;
            if status_watched(conn.status) && conn.flags & flags::STATUS_REPORTED == 0 {
                conn.flags |= flags::STATUS_REPORTED;
                emit::exchange(sk, Cause::Status);
            }
        }
    }
    if conn.response_bytes < LONG_RESPONSE
        || conn.marks & marks::FRAMING_SEEN != 0
        || framing::framing_end(sk) == 0
    {
        head::keep_tail(sk, current, bytes);
    }
}
