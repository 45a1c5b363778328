//! First bytes of messages: keeping them, and the little that is read from them here. The full head
//! is parsed in user space, and only for exchanges that failed.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use tracer_ebpf::{ConnState, HEAD_MAX, conn::TAIL_MAX, flags};

use super::{
    conn,
    globals::snaplen,
    maps::{APPEND_MAX, CONNS, HEADS, Heads, count_loss},
    regs,
    user::{CHUNKS, UserBuffer},
};

/// Longest prefix of a request line that is hashed.
const TARGET_MAX: usize = 96;

// SAFETY: all-zero bytes are a valid value of both.
static ZERO_HEADS: Heads = unsafe { core::mem::zeroed() };

/// The head buffers of a tracked connection.
#[inline(always)]
fn buffers(sk: u64) -> Option<*mut Heads> {
    if let Some(heads) = HEADS.get_ptr_mut(&sk) {
        return Some(heads);
    }
    if HEADS.insert(&sk, &ZERO_HEADS, 0).is_err() {
        count_loss(tracer_ebpf::loss::HEAD_TABLE);
        return None;
    }
    HEADS.get_ptr_mut(&sk)
}

/// Which message of the exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Part {
    Request = 0,
    Response = 1,
}

/// The caller's buffer could not be read.
pub(crate) const UNREAD: u32 = u32::MAX;

#[inline(always)]
fn region(heads: *mut Heads, part: u32) -> *mut u8 {
    // SAFETY: field projections of a live map value.
    unsafe {
        if part == Part::Request as u32 {
            (&raw mut (*heads).request).cast()
        } else {
            (&raw mut (*heads).response).cast()
        }
    }
}

// The `extern "C"` functions below are global functions: see the module comment of `programs`.

/// Keeps the first bytes of a message that begins with the current call; `total` bytes moved.
/// Returns how many are kept, or [`UNREAD`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_keep(sk: u64, part: u32, total: u64) -> u32 {
    let Some(buffer) = UserBuffer::of(&regs::syscall()) else {
        count_loss(tracer_ebpf::loss::USER_READ);
        return UNREAD;
    };
    let Some(heads) = buffers(sk) else {
        return UNREAD;
    };
    let Some(kept) = keep_first(region(heads, part), &buffer, total) else {
        count_loss(tracer_ebpf::loss::USER_READ);
        return UNREAD;
    };
    kept
}

/// Appends bytes that came with a later call. Returns the new number of kept bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_append(sk: u64, part: u32, total: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    let len = if part == Part::Request as u32 {
        &mut conn.request_head_len
    } else {
        &mut conn.response_head_len
    };
    let before = u32::from(*len);
    if before == 0 || before >= snaplen() || conn.flags & flags::RESPONSE_GAP != 0 {
        return before;
    }
    let Some(buffer) = UserBuffer::of(&regs::syscall()) else {
        return before;
    };
    let Some(heads) = buffers(sk) else {
        return before;
    };
    let Some(piece) = buffer.piece(0) else {
        return before;
    };
    let take = if piece.len < total { piece.len } else { total };
    let mut at = u64::from(before);
    let mut base = piece.base;
    let mut left = take;
    let mut n = 0;
    while n < HEAD_MAX / APPEND_MAX {
        let added = append_piece(region(heads, part), at, base, left);
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

/// What [`head_target`] says while the request line is not complete.
pub(crate) const LINE_CUT: u64 = 0;
/// What [`head_target`] says of bytes that are not an HTTP/1.x request.
pub(crate) const NOT_HTTP: u64 = u64::MAX;

/// Hash of method and target of the kept request, [`LINE_CUT`] or [`NOT_HTTP`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_target(sk: u64, len: u32) -> u64 {
    match HEADS.get_ptr_mut(&sk) {
        Some(heads) => target_hash(region(heads, 0), len),
        None => 0,
    }
}

/// Longest interim head behind which a final one is looked for.
const INTERIM_MAX: usize = 256;

