//! The serialised form. Described in docs/logs-json.md.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::logs::survey::{Example, Left, MeaningCount, Survey, Tally, Top};
use crate::report::LatencyDoc;

/// Name and version of the format.
pub const SCHEMA: &str = "why502-logs/1";
/// Names of a list, at most; the others are counted together.
const NAMED_MAX: usize = 100;
/// Buckets of time, at most.
const BUCKETS_MAX: usize = 240;
/// Bytes of a line in an entry; entries are kept until the end.
const LINE_BYTES: usize = 64 << 10;
/// Bytes of any other text in an entry.
const TEXT_BYTES: usize = 8 << 10;

/// The object that `--output json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct LogsDocument {
    /// Name and version of the format.
    pub schema: &'static str,
    /// Failures, in the order of the logs.
    pub entries: Vec<EntryDoc>,
    /// What all lines come to.
    pub summary: SummaryDoc,
}

/// A failure.
#[derive(Clone, Debug, Serialize)]
pub struct EntryDoc {
    /// `entry`.
    pub r#type: &'static str,
    /// Who wrote the line.
    pub system: &'static str,
    /// Form of the line.
    pub format: &'static str,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Status that the client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Backend of the last try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The rule behind it, if only one can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    /// Rules that can be behind it, the likely ones first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes_possible: Option<&'static [&'static str]>,
    /// What the line means.
    pub meaning: &'static str,
    /// The system's code or message that says so.
    pub code: &'static str,
    /// Where the failure lies.
    pub blame: &'static str,
    /// Path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Name of the file.
    pub file: String,
    /// From 1.
    pub line_number: u64,
    /// The line.
    pub line: String,
}

/// What all lines come to.
#[derive(Clone, Debug, Serialize)]
pub struct SummaryDoc {
    /// `summary`.
    pub r#type: &'static str,
    /// Name and version of the format.
    pub schema: &'static str,
    /// Version of why502.
    pub version: &'static str,
    /// Files that were read.
    pub files: u64,
    /// Lines of them.
    pub lines: u64,
    /// Lines that say of no failure.
    pub healthy: u64,
    /// Lines that say of a failure.
    pub failures: u64,
    /// Lines beside requests.
    pub context: u64,
    /// Lines without text.
    pub blank: u64,
    /// Lines outside the time that was asked for.
    pub outside_time: u64,
    /// Lines without a time, where one was asked for.
    pub without_time: u64,
    /// Failures with another status than was asked for.
    pub other_status: u64,
    /// Lines that could not be read.
    pub unparsed: UnparsedDoc,
    /// Lines that are too long.
    pub too_long: TooLongDoc,
    /// Files that could not be read, or not to their end.
    pub problems: Vec<ProblemDoc>,
    /// Such files beyond those in `problems`.
    #[serde(skip_serializing_if = "is_zero")]
    pub problems_left_out: u64,
    /// Failures without an entry of their own.
    pub entries_left_out: u64,
    /// Forms of the lines.
    pub formats: Vec<FormatDoc>,
    /// Time of the earliest line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Time of the latest line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// All lines by status.
    pub statuses: BTreeMap<String, u64>,
    /// Failures by status.
    pub by_status: CountDoc,
    /// Failures by backend.
    pub by_upstream: CountDoc,
    /// Failures by rule, where only one can be behind them.
    pub by_class: CountDoc,
    /// Failures by path.
    pub by_path: CountDoc,
    /// Failures and context by meaning.
    pub by_meaning: Vec<MeaningDoc>,
    /// Failures over time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_time: Option<OverTimeDoc>,
    /// Connecting to the backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<LatencyDoc>,
    /// To the head of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<LatencyDoc>,
    /// The whole request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<LatencyDoc>,
}

/// Counts of names.
#[derive(Clone, Debug, Serialize)]
pub struct CountDoc {
    /// The most frequent ones, largest first.
    pub named: Vec<NamedDoc>,
    /// All others together.
    pub other: u64,
    /// Failures without such a name.
    pub unknown: u64,
}

/// A name and its count.
#[derive(Clone, Debug, Serialize)]
pub struct NamedDoc {
    /// The name.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// A form of lines.
#[derive(Clone, Debug, Serialize)]
pub struct FormatDoc {
    /// Its name.
    pub format: &'static str,
    /// Lines of it.
    pub lines: u64,
}

/// Lines with one meaning.
#[derive(Clone, Debug, Serialize)]
pub struct MeaningDoc {
    /// Who wrote them.
    pub system: &'static str,
    /// The system's code or message.
    pub code: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Where the failure lies.
    pub blame: &'static str,
    /// Rules that can be behind it, the likely ones first.
    pub classes_possible: &'static [&'static str],
    /// How many.
    pub count: u64,
    /// Time of the earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Time of the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// The first few.
    pub examples: Vec<ExampleDoc>,
}

/// A line to show.
#[derive(Clone, Debug, Serialize)]
pub struct ExampleDoc {
    /// Name of the file.
    pub file: String,
    /// From 1.
    pub line_number: u64,
    /// The line, or its beginning.
    pub line: String,
    /// Where in the line it stops making sense, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
    /// What should be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<&'static str>,
}

/// Lines that could not be read.
#[derive(Clone, Debug, Serialize)]
pub struct UnparsedDoc {
    /// How many.
    pub count: u64,
    /// The first few.
    pub examples: Vec<ExampleDoc>,
}

/// Lines that are too long.
#[derive(Clone, Debug, Serialize)]
pub struct TooLongDoc {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first one's beginning.
    pub examples: Vec<ExampleDoc>,
}

/// A file that could not be read, or not to its end.
#[derive(Clone, Debug, Serialize)]
pub struct ProblemDoc {
    /// Its name.
    pub file: String,
    /// Why.
    pub what: String,
}

/// Failures over time.
#[derive(Clone, Debug, Serialize)]
pub struct OverTimeDoc {
    /// Seconds of a bucket.
    pub width_s: i64,
    /// From the first failure to the last.
    pub buckets: Vec<BucketDoc>,
    /// Failures without a time.
    pub unknown: u64,
}

/// A part of the time.
#[derive(Clone, Debug, Serialize)]
pub struct BucketDoc {
    /// Its beginning.
    pub time: String,
    /// Failures in it.
    pub count: u64,
}

impl From<&Left<'_>> for EntryDoc {
    fn from(left: &Left<'_>) -> Self {
        let found = left.found;
        let (class, classes_possible) = match found.meaning.classes {
            [] => (None, None),
            [only] => (Some(*only), None),
            several => (None, Some(several)),
        };
        Self {
            r#type: "entry",
            system: found.system.name(),
            format: found.format,
            time: found.time.map(|time| wall(time.unix_ns)),
            status: found.status,
            upstream: bounded(found.upstream.as_deref()),
            class,
            classes_possible,
            meaning: found.meaning.text,
            code: found.meaning.code,
            blame: found.meaning.blame.name(),
            path: bounded(found.path.as_deref()),
            request_id: bounded(found.request_id.as_deref()),
            file: left.file.to_owned(),
            line_number: left.line_number,
            line: String::from_utf8_lossy(&left.line[..left.line.len().min(LINE_BYTES)])
                .into_owned(),
        }
    }
}

