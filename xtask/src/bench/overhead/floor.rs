//! Empty programs on raw tracepoints: what any tracer there costs at least.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

/// The hooks that healthy requests pass, and those of connections.
const HOOKS: [&CStr; 4] = [
    c"sock_send_length",
    c"sock_recv_length",
    c"inet_sock_set_state",
    c"tcp_destroy_sock",
];

/// `r0 = 0; exit`, as in
/// <https://docs.kernel.org/bpf/standardization/instruction-set.html>.
const EMPTY: [u64; 2] = [0xb7, 0x95];

// Of <https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/bpf.h>.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;

/// Attached for as long as it is there.
pub(super) struct Floor {
    _links: Vec<OwnedFd>,
}

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest for zero.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The same for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct Open {
    name: u64,
    prog_fd: u32,
    pad: u32,
}

impl Floor {
    /// Loads and attaches them. Errors: no right to, or a kernel before 6.3.
    pub(super) fn start() -> Result<Self> {
        let link = |hook: &&CStr| {
            let what = || {
                format!(
                    "cannot attach an empty program to {}",
                    hook.to_string_lossy()
                )
            };
            attach(hook).with_context(what)
        };
        let links = HOOKS.iter().map(link).collect::<Result<_>>()?;
        Ok(Self { _links: links })
    }
}

fn attach(hook: &CStr) -> io::Result<OwnedFd> {
    let load = Load {
        prog_type: BPF_PROG_TYPE_RAW_TRACEPOINT,
        insn_cnt: EMPTY.len() as u32,
        insns: EMPTY.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"empty\0\0\0\0\0\0\0\0\0\0\0",
    };
    let program = bpf(BPF_PROG_LOAD, &load)?;
    let open = Open {
        name: hook.as_ptr() as u64,
        prog_fd: program.as_raw_fd() as u32,
        pad: 0,
    };
    // The link holds the program.
    bpf(BPF_RAW_TRACEPOINT_OPEN, &open)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes have the layout that bpf(2) has for the command, and what they point to
    // lives until the call returns.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands give a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
