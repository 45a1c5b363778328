//! What became of the lines.

use std::collections::BTreeMap;

use super::sighting::Sighting;
use super::skew::{Skew, median};
use crate::event::LogSource;
use crate::printable::printable;

/// A log's clock that is off by less than this is told in the JSON only, ns.
const SKEW_TOLD_NS: u64 = 1_000_000_000;
/// Differences of clocks that are kept.
const APART_MAX: usize = 1024;
/// Lines without a cause that are shown.
const EXAMPLES: usize = 5;

/// Counts of one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct JoinCounts {
    /// What the reader of the file said.
    pub(crate) source: LogSource,
    /// Lines that tell of a failure.
    pub(crate) failures: u64,
    /// Lines that are in a case.
    pub(crate) joined: u64,
    /// Lines about cases that are known, beside those that are in them.
    pub(crate) known: u64,
    /// Failures of the client's or the proxy's own making.
    pub(crate) not_the_backend: u64,
    /// Lines with statuses that were not asked for.
    pub(crate) unwatched: u64,
    /// Failures for which no cause was found.
    pub(crate) without_cause: u64,
    /// Cases for which several lines were as good.
    pub(crate) ambiguous_cases: u64,
    /// Lines that were let go because too many waited.
    pub(crate) let_go: u64,
    /// Some of those without a cause.
    pub(crate) examples: Vec<(u64, String)>,
    /// The log's clock minus ours, ns, and the number of pairs that say so.
    pub(crate) skew: Option<(i64, usize)>,
    apart: Vec<i64>,
}

impl JoinCounts {
    pub(super) fn apart(&mut self, ns: i64) {
        if self.apart.len() < APART_MAX {
            self.apart.push(ns);
        }
    }

    /// What a reader of the report must know about this log.
    pub(crate) fn notes(&self) -> Vec<String> {
        let path = printable(&self.source.path, 200);
        let mut notes = Vec::new();
        if let Some(trouble) = &self.source.trouble {
            notes.push(format!("Log {path}: {}", printable(trouble, 200)));
        }
        if self.source.skipped_bytes > 0 {
            notes.push(format!(
                "Log {path}: {} bytes were passed over (lines that were too long, or more than could be \
                 read in time): some failures may lack their line",
                self.source.skipped_bytes
            ));
        }
        if self.source.unparsed > 0 {
            notes.push(format!(
                "Log {path}: {} of {} lines have no form that is known",
                self.source.unparsed, self.source.lines
            ));
        }
        if self.without_cause > 0 {
            notes.push(format!(
                "Log {path}: {} failures are in the log and no failed connection that was seen is \
                 behind them",
                self.without_cause
            ));
        }
        if self.ambiguous_cases > 0 {
            notes.push(format!(
                "Log {path}: for {} cases several lines fitted equally well, so none was joined (why502 \
                 explain log-format shows a format that tells them apart)",
                self.ambiguous_cases
            ));
        }
        if let Some((ns, pairs)) = self.skew
            && ns.unsigned_abs() >= SKEW_TOLD_NS
        {
            notes.push(format!(
                "Log {path}: its clock is {:.3} s {} ours (from {pairs} pairs)",
                ns.unsigned_abs() as f64 / 1e9,
                if ns > 0 { "ahead of" } else { "behind" }
            ));
        }
        notes
    }

    pub(super) fn without_cause(&mut self, line: &Sighting) {
        self.without_cause += 1;
        if self.examples.len() < EXAMPLES {
            let told = line.told(crate::case::JoinKey::Time);
            self.examples.push((told.number, told.line));
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    files: BTreeMap<String, JoinCounts>,
    /// Cases that did not wait as long as they should have.
    pub(super) hurried: u64,
    /// Cases that only a log told of.
    pub(super) from_logs: u64,
    /// Found before anything was joined.
    pub(super) skew: Option<Skew>,
}

impl Counts {
    pub(super) fn of(&mut self, file: &str) -> &mut JoinCounts {
        if !self.files.contains_key(file) {
            self.files.insert(file.to_owned(), JoinCounts::default());
        }
        self.files.entry(file.to_owned()).or_default()
    }

    pub(super) fn sources(&mut self, sources: &[LogSource]) {
        for source in sources {
            self.of(&source.path).source.clone_from(source);
        }
    }

    pub(super) fn list(&self) -> Vec<JoinCounts> {
        let with_skew = |(file, counts): (&String, &JoinCounts)| {
            let mut counts = counts.clone();
            counts.source.path.clone_from(file);
            let skew = self.skew.or_else(|| median(counts.apart.clone()));
            counts.skew = skew.map(|skew| (skew.ns, skew.pairs));
            counts
        };
        self.files.iter().map(with_skew).collect()
    }
}
