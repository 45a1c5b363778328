//! First bytes of messages: keeping them, and the little that is read from them here. The full head
//! is parsed in user space, and only for exchanges that failed.

use aya_ebpf::helpers::{bpf_probe_read_user as read_user, generated::bpf_probe_read_user};
use tracer_ebpf::{APPEND_MAX, Conn, HEAD_MAX, Tracked, conn::TAIL_MAX, flags};

use super::{
    conn,
    first::First,
    globals::snaplen,
    user::{CHUNKS, Current, UserBuffer},
};

/// Longest prefix of a request line that is hashed.
const TARGET_MAX: usize = 96;

/// Which message of the exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Part {
    Request = 0,
    Response = 1,
}

/// The kept bytes of a message, `snaplen` of them, and the same once more or room for an append behind them.
#[inline(always)]
fn region(conn: &mut Tracked, part: u32) -> *mut u8 {
    if part == Part::Request as u32 {
        request(conn).cast_mut()
    } else {
        response(conn).cast_mut()
    }
}

/// The kept bytes of the request.
#[inline(always)]
pub(crate) fn request(conn: &Tracked) -> *const u8 {
    (&raw const conn.heads.bytes).cast()
}

/// The kept bytes of the response.
#[inline(always)]
pub(crate) fn response(conn: &Tracked) -> *const u8 {
    // SAFETY: within the map value, which has room for two heads of that length.
    unsafe { request(conn).add(snaplen() as usize) }
}

/// Keeps the first bytes of a message that begins with the current call, of which `first` are the first;
/// `total` bytes moved. Returns how many are kept.
#[inline(always)]
pub(crate) fn keep(
    conn: &mut Tracked,
    part: Part,
    first: &First,
    current: &Current,
    total: u64,
) -> u32 {
    let region = region(conn, part as u32);
    first.write(region);
    let kept = first.len;
    if u64::from(kept) == total || kept >= snaplen() {
        return kept;
    }
    if current.first.len > u64::from(kept) || current.has_more() {
        return keep_pieces_of(conn.key.sk, part, current, total);
    }
    let left = total - u64::from(kept);
    // A proxy writes the head of its response as a piece of its own. Of a body that stands behind the
    // blank line no more than its end counts, and a short one is its end.
    if part == Part::Response && left > TAIL_MAX as u64 && first.ends_head(region) {
        return kept;
    }
    let second = current.second;
    let take = if second.len < left { second.len } else { left };
    kept + append_piece(region, kept.into(), second.base, take) as u32
}

/// Keeps the first bytes of all pieces of the current call, which moved `total` bytes. Returns how many are
/// kept.
#[inline(always)]
pub(crate) fn keep_pieces_of(sk: u64, part: Part, current: &Current, total: u64) -> u32 {
    head_pieces(
        sk,
        part as u32,
        total,
        current.buffer.base,
        current.buffer.count,
    )
}

// The `extern "C"` functions below are global functions: see the module comment of `programs`.

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn head_pieces(sk: u64, part: u32, total: u64, base: u64, count: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    keep_pieces(region(conn, part), UserBuffer { base, count }, total)
}

/// Appends bytes that came with a later call. Returns the new number of kept bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_append(sk: u64, part: u32, total: u64, base: u64, count: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    let region = region(conn, part);
    let conn = &mut conn.conn;
    let len = if part == Part::Request as u32 {
        &mut conn.request_head_len
    } else {
        &mut conn.response_head_len
    };
    let before = u32::from(*len);
    if before == 0 || before >= snaplen() || conn.flags & flags::RESPONSE_GAP != 0 {
        return before;
    }
    let Some(piece) = (UserBuffer { base, count }).piece(0) else {
        return before;
    };
    let take = if piece.len < total { piece.len } else { total };
    let mut at = u64::from(before);
    let mut base = piece.base;
    let mut left = take;
    let mut n = 0;
    while n < HEAD_MAX / APPEND_MAX {
        let added = append_piece(region, at, base, left);
        at += added;
        base += added;
        left -= added;
        if added < APPEND_MAX as u64 {
            break;
        }
        n += 1;
    }
    if part == Part::Response as u32 && at < u64::from(snaplen()) && at - u64::from(before) < total
    {
        // What lies in further pieces is not kept, so nothing behind it may be either.
        conn.flags |= flags::RESPONSE_GAP;
    }
    *len = at as u16;
    at as u32
}

