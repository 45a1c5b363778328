//! While tracing stands by, this stands in for the programs of payload: it looks at nothing but how a traced
//! process begins what it sends to a client, and tells of the first watched status. Requests, backends'
//! responses and everything between go unseen.
//!
//! `sock:sock_send_length`, as in `send`.

use core::ffi::c_void;

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_ebpf::{Kind, RecordHeader, SignRecord, load::Standby};

use crate::programs::{
    conn,
    globals::{set_standby, standby, status_watched},
    maps::{RECORDS, count_loss},
    sock, unseen,
    user::Current,
};

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
    let Some(pid_tgid) = conn::maybe_watched_thread() else {
        return;
    };
    let status = unseen::status(&Current::look());
    if status_watched(status) && conn::is_traced(None, pid_tgid) {
        // SAFETY: no arguments.
        let now = unsafe { bpf_ktime_get_ns() };
        sign(sk as u64, pid_tgid, status, now);
        // Most were accepted while nobody looked.
        let known = conn::enter(sk as u64);
        if let Some(conn) = known.or_else(|| conn::adopt(sk as u64, now)) {
            unseen::answered(conn, ret as u64, status, now, pid_tgid);
        }
    }
}

/// Tells of the first; those that follow before user space has acted add nothing.
#[inline(always)]
fn sign(sk: u64, pid_tgid: u64, status: u16, now: u64) {
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
            time_ns: now,
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
