//! The caller's buffer, as up to [`CHUNKS`] pieces.

use aya_ebpf::helpers::bpf_probe_read_user;

use super::regs::{Shape, Syscall};

/// Pieces of an iovec array that are looked at.
pub(crate) const CHUNKS: usize = 4;

/// Where the pieces are.
pub(crate) struct UserBuffer {
    /// A plain buffer, or an iovec array.
    base: u64,
    /// Size of the plain buffer, or number of iovecs.
    count: u64,
    iovecs: bool,
}

/// One contiguous piece of user memory.
pub(crate) struct Piece {
    pub(crate) base: u64,
    pub(crate) len: u64,
}

impl UserBuffer {
    /// The buffer of the current system call; `None` where it has none that we can read.
    #[inline(always)]
    pub(crate) fn of(call: &Syscall) -> Option<Self> {
        match call.shape {
            Shape::Buffer => Some(Self {
                base: call.arg2,
                count: call.arg3,
                iovecs: false,
            }),
            Shape::Iovec => Some(Self {
                base: call.arg2,
                count: call.arg3,
                iovecs: true,
            }),
            Shape::Msghdr => {
                // struct user_msghdr: msg_iov at 16, msg_iovlen at 24.
                // SAFETY: the helper checks the address.
                let [base, count] =
                    unsafe { bpf_probe_read_user((call.arg2 + 16) as *const [u64; 2]) }.ok()?;
                Some(Self {
                    base,
                    count,
                    iovecs: true,
                })
            }
            Shape::Unknown => None,
        }
    }

    /// The n-th piece, `None` behind the last.
    #[inline(always)]
    pub(crate) fn piece(&self, n: usize) -> Option<Piece> {
        if !self.iovecs {
            return (n == 0).then_some(Piece {
                base: self.base,
                len: self.count,
            });
        }
        if n as u64 >= self.count {
            return None;
        }
        // SAFETY: the helper checks the address.
        let [base, len] =
            unsafe { bpf_probe_read_user((self.base + 16 * n as u64) as *const [u64; 2]) }.ok()?;
        Some(Piece { base, len })
    }
}
