//! `iter/tcp`: walks the TCP sockets of a network namespace once, when the capture begins, and puts
//! those of the traced processes into the table (≥ 5.9).

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tracer_ebpf::{Role, flags, marks};

use crate::programs::{conn, maps::ADOPT_INODES, sock};

const ESTABLISHED: u8 = 1;
const CLOSE_WAIT: u8 = 8;

/// `struct bpf_iter__tcp` of net/ipv4/tcp_ipv4.c.
#[repr(C)]
pub(crate) struct IterTcp {
    meta: *mut core::ffi::c_void,
    sk_common: *mut core::ffi::c_void,
    uid: u32,
}

#[unsafe(link_section = "iter/tcp")]
#[unsafe(no_mangle)]
extern "C" fn adopt_open(ctx: *mut IterTcp) -> i32 {
    // SAFETY: the kernel passes this structure; the verifier checks the load.
    let sk = unsafe { (*ctx).sk_common } as u64;
    if sk == 0 || conn::is_tracked(sk) {
        return 0;
    }
    let state = sock::state(sk);
    if state != ESTABLISHED && state != CLOSE_WAIT {
        return 0; // listeners, and the small sockets of half-open and past connections
    }
    let inode = sock::inode(sk);
    let Some(tgid) = ADOPT_INODES.get_ptr(&inode) else {
        return 0;
    };
    // SAFETY: a live map value.
    let tgid = unsafe { *tgid };
    let role = if conn::is_listen_port(sock::local_port(sk)) {
        Role::Accepted
    } else if conn::is_backend(u64::from(tgid) << 32) {
        return 0;
    } else {
        Role::Connecting
    };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(conn) = conn::create(sk, role, now, flags::ADOPTED) else {
        return 0;
    };
    conn.state = state;
    conn.established_ns = now;
    conn.tgid = tgid;
    conn.tid = tgid;
    conn.owner = conn::kind(u64::from(tgid) << 32).unwrap_or(0);
    if role == Role::Accepted {
        conn::note_owner(conn);
    }
    if state == CLOSE_WAIT {
        conn.fin_received_ns = now;
        conn.marks |= marks::ENDED;
    }
    if sock::payload_so_far(sk) > 0 {
        conn.flags |= flags::USED_BEFORE;
    }
    0
}
