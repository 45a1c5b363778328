//! The bytes of a segment.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::deliver::counters::Tally;
use crate::deliver::payload::{Payload, Signal};

const MAGIC: [u8; 8] = *b"w502spl\n";
const VERSION: u32 = 1;
/// Magic and version.
pub(super) const HEADER: usize = MAGIC.len() + 4;
/// Length and checksum.
pub(super) const FRAME_HEAD: usize = 8;
/// Signal and items.
const PAYLOAD_HEAD: usize = 9;
/// The largest body that OTLP allows, and our own head.
const PAYLOAD_MAX: usize = (64 << 20) + PAYLOAD_HEAD;

/// One file.
#[derive(Debug)]
pub(super) struct Segment {
    /// Number of its first document.
    pub(super) first_seq: u64,
    pub(super) path: PathBuf,
    /// Up to the end of its last whole frame.
    pub(super) bytes: u64,
    pub(super) frames: u64,
    /// What was not taken yet.
    pub(super) unread: Tally,
    /// Index and offset of the next frame to be taken.
    pub(super) read: (u64, u64),
}

/// What a look through a segment finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) bytes: u64,
    pub(super) frames: u64,
    pub(super) unread: Tally,
    pub(super) read: (u64, u64),
    /// Something is behind the last whole frame.
    pub(super) torn: bool,
}

pub(super) fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let (magic, version) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    version.copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// `None`: larger than a frame may be.
pub(super) fn frame(payload: &Payload) -> Option<Vec<u8>> {
    let len = PAYLOAD_HEAD + payload.body.len();
    let bounded = u32::try_from(len).ok().filter(|_| len <= PAYLOAD_MAX)?;
    let mut frame = Vec::with_capacity(FRAME_HEAD + len);
    frame.extend(bounded.to_le_bytes());
    frame.extend([0; 4]);
    frame.push(match payload.signal {
        Signal::Traces => 1,
        Signal::Metrics => 2,
        Signal::Logs => 3,
        Signal::Zipkin => 4,
    });
    frame.extend(payload.items.to_le_bytes());
    frame.extend(&payload.body);
    let crc = crc32fast::hash(&frame[FRAME_HEAD..]);
    frame[4..FRAME_HEAD].copy_from_slice(&crc.to_le_bytes());
    Some(frame)
}

/// `None`: of a later version.
pub(super) fn parse(bytes: &Bytes) -> Option<Payload> {
    let (head, _) = bytes.split_first_chunk::<PAYLOAD_HEAD>()?;
    let [signal, items @ ..] = *head;
    Some(Payload {
        signal: match signal {
            1 => Signal::Traces,
            2 => Signal::Metrics,
            3 => Signal::Logs,
            4 => Signal::Zipkin,
            _ => return None,
        },
        items: u64::from_le_bytes(items),
        body: bytes.slice(PAYLOAD_HEAD..),
    })
}

/// The payload of the frame at `offset` and the frame's whole length; `None` if there is no whole, good
/// frame before `end`.
pub(super) fn read_frame(file: &File, offset: u64, end: u64) -> io::Result<Option<(Bytes, u64)>> {
    let mut head = [0; FRAME_HEAD];
    if offset + FRAME_HEAD as u64 > end {
        return Ok(None);
    }
    file.read_exact_at(&mut head, offset)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let whole = (FRAME_HEAD + len) as u64;
    // Never more memory than the file has bytes.
    if !(PAYLOAD_HEAD..=PAYLOAD_MAX).contains(&len) || offset + whole > end {
        return Ok(None);
    }
    let mut payload = vec![0; len];
    file.read_exact_at(&mut payload, offset + FRAME_HEAD as u64)?;
    let good = crc32fast::hash(&payload) == u32::from_le_bytes([c0, c1, c2, c3]);
    Ok(good.then(|| (payload.into(), whole)))
}

/// Looks through a segment whose first `taken` documents are done with. Total: any bytes give a scan.
pub(super) fn scan(path: &Path, taken: u64) -> io::Result<Scan> {
    let file = File::open(path)?;
    let end = file.metadata()?.len();
    let mut head = [0; HEADER];
    let mut scan = Scan {
        torn: end > 0,
        ..Scan::default()
    };
    if end < HEADER as u64 {
        return Ok(scan);
    }
    file.read_exact_at(&mut head, 0)?;
    if head != header() {
        return Ok(scan);
    }
    scan.bytes = HEADER as u64;
    scan.read = (0, scan.bytes);
    while let Some((bytes, len)) = read_frame(&file, scan.bytes, end)? {
        let Some(payload) = parse(&bytes) else {
            break;
        };
        scan.bytes += len;
        scan.frames += 1;
        if scan.frames <= taken {
            scan.read = (scan.frames, scan.bytes);
        } else {
            scan.unread += Tally::one(payload.items);
        }
    }
    scan.torn = scan.bytes < end;
    Ok(scan)
}
