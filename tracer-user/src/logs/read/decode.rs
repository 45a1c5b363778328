//! Compressed logs, known by their first bytes and not by their names.

use std::error::Error as StdError;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Compressed bytes that are read at once.
const INPUT_BYTES: usize = 256 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Why not all of a source could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It is not there, or may not be read, or reading failed.
    #[error("cannot be read: {0}")]
    Io(String),
    /// The compressed data ends early. What came before was read.
    #[error("ends in the middle of its compressed data; what stands before that was read")]
    CutShort,
    /// The compressed data is damaged. What came before was read.
    #[error("its compressed data is damaged ({0}); what stands before that was read")]
    Damaged(String),
    /// Something that is not compressed follows the compressed data, and was left out.
    #[error("bytes that are not compressed follow its compressed data; they were left out")]
    Trailing,
}

impl Trouble {
    /// Is it a failure of the whole run, and not only less to read?
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Damaged(_))
    }
}

/// A source from its first byte, some of which were read already.
type Whole<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// The text of a source, decompressed as need be.
pub(super) enum Text<R> {
    Plain(Whole<R>),
    Gzip(Box<Members<BufReader<Whole<R>>>>),
    Zstd(Box<Frames<BufReader<Whole<R>>>>),
}

impl<R: Read> Text<R> {
    pub(super) fn new(mut input: R) -> Result<Self, Trouble> {
        let mut head = Vec::new();
        let read = input.by_ref().take(4).read_to_end(&mut head);
        read.map_err(|error| Trouble::Io(error.to_string()))?;
        let (gzip, zstd) = (head.starts_with(GZIP), head.starts_with(ZSTD));
        let whole = io::Cursor::new(head).chain(input);
        Ok(if gzip {
            Self::Gzip(Box::new(Members::new(BufReader::with_capacity(
                INPUT_BYTES,
                whole,
            ))))
        } else if zstd {
            Self::Zstd(Box::new(Frames::new(BufReader::with_capacity(
                INPUT_BYTES,
                whole,
            ))))
        } else {
            Self::Plain(whole)
        })
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// As [`Read::read`], with the reason why there is no more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Trouble> {
        loop {
            let (read, plain) = match self {
                Self::Plain(input) => (input.read(buffer), true),
                Self::Gzip(members) => (members.read(buffer), false),
                Self::Zstd(frames) => (frames.read(buffer), false),
            };
            return match read {
                Ok(bytes) => Ok(bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if plain => Err(Trouble::Io(error.to_string())),
                Err(error) => Err(trouble(&error)),
            };
        }
    }
}

fn trouble(error: &io::Error) -> Trouble {
    if let Some(trouble) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Trouble>())
    {
        return trouble.clone();
    }
    if error.raw_os_error().is_some() {
        return Trouble::Io(error.to_string());
    }
    if ended_early(error) {
        return Trouble::CutShort;
    }
    Trouble::Damaged(error.to_string())
}

