//! Which client request does a backend connection work for?
//!
//! An event loop reads a client's request and sends it on from the same thread, but a batch of
//! requests may lie between the two. So each thread remembers its last [`RECENT`] requests by a hash
//! of method and target; the upstream request is looked up there. A connect comes before any request
//! bytes: there only time and order can tell.

use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_kernel};
use tracer_ebpf::{
    Conn, LinkHow, Tracked, flags,
    load::{
        LINK_WINDOW_BATCH_NS, LINK_WINDOW_NS, PROCESS_BATCHES, PROCESS_CONNECTS_AT_ONCE,
        PROCESS_MIGRATES, PROCESS_QUEUES,
    },
    marks,
};

use super::conn;
use super::maps::{RECENT, Recent, THREADS, THREADS_LEN, Thread};

/// A connect or request this soon after a failure in the same thread is its retry.
const RETRY_AT_ONCE_NS: u64 = 200_000;

/// No request chosen.
const NONE: u64 = u64::MAX;

/// Places that a thread may have, from that of its number on.
const PLACES: u32 = 4;

/// In place of a place.
const NO_PLACE: u32 = u32::MAX;

/// The thread's entry, if it has one.
#[inline(always)]
fn known(pid_tgid: u64) -> Option<&'static mut Thread> {
    find(pid_tgid, false)
}

/// The thread's entry, made if need be.
#[inline(always)]
fn thread(pid_tgid: u64) -> Option<&'static mut Thread> {
    find(pid_tgid, true)
}

#[inline(always)]
fn find(pid_tgid: u64, make: bool) -> Option<&'static mut Thread> {
    let mut place = home(pid_tgid);
    if at(place)?.owner != pid_tgid {
        place = link_place(pid_tgid, u32::from(make));
    }
    at(place)
}

#[inline(always)]
fn at(place: u32) -> Option<&'static mut Thread> {
    let thread = THREADS.get_ptr_mut(place)?;
    // SAFETY: a live map value, used by one thread only.
    Some(unsafe { &mut *thread })
}

/// Numbers are given one after the other, so they spread by themselves.
#[inline(always)]
fn home(pid_tgid: u64) -> u32 {
    let tid = pid_tgid as u32;
    let number = if tid == 0 {
        conn::tgid(pid_tgid).wrapping_add(THREADS_LEN / 2)
    } else {
        tid
    };
    number % THREADS_LEN
}

/// Where the thread's entry is; [`NO_PLACE`] if it has none and none is to be made. A new one takes the place
/// that was longest without use; requests that its owner has open then are tied to no backend. Two threads
/// that take the same place in the very same moment share it until one of them is asked for again; what they
/// find there is checked against the connections. A global function: see the module comment of `programs`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn link_place(pid_tgid: u64, make: u32) -> u32 {
    let home = home(pid_tgid);
    let (mut stalest, mut since) = (NO_PLACE, u64::MAX);
    let mut n = 0;
    while n < PLACES {
        let place = (home + n) % THREADS_LEN;
        let Some(thread) = at(place) else { break };
        if thread.owner == pid_tgid {
            return place;
        }
        let used = if thread.last_upstream_ns > thread.made_ns {
            thread.last_upstream_ns
        } else {
            thread.made_ns
        };
        if used < since {
            (stalest, since) = (place, used);
        }
        n += 1;
    }
    if make == 0 {
        return NO_PLACE;
    }
    let Some(thread) = at(stalest) else {
        return NO_PLACE;
    };
    // SAFETY: a live map value of that size; a null source makes the helper fill with zeroes.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut *thread).cast(),
            size_of::<Thread>() as u32,
            core::ptr::null(),
        );
    }
    // SAFETY: no arguments.
    thread.made_ns = unsafe { bpf_ktime_get_ns() };
    thread.owner = pid_tgid;
    stalest
}

/// Whose requests a thread works on: where they move from thread to thread, those of all threads of its process,
/// for which no thread's number, 0, stands. Two of them may write to the same place at once: then one request is
/// not found, or found by a hash that is not its own and given up because of its generation.
#[inline(always)]
fn taker(pid_tgid: u64, owner: u32) -> u64 {
    if owner == PROCESS_MIGRATES {
        pid_tgid & !0xffff_ffff
    } else {
        pid_tgid
    }
}

/// A client's request was read by this thread.
#[inline(always)]
pub(crate) fn remember(pid_tgid: u64, down: &Tracked) {
    let Some(thread) = thread(taker(pid_tgid, down.owner)) else {
        return;
    };
    let slot = (thread.next as usize) & (RECENT - 1);
    thread.recent[slot] = Recent {
        conn: down.key,
        hash: down.target_hash,
        exchange: down.exchange,
        guessed: 0,
    };
    thread.open |= 1 << slot;
    thread.unsent |= 1 << slot;
    thread.next += 1;
}

