//! Field by field from bytes to the structures of the ABI, in the order of their declaration.

use bytes::Buf;
use tracer_ebpf::{ConnKey, ConnState, RecordHeader, SocketFacts};

use super::DecodeError;

/// Are there so many bytes?
pub(super) fn need(rest: &[u8], need: usize) -> Result<(), DecodeError> {
    if rest.len() < need {
        return Err(DecodeError::Short {
            have: rest.len(),
            need,
        });
    }
    Ok(())
}

fn array<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut out = [0; N];
    rest.copy_to_slice(&mut out);
    out
}

fn key(rest: &mut &[u8]) -> ConnKey {
    ConnKey {
        sk: rest.get_u64_ne(),
        generation: rest.get_u64_ne(),
    }
}

/// Reads a connection key behind the others, with its time.
pub(super) fn key_and_time(rest: &mut &[u8]) -> Result<(ConnKey, u64), DecodeError> {
    need(rest, 24)?;
    Ok((key(rest), rest.get_u64_ne()))
}

/// Reads a 32-bit number.
pub(super) fn u32_ne(rest: &mut &[u8]) -> Result<u32, DecodeError> {
    need(rest, 4)?;
    Ok(rest.get_u32_ne())
}

/// Reads a header.
pub(super) fn header(rest: &mut &[u8]) -> Result<RecordHeader, DecodeError> {
    need(rest, size_of::<RecordHeader>())?;
    Ok(RecordHeader {
        len: rest.get_u32_ne(),
        kind: rest.get_u8(),
        cause: rest.get_u8(),
        pad: rest.get_u16_ne(),
        time_ns: rest.get_u64_ne(),
    })
}

/// Reads the state of a connection.
pub(super) fn conn(rest: &mut &[u8]) -> Result<ConnState, DecodeError> {
    need(rest, size_of::<ConnState>())?;
    let before = rest.len();
    let conn = ConnState {
        key: key(rest),
        link: key(rest),
        link_ns: rest.get_u64_ne(),
        link_exchange: rest.get_u32_ne(),
        flags: rest.get_u32_ne(),
        local_addr: array(rest),
        remote_addr: array(rest),
        local_port: rest.get_u16_ne(),
        remote_port: rest.get_u16_ne(),
        family: rest.get_u16_ne(),
        role: rest.get_u8(),
        state: rest.get_u8(),
        netns: rest.get_u32_ne(),
        tgid: rest.get_u32_ne(),
        tid: rest.get_u32_ne(),
        exchange: rest.get_u32_ne(),
        opened_ns: rest.get_u64_ne(),
        established_ns: rest.get_u64_ne(),
        fin_received_ns: rest.get_u64_ne(),
        reset_received_ns: rest.get_u64_ne(),
        reset_sent_ns: rest.get_u64_ne(),
        error_ns: rest.get_u64_ne(),
        closed_ns: rest.get_u64_ne(),
        goodbye_ns: rest.get_u64_ne(),
        idle_since_ns: rest.get_u64_ne(),
        request_start_ns: rest.get_u64_ne(),
        response_start_ns: rest.get_u64_ne(),
        response_last_ns: rest.get_u64_ne(),
        end_read_ns: rest.get_u64_ne(),
        retransmit_first_ns: rest.get_u64_ne(),
        retransmit_last_ns: rest.get_u64_ne(),
        request_bytes: rest.get_u64_ne(),
        response_bytes: rest.get_u64_ne(),
        target_hash: rest.get_u64_ne(),
        retransmits: rest.get_u32_ne(),
        request_start_seq: rest.get_u32_ne(),
        snd_una_at_end: rest.get_u32_ne(),
        write_seq_at_end: rest.get_u32_ne(),
        reset_sent_reason: rest.get_u32_ne(),
        reset_received_reason: rest.get_u32_ne(),
        retransmit_seq: rest.get_u32_ne(),
        retransmit_len: rest.get_u32_ne(),
        retransmit_same: rest.get_u32_ne(),
        mss_start: rest.get_u32_ne(),
        pmtu_start: rest.get_u32_ne(),
        sent_last_len: rest.get_u32_ne(),
        sk_err: rest.get_i32_ne(),
        send_errno: rest.get_i32_ne(),
        recv_errno: rest.get_i32_ne(),
        status: rest.get_u16_ne(),
        request_head_len: rest.get_u16_ne(),
        response_head_len: rest.get_u16_ne(),
        tail_len: rest.get_u8(),
        direction: rest.get_u8(),
        link_how: rest.get_u8(),
        pad: array(rest),
        tail: array(rest),
        sent_last: array(rest),
    };
    debug_assert_eq!(before - rest.len(), size_of::<ConnState>());
    Ok(conn)
}

/// Reads the facts of a socket.
pub(super) fn facts(rest: &mut &[u8]) -> Result<SocketFacts, DecodeError> {
    need(rest, size_of::<SocketFacts>())?;
    Ok(SocketFacts {
        valid: rest.get_u32_ne(),
        rcv_nxt: rest.get_u32_ne(),
        copied_seq: rest.get_u32_ne(),
        snd_una: rest.get_u32_ne(),
        write_seq: rest.get_u32_ne(),
        srtt_us8: rest.get_u32_ne(),
        total_retrans: rest.get_u32_ne(),
        rto_jiffies: rest.get_u32_ne(),
        mss_cache: rest.get_u32_ne(),
        pmtu: rest.get_u32_ne(),
        rcv_ooopack: rest.get_u32_ne(),
        user_timeout_ms: rest.get_u32_ne(),
        sk_err_soft: rest.get_u32_ne(),
        sk_shutdown: rest.get_u32_ne(),
        retransmits: rest.get_u32_ne(),
        pad: rest.get_u32_ne(),
        bytes_received: rest.get_u64_ne(),
        bytes_acked: rest.get_u64_ne(),
    })
}
