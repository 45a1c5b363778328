//! What became of the lines of one log, as it is serialised.

use serde::Serialize;

use crate::join::JoinCounts;

/// A log that was followed or read.
#[derive(Clone, Debug, Serialize)]
pub struct LogSourceDoc {
    /// The file.
    pub path: String,
    /// Forms of line that were found.
    pub formats: Vec<String>,
    /// Lines read.
    pub lines: u64,
    /// Lines whose form is not known.
    pub unparsed: u64,
    /// Bytes that were passed over.
    pub skipped_bytes: u64,
    /// Lines that tell of a failure.
    pub failures: u64,
    /// Of those, lines that are in a case.
    pub joined: u64,
    /// Further lines about cases that are known.
    pub known: u64,
    /// Failures of the client's or the proxy's own making.
    pub not_the_backend: u64,
    /// Failures with a status that is not watched.
    pub unwatched: u64,
    /// Failures for which no cause was found.
    pub without_cause: u64,
    /// Cases for which several lines were as good, so that none was joined.
    pub ambiguous_cases: u64,
    /// Lines that were let go because too many waited.
    pub let_go: u64,
    /// The log's clock minus ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_skew_us: Option<i64>,
    /// Pairs of line and case that say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_skew_pairs: Option<usize>,
    /// Some of the lines without a cause.
    pub examples: Vec<LogExampleDoc>,
}

/// A line for which no cause was found.
#[derive(Clone, Debug, Serialize)]
pub struct LogExampleDoc {
    /// Number of the line, from 1.
    pub line_number: u64,
    /// The line, without query strings.
    pub line: String,
}

impl From<&JoinCounts> for LogSourceDoc {
    fn from(counts: &JoinCounts) -> Self {
        let source = &counts.source;
        Self {
            path: source.path.clone(),
            formats: source.formats.clone(),
            lines: source.lines,
            unparsed: source.unparsed,
            skipped_bytes: source.skipped_bytes,
            failures: counts.failures,
            joined: counts.joined,
            known: counts.known,
            not_the_backend: counts.not_the_backend,
            unwatched: counts.unwatched,
            without_cause: counts.without_cause,
            ambiguous_cases: counts.ambiguous_cases,
            let_go: counts.let_go,
            clock_skew_us: counts.skew.map(|(ns, _)| ns / 1000),
            clock_skew_pairs: counts.skew.map(|(_, pairs)| pairs),
            examples: counts
                .examples
                .iter()
                .map(|(number, line)| LogExampleDoc {
                    line_number: *number,
                    line: line.clone(),
                })
                .collect(),
        }
    }
}
