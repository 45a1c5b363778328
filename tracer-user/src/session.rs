//! One session: inputs in, cases out. The same code for live capture and replay.

mod groups;
mod tally;

use crate::case::Case;
use crate::correlate::Correlator;
use crate::event::Input;
use crate::report::{CaseDoc, Document, Header};
use tally::Tally;

/// Folds inputs into cases and counts. Memory is bounded whatever comes; what did not fit is
/// counted and said in the notes.
#[derive(Debug)]
pub struct Session {
    correlator: Correlator,
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
            tally: Tally::default(),
        }
    }

    /// Takes the next input and gives the cases that it completed.
    pub fn input(&mut self, input: &Input) -> Vec<Case> {
        self.tally.input(input);
        let cases = self.correlator.input(input);
        self.count(&cases);
        cases
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
        let mut document = self.tally.document(&self.correlator.counters());
        document.notes.extend(self.correlator.notes());
        document
    }
}