/// Something happened on an upstream connection in this thread.
#[inline(always)]
pub(crate) fn note_upstream(pid_tgid: u64, up: &Conn, now: u64) {
    let Some(thread) = thread(pid_tgid) else {
        return;
    };
    thread.last_upstream = up.key;
    thread.last_upstream_ns = now;
}

/// The last upstream event of a thread.
#[inline(always)]
pub(crate) fn last_upstream(pid_tgid: u64) -> Option<&'static Thread> {
    known(pid_tgid).map(|thread| &*thread)
}

/// An upstream exchange of this thread failed: its client's request may be tried again.
#[inline(always)]
pub(crate) fn note_failure(pid_tgid: u64, up: &Conn, now: u64) {
    let Some(thread) = thread(pid_tgid) else {
        return;
    };
    thread.failed = Recent {
        conn: up.link,
        hash: 0,
        exchange: up.link_exchange,
        guessed: 0,
    };
    thread.failed_ns = now;
}

/// Ties an upstream connection to the client request it works for. `hash` is that of the request it
/// sends, 0 where it cannot be read; `sends` is false while it only connects.
#[inline(always)]
pub(crate) fn attach(pid_tgid: u64, up: &mut Tracked, hash: u64, sends: bool, now: u64) {
    let (sk, owner) = (up.key.sk, up.owner);
    let taker = taker(pid_tgid, owner);
    if hash != 0
        && (link_confirmed(up, hash)
            || link_only_one(taker, up, hash, now)
            || link_by_target(taker, sk, hash, now, owner) != 0)
    {
        return;
    }
    if owner == PROCESS_MIGRATES {
        // What a thread did last says nothing about what it does next.
        return;
    }
    let newest = u32::from(owner == PROCESS_CONNECTS_AT_ONCE || owner == PROCESS_QUEUES);
    link_by_order(pid_tgid, sk, now, newest, u32::from(sends));
}

/// The request that the connect was taken for waits still, and has the same target. Others may have it, too: of
/// equal requests the order of the connects tells more than that of the sends.
#[inline(always)]
fn link_confirmed(up: &mut Tracked, hash: u64) -> bool {
    if up.owner == PROCESS_QUEUES {
        // It may serve another: see `link_by_target`.
        return false;
    }
    let Some(down) = conn::linked_client(up) else {
        return false;
    };
    let ours = down.link.sk == up.key.sk && down.link.generation == up.key.generation;
    if !ours || down.response_start_ns != 0 || down.target_hash != hash {
        return false;
    }
    up.link_how = LinkHow::SameTarget as u8;
    down.link_how = up.link_how;
    true
}

/// One request waits in this thread and it has the same target: what most requests of a proxy find, and
/// [`link_by_target`] in short.
#[inline(always)]
fn link_only_one(pid_tgid: u64, up: &mut Tracked, hash: u64, now: u64) -> bool {
    let Some(thread) = known(pid_tgid) else {
        return false;
    };
    let newest = (thread.next as usize).wrapping_sub(1) & (RECENT - 1);
    let recent = &thread.recent[newest];
    if waiting(thread, up.owner) != 1 << newest || recent.hash != hash || recent.guessed != 0 {
        return false;
    }
    match conn::get(recent.conn.sk) {
        Some(down) if waits(down, recent, now, u64::MAX) => {
            thread.open &= !(1 << newest);
            thread.unsent &= !(1 << newest);
            tie(up, down, recent.exchange, LinkHow::SameTarget, now);
            true
        }
        _ => false,
    }
}

/// Requests that a send of this thread may be for.
#[inline(always)]
fn waiting(thread: &Thread, owner: u32) -> u64 {
    if owner == PROCESS_QUEUES {
        thread.unsent
    } else {
        thread.open
    }
}

// The two below are global functions: see the module comment of `programs`.

