//! What the kernel reported, decoded: the input of everything behind it.
//!
//! [`Input`] is the closed list of things that can drive a session. A live run and the replay of a
//! recording feed the same list to the same code.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::config::ProxyConfig;
use serde::{Deserialize, Serialize};
use tracer_ebpf::{Cause, LinkHow, Role, flags};

/// Identity of one TCP connection within a session. Carries no kernel address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub type MonoNs = u64;

/// The client connection that an upstream exchange works for, or the reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The other connection.
    pub conn: ConnId,
    /// Exchange number on it, 0 if unknown.
    pub exchange: u32,
    /// When the link was made.
    pub at_ns: MonoNs,
    /// How it was found.
    #[serde(with = "link_how")]
    pub how: LinkHow,
}

/// One exchange (request and response) on one connection, with the life of that connection.
/// On a client connection the request is what came in; on a backend connection, what went out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// When the record was made.
    pub time_ns: MonoNs,
    /// Why it was made.
    #[serde(with = "cause")]
    pub cause: Cause,
    /// Accepted (client side) or connecting (backend side).
    #[serde(with = "role")]
    pub role: Role,
    /// The connection.
    pub conn: ConnId,
    /// The connection on the other side of the proxy.
    pub link: Option<Link>,
    /// Upstream connection of the last upstream event on this thread, and its time.
    pub thread_last_upstream: Option<(ConnId, MonoNs)>,
    /// Our end.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// Network namespace inode.
    pub netns: u32,
    /// Owner process; 0 if unknown.
    pub pid: u32,
    /// Thread of the last call on the socket.
    pub tid: u32,
    /// Number of this exchange on its connection, from 1; 0 when no request was sent yet.
    pub exchange: u32,
    /// [`tracer_ebpf::flags`].
    pub flags: u32,
    /// TCP state number (`include/net/tcp_states.h`).
    pub state: u8,
    /// What happened when.
    pub times: Times,
    /// Request bytes of this exchange.
    pub request_bytes: u64,
    /// Response bytes of this exchange.
    pub response_bytes: u64,
    /// Status of the response, if it could be read.
    pub status: Option<u16>,
    /// Retransmissions during this exchange.
    pub retransmits: u32,
    /// `write_seq` before the first byte of the request.
    pub request_start_seq: u32,
    /// `snd_una` when the peer's FIN or RST arrived.
    pub snd_una_at_end: u32,
    /// `write_seq` when the peer's FIN or RST arrived.
    pub write_seq_at_end: u32,
    /// Number of the reason for the reset that we sent.
    pub reset_sent_reason: Option<u32>,
    /// Number of the reason for the reset that the peer sent, known only on the same host.
    pub reset_received_reason: Option<u32>,
    /// `sk_err` at the end, errno.
    pub sk_err: Option<i32>,
    /// Errno of the last failed send.
    pub send_errno: Option<i32>,
    /// Errno of the last failed receive.
    pub recv_errno: Option<i32>,
    /// Facts of the socket when the record was made.
    pub socket: Socket,
    /// First bytes of the request.
    #[serde(with = "hex_bytes")]
    pub request_head: Vec<u8>,
    /// First bytes of the response.
    #[serde(with = "hex_bytes")]
    pub response_head: Vec<u8>,
    /// Last bytes of the response (up to 16), when more came than the head's first bytes.
    #[serde(with = "hex_bytes")]
    pub response_tail: Vec<u8>,
    /// First bytes (up to 8) of the last send of this exchange but its first, while a TLS handshake
    /// goes on: the record type, and a whole alert.
    #[serde(with = "hex_bytes", default)]
    pub sent_last: Vec<u8>,
    /// Length of that send, bytes; 0 if there was none.
    #[serde(default)]
    pub sent_last_len: u32,
    /// The segment that was retransmitted last.
    #[serde(default)]
    pub retransmitted: Option<Retransmitted>,
    /// Maximum segment size when the handshake was done, bytes.
    #[serde(default)]
    pub mss_at_start: Option<u32>,
    /// Path MTU when the handshake was done, bytes.
    #[serde(default)]
    pub pmtu_at_start: Option<u32>,
}

