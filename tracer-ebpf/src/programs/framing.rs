//! How is a response framed, and was it complete? Asked when something ends, and once of a long response:
//! where its end is known, the calls that move its body need no look.
//!
//! The answer is a filter: `Complete` keeps a record from being sent. User space decides again with the
//! whole head.

use tracer_ebpf::{Heads, LINES_MAX, Tracked, flags, heads::ROOM_USUAL, marks};

use super::{conn, globals::snaplen, head};

/// What the kept bytes say.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Completeness {
    Complete = 0,
    Incomplete = 1,
    /// The framing is not within the kept bytes, or the body ends with the connection.
    Unknown = 2,
}

/// Responses that hold no head that could be read.
const UNREADABLE: u32 = flags::OPAQUE | flags::TUNNEL | flags::RESPONSE_UNREAD;

/// Digits of a Content-Length that are read.
const DIGITS: usize = 15;

/// Finds the blank line and the framing headers in the kept response bytes: first where lines begin,
/// then what they are. What is found goes to the map value: the turns of each loop look alike to the
/// verifier, which so need not follow each find apart. A global function: see the module comment of
/// `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn framing_scan(sk: u64, len: u32) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    let heads = &raw mut conn.heads;
    // SAFETY: `heads` is a live map value; `at` stays below snaplen and is a multiple of the word's size.
    unsafe {
        let base = head::response(conn);
        (&raw mut (*heads).line_count).write_volatile(0);
        let mut at = 0usize;
        while at < snaplen() as usize {
            if at as u32 >= len {
                break;
            }
            let mut ends = newlines(base.add(at).cast::<u64>().read_unaligned());
            let mut n = 0;
            while n < LINES_PER_WORD {
                if ends != 0 {
                    note_line(heads, at as u32 + lowest(ends) + 1);
                    ends &= ends - 1;
                }
                n += 1;
            }
            at += size_of::<u64>();
        }
    }
    framing_lines(sk, len)
}

/// As many lines of a head may end within eight bytes: the shortest is `a:` with its line feed, and the
/// blank one is the last.
const LINES_PER_WORD: u32 = 4;

/// The highest bit of each byte that is a line feed.
#[inline(always)]
fn newlines(word: u64) -> u64 {
    const SEVEN_BITS: u64 = u64::from_ne_bytes([0x7f; 8]);
    let other = word ^ u64::from_ne_bytes([b'\n'; 8]);
    !(((other & SEVEN_BITS) + SEVEN_BITS) | other | SEVEN_BITS)
}

/// Which byte has the lowest of the bits? One of each byte's highest is set. There is no instruction for it,
/// and a table would be a map.
#[inline(always)]
fn lowest(bits: u64) -> u32 {
    const PLACES: u64 = 0x0001_0203_0405_0607;
    let bit = (bits & bits.wrapping_neg()) >> 7;
    (bit.wrapping_mul(PLACES) >> 56) as u32
}

/// # Safety
///
/// `heads` is a live map value.
#[inline(always)]
unsafe fn note_line(heads: *mut Heads<ROOM_USUAL>, begins: u32) {
    // SAFETY: as the caller says; `n` is below LINES_MAX.
    unsafe {
        let lines = (&raw mut (*heads).lines).cast::<u16>();
        let count = &raw mut (*heads).line_count;
        let n = count.read_volatile();
        if n < LINES_MAX as u32 {
            lines.add(n as usize).write_volatile(begins as u16);
            count.write_volatile(n + 1);
        }
    }
}

