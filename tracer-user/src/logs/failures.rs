//! Lines that tell of failures, in a log of which the form may not be known.

use super::{Assume, Entry, Format, detect, without_queries};
use crate::event::{LogRead, LogSource, MonoNs};

/// Reads the lines of one log, in their order.
#[derive(Debug)]
pub(crate) struct FailureLines {
    /// The form that the user named.
    pub(crate) given: Option<Format>,
    /// Form of the last line.
    last: Option<Format>,
}

/// A line that tells of a failure, its queries left out.
#[derive(Debug)]
pub(crate) struct FailureLine {
    /// When, as the line says, ns since the epoch.
    pub(crate) unix_ns: Option<i64>,
    format: String,
    line: String,
}

impl FailureLines {
    pub(crate) fn new(given: Option<Format>) -> Self {
        Self { given, last: None }
    }

    /// Reads a line. Forms, and lines that have none, are noted in `source`.
    pub(crate) fn line(
        &mut self,
        line: &[u8],
        assume: &Assume,
        source: &mut LogSource,
    ) -> Option<FailureLine> {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return None;
        }
        let Some((format, entry)) = self.understand(line, assume) else {
            source.unparsed += 1;
            return None;
        };
        let failed = entry.meaning.is_some_and(|meaning| meaning.is_failure());
        let failure = failed.then(|| FailureLine {
            unix_ns: entry.time.or(entry.started).map(|stamp| stamp.unix_ns),
            format: format.spec().to_owned(),
            line: without_queries(&String::from_utf8_lossy(line)),
        });
        if self.last.as_ref() != Some(&format) {
            source.add_format(format.name());
            self.last = Some(format);
        }
        failure
    }

    /// By the form that was given, else by that of the line before, else by a look at the line.
    fn understand<'a>(&self, line: &'a [u8], assume: &Assume) -> Option<(Format, Entry<'a>)> {
        let by = |format: &Format| Some((format.clone(), format.parse(line, assume).ok()?));
        if let Some(given) = &self.given {
            return by(given);
        }
        let last = self.last.as_ref().filter(|last| !last.is_loose());
        last.and_then(by).or_else(|| by(&detect(line)?))
    }
}

impl FailureLine {
    /// As line `number` of that log, seen then.
    pub(crate) fn of(self, source: &LogSource, number: u64, time_ns: MonoNs) -> LogRead {
        LogRead {
            time_ns,
            path: source.path.clone(),
            format: self.format,
            number,
            line: self.line,
        }
    }
}