/// In place of a hash while the request line is not complete.
pub(crate) const LINE_CUT: u64 = 0;
/// In place of a hash for bytes that are not an HTTP/1.x request.
pub(crate) const NOT_HTTP: u64 = u64::MAX;

/// Hash of method and target of the kept request, [`LINE_CUT`] or [`NOT_HTTP`].
#[inline(always)]
pub(crate) fn target_of(conn: &mut Tracked, len: u32) -> u64 {
    target_hash(region(conn, Part::Request as u32), len)
}

/// The same, found anew.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_target(sk: u64, len: u32) -> u64 {
    match conn::get(sk) {
        Some(conn) => target_hash(region(conn, Part::Request as u32), len),
        None => 0,
    }
}

/// Longest interim head behind which a final one is looked for.
const INTERIM_MAX: usize = 256;

/// Status of the kept response; 0 if it has none.
#[inline(always)]
pub(crate) fn status_of(conn: &mut Tracked, len: u32) -> u16 {
    status(region(conn, Part::Response as u32), len)
}

/// Status of the kept response, the final one if it comes right behind an interim one; 0 if it has
/// none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_status(sk: u64, len: u32) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    let region = region(conn, Part::Response as u32);
    let first = status(region, len);
    if !(100..200).contains(&first) || first == 101 {
        return u32::from(first);
    }
    let mut i = 12usize;
    while i < INTERIM_MAX {
        if i as u32 + 4 >= len {
            break;
        }
        // SAFETY: `i` is below `len`, by more than a word, and behind the region there is room for APPEND_MAX.
        let behind = unsafe { region.add(i) };
        // SAFETY: as above.
        if unsafe { behind.cast::<u32>().read_unaligned() } == u32::from_ne_bytes(*b"\r\n\r\n") {
            // SAFETY: as above.
            let second = status(unsafe { behind.add(4) }, len - i as u32 - 4);
            return u32::from(if second == 0 { first } else { second });
        }
        i += 1;
    }
    u32::from(first)
}

/// Keeps the first bytes of the send of `total` bytes that the current call made.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_sent(sk: u64, total: u64, base: u64, count: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    conn.sent_last = [0; 8];
    let Some(piece) = (UserBuffer { base, count }).piece(0) else {
        return 0;
    };
    let mut size = if piece.len < total { piece.len } else { total };
    if size > 8 {
        size = 8;
    }
    // SAFETY: the destination is eight bytes of a map value; the helper checks the source.
    let failed = unsafe {
        bpf_probe_read_user(
            (&raw mut conn.sent_last).cast(),
            size as u32,
            piece.base as *const _,
        )
    };
    u32::from(failed == 0)
}

/// Keeps the last bytes of the stream, of which the current call moved `total`.
#[inline(always)]
pub(crate) fn keep_tail(sk: u64, current: &Current, total: u64) {
    let (first, second) = (current.first, current.second);
    if total <= first.len {
        tail_of(sk, first.base, total, 0);
    } else if total - first.len <= second.len {
        tail_of(sk, second.base, total - first.len, 1);
    } else {
        head_tail(sk, total, current.buffer.base, current.buffer.count);
    }
}

/// Keeps the end of a piece, of which `len` bytes moved. `alone`: not 0 if what is kept already does not
/// stand in front of it, because a piece lies between.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tail_of(sk: u64, base: u64, len: u64, alone: u32) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    if alone != 0 {
        conn.tail_len = 0;
    }
    piece_tail(conn, base, len);
    1
}

/// The same where more than two pieces were moved.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn head_tail(sk: u64, total: u64, base: u64, count: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    conn.tail_len = 0;
    let buffer = UserBuffer { base, count };
    let mut left = total;
    let mut n = 0;
    while n < CHUNKS {
        let Some(piece) = buffer.piece(n) else { break };
        if piece.len >= left {
            piece_tail(conn, piece.base, left);
            break;
        }
        left -= piece.len;
        n += 1;
    }
    1
}

/// Keeps the first bytes of all pieces; `total` bytes moved.
#[inline(always)]
fn keep_pieces(region: *mut u8, buffer: UserBuffer, total: u64) -> u32 {
    let mut kept: u64 = 0;
    let mut left = total;
    let mut n = 0;
    while n < CHUNKS {
        let Some(piece) = buffer.piece(n) else { break };
        let take = if piece.len < left { piece.len } else { left };
        if take > 0 {
            if kept == 0 {
                let size = if take < u64::from(snaplen()) {
                    take
                } else {
                    u64::from(snaplen())
                };
                // SAFETY: `size` is at most snaplen.
                let failed = unsafe {
                    bpf_probe_read_user(region.cast(), size as u32, piece.base as *const _)
                };
                if failed != 0 {
                    break;
                }
                kept = size;
            } else {
                kept += append_piece(region, kept, piece.base, take);
            }
            left -= take;
        }
        if left == 0 || kept >= u64::from(snaplen()) {
            break;
        }
        n += 1;
    }
    kept as u32
}

