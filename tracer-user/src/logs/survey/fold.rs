//! Failures in the order in which they stand in the logs.

use std::collections::{BTreeMap, HashMap};

use super::over_time::OverTime;
use super::sift::{Found, Sifted, UNPARSED_MAX};
use super::tally::Tally;
use super::top::Top;
use crate::logs::read::{Source, Trouble};
use crate::logs::{Meaning, ParseError, System};

/// Names that are counted one by one, of paths and of backends.
const NAMES_MAX: usize = 10_000;
/// Bytes of a name that count.
const NAME_BYTES: usize = 200;
/// Examples of each meaning.
const EXAMPLES_MAX: usize = 3;
/// Bytes of a line that is kept as an example.
const LINE_BYTES: usize = 2_048;
/// Sources whose trouble is kept; more are only counted.
const PROBLEMS_MAX: usize = 1_000;

/// Everything that was counted.
#[derive(Debug)]
pub struct Survey {
    /// What the order of lines has no part in; complete at the end.
    pub tally: Tally,
    /// Sources that were read, at least in part.
    pub files: u64,
    /// Failures: lines whose meaning is one.
    pub failures: u64,
    /// Lines of no request: the health of a backend, a hint.
    pub context: u64,
    /// Failures by status.
    pub statuses: Top<u16>,
    /// Failures by backend.
    pub backends: Top<String>,
    /// Failures by path.
    pub paths: Top<String>,
    /// Failures of which only one rule can be the cause, by that rule; unknown: the others.
    pub classes: Top<String>,
    /// Failures over time.
    pub over_time: OverTime,
    /// The first lines that could not be read.
    pub unparsed: Vec<Unparsed>,
    /// Lines that are too long to be read.
    pub too_long: Missed,
    /// Sources that could not be read, or not to their end.
    pub problems: Vec<Problem>,
    /// Such sources that found no room in `problems`.
    pub more_problems: u64,
    meanings: HashMap<(System, &'static str, &'static str), MeaningCount>,
    names: Vec<String>,
    seen: BTreeMap<usize, u64>,
}

/// Failures with one meaning.
#[derive(Clone, Debug)]
pub struct MeaningCount {
    /// Who wrote them.
    pub system: System,
    /// What they mean.
    pub meaning: &'static Meaning,
    /// How many.
    pub count: u64,
    /// The earliest and the latest, ns since the epoch.
    pub span: Option<(i64, i64)>,
    /// The first few.
    pub examples: Vec<Example>,
}

/// A line to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Name of the source.
    pub file: String,
    /// From 1.
    pub line_number: u64,
    /// The line, or its beginning.
    pub line: String,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unparsed {
    /// The line.
    pub example: Example,
    /// Where it stops making sense.
    pub error: ParseError,
}

/// Lines that are too long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The beginning of the first.
    pub example: Option<Example>,
}

/// A source that could not be read, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the source.
    pub file: String,
    /// Why.
    pub trouble: Trouble,
}

/// A failure, with the line as it stands in the log.
#[derive(Debug)]
pub struct Left<'a> {
    /// What was understood.
    pub found: &'a Found,
    /// Name of the source.
    pub file: &'a str,
    /// From 1.
    pub line_number: u64,
    /// The line.
    pub line: &'a [u8],
}

impl Survey {
    pub(super) fn new(sources: &[Source]) -> Self {
        Self {
            tally: Tally::default(),
            files: sources.len() as u64,
            failures: 0,
            context: 0,
            statuses: Top::new(usize::MAX),
            backends: Top::new(NAMES_MAX),
            paths: Top::new(NAMES_MAX),
            classes: Top::new(usize::MAX),
            over_time: OverTime::default(),
            unparsed: Vec::new(),
            too_long: Missed::default(),
            problems: Vec::new(),
            more_problems: 0,
            meanings: HashMap::new(),
            names: sources.iter().map(Source::name).collect(),
            seen: BTreeMap::new(),
        }
    }

