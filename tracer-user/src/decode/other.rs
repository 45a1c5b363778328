//! Records that are neither exchanges nor process events.

use bytes::Buf;
use tracer_ebpf::{BackendRecord, DNS_MAX, DnsRecord, RecordHeader, SignRecord};

use super::DecodeError;
use super::exchange::address;
use super::wire::need;
use crate::event::{DnsMessage, SeenBackend, SentSign};

pub(super) fn backend(mut body: &[u8]) -> Result<SeenBackend, DecodeError> {
    need(body, size_of::<BackendRecord>() - size_of::<RecordHeader>())?;
    let mut addr = [0; 16];
    body.copy_to_slice(&mut addr);
    let family = body.get_u16_ne();
    let port = body.get_u16_ne();
    Ok(SeenBackend {
        addr: address(family, addr, port)?,
        netns: body.get_u32_ne(),
    })
}

pub(super) fn dns(header: RecordHeader, mut body: &[u8]) -> Result<DnsMessage, DecodeError> {
    need(body, size_of::<DnsRecord>() - size_of::<RecordHeader>())?;
    let pid = body.get_u32_ne();
    let tid = body.get_u32_ne();
    let message_len = body.get_u32_ne();
    let len = (body.get_u32_ne() as usize).min(DNS_MAX);
    let received = match header.cause {
        0 => false,
        1 => true,
        other => {
            return Err(DecodeError::Value {
                field: "direction of a DNS message",
                value: u64::from(other),
            });
        }
    };
    Ok(DnsMessage {
        time_ns: header.time_ns,
        pid,
        tid,
        received,
        message_len,
        first: body[..len].to_vec(),
    })
}

pub(super) fn sign(header: RecordHeader, mut body: &[u8]) -> Result<SentSign, DecodeError> {
    need(body, size_of::<SignRecord>() - size_of::<RecordHeader>())?;
    let pid = body.get_u32_ne();
    let tid = body.get_u32_ne();
    let mut addr = [0; 16];
    body.copy_to_slice(&mut addr);
    let family = body.get_u16_ne();
    let port = body.get_u16_ne();
    Ok(SentSign {
        time_ns: header.time_ns,
        pid,
        tid,
        client: address(family, addr, port)?,
        local_port: body.get_u16_ne(),
        status: body.get_u16_ne(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;
    use crate::event::KernelEvent;

    #[test]
    fn a_backend_and_its_namespace() {
        let mut record = Vec::new();
        record.extend(40u32.to_ne_bytes());
        record.extend([4, 0, 0, 0]);
        record.extend(5u64.to_ne_bytes());
        record.extend([10, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        record.extend(2u16.to_ne_bytes());
        record.extend(8080u16.to_ne_bytes());
        record.extend(7u32.to_ne_bytes());
        let want = SeenBackend {
            addr: ([10, 0, 0, 5], 8080).into(),
            netns: 7,
        };
        assert_eq!(decode(&record), Ok(KernelEvent::Backend(want)));
    }

    #[test]
    fn the_first_sign_of_a_failure() {
        let mut record = Vec::new();
        record.extend(48u32.to_ne_bytes());
        record.extend([6, 0, 0, 0]);
        record.extend(5u64.to_ne_bytes());
        record.extend(9u32.to_ne_bytes());
        record.extend(10u32.to_ne_bytes());
        record.extend([192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        record.extend(2u16.to_ne_bytes());
        record.extend(51544u16.to_ne_bytes());
        record.extend(80u16.to_ne_bytes());
        record.extend(502u16.to_ne_bytes());
        let want = SentSign {
            time_ns: 5,
            pid: 9,
            tid: 10,
            client: ([192, 0, 2, 7], 51544).into(),
            local_port: 80,
            status: 502,
        };
        assert_eq!(decode(&record), Ok(KernelEvent::Sign(want)));
        record[0] = 40;
        assert!(decode(&record[..40]).is_err());
    }

    #[test]
    fn the_first_bytes_of_a_dns_message() {
        let mut record = vec![0; size_of::<DnsRecord>()];
        record[..4].copy_from_slice(&(size_of::<DnsRecord>() as u32).to_ne_bytes());
        record[4] = 5;
        record[5] = 1;
        record[16..20].copy_from_slice(&9u32.to_ne_bytes());
        record[24..28].copy_from_slice(&30u32.to_ne_bytes());
        record[28..32].copy_from_slice(&12u32.to_ne_bytes());
        match decode(&record) {
            Ok(KernelEvent::Dns(message)) => {
                assert_eq!((message.pid, message.received), (9, true));
                assert_eq!((message.message_len, message.first.len()), (30, 12));
            }
            other => panic!("{other:?}"),
        }
    }
}
