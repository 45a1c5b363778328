//! Lines of a block: counts the healthy ones, and hands on what says of a failure or cannot be read.

use std::ops::Range;
use std::sync::Arc;

use super::options::{Choice, Options, Within};
use super::tally::Tally;
use crate::logs::{Entry, Format, Meaning, ParseError, Stamp, System, detect};

/// Lines of one block that could not be read and are kept to be shown; more are only counted.
pub(super) const UNPARSED_MAX: usize = 10;

/// A line that says of a failure, or of something beside one.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Who wrote it.
    pub system: System,
    /// Name of its form.
    pub format: &'static str,
    /// When.
    pub time: Option<Stamp>,
    /// Status that the client got.
    pub status: Option<u16>,
    /// The backend of the last try.
    pub upstream: Option<String>,
    /// Path of the request.
    pub path: Option<String>,
    /// Id of the request.
    pub request_id: Option<String>,
    /// What the line means.
    pub meaning: &'static Meaning,
    /// Where in the block the line stands.
    pub(super) line: Range<usize>,
    /// Lines before it in the block.
    pub(super) before: u64,
}

/// A line that no form fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) line: Range<usize>,
    pub(super) before: u64,
    pub(super) error: ParseError,
}

/// What one block holds.
#[derive(Debug, Default)]
pub(super) struct Sifted {
    pub(super) lines: u64,
    pub(super) found: Vec<Found>,
    /// The first few.
    pub(super) unread: Vec<Unread>,
}

/// Reads blocks, one after the other.
#[derive(Debug)]
pub(super) struct Sifter {
    options: Arc<Options>,
    tally: Tally,
    /// Form of the line before, as a place in the tally.
    last: Option<(Format, usize)>,
}

enum Read<'a> {
    Entry(Box<Entry<'a>>),
    Healthy,
    Not(ParseError),
}

impl Sifter {
    pub(super) fn new(options: Arc<Options>) -> Self {
        let mut tally = Tally::default();
        let last = match &options.format {
            Choice::Auto => None,
            Choice::Is(format) => Some((format.clone(), tally.place_of(format))),
        };
        Self {
            options,
            tally,
            last,
        }
    }

    pub(super) fn finish(self) -> Tally {
        self.tally
    }

    pub(super) fn block(&mut self, block: &[u8]) -> Sifted {
        if self.options.format == Choice::Auto {
            // Which block this thread had before is chance, and must not show.
            self.last = None;
        }
        let mut sifted = Sifted::default();
        let mut start = 0;
        while start < block.len() {
            let rest = &block[start..];
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.line(line, start, &mut sifted);
            sifted.lines += 1;
            start += length + 1;
        }
        self.tally.lines += sifted.lines;
        sifted
    }

    fn line(&mut self, line: &[u8], start: usize, sifted: &mut Sifted) {
        let place = || start..start + line.len();
        if line.is_empty() {
            self.tally.blank += 1;
            return;
        }
        match self.read(line) {
            Read::Healthy => {}
            Read::Entry(entry) => self.entry(&entry, place(), sifted),
            Read::Not(_) if line.trim_ascii().is_empty() => self.tally.blank += 1,
            Read::Not(error) => {
                self.tally.unparsed += 1;
                if sifted.unread.len() < UNPARSED_MAX {
                    sifted.unread.push(Unread {
                        line: place(),
                        before: sifted.lines,
                        error,
                    });
                }
            }
        }
    }