fn ended_early(error: &io::Error) -> bool {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return true;
    }
    let mut cause = error
        .get_ref()
        .map(|inner| inner as &(dyn StdError + 'static));
    while let Some(inner) = cause {
        let io = inner.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Members of gzip, one behind the other (RFC 1952, 2.2): what `cat a.gz b.gz` gives.
pub(super) struct Members<R> {
    /// `None`: all was read.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    fn new(input: R) -> Self {
        Self {
            member: Some(GzDecoder::new(input)),
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let bytes = member.read(buffer)?;
            if bytes > 0 || buffer.is_empty() {
                return Ok(bytes);
            }
            let Some(finished) = self.member.take() else {
                break;
            };
            let mut input = finished.into_inner();
            let next = input.fill_buf()?;
            if next.starts_with(GZIP) || next == &GZIP[..1] {
                self.member = Some(GzDecoder::new(input));
            } else {
                end(&mut input)?;
            }
        }
        Ok(0)
    }
}

/// Frames of Zstandard, one behind the other, some of which are to be skipped (RFC 8878, 3.1).
///
/// A decoder hands out what may still be referred to only when the frame ends. So that this is not
/// lost when the frame never ends, whole blocks are handed to it, and an end of our own if need be.
pub(super) struct Frames<R> {
    state: Frame<R>,
    block: Vec<u8>,
    cut: bool,
}

enum Frame<R> {
    Between(R),
    Within(R, Box<FrameDecoder>),
    Done,
}

impl<R: BufRead> Frames<R> {
    fn new(input: R) -> Self {
        Self {
            state: Frame::Between(input),
            block: Vec::new(),
            cut: false,
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.state = match std::mem::replace(&mut self.state, Frame::Done) {
                Frame::Done => return Ok(0),
                Frame::Within(mut input, mut frame) => {
                    while frame.can_collect() == 0 && !frame.is_finished() {
                        if !self.cut && !whole_block(&mut input, &mut self.block)? {
                            self.cut = true;
                            self.block.clear();
                            self.block.extend(LAST_BLOCK);
                        }
                        let source = self.block.chain(&mut input);
                        frame
                            .decode_blocks(source, BlockDecodingStrategy::UptoBlocks(1))
                            .map_err(io::Error::other)?;
                    }
                    let bytes = frame.read(buffer)?;
                    if bytes > 0 || buffer.is_empty() {
                        self.state = Frame::Within(input, frame);
                        return Ok(bytes);
                    }
                    if self.cut {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let sent = frame.get_checksum_from_data();
                    if sent.is_some() && sent != frame.get_calculated_checksum() {
                        return Err(io::Error::other("the checksum does not match"));
                    }
                    Frame::Between(input)
                }
                Frame::Between(mut input) => {
                    if input.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    begin(input)?
                }
            };
        }
    }
}

/// An empty block that ends a frame, and room for the checksum that may follow it.
const LAST_BLOCK: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];

/// Reads one block with its header (RFC 8878, 3.1.1.2), unless the input ends before the block does.
fn whole_block(input: &mut impl BufRead, block: &mut Vec<u8>) -> io::Result<bool> {
    block.clear();
    input.by_ref().take(3).read_to_end(block)?;
    let &[a, b, c] = block.as_slice() else {
        return Ok(false);
    };
    let header = u32::from_le_bytes([a, b, c, 0]);
    let size = match (header >> 1) & 3 {
        // One byte that is repeated.
        1 => 1,
        _ => u64::from(header >> 3),
    };
    let read = input.by_ref().take(size).read_to_end(block)?;
    Ok(read as u64 == size)
}

fn begin<R: BufRead>(mut input: R) -> io::Result<Frame<R>> {
    use FrameDecoderError::ReadFrameHeaderError as Head;
    let mut decoder = FrameDecoder::new();
    match decoder.init(&mut input) {
        Ok(()) => Ok(Frame::Within(input, Box::new(decoder))),
        Err(Head(ReadFrameHeaderError::SkipFrame { length, .. })) => {
            let length = u64::from(length);
            let skipped = io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
            match skipped == length {
                true => Ok(Frame::Between(input)),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Err(Head(ReadFrameHeaderError::BadMagicNumber(0))) if rest_is_zero(&mut input)? => {
            Ok(Frame::Done)
        }
        Err(Head(ReadFrameHeaderError::BadMagicNumber(_))) => {
            Err(io::Error::other(Trouble::Trailing))
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Zeros that fill a tape's or a disk's block are nothing that was lost.
fn end(input: &mut impl BufRead) -> io::Result<()> {
    match rest_is_zero(input)? {
        true => Ok(()),
        false => Err(io::Error::other(Trouble::Trailing)),
    }
}

fn rest_is_zero(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let rest = input.fill_buf()?;
        if rest.is_empty() {
            return Ok(true);
        }
        if rest.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let bytes = rest.len();
        input.consume(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn gz(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zst(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    fn all(stored: &[u8]) -> (Vec<u8>, Option<Trouble>) {
        let mut text = match Text::new(stored) {
            Ok(text) => text,
            Err(trouble) => return (Vec::new(), Some(trouble)),
        };
        let (mut found, mut buffer) = (Vec::new(), [0; 700]);
        loop {
            match text.read(&mut buffer) {
                Ok(0) => return (found, None),
                Ok(bytes) => found.extend_from_slice(&buffer[..bytes]),
                Err(trouble) => return (found, Some(trouble)),
            }
        }
    }

    fn noise() -> Vec<u8> {
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 28) as u8
        };
        (0..400_000).map(|_| next()).collect()
    }

    #[test]
    fn whole_sources() {
        let text = noise();
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        for (stored, expected) in [
            (text.clone(), text.clone()),
            (Vec::new(), Vec::new()),
            (b"\x1f".to_vec(), b"\x1f".to_vec()),
            (gz(&text), text.clone()),
            (
                [gz(b"a"), gz(b""), gz(&text)].concat(),
                [b"a", &text[..]].concat(),
            ),
            ([gz(b"a"), vec![0; 512]].concat(), b"a".to_vec()),
            (zst(&text), text.clone()),
            (
                [zst(b"a"), skipped, zst(&text)].concat(),
                [b"a", &text[..]].concat(),
            ),
        ] {
            let (found, trouble) = all(&stored);
            assert_eq!(trouble, None);
            assert!(found == expected);
        }
    }

    #[test]
    fn what_stands_before_the_end_is_read() {
        let text = noise();
        for whole in [gz(&text), zst(&text)] {
            for cut in [5, whole.len() / 2, whole.len() - 1] {
                let (found, trouble) = all(&whole[..cut]);
                assert_eq!(trouble, Some(Trouble::CutShort), "{cut}");
                assert!(text.starts_with(&found));
                assert!(cut < whole.len() / 2 || found.len() > 10_000, "{cut}");
            }
            let (found, trouble) = all(&[&whole[..], b"more"].concat());
            assert!(found == text);
            assert_eq!(trouble, Some(Trouble::Trailing));
        }
        let mut damaged = gz(&text);
        let middle = damaged.len() - 6;
        damaged[middle] ^= 0xff;
        let (found, trouble) = all(&damaged);
        assert!(found == text);
        assert!(matches!(trouble, Some(Trouble::Damaged(_))), "{trouble:?}");
    }
}
