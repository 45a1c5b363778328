//! The registers that the current thread entered the kernel with: the only place that knows an
//! architecture. Inside `sock_send_length` and `sock_recv_length` they are those of the system call
//! that moves the bytes.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};

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
    use super::Shape;

    pub(super) const ARG2: usize = 13; // si
    pub(super) const ARG3: usize = 12; // dx
    pub(super) const SOCKET: u64 = 41;
    const ORIG_AX: usize = 15;

    #[inline(always)]
    pub(super) unsafe fn number(regs: *const u64) -> u64 {
        // SAFETY: the caller passes the thread's saved registers.
        unsafe { *regs.add(ORIG_AX) }
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
    use super::Shape;

    pub(super) const ARG2: usize = 1;
    pub(super) const ARG3: usize = 2;
    pub(super) const SOCKET: u64 = 198;
    const SYSCALLNO_WORD: usize = 35;

    #[inline(always)]
    pub(super) unsafe fn number(regs: *const u64) -> u64 {
        // SAFETY: the caller passes the thread's saved registers; `syscallno` is an s32.
        u64::from(unsafe { *regs.add(SYSCALLNO_WORD).cast::<u32>() })
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

/// The system call of the current thread.
#[inline(always)]
pub(crate) fn syscall() -> Syscall {
    // SAFETY: both helpers return pointers typed by BTF; the verifier checks the loads.
    unsafe {
        let task = bpf_get_current_task_btf();
        let regs = bpf_task_pt_regs(task) as *const u64;
        Syscall {
            shape: arch::shape(arch::number(regs)),
            arg2: *regs.add(arch::ARG2),
            arg3: *regs.add(arch::ARG3),
        }
    }
}

/// Is the current thread within `socket`?
#[inline(always)]
pub(crate) fn is_socket_call() -> bool {
    // SAFETY: as above.
    unsafe {
        let task = bpf_get_current_task_btf();
        arch::number(bpf_task_pt_regs(task) as *const u64) == arch::SOCKET
    }
}
