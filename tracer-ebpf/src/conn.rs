//! State of one TCP connection, as it leaves with a record.

/// Identity of a connection: the socket's address can be recycled, the generation cannot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnKey {
    /// Kernel address of the `struct sock`. Never printed.
    pub sk: u64,
    /// Monotonic nanoseconds at which this connection entered the table.
    pub generation: u64,
}

/// Which way the connection was opened, seen from the traced process. A `u8` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// The process called `accept`: the peer is a client (or a balancer).
    Accepted = 1,
    /// The process called `connect`: the peer is a backend.
    Connecting = 2,
}

impl Role {
    /// The role for its wire value.
    pub const fn from_wire(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Accepted),
            2 => Some(Self::Connecting),
            _ => None,
        }
    }
}

/// Which way the last payload bytes went. A `u8` on the wire; 0 is "none yet".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// No payload yet.
    None = 0,
    /// The traced process sent last.
    Sent = 1,
    /// The traced process received last.
    Received = 2,
}

/// How an upstream connection was tied to the client connection it works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkHow {
    /// Not tied to any.
    None = 0,
    /// The thread's last request from a client, read at most [`crate::load::LINK_WINDOW_NS`] before.
    LastRead = 1,
    /// A pending request of the same thread with the same method and target.
    SameTarget = 2,
    /// The same, and others like it waited, too.
    EqualTarget = 3,
}

impl LinkHow {
    /// The link for its wire value.
    pub const fn from_wire(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::None),
            1 => Some(Self::LastRead),
            2 => Some(Self::SameTarget),
            3 => Some(Self::EqualTarget),
            _ => None,
        }
    }

    /// Is it by what both sides sent?
    pub const fn is_by_target(self) -> bool {
        matches!(self, Self::SameTarget | Self::EqualTarget)
    }
}

/// Bits of [`ConnState::flags`].
pub mod flags {
    /// Was open before the capture began.
    pub const ADOPTED: u32 = 1 << 0;
    /// Carried payload before the first exchange that we saw.
    pub const USED_BEFORE: u32 = 1 << 1;
    /// The protocol is not plain HTTP/1.x (TLS, HTTP/2, FastCGI, …).
    pub const OPAQUE: u32 = 1 << 2;
    /// The first bytes were a TLS record.
    pub const TLS: u32 = 1 << 3;
    /// Switched protocols (101) or became a CONNECT tunnel: no more exchanges.
    pub const TUNNEL: u32 = 1 << 4;
    /// Tracing stood by, so the exchange itself was not seen: what is known of it is what the kernel's counters
    /// tell of its socket, and of a client's the beginning of its response.
    pub const UNSEEN: u32 = 1 << 5;
    /// A backend exchange made for the current request failed: report what the client gets.
    pub const WATCH: u32 = 1 << 7;
    /// The end of the current exchange has been reported.
    pub const REPORTED: u32 = 1 << 8;
    /// A response head with a watched status has been reported for the current exchange.
    pub const STATUS_REPORTED: u32 = 1 << 9;
    /// The peer's FIN came first.
    pub const PEER_FIN_FIRST: u32 = 1 << 10;
    /// The first bytes of the request could not be read from the caller's buffer.
    pub const REQUEST_UNREAD: u32 = 1 << 11;
    /// The first bytes of the response could not be read from the caller's buffer.
    pub const RESPONSE_UNREAD: u32 = 1 << 12;
    /// The request's method is HEAD: the response has no body.
    pub const HEAD_REQUEST: u32 = 1 << 13;
    /// The current exchange was chosen for sampling.
    pub const SAMPLED: u32 = 1 << 14;
    /// The link (see [`super::ConnState::link`]) was looked up and its connection was gone.
    pub const LINK_GONE: u32 = 1 << 15;
    /// At the failure, the linked client had already closed or reset its side.
    pub const LINK_CLIENT_LEFT: u32 = 1 << 16;
    /// At the failure, the linked client had already been sent response bytes.
    pub const LINK_ANSWERED: u32 = 1 << 17;
    /// The process aborted the connection (reset) instead of closing it.
    pub const ABORTED: u32 = 1 << 18;
    /// The end of the connection has been dealt with.
    pub const OVER: u32 = 1 << 19;
    /// Our side is in a TLS handshake: it has not sent application data.
    pub const HANDSHAKE: u32 = 1 << 20;
    /// Our side has sent its second flight of a TLS handshake.
    pub const TLS_SECOND_FLIGHT: u32 = 1 << 21;
    /// The accepted connection belongs to a backend: its process is the server.
    pub const BACKEND: u32 = 1 << 22;
    /// The socket was given up before it could send a SYN.
    pub const NO_SYN: u32 = 1 << 23;
    /// Behind the kept bytes of the response, some are missing before the next.
    pub const RESPONSE_GAP: u32 = 1 << 24;
    /// On a backend's connection: request data came after its side had closed.
    pub const LATE_REQUEST: u32 = 1 << 25;
    /// The TLS handshake of our side was one of TLS 1.3.
    pub const TLS13: u32 = 1 << 27;
    /// With [`NO_SYN`]: it was given up within `socket` itself, for want of a descriptor.
    pub const NO_DESCRIPTOR: u32 = 1 << 26;

