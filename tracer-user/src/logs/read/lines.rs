//! All lines of one file, one after the other.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};

use super::blocks::{BLOCK_BYTES, Blocks, Body};
use super::decode::Trouble;
use super::source::Source;

/// Blocks on their way: one is filled while another is read.
const BLOCKS: usize = 4;

/// How a file was read.
#[derive(Debug, Default)]
pub struct Lines {
    /// Lines, those that were too long among them.
    pub lines: u64,
    /// Bytes of lines that were too long.
    pub too_long_bytes: u64,
    /// The file could not be read, or not to its end.
    pub trouble: Option<Trouble>,
}

/// Hands out the lines of a file, compressed or not, with their numbers from 1. The memory does not
/// grow with the file.
pub fn each_line(path: &Path, mut take: impl FnMut(u64, &[u8])) -> Lines {
    let (give_back, empty) = mpsc::channel();
    let (out, pieces) = mpsc::sync_channel(BLOCKS);
    for _ in 0..BLOCKS {
        // The receiver is here.
        let _ = give_back.send(vec![0; BLOCK_BYTES]);
    }
    let sources = [Source::File(path.to_owned())];
    let blocks = Blocks::new(empty, out, Arc::new(AtomicU64::new(0)));
    let mut found = Lines::default();
    std::thread::scope(|scope| {
        scope.spawn(|| blocks.run(&sources));
        for piece in pieces {
            match piece.body {
                Body::Lines { block, len } => {
                    let text = block.get(..len).unwrap_or_default();
                    let text = text.strip_suffix(b"\n").unwrap_or(text);
                    for line in text.split(|byte| *byte == b'\n') {
                        found.lines += 1;
                        take(found.lines, line.strip_suffix(b"\r").unwrap_or(line));
                    }
                    let _ = give_back.send(block);
                }
                Body::TooLong { bytes, .. } => {
                    found.lines += 1;
                    found.too_long_bytes += bytes;
                }
                Body::Trouble(trouble) => found.trouble = Some(trouble),
            }
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn lines(path: &Path) -> (Vec<(u64, String)>, Lines) {
        let mut all = Vec::new();
        let found = each_line(path, |number, line| {
            all.push((number, String::from_utf8_lossy(line).into_owned()));
        });
        (all, found)
    }

    #[test]
    fn plain_and_compressed_lines_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let text = b"one\r\n\ntwo\nthree";
        let plain = dir.path().join("plain.log");
        std::fs::write(&plain, text).unwrap();
        let packed = dir.path().join("packed.log.gz");
        let file = std::fs::File::create(&packed).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap();
        for path in [plain, packed] {
            let (all, found) = lines(&path);
            let expected = [(1, "one"), (2, ""), (3, "two"), (4, "three")];
            assert_eq!(all, expected.map(|(n, line)| (n, line.to_owned())));
            assert_eq!(found.lines, 4);
            assert!(found.trouble.is_none());
        }
    }

    #[test]
    fn more_than_the_blocks_hold() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big.log");
        let line = "x".repeat(1023);
        std::fs::write(&path, format!("{line}\n").repeat(8 * 1024)).unwrap();
        assert_eq!(each_line(&path, |_, _| {}).lines, 8 * 1024);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (all, found) = lines(&dir.path().join("absent.log"));
        assert!(all.is_empty() && found.trouble.is_some());

        let long = dir.path().join("long.log");
        std::fs::write(&long, "y".repeat(BLOCK_BYTES * 2) + "\nshort\n").unwrap();
        let (all, found) = lines(&long);
        assert_eq!(all, [(2, "short".to_owned())]);
        assert_eq!(found.too_long_bytes, 2 * BLOCK_BYTES as u64);
    }
}
