//! First bytes of messages, as the programs keep them.

use crate::record::HEAD_MAX;

/// Most bytes that one append to a head takes.
pub const APPEND_MAX: usize = 256;

/// Lines of a response head that are looked at; real heads have 10 to 30.
pub const LINES_MAX: usize = 64;

/// Bytes of each head that connections have room for, unless more are asked for.
pub const HEAD_USUAL: usize = 512;

/// Bytes for two heads of [`HEAD_USUAL`].
pub const ROOM_USUAL: usize = room(HEAD_USUAL);

/// Bytes for two heads of [`HEAD_MAX`].
pub const ROOM_MAX: usize = room(HEAD_MAX);

/// Behind both there is room for an append, which never holds anything: it lets the verifier see that `offset +
/// length` stays inside when both are bounded only on their own.
const fn room(head: usize) -> usize {
    2 * head + APPEND_MAX
}

/// What a scan of the response head found, and the kept heads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads<const ROOM: usize> {
    /// Offset behind the blank line of the response head; 0 while not found.
    pub head_end: u32,
    /// Offset of the Content-Length value; 0 if there is none.
    pub length_at: u32,
    /// 1 if the head says `transfer-encoding`.
    pub chunked: u32,
    /// Entries of `lines`.
    pub line_count: u32,
    /// Where lines of the response begin, and how many do.
    pub lines: [u16; LINES_MAX],
    /// First bytes of the current request, `snaplen` of them, and of the current response, as many.
    pub bytes: [u8; ROOM],
}