    /// Every flag, to see that no two share a bit.
    const ALL: [u32; 27] = [
        ADOPTED,
        USED_BEFORE,
        OPAQUE,
        TLS,
        TUNNEL,
        UNSEEN,
        WATCH,
        REPORTED,
        STATUS_REPORTED,
        PEER_FIN_FIRST,
        REQUEST_UNREAD,
        RESPONSE_UNREAD,
        HEAD_REQUEST,
        SAMPLED,
        LINK_GONE,
        LINK_CLIENT_LEFT,
        LINK_ANSWERED,
        ABORTED,
        OVER,
        HANDSHAKE,
        TLS_SECOND_FLIGHT,
        BACKEND,
        NO_SYN,
        RESPONSE_GAP,
        LATE_REQUEST,
        TLS13,
        NO_DESCRIPTOR,
    ];

    const _: () = {
        let mut seen = 0u32;
        let mut i = 0;
        while i < ALL.len() {
            assert!(seen & ALL[i] == 0, "two flags share a bit");
            seen |= ALL[i];
            i += 1;
        }
    };
}

/// No reset reason is known.
pub const NO_REASON: u32 = u32::MAX;

/// Concluded from the socket that sent the reset, where the kernel names no reason (before 6.10): a
/// segment came for a socket that its program had closed.
pub const REASON_CLOSED: u32 = u32::MAX - 1;

/// Likewise: its program closed it with payload unread.
pub const REASON_UNREAD: u32 = u32::MAX - 2;

/// Likewise: why is not told. That a socket of this host sent it is known.
pub const REASON_UNNAMED: u32 = u32::MAX - 3;

/// The concluded reasons by the names that newer kernels give to the same code paths: `enum sk_rst_reason`
/// of <https://github.com/torvalds/linux/blob/v6.18/include/net/rstreason.h>.
pub const CONCLUDED_REASONS: [(u32, &str); 2] = [
    (REASON_CLOSED, "TCP_ABORT_ON_DATA"),
    (REASON_UNREAD, "TCP_ABORT_ON_CLOSE"),
];

