//! A call under way: a probe on a function's return does not see its arguments, so a probe on its
//! beginning keeps them. Only where neither a tracepoint nor `fexit` can be had.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::programs::{
    conn,
    maps::{CALLS, Call},
};

/// The current thread, if it is traced, begins to send or receive.
#[inline(always)]
pub(super) fn enter(socket: Option<u64>, flags: i32) {
    let (Some(socket), Some(thread)) = (socket, conn::traced_thread()) else {
        return;
    };
    let call = Call {
        socket,
        flags,
        pad: 0,
    };
    // A full table forgets the oldest.
    let _ = CALLS.insert(&thread, &call, 0);
}

/// What the current thread began.
#[inline(always)]
pub(super) fn leave() -> Option<Call> {
    let thread = bpf_get_current_pid_tgid();
    let found = CALLS.get_ptr(&thread)?;
    // SAFETY: a live map value, used by one thread only.
    let call = unsafe { *found };
    let _ = CALLS.remove(&thread);
    Some(call)
}
