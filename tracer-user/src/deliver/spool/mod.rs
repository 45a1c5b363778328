//! Documents on disk until a receiver has taken them: what was handed over survives the process.
//!
//! # Form, version 1
//!
//! One folder for one destination, mode 0700, files 0600. All numbers are little-endian.
//!
//! ```text
//! lock                    locked while a process uses the folder
//! acked                   seq crc: the first document that was not taken yet, overwritten in place
//! <seq>.segment           documents from number <seq> (20 digits) on
//!
//! segment = magic version frame*
//! magic   = "w502spl" 0x0A   8 bytes
//! version = u32              1
//! frame   = length crc payload
//! length  = u32              bytes of the payload, at most 64 MiB
//! crc     = u32              CRC-32 (IEEE 802.3) of the payload
//! payload = signal items body
//! signal  = u8               1 traces, 2 metrics, 3 logs, 4 zipkin
//! items   = u64
//! ```
//!
//! Numbers count documents over the life of the folder and never come back.
//! Only the last segment is written to, and never one that an earlier process began: a tear can only be
//! at the end of a segment, and the next segment's number tells how many documents it cost.
//!
//! # What survives what
//!
//! A document is in the system's hands when [`Spool::append`] returns: it survives the end of the
//! process by any signal. Data reach the disk when a segment is closed, at a clean stop, and while
//! something is written every [`SYNC_EVERY`]: the machine's own crash costs at most the documents of that
//! time. `acked` is not forced out: losing its last state only means that documents are sent again, with
//! the same bytes and therefore the same span ids.
//!
//! # When it is full
//!
//! The oldest segment is dropped, and exactly what nobody had taken from it is counted. The document that
//! is being sent is not among them: the sender still has it in memory. When the disk is full, the
//! documents stay in the memory of the queue, which is bounded too.

mod folder;
mod segment;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use self::folder::Folder;
pub use self::folder::SpoolError;
use self::segment::{HEADER, Segment, frame, parse};
use super::counters::Tally;
use super::payload::Payload;

/// While documents are written, they are forced out this often.
pub const SYNC_EVERY: Duration = Duration::from_secs(5);
/// The bound is kept by dropping whole segments, so there are several.
const SEGMENTS: u64 = 8;
const SEGMENT_MAX: u64 = 8 << 20;

/// A folder and its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Created if need be; one for each destination.
    pub folder: PathBuf,
    /// Bytes of all segments together.
    pub max_bytes: u64,
}

/// What was found in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Documents of an earlier process, to be sent.
    pub waiting: Tally,
    /// Documents that were torn or damaged.
    pub torn: u64,
}

/// Why a document is not in the spool.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is full or broken; later it may not be.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is larger than the whole spool.
    #[error("the document is larger than the spool")]
    TooLarge,
}

/// The document that was handed out by [`Spool::first`].
#[derive(Clone, Copy, Debug)]
struct Leased {
    seq: u64,
    /// Where its frame ends.
    end: u64,
    items: u64,
}

/// The documents of one destination, oldest first.
#[derive(Debug)]
pub struct Spool {
    folder: Folder,
    max_bytes: u64,
    segment_max: u64,
    /// Oldest first; the first one is read from, the last one written to (if it is [`Spool::active`]).
    segments: VecDeque<Segment>,
    /// The last segment, if it may be written to.
    active: Option<File>,
    /// The first segment, while it is read.
    reading: Option<(u64, File)>,
    acked: File,
    /// Of the next document.
    next_seq: u64,
    leased: Option<Leased>,
    waiting: Tally,
    dropped: Tally,
    torn: u64,
    dirty: bool,
}

impl Spool {
    /// Opens the folder, and reads through what is there.
    pub fn open(options: &SpoolOptions) -> Result<(Self, Recovered), SpoolError> {
        let folder = Folder::open(&options.folder)?;
        let wrong = |error| SpoolError::Io {
            folder: folder.shown(),
            error,
        };
        let acked = folder.acked().map_err(wrong)?;
        let acked_seq = read_acked(&acked);
        let mut spool = Self {
            max_bytes: options.max_bytes,
            segment_max: (options.max_bytes / SEGMENTS).clamp(1, SEGMENT_MAX),
            segments: VecDeque::new(),
            active: None,
            reading: None,
            acked,
            next_seq: acked_seq,
            leased: None,
            waiting: Tally::default(),
            dropped: Tally::default(),
            torn: 0,
            dirty: false,
            folder,
        };
        let recovered = spool.recover(acked_seq).map_err(|error| SpoolError::Io {
            folder: spool.folder.shown(),
            error,
        })?;
        Ok((spool, recovered))
    }