/// A segment of ours that was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retransmitted {
    /// Sequence number of its first byte.
    pub seq: u32,
    /// Payload bytes.
    pub len: u32,
    /// How often it was sent again without another one in between.
    pub times: u32,
}

impl Exchange {
    /// Is the flag (see [`tracer_ebpf::flags`]) set?
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Did the connection carry an exchange before this one?
    pub fn reused(&self) -> bool {
        self.exchange > 1 || self.has(flags::USED_BEFORE)
    }
}

/// Moments of a connection and its current exchange; `None`: did not happen (yet).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// SYN sent, or accepted connection established.
    pub opened: Option<MonoNs>,
    /// Handshake done.
    pub established: Option<MonoNs>,
    /// FIN from the peer.
    pub fin_received: Option<MonoNs>,
    /// RST from the peer.
    pub reset_received: Option<MonoNs>,
    /// RST by us.
    pub reset_sent: Option<MonoNs>,
    /// Socket error reported by the kernel.
    pub error: Option<MonoNs>,
    /// The process closed, shut down or aborted its side.
    pub closed: Option<MonoNs>,
    /// The process sent an alert over TLS, most often its goodbye.
    #[serde(default)]
    pub goodbye: Option<MonoNs>,
    /// Last payload before this exchange.
    pub idle_since: Option<MonoNs>,
    /// First request byte.
    pub request_start: Option<MonoNs>,
    /// First response byte.
    pub response_start: Option<MonoNs>,
    /// Last response byte so far.
    pub response_last: Option<MonoNs>,
    /// The process read end-of-file or an error.
    pub end_read: Option<MonoNs>,
    /// First retransmission.
    pub retransmit_first: Option<MonoNs>,
    /// Last retransmission.
    pub retransmit_last: Option<MonoNs>,
}

/// Facts of the socket at the end; `None` where this kernel does not have the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Received by the kernel and not read by the process, bytes.
    pub unread: Option<u32>,
    /// Written by the process and not acknowledged by the peer, bytes.
    pub unacked: Option<u32>,
    /// Smoothed round-trip time, µs.
    pub srtt_us: Option<u32>,
    /// Retransmissions over the connection's life.
    pub total_retransmits: Option<u32>,
    /// Maximum segment size in use, bytes.
    pub mss: Option<u32>,
    /// Path MTU, bytes.
    pub pmtu: Option<u32>,
    /// Out-of-order segments received: there is a hole in the stream.
    pub out_of_order: Option<u32>,
    /// `TCP_USER_TIMEOUT`, ms.
    pub user_timeout_ms: Option<u32>,
    /// `sk_err_soft`, errno.
    pub soft_error: Option<i32>,
    /// Payload received over the connection's life, bytes.
    pub bytes_received: Option<u64>,
    /// Payload acknowledged by the peer over the connection's life, bytes.
    pub bytes_acked: Option<u64>,
}

/// A change among the traced processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessEvent {
    /// A traced process made a child process.
    Fork {
        /// The child.
        pid: u32,
        /// Its parent.
        parent: u32,
    },
    /// A process replaced its program.
    Exec {
        /// The process.
        pid: u32,
    },
    /// A traced process exits (its last thread does).
    Exit {
        /// The process.
        pid: u32,
        /// Exit code, if it ended by itself.
        #[serde(default)]
        code: Option<i32>,
        /// Number of the signal that ended it.
        #[serde(default)]
        signal: Option<i32>,
        /// When.
        #[serde(default)]
        at_ns: MonoNs,
    },
    /// The kernel chose a process to be killed for want of memory.
    OomVictim {
        /// The process.
        pid: u32,
        /// When.
        at_ns: MonoNs,
    },
    /// A traced process listens on a port.
    Listen {
        /// The process.
        pid: u32,
        /// The port.
        port: u16,
    },
}

/// A backend's address, seen for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBackend {
    /// The address.
    pub addr: SocketAddr,
    /// Inode number of the network namespace it was reached from.
    pub netns: u32,
}

/// A DNS message that a traced process sent or received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsMessage {
    /// When.
    pub time_ns: MonoNs,
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Received, not sent.
    pub received: bool,
    /// Length of the whole message, bytes.
    pub message_len: u32,
    /// Its first bytes.
    #[serde(with = "hex_bytes")]
    pub first: Vec<u8>,
}

