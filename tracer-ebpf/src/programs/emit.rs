//! Writes records to the ring buffer.

use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_kernel};
use tracer_ebpf::{
    Cause, ConnKey, ConnState, ExchangeRecord, Kind, ProcessRecord, RecordHeader, flags,
};

use super::{
    conn,
    globals::snaplen,
    link,
    maps::{HEADS, RECORDS, count_loss},
    sock,
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
            copy_heads(base, sk, stride, true);
            entry.submit(0);
            sent = true;
        }
    } else if conn.request_head_len > 0 {
        if let Some(mut entry) = RECORDS.reserve_bytes(FIXED + stride, 0) {
            let base = entry.as_mut_ptr();
            fill(base, FIXED + stride, sk, conn, kind, cause, stride);
            copy_heads(base, sk, stride, false);
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

#[inline(always)]
fn fill(
    base: *mut u8,
    len: usize,
    sk: u64,
    conn: &ConnState,
    kind: Kind,
    cause: u32,
    stride: usize,
) {
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
        bpf_probe_read_kernel(
            (&raw mut (*record).conn).cast(),
            size_of::<ConnState>() as u32,
            (&raw const *conn).cast(),
        );
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
fn copy_heads(base: *mut u8, sk: u64, stride: usize, response: bool) {
    let heads = HEADS.get_ptr_mut(&sk);
    // SAFETY: the entry has one or two regions of `stride` bytes behind its fixed part; without
    // buffers the null source makes the helper fill the region with zeroes.
    unsafe {
        let (request_from, response_from) = match heads {
            Some(heads) => (
                (&raw const (*heads).request),
                (&raw const (*heads).response),
            ),
            None => (core::ptr::null(), core::ptr::null()),
        };
        bpf_probe_read_kernel(base.add(FIXED).cast(), stride as u32, request_from.cast());
        if response {
            bpf_probe_read_kernel(
                base.add(FIXED + stride).cast(),
                stride as u32,
                response_from.cast(),
            );
        }
    }
}

/// Marks the client connection of a failed upstream exchange, and notes its state.
#[inline(always)]
fn mark_client(up: &mut ConnState) {
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

/// Sends a process event.
#[inline(never)]
pub(crate) fn process(operation: u8, tgid: u32, parent_tgid: u32, port: u16) {
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
                pad: [0; 6],
            });
            entry.submit(0);
        }
        None => count_loss(Kind::Process as u32),
    }
}
