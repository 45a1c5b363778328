//! Writes records to the ring buffer.

use aya_ebpf::helpers::{
    bpf_ktime_get_ns,
    generated::{bpf_probe_read_kernel, bpf_probe_read_user},
};
use tracer_ebpf::{
    BackendKey, BackendRecord, Cause, Conn, ConnKey, DNS_MAX, DnsRecord, ExchangeRecord, Kind,
    ProcessRecord, RecordHeader, SocketFacts, Tracked, flags,
};

use super::{
    conn,
    globals::snaplen,
    head, link,
    maps::{LetGo, RECORDS, count_loss},
    sock,
    user::Current,
};

const FIXED: usize = size_of::<ExchangeRecord>();

/// Sends the current exchange of a connection. An upstream failure marks the client connection it
/// worked for, so that what the client gets is reported too.
#[inline(always)]
pub(crate) fn exchange(sk: u64, cause: Cause) {
    emit_exchange(sk, cause as u32);
}

/// A global function: see the module comment of `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn emit_exchange(sk: u64, cause: u32) -> u32 {
    let Some(conn) = conn::get(sk) else { return 0 };
    let upstream = conn::is_upstream(conn);
    if upstream && cause == Cause::Ended as u32 {
        conn.flags |= flags::REPORTED;
        mark_client(conn);
    }
    let kind = if upstream {
        Kind::Upstream
    } else {
        Kind::Downstream
    };
    // The size must be a constant for the verifier, so each of the three has its own call.
    let stride = snaplen() as usize;
    let mut sent = false;
    if conn.response_head_len > 0 {
        if let Some(mut entry) = RECORDS.reserve_bytes(FIXED + 2 * stride, 0) {
            let base = entry.as_mut_ptr();
            fill(base, FIXED + 2 * stride, sk, conn, kind, cause, stride);
            copy_heads(base, conn, stride, true);
            entry.submit(0);
            sent = true;
        }
    } else if conn.request_head_len > 0 {
        if let Some(mut entry) = RECORDS.reserve_bytes(FIXED + stride, 0) {
            let base = entry.as_mut_ptr();
            fill(base, FIXED + stride, sk, conn, kind, cause, stride);
            copy_heads(base, conn, stride, false);
            entry.submit(0);
            sent = true;
        }
    } else if let Some(mut entry) = RECORDS.reserve_bytes(FIXED, 0) {
        fill(entry.as_mut_ptr(), FIXED, sk, conn, kind, cause, 0);
        entry.submit(0);
        sent = true;
    }
    if !sent {
        count_loss(kind as u32);
    }
    u32::from(sent)
}

/// Sends what is known of a backend's connection whose socket is gone.
#[inline(always)]
pub(crate) fn closed(conn: &Conn) {
    let Some(mut entry) = RECORDS.reserve_bytes(FIXED, 0) else {
        count_loss(Kind::Downstream as u32);
        return;
    };
    let base = entry.as_mut_ptr();
    fill(
        base,
        FIXED,
        0,
        conn,
        Kind::Downstream,
        Cause::Ended as u32,
        0,
    );
    // Without heads their lengths must say so.
    let record = base.cast::<ExchangeRecord>();
    // SAFETY: the entry holds one record; without a socket nothing could be read of it.
    unsafe {
        (*record).conn.request_head_len = 0;
        (*record).conn.response_head_len = 0;
        (*record).socket.valid = 0;
    }
    entry.submit(0);
}

/// Sends the last exchange of an upstream connection whose socket is gone.
#[inline(always)]
pub(crate) fn let_go(gone: &LetGo) -> bool {
    let stride = snaplen() as usize;
    let Some(mut entry) = RECORDS.reserve_bytes(FIXED + 2 * stride, 0) else {
        count_loss(Kind::Upstream as u32);
        return false;
    };
    let base = entry.as_mut_ptr();
    fill(
        base,
        FIXED + 2 * stride,
        0,
        &gone.conn,
        Kind::Upstream,
        Cause::Ended as u32,
        stride,
    );
    let record = base.cast::<ExchangeRecord>();
    // SAFETY: the entry is one record and two regions of `stride` bytes, which is at most HEAD_MAX.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut (*record).socket).cast(),
            size_of::<SocketFacts>() as u32,
            (&raw const gone.socket).cast(),
        );
        bpf_probe_read_kernel(
            base.add(FIXED).cast(),
            stride as u32,
            (&raw const gone.request).cast(),
        );
        bpf_probe_read_kernel(
            base.add(FIXED + stride).cast(),
            stride as u32,
            (&raw const gone.response).cast(),
        );
    }
    entry.submit(0);
    true
}

