//! Fields of `struct sock` and friends, at the offsets that the loader found in BTF.

use core::ffi::c_void;

use aya_ebpf::helpers::{
    bpf_probe_read_kernel, generated::bpf_probe_read_kernel as bpf_probe_read_kernel_raw,
};
use tracer_ebpf::{ABSENT, Conn, SocketFacts};

use super::globals::offset;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;

/// Reads `T` at `base + offset`; `None` if this kernel has no such field or the read faults.
#[inline(always)]
pub(crate) fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}

/// Reads `T` at `base + offset`, zero if there is none. The helper itself fills with zeroes when the
/// read faults, so no branch is left for the verifier to follow twice.
#[inline(always)]
fn read_or_zero<T: Copy + Default>(base: u64, offset: u32) -> T {
    let mut value = T::default();
    if offset != ABSENT {
        // SAFETY: the helper checks the source; the destination is a local of that size.
        unsafe {
            bpf_probe_read_kernel_raw(
                (&raw mut value).cast(),
                size_of::<T>() as u32,
                (base + u64::from(offset)) as *const _,
            );
        }
    }
    value
}

/// The `struct sock` of a `struct socket`; 0 if it has none.
#[inline(always)]
pub(crate) fn of_socket(socket: u64) -> u64 {
    read_or_zero(socket, offset!(socket_sk))
}

/// Is it a TCP socket over IPv4 or IPv6?
#[inline(always)]
pub(crate) fn is_tcp(sk: u64) -> bool {
    let family = read_or_zero::<u16>(sk, offset!(sock_skc_family));
    (family == AF_INET || family == AF_INET6)
        && read_or_zero::<u16>(sk, offset!(sock_sk_protocol)) == IPPROTO_TCP
}

#[inline(always)]
pub(crate) fn state(sk: u64) -> u8 {
    read_or_zero(sk, offset!(sock_skc_state))
}

/// Local port, host byte order; 0 once the socket has given it back.
#[inline(always)]
pub(crate) fn local_port(sk: u64) -> u16 {
    read_or_zero(sk, offset!(sock_skc_num))
}

/// As [`local_port`], by one instruction instead of a helper's call.
///
/// # Safety
///
/// `sk` is a `struct sock` that the verifier knows as such.
#[inline(always)]
pub(crate) unsafe fn typed_local_port(sk: *const c_void) -> u16 {
    let at = sk.cast::<u8>().wrapping_add(offset!(sock_skc_num) as usize);
    // SAFETY: as the caller says; the offset is the kernel's, and a capture does not begin without it.
    unsafe { *at.cast() }
}

/// Source port of the segments of a full socket, host byte order: stays when the port is given back.
#[inline(always)]
pub(crate) fn source_port(sk: u64) -> u16 {
    u16::from_be(read_or_zero(sk, offset!(inet_sport)))
}

/// Remote port, host byte order.
#[inline(always)]
pub(crate) fn remote_port(sk: u64) -> u16 {
    u16::from_be(read_or_zero(sk, offset!(sock_skc_dport)))
}

/// Is it UDP?
#[inline(always)]
pub(crate) fn is_udp(sk: u64) -> bool {
    read_or_zero::<u16>(sk, offset!(sock_sk_protocol)) == IPPROTO_UDP
}

/// Backlog that `listen` set; 0 for a socket that never listened.
#[inline(always)]
pub(crate) fn listen_backlog(sk: u64) -> u32 {
    read_or_zero(sk, offset!(sock_sk_max_ack_backlog))
}

/// Maximum segment size in use and path MTU, bytes.
#[inline(always)]
pub(crate) fn segment_sizes(sk: u64) -> (u32, u32) {
    (
        read_or_zero(sk, offset!(tcp_mss_cache)),
        read_or_zero(sk, offset!(icsk_pmtu_cookie)),
    )
}

/// An IPv4 address goes into the first four bytes.
#[inline(always)]
fn put_ipv4(into: &mut [u8; 16], address: [u8; 4]) {
    let mut i = 0;
    while i < 4 {
        into[i] = address[i];
        i += 1;
    }
}

