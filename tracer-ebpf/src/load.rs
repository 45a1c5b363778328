//! What user space hands to the programs before they are verified, and the loss counters.

/// Sentinel of an [`Offsets`] field: this kernel has no such field. The verifier knows the value of
/// read-only globals, so the branch that would read it is pruned.
pub const ABSENT: u32 = u32::MAX;

/// How long after a client's request was read a new upstream connection of the same thread is taken
/// to serve it, when nothing better ties them.
pub const LINK_WINDOW_NS: u64 = 20_000_000;

/// The same for a program that reads a batch of requests first: its timers connect too (health checks),
/// and each connect that is none of a request's puts those behind it out of order.
pub const LINK_WINDOW_BATCH_NS: u64 = 5_000_000;

/// Value in the process table: an event loop reads a batch of requests first and works on them one by
/// one afterwards (HAProxy).
pub const PROCESS_BATCHES: u32 = 0;
/// Value in the process table: a backend. Its accepted connections are judged as a server's, and its
/// own connects are none of our business.
pub const PROCESS_BACKEND: u32 = 2;
/// A proxy whose tasks move from thread to thread (Go): the thread that read a request need not be the
/// one that sends it on.
pub const PROCESS_MIGRATES: u32 = 3;
/// Value in the process table: the thread that reads a request connects for it before it reads the
/// next (NGINX, Apache).
pub const PROCESS_CONNECTS_AT_ONCE: u32 = 1;
/// The same, but whichever connection of the thread is ready first serves the request that has waited longest,
/// the one that was made for it or another (Envoy: `ConnPoolImplBase::onUpstreamReady` of
/// <https://github.com/envoyproxy/envoy/blob/main/source/common/conn_pool/conn_pool_base.cc>).
pub const PROCESS_QUEUES: u32 = 4;

/// Places of the filter in front of the process table; a process has that of its id modulo this.
pub const PROCESS_FILTER_LEN: u32 = 16384;

/// The bit of that table for a process of this kind, one of `PROCESS_*`.
#[inline(always)]
pub const fn process_filter_bit(kind: u32) -> u8 {
    if kind == PROCESS_BACKEND { 2 } else { 1 }
}

/// Settings, a read-only global.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of each head to keep, at most [`crate::HEAD_MAX`].
    pub snaplen: u32,
    /// Report every n-th finished exchange; 0 reports none, 1 all.
    pub sample_every: u32,
    /// Not 0 if payload may go unseen for a while, until a first sign of a failure: see [`Standby`]. The
    /// [`process_filter_bit`] of the processes whose clients it is looked for with.
    pub standby: u32,
    /// Zero.
    pub pad: u32,
    /// Bit `n` set: status `n` is reported (0..640).
    pub status: [u64; 10],
}

/// Places of the array that user space and the programs share where payload may go unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Standby {
    /// Counts up each time that payload begins to be seen (odd), or ceases to be (even). What is known of the
    /// messages of a connection belongs to one such period.
    Epoch = 0,
    /// Not 0 once a sign was reported in this period: one is enough.
    SignSent = 1,
}

impl Standby {
    /// Number of places.
    pub const LEN: usize = 2;
}

/// Byte offsets of kernel structure members, from BTF, a read-only global. [`ABSENT`] where the
/// running kernel has none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each field is named `<struct>_<member>` after the kernel"
)]
pub struct Offsets {
    pub sock_skc_family: u32,
    pub sock_skc_state: u32,
    pub sock_skc_num: u32,
    pub sock_skc_dport: u32,
    pub sock_skc_daddr: u32,
    pub sock_skc_rcv_saddr: u32,
    pub sock_skc_v6_daddr: u32,
    pub sock_skc_v6_rcv_saddr: u32,
    pub sock_skc_net: u32,
    pub sock_sk_protocol: u32,
    pub sock_sk_err: u32,
    pub sock_sk_err_soft: u32,
    pub sock_sk_shutdown: u32,
    pub sock_sk_socket: u32,
    pub net_ns_inum: u32,
    pub inet_sport: u32,
    pub tcp_rcv_nxt: u32,
    pub tcp_copied_seq: u32,
    pub tcp_snd_una: u32,
    pub tcp_write_seq: u32,
    pub tcp_srtt_us: u32,
    pub tcp_total_retrans: u32,
    pub tcp_mss_cache: u32,
    pub tcp_rcv_ooopack: u32,
    pub tcp_bytes_received: u32,
    pub tcp_bytes_acked: u32,
    pub tcp_lsndtime: u32,
    pub tcp_first_tx_mstamp: u32,
    pub icsk_ack_lrcvtime: u32,
    pub icsk_rto: u32,
    pub icsk_retransmits: u32,
    pub icsk_user_timeout: u32,
    pub icsk_pmtu_cookie: u32,
    pub socket_inode_ino: u32,
    pub task_tgid: u32,
    pub skb_head: u32,
    pub skb_transport_header: u32,
    pub skb_network_header: u32,
    pub skb_cb: u32,
    pub sock_sk_max_ack_backlog: u32,
    pub task_exit_code: u32,
    pub task_signal: u32,
    pub signal_live: u32,
    pub reset_reason_arg: u32,
    pub oom_task_arg: u32,
    pub socket_sk: u32,
    pub task_stack: u32,
    /// Where a thread's saved registers lie in its kernel stack; absent where [`Self::pt_regs_helper`]
    /// is not.
    pub stack_pt_regs: u32,
    /// 0 where the kernel has the helper `bpf_task_pt_regs`.
    pub pt_regs_helper: u32,
}