#[inline(always)]
fn fill(base: *mut u8, len: usize, sk: u64, conn: &Conn, kind: Kind, cause: u32, stride: usize) {
    let record = base.cast::<ExchangeRecord>();
    // SAFETY: the entry holds at least FIXED bytes, aligned to 8.
    unsafe {
        (*record).header = RecordHeader {
            len: len as u32,
            kind: kind as u8,
            cause: cause as u8,
            pad: 0,
            time_ns: bpf_ktime_get_ns(),
        };
        conn.write_to(&mut (*record).conn);
        sock::facts(sk, &mut (*record).socket);
        let thread = u64::from(conn.tgid) << 32 | u64::from(conn.tid);
        match link::last_upstream(thread) {
            Some(thread) => {
                (*record).thread_last_upstream = thread.last_upstream;
                (*record).thread_last_upstream_ns = thread.last_upstream_ns;
            }
            None => {
                (*record).thread_last_upstream = ConnKey {
                    sk: 0,
                    generation: 0,
                };
                (*record).thread_last_upstream_ns = 0;
            }
        }
        (*record).head_stride = stride as u32;
        (*record).pad = 0;
    }
}

#[inline(always)]
fn copy_heads(base: *mut u8, conn: &Tracked, stride: usize, response: bool) {
    // SAFETY: the entry has one or two regions of `stride` bytes behind its fixed part.
    unsafe {
        bpf_probe_read_kernel(
            base.add(FIXED).cast(),
            stride as u32,
            head::request(conn).cast(),
        );
        if response {
            bpf_probe_read_kernel(
                base.add(FIXED + stride).cast(),
                stride as u32,
                head::response(conn).cast(),
            );
        }
    }
}

/// Marks the client connection of a failed upstream exchange, and notes its state.
#[inline(always)]
fn mark_client(up: &mut Conn) {
    if up.link.sk == 0 {
        return;
    }
    let Some(down) = conn::linked_client(up) else {
        up.flags |= flags::LINK_GONE;
        return;
    };
    if conn::client_left(down) {
        up.flags |= flags::LINK_CLIENT_LEFT;
    }
    if down.response_bytes != 0 {
        up.flags |= flags::LINK_ANSWERED;
    }
    down.flags |= flags::WATCH;
}

/// Tells of a backend's address that was not known before.
#[inline(never)]
pub(crate) fn backend_seen(key: BackendKey, netns: u32) {
    match RECORDS.reserve::<BackendRecord>(0) {
        Some(mut entry) => {
            entry.write(BackendRecord {
                header: RecordHeader {
                    len: size_of::<BackendRecord>() as u32,
                    kind: Kind::Backend as u8,
                    cause: 0,
                    pad: 0,
                    // SAFETY: no arguments.
                    time_ns: unsafe { bpf_ktime_get_ns() },
                },
                key,
                netns,
            });
            entry.submit(0);
        }
        None => count_loss(Kind::Process as u32),
    }
}

/// Sends the current call's DNS message. A global function: see the module comment of `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn dns(pid_tgid: u64, bytes: u64, received: u32) -> u32 {
    let piece = Current::look().first;
    let mut len = if piece.len < bytes { piece.len } else { bytes };
    if len > DNS_MAX as u64 {
        len = DNS_MAX as u64;
    }
    let Some(mut entry) = RECORDS.reserve::<DnsRecord>(0) else {
        count_loss(Kind::Process as u32);
        return 0;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the entry is one record; the helpers check the sources.
    unsafe {
        (*record).header = RecordHeader {
            len: size_of::<DnsRecord>() as u32,
            kind: Kind::Dns as u8,
            cause: received as u8,
            pad: 0,
            time_ns: bpf_ktime_get_ns(),
        };
        (*record).tgid = (pid_tgid >> 32) as u32;
        (*record).tid = pid_tgid as u32;
        (*record).message_len = bytes as u32;
        (*record).len = len as u32;
        // A null source makes the helper fill with zeroes.
        bpf_probe_read_kernel(
            (&raw mut (*record).message).cast(),
            DNS_MAX as u32,
            core::ptr::null(),
        );
        bpf_probe_read_user(
            (&raw mut (*record).message).cast(),
            len as u32,
            piece.base as *const _,
        );
    }
    entry.submit(0);
    1
}

/// Sends a process event.
#[inline(never)]
pub(crate) fn process(operation: u8, tgid: u32, parent_tgid: u32, port: u16, status: u32) {
    match RECORDS.reserve::<ProcessRecord>(0) {
        Some(mut entry) => {
            entry.write(ProcessRecord {
                header: RecordHeader {
                    len: size_of::<ProcessRecord>() as u32,
                    kind: Kind::Process as u8,
                    cause: operation,
                    pad: 0,
                    // SAFETY: no arguments.
                    time_ns: unsafe { bpf_ktime_get_ns() },
                },
                tgid,
                parent_tgid,
                port,
                pad: [0; 2],
                status,
            });
            entry.submit(0);
        }
        None => count_loss(Kind::Process as u32),
    }
}