    /// A line in the form of the line before it, or in the one that it looks like.
    fn read<'a>(&mut self, line: &'a [u8]) -> Read<'a> {
        let mut error = None;
        let auto = self.options.format == Choice::Auto;
        let tried = self.last.as_ref();
        let tried = tried.filter(|(format, _)| !auto || !format.is_loose());
        if let Some((format, place)) = tried {
            if let Some(skim) = format.skim(line) {
                count(&mut self.tally, *place);
                match self.options.within(skim.time) {
                    Within::Yes => {
                        self.tally.healthy += 1;
                        self.tally.line(skim.time, skim.status, &skim.durations);
                    }
                    Within::No => self.tally.outside += 1,
                    Within::Unknown => self.tally.without_time += 1,
                }
                return Read::Healthy;
            }
            match format.parse(line, &self.options.assume) {
                Ok(entry) => {
                    count(&mut self.tally, *place);
                    return Read::Entry(Box::new(entry));
                }
                Err(why) => error = Some(why),
            }
        }
        if auto {
            let tried = tried.map(|(format, _)| format);
            match detect(line) {
                // It is not even like the line before it, so that what that form says does not help.
                None => error = None,
                Some(format) if tried == Some(&format) => {}
                Some(format) => match format.parse(line, &self.options.assume) {
                    Ok(entry) => {
                        let place = self.tally.place_of(&format);
                        self.last = Some((format, place));
                        count(&mut self.tally, place);
                        return Read::Entry(Box::new(entry));
                    }
                    Err(why) => error = Some(why),
                },
            }
        }
        Read::Not(error.unwrap_or(ParseError {
            offset: 0,
            expected: "a line of a form that is known",
        }))
    }

    fn entry(&mut self, entry: &Entry<'_>, line: Range<usize>, sifted: &mut Sifted) {
        match self.options.within(entry.time) {
            Within::Yes => {}
            Within::No => return self.tally.outside += 1,
            Within::Unknown => return self.tally.without_time += 1,
        }
        self.tally
            .line(entry.time, entry.status, &entry.durations());
        let Some(meaning) = entry.meaning else {
            self.tally.healthy += 1;
            return;
        };
        if meaning.is_failure() && !self.options.wants(entry.status) {
            self.tally.other_status += 1;
            return;
        }
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let format = self.last.as_ref().map_or("", |(format, _)| format.name());
        sifted.found.push(Found {
            system: entry.system,
            format,
            time: entry.time,
            status: entry.status,
            upstream: entry.upstream(),
            path: owned(entry.path()),
            request_id: owned(entry.request_id.as_deref()),
            meaning,
            line,
            before: sifted.lines,
        });
    }
}

fn count(tally: &mut Tally, place: usize) {
    if let Some((_, lines)) = tally.formats.get_mut(place) {
        *lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::assume;

    const OK: &str = r#"http 2026-11-22T07:31:02.417305Z app/shop/50 203.0.113.5:51544 192.0.2.20:8080 0.001 0.020 0.000 200 200 312 277 "GET http://shop.example.com:80/cart?id=7 HTTP/1.1" "curl/8.5" - -"#;

    fn sift(options: Options, text: &str) -> (Sifted, Tally) {
        let mut sifter = Sifter::new(Arc::new(options));
        let sifted = sifter.block(text.as_bytes());
        (sifted, sifter.finish())
    }

    fn options() -> Options {
        Options {
            format: Choice::Auto,
            assume: assume(),
            since: None,
            until: None,
            statuses: Vec::new(),
        }
    }

    #[test]
    fn every_line_is_counted_once() {
        let failed = OK.replacen("200 200", "502 -", 1);
        let gone = OK.replacen("200 200", "504 -", 1);
        let text =
            format!("{OK}\n{failed}\r\n\n \r\nwhat?\n{OK}\n{gone}\nhttp yesterday app/x\n{OK}");
        let all = |options: Options| {
            let (sifted, tally) = sift(options, &text);
            assert_eq!((sifted.lines, tally.lines), (9, 9));
            let found = sifted.found.len() as u64;
            let sum = [
                tally.blank,
                tally.healthy,
                tally.unparsed,
                tally.outside,
                tally.without_time,
                tally.other_status,
                found,
            ];
            assert_eq!(sum.iter().sum::<u64>(), 9, "{sum:?}");
            (sum, sifted, tally)
        };
        let (sum, sifted, tally) = all(options());
        assert_eq!(sum, [2, 3, 2, 0, 0, 0, 2]);
        assert_eq!(tally.formats, [(Format::AwsAlb, 5)]);
        assert_eq!(&text[sifted.found[0].line.clone()], failed);
        assert_eq!(sifted.found[0].before, 1);
        assert_eq!(sifted.found[1].path.as_deref(), Some("/cart"));
        let statuses: Vec<_> = tally.statuses().collect();
        assert_eq!(statuses, [(200, 3), (502, 1), (504, 1)]);
        assert_eq!(&text[sifted.unread[0].line.clone()], "what?");
        assert_eq!(sifted.unread[1].error.offset, 5);

        let only = |statuses: &[u16]| Options {
            statuses: statuses.to_vec(),
            ..options()
        };
        assert_eq!(all(only(&[504])).0, [2, 3, 2, 0, 0, 1, 1]);
        let at = sifted.found[0].time.unwrap().unix_ns;
        for (since, until, outside) in [(at, at + 1, 0), (at + 1, i64::MAX, 5), (0, at, 5)] {
            let (since, until) = (Some(since), Some(until));
            let (sum, ..) = all(Options {
                since,
                until,
                ..options()
            });
            assert_eq!(sum[3], outside);
        }
        let (sum, ..) = all(Options {
            format: Choice::Is(Format::Gcp),
            ..options()
        });
        assert_eq!(sum, [2, 0, 7, 0, 0, 0, 0]);
    }
}