impl Offsets {
    /// Every member absent.
    pub const NONE: Self = Self {
        sock_skc_family: ABSENT,
        sock_skc_state: ABSENT,
        sock_skc_num: ABSENT,
        sock_skc_dport: ABSENT,
        sock_skc_daddr: ABSENT,
        sock_skc_rcv_saddr: ABSENT,
        sock_skc_v6_daddr: ABSENT,
        sock_skc_v6_rcv_saddr: ABSENT,
        sock_skc_net: ABSENT,
        sock_sk_protocol: ABSENT,
        sock_sk_err: ABSENT,
        sock_sk_err_soft: ABSENT,
        sock_sk_shutdown: ABSENT,
        sock_sk_socket: ABSENT,
        net_ns_inum: ABSENT,
        inet_sport: ABSENT,
        tcp_rcv_nxt: ABSENT,
        tcp_copied_seq: ABSENT,
        tcp_snd_una: ABSENT,
        tcp_write_seq: ABSENT,
        tcp_srtt_us: ABSENT,
        tcp_total_retrans: ABSENT,
        tcp_mss_cache: ABSENT,
        tcp_rcv_ooopack: ABSENT,
        tcp_bytes_received: ABSENT,
        tcp_bytes_acked: ABSENT,
        tcp_lsndtime: ABSENT,
        tcp_first_tx_mstamp: ABSENT,
        icsk_ack_lrcvtime: ABSENT,
        icsk_rto: ABSENT,
        icsk_retransmits: ABSENT,
        icsk_user_timeout: ABSENT,
        icsk_pmtu_cookie: ABSENT,
        socket_inode_ino: ABSENT,
        task_tgid: ABSENT,
        skb_head: ABSENT,
        skb_transport_header: ABSENT,
        skb_network_header: ABSENT,
        skb_cb: ABSENT,
        sock_sk_max_ack_backlog: ABSENT,
        task_exit_code: ABSENT,
        task_signal: ABSENT,
        signal_live: ABSENT,
        reset_reason_arg: ABSENT,
        oom_task_arg: ABSENT,
        socket_sk: ABSENT,
        task_stack: ABSENT,
        stack_pt_regs: ABSENT,
        pt_regs_helper: ABSENT,
    };
}

/// Indices of the loss counters (a per-CPU array).
pub mod loss {
    /// Ring buffer full: an upstream record was lost. Equal to the record kind.
    pub const RING_UPSTREAM: u32 = 1;
    /// Ring buffer full: a downstream record was lost.
    pub const RING_DOWNSTREAM: u32 = 2;
    /// Ring buffer full: a process record was lost.
    pub const RING_PROCESS: u32 = 3;
    /// Connection table full: a connection is not tracked.
    pub const CONN_TABLE: u32 = 4;
    /// Backend table full: latencies of an address are not counted.
    pub const BACKEND_TABLE: u32 = 6;
    /// A user buffer could not be read (sendfile, splice, paged out).
    pub const USER_READ: u32 = 7;
    /// Process table full: a new worker is not traced.
    pub const PROCESS_TABLE: u32 = 8;
    /// Number of counters.
    pub const COUNT: u32 = 9;
}
