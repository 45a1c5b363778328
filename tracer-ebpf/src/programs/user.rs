//! The caller's buffer, as up to [`CHUNKS`] pieces.

use aya_ebpf::helpers::bpf_probe_read_user;

use super::regs::{self, Shape};

/// Pieces of an iovec array that are looked at.
pub(crate) const CHUNKS: usize = 4;

/// In [`UserBuffer::count`]: the buffer is an iovec array.
const IOVECS: u64 = 1 << 63;
/// In [`UserBuffer::count`]: there is no buffer that we can read.
const NONE: u64 = u64::MAX;

/// Where the pieces are: two numbers, so that global functions can take them.
#[derive(Clone, Copy)]
pub(crate) struct UserBuffer {
    /// A plain buffer, or an iovec array.
    pub(crate) base: u64,
    /// Size of the plain buffer, or number of iovecs.
    pub(crate) count: u64,
}

/// One contiguous piece of user memory.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) base: u64,
    pub(crate) len: u64,
}

/// The buffer of the current system call, its first two pieces looked up: each look into user memory
/// takes as long as finding the connection.
#[derive(Clone, Copy)]
pub(crate) struct Current {
    pub(crate) buffer: UserBuffer,
    pub(crate) first: Piece,
    pub(crate) second: Piece,
}

const NO_PIECE: Piece = Piece { base: 0, len: 0 };

impl Current {
    const NONE: Self = Self {
        buffer: UserBuffer {
            base: 0,
            count: NONE,
        },
        first: NO_PIECE,
        second: NO_PIECE,
    };

    #[inline(always)]
    pub(crate) fn look() -> Self {
        let call = regs::syscall();
        match call.shape {
            Shape::Buffer => Self::of_piece(Piece {
                base: call.arg2,
                len: call.arg3 & !IOVECS,
            }),
            Shape::Iovec => Self::of_iovecs(call.arg2, call.arg3),
            Shape::Msghdr => {
                // struct user_msghdr: msg_iov at 16, msg_iovlen at 24.
                // SAFETY: the helper checks the address.
                match unsafe { bpf_probe_read_user((call.arg2 + 16) as *const [u64; 2]) } {
                    Ok([base, count]) => Self::of_iovecs(base, count),
                    Err(_) => Self::NONE,
                }
            }
            Shape::Unknown => Self::NONE,
        }
    }

    #[inline(always)]
    fn of_piece(piece: Piece) -> Self {
        Self {
            buffer: UserBuffer {
                base: piece.base,
                count: piece.len,
            },
            first: piece,
            second: NO_PIECE,
        }
    }

    #[inline(always)]
    fn of_iovecs(base: u64, count: u64) -> Self {
        if count == 1 {
            return match iovec(base) {
                Some(piece) => Self::of_piece(piece),
                None => Self::NONE,
            };
        }
        // SAFETY: the helper checks the address.
        let read = unsafe { bpf_probe_read_user(base as *const [u64; 4]) };
        let (Ok([first_base, first_len, second_base, second_len]), 2..) = (read, count) else {
            return Self::NONE;
        };
        Self {
            buffer: UserBuffer {
                base,
                count: count | IOVECS,
            },
            first: Piece {
                base: first_base,
                len: first_len,
            },
            second: Piece {
                base: second_base,
                len: second_len,
            },
        }
    }

    /// Its first four bytes; zero where they cannot be read.
    #[inline(always)]
    pub(crate) fn first_word(&self) -> u32 {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_user(self.first.base as *const u32) }.unwrap_or(0)
    }

    /// Are there more pieces than the two?
    #[inline(always)]
    pub(crate) fn has_more(&self) -> bool {
        self.buffer.count & IOVECS != 0 && self.buffer.count & !IOVECS > 2
    }
}

impl UserBuffer {
    /// The n-th piece, `None` behind the last.
    #[inline(always)]
    pub(crate) fn piece(self, n: usize) -> Option<Piece> {
        if self.count & IOVECS == 0 {
            return (n == 0).then_some(Piece {
                base: self.base,
                len: self.count,
            });
        }
        if self.count == NONE || n as u64 >= self.count & !IOVECS {
            return None;
        }
        iovec(self.base + 16 * n as u64)
    }
}

/// A `struct iovec` of user memory.
#[inline(always)]
fn iovec(at: u64) -> Option<Piece> {
    // SAFETY: the helper checks the address.
    let [base, len] = unsafe { bpf_probe_read_user(at as *const [u64; 2]) }.ok()?;
    Some(Piece { base, len })
}