#[inline(always)]
fn append_piece(region: *mut u8, at: u64, base: u64, len: u64) -> u64 {
    let limit = u64::from(snaplen());
    if at >= limit {
        return 0;
    }
    let room = limit - at;
    let mut size = if len < room { len } else { room };
    if size > APPEND_MAX as u64 {
        size = APPEND_MAX as u64;
    }
    // Older verifiers (before 6.8) know nothing of a copy that the compiler put on the stack before the
    // check, so the value that is handed on is checked once more.
    // SAFETY: a local variable.
    let size = unsafe { (&raw const size).read_volatile() };
    if size > APPEND_MAX as u64 {
        return 0;
    }
    // SAFETY: `at` is below snaplen and `size` at most APPEND_MAX; the region is followed by at
    // least APPEND_MAX bytes of the same map value.
    let failed = unsafe {
        bpf_probe_read_user(
            region.add(at as usize).cast(),
            size as u32,
            base as *const _,
        )
    };
    if failed != 0 { 0 } else { size }
}

/// Puts the end of a piece, of which `len` bytes moved, behind what `conn.tail` holds, which is nothing if it
/// could not be read.
#[inline(always)]
fn piece_tail(conn: &mut Conn, base: u64, len: u64) {
    const WORD: u64 = size_of::<u64>() as u64;
    let read = if len >= TAIL_MAX as u64 {
        whole_tail(conn, base + len - TAIL_MAX as u64)
    } else if len > WORD {
        append_tail(conn, base, len - WORD) && append_tail(conn, base + len - WORD, WORD)
    } else {
        append_tail(conn, base, len)
    };
    if !read {
        conn.tail_len = 0;
    }
}

/// Takes all of the tail from there.
#[inline(always)]
fn whole_tail(conn: &mut Conn, base: u64) -> bool {
    // SAFETY: the helper checks the address.
    let Ok(words) = (unsafe { read_user(base as *const [u64; 2]) }) else {
        return false;
    };
    // SAFETY: the tail is 16 bytes.
    unsafe {
        conn.tail
            .as_mut_ptr()
            .cast::<[u64; 2]>()
            .write_unaligned(words);
    }
    conn.tail_len = TAIL_MAX as u8;
    true
}

/// Moves up to eight bytes in at the end; the tail is two words, the last byte of the stream in the
/// highest place of the second (both targets are little-endian).
#[inline(always)]
fn append_tail(conn: &mut Conn, base: u64, count: u64) -> bool {
    if count == 0 || count > 8 {
        return count == 0;
    }
    let mut word = 0u64;
    // SAFETY: the destination is a local of eight bytes; the helper checks the source.
    let failed =
        unsafe { bpf_probe_read_user((&raw mut word).cast(), count as u32, base as *const _) };
    if failed != 0 {
        return false;
    }
    let words = conn.tail.as_mut_ptr().cast::<u64>();
    // SAFETY: the tail is 16 bytes.
    let (low, high) = unsafe { (words.read_unaligned(), words.add(1).read_unaligned()) };
    let (new_low, new_high) = if count == 8 {
        (high, word)
    } else {
        let (shift, rest) = (8 * count, 64 - 8 * count);
        (low >> shift | high << rest, high >> shift | word << rest)
    };
    // SAFETY: as above.
    unsafe {
        words.write_unaligned(new_low);
        words.add(1).write_unaligned(new_high);
    }
    let len = u64::from(conn.tail_len) + count;
    conn.tail_len = if len > TAIL_MAX as u64 {
        TAIL_MAX as u8
    } else {
        len as u8
    };
    true
}

/// What [`head_method`] says of bytes that begin no request.
pub(crate) const NO_METHOD: u32 = 0;
/// What it says of the methods that change what follows; of all others another number.
pub(crate) const HEAD: u32 = 2;
/// Likewise.
pub(crate) const CONNECT: u32 = 3;