/// Looks at the lines that [`framing_scan`] found, up to the blank one. A global function, too.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn framing_lines(sk: u64, len: u32) -> u32 {
    const CONTENT: u64 = u64::from_ne_bytes(*b"content-");
    const LENGTH: u64 = u64::from_ne_bytes(*b"length:\0");
    const TRANSFER: u64 = u64::from_ne_bytes(*b"transfer");
    const LOWER: u64 = 0x2020_2020_2020_2020;
    /// The first seven bytes of eight.
    const SEVEN: u64 = u64::from_ne_bytes([255, 255, 255, 255, 255, 255, 255, 0]);
    let Some(conn) = conn::get(sk) else { return 0 };
    let heads = &raw mut conn.heads;
    // SAFETY: `heads` is a live map value; a line begins below snaplen and the loads below reach at
    // most 16 bytes further, which the buffers behind still hold.
    unsafe {
        let base = head::response(conn);
        let lines = (&raw const (*heads).lines).cast::<u16>();
        let head_end = &raw mut (*heads).head_end;
        let count = (&raw const (*heads).line_count).read_volatile();
        head_end.write_volatile(0);
        (&raw mut (*heads).length_at).write_volatile(0);
        (&raw mut (*heads).chunked).write_volatile(0);
        let mut n = 0usize;
        while n < LINES_MAX {
            if n as u32 >= count || head_end.read_volatile() != 0 {
                break;
            }
            let start = u32::from(lines.add(n).read_volatile());
            n += 1;
            if start >= snaplen() {
                continue;
            }
            let at = base.add(start as usize);
            let word = at.cast::<u64>().read_unaligned();
            let pair = word.to_ne_bytes();
            if pair[0] == b'\r' && pair[1] == b'\n' {
                head_end.write_volatile(start + 2);
            } else if pair[0] == b'\n' {
                head_end.write_volatile(start + 1);
            } else if word | LOWER == CONTENT {
                let second = at.add(8).cast::<u64>().read_unaligned() | LOWER;
                if second & SEVEN == (LENGTH | LOWER) & SEVEN {
                    (&raw mut (*heads).length_at).write_volatile(start + 15);
                }
            } else if word | LOWER == TRANSFER {
                (&raw mut (*heads).chunked).write_volatile(1);
            }
        }
        // What lies behind `len` is left over from an earlier response.
        if head_end.read_volatile() > len {
            head_end.write_volatile(0);
        }
    }
    1
}

/// What [`framing_lines`] found; see `Heads`.
struct Found {
    head_end: u32,
    length_at: u32,
    chunked: u32,
}

/// Looks at the kept bytes of the response.
#[inline(always)]
fn scan(sk: u64, conn: &Tracked) -> Found {
    framing_scan(sk, u32::from(conn.response_head_len));
    let heads = &raw const conn.heads;
    // SAFETY: a live map value; volatile, because that is how the fields were written.
    unsafe {
        Found {
            head_end: (&raw const (*heads).head_end).read_volatile(),
            length_at: (&raw const (*heads).length_at).read_volatile(),
            chunked: (&raw const (*heads).chunked).read_volatile(),
        }
    }
}

/// In place of a Content-Length that is none.
const NO_LENGTH: u64 = u64::MAX;

/// The value of Content-Length, which is at `at`, or [`NO_LENGTH`]; blanks before it are skipped. A global
/// function, too.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn framing_length(sk: u64, at: u64) -> u64 {
    let Some(conn) = conn::get(sk) else {
        return NO_LENGTH;
    };
    let mut value: u64 = 0;
    let mut k = 0usize;
    let at = at as usize;
    if at >= snaplen() as usize {
        return NO_LENGTH;
    }
    // SAFETY: `at + k` stays within the response region and the 256 bytes behind it.
    let base = unsafe { head::response(conn).add(at) };
    let mut started = false;
    while k < DIGITS {
        // SAFETY: as above.
        let byte = unsafe { *base.add(k) };
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            started = true;
        } else if started || byte != b' ' && byte != b'\t' {
            break;
        }
        k += 1;
    }
    if started { value } else { NO_LENGTH }
}