/// Of the requests that wait and have the same target the one that this connection was made for, else the oldest
/// of those without a connection, else the oldest; if none waits, for a retry, the one that failed last or the oldest. Where several equal ones wait, it is a guess among them, but for a
/// program that takes them in order. Returns 1 if there is one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn link_by_target(pid_tgid: u64, sk: u64, hash: u64, now: u64, owner: u32) -> u32 {
    let Some(thread) = known(pid_tgid) else {
        return 0;
    };
    let waiting = waiting(thread, owner);
    let thread = &raw mut *thread;
    // SAFETY: a live map value, used by one thread only.
    unsafe {
        let (equal, best) = (&raw mut (*thread).equal, &raw mut (*thread).best);
        equal.write_volatile(0);
        best.write_volatile(0);
        choose(thread, |slot, recent, _| {
            if waiting >> slot & 1 == 0 || recent.hash != hash {
                return false;
            }
            let Some(down) = unsent(recent, now) else {
                // Nobody will take it up later.
                (*thread).open &= !(1 << slot);
                (*thread).unsent &= !(1 << slot);
                return false;
            };
            equal.write_volatile(equal.read_volatile() + 1);
            let rank = if down.link.sk == sk {
                3
            } else if (*thread).open >> slot & 1 != 0 {
                2
            } else {
                1
            };
            let wanted = rank >= best.read_volatile();
            if wanted {
                best.write_volatile(rank);
            }
            wanted
        });
        let several = equal.read_volatile() > 1;
        if several && owner == PROCESS_MIGRATES {
            // Not even their order tells.
            return 1;
        }
        let chosen = (&raw const (*thread).chosen).read_volatile();
        let guess = chosen < RECENT as u64 && (*thread).recent[chosen as usize].guessed != 0;
        let how = if owner == PROCESS_BATCHES || !(several || guess) {
            LinkHow::SameTarget
        } else if owner == PROCESS_CONNECTS_AT_ONCE {
            // Which of its thread's failures it tells its client of, order tells best.
            LinkHow::LastRead
        } else {
            LinkHow::EqualTarget
        };
        if several {
            note_guess(thread, hash);
        }
        if take(thread, sk, how, now) != 0 {
            return 1;
        }
        let again = if owner == PROCESS_QUEUES || owner == PROCESS_MIGRATES {
            LinkHow::EqualTarget
        } else {
            LinkHow::SameTarget
        };
        let failed = (*thread).failed;
        if failed.exchange != 0
            && let Some(down) = conn::get(failed.conn.sk)
            && down.target_hash == hash
            && waits(down, &failed, now, u64::MAX)
        {
            tie_by_sk(sk, down, failed.exchange, again, now);
            return 1;
        }
        choose(thread, |_, recent, _| {
            recent.hash == hash && pending(recent, now, u64::MAX)
        });
        take(thread, sk, again, now)
    }
}

/// One of several equal requests is taken for the one that is sent: if that is wrong, so is what the others get.
#[inline(always)]
unsafe fn note_guess(thread: *mut Thread, hash: u64) {
    let mut slot = 0;
    while slot < RECENT {
        // SAFETY: the caller passes a live map value.
        let recent = unsafe { &mut (*thread).recent[slot] };
        if recent.hash == hash {
            recent.guessed = 1;
        }
        slot += 1;
    }
}

/// Without the same target only order and time can tell. A program that connects at once works for
/// the newest request that nobody took up within the window and that was read behind the last failure, else tries
/// the one again that failed last.
/// One that reads batches works for the one that failed a moment ago, else for the oldest that nobody
/// took up within the window, else for the one that failed last. A link that the connection has
/// already stays. Returns 1 if there is a link.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn link_by_order(pid_tgid: u64, sk: u64, now: u64, newest: u32, sends: u32) -> u32 {
    match conn::get(sk) {
        Some(up) if up.link.sk == 0 => {}
        _ => return 0,
    }
    let Some(thread) = known(pid_tgid) else {
        return 0;
    };
    let thread = &raw mut *thread;
    // SAFETY: a live map value, used by one thread only.
    unsafe {
        let failed = (*thread).failed;
        let may_retry = failed.exchange != 0 && pending(&failed, now, u64::MAX);
        let newest = newest != 0;
        if may_retry && !newest && now - (*thread).failed_ns < RETRY_AT_ONCE_NS {
            tie_in_order(sk, &failed, now);
            return 1;
        }
        let window = if newest {
            LINK_WINDOW_NS
        } else {
            LINK_WINDOW_BATCH_NS
        };
        let open = (*thread).open;
        // What such a program did last is what it acts on: a request that it has read before does not make it
        // connect right behind a failure.
        let since = if newest && may_retry {
            (*thread).failed_ns
        } else {
            0
        };
        choose(thread, |slot, recent, found| {
            open >> slot & 1 != 0 && !(newest && found) && pending_since(recent, since, now, window)
        });
        if take(thread, sk, LinkHow::LastRead, now) != 0 {
            return 1;
        }
        if sends != 0 {
            // A connect may have been taken for a request that was none of its business.
            choose(thread, |_, recent, found| {
                !(newest && found) && is_only_connected(recent) && pending(recent, now, window)
            });
            if take(thread, sk, LinkHow::LastRead, now) != 0 {
                return 1;
            }
        }
        if may_retry {
            tie_in_order(sk, &failed, now);
            return 1;
        }
    }
    0
}