/// Which method do these four bytes begin?
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_method(first: u32) -> u32 {
    match &first.to_ne_bytes() {
        b"HEAD" => HEAD,
        b"CONN" => CONNECT,
        _ => u32::from(is_method(first)),
    }
}

/// Does a message that begins with these four bytes look like an HTTP/1.x request? Methods of
/// RFC 9110, PATCH (RFC 5789) and WebDAV (RFC 4918).
#[inline(always)]
fn is_method(first: u32) -> bool {
    matches!(
        &first.to_ne_bytes(),
        b"GET "
            | b"POST"
            | b"PUT "
            | b"HEAD"
            | b"DELE"
            | b"OPTI"
            | b"PATC"
            | b"CONN"
            | b"TRAC"
            | b"PROP"
            | b"MKCO"
            | b"COPY"
            | b"MOVE"
            | b"LOCK"
            | b"UNLO"
            | b"REPO"
            | b"SEAR"
            | b"PURG"
            | b"BAN "
    )
}

/// Hash of method and target (up to the second space, at most [`TARGET_MAX`] bytes). Eight bytes at a
/// time: both sides of a proxy go this way for each request.
#[inline(always)]
fn target_hash(region: *const u8, len: u32) -> u64 {
    const WORD: u32 = size_of::<u64>() as u32;
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    if len < 4 {
        return LINE_CUT;
    }
    // SAFETY: within the region and the room behind it.
    if !is_method(unsafe { region.cast::<u32>().read_unaligned() }) {
        return NOT_HTTP;
    }
    let mut hash: u64 = 0;
    let mut in_target = false;
    let mut at = 0u32;
    while at < TARGET_MAX as u32 {
        if at >= len {
            return LINE_CUT;
        }
        // SAFETY: `at` is below TARGET_MAX, which is less than the room behind the region.
        let word = unsafe { region.add(at as usize).cast::<u64>().read_unaligned() };
        let line_ends = zero_bytes(word ^ u64::from_ne_bytes([b'\r'; 8]));
        let mut ends = zero_bytes(word ^ u64::from_ne_bytes([b' '; 8])) | line_ends;
        if ends != 0 && !in_target && ends & ends.wrapping_neg() & line_ends == 0 {
            // The space behind the method.
            in_target = true;
            ends &= ends - 1;
        }
        if ends == 0 {
            hash = (hash ^ word).wrapping_mul(MULTIPLIER);
            hash ^= hash >> 32;
            at += WORD;
            continue;
        }
        let first = ends & ends.wrapping_neg();
        // What lies behind `len` is left over from an earlier request.
        if len - at < WORD && first >> (8 * (len - at)) != 0 {
            return LINE_CUT;
        }
        hash = (hash ^ word & ((first >> 7) - 1)).wrapping_mul(MULTIPLIER);
        hash ^= hash >> 32;
        break;
    }
    (hash | 1) >> 1 | 1
}

/// The highest bit of each byte that is zero. A byte above one that is zero may get it as well, if it is
/// one: the lowest is always right.
#[inline(always)]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(u64::from_ne_bytes([0x01; 8])) & !word & u64::from_ne_bytes([0x80; 8])
}

/// The status of a response that begins `HTTP/1.x NNN`; 0 if it does not. Where a final head follows
/// right behind `100 Continue`, its status counts.
#[inline(always)]
fn status(region: *const u8, len: u32) -> u16 {
    const CONTINUE_LEN: usize = b"HTTP/1.1 100 Continue\r\n\r\n".len();
    let first = status_at(region, 0, len);
    if first != 100 {
        return first;
    }
    match status_at(region, CONTINUE_LEN, len) {
        0 => first,
        last => last,
    }
}

#[inline(always)]
pub(crate) fn status_at(region: *const u8, at: usize, len: u32) -> u16 {
    if len < at as u32 + 12 {
        return 0;
    }
    // SAFETY: within the region and the room behind it.
    unsafe {
        let region = region.add(at);
        let first = region.cast::<u64>().read_unaligned();
        let wanted = u64::from_ne_bytes(*b"HTTP/1.\0");
        let mask = u64::from_ne_bytes([255, 255, 255, 255, 255, 255, 255, 0]);
        if first & mask != wanted {
            return 0;
        }
        let digit = |i: usize| u16::from((*region.add(i)).wrapping_sub(b'0'));
        let (a, b, c) = (digit(9), digit(10), digit(11));
        if a > 9 || b > 9 || c > 9 {
            return 0;
        }
        a * 100 + b * 10 + c
    }
}
