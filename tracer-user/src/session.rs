//! One session: inputs in, cases out. The same code for live capture and replay.

mod groups;
mod standby;
mod tally;

use crate::case::Case;
use crate::correlate::Correlator;
use crate::event::{Input, MonoNs};
use crate::join::Joiner;
use crate::report::{CaseDoc, Document, Header};
use tally::Tally;

pub(crate) use groups::blamed_attempt;

/// Folds inputs into cases and counts. Memory is bounded whatever comes; what did not fit is
/// counted and said in the notes.
#[derive(Debug)]
pub struct Session {
    correlator: Correlator,
    joiner: Joiner,
    /// The end came.
    is_over: bool,
    /// Latest moment that an input told.
    now: MonoNs,
    /// Cases before this moment are left out.
    since: MonoNs,
    tally: Tally,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session that has seen nothing; feed it [`Input::Start`] first.
    pub fn new() -> Self {
        Self {
            correlator: Correlator::new(),
            joiner: Joiner::default(),
            is_over: false,
            now: 0,
            since: 0,
            tally: Tally::default(),
        }
    }

    /// Takes the next input and gives the cases that it completed.
    pub fn input(&mut self, input: &Input) -> Vec<Case> {
        self.tally.input(input);
        let mut cases = self.correlator.input(input);
        match input {
            Input::Start(start) => self.joiner.start(start),
            Input::Since(since) => self.since = *since,
            Input::Log(read) => self.joiner.line(read),
            Input::LogSources(sources) => self.joiner.sources(sources),
            _ => {}
        }
        if self.joiner.is_on() {
            self.now = self.now.max(input.moment().unwrap_or(0));
            cases = match input {
                Input::End(now) => {
                    self.is_over = true;
                    let cases = self.joiner.finish(cases, *now, &mut self.correlator);
                    self.correlator.close();
                    cases
                }
                _ => self.joiner.advance(cases, self.now, &mut self.correlator),
            };
        }
        self.of_interest(cases)
    }

    fn of_interest(&mut self, mut cases: Vec<Case>) -> Vec<Case> {
        cases.retain(|case| case.time_ns >= self.since);
        self.count(&cases);
        cases
    }

    /// Gives the cases that still wait, when a recording breaks off before its end.
    pub fn finish(&mut self) -> Vec<Case> {
        if !self.joiner.is_on() || self.is_over {
            return Vec::new();
        }
        let cases = self
            .joiner
            .finish(Vec::new(), self.now, &mut self.correlator);
        self.of_interest(cases)
    }

    /// The latest moment that is known, if logs wait for it.
    pub fn last_moment(&self) -> Option<MonoNs> {
        (self.joiner.is_on() && !self.is_over).then_some(self.now)
    }

    /// Logs will be read whole, behind the other inputs and before the end: cases wait for that. To be
    /// called before the first input.
    pub fn wait_for_logs(&mut self) {
        self.joiner.wait_for_all();
        self.correlator.wait_for_logs();
    }

    /// Counts cases, as [`Session::input`] does.
    pub(crate) fn count(&mut self, cases: &[Case]) {
        for case in cases {
            self.tally.case(case);
        }
    }

    /// Adds a sentence that the reader of the report must see. It is not part of a recording: use it
    /// for what happened to this run only (the recording failed, a recording is torn).
    pub fn note(&mut self, note: impl Into<String>) {
        self.tally.note(note.into());
    }

    /// What is known at the start, for the first line of a stream.
    pub fn header(&self) -> Header {
        self.tally.header()
    }

    /// One of this session's cases as it is serialised.
    pub fn case_document(&self, case: &Case) -> CaseDoc {
        self.tally.case_document(case)
    }

    /// Everything known so far.
    pub fn document(&self) -> Document {
        let counters = self.correlator.counters();
        let mut document = self.tally.document(&counters, &self.joiner.counts());
        document.notes.extend(self.correlator.notes());
        document
    }
}
