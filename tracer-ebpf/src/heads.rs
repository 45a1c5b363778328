//! First bytes of messages, as the programs keep them.

use crate::record::HEAD_MAX;

/// Most bytes that one append to a head takes.
pub const APPEND_MAX: usize = 256;

/// Kept heads and what a scan of the response head found.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// First bytes of the current request.
    pub request: [u8; HEAD_MAX],
    /// First bytes of the current response.
    pub response: [u8; HEAD_MAX],
    /// Never holds anything: it lets the verifier see that `offset + length` stays inside when
    /// both are bounded only on their own.
    pub spill: [u8; APPEND_MAX],
    /// Offset behind the blank line of the response head; 0 while not found.
    pub head_end: u32,
    /// Offset of the Content-Length value; 0 if there is none.
    pub length_at: u32,
    /// 1 if the head says `transfer-encoding`.
    pub chunked: u32,
    /// Where lines of the response begin, and how many do.
    pub lines: [u16; LINES_MAX],
    /// Entries of `lines`.
    pub line_count: u32,
}

/// Lines of a response head that are looked at; real heads have 10 to 30.
pub const LINES_MAX: usize = 64;