/// What a decoded kernel record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelEvent {
    /// An exchange with a backend or a client.
    Exchange(Box<Exchange>),
    /// A process event.
    Process(ProcessEvent),
    /// A backend's address, seen for the first time.
    Backend(SeenBackend),
    /// A DNS message.
    Dns(DnsMessage),
    /// The first sign of a failure while tracing stood by.
    Sign(SentSign),
}

/// While tracing stood by, a response with a watched status began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentSign {
    /// When.
    pub time_ns: MonoNs,
    /// Process that sent it.
    pub pid: u32,
    /// Its thread.
    pub tid: u32,
    /// Who got it.
    pub client: SocketAddr,
    /// Port that the client asked.
    pub local_port: u16,
    /// The status.
    pub status: u16,
}

/// What ended a time in which tracing stood by. What led to it went unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// A client got a response with a watched status.
    Response {
        /// The status.
        status: u16,
        /// Who got it.
        client: SocketAddr,
    },
    /// The kernel saw a connection fail.
    Connection {
        /// The other end.
        remote: SocketAddr,
    },
    /// A log tells of a failure.
    Log,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response { status, client } => write!(f, "{client} got a {status}"),
            Self::Connection { remote } => write!(f, "a connection with {remote} failed"),
            Self::Log => f.write_str("a log tells of a failure"),
        }
    }
}

/// Tracing begins to stand by, or ceases to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standby {
    /// When.
    pub time_ns: MonoNs,
    /// Why requests and responses are looked at from now on; `None`: they are not.
    pub woken_by: Option<Sign>,
}

impl fmt::Display for Standby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.woken_by {
            Some(sign) => write!(
                f,
                "{sign} while tracing stood by, so what led to it was not seen; everything is traced from now on"
            ),
            None => f.write_str("standing by for the first sign of a failure"),
        }
    }
}

/// The kind of a proxy: decides the wording of advice and what a status means.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyKind {
    /// NGINX (also OpenResty, Angie, Tengine: they share the upstream code).
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
    /// Apache httpd.
    Apache,
    /// Some other program, by its name.
    Other(String),
}

impl ProxyKind {
    /// The name in the command line and in JSON.
    pub fn name(&self) -> &str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Apache => "apache",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for ProxyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A traced process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyProcess {
    /// The first process of its kind among its ancestors, itself included: processes of one instance
    /// share their state of the backends.
    #[serde(default)]
    pub instance: Option<u32>,
    /// Process id in the host's namespace.
    pub pid: u32,
    /// What it is.
    pub kind: ProxyKind,
}

/// Where a host stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostRole {
    /// The traced programs are proxies.
    #[default]
    Proxy,
    /// The traced programs are backends behind a proxy or balancer elsewhere.
    Backend,
}

/// What a session knows at its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionStart {
    /// Version of why502 that captured.
    pub version: String,
    /// Host name.
    pub host: String,
    /// Kernel release (`uname -r`).
    pub kernel: String,
    /// Wall clock at the start, ns since the epoch.
    pub started_unix_ns: u64,
    /// Monotonic clock at the same instant, ns. Their difference turns event times into wall time.
    pub started_mono_ns: MonoNs,
    /// Statuses that count as error responses.
    pub statuses: Vec<u16>,
    /// Outcomes to report, by their JSON names; empty: all.
    pub outcomes: Vec<String>,
    /// Where this host stands.
    #[serde(default)]
    pub role: HostRole,
    /// Names of reset reasons by number, from the running kernel; empty if it gives none.
    pub reset_reasons: Vec<(u32, String)>,
    /// Local time of the host, seconds east of UTC: some logs do not name their zone.
    #[serde(default)]
    pub utc_offset_s: i32,
    /// Logs are followed: cases wait for their lines.
    #[serde(default)]
    pub logs: bool,
    /// Limits of this capture to tell the reader (hooks missing, verdicts off).
    pub notes: Vec<String>,
}