fn bounded(text: Option<&str>) -> Option<String> {
    let text = text?;
    let end = text.floor_char_boundary(TEXT_BYTES);
    text.get(..end).map(str::to_owned)
}

impl SummaryDoc {
    /// `entries_left_out` failures have no entry of their own.
    pub fn new(survey: &Survey, entries_left_out: u64) -> Self {
        let Tally {
            lines,
            blank,
            healthy,
            unparsed,
            outside,
            without_time,
            other_status,
            ref formats,
            ref connect,
            ref header,
            ref total,
            span,
            ..
        } = survey.tally;
        let too_long = &survey.too_long;
        Self {
            r#type: "summary",
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            files: survey.files,
            lines: lines + too_long.count,
            healthy,
            failures: survey.failures,
            context: survey.context,
            blank,
            outside_time: outside,
            without_time,
            other_status,
            unparsed: UnparsedDoc {
                count: unparsed,
                examples: survey
                    .unparsed
                    .iter()
                    .map(|unparsed| ExampleDoc {
                        offset: Some(unparsed.error.offset),
                        expected: Some(unparsed.error.expected),
                        ..ExampleDoc::from(&unparsed.example)
                    })
                    .collect(),
            },
            too_long: TooLongDoc {
                count: too_long.count,
                bytes: too_long.bytes,
                examples: too_long.example.iter().map(ExampleDoc::from).collect(),
            },
            problems: survey
                .problems
                .iter()
                .map(|problem| ProblemDoc {
                    file: problem.file.clone(),
                    what: problem.trouble.to_string(),
                })
                .collect(),
            problems_left_out: survey.more_problems,
            entries_left_out,
            formats: formats
                .iter()
                .filter(|(_, lines)| *lines > 0)
                .map(|(format, lines)| FormatDoc {
                    format: format.name(),
                    lines: *lines,
                })
                .collect(),
            first: span.map(|(first, _)| wall(first)),
            last: span.map(|(_, last)| wall(last)),
            statuses: survey
                .tally
                .statuses()
                .map(|(status, lines)| (status.to_string(), lines))
                .collect(),
            by_status: counts(&survey.statuses),
            by_upstream: counts(&survey.backends),
            by_class: counts(&survey.classes),
            by_path: counts(&survey.paths),
            by_meaning: survey
                .meanings()
                .into_iter()
                .map(MeaningDoc::from)
                .collect(),
            over_time: over_time(survey),
            connect: connect.summary().map(LatencyDoc::from),
            header: header.summary().map(LatencyDoc::from),
            total: total.summary().map(LatencyDoc::from),
        }
    }
}