/// Looks for the Content-Length of a response whose body goes on. Returns 1 if there is one: then
/// `response_ends_at` is set, and no more of the body is kept. A global function: see the module comment of
/// `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn framing_end(sk: u64) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    conn.marks |= marks::FRAMING_SEEN;
    let bare = conn.status < 200 || conn.status == 204 || conn.status == 304;
    if bare || conn.flags & (flags::HEAD_REQUEST | UNREADABLE) != 0 {
        return 0;
    }
    let found = scan(sk, conn);
    if found.head_end == 0 || found.length_at == 0 || found.chunked != 0 {
        return 0;
    }
    let length = framing_length(sk, found.length_at.into());
    if length == NO_LENGTH {
        return 0;
    }
    conn.response_ends_at = u64::from(found.head_end) + length;
    conn.marks |= marks::LENGTH_KNOWN;
    // What comes behind what is kept would not follow on it.
    conn.flags |= flags::RESPONSE_GAP;
    conn.tail_len = 0;
    1
}

/// Is the current response of this connection complete?
#[inline(always)]
pub(crate) fn completeness(sk: u64) -> Completeness {
    match framing_completeness(sk) {
        0 => Completeness::Complete,
        1 => Completeness::Incomplete,
        _ => Completeness::Unknown,
    }
}

/// A global function: see the module comment of `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn framing_completeness(sk: u64) -> u32 {
    let found = match conn::get(sk) {
        Some(conn) => look(sk, conn),
        None => Completeness::Unknown,
    };
    // SAFETY: a local; volatile, so that the branches meet here and are not copied.
    unsafe { (&raw const found).cast::<u8>().read_volatile() }.into()
}

#[inline(always)]
fn look(sk: u64, conn: &Tracked) -> Completeness {
    if conn.response_bytes == 0 {
        return Completeness::Incomplete;
    }
    if conn.flags & UNREADABLE != 0 {
        return Completeness::Unknown;
    }
    let kept = u32::from(conn.response_head_len);
    let found = scan(sk, conn);
    if found.head_end == 0 {
        // The whole response so far was kept and holds no blank line: the head was cut.
        return if u64::from(kept) == conn.response_bytes && kept < snaplen() {
            Completeness::Incomplete
        } else {
            Completeness::Unknown
        };
    }
    let body = conn.response_bytes - u64::from(found.head_end);
    if conn.status >= 100 && conn.status < 200 {
        return if body == 0 {
            Completeness::Incomplete
        } else {
            Completeness::Unknown
        };
    }
    if conn.status == 0 {
        return Completeness::Unknown;
    }
    if conn.flags & flags::HEAD_REQUEST != 0 || conn.status == 204 || conn.status == 304 {
        return Completeness::Complete;
    }
    if found.chunked != 0 {
        return chunks_complete(conn, kept);
    }
    if found.length_at != 0 {
        return if body >= framing_length(sk, found.length_at.into()) {
            Completeness::Complete
        } else {
            Completeness::Incomplete
        };
    }
    Completeness::Unknown
}

/// Does the body end with the last chunk? Trailers make this `Incomplete` here; user space looks
/// again.
#[inline(always)]
fn chunks_complete(conn: &Tracked, kept: u32) -> Completeness {
    let tail: u64 = if conn.tail_len >= 5 {
        // SAFETY: the last eight of the tail's 16 bytes.
        unsafe { conn.tail.as_ptr().add(8).cast::<u64>().read_unaligned() }
    } else if u64::from(kept) == conn.response_bytes && kept >= 8 {
        let at = kept - 8;
        // The compiler checks a copy that the verifier takes for another number.
        // SAFETY: a local variable.
        let at = unsafe { (&raw const at).read_volatile() };
        if at >= snaplen() {
            return Completeness::Unknown;
        }
        // SAFETY: `at` is below snaplen, and eight more bytes are within the map value.
        unsafe {
            head::response(conn)
                .add(at as usize)
                .cast::<u64>()
                .read_unaligned()
        }
    } else {
        return Completeness::Unknown;
    };
    const LAST_CHUNK: u64 = u64::from_ne_bytes(*b"\0\0\x000\r\n\r\n");
    const FIVE: u64 = u64::from_ne_bytes([0, 0, 0, 255, 255, 255, 255, 255]);
    if tail & FIVE == LAST_CHUNK {
        Completeness::Complete
    } else {
        Completeness::Incomplete
    }
}
