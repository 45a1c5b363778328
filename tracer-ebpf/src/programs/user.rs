//! The caller's buffer, as up to [`CHUNKS`] pieces.

use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_user};
use tracer_ebpf::ABSENT;

use super::{
    globals::offset,
    regs::{self, Shape},
    sock::{field, read},
};

/// Pieces of an iovec array that are looked at.
pub(crate) const CHUNKS: usize = 4;

/// In [`UserBuffer::count`]: the buffer is an iovec array.
const IOVECS: u64 = 1 << 63;
/// With it: the array is the kernel's copy.
const IN_KERNEL: u64 = 1 << 62;
const FLAGS: u64 = IOVECS | IN_KERNEL;
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

/// Where a hook finds the buffer of the call that it is in.
pub(crate) trait Source: Copy {
    /// The buffer, of which `moved` bytes went to the socket or came from it.
    fn look(self, moved: u64) -> Current;
}

/// In the registers that the thread entered the kernel with.
#[derive(Clone, Copy)]
pub(crate) struct Registers;

impl Source for Registers {
    #[inline(always)]
    fn look(self, _moved: u64) -> Current {
        Current::of_call()
    }
}

/// In the kernel's own `struct msghdr`, whatever system call it comes from, and without a look into user memory
/// for a list of buffers.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    /// One whose type the verifier knows.
    pub(crate) header: *const u8,
    /// Bytes of all buffers together.
    pub(crate) size: u64,
}

impl Source for Message {
    #[inline(always)]
    fn look(self, moved: u64) -> Current {
        if offset!(msg_iter_type) == ABSENT {
            Current::of_call()
        } else {
            Current::of_message(self, moved)
        }
    }
}

/// The buffer of the current call, its first two pieces looked up: each look into user memory takes as
/// long as finding the connection.
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

    /// `struct iov_iter` of
    /// <https://github.com/torvalds/linux/blob/v6.1/include/linux/uio.h> stands behind what was moved: whole
    /// buffers of a list are passed, and of the next `iov_offset` bytes.
    #[inline(always)]
    fn of_message(message: Message, moved: u64) -> Self {
        let left: u64 = field(message.header, offset!(msg_iter_count));
        // Else bytes were dropped and not copied (MSG_TRUNC).
        if message.size.wrapping_sub(left) != moved {
            return Self::NONE;
        }
        let kind = u32::from(field::<u8>(message.header, offset!(msg_iter_type)));
        let within: u64 = field(message.header, offset!(msg_iter_offset));
        // Loaded through the type it would be a pointer to an entry of the list, which the verifier lets nobody
        // add to.
        let Some(at) = read::<u64>(message.header as u64, offset!(msg_iter_iov)) else {
            return Self::NONE;
        };
        if kind == offset!(iter_ubuf) {
            return Self::of_piece(Piece {
                base: at + within - moved,
                len: moved,
            });
        }
        if kind != offset!(iter_iovec) {
            return Self::NONE;
        }
        let mut second = NO_PIECE;
        if within != 0 {
            let Some(last) = kernel_iovec(at) else {
                return Self::NONE;
            };
            if within >= moved {
                return Self::of_piece(Piece {
                    base: last.base + within - moved,
                    len: moved,
                });
            }
            second = Piece {
                base: last.base,
                len: within,
            };
        }
        Self::back(at, within, second, moved)
    }

    /// Goes back to the buffer that the call began with; `passed` bytes of what it moved lie behind `at`.
    #[inline(always)]
    fn back(mut at: u64, mut passed: u64, mut second: Piece, moved: u64) -> Self {
        let mut count = u64::from(passed != 0);
        let mut n = 0;
        while n < CHUNKS {
            at -= size_of::<[u64; 2]>() as u64;
            count += 1;
            n += 1;
            let Some(first) = kernel_iovec(at) else {
                return Self::NONE;
            };
            passed += first.len;
            if passed >= moved {
                return Self {
                    buffer: UserBuffer {
                        base: at,
                        count: count | FLAGS,
                    },
                    first,
                    second,
                };
            }
            second = first;
        }
        Self::NONE
    }

    /// From the registers of the system call.
    #[inline(always)]
    pub(crate) fn of_call() -> Self {
        let call = regs::syscall();
        match call.shape {
            Shape::Buffer => Self::of_piece(Piece {
                base: call.arg2,
                len: call.arg3 & !FLAGS,
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
        self.buffer.count & IOVECS != 0 && self.buffer.count & !FLAGS > 2
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
        if self.count == NONE || n as u64 >= self.count & !FLAGS {
            return None;
        }
        let at = self.base + 16 * n as u64;
        if self.count & IN_KERNEL != 0 {
            kernel_iovec(at)
        } else {
            iovec(at)
        }
    }
}

/// A `struct iovec` of user memory.
#[inline(always)]
fn iovec(at: u64) -> Option<Piece> {
    // SAFETY: the helper checks the address.
    let [base, len] = unsafe { bpf_probe_read_user(at as *const [u64; 2]) }.ok()?;
    Some(Piece { base, len })
}

/// The kernel's copy of one.
#[inline(always)]
fn kernel_iovec(at: u64) -> Option<Piece> {
    // SAFETY: the helper checks the address.
    let [base, len] = unsafe { bpf_probe_read_kernel(at as *const [u64; 2]) }.ok()?;
    Some(Piece { base, len })
}
