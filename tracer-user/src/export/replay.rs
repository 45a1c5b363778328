//! A recording to documents: the cases as they become known, the counts at its end.

use std::io::Read;

use anyhow::Context as _;

use super::resource::{Origin, ResourceConfig};
use super::{Gathering, Metrics, otlp};
use crate::case::Case;
use crate::deliver::{Payload, Signal};
use crate::event::{Input, ProxyKind};
use crate::recording::{Reader, Tear};
use crate::session::Session;

/// Cases that are gathered before documents are made of them.
const GATHERED: usize = 512;

/// Hands on the documents of one signal about a recording, in bounded memory; gives the tear, if it
/// breaks off.
///
/// # Errors
///
/// It is no recording, or `sink` fails.
pub fn replay(
    source: impl Read,
    signal: Signal,
    config: &ResourceConfig,
    sink: &mut dyn FnMut(Payload) -> anyhow::Result<()>,
) -> anyhow::Result<Option<Tear>> {
    let mut reader = Reader::new(source)?;
    let mut session = Session::new();
    let mut export = Export::new(signal, config);
    for input in reader.by_ref() {
        let cases = session.input(&input);
        export.input(&input);
        export.cases(cases, sink)?;
    }
    export.cases(session.finish(), sink)?;
    export.finish(sink)?;
    Ok(reader.tear().cloned())
}

struct Export {
    signal: Signal,
    gathering: Gathering,
    /// When the session began and its latest moment, by the monotonic clock.
    start: u64,
    seen: u64,
    metrics: Metrics,
    kinds: Vec<ProxyKind>,
}

impl Export {
    fn new(signal: Signal, config: &ResourceConfig) -> Self {
        Self {
            signal,
            gathering: Gathering::new([signal], config.clone()).at_most(GATHERED),
            start: 0,
            seen: 0,
            metrics: Metrics::new(),
            kinds: Vec::new(),
        }
    }

    fn input(&mut self, input: &Input) {
        self.seen = self.seen.max(input.moment().unwrap_or(0));
        match input {
            Input::Start(start) if self.gathering.origin().is_none() => {
                self.start = start.started_mono_ns;
                // Nothing waits yet.
                self.gathering.start(start);
            }
            Input::Proxy(process)
                if !self.kinds.contains(&process.kind) && self.kinds.len() < 2 =>
            {
                self.kinds.push(process.kind.clone());
            }
            Input::Backends(backends) => self.metrics.backends(backends),
            Input::Losses(losses) => self.metrics.losses(losses),
            _ => {}
        }
    }

    fn cases(
        &mut self,
        cases: Vec<Case>,
        sink: &mut dyn FnMut(Payload) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if cases.is_empty() {
            return Ok(());
        }
        let origin = self.origin()?;
        for case in cases {
            if self.signal == Signal::Metrics {
                self.metrics.case(&case, &origin);
            } else {
                let full = self.gathering.add(case, self.seen);
                full.into_iter().try_for_each(&mut *sink)?;
            }
        }
        Ok(())
    }

    fn finish(
        &mut self,
        sink: &mut dyn FnMut(Payload) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.signal != Signal::Metrics {
            return self.gathering.take().into_iter().try_for_each(sink);
        }
        let origin = self.origin()?;
        let kind = match &self.kinds[..] {
            [kind] => Some(kind),
            _ => None,
        };
        let span = otlp::Span {
            start_unix_ns: origin.unix(self.start),
            now_unix_ns: origin.unix(self.seen),
        };
        let payloads = otlp::metrics(&self.metrics.families(), &origin, kind, span);
        payloads.into_iter().try_for_each(sink)
    }

    fn origin(&self) -> anyhow::Result<Origin> {
        self.gathering.origin().cloned().context(
            "the recording holds no start: host and times are not known, and without them ids would \
             not be unique",
        )
    }
}