/// Source address of a received segment, network byte order, IPv4 in the first four bytes; zero if it
/// cannot be read.
#[inline(always)]
pub(crate) fn segment_source(skb: u64) -> [u8; 16] {
    // Offsets of the source address in `struct iphdr` and `struct ipv6hdr`.
    const IPV4_SOURCE: u32 = 12;
    const IPV6_SOURCE: u32 = 8;
    let mut source = [0; 16];
    let head: u64 = read_or_zero(skb, offset!(skb_head));
    let network = u32::from(read_or_zero::<u16>(skb, offset!(skb_network_header)));
    let version = read_or_zero::<u8>(head, network) >> 4;
    if version == 4 {
        put_ipv4(&mut source, read_or_zero(head, network + IPV4_SOURCE));
    } else if version == 6 {
        source = read_or_zero(head, network + IPV6_SOURCE);
    }
    source
}

#[inline(always)]
pub(crate) fn err(sk: u64) -> i32 {
    read_or_zero(sk, offset!(sock_sk_err))
}

#[inline(always)]
fn snd_una(sk: u64) -> u32 {
    read_or_zero(sk, offset!(tcp_snd_una))
}

#[inline(always)]
pub(crate) fn write_seq(sk: u64) -> u32 {
    read_or_zero(sk, offset!(tcp_write_seq))
}

/// Payload bytes that the connection has carried both ways.
#[inline(always)]
pub(crate) fn payload_so_far(sk: u64) -> u64 {
    read_or_zero::<u64>(sk, offset!(tcp_bytes_received))
}

/// Has the established connection carried payload either way, or is some on its way?
#[inline(always)]
pub(crate) fn has_carried(sk: u64) -> bool {
    // The SYN of who connects counts as a byte.
    payload_so_far(sk) > 0
        || read_or_zero::<u64>(sk, offset!(tcp_bytes_acked)) > 1
        || write_seq(sk) != snd_una(sk)
}

/// Has the established connection received payload? `fin`: it received a FIN, which counts as a byte.
#[inline(always)]
pub(crate) fn has_received(sk: u64, fin: bool) -> bool {
    payload_so_far(sk) > u64::from(fin)
}

/// Payload bytes that the process of an established connection, which it opened, has sent.
#[inline(always)]
pub(crate) fn sent(sk: u64) -> u32 {
    // The SYN counts as a byte.
    (read_or_zero::<u64>(sk, offset!(tcp_bytes_acked)) as u32)
        .wrapping_sub(1)
        .wrapping_add(unacknowledged(sk))
}

/// Bytes that were written and not acknowledged.
#[inline(always)]
pub(crate) fn unacknowledged(sk: u64) -> u32 {
    write_seq(sk).wrapping_sub(snd_una(sk))
}

/// Did the last segment with payload go out after the last one came? False within the same tick of the
/// kernel's timer, and where the kernel does not tell.
#[inline(always)]
pub(crate) fn sent_after_received(sk: u64) -> bool {
    if offset!(tcp_lsndtime) == ABSENT || offset!(icsk_ack_lrcvtime) == ABSENT {
        return false;
    }
    // Both are the low half of `jiffies`, and pure acknowledgements touch neither: `tcp_event_data_sent` of
    // https://github.com/torvalds/linux/blob/v6.18/net/ipv4/tcp_output.c, `tcp_event_data_recv` of tcp_input.c.
    let sent = read_or_zero::<u32>(sk, offset!(tcp_lsndtime));
    let received = read_or_zero::<u32>(sk, offset!(icsk_ack_lrcvtime));
    (sent.wrapping_sub(received) as i32) > 0
}

/// When the first segment of what was sent last went out, us of the monotonic clock: `tcp_rate_skb_sent` of
/// <https://github.com/torvalds/linux/blob/v6.18/net/ipv4/tcp_rate.c> notes it where nothing else is under way.
#[inline(always)]
pub(crate) fn first_tx_us(sk: u64) -> u64 {
    read_or_zero(sk, offset!(tcp_first_tx_mstamp))
}

/// The peer's address, network byte order, IPv4 in the first four bytes.
#[inline(always)]
pub(crate) fn remote_addr(sk: u64, family: u16) -> [u8; 16] {
    let mut addr = [0; 16];
    if family == AF_INET {
        put_ipv4(&mut addr, read_or_zero(sk, offset!(sock_skc_daddr)));
    } else {
        addr = read_or_zero(sk, offset!(sock_skc_v6_daddr));
    }
    addr
}

#[inline(always)]
pub(crate) fn family(sk: u64) -> u16 {
    read_or_zero(sk, offset!(sock_skc_family))
}

