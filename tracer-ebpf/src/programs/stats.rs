//! Counters and latency histograms by upstream address.

use tracer_ebpf::{
    BackendKey, BackendStats, Conn, IDLE_CLOSE_MIN_US, Tracked, bucket_of_us, hist::BUCKETS, loss,
};

use super::{
    emit,
    maps::{BACKENDS, count_loss},
};

// SAFETY: all-zero bytes are a valid value.
static ZERO_STATS: BackendStats = unsafe { core::mem::zeroed() };

#[inline(always)]
fn stats(conn: &Conn) -> Option<*mut BackendStats> {
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

/// Counts one of which none may be missing, on whatever processor: one instruction that every kernel has
/// (`BPF_XADD`). The compiler has no name for it where the target cannot compare and swap.
#[inline(always)]
fn count(counter: *mut u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller passes a field of a live map value, which is aligned.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({counter} + 0) += {one}",
            counter = in(reg) counter,
            one = in(reg) 1u64,
        );
    }
    // Where lints read it.
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: as above.
    unsafe {
        *counter += 1;
    }
}

/// Counts in a bucket. Not atomic on purpose: two CPUs that meet in one bucket lose one count of a
/// distribution, and an atomic add on each response costs every request.
#[inline(always)]
fn record(histogram: *mut [u32; BUCKETS], us: u32) {
    let bucket = bucket_of_us(us);
    // The compiler can prove the bound and drops the check; the verifier cannot and needs it.
    // SAFETY: a local variable.
    let bucket = unsafe { (&raw const bucket).read_volatile() };
    if bucket < BUCKETS {
        // SAFETY: the index was checked; a live map value.
        unsafe { *histogram.cast::<u32>().add(bucket) += 1 };
    }
}

#[inline(always)]
fn us_between(from_ns: u64, to_ns: u64) -> u32 {
    let us = to_ns.wrapping_sub(from_ns) / 1000;
    if us > u64::from(u32::MAX) {
        u32::MAX
    } else {
        us as u32
    }
}

/// A connection attempt begins.
#[inline(always)]
pub(crate) fn connecting(conn: &Conn) {
    if let Some(stats) = stats(conn) {
        // SAFETY: a live map value.
        count(unsafe { &raw mut (*stats).connects });
    }
}

/// A connection was established.
#[inline(always)]
pub(crate) fn connected(conn: &Conn) {
    if let Some(stats) = stats(conn) {
        // SAFETY: a live map value.
        record(
            unsafe { &raw mut (*stats).connect },
            us_between(conn.opened_ns, conn.established_ns),
        );
    }
}

/// An exchange is over because the next one begins on the same connection. It is counted when that one
/// is answered: once for both is one look at the table less for each request.
#[inline(always)]
pub(crate) fn went_on(conn: &mut Tracked, now: u64) {
    // One that had no answer leaves its own unsettled.
    settle(conn);
    if conn.response_start_ns != 0 {
        conn.total_us = at_least_1(us_between(conn.request_start_ns, conn.response_last_ns));
    }
    conn.idle_us = idle_us(conn.idle_since_ns, now);
}

/// Counts what is left of the exchanges before.
#[inline(always)]
fn settle(conn: &mut Tracked) {
    if (conn.total_us != 0 || conn.idle_us != 0)
        && let Some(stats) = stats(conn)
    {
        count_before(stats, conn);
    }
}

#[inline(always)]
fn count_before(stats: *mut BackendStats, conn: &mut Tracked) {
    // SAFETY: a live map value.
    unsafe {
        if conn.idle_us > (*stats).idle_reused_max_us {
            (*stats).idle_reused_max_us = conn.idle_us;
        }
        if conn.total_us != 0 {
            record(&raw mut (*stats).total, conn.total_us);
        }
    }
    conn.idle_us = 0;
    conn.total_us = 0;
}

/// The backend closed a connection that waited for a next request.
#[inline(always)]
pub(crate) fn closed_idle(conn: &Conn, now: u64) {
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

#[inline(always)]
fn idle_us(since: u64, now: u64) -> u32 {
    at_least_1(us_between(since, now))
}

/// 0 stands for never.
#[inline(always)]
fn at_least_1(us: u32) -> u32 {
    if us == 0 { 1 } else { us }
}

/// The first byte of a response arrived.
#[inline(always)]
pub(crate) fn responded(conn: &mut Tracked) {
    let Some(stats) = stats(conn) else { return };
    let us = us_between(conn.request_start_ns, conn.response_start_ns);
    // SAFETY: a live map value.
    unsafe {
        count(&raw mut (*stats).exchanges);
        record(&raw mut (*stats).ttfb, us);
    }
    count_before(stats, conn);
}

/// The last exchange of a connection is over and had a response.
#[inline(always)]
pub(crate) fn finished(conn: &mut Tracked) {
    let Some(stats) = stats(conn) else { return };
    let us = us_between(conn.request_start_ns, conn.response_last_ns);
    // SAFETY: a live map value.
    record(unsafe { &raw mut (*stats).total }, us);
    count_before(stats, conn);
}
