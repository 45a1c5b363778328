//! The registers that the current thread entered the kernel with: the only place that knows an
//! architecture. Inside the hooks of `send` and `recv` they are those of the system call that moves the
//! bytes.
//!
//! A helper gives them (`bpf_task_pt_regs`, ≥ 5.15). Before, they are read where the helper would find
//! them, at the top of the thread's kernel stack (`task_pt_regs` of both architectures), and what is read
//! there is checked; the loader computes the place, see `kernel/offsets.rs`.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs,
};
use tracer_ebpf::ABSENT;

use super::{globals::offset, sock};

/// What the thread asked of the kernel.
struct Saved {
    number: u64,
    arg2: u64,
    arg3: u64,
}

/// A system call that moves payload, with its second and third argument.
pub(crate) struct Syscall {
    pub(crate) shape: Shape,
    pub(crate) arg2: u64,
    pub(crate) arg3: u64,
}

/// Where such a call keeps its buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Argument 2 is the buffer, argument 3 its size: read, write, recvfrom, sendto.
    Buffer,
    /// Argument 2 is an iovec array, argument 3 its length: readv, writev.
    Iovec,
    /// Argument 2 is a msghdr: recvmsg, sendmsg.
    Msghdr,
    /// No user buffer that we know: sendfile, splice, io_uring, …
    Unknown,
}

/// x86-64: `struct pt_regs` of arch/x86/include/asm/ptrace.h, numbers of
/// arch/x86/entry/syscalls/syscall_64.tbl.
#[cfg(bpf_target_arch = "x86_64")]
mod arch {
    use super::{Saved, Shape, sock};

    pub(super) const SOCKET: u64 = 41;
    const DX: usize = 12;
    const SI: usize = 13;
    const ORIG_AX: usize = 15;
    const CS: usize = 17;
    const SS: usize = 20;
    /// What a 64-bit program runs with: `__USER_CS` and `__USER_DS` of
    /// arch/x86/include/asm/segment.h. A 32-bit one numbers its calls in another way.
    const USER: (u64, u64) = (0x33, 0x2b);

    /// `regs`: the thread's saved registers, as the verifier knows them.
    #[inline(always)]
    pub(super) unsafe fn load(regs: *const u64) -> Saved {
        // SAFETY: the caller passes such a pointer.
        unsafe {
            Saved {
                number: *regs.add(ORIG_AX),
                arg2: *regs.add(SI),
                arg3: *regs.add(DX),
            }
        }
    }

    /// `regs`: where they should be; the segments tell whether they are there.
    #[inline(always)]
    pub(super) fn read(regs: u64) -> Option<Saved> {
        const LEN: usize = SS - DX + 1;
        let words = sock::read::<[u64; LEN]>(regs, (DX * 8) as u32)?;
        ((words[CS - DX], words[SS - DX]) == USER).then_some(Saved {
            number: words[ORIG_AX - DX],
            arg2: words[SI - DX],
            arg3: words[0],
        })
    }

    #[inline(always)]
    pub(super) fn shape(number: u64) -> Shape {
        match number {
            0 | 1 | 44 | 45 => Shape::Buffer,
            19 | 20 => Shape::Iovec,
            46 | 47 => Shape::Msghdr,
            _ => Shape::Unknown,
        }
    }
}

/// AArch64: `struct pt_regs` of arch/arm64/include/asm/ptrace.h, numbers of
/// include/uapi/asm-generic/unistd.h.
#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    use super::{Saved, Shape, sock};

    pub(super) const SOCKET: u64 = 198;
    const X1: usize = 1;
    const X2: usize = 2;
    const PSTATE: usize = 33;
    // Behind `orig_x0`.
    const SYSCALLNO: usize = 35;

    /// `regs`: the thread's saved registers, as the verifier knows them.
    #[inline(always)]
    pub(super) unsafe fn load(regs: *const u64) -> Saved {
        // SAFETY: the caller passes such a pointer; `syscallno` is an s32.
        unsafe {
            Saved {
                number: u64::from(*regs.add(SYSCALLNO).cast::<u32>()),
                arg2: *regs.add(X1),
                arg3: *regs.add(X2),
            }
        }
    }

    /// `regs`: where they should be. The low bits of the processor state tell whether they are those of
    /// a program (EL0).
    #[inline(always)]
    pub(super) fn read(regs: u64) -> Option<Saved> {
        let [arg2, arg3] = sock::read::<[u64; 2]>(regs, (X1 * 8) as u32)?;
        const LEN: usize = SYSCALLNO - PSTATE + 1;
        let words = sock::read::<[u64; LEN]>(regs, (PSTATE * 8) as u32)?;
        (words[0] & 0xf == 0).then_some(Saved {
            number: words[LEN - 1] & 0xffff_ffff,
            arg2,
            arg3,
        })
    }

    #[inline(always)]
    pub(super) fn shape(number: u64) -> Shape {
        match number {
            63 | 64 | 206 | 207 => Shape::Buffer,
            65 | 66 => Shape::Iovec,
            211 | 212 => Shape::Msghdr,
            _ => Shape::Unknown,
        }
    }
}

#[inline(always)]
fn saved() -> Option<Saved> {
    if offset!(stack_pt_regs) != ABSENT {
        // SAFETY: no arguments; gives the running thread.
        let task = unsafe { bpf_get_current_task() };
        let stack = sock::read::<u64>(task, offset!(task_stack))?;
        return arch::read(stack + u64::from(offset!(stack_pt_regs)));
    }
    if offset!(pt_regs_helper) == ABSENT {
        return None;
    }
    // SAFETY: both helpers return pointers typed by BTF; the verifier checks the loads.
    unsafe {
        let task = bpf_get_current_task_btf();
        Some(arch::load(bpf_task_pt_regs(task) as *const u64))
    }
}

/// The system call of the current thread.
#[inline(always)]
pub(crate) fn syscall() -> Syscall {
    match saved() {
        Some(saved) => Syscall {
            shape: arch::shape(saved.number),
            arg2: saved.arg2,
            arg3: saved.arg3,
        },
        None => Syscall {
            shape: Shape::Unknown,
            arg2: 0,
            arg3: 0,
        },
    }
}

/// Is the current thread within `socket`?
#[inline(always)]
pub(crate) fn is_socket_call() -> bool {
    saved().is_some_and(|saved| saved.number == arch::SOCKET)
}
