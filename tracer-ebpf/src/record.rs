//! Records that leave the kernel through the ring buffer.

use crate::conn::{ConnKey, ConnState};

/// Bytes of a request or response head that can be kept per connection.
pub const HEAD_MAX: usize = 1024;

/// Kind of a record. A `u8` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An exchange with a backend ([`ExchangeRecord`]).
    Upstream = 1,
    /// An exchange with a client ([`ExchangeRecord`]).
    Downstream = 2,
    /// A process event ([`ProcessRecord`]).
    Process = 3,
    /// A backend's address was seen for the first time ([`BackendRecord`]).
    Backend = 4,
    /// A DNS message of a traced process ([`DnsRecord`]).
    Dns = 5,
    /// The first sign of a failure while tracing stands by ([`SignRecord`]).
    Sign = 6,
}

impl Kind {
    /// The kind for its wire value.
    pub const fn from_wire(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Upstream),
            2 => Some(Self::Downstream),
            3 => Some(Self::Process),
            4 => Some(Self::Backend),
            5 => Some(Self::Dns),
            6 => Some(Self::Sign),
            _ => None,
        }
    }
}

/// Why an exchange record was sent. A `u8` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// The connection ended while the exchange was not complete.
    Ended = 1,
    /// The response began with a watched status.
    Status = 2,
    /// The response began after a backend exchange for this request had failed.
    Watched = 3,
    /// A finished exchange, chosen by `--all` or `--sample`.
    Sampled = 4,
    /// A backend's kernel has sent the same segment of a response several times in vain.
    Unheard = 5,
}

impl Cause {
    /// The cause for its wire value.
    pub const fn from_wire(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Ended),
            2 => Some(Self::Status),
            3 => Some(Self::Watched),
            4 => Some(Self::Sampled),
            5 => Some(Self::Unheard),
            _ => None,
        }
    }
}

/// In front of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the whole record, this header included.
    pub len: u32,
    /// [`Kind`].
    pub kind: u8,
    /// [`Cause`] of an exchange record, operation of a process record.
    pub cause: u8,
    /// Zero.
    pub pad: u16,
    /// When the record was made.
    pub time_ns: u64,
}

/// Fields of `struct sock` and its extensions, read when the record is made.
/// A field that this kernel does not have is 0 and its bit in `valid` is clear.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketFacts {
    /// One bit a field, in the order of declaration from `rcv_nxt` on.
    pub valid: u32,
    /// Next sequence number expected from the peer.
    pub rcv_nxt: u32,
    /// Next byte that the process will read.
    pub copied_seq: u32,
    /// First unacknowledged byte of ours.
    pub snd_una: u32,
    /// One past the last byte the process wrote.
    pub write_seq: u32,
    /// Smoothed round-trip time in µs, times 8 (as the kernel keeps it).
    pub srtt_us8: u32,
    /// Retransmissions over the connection's life.
    pub total_retrans: u32,
    /// Current retransmission timeout, in jiffies.
    pub rto_jiffies: u32,
    /// Maximum segment size in use, bytes.
    pub mss_cache: u32,
    /// Path MTU in use, bytes.
    pub pmtu: u32,
    /// Bytes the peer sent that lie beyond a hole.
    pub rcv_ooopack: u32,
    /// `TCP_USER_TIMEOUT`, ms.
    pub user_timeout_ms: u32,
    /// `sk_err_soft` (positive errno).
    pub sk_err_soft: u32,
    /// `sk_shutdown` bits: 1 receive, 2 send.
    pub sk_shutdown: u32,
    /// Unanswered retransmissions of the current segment.
    pub retransmits: u32,
    /// Zero.
    pub pad: u32,
    /// Payload bytes received over the connection's life.
    pub bytes_received: u64,
    /// Payload bytes acknowledged by the peer over the connection's life.
    pub bytes_acked: u64,
}

/// One exchange. Behind the fixed part follow, if `head_stride` is not 0, `head_stride` bytes whose
/// first `conn.request_head_len` are the request's first bytes, and, if the record is long enough,
/// as many whose first `conn.response_head_len` are the response's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeRecord {
    /// Header; its kind is `Upstream` or `Downstream`.
    pub header: RecordHeader,
    /// The connection's state.
    pub conn: ConnState,
    /// Facts of the socket.
    pub socket: SocketFacts,
    /// The upstream connection on which this thread last saw an event, and when. Zero if none.
    pub thread_last_upstream: ConnKey,
    /// When that was.
    pub thread_last_upstream_ns: u64,
    /// Size of each head region that follows, bytes; 0 if none does.
    pub head_stride: u32,
    /// Zero.
    pub pad: u32,
}

/// Operations of a [`ProcessRecord`] (in `header.cause`).
pub mod process {
    /// A traced process made a child; `tgid` is the child, `parent_tgid` the parent.
    pub const FORK: u8 = 1;
    /// Some process replaced its program.
    pub const EXEC: u8 = 2;
    /// The last thread of a traced process exits.
    pub const EXIT: u8 = 3;
    /// A traced process began to listen on `port`.
    pub const LISTEN: u8 = 4;
    /// The kernel chose a traced process to be killed for want of memory.
    pub const OOM_VICTIM: u8 = 5;
}

/// A process event.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRecord {
    /// Header.
    pub header: RecordHeader,
    /// Process.
    pub tgid: u32,
    /// Its parent (fork only).
    pub parent_tgid: u32,
    /// Listening port, host byte order (listen only).
    pub port: u16,
    /// Zero.
    pub pad: [u8; 2],
    /// Wait status of an exit: the signal in the low seven bits, the exit code in the second byte.
    pub status: u32,
}

/// A traced process connects to an address for the first time.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendRecord {
    /// Header.
    pub header: RecordHeader,
    /// The address.
    pub key: crate::BackendKey,
    /// Inode number of the network namespace of the connecting socket.
    pub netns: u32,
}

/// Bytes of a DNS message that are kept: the header and a name of usual length.
pub const DNS_MAX: usize = 128;

/// A DNS message over UDP that a traced process sent (`header.cause` 0) or received (1).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsRecord {
    /// Header.
    pub header: RecordHeader,
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Length of the whole message, bytes.
    pub message_len: u32,
    /// Valid bytes of `message`.
    pub len: u32,
    /// The first bytes of the message.
    pub message: [u8; DNS_MAX],
}

/// While tracing stands by, a traced process sent a client something that begins like a response with a
/// watched status.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignRecord {
    /// Header.
    pub header: RecordHeader,
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// The client, network byte order, IPv4 in the first four bytes.
    pub remote_addr: [u8; 16],
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// Of the client, host byte order.
    pub remote_port: u16,
    /// Host byte order.
    pub local_port: u16,
    /// The status.
    pub status: u16,
}

const _: () = assert!(size_of::<RecordHeader>() == 16);
const _: () = assert!(size_of::<SocketFacts>() == 80);
const _: () = assert!(size_of::<ProcessRecord>() == 32);
const _: () = assert!(size_of::<ExchangeRecord>().is_multiple_of(8));