/// Counters and latencies of one upstream address, cumulative since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendSnapshot {
    /// The address.
    pub upstream: SocketAddr,
    /// Connection attempts.
    pub connects: u64,
    /// Requests sent.
    pub exchanges: u64,
    /// Connect times: (bucket, count) of [`tracer_ebpf::hist`].
    pub connect: Vec<(u16, u32)>,
    /// Times to first byte.
    pub ttfb: Vec<(u16, u32)>,
    /// Whole-response times.
    pub total: Vec<(u16, u32)>,
    /// Longest idle time after which a connection was used again, µs; `None`: never.
    #[serde(default)]
    pub idle_reused_max_us: Option<u64>,
    /// Shortest idle time, of at least [`tracer_ebpf::IDLE_CLOSE_MIN_US`], after which the backend
    /// closed a connection, µs; `None`: never.
    #[serde(default)]
    pub idle_closed_min_us: Option<u64>,
    /// How often it closed an idle connection.
    #[serde(default)]
    pub idle_closed: u64,
}

/// A backend that runs on this host: its half of a connection is seen too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalBackend {
    /// The address that the proxy connects to.
    pub addr: SocketAddr,
    /// The processes that listen there.
    pub pids: Vec<u32>,
}

/// An ICMP or ICMPv6 error about a TCP segment of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpError {
    /// When it was read.
    pub time_ns: MonoNs,
    /// Who sent it.
    pub from: IpAddr,
    /// Our end of the connection it is about.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// What it says.
    pub says: IcmpSays,
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IcmpSays {
    /// "Fragmentation needed" (RFC 792, RFC 1191) or "packet too big" (RFC 4443).
    TooBig {
        /// MTU of the next hop, bytes.
        mtu: u32,
    },
    /// "Destination unreachable".
    Unreachable {
        /// Its code.
        code: u8,
    },
}

/// Length of the accept queue of a local backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenQueue {
    /// When.
    pub time_ns: MonoNs,
    /// The address that the proxy connects to.
    pub addr: SocketAddr,
    /// Connections that wait to be accepted.
    pub waiting: u32,
    /// Connections turned away in this network namespace because an accept queue was full, since the
    /// reading before (`ListenOverflows` of /proc/net/netstat).
    pub overflows: u64,
}

/// What the connections of a process to backends were doing when it failed a request without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamsInUse {
    /// When.
    pub time_ns: MonoNs,
    /// The process.
    pub pid: u32,
    /// Connections that wait for a response.
    pub busy: u32,
    /// Connections that wait for a next request.
    pub idle: u32,
    /// The port that the failed client had come to.
    #[serde(default)]
    pub port: Option<u16>,
    /// Of all processes, those that wait for a response to a client of that port.
    #[serde(default)]
    pub route_busy: Option<u32>,
    /// Those that wait for a next request, to the backends of the former.
    #[serde(default)]
    pub route_idle: Option<u32>,
    /// Descriptors that the process has open.
    pub descriptors: Option<u64>,
    /// How many it may have open (`RLIMIT_NOFILE`, soft).
    pub descriptor_limit: Option<u64>,
}

/// A line of a proxy's or balancer's log that tells of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRead {
    /// When it was read.
    pub time_ns: MonoNs,
    /// The file.
    pub path: String,
    /// The form of line, as [`crate::logs::Format::spec`] gives it.
    pub format: String,
    /// Number of the line, from 1, counted from where reading began.
    pub number: u64,
    /// The line without its end and without query strings; what was no UTF-8 is replaced.
    pub line: String,
}

/// What was read of a log so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSource {
    /// The file.
    pub path: String,
    /// Lines read.
    pub lines: u64,
    /// Of those, lines that tell of a failure.
    pub failures: u64,
    /// Lines that could not be read, because of their form.
    pub unparsed: u64,
    /// Bytes that were passed over: the log grew faster than it could be read, or a line was too
    /// long.
    pub skipped_bytes: u64,
    /// Forms of line, by name.
    pub formats: Vec<String>,
    /// What went wrong last, in words.
    pub trouble: Option<String>,
}

/// Forms of line that are named for one log.
const FORMATS_MAX: usize = 16;