/// Status of the kept response, the final one if it comes right behind an interim one; 0 if it has
/// none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_status(sk: u64, len: u32) -> u32 {
    let Some(heads) = HEADS.get_ptr_mut(&sk) else {
        return 0;
    };
    let region = region(heads, 1);
    let first = status(region, len);
    if !(100..200).contains(&first) || first == 101 {
        return u32::from(first);
    }
    let mut i = 12usize;
    while i < INTERIM_MAX {
        if i as u32 + 4 >= len {
            break;
        }
        // SAFETY: `i` is below INTERIM_MAX, which is below HEAD_MAX by more than a status line.
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
pub(crate) extern "C" fn head_sent(sk: u64, total: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    conn.sent_last = [0; 8];
    let Some(buffer) = UserBuffer::of(&regs::syscall()) else {
        return 0;
    };
    let Some(piece) = buffer.piece(0) else {
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
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_tail(sk: u64, total: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    let Some(buffer) = UserBuffer::of(&regs::syscall()) else {
        conn.tail_len = 0;
        return 0;
    };
    if !tail(&buffer, total, conn) {
        conn.tail_len = 0;
    }
    1
}

/// Keeps the first bytes of a message that begins with this call; `total` bytes moved. Returns how
/// many are kept now, `None` if the user's memory could not be read.
#[inline(always)]
fn keep_first(region: *mut u8, buffer: &UserBuffer, total: u64) -> Option<u32> {
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
                // SAFETY: `size` is at most HEAD_MAX (the loader checks snaplen).
                let failed = unsafe {
                    bpf_probe_read_user(region.cast(), size as u32, piece.base as *const _)
                };
                if failed != 0 {
                    return None;
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
    Some(kept as u32)
}

#[inline(always)]
fn append_piece(region: *mut u8, at: u64, base: u64, len: u64) -> u64 {
    let limit = u64::from(snaplen());
    if at >= limit || at >= HEAD_MAX as u64 {
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
    // SAFETY: `at` is below HEAD_MAX and `size` at most APPEND_MAX; the region is followed by at
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

/// Puts the end of the `total` bytes behind what `conn.tail` holds; false if it could not be read.
#[inline(always)]
fn tail(buffer: &UserBuffer, total: u64, conn: &mut ConnState) -> bool {
    const WORD: u64 = size_of::<u64>() as u64;
    let mut left = total;
    let mut n = 0;
    while n < CHUNKS {
        let Some(piece) = buffer.piece(n) else {
            return false;
        };
        if piece.len >= left {
            if n > 0 && left < TAIL_MAX as u64 {
                // The end of the piece before is not put in front of it.
                conn.tail_len = 0;
            }
            if left > WORD {
                let from = left.saturating_sub(TAIL_MAX as u64);
                return append_tail(conn, piece.base + from, left - from - WORD)
                    && append_tail(conn, piece.base + left - WORD, WORD);
            }
            return append_tail(conn, piece.base, left);
        }
        left -= piece.len;
        n += 1;
    }
    false
}

/// Moves up to eight bytes in at the end; the tail is two words, the last byte of the stream in the
/// highest place of the second (both targets are little-endian).
#[inline(always)]
fn append_tail(conn: &mut ConnState, base: u64, count: u64) -> bool {
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

/// Does a message that begins with these four bytes look like an HTTP/1.x request? Methods of
/// RFC 9110, PATCH (RFC 5789) and WebDAV (RFC 4918).
#[inline(always)]
pub(crate) fn is_method(first: u32) -> bool {
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

/// FNV-1a over method and target (up to the second space, at most [`TARGET_MAX`] bytes).
#[inline(always)]
fn target_hash(region: *const u8, len: u32) -> u64 {
    if len < 4 {
        return LINE_CUT;
    }
    // SAFETY: within the region (HEAD_MAX bytes).
    if !is_method(unsafe { region.cast::<u32>().read_unaligned() }) {
        return NOT_HTTP;
    }
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut spaces = 0u32;
    let mut i = 0usize;
    while i < TARGET_MAX {
        if i as u32 >= len {
            return LINE_CUT;
        }
        // SAFETY: `i` is below TARGET_MAX, which is below HEAD_MAX.
        let byte = unsafe { *region.add(i) };
        if byte == b' ' {
            spaces += 1;
            if spaces == 2 {
                break;
            }
        }
        if byte == b'\r' {
            break;
        }
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    (hash | 1) >> 1 | 1
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
fn status_at(region: *const u8, at: usize, len: u32) -> u16 {
    if len < at as u32 + 12 {
        return 0;
    }
    // SAFETY: within the region (HEAD_MAX bytes).
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

/// Forgets a connection's buffers.
#[inline(always)]
pub(crate) fn forget(sk: u64) {
    let _ = HEADS.remove(&sk);
    let _ = CONNS.remove(&sk);
}