    fn recover(&mut self, acked_seq: u64) -> io::Result<Recovered> {
        let mut expected = None;
        for (first_seq, path) in self.folder.segments()? {
            let scan = segment::scan(&path, acked_seq.saturating_sub(first_seq))?;
            // What the earlier segment should have held.
            if let Some(expected) = expected.filter(|expected| *expected < first_seq) {
                self.torn += first_seq.saturating_sub(acked_seq.max(expected));
            }
            let end = first_seq.saturating_add(scan.frames);
            expected = Some(end);
            self.next_seq = self.next_seq.max(end);
            if scan.torn && end >= acked_seq {
                // At least the one that was being written. Its number is not given again.
                self.torn += 1;
                expected = Some(end + 1);
                self.next_seq = self.next_seq.max(end + 1);
            }
            if scan.unread.documents == 0 {
                fs::remove_file(&path)?;
                continue;
            }
            self.waiting += scan.unread;
            self.segments.push_back(Segment {
                first_seq,
                path,
                bytes: scan.bytes,
                frames: scan.frames,
                unread: scan.unread,
                read: scan.read,
            });
        }
        self.bound(0);
        Ok(Recovered {
            waiting: self.waiting,
            torn: std::mem::take(&mut self.torn),
        })
    }

    /// Adds a document at the end.
    pub fn append(&mut self, payload: &Payload) -> Result<(), AppendError> {
        let frame = frame(payload).ok_or(AppendError::TooLarge)?;
        let len = frame.len() as u64;
        if len + HEADER as u64 > self.max_bytes {
            return Err(AppendError::TooLarge);
        }
        let full = |last: &Segment| last.bytes + len > self.segment_max.max(HEADER as u64 + len);
        if self.active.is_some() && self.segments.back().is_none_or(full) {
            self.close()?;
        }
        self.bound(len + HEADER as u64);
        match self.write(&frame, payload.items) {
            Err(error) if self.drop_read() => {
                // What had been taken made room.
                let _first = error;
                self.write(&frame, payload.items)?;
            }
            done => done?,
        }
        Ok(())
    }

    fn write(&mut self, frame: &[u8], items: u64) -> io::Result<()> {
        if self.active.is_none() {
            // Left of an attempt that failed; it would have the same name.
            self.segments.pop_back_if(|last| last.frames == 0);
            let (path, file) = self.folder.begin(self.next_seq)?;
            let header = segment::header();
            if let Err(error) = file.write_all_at(&header, 0) {
                let _left_for_the_next_start = fs::remove_file(&path);
                return Err(error);
            }
            self.segments.push_back(Segment {
                first_seq: self.next_seq,
                path,
                bytes: HEADER as u64,
                frames: 0,
                unread: Tally::default(),
                read: (0, HEADER as u64),
            });
            self.active = Some(file);
        }
        let (Some(file), Some(last)) = (&self.active, self.segments.back_mut()) else {
            return Err(io::Error::other("the spool has no segment"));
        };
        if let Err(error) = file.write_all_at(frame, last.bytes) {
            // What was written of it must not stay between two good ones.
            if file.set_len(last.bytes).is_err() {
                self.active = None;
            }
            return Err(error);
        }
        let one = Tally::one(items);
        last.bytes += frame.len() as u64;
        last.frames += 1;
        last.unread += one;
        self.waiting += one;
        self.next_seq += 1;
        self.dirty = true;
        Ok(())
    }

    /// The oldest document that was not taken. It stays where it is until [`Spool::taken`].
    pub fn first(&mut self) -> Option<Payload> {
        loop {
            self.drop_finished();
            let first = self.segments.front()?;
            if first.unread.documents == 0 {
                return None;
            }
            let (seq, offset) = (first.first_seq + first.read.0, first.read.1);
            if let Some((payload, end)) = self.read(offset) {
                self.leased = Some(Leased {
                    seq,
                    end,
                    items: payload.items,
                });
                return Some(payload);
            }
            // Damaged since it was read through: the rest of the segment is gone.
            self.torn += self.segments.front()?.unread.documents;
            self.forget_first();
        }
    }

