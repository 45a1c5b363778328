//! The recording file: inputs of a session, framed and checksummed.
//!
//! What is recorded is fact ([`Input`]); everything shown is computed from it again at replay, so a
//! better rule improves old recordings.
//!
//! # Format, version 1
//!
//! All numbers are little-endian.
//!
//! ```text
//! file   = magic version frame*
//! magic  = "why502" 0x0D 0x0A     8 bytes; the line end shows a transfer "in text mode"
//! version = u32                   1
//! frame  = length crc payload
//! length = u32                    bytes of the payload, at most 16 MiB
//! crc    = u32                    CRC-32 (IEEE 802.3) of the payload
//! payload = one Input as JSON     UTF-8
//! ```
//!
//! A file that ends at a frame's border without an `end` input was cut off between two flushes (the
//! capture was killed). A file that ends inside a frame, or a frame whose checksum is wrong, is
//! *torn*: the frames before the tear are good and are used. Fields may be added to an input without
//! a new version; a change that an old reader would misread gets one.

mod read;
mod write;

pub use read::{OpenError, Reader, Tear};
pub(crate) use write::frame;
pub use write::{Recorder, Writer};

#[cfg(doc)]
use crate::event::Input;

const MAGIC: [u8; 8] = *b"why502\r\n";
const VERSION: u32 = 1;
/// Larger payloads are neither written nor believed.
const FRAME_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Input, ProxyKind, ProxyProcess};

    fn inputs() -> Vec<Input> {
        vec![
            Input::Tick(1),
            Input::Proxy(ProxyProcess {
                instance: None,
                pid: 7,
                kind: ProxyKind::Other("zürich\u{1b}".into()),
            }),
            Input::Losses(vec![("ring_upstream".into(), u64::MAX)]),
            Input::Backends(Vec::new()),
            Input::End(u64::MAX),
        ]
    }

    fn file(inputs: &[Input]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes).unwrap();
        for input in inputs {
            writer.write(input).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        bytes
    }

    /// The inputs that can be read, and the tear.
    fn read(bytes: &[u8]) -> (Vec<Input>, Option<Tear>) {
        let mut reader = Reader::new(bytes).unwrap();
        let inputs = reader.by_ref().collect();
        (inputs, reader.tear().cloned())
    }

    #[test]
    fn what_goes_in_comes_out() {
        assert_eq!(read(&file(&inputs())), (inputs(), None));
        assert_eq!(read(&file(&[])), (Vec::new(), None));
    }

    #[test]
    fn torn_at_every_offset_gives_the_whole_frames_before_it() {
        let bytes = file(&inputs());
        let borders: Vec<usize> = (0..=inputs().len())
            .map(|n| file(&inputs()[..n]).len())
            .collect();
        for len in borders[0]..=bytes.len() {
            let (got, tear) = read(&bytes[..len]);
            let whole = borders.iter().filter(|border| **border <= len).count() - 1;
            assert_eq!(got, inputs()[..whole], "{len}");
            assert_eq!(tear.is_none(), borders.contains(&len), "{len}");
            if let Some(tear) = tear {
                assert_eq!(tear.offset, borders[whole] as u64);
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_nothing_panics() {
        let bytes = file(&inputs());
        let header = file(&[]).len();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                if at < header {
                    assert!(Reader::new(&bytes[..]).is_err(), "{at}.{bit}");
                } else {
                    let (got, tear) = read(&bytes);
                    assert!(tear.is_some(), "{at}.{bit}");
                    assert!(inputs().starts_with(&got), "{at}.{bit}");
                }
            }
        }
    }

    #[test]
    fn files_that_cannot_be_read_say_why() {
        let open = |bytes: &[u8]| Reader::new(bytes).map(|_| ()).unwrap_err();
        assert!(matches!(open(b""), OpenError::Empty));
        assert!(matches!(open(b"why5"), OpenError::CutShort));
        assert!(matches!(open(b"why502\r\n\x01\0"), OpenError::CutShort));
        assert!(matches!(
            open(b"\xd4\xc3\xb2\xa1 a pcap"),
            OpenError::NotOurs
        ));
        assert!(matches!(open(b"wh"), OpenError::CutShort));
        assert!(matches!(open(b"x"), OpenError::NotOurs));
        assert!(matches!(open(b"why502\n\x01\0\0\0"), OpenError::NotOurs));
        assert!(matches!(
            open(b"why502\r\n\x02\0\0\0"),
            OpenError::Newer { version: 2 }
        ));
        for error in [
            open(b""),
            open(b"why5"),
            open(b"x"),
            open(b"why502\r\n\x02\0\0\0"),
        ] {
            assert!(error.to_string().len() > 30, "{error}");
        }
    }

    #[test]
    fn lengths_are_not_believed() {
        for len in [u32::MAX, 1 << 24 | 1, 1 << 24, 1000, 0] {
            let mut bytes = file(&[]);
            bytes.extend(len.to_le_bytes());
            bytes.extend([0; 100]);
            let (inputs, tear) = read(&bytes);
            assert_eq!((inputs, tear.is_some()), (Vec::new(), true), "{len}");
        }
    }

    #[test]
    fn a_frame_of_an_unknown_input_is_a_tear() {
        let mut bytes = file(&inputs()[..2]);
        let payload = br#"{"input":"from_the_future","data":1}"#;
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(crc32fast::hash(payload).to_le_bytes());
        bytes.extend(payload);
        let (got, tear) = read(&bytes);
        assert_eq!(got, inputs()[..2]);
        assert!(tear.unwrap().to_string().contains("newer"));
    }
}
