//! The bytes of sources, in blocks that end where lines end.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::decode::{Text, Trouble};
use super::source::{Input, Source};

/// Size of a block; a line that does not fit into one is too long to be read.
pub const BLOCK_BYTES: usize = 1 << 20;
/// Bytes of a line that is too long that are kept, to show.
const HEAD_BYTES: usize = 256;

/// A part of a source. Pieces are numbered in the order of the sources and of the bytes in them.
#[derive(Debug)]
pub struct Piece {
    /// Its number, from 0.
    pub number: u64,
    /// The source's place in the list of sources.
    pub source: usize,
    /// What it is.
    pub body: Body,
}

/// What a piece is.
#[derive(Debug)]
pub enum Body {
    /// Lines; the last one may lack its line end.
    Lines {
        /// The block. What stands behind `len` is left over from its last use.
        block: Vec<u8>,
        /// Bytes of it that count.
        len: usize,
    },
    /// One line that is too long.
    TooLong {
        /// Its first bytes.
        head: Vec<u8>,
        /// All its bytes, without the line end.
        bytes: u64,
    },
    /// The source could not be read, or not to its end.
    Trouble(Trouble),
}

/// Nobody takes pieces any more.
struct Stopped;

impl<T> From<SendError<T>> for Stopped {
    fn from(_: SendError<T>) -> Self {
        Self
    }
}

impl From<std::sync::mpsc::RecvError> for Stopped {
    fn from(_: std::sync::mpsc::RecvError) -> Self {
        Self
    }
}

/// Reads sources into blocks that others give back when they are done with them, so that the memory
/// does not grow with the sources.
#[derive(Debug)]
pub struct Blocks {
    empty: Receiver<Vec<u8>>,
    out: SyncSender<Piece>,
    /// Stored bytes that were read, for those who wait.
    read: Arc<AtomicU64>,
    number: u64,
    /// A block that the last source did not need.
    spare: Option<Vec<u8>>,
}

impl Blocks {
    /// `empty` gives blocks of [`BLOCK_BYTES`]; two are held at a time.
    pub fn new(empty: Receiver<Vec<u8>>, out: SyncSender<Piece>, read: Arc<AtomicU64>) -> Self {
        Self {
            empty,
            out,
            read,
            number: 0,
            spare: None,
        }
    }

    /// Reads all sources, or until nobody takes pieces any more.
    pub fn run(mut self, sources: &[Source]) {
        for (place, source) in sources.iter().enumerate() {
            let input = match source.open() {
                Ok(input) => input,
                Err(error) => {
                    let trouble = Trouble::Io(error.to_string());
                    if self.send(place, Body::Trouble(trouble)).is_err() {
                        return;
                    }
                    continue;
                }
            };
            if self.source(place, input, source.is_live()).is_err() {
                return;
            }
        }
    }

    fn source(&mut self, place: usize, input: Box<dyn Input>, live: bool) -> Result<(), Stopped> {
        let ready = if live {
            input.as_fd().try_clone_to_owned().ok()
        } else {
            None
        };
        let counted = Counted {
            input,
            read: Arc::clone(&self.read),
        };
        let text = match Text::new(counted) {
            Ok(text) => text,
            Err(trouble) => return self.send(place, Body::Trouble(trouble)),
        };
        // Decompressed text is at hand before the input has more.
        let ready = ready.filter(|_| text.is_plain());
        let idle = || {
            use std::os::fd::AsFd as _;
            ready.as_ref().is_some_and(|fd| is_idle(fd.as_fd()))
        };
        self.text(place, text, idle)
    }

    fn text<R: Read>(
        &mut self,
        place: usize,
        mut text: Text<R>,
        idle: impl Fn() -> bool,
    ) -> Result<(), Stopped> {
        let mut block = self.block()?;
        let mut len = 0;
        let end = loop {
            match text.read(block.get_mut(len..).unwrap_or_default()) {
                Ok(0) => break None,
                Ok(bytes) => len += bytes,
                Err(trouble) => break Some(trouble),
            }
            if len < BLOCK_BYTES && !idle() {
                continue;
            }
            match memchr::memrchr(b'\n', &block[..len]) {
                Some(end) => {
                    let mut next = self.block()?;
                    let rest = &block[end + 1..len];
                    next[..rest.len()].copy_from_slice(rest);
                    let rest = rest.len();
                    self.send(
                        place,
                        Body::Lines {
                            block,
                            len: end + 1,
                        },
                    )?;
                    (block, len) = (next, rest);
                }
                None if len < BLOCK_BYTES => {}
                None => {
                    let (long, rest, end) = skip(&mut text, &mut block);
                    self.send(place, long)?;
                    len = rest;
                    if end.is_some() {
                        break end.flatten();
                    }
                }
            }
        };
        if len > 0 {
            self.send(place, Body::Lines { block, len })?;
        } else {
            self.spare = Some(block);
        }
        if let Some(trouble) = end {
            self.send(place, Body::Trouble(trouble))?;
        }
        Ok(())
    }

