//! Kernel records to events: a total function over bytes. What is too short, of an unknown kind or
//! of a value that cannot be is an error that says where; nothing is guessed and nothing panics.

mod exchange;
mod other;
mod redact;
mod wire;

use bytes::Buf;
use thiserror::Error;
use tracer_ebpf::{Kind, ProcessRecord, RecordHeader, process};

use crate::event::{KernelEvent, ProcessEvent};

/// Why a record could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Fewer bytes than the fixed part of its kind, or than its own length says.
    #[error("record of {have} bytes where {need} are needed")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// A kind that this version does not know.
    #[error("unknown record kind {0}")]
    Kind(u8),
    /// A field holds a value that it cannot have.
    #[error("field {field} has the impossible value {value}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

/// Reads one record.
pub fn decode(record: &[u8]) -> Result<KernelEvent, DecodeError> {
    let mut rest = record;
    let header = wire::header(&mut rest)?;
    let len = header.len as usize;
    if len < size_of::<RecordHeader>() || len > record.len() {
        return Err(DecodeError::Short {
            have: record.len(),
            need: len.max(size_of::<RecordHeader>()),
        });
    }
    let body = &record[size_of::<RecordHeader>()..len];
    match Kind::from_wire(header.kind) {
        Some(kind @ (Kind::Upstream | Kind::Downstream)) => {
            exchange::decode(header, kind, body).map(|e| KernelEvent::Exchange(Box::new(e)))
        }
        Some(Kind::Process) => process_event(header, body).map(KernelEvent::Process),
        Some(Kind::Backend) => other::backend(body).map(KernelEvent::Backend),
        Some(Kind::Dns) => other::dns(header, body).map(KernelEvent::Dns),
        Some(Kind::Sign) => other::sign(header, body).map(KernelEvent::Sign),
        None => Err(DecodeError::Kind(header.kind)),
    }
}

fn process_event(header: RecordHeader, mut body: &[u8]) -> Result<ProcessEvent, DecodeError> {
    wire::need(body, size_of::<ProcessRecord>() - size_of::<RecordHeader>())?;
    let pid = body.get_u32_ne();
    let parent = body.get_u32_ne();
    let port = body.get_u16_ne();
    let _pad = body.get_u16_ne();
    let status = body.get_u32_ne().cast_signed();
    let at_ns = header.time_ns;
    match header.cause {
        process::FORK => Ok(ProcessEvent::Fork { pid, parent }),
        process::EXEC => Ok(ProcessEvent::Exec { pid }),
        process::EXIT => {
            // include/uapi/linux/wait.h: WTERMSIG and WEXITSTATUS.
            let signal = status & 0x7f;
            Ok(ProcessEvent::Exit {
                pid,
                code: (signal == 0).then_some(status >> 8 & 0xff),
                signal: (signal != 0).then_some(signal),
                at_ns,
            })
        }
        process::OOM_VICTIM => Ok(ProcessEvent::OomVictim { pid, at_ns }),
        process::LISTEN => Ok(ProcessEvent::Listen { pid, port }),
        other => Err(DecodeError::Value {
            field: "process operation",
            value: u64::from(other),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process_record(cause: u8) -> Vec<u8> {
        let mut record = Vec::new();
        record.extend(32u32.to_ne_bytes());
        record.extend([3, cause, 0, 0]);
        record.extend(77u64.to_ne_bytes());
        record.extend(4711u32.to_ne_bytes());
        record.extend(4710u32.to_ne_bytes());
        record.extend(8080u16.to_ne_bytes());
        record.extend([0; 2]);
        record.extend(139u32.to_ne_bytes());
        record
    }

    #[test]
    fn process_events() {
        let read = |cause| match decode(&process_record(cause)) {
            Ok(KernelEvent::Process(event)) => Ok(event),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        assert_eq!(
            read(1),
            Ok(ProcessEvent::Fork {
                pid: 4711,
                parent: 4710
            })
        );
        assert_eq!(read(2), Ok(ProcessEvent::Exec { pid: 4711 }));
        assert_eq!(
            read(3),
            Ok(ProcessEvent::Exit {
                pid: 4711,
                code: None,
                signal: Some(11),
                at_ns: 77
            })
        );
        assert_eq!(
            read(5),
            Ok(ProcessEvent::OomVictim {
                pid: 4711,
                at_ns: 77
            })
        );
        assert_eq!(
            read(4),
            Ok(ProcessEvent::Listen {
                pid: 4711,
                port: 8080
            })
        );
        assert_eq!(
            read(9),
            Err(DecodeError::Value {
                field: "process operation",
                value: 9
            })
        );
    }

    #[test]
    fn short_unknown_and_longer_records() {
        assert_eq!(decode(&[]), Err(DecodeError::Short { have: 0, need: 16 }));
        let whole = process_record(1);
        for cut in 0..whole.len() {
            assert!(
                matches!(decode(&whole[..cut]), Err(DecodeError::Short { .. })),
                "cut at {cut}"
            );
        }
        let mut unknown = whole.clone();
        unknown[4] = 200;
        assert_eq!(decode(&unknown), Err(DecodeError::Kind(200)));
        // A newer kernel half may append fields.
        let mut longer = whole;
        longer.extend([1, 2, 3, 4]);
        longer[0] = 36;
        assert!(decode(&longer).is_ok());
    }
}
