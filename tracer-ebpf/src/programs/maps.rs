//! The maps. Sizes are defaults; the loader can change them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use tracer_ebpf::{
    BackendKey, BackendStats, Conn, ConnKey, HEAD_MAX, SocketFacts, Tracked, TrackedLong,
    load::PROCESS_FILTER_LEN, loss,
};

/// Traced processes by tgid; the value is one of `load::PROCESS_*`.
#[map]
pub(crate) static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(16384, 0);

/// Bits (`load::process_filter_bit`) of what traced processes there may be, at [`filter_index`]: most calls on a host are those of
/// others, and an array is looked at in a fraction of the time of a hash table. None is taken away again.
#[map]
pub(crate) static PROCESS_FILTER: Array<u8> = Array::with_max_entries(PROCESS_FILTER_LEN, 0);

/// Place of a process in [`PROCESS_FILTER`].
#[inline(always)]
pub(crate) fn filter_index(tgid: u32) -> u32 {
    tgid % PROCESS_FILTER_LEN
}

/// One bit for each port that a traced process listens on.
#[map]
pub(crate) static LISTEN_PORTS: Array<u64> = Array::with_max_entries(1024, 0);

/// One bit for each port that a backend on this host listens on.
#[map]
pub(crate) static BACKEND_PORTS: Array<u64> = Array::with_max_entries(1024, 0);

/// Connections of backends that are over, by their ends: data may still come for them.
#[map]
pub(crate) static CLOSED: LruHashMap<Ends, Conn> = LruHashMap::with_max_entries(4096, 0);

/// Answered upstream connections that their proxy closed and that are gone, by the client connection
/// they worked for: if the client then gets an error or less than all, the answer was refused.
#[map]
pub(crate) static LET_GO: LruHashMap<ConnKey, LetGo> = LruHashMap::with_max_entries(1024, 0);

/// Connections with their heads, by socket address. Allocated on demand: memory follows the open connections.
#[map]
pub(crate) static CONNS: HashMap<u64, Tracked> =
    HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// The same where longer heads are kept; the loader makes the one that is not used small.
#[map]
pub(crate) static CONNS_LONG: HashMap<u64, TrackedLong> =
    HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// Recent requests of threads, each near the place of its number: every message of a proxy looks here, and an
/// array is looked at in a fraction of the time of a hash table.
#[map]
pub(crate) static THREADS: Array<Thread> = Array::with_max_entries(THREADS_LEN, 0);

/// Places in [`THREADS`], a power of two.
pub(crate) const THREADS_LEN: u32 = 4096;

/// Counters and latencies by upstream address.
#[map]
pub(crate) static BACKENDS: HashMap<BackendKey, BackendStats> =
    HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Sockets that traced processes held when the capture began, by inode number.
#[map]
pub(crate) static ADOPT_INODES: HashMap<u64, u32> =
    HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// Resets that this host sent, by the ports of the segment (source in the upper half): if the peer
/// lives on this host, its arrival follows.
#[map]
pub(crate) static SENT_RESETS: LruHashMap<u32, SentReset> = LruHashMap::with_max_entries(2048, 0);

/// Resets that arrived, likewise: the kernel reports an abortive close after the segment has left,
/// and on loopback that is after it has arrived.
#[map]
pub(crate) static ARRIVED_RESETS: LruHashMap<u32, ArrivedReset> =
    LruHashMap::with_max_entries(2048, 0);

/// Calls that send or receive and have not returned, by thread. Used by probes only.
#[map]
pub(crate) static CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(4096, 0);

/// Loss counters, see [`loss`].
#[map]
pub(crate) static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(loss::COUNT, 0);

/// Records to user space.
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// What was known of an upstream connection when its socket was destroyed.
#[repr(C)]
pub(crate) struct LetGo {
    pub(crate) conn: Conn,
    pub(crate) socket: SocketFacts,
    pub(crate) request: [u8; HEAD_MAX],
    pub(crate) response: [u8; HEAD_MAX],
}

/// Requests that can be pending per thread before links fall back to the last one.
pub(crate) const RECENT: usize = 16;

/// A request read from a client.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Recent {
    pub(crate) conn: ConnKey,
    pub(crate) hash: u64,
    pub(crate) exchange: u32,
    /// Not 0 if an equal one was tied by a guess while this one waited.
    pub(crate) guessed: u32,
}

/// What a thread did lately.
#[repr(C)]
pub(crate) struct Thread {
    /// Process and thread; 0: nobody.
    pub(crate) owner: u64,
    /// When it took this place.
    pub(crate) made_ns: u64,
    pub(crate) last_upstream: ConnKey,
    pub(crate) last_upstream_ns: u64,
    pub(crate) next: u64,
    /// Scratch of `link`.
    pub(crate) chosen: u64,
    /// One bit for each of `recent` that no upstream connection took up.
    pub(crate) open: u64,
    /// One bit for each of `recent` that was sent on no upstream connection, although one may be there for it.
    pub(crate) unsent: u64,
    /// Scratch of `link`, both.
    pub(crate) equal: u64,
    pub(crate) best: u64,
    /// The request whose backend exchange failed last, and when.
    pub(crate) failed: Recent,
    pub(crate) failed_ns: u64,
    pub(crate) recent: [Recent; RECENT],
}

/// A reset on its way.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct SentReset {
    pub(crate) reason: u32,
    pub(crate) pad: u32,
    pub(crate) at_ns: u64,
}

/// A reset that arrived.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ArrivedReset {
    pub(crate) sk: u64,
    pub(crate) at_ns: u64,
}

/// A call that sends or receives.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// `struct socket`.
    pub(crate) socket: u64,
    /// `MSG_*`.
    pub(crate) flags: i32,
    pub(crate) pad: u32,
}

/// Both ends of an accepted connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    /// Network byte order, IPv4 in the first four bytes.
    pub(crate) remote_addr: [u8; 16],
    /// Host byte order.
    pub(crate) remote_port: u16,
    /// Host byte order.
    pub(crate) local_port: u16,
}

/// A reset that was sent longer ago is another: only the ports are compared.
pub(crate) const SAME_RESET_NS: u64 = 1_000_000_000;

#[inline(always)]
pub(crate) fn count_loss(index: u32) {
    if let Some(counter) = LOSSES.get_ptr_mut(index) {
        // SAFETY: per-CPU slot that lives as long as the map.
        unsafe { *counter += 1 };
    }
}