    fn block(&mut self) -> Result<Vec<u8>, Stopped> {
        match self.spare.take() {
            Some(block) => Ok(block),
            None => Ok(self.empty.recv()?),
        }
    }

    fn send(&mut self, source: usize, body: Body) -> Result<(), Stopped> {
        let number = self.number;
        self.number += 1;
        self.out.send(Piece {
            number,
            source,
            body,
        })?;
        Ok(())
    }
}

/// The source is at its end; with a reason if that is not where it should be.
type End = Option<Option<Trouble>>;

/// Goes behind a line that fills the block and goes on. What follows it is at the beginning of the
/// block then, and so long.
fn skip<R: Read>(text: &mut Text<R>, block: &mut [u8]) -> (Body, usize, End) {
    let head = block.iter().take(HEAD_BYTES).copied().collect();
    let mut bytes = block.len() as u64;
    loop {
        let read = match text.read(block) {
            Ok(0) => return (Body::TooLong { head, bytes }, 0, Some(None)),
            Ok(read) => read,
            Err(trouble) => return (Body::TooLong { head, bytes }, 0, Some(Some(trouble))),
        };
        if let Some(end) = memchr::memchr(b'\n', &block[..read]) {
            bytes += end as u64;
            block.copy_within(end + 1..read, 0);
            return (Body::TooLong { head, bytes }, read - end - 1, None);
        }
        bytes += read as u64;
    }
}

/// Would reading wait?
fn is_idle(fd: BorrowedFd<'_>) -> bool {
    let now = Timespec::default();
    matches!(
        poll(
            &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
            Some(&now)
        ),
        Ok(0)
    )
}

struct Counted {
    input: Box<dyn Input>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.read(buffer)?;
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, sync_channel};

    use super::*;

    /// Lines, and what stands between them, of a source that comes in pieces of this size.
    fn read(stored: &[u8], at_once: usize) -> Vec<String> {
        struct Slow<'a>(&'a [u8], usize);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let most = self.1.min(buffer.len());
                self.0.read(&mut buffer[..most])
            }
        }
        let (back, empty) = channel();
        for _ in 0..3 {
            back.send(vec![0; BLOCK_BYTES]).unwrap();
        }
        let (out, pieces) = sync_channel(0);
        let mut blocks = Blocks::new(empty, out, Arc::default());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let text =
                    Text::new(Slow(stored, at_once)).unwrap_or_else(|error| panic!("{error}"));
                assert!(blocks.text(0, text, || false).is_ok());
            });
            let mut found = Vec::new();
            for (number, piece) in pieces.iter().enumerate() {
                assert_eq!(piece.number, number as u64);
                match piece.body {
                    Body::Lines { block, len } => {
                        let lines = String::from_utf8_lossy(&block[..len]);
                        found.extend(lines.split_inclusive('\n').map(|line| match line.len() {
                            0..50 => line.to_owned(),
                            len => format!("{len}"),
                        }));
                        let _nobody_reads_on = back.send(block);
                    }
                    Body::TooLong { head, bytes } => {
                        found.push(format!("long {} {bytes}", head.len()));
                    }
                    Body::Trouble(trouble) => found.push(trouble.to_string()),
                }
            }
            found
        })
    }

    #[test]
    fn blocks_end_where_lines_end() {
        let longest = [vec![b'x'; BLOCK_BYTES - 1], b"\n".to_vec()].concat();
        let many = "0123456789\n".repeat(300_000);
        for (stored, expected) in [
            (b"".to_vec(), vec![]),
            (b"a".to_vec(), vec!["a"]),
            (b"a\r\n\nb\0\n".to_vec(), vec!["a\r\n", "\n", "b\0\n"]),
            ([&longest[..], b"b"].concat(), vec!["1048576", "b"]),
            ([b"a\n", &longest[..]].concat(), vec!["a\n", "1048576"]),
            (
                [b"a\nx", &longest[..], b"b\n"].concat(),
                vec!["a\n", "long 256 1048576", "b\n"],
            ),
            (vec![b'x'; 3 * BLOCK_BYTES], vec!["long 256 3145728"]),
            (
                [&vec![b'x'; 5 * BLOCK_BYTES + 7][..], b"\nb\nc"].concat(),
                vec!["long 256 5242887", "b\n", "c"],
            ),
            (
                many.clone().into_bytes(),
                many.split_inclusive('\n').collect(),
            ),
        ] {
            for at_once in [usize::MAX, 65_536, 999_983] {
                let found = read(&stored, at_once);
                assert!(found == expected, "{:?}", &found[..found.len().min(9)]);
            }
        }
    }
}
