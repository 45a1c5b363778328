//! The recent past, as the recording of a capture would hold it: the inputs of the last minutes in
//! bounded memory, and in front of them the state that they began in. Written out, they are an ordinary
//! recording.
//!
//! Inputs are kept in chunks, in the frames of a recording, compressed when a chunk is full. What leaves
//! the far end is folded into the state there.

mod baseline;
mod snapshot;
mod state;

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use self::baseline::Baselines;
pub(super) use self::snapshot::Snapshot;
pub(super) use self::state::State;
use crate::event::{Input, LogSource, MonoNs, SessionStart};
use crate::recording::frame;

/// A chunk is full at this size, bytes before compression, …
const CHUNK_BYTES: usize = 256 << 10;
/// … or after this time.
const CHUNK_NS: u64 = 30_000_000_000;
/// A failure may wait this long for its client: cases of the first moments lack their beginnings.
const WARM_UP_NS: u64 = 125_000_000_000;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// How far back cases are whole, ns.
    pub(super) window_ns: u64,
    /// Bytes of memory.
    pub(super) bytes: usize,
}

/// Inputs that follow each other.
#[derive(Debug)]
struct Chunk {
    /// Frames of a recording, compressed.
    packed: Vec<u8>,
    first: MonoNs,
    last: MonoNs,
    /// Those of them that set something.
    settings: Vec<Input>,
}

/// The chunk that is being filled.
#[derive(Debug, Default)]
struct Open {
    frames: Vec<u8>,
    first: Option<MonoNs>,
    last: MonoNs,
    settings: Vec<Input>,
}

/// The recent past.
#[derive(Debug)]
pub(super) struct LookBack {
    limits: Limits,
    /// State before the first chunk.
    before: State,
    chunks: VecDeque<Arc<Chunk>>,
    open: Open,
    /// Bytes of all chunks.
    bytes: usize,
    baselines: Baselines,
    sources: Vec<LogSource>,
    /// Nothing was let go yet: the beginning is that of the agent.
    is_whole: bool,
    /// Inputs that could not be kept.
    refused: u64,
}

impl LookBack {
    /// Nothing yet.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            before: State::default(),
            chunks: VecDeque::new(),
            open: Open::default(),
            bytes: 0,
            baselines: Baselines::default(),
            sources: Vec::new(),
            is_whole: true,
            refused: 0,
        }
    }

    /// Keeps that much from now on.
    pub(super) fn set_limits(&mut self, limits: Limits, now: MonoNs) {
        self.limits = limits;
        self.shrink(now);
    }

    /// Takes an input that came at `now`.
    pub(super) fn push(&mut self, input: &Input, now: MonoNs) {
        match input {
            // A snapshot makes its own.
            Input::Start(_) | Input::Since(_) | Input::End(_) => return,
            Input::Backends(state) => {
                let window = self.limits.window_ns.saturating_add(WARM_UP_NS);
                self.baselines.take(state, now, window);
                return;
            }
            Input::LogSources(sources) => {
                self.sources.clone_from(sources);
                return;
            }
            _ => {}
        }
        let open = &mut self.open;
        if frame(input, &mut open.frames).is_err() {
            self.refused += 1;
            return;
        }
        open.first.get_or_insert(now);
        open.last = now;
        if State::is_set_by(input) {
            open.settings.push(input.clone());
        }
        let since = open.first.unwrap_or(now);
        if open.frames.len() >= CHUNK_BYTES || now.saturating_sub(since) >= CHUNK_NS {
            self.seal();
            self.shrink(now);
        }
    }

    /// Closes the open chunk.
    fn seal(&mut self) {
        let Open {
            frames,
            first,
            last,
            settings,
        } = std::mem::take(&mut self.open);
        let Some(first) = first else { return };
        let Some(packed) = pack(&frames) else {
            self.refused += 1;
            return;
        };
        let chunk = Chunk {
            packed,
            first,
            last,
            settings,
        };
        self.bytes += chunk.bytes();
        self.chunks.push_back(Arc::new(chunk));
    }

    /// Lets go of what is too old or too much; the newest chunk stays.
    fn shrink(&mut self, now: MonoNs) {
        let kept_ns = self.limits.window_ns.saturating_add(WARM_UP_NS);
        while let Some(oldest) = self.chunks.front() {
            let old = oldest.last.saturating_add(kept_ns) < now;
            let full = self.chunks.len() > 1 && self.bytes() > self.limits.bytes;
            if !old && !full {
                break;
            }
            self.bytes -= oldest.bytes();
            for input in &oldest.settings {
                self.before.apply(input, oldest.last);
            }
            self.chunks.pop_front();
            self.is_whole = false;
        }
    }

    /// Bytes of memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.open.frames.capacity() + self.baselines.bytes()
    }

    /// Inputs that could not be kept.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// When the first input that is kept came.
    pub(super) fn first(&self) -> Option<MonoNs> {
        let sealed = self.chunks.front().map(|chunk| chunk.first);
        sealed.or(self.open.first)
    }

    /// From when on cases are whole. A storm fills the memory in less than the time that a failure may
    /// wait; its clients come at once, and a quarter of what is kept is enough.
    fn whole_from(&self, now: MonoNs) -> MonoNs {
        let Some(first) = self.first() else {
            return now;
        };
        if self.is_whole {
            return first;
        }
        let kept = now.saturating_sub(first);
        let room_for_all = kept >= self.limits.window_ns.saturating_add(WARM_UP_NS);
        first
            + if room_for_all {
                WARM_UP_NS
            } else {
                WARM_UP_NS.min(kept / 4)
            }
    }

    /// Everything that is kept, as a recording. `start`: that of the agent's session, whose clocks are
    /// those of now.
    pub(super) fn snapshot(&mut self, start: &SessionStart, now: MonoNs) -> Snapshot {
        self.seal();
        let first = self.first().unwrap_or(now);
        let since = self.whole_from(now);
        let mut start = start.clone();
        let back = start.started_mono_ns as i128 - i128::from(first);
        let unix = i128::from(start.started_unix_ns) - back;
        start.started_unix_ns = u64::try_from(unix).unwrap_or(start.started_unix_ns);
        start.started_mono_ns = first;
        let mut head = vec![Input::Start(start), Input::Since(since)];
        head.extend(self.before.inputs());
        let mut tail = vec![Input::Backends(self.baselines.since(since))];
        if !self.sources.is_empty() {
            tail.push(Input::LogSources(self.sources.clone()));
        }
        tail.push(Input::End(now));
        Snapshot::new(head, self.chunks.iter().cloned().collect(), tail)
    }
}

impl Chunk {
    /// Bytes of memory, roughly: settings are rare and small but for configurations.
    fn bytes(&self) -> usize {
        const EACH: usize = 256;
        self.packed.len() + EACH + self.settings.iter().map(weight).sum::<usize>()
    }
}

fn weight(input: &Input) -> usize {
    const SETTING: usize = 128;
    let settings = match input {
        Input::Config(configs) => {
            let upstreams = configs.iter().flat_map(|config| &config.upstreams);
            upstreams.map(|upstream| 4 + upstream.settings.len()).sum()
        }
        _ => 1,
    };
    size_of::<Input>() + settings * SETTING
}

fn pack(frames: &[u8]) -> Option<Vec<u8>> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(frames).ok()?;
    let mut packed = packed.finish().ok()?;
    packed.shrink_to_fit();
    Some(packed)
}

#[cfg(test)]
mod tests;
