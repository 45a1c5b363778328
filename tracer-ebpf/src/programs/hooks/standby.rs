//! While tracing stands by, this stands in for the programs of payload: it looks at nothing but how a traced
//! process begins what it sends to a client, and tells of the first watched status. Requests, backends'
//! responses and everything between go unseen.
//!
//! `sock:sock_send_length`, as in `send`.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, bpf_probe_read_user},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_ebpf::{Kind, RecordHeader, SignRecord, load::Standby};

use crate::programs::{
    conn,
    globals::{set_standby, standby, status_watched},
    head,
    maps::{RECORDS, count_loss},
    sock,
    user::Current,
};

/// Bytes in front of a response that hold its status, and the size of the words they are read in.
const BEGINNING: usize = 16;

#[btf_tracepoint(function = "sock_send_length")]
fn standby_send(ctx: BtfTracePointContext) -> i32 {
    sent(ctx.arg(0), ctx.arg(1));
    0
}

#[inline(always)]
fn sent(sk: *const c_void, ret: i32) {
    if ret <= 0 {
        return;
    }
    // First what takes no call: most sends are those of others, or requests to backends.
    // SAFETY: the tracepoint's argument, as the kernel hands it over.
    if !conn::is_listen_port(unsafe { sock::typed_local_port(sk) }) {
        return;
    }
    let Some(pid_tgid) = conn::maybe_traced_thread() else {
        return;
    };
    let current = Current::look();
    // SAFETY: the helper checks the address.
    let Ok(beginning) = (unsafe {
        bpf_probe_read_user(current.first.base as *const [u64; BEGINNING / size_of::<u64>()])
    }) else {
        return;
    };
    let len = if current.first.len < BEGINNING as u64 {
        current.first.len as u32
    } else {
        BEGINNING as u32
    };
    let status = head::status_at(beginning.as_ptr().cast(), 0, len);
    if status_watched(status) && conn::is_traced(None, pid_tgid) {
        sign(sk as u64, pid_tgid, status);
    }
}

/// Tells of the first; those that follow before user space has acted add nothing.
#[inline(always)]
fn sign(sk: u64, pid_tgid: u64, status: u16) {
    // Two processors that meet here tell twice.
    if standby(Standby::SignSent) != 0 {
        return;
    }
    let Some(mut entry) = RECORDS.reserve::<SignRecord>(0) else {
        // The next one is told in its place.
        count_loss(Kind::Process as u32);
        return;
    };
    set_standby(Standby::SignSent, 1);
    let family = sock::family(sk);
    entry.write(SignRecord {
        header: RecordHeader {
            len: size_of::<SignRecord>() as u32,
            kind: Kind::Sign as u8,
            cause: 0,
            pad: 0,
            // SAFETY: no arguments.
            time_ns: unsafe { bpf_ktime_get_ns() },
        },
        tgid: conn::tgid(pid_tgid),
        tid: pid_tgid as u32,
        remote_addr: sock::remote_addr(sk, family),
        family,
        remote_port: sock::remote_port(sk),
        local_port: sock::local_port(sk),
        status,
    });
    entry.submit(0);
}