    /// Meanings of failures, the most frequent first; then those of context.
    pub fn meanings(&self) -> Vec<&MeaningCount> {
        let mut all: Vec<&MeaningCount> = self.meanings.values().collect();
        all.sort_by_key(|one| {
            let context = !one.meaning.is_failure();
            let most = std::cmp::Reverse(one.count);
            (
                context,
                most,
                one.system,
                one.meaning.code,
                one.meaning.text,
            )
        });
        all
    }

    /// Counts what a block holds, the blocks of a source in their order.
    pub(super) fn block<E>(
        &mut self,
        source: usize,
        block: &[u8],
        sifted: &Sifted,
        mut failure: impl FnMut(&Left<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.advance(source, sifted.lines);
        // Out of `self` for a while, so that the rest of it can be changed.
        let names = std::mem::take(&mut self.names);
        let file = names.get(source).map_or("", String::as_str);
        for unread in &sifted.unread {
            if self.unparsed.len() >= UNPARSED_MAX {
                break;
            }
            let line = block.get(unread.line.clone()).unwrap_or_default();
            self.unparsed.push(Unparsed {
                example: example(file, before + unread.before + 1, line),
                error: unread.error,
            });
        }
        let mut done = Ok(());
        for found in &sifted.found {
            let left = Left {
                found,
                file,
                line_number: before + found.before + 1,
                line: block.get(found.line.clone()).unwrap_or_default(),
            };
            self.count(&left);
            if found.meaning.is_failure() {
                done = failure(&left);
                if done.is_err() {
                    break;
                }
            }
        }
        self.names = names;
        done
    }

    /// Counts a line that is too long.
    pub(super) fn too_long(&mut self, source: usize, head: &[u8], bytes: u64) {
        let before = self.advance(source, 1);
        self.too_long.count += 1;
        self.too_long.bytes += bytes;
        if self.too_long.example.is_none() {
            let file = self.names.get(source).map_or("", String::as_str);
            self.too_long.example = Some(example(file, before + 1, head));
        }
    }

    /// Keeps that a source could not be read.
    pub(super) fn trouble(&mut self, source: usize, trouble: Trouble) {
        let file = self.names.get(source).cloned().unwrap_or_default();
        if matches!(trouble, Trouble::Io(_)) && !self.seen.contains_key(&source) {
            self.files = self.files.saturating_sub(1);
        }
        self.problem(Problem { file, trouble });
    }

    /// Keeps that something could not be read.
    pub fn problem(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    /// Lines of this source before these.
    fn advance(&mut self, source: usize, lines: u64) -> u64 {
        if !self.seen.contains_key(&source) {
            // Sources come one after the other.
            self.seen.clear();
        }
        let seen = self.seen.entry(source).or_default();
        let before = *seen;
        *seen += lines;
        before
    }

    fn count(&mut self, left: &Left<'_>) {
        let found = left.found;
        let meaning = found.meaning;
        let unix_ns = found.time.map(|time| time.unix_ns);
        let key = (found.system, meaning.code, meaning.text);
        let counted = self.meanings.entry(key).or_insert_with(|| MeaningCount {
            system: found.system,
            meaning,
            count: 0,
            span: None,
            examples: Vec::new(),
        });
        counted.count += 1;
        if let Some(at) = unix_ns {
            let (first, last) = counted.span.unwrap_or((at, at));
            counted.span = Some((first.min(at), last.max(at)));
        }
        if counted.examples.len() < EXAMPLES_MAX {
            let example = example(left.file, left.line_number, left.line);
            counted.examples.push(example);
        }
        if !meaning.is_failure() {
            self.context += 1;
            return;
        }
        self.failures += 1;
        self.statuses.add(found.status.as_ref());
        self.backends.add(found.upstream.as_deref().map(bounded));
        self.paths.add(found.path.as_deref().map(bounded));
        let class = match meaning.classes {
            [only] => Some(*only),
            _ => None,
        };
        self.classes.add(class);
        self.over_time.add(unix_ns);
    }
}

fn bounded(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_BYTES))
        .unwrap_or(name)
}

fn example(file: &str, line_number: u64, line: &[u8]) -> Example {
    let kept = &line[..line.len().min(LINE_BYTES)];
    Example {
        file: file.to_owned(),
        line_number,
        line: String::from_utf8_lossy(kept).into_owned(),
    }
}