impl From<&MeaningCount> for MeaningDoc {
    fn from(counted: &MeaningCount) -> Self {
        let meaning = counted.meaning;
        Self {
            system: counted.system.name(),
            code: meaning.code,
            meaning: meaning.text,
            blame: meaning.blame.name(),
            classes_possible: meaning.classes,
            count: counted.count,
            first: counted.span.map(|(first, _)| wall(first)),
            last: counted.span.map(|(_, last)| wall(last)),
            examples: counted.examples.iter().map(ExampleDoc::from).collect(),
        }
    }
}

impl From<&Example> for ExampleDoc {
    fn from(example: &Example) -> Self {
        Self {
            file: example.file.clone(),
            line_number: example.line_number,
            line: example.line.clone(),
            offset: None,
            expected: None,
        }
    }
}

fn counts<K: std::hash::Hash + Eq + Ord + Clone + ToString>(top: &Top<K>) -> CountDoc {
    let (named, other) = top.largest(NAMED_MAX);
    CountDoc {
        named: named
            .into_iter()
            .map(|(name, count)| NamedDoc {
                name: name.to_string(),
                count,
            })
            .collect(),
        other,
        unknown: top.unknown(),
    }
}

fn over_time(survey: &Survey) -> Option<OverTimeDoc> {
    let shown = survey.over_time.at_most(BUCKETS_MAX);
    let buckets: Vec<BucketDoc> = shown
        .buckets()
        .map(|(second, count)| BucketDoc {
            time: wall(second.saturating_mul(1_000_000_000)),
            count,
        })
        .collect();
    (!buckets.is_empty()).then(|| OverTimeDoc {
        width_s: shown.width_s(),
        buckets,
        unknown: shown.unknown(),
    })
}

/// RFC 3339, UTC, microseconds (rounded down).
fn wall(unix_ns: i64) -> String {
    let time = Timestamp::from_microsecond(unix_ns.div_euclid(1000)).unwrap_or_default();
    format!("{time:.6}")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}