/// Payload that arrived and that the process has not read, bytes. A FIN counts as one.
#[inline(always)]
pub(crate) fn unread(sk: u64) -> u32 {
    read_or_zero::<u32>(sk, offset!(tcp_rcv_nxt))
        .wrapping_sub(read_or_zero(sk, offset!(tcp_copied_seq)))
}

/// Are both directions shut down? `close` begins with that.
#[inline(always)]
pub(crate) fn is_shut(sk: u64) -> bool {
    // SHUTDOWN_MASK of include/net/sock.h.
    read_or_zero::<u8>(sk, offset!(sock_sk_shutdown)) & 3 == 3
}

/// Inode number of the socket file; 0 if it has none.
#[inline(always)]
pub(crate) fn inode(sk: u64) -> u64 {
    let socket: u64 = read_or_zero(sk, offset!(sock_sk_socket));
    if socket == 0 {
        return 0;
    }
    read_or_zero(socket, offset!(socket_inode_ino))
}

/// Copies the addresses, and the ports where they are known, into the connection.
#[inline(always)]
pub(crate) fn read_tuple(sk: u64, conn: &mut Conn) {
    conn.family = read_or_zero(sk, offset!(sock_skc_family));
    if conn.family == AF_INET {
        put_ipv4(
            &mut conn.remote_addr,
            read_or_zero(sk, offset!(sock_skc_daddr)),
        );
    } else {
        conn.remote_addr = read_or_zero(sk, offset!(sock_skc_v6_daddr));
    }
    let remote_port = remote_port(sk);
    if remote_port != 0 {
        conn.remote_port = remote_port;
    }
    let net: u64 = read_or_zero(sk, offset!(sock_skc_net));
    if net != 0 {
        conn.netns = read_or_zero(net, offset!(net_ns_inum));
    }
    refresh_local(sk, conn);
}

/// The kernel gives the port between the first state change and the SYN, and takes it back before
/// it reports CLOSE; the source port of the segments stays.
#[inline(always)]
pub(crate) fn refresh_local(sk: u64, conn: &mut Conn) {
    if conn.local_port != 0 {
        return;
    }
    conn.local_port = local_port(sk);
    if conn.local_port == 0 {
        conn.local_port = source_port(sk);
    }
    if conn.family == AF_INET {
        put_ipv4(
            &mut conn.local_addr,
            read_or_zero(sk, offset!(sock_skc_rcv_saddr)),
        );
    } else {
        conn.local_addr = read_or_zero(sk, offset!(sock_skc_v6_rcv_saddr));
    }
}

/// How far the sequence numbers are at the first sign of the end: later ones may wipe them.
#[inline(always)]
pub(crate) fn note_end(sk: u64, conn: &mut Conn) {
    if conn.write_seq_at_end != 0 {
        return;
    }
    conn.snd_una_at_end = snd_una(sk);
    conn.write_seq_at_end = write_seq(sk);
}

/// Reads what is worth knowing of a socket at the end of an exchange.
#[inline(always)]
pub(crate) fn facts(sk: u64, out: &mut SocketFacts) {
    let mut valid = 0;
    macro_rules! field {
        ($bit:literal, $name:ident: $ty:ty = $offset:ident) => {
            out.$name = read_or_zero::<$ty>(sk, offset!($offset)).into();
            if offset!($offset) != ABSENT {
                valid |= 1 << $bit;
            }
        };
    }
    out.pad = 0;
    field!(0, rcv_nxt: u32 = tcp_rcv_nxt);
    field!(1, copied_seq: u32 = tcp_copied_seq);
    field!(2, snd_una: u32 = tcp_snd_una);
    field!(3, write_seq: u32 = tcp_write_seq);
    field!(4, srtt_us8: u32 = tcp_srtt_us);
    field!(5, total_retrans: u32 = tcp_total_retrans);
    field!(6, rto_jiffies: u32 = icsk_rto);
    field!(7, mss_cache: u32 = tcp_mss_cache);
    field!(8, pmtu: u32 = icsk_pmtu_cookie);
    field!(9, rcv_ooopack: u32 = tcp_rcv_ooopack);
    field!(10, user_timeout_ms: u32 = icsk_user_timeout);
    field!(11, sk_err_soft: u32 = sock_sk_err_soft);
    field!(12, sk_shutdown: u8 = sock_sk_shutdown);
    field!(13, retransmits: u8 = icsk_retransmits);
    field!(14, bytes_received: u64 = tcp_bytes_received);
    field!(15, bytes_acked: u64 = tcp_bytes_acked);
    out.valid = valid;
}