/// One connection. "Request" and "response" are those of HTTP: on an accepted connection the request
/// is received and the response sent, on a connecting one it is the other way round.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnState {
    /// Identity.
    pub key: ConnKey,
    /// On an upstream connection: the client connection that the current exchange works for.
    /// On a client connection: the upstream connection that last took up the current request.
    pub link: ConnKey,
    /// When the link was made.
    pub link_ns: u64,
    /// Exchange number on the linked connection at that moment.
    pub link_exchange: u32,
    /// [`flags`].
    pub flags: u32,
    /// Local address, network byte order, IPv4 in the first four bytes.
    pub local_addr: [u8; 16],
    /// Remote address, network byte order, IPv4 in the first four bytes.
    pub remote_addr: [u8; 16],
    /// Local port, host byte order; 0 while not bound.
    pub local_port: u16,
    /// Remote port, host byte order.
    pub remote_port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// [`Role`].
    pub role: u8,
    /// TCP state (`include/net/tcp_states.h`) after the last change.
    pub state: u8,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Process that owns the socket; 0 until it was seen to use it.
    pub tgid: u32,
    /// Thread of the last call on the socket.
    pub tid: u32,
    /// Number of the current exchange on this connection, from 1; 0 before the first.
    pub exchange: u32,

    /// SYN sent (connecting) or handshake done (accepted).
    pub opened_ns: u64,
    /// Entered ESTABLISHED.
    pub established_ns: u64,
    /// The peer's FIN arrived.
    pub fin_received_ns: u64,
    /// The peer's RST arrived.
    pub reset_received_ns: u64,
    /// We sent RST.
    pub reset_sent_ns: u64,
    /// The socket reported an error (`inet_sk_error_report`).
    pub error_ns: u64,
    /// The process closed or shut down its side.
    pub closed_ns: u64,
    /// The process sent its goodbye over TLS: a record of the size of an alert.
    pub goodbye_ns: u64,

    /// Last payload byte before the current exchange.
    pub idle_since_ns: u64,
    /// First byte of the request.
    pub request_start_ns: u64,
    /// First byte of the response.
    pub response_start_ns: u64,
    /// Last byte of the response so far.
    pub response_last_ns: u64,
    /// The process read end-of-file or an error.
    pub end_read_ns: u64,
    /// First retransmission during the current exchange (or during connect).
    pub retransmit_first_ns: u64,
    /// Last retransmission during the current exchange (or during connect).
    pub retransmit_last_ns: u64,
    /// Request bytes of the current exchange.
    pub request_bytes: u64,
    /// Response bytes of the current exchange.
    pub response_bytes: u64,
    /// Hash of method and target of the current request; 0 when unknown.
    pub target_hash: u64,

    /// Retransmissions during the current exchange.
    pub retransmits: u32,
    /// `write_seq` before the request's first byte (connecting role).
    pub request_start_seq: u32,
    /// `snd_una` when the peer's FIN or RST arrived.
    pub snd_una_at_end: u32,
    /// `write_seq` when the peer's FIN or RST arrived.
    pub write_seq_at_end: u32,
    /// Reason of the reset we sent, as the running kernel numbers it, or [`NO_REASON`].
    pub reset_sent_reason: u32,
    /// Reason the *peer's* kernel gave for its reset, known only when the peer is on this host.
    pub reset_received_reason: u32,
    /// First sequence number of the segment that was retransmitted last.
    pub retransmit_seq: u32,
    /// Its payload bytes.
    pub retransmit_len: u32,
    /// How often it was retransmitted without another in between.
    pub retransmit_same: u32,
    /// `mss_cache` when the handshake was done; 0 unknown.
    pub mss_start: u32,
    /// `icsk_pmtu_cookie` when the handshake was done; 0 unknown.
    pub pmtu_start: u32,
    /// Bytes of the last send in a TLS handshake, but the first; 0 if there was none.
    pub sent_last_len: u32,
    /// `sk_err` when the connection closed (positive errno), 0 for none.
    pub sk_err: i32,
    /// Errno (positive) of the last failed send, 0 for none.
    pub send_errno: i32,
    /// Errno (positive) of the last failed receive, 0 for none.
    pub recv_errno: i32,
    /// Status code of the current response, 0 when unknown.
    pub status: u16,
    /// Bytes of the request kept in the head buffer.
    pub request_head_len: u16,
    /// Bytes of the response kept in the head buffer.
    pub response_head_len: u16,
    /// Valid bytes of `tail`, counted from its end.
    pub tail_len: u8,
    /// [`Direction`].
    pub direction: u8,
    /// [`LinkHow`].
    pub link_how: u8,
    /// Zero.
    pub pad: [u8; 3],
    /// The last bytes of the response, right-aligned.
    pub tail: [u8; TAIL_MAX],
    /// First bytes of the last send in a TLS handshake, but the first.
    pub sent_last: [u8; 8],
}

/// Bytes of [`ConnState::tail`].
pub const TAIL_MAX: usize = 16;

const _: () = assert!(size_of::<ConnState>().is_multiple_of(8));
const _: () = assert!(core::mem::offset_of!(ConnState, link) == 16);
