//! Counters and latency histograms by upstream address.

use tracer_ebpf::{
    BackendKey, BackendStats, ConnState, IDLE_CLOSE_MIN_US, bucket_of_us, hist::BUCKETS, loss,
};

use super::{
    emit,
    maps::{BACKENDS, count_loss},
};

// SAFETY: all-zero bytes are a valid value.
static ZERO_STATS: BackendStats = unsafe { core::mem::zeroed() };

#[inline(always)]
fn stats(conn: &ConnState) -> Option<*mut BackendStats> {
    let key = BackendKey {
        addr: conn.remote_addr,
        family: conn.family,
        port: conn.remote_port,
    };
    if let Some(stats) = BACKENDS.get_ptr_mut(&key) {
        return Some(stats);
    }
    // Another CPU may be first: then its entry is as good.
    const BPF_NOEXIST: u64 = 1;
    if BACKENDS.insert(&key, &ZERO_STATS, BPF_NOEXIST).is_ok() {
        emit::backend_seen(key, conn.netns);
    }
    let found = BACKENDS.get_ptr_mut(&key);
    if found.is_none() {
        count_loss(loss::BACKEND_TABLE);
    }
    found
}

/// Counts in a bucket. Not atomic on purpose: two CPUs that meet in one bucket lose one count of a
/// distribution, and an atomic add on each response costs every request.
#[inline(always)]
fn record(histogram: *mut [u32; BUCKETS], from_ns: u64, to_ns: u64) {
    let us = to_ns.wrapping_sub(from_ns) / 1000;
    let us = if us > u64::from(u32::MAX) {
        u32::MAX
    } else {
        us as u32
    };
    let bucket = bucket_of_us(us);
    // The compiler can prove the bound and drops the check; the verifier cannot and needs it.
    // SAFETY: a local variable.
    let bucket = unsafe { (&raw const bucket).read_volatile() };
    if bucket < BUCKETS {
        // SAFETY: the index was checked; a live map value.
        unsafe { *histogram.cast::<u32>().add(bucket) += 1 };
    }
}

/// A connection attempt begins.
#[inline(always)]
pub(crate) fn connecting(conn: &ConnState) {
    if let Some(stats) = stats(conn) {
        // SAFETY: a live map value.
        unsafe { (*stats).connects += 1 };
    }
}

/// A connection was established.
#[inline(always)]
pub(crate) fn connected(conn: &ConnState) {
    if let Some(stats) = stats(conn) {
        // SAFETY: a live map value.
        record(
            unsafe { &raw mut (*stats).connect },
            conn.opened_ns,
            conn.established_ns,
        );
    }
}

/// The proxy uses a connection again.
#[inline(always)]
pub(crate) fn reused_after(conn: &ConnState, now: u64) {
    let idle = idle_us(conn.idle_since_ns, now);
    if let Some(stats) = stats(conn) {
        // SAFETY: a live map value.
        unsafe {
            if idle > (*stats).idle_reused_max_us {
                (*stats).idle_reused_max_us = idle;
            }
        }
    }
}

/// The backend closed a connection that waited for a next request.
#[inline(always)]
pub(crate) fn closed_idle(conn: &ConnState, now: u64) {
    let idle = idle_us(conn.response_last_ns, now);
    if idle < IDLE_CLOSE_MIN_US {
        return;
    }
    if let Some(stats) = stats(conn) {
        // SAFETY: a live map value.
        unsafe {
            (*stats).idle_closed += 1;
            if (*stats).idle_closed_min_us == 0 || idle < (*stats).idle_closed_min_us {
                (*stats).idle_closed_min_us = idle;
            }
        }
    }
}

/// At least 1: 0 stands for never.
#[inline(always)]
fn idle_us(since: u64, now: u64) -> u32 {
    let us = now.wrapping_sub(since) / 1000;
    if us == 0 {
        1
    } else if us > u64::from(u32::MAX) {
        u32::MAX
    } else {
        us as u32
    }
}

/// The first byte of a response arrived.
#[inline(always)]
pub(crate) fn responded(conn: &ConnState) {
    if let Some(stats) = stats(conn) {
        // SAFETY: a live map value.
        unsafe {
            (*stats).exchanges += 1;
            record(
                &raw mut (*stats).ttfb,
                conn.request_start_ns,
                conn.response_start_ns,
            );
        }
    }
}

/// An exchange is over and had a response.
#[inline(always)]
pub(crate) fn finished(conn: &ConnState) {
    if let Some(stats) = stats(conn) {
        // SAFETY: a live map value.
        record(
            unsafe { &raw mut (*stats).total },
            conn.request_start_ns,
            conn.response_last_ns,
        );
    }
}
