//! The recent past at one moment: cheap to take, and written without holding up the event loop.

use std::io::{self, Write};
use std::sync::Arc;

use flate2::read::DeflateDecoder;

use super::Chunk;
use crate::event::Input;
use crate::recording::Writer;

/// A recording that is not written yet.
#[derive(Debug)]
pub(crate) struct Snapshot {
    head: Vec<Input>,
    chunks: Vec<Arc<Chunk>>,
    tail: Vec<Input>,
}

impl Snapshot {
    pub(super) fn new(head: Vec<Input>, chunks: Vec<Arc<Chunk>>, tail: Vec<Input>) -> Self {
        Self { head, chunks, tail }
    }

    /// Writes it as a recording.
    pub(crate) fn write(&self, sink: impl Write) -> io::Result<()> {
        let mut writer = Writer::new(sink)?;
        for input in &self.head {
            writer.write(input)?;
        }
        for chunk in &self.chunks {
            writer.write_frames(DeflateDecoder::new(&chunk.packed[..]))?;
        }
        for input in &self.tail {
            writer.write(input)?;
        }
        writer.flush()
    }
}
