//! A recording to documents: the cases as they become known, the counts at its end.

use std::io::Read;

use anyhow::Context as _;

use super::resource::{Origin, ResourceConfig};
use super::{Metrics, otlp, zipkin};
use crate::case::Case;
use crate::deliver::Payload;
use crate::event::{Input, ProxyKind, SessionStart};
use crate::recording::{Reader, Tear};
use crate::session::Session;

/// Cases that are gathered before documents are made of them.
const GATHERED: usize = 512;

/// What is to be made of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Documents {
    /// OTLP traces.
    Traces,
    /// OTLP metrics.
    Metrics,
    /// OTLP logs.
    Logs,
    /// Zipkin v2 spans.
    Zipkin,
}

/// Hands on the documents of a recording in bounded memory; gives the tear, if it breaks off.
///
/// # Errors
///
/// It is no recording, or `sink` fails.
pub fn replay(
    source: impl Read,
    what: Documents,
    config: &ResourceConfig,
    sink: &mut dyn FnMut(Payload) -> anyhow::Result<()>,
) -> anyhow::Result<Option<Tear>> {
    let mut reader = Reader::new(source)?;
    let mut session = Session::new();
    let mut export = Export::new(what, config);
    for input in reader.by_ref() {
        let cases = session.input(&input);
        export.input(&input);
        export.cases(cases, sink)?;
    }
    export.cases(session.finish(), sink)?;
    export.finish(sink)?;
    Ok(reader.tear().cloned())
}

struct Export<'a> {
    what: Documents,
    config: &'a ResourceConfig,
    origin: Option<Origin>,
    /// When the session began and its latest moment, by the monotonic clock.
    start: u64,
    seen: u64,
    waiting: Vec<Case>,
    metrics: Metrics,
    kinds: Vec<ProxyKind>,
}

impl<'a> Export<'a> {
    fn new(what: Documents, config: &'a ResourceConfig) -> Self {
        Self {
            what,
            config,
            origin: None,
            start: 0,
            seen: 0,
            waiting: Vec::new(),
            metrics: Metrics::new(),
            kinds: Vec::new(),
        }
    }

    fn input(&mut self, input: &Input) {
        self.seen = self.seen.max(input.moment().unwrap_or(0));
        match input {
            Input::Start(start) if self.origin.is_none() => self.start(start),
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

    fn start(&mut self, start: &SessionStart) {
        self.start = start.started_mono_ns;
        self.origin = Some(Origin::new(start, self.config.clone()));
    }

    fn cases(
        &mut self,
        cases: Vec<Case>,
        sink: &mut dyn FnMut(Payload) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if cases.is_empty() {
            return Ok(());
        }
        if self.what == Documents::Metrics {
            let origin = self.origin()?;
            for case in &cases {
                self.metrics.case(case, &origin);
            }
            return Ok(());
        }
        self.waiting.extend(cases);
        if self.waiting.len() >= GATHERED {
            self.flush(sink)?;
        }
        Ok(())
    }

    fn flush(&mut self, sink: &mut dyn FnMut(Payload) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let cases = std::mem::take(&mut self.waiting);
        if cases.is_empty() {
            return Ok(());
        }
        let origin = self.origin()?;
        let payloads = match self.what {
            Documents::Traces => otlp::traces(&cases, &origin),
            Documents::Logs => otlp::logs(&cases, &origin),
            Documents::Zipkin => zipkin(&cases, &origin),
            Documents::Metrics => Vec::new(),
        };
        payloads.into_iter().try_for_each(sink)
    }

    fn finish(
        &mut self,
        sink: &mut dyn FnMut(Payload) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.what != Documents::Metrics {
            return self.flush(sink);
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
        self.origin.clone().context(
            "the recording holds no start: host and times are not known, and without them ids would \
             not be unique",
        )
    }
}
