//! Writes a recording.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{FRAME_MAX, MAGIC, VERSION};
use crate::event::Input;

/// A recording holds request heads: only its owner may read it.
const MODE: u32 = 0o600;

/// Appends one input in its frame. After an error nothing was appended.
pub(crate) fn frame(input: &Input, to: &mut Vec<u8>) -> io::Result<()> {
    let begin = to.len();
    let appended = append(input, to);
    if appended.is_err() {
        to.truncate(begin);
    }
    appended
}

fn append(input: &Input, to: &mut Vec<u8>) -> io::Result<()> {
    const HEAD: usize = 8;
    let begin = to.len();
    to.extend([0; HEAD]);
    serde_json::to_writer(&mut *to, input)?;
    let payload = &to[begin + HEAD..];
    let len = u32::try_from(payload.len())
        .ok()
        .filter(|len| *len as usize <= FRAME_MAX)
        .ok_or_else(|| io::Error::other("an input is larger than 16 MiB"))?;
    let crc = crc32fast::hash(payload);
    to[begin..begin + 4].copy_from_slice(&len.to_le_bytes());
    to[begin + 4..begin + HEAD].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Frames inputs into any sink.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    /// A frame; reused for every one.
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the file header.
    pub fn new(mut sink: W) -> io::Result<Self> {
        sink.write_all(&MAGIC)?;
        sink.write_all(&VERSION.to_le_bytes())?;
        Ok(Self {
            sink,
            buffer: Vec::new(),
        })
    }

    /// Appends one input.
    pub fn write(&mut self, input: &Input) -> io::Result<()> {
        self.buffer.clear();
        frame(input, &mut self.buffer)?;
        self.sink.write_all(&self.buffer)
    }

    /// Appends inputs that were framed before, by [`frame`].
    pub(crate) fn write_frames(&mut self, mut frames: impl Read) -> io::Result<()> {
        io::copy(&mut frames, &mut self.sink).map(drop)
    }

    /// Hands everything written to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Records a live capture into a file. A failure ends the recording, never the capture.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    /// `None` after a failure.
    writer: Option<Writer<BufWriter<File>>>,
}

impl Recorder {
    /// Creates the file (mode 0600; an old one is overwritten and gets that mode). Call it before
    /// the capture starts, so that a bad path fails at once.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(path)?;
        // The mode above is for a new file only. A device or pipe keeps its own.
        if file.metadata()?.is_file() {
            file.set_permissions(Permissions::from_mode(MODE))?;
        }
        let mut writer = Writer::new(BufWriter::new(file))?;
        writer.flush()?;
        Ok(Self {
            path: path.to_owned(),
            writer: Some(writer),
        })
    }

    /// Appends one input, and flushes with every tick and at the end. When writing fails for the
    /// first time (a full disk), answers with a sentence for the user and the report's notes; from
    /// then on does nothing.
    #[must_use = "the sentence must reach the user"]
    pub fn record(&mut self, input: &Input) -> Option<String> {
        let writer = self.writer.as_mut()?;
        let flush = matches!(input, Input::Tick(_) | Input::End(_));
        let done = writer
            .write(input)
            .and_then(|()| if flush { writer.flush() } else { Ok(()) });
        let error = done.err()?;
        // Dropping the buffer would try to write once more, and block on a stuck device.
        if let Some(writer) = self.writer.take() {
            let (_file, _unwritten) = writer.sink.into_parts();
        }
        Some(format!(
            "Recording to {} STOPPED: {error}. The capture goes on without it; what was written \
             before can be read.",
            self.path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Reader;

    #[test]
    fn only_the_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r");
        std::fs::write(&path, "an older file, readable by all").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let mut recorder = Recorder::create(&path).unwrap();
        assert_eq!(recorder.record(&Input::Tick(1)), None);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        // Flushed by the tick, although the recorder lives on.
        let file = File::open(&path).unwrap();
        let inputs: Vec<Input> = Reader::new(file).unwrap().collect();
        assert_eq!(inputs, [Input::Tick(1)]);
    }

    #[test]
    fn a_bad_path_fails_at_once() {
        assert!(Recorder::create(Path::new("/nonexistent/dir/file")).is_err());
        assert!(Recorder::create(Path::new("/")).is_err());
    }

    #[test]
    fn a_full_disk_is_told_once() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut recorder = Recorder {
            path: "/dev/full".into(),
            writer: Some(Writer::new(BufWriter::new(full)).unwrap()),
        };
        let told = recorder.record(&Input::Tick(1)).unwrap();
        assert!(told.contains("No space left"), "{told}");
        assert_eq!(recorder.record(&Input::Tick(2)), None);
        // The header is flushed at once, so a full disk shows before the capture.
        assert!(Recorder::create(Path::new("/dev/full")).is_err());
    }
}