/// Goes through a thread's requests from the newest to the oldest; each one that is `wanted` takes the
/// place of the one found before. `wanted` gets its slot, and whether one was found already.
#[inline(always)]
unsafe fn choose(thread: *mut Thread, wanted: impl Fn(usize, &Recent, bool) -> bool) {
    // SAFETY: the caller passes a live map value.
    unsafe {
        // The choice lives in the map, not in registers: so the turns of the loop look alike to the
        // verifier.
        let chosen = &raw mut (*thread).chosen;
        chosen.write_volatile(NONE);
        let next = (*thread).next as usize;
        let mut i = 0;
        while i < RECENT {
            let slot = next.wrapping_sub(1 + i) & (RECENT - 1);
            let recent = &(*thread).recent[slot];
            if recent.exchange != 0 && wanted(slot, recent, chosen.read_volatile() != NONE) {
                chosen.write_volatile(slot as u64);
            }
            i += 1;
        }
    }
}

/// Ties the chosen request, if there is one.
#[inline(always)]
unsafe fn take(thread: *mut Thread, sk: u64, how: LinkHow, now: u64) -> u32 {
    // SAFETY: the caller passes a live map value.
    unsafe {
        let slot = (&raw const (*thread).chosen).read_volatile();
        if slot >= RECENT as u64 {
            return 0;
        }
        (*thread).open &= !(1 << slot);
        if how.is_by_target() {
            (*thread).unsent &= !(1 << slot);
        }
        let recent = &(*thread).recent[slot as usize];
        match how {
            LinkHow::LastRead => tie_in_order(sk, recent, now),
            _ => {
                if let Some(down) = conn::get(recent.conn.sk) {
                    tie_by_sk(sk, down, recent.exchange, how, now);
                }
            }
        }
    }
    1
}

/// Ties a request by order alone, unless a connection that was found by the target is at work on it.
#[inline(always)]
fn tie_in_order(sk: u64, recent: &Recent, now: u64) {
    if !is_served(recent)
        && let Some(down) = conn::get(recent.conn.sk)
    {
        tie_by_sk(sk, down, recent.exchange, LinkHow::LastRead, now);
    }
}

#[inline(always)]
fn tie_by_sk(sk: u64, down: &mut Tracked, exchange: u32, how: LinkHow, now: u64) {
    if let Some(up) = conn::get(sk) {
        tie(up, down, exchange, how, now);
    }
}

#[inline(always)]
fn tie(up: &mut Tracked, down: &mut Tracked, exchange: u32, how: LinkHow, now: u64) {
    up.link = down.key;
    up.link_exchange = exchange;
    up.link_ns = now;
    up.link_how = how as u8;
    down.link = up.key;
    down.link_ns = now;
    down.link_exchange = up.exchange;
    down.link_how = up.link_how;
    if up.marks & marks::ENDED != 0 {
        down.marks |= marks::LINK_ENDED;
    }
}

/// Is a backend connection, found by the request's target, still at work on this request? Then a connect
/// is not for it.
#[inline(always)]
fn is_served(recent: &Recent) -> bool {
    let Some(down) = conn::get(recent.conn.sk) else {
        return false;
    };
    if down.link_how < LinkHow::SameTarget as u8 {
        return false;
    }
    match conn::get(down.link.sk) {
        Some(up) => {
            up.key.generation == down.link.generation
                && up.link.sk == down.key.sk
                && up.flags & (flags::REPORTED | flags::OVER) == 0
        }
        None => false,
    }
}

/// Is all that was tied to this request a connection that has sent nothing?
#[inline(always)]
fn is_only_connected(recent: &Recent) -> bool {
    let Some(down) = conn::get(recent.conn.sk) else {
        return false;
    };
    if down.link_how != LinkHow::LastRead as u8 {
        return false;
    }
    match conn::get(down.link.sk) {
        Some(up) => up.key.generation != down.link.generation || up.exchange == 0,
        None => true,
    }
}

/// The client's connection, if this request is still without an answer and no backend connection has sent it.
#[inline(always)]
fn unsent(recent: &Recent, now: u64) -> Option<&'static Conn> {
    let down = conn::get(recent.conn.sk)?;
    let unsent = waits(down, recent, now, u64::MAX) && down.link_how < LinkHow::SameTarget as u8;
    unsent.then_some(&**down)
}

/// Is this request still without an answer, and not older than `window` ns?
#[inline(always)]
fn pending(recent: &Recent, now: u64, window: u64) -> bool {
    pending_since(recent, 0, now, window)
}

/// The same, and was it read after that moment?
#[inline(always)]
fn pending_since(recent: &Recent, since: u64, now: u64, window: u64) -> bool {
    match conn::get(recent.conn.sk) {
        Some(down) => waits(down, recent, now, window) && down.request_start_ns >= since,
        None => false,
    }
}

/// The same of its client's connection.
#[inline(always)]
fn waits(down: &Conn, recent: &Recent, now: u64, window: u64) -> bool {
    down.key.generation == recent.conn.generation
        && down.exchange == recent.exchange
        && down.response_start_ns == 0
        && now - down.request_start_ns < window
}
