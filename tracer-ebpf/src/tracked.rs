//! A connection in the table of the programs.

use crate::conn::{ConnKey, ConnState, TAIL_MAX};
use crate::heads::{Heads, ROOM_MAX, ROOM_USUAL};

/// A connection and the heads of its current messages, for which there are `ROOM` bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackedWith<const ROOM: usize> {
    /// The connection.
    pub conn: Conn,
    /// First bytes of the current messages.
    pub heads: Heads<ROOM>,
}

/// A connection as long as no more of each head is kept than [`crate::HEAD_USUAL`]: with the kernel's own words
/// on it it takes 2 KiB. A longer one begins in the same way.
pub type Tracked = TrackedWith<ROOM_USUAL>;

/// A connection where more is kept, up to [`crate::HEAD_MAX`].
pub type TrackedLong = TrackedWith<ROOM_MAX>;

// `struct htab_elem` of 48 bytes and the key; the allocator has sizes of 1, 2 and 4 KiB:
// <https://github.com/torvalds/linux/blob/v6.18/kernel/bpf/memalloc.c>.
const _: () = assert!(size_of::<Tracked>() + 48 + 8 <= 2048);

/// Bits of [`Conn::marks`].
pub mod marks {
    /// A field of the current exchange is set that healthy ones leave alone: those of retransmissions,
    /// errors of calls, the end that was read, the last send of a handshake.
    pub const EXCHANGE: u8 = 1;
    /// A sign that the peer ended the connection, or that the kernel gave it up, may be set: `fin_received_ns`,
    /// `reset_received_ns`, `sk_err`, `send_errno`, `recv_errno`.
    pub const ENDED: u8 = 2;
    /// Of a client's connection: a backend's that is tied to its request may be [`ENDED`].
    pub const LINK_ENDED: u8 = 4;
    /// How the current response is framed has been looked at, because it is long.
    pub const FRAMING_SEEN: u8 = 8;
    /// With it: the response has a Content-Length, and `response_ends_at` holds.
    pub const LENGTH_KNOWN: u8 = 16;
}

/// What [`ConnState`] carries to user space, and what nobody else needs.
///
/// The order is that of use: a connection is cold when its next message moves, and each further line of
/// the cache that is touched then takes longer than all the work on it. What each message of healthy
/// traffic touches stands first. A value begins 56 bytes behind a line's beginning (`struct htab_elem` of
/// <https://github.com/torvalds/linux/blob/v6.18/kernel/bpf/hashtab.c> and a key of eight bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "a field without words is the one of that name in `ConnState`"
)]
pub struct Conn {
    pub request_start_ns: u64,
    pub flags: u32,
    pub tgid: u32,
    pub tid: u32,
    pub exchange: u32,
    /// What the process in `tgid` is, one of `load::PROCESS_*`.
    pub owner: u32,
    pub link_exchange: u32,
    /// Time that the exchange before took, us, at least 1; 0 when it is counted or there was none.
    pub total_us: u32,
    /// Idle time before the current exchange, us, at least 1; 0 as above.
    pub idle_us: u32,
    pub status: u16,
    pub request_head_len: u16,
    pub response_head_len: u16,
    pub role: u8,
    pub direction: u8,
    pub link_how: u8,
    pub tail_len: u8,
    /// [`marks`].
    pub marks: u8,
    pub state: u8,
    pub request_start_seq: u32,
    pub response_start_ns: u64,
    pub response_last_ns: u64,
    pub key: ConnKey,
    pub link: ConnKey,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub target_hash: u64,
    pub idle_since_ns: u64,
    pub link_ns: u64,
    pub remote_addr: [u8; 16],
    pub remote_port: u16,
    pub family: u16,
    pub local_port: u16,
    /// Zero.
    pub pad2: [u8; 2],
    pub netns: u32,
    /// The period ([`crate::load::Standby`]) that what is known of its messages belongs to.
    pub epoch: u32,
    pub local_addr: [u8; 16],

    pub opened_ns: u64,
    pub established_ns: u64,
    pub fin_received_ns: u64,
    pub reset_received_ns: u64,
    pub reset_sent_ns: u64,
    pub error_ns: u64,
    pub closed_ns: u64,
    pub goodbye_ns: u64,
    pub end_read_ns: u64,
    pub retransmit_first_ns: u64,
    pub retransmit_last_ns: u64,
    pub retransmits: u32,
    pub snd_una_at_end: u32,
    pub write_seq_at_end: u32,
    pub reset_sent_reason: u32,
    pub reset_received_reason: u32,
    pub retransmit_seq: u32,
    pub retransmit_len: u32,
    pub retransmit_same: u32,
    pub mss_start: u32,
    pub pmtu_start: u32,
    pub sent_last_len: u32,
    pub sk_err: i32,
    pub send_errno: i32,
    pub recv_errno: i32,
    pub tail: [u8; TAIL_MAX],
    pub sent_last: [u8; 8],
    /// With [`marks::LENGTH_KNOWN`]: bytes of the current response once it is whole, its head included.
    pub response_ends_at: u64,
}

const _: () = assert!(size_of::<Conn>().is_multiple_of(8));

impl Conn {
    /// Writes what records carry.
    #[inline(always)]
    pub fn write_to(&self, state: &mut ConnState) {
        macro_rules! each {
            ($($field:ident)*) => {
                $(state.$field = self.$field;)*
            };
        }
        each!(
            key link link_ns link_exchange flags local_addr remote_addr local_port
            remote_port family role state netns tgid tid exchange opened_ns
            established_ns fin_received_ns reset_received_ns reset_sent_ns error_ns
            closed_ns goodbye_ns idle_since_ns request_start_ns response_start_ns
            response_last_ns end_read_ns retransmit_first_ns retransmit_last_ns
            request_bytes response_bytes target_hash retransmits request_start_seq
            snd_una_at_end write_seq_at_end reset_sent_reason reset_received_reason
            retransmit_seq retransmit_len retransmit_same mss_start pmtu_start
            sent_last_len sk_err send_errno recv_errno status request_head_len
            response_head_len tail_len direction link_how tail sent_last
        );
        state.pad = [0; 3];
    }
}

impl<const ROOM: usize> core::ops::Deref for TrackedWith<ROOM> {
    type Target = Conn;

    #[inline(always)]
    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl<const ROOM: usize> core::ops::DerefMut for TrackedWith<ROOM> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}