    /// The document of the first segment at this offset, and where it ends.
    fn read(&mut self, offset: u64) -> Option<(Payload, u64)> {
        let first = self.segments.front()?;
        let open = self.reading.as_ref().map(|(seq, _)| *seq);
        if open != Some(first.first_seq) {
            self.reading = Some((first.first_seq, File::open(&first.path).ok()?));
        }
        let (_, file) = self.reading.as_ref()?;
        let (bytes, len) = segment::read_frame(file, offset, first.bytes).ok()??;
        Some((parse(&bytes)?, offset + len))
    }

    /// The document that [`Spool::first`] gave was taken, or will never be. An error means that it may be
    /// sent again after a restart.
    pub fn taken(&mut self) -> io::Result<()> {
        let Some(leased) = self.leased.take() else {
            return Ok(());
        };
        if let Some(first) = self.segments.front_mut()
            && first.first_seq + first.read.0 == leased.seq
        {
            let one = Tally::one(leased.items);
            first.unread -= one;
            self.waiting -= one;
            first.read = (first.read.0 + 1, leased.end);
        }
        self.drop_finished();
        write_acked(&self.acked, leased.seq + 1)
    }

    /// Is the document that was handed out still here, or was its segment dropped meanwhile?
    pub fn holds_first(&self) -> bool {
        let first = self.segments.front();
        let next = first.map(|first| first.first_seq + first.read.0);
        self.leased.is_some_and(|leased| Some(leased.seq) == next)
    }

    /// Documents that wait, the one that is handed out included.
    pub fn waiting(&self) -> Tally {
        self.waiting
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// What was dropped since the last call because the spool was full, and what was damaged (documents).
    pub fn take_losses(&mut self) -> (Tally, u64) {
        (
            std::mem::take(&mut self.dropped),
            std::mem::take(&mut self.torn),
        )
    }

    /// Forces out what was written.
    pub fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = self.active.as_ref().filter(|_| self.dirty) {
            file.sync_data()?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Is there something to force out?
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    fn close(&mut self) -> io::Result<()> {
        let synced = self.sync();
        self.active = None;
        synced
    }

    /// Drops the oldest segments until `more` bytes fit.
    fn bound(&mut self, more: u64) {
        while self.bytes() + more > self.max_bytes && !self.segments.is_empty() {
            let lost = self.segments.front().map(|first| {
                let next = first.first_seq + first.read.0;
                let held = self.leased.filter(|leased| leased.seq == next);
                // The sender has it, and says what becomes of it.
                first.unread - held.map(|held| Tally::one(held.items)).unwrap_or_default()
            });
            self.dropped += lost.unwrap_or_default();
            self.forget_first();
        }
    }

    /// Removes the first segment with all that is in it.
    fn forget_first(&mut self) {
        if let Some(first) = self.segments.pop_front() {
            self.waiting -= first.unread;
            self.reading = None;
            if self.segments.is_empty() {
                self.active = None;
            }
            let _left_for_the_next_start = fs::remove_file(&first.path);
        }
    }

    /// Segments that are read to their end and not written to any more.
    fn drop_finished(&mut self) {
        while let Some(first) = self.segments.front() {
            let written_to = self.segments.len() == 1 && self.active.is_some();
            if first.unread.documents > 0 || written_to {
                return;
            }
            self.forget_first();
        }
    }

    /// Gives the room of what was taken back to a full disk; true if there was any.
    fn drop_read(&mut self) -> bool {
        let only_read = self
            .segments
            .front()
            .is_some_and(|first| first.unread.documents == 0 && first.frames > 0);
        if only_read {
            self.forget_first();
        }
        only_read
    }
}

/// Zero, the oldest there is, when the file does not say: then some documents are sent again.
fn read_acked(file: &File) -> u64 {
    let mut bytes = [0; 12];
    if file.read_exact_at(&mut bytes, 0).is_err() {
        return 0;
    }
    let [seq @ .., a, b, c, d] = bytes;
    match crc32fast::hash(&seq) == u32::from_le_bytes([a, b, c, d]) {
        true => u64::from_le_bytes(seq),
        false => 0,
    }
}

/// In place and always of the same length: it needs no room on a full disk.
fn write_acked(file: &File, seq: u64) -> io::Result<()> {
    let seq = seq.to_le_bytes();
    let mut bytes = [0; 12];
    let (number, crc) = bytes.split_at_mut(seq.len());
    number.copy_from_slice(&seq);
    crc.copy_from_slice(&crc32fast::hash(&seq).to_le_bytes());
    file.write_all_at(&bytes, 0)
}

#[cfg(test)]
mod tests;
