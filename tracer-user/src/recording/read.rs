//! Reads a recording. Total: any bytes give inputs, an error or a tear.

use std::fmt;
use std::io::{self, Read};

use super::{FRAME_MAX, MAGIC, VERSION};
use crate::event::Input;

/// The file cannot be read as a recording at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Reading failed.
    #[error("reading it failed: {0}")]
    Io(#[from] io::Error),
    /// Zero bytes.
    #[error(
        "the file is empty: the capture that should have written it did not start. Record again \
         with `why502 capture -w FILE`"
    )]
    Empty,
    /// Begins like a recording and ends within its header.
    #[error(
        "the file ends within its first bytes: it was cut while being written or copied, and holds \
         no event. Copy it again, or record again with `why502 capture -w FILE`"
    )]
    CutShort,
    /// Something else.
    #[error(
        "this is not a why502 recording (it begins with other bytes). Give the file that \
         `why502 capture -w FILE` wrote"
    )]
    NotOurs,
    /// Written in a later format.
    #[error(
        "the recording has format version {version}, this why502 reads up to version {VERSION}. \
         Read it with the why502 that wrote it, or a later one"
    )]
    Newer {
        /// Its version.
        version: u32,
    },
}

/// Where and why a recording breaks off before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tear {
    /// Bytes of the file up to the end of the last good frame.
    pub offset: u64,
    /// Good frames before it.
    pub frames: u64,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for Tear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "The recording is torn at byte {} ({}); the {} inputs before it were used, what came \
             after is missing from this report.",
            self.offset, self.reason, self.frames
        )
    }
}

/// Iterates over the inputs of a recording, up to its end or its tear.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    offset: u64,
    frames: u64,
    tear: Option<Tear>,
    done: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the file header. Give it a buffered source.
    pub fn new(mut source: R) -> Result<Self, OpenError> {
        let mut header = [0; MAGIC.len() + 4];
        let got = read_up_to(&mut source, &mut header)?;
        let got = &header[..got];
        if got.is_empty() {
            return Err(OpenError::Empty);
        }
        let magic = &got[..got.len().min(MAGIC.len())];
        if !MAGIC.starts_with(magic) {
            return Err(OpenError::NotOurs);
        }
        let Some((_, version)) = got.split_first_chunk::<{ MAGIC.len() }>() else {
            return Err(OpenError::CutShort);
        };
        let version = version.try_into().map_err(|_| OpenError::CutShort)?;
        match u32::from_le_bytes(version) {
            VERSION => {}
            // There never was a version 0.
            0 => return Err(OpenError::NotOurs),
            version => return Err(OpenError::Newer { version }),
        }
        Ok(Self {
            source,
            offset: header.len() as u64,
            frames: 0,
            tear: None,
            done: false,
        })
    }

    /// Where the recording broke off, once the iterator has ended there.
    pub fn tear(&self) -> Option<&Tear> {
        self.tear.as_ref()
    }

    /// The next input; `Ok(None)` at the proper end, else what is wrong.
    fn frame(&mut self) -> Result<Option<Input>, String> {
        let failed = |error: io::Error| format!("reading it failed: {error}");
        let mut head = [0; 8];
        match read_up_to(&mut self.source, &mut head).map_err(failed)? {
            0 => return Ok(None),
            8 => {}
            _ => return Err("the file ends within a frame".into()),
        }
        let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let crc = u32::from_le_bytes([c0, c1, c2, c3]);
        if len > FRAME_MAX {
            return Err(format!("a frame claims {len} bytes"));
        }
        // Grows with what is there, not with what the length claims.
        let mut payload = Vec::new();
        let got = (&mut self.source)
            .take(len as u64)
            .read_to_end(&mut payload)
            .map_err(failed)?;
        if got < len {
            return Err("the file ends within a frame".into());
        }
        if crc32fast::hash(&payload) != crc {
            return Err("a checksum is wrong".into());
        }
        let input = serde_json::from_slice(&payload).map_err(|error| {
            format!("an input is not known here, perhaps it is from a newer why502: {error}")
        })?;
        self.offset += 8 + len as u64;
        self.frames += 1;
        Ok(Some(input))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        if self.done {
            return None;
        }
        match self.frame() {
            Ok(Some(input)) => return Some(input),
            Ok(None) => {}
            Err(reason) => {
                self.tear = Some(Tear {
                    offset: self.offset,
                    frames: self.frames,
                    reason,
                });
            }
        }
        self.done = true;
        None
    }
}

/// Fills as much of `buffer` as there is.
fn read_up_to(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