impl LogSource {
    /// A form of line was found.
    pub fn add_format(&mut self, name: &str) {
        if self.formats.len() < FORMATS_MAX && self.formats.iter().all(|other| other != name) {
            self.formats.push(name.to_owned());
        }
    }
}

/// The loss of calls that the kernel left out; all others are of our own buffers and tables.
pub const HOOK_SKIPPED: &str = "hook_skipped";

/// Lost records and table overflows since the start, by name (`ring_upstream`, `conn_table`, …).
pub type Losses = Vec<(String, u64)>;

/// The closed list of inputs of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "input", content = "data")]
pub enum Input {
    /// First input, exactly once.
    Start(SessionStart),
    /// What came before the first input is not known: cases before this moment would lack their
    /// beginnings and are left out. An agent's look-back says so, behind its start.
    Since(MonoNs),
    /// A process is traced from now on.
    Proxy(ProxyProcess),
    /// The kernel reported something.
    Kernel(KernelEvent),
    /// A backend of the proxies runs on this host.
    LocalBackend(LocalBackend),
    /// An ICMP error arrived.
    Icmp(IcmpError),
    /// An accept queue was looked at.
    ListenQueue(ListenQueue),
    /// A process failed a request without a backend connection; this is what it had open.
    UpstreamsInUse(UpstreamsInUse),
    /// Tracing begins to stand by, or ceases to.
    Standby(Standby),
    /// Time has passed.
    Tick(MonoNs),
    /// Values from the configurations of all traced proxies; the last ones before the end count.
    Config(Vec<ProxyConfig>),
    /// A line of a log tells of a failure.
    Log(LogRead),
    /// What was read of the logs; the last state before the end counts.
    LogSources(Vec<LogSource>),
    /// State of the backend counters; the last one before the end counts.
    Backends(Vec<BackendSnapshot>),
    /// State of the loss counters; the last one before the end counts.
    Losses(Losses),
    /// Last input: the capture ended at this monotonic time.
    End(MonoNs),
}

impl Input {
    /// The moment that it tells of, if it tells one.
    pub fn moment(&self) -> Option<MonoNs> {
        match self {
            Self::Start(start) => Some(start.started_mono_ns),
            Self::Kernel(KernelEvent::Exchange(exchange)) => Some(exchange.time_ns),
            Self::Kernel(KernelEvent::Dns(message)) => Some(message.time_ns),
            Self::Kernel(KernelEvent::Sign(sign)) => Some(sign.time_ns),
            Self::Standby(standby) => Some(standby.time_ns),
            Self::Kernel(KernelEvent::Process(_) | KernelEvent::Backend(_))
            | Self::Since(_)
            | Self::Proxy(_)
            | Self::LocalBackend(_)
            | Self::Config(_)
            | Self::LogSources(_)
            | Self::Backends(_)
            | Self::Losses(_) => None,
            Self::Icmp(error) => Some(error.time_ns),
            Self::ListenQueue(queue) => Some(queue.time_ns),
            Self::UpstreamsInUse(reading) => Some(reading.time_ns),
            Self::Log(read) => Some(read.time_ns),
            Self::Tick(now) | Self::End(now) => Some(*now),
        }
    }
}

/// IPv4-mapped IPv6 addresses are shown as IPv4 (a dual-stack listener reports them so).
pub fn canonical(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}

macro_rules! wire_enum {
    ($module:ident, $ty:ty) => {
        mod $module {
            use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
            pub(super) fn serialize<S: Serializer>(v: &$ty, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_u8(*v as u8)
            }
            pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<$ty, D::Error> {
                let wire = u8::deserialize(d)?;
                <$ty>::from_wire(wire).ok_or_else(|| D::Error::custom("unknown wire value"))
            }
        }
    };
}
wire_enum!(cause, tracer_ebpf::Cause);
wire_enum!(role, tracer_ebpf::Role);
wire_enum!(link_how, tracer_ebpf::LinkHow);

mod hex_bytes {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        s.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let digits = text
            .chars()
            .map(|c| c.to_digit(16).map(|v| v as u8))
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| D::Error::custom("not a hexadecimal digit"))?;
        if digits.len() % 2 != 0 {
            return Err(D::Error::custom("odd number of hexadecimal digits"));
        }
        Ok(digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect())
    }
}
