//! Follows logs while they are written: through rotation by rename and by truncation, and from before
//! they exist.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::options::LogOption;
use crate::event::{LogRead, LogSource, MonoNs};
use crate::logs::{Assume, FailureLines};

/// Bytes that are read of one log at one look.
const READ_MAX: u64 = 8 << 20;
/// A log that is this far ahead is not read in full any more: what is old helps nobody.
const BEHIND_MAX: u64 = 64 << 20;
/// Where reading goes on then, before the end.
const BEHIND_KEPT: u64 = 1 << 20;
/// Longer lines are passed over.
const LINE_MAX: usize = 64 << 10;

/// All logs that are followed.
#[derive(Debug, Default)]
pub(super) struct Logs {
    followed: Vec<Follower>,
    utc_offset_s: i32,
}

impl Logs {
    /// What stands in the files now is passed over: it is about the time before.
    pub(super) fn new(options: &[LogOption], utc_offset_s: i32) -> Self {
        let mut followed: Vec<Follower> = options.iter().map(Follower::new).collect();
        for log in &mut followed {
            log.open(Begin::End);
        }
        Self {
            followed,
            utc_offset_s,
        }
    }

    /// No log is followed.
    pub(super) fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Follows these logs from now on; those that are followed already, as before.
    pub(super) fn follow_only(&mut self, options: &[LogOption]) {
        let mut before = std::mem::take(&mut self.followed);
        for option in options {
            let path = option.path.to_string_lossy();
            let same = |log: &Follower| log.source.path == path && log.lines.given == option.format;
            let follower = match before.iter().position(same) {
                Some(at) => before.swap_remove(at),
                None => {
                    let mut follower = Follower::new(option);
                    follower.open(Begin::End);
                    follower
                }
            };
            self.followed.push(follower);
        }
    }

    /// Logs that cannot be read now, each with the reason.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&str, &str)> {
        let trouble = |log: &'_ Follower| log.source.trouble.is_some();
        self.followed
            .iter()
            .filter(move |log| trouble(log))
            .map(|log| {
                let trouble = log.source.trouble.as_deref().unwrap_or_default();
                (log.source.path.as_str(), trouble)
            })
    }

    /// Lines about failures that are new.
    pub(super) fn look(&mut self, now: MonoNs, unix_ns: u64) -> Vec<LogRead> {
        let now_unix_ns = i64::try_from(unix_ns).unwrap_or(i64::MAX);
        let assume = Assume::offset(self.utc_offset_s, now_unix_ns);
        let mut found = Vec::new();
        for log in &mut self.followed {
            log.look(now, &assume, &mut found);
        }
        found
    }

    pub(super) fn sources(&self) -> Vec<LogSource> {
        self.followed.iter().map(|log| log.source.clone()).collect()
    }
}

/// Where a file is read from when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    Start,
    End,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode number.
    identity: (u64, u64),
    offset: u64,
}

#[derive(Debug)]
struct Follower {
    lines: FailureLines,
    open: Option<Open>,
    /// Begin of a line whose end was not written yet.
    partial: Vec<u8>,
    /// The rest of a line that was too long is passed over.
    too_long: bool,
    source: LogSource,
}

impl Follower {
    fn new(option: &LogOption) -> Self {
        Self {
            lines: FailureLines::new(option.format.clone()),
            open: None,
            partial: Vec::new(),
            too_long: false,
            source: LogSource {
                path: option.path.to_string_lossy().into_owned(),
                ..LogSource::default()
            },
        }
    }

    fn open(&mut self, begin: Begin) {
        match open(Path::new(&self.source.path), begin) {
            Ok(open) => {
                self.open = Some(open);
                self.source.trouble = None;
            }
            Err(error) => self.source.trouble = Some(error.to_string()),
        }
    }

    fn look(&mut self, now: MonoNs, assume: &Assume, found: &mut Vec<LogRead>) {
        if self.open.is_none() {
            self.open(Begin::Start);
        }
        let Some(mut open) = self.open.take() else {
            return;
        };
        match self.read(&mut open, now, assume, found) {
            Ok(at_end) if at_end && replaced(&self.source.path, &open) => {
                // What was written without a line end stays without.
                self.take(b"\n", now, assume, found);
                self.open(Begin::Start);
            }
            Ok(_) => self.open = Some(open),
            Err(error) => self.source.trouble = Some(error.to_string()),
        }
    }

    /// Reads what is new, up to a bound. True if that was all.
    fn read(
        &mut self,
        open: &mut Open,
        now: MonoNs,
        assume: &Assume,
        found: &mut Vec<LogRead>,
    ) -> io::Result<bool> {
        let len = open.file.metadata()?.len();
        if len < open.offset {
            // Truncated: a new beginning.
            open.offset = open.file.seek(SeekFrom::Start(0))?;
            self.partial.clear();
            self.too_long = false;
        }
        if len - open.offset > BEHIND_MAX {
            let to = len - BEHIND_KEPT;
            self.source.skipped_bytes += to - open.offset + self.partial.len() as u64;
            open.offset = open.file.seek(SeekFrom::Start(to))?;
            self.partial.clear();
            // The line in whose middle we are now.
            self.too_long = true;
        }
        let mut block = Vec::new();
        (&open.file).take(READ_MAX).read_to_end(&mut block)?;
        open.offset += block.len() as u64;
        let at_end = (block.len() as u64) < READ_MAX;
        self.take(&block, now, assume, found);
        Ok(at_end)
    }

    fn take(&mut self, block: &[u8], now: MonoNs, assume: &Assume, found: &mut Vec<LogRead>) {
        for piece in block.split_inclusive(|byte| *byte == b'\n') {
            let whole = piece.last() == Some(&b'\n');
            if self.too_long {
                self.source.skipped_bytes += piece.len() as u64;
                self.too_long = !whole;
                continue;
            }
            if self.partial.len() + piece.len() > LINE_MAX {
                self.source.skipped_bytes += (self.partial.len() + piece.len()) as u64;
                self.partial.clear();
                self.too_long = !whole;
                continue;
            }
            if !whole {
                self.partial.extend_from_slice(piece);
            } else if self.partial.is_empty() {
                self.line(piece, now, assume, found);
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(piece);
                self.line(&line, now, assume, found);
            }
        }
    }

    fn line(&mut self, line: &[u8], now: MonoNs, assume: &Assume, found: &mut Vec<LogRead>) {
        if line.trim_ascii_end().is_empty() {
            return;
        }
        self.source.lines += 1;
        if let Some(failure) = self.lines.line(line, assume, &mut self.source) {
            self.source.failures += 1;
            found.push(failure.of(&self.source, self.source.lines, now));
        }
    }
}

fn open(path: &Path, begin: Begin) -> io::Result<Open> {
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        // A pipe would be emptied under its reader, and may block us.
        return Err(io::Error::other("this is no regular file"));
    }
    let mut file = File::open(path)?;
    let identity = identity(&file.metadata()?);
    let offset = match begin {
        Begin::Start => 0,
        Begin::End => file.seek(SeekFrom::End(0))?,
    };
    Ok(Open {
        file,
        identity,
        offset,
    })
}

/// Is there another file of that name now?
fn replaced(path: &str, open: &Open) -> bool {
    Path::new(path)
        .metadata()
        .is_ok_and(|metadata| identity(&metadata) != open.identity)
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;
    use std::path::PathBuf;

    use super::*;

    const HEALTHY: &str = r#"http 2026-11-22T07:31:02.417305Z app/a/1 203.0.113.5:1 192.0.2.20:8080 0.000 0.001 0.000 200 200 3 2 "GET http://h:80/ok HTTP/1.1""#;

    /// A line about a failure of that path.
    fn failure(path: &str) -> String {
        HEALTHY
            .replace("200 200", "502 -")
            .replace("/ok ", &format!("{path} "))
    }

    struct Log {
        _dir: tempfile::TempDir,
        path: PathBuf,
        logs: Logs,
    }

    impl Log {
        fn new(before: Option<&str>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("access.log");
            if let Some(before) = before {
                fs::write(&path, before).unwrap();
            }
            let option = LogOption {
                path: path.clone(),
                format: None,
            };
            Self {
                _dir: dir,
                path,
                logs: Logs::new(&[option], 0),
            }
        }

        fn append(&self, text: &str) {
            let mut options = OpenOptions::new();
            let mut file = options.create(true).append(true).open(&self.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        /// Number and path of the failures that are new.
        fn look(&mut self) -> Vec<(u64, String)> {
            let found = self.logs.look(7, 1_795_332_147_000_000_000);
            let path = |read: LogRead| {
                let request = read.line.split("http://h:80").nth(1).unwrap();
                (read.number, request.split(' ').next().unwrap().to_owned())
            };
            found.into_iter().map(path).collect()
        }

        fn source(&self) -> LogSource {
            self.logs.sources().remove(0)
        }
    }

    fn found(paths: &[(u64, &str)]) -> Vec<(u64, String)> {
        paths
            .iter()
            .map(|(n, path)| (*n, (*path).to_owned()))
            .collect()
    }

    #[test]
    fn only_what_is_new_and_failed_is_found() {
        let mut log = Log::new(Some(&format!("{}\n", failure("/before"))));
        assert_eq!(log.look(), found(&[]));
        log.append(&format!("{HEALTHY}\n{}\n", failure("/a?secret=1")));
        assert_eq!(log.look(), found(&[(2, "/a?…")]));
        log.append(&format!("no log line\n{}", failure("/b")));
        assert_eq!(log.look(), found(&[]), "half a line is no line");
        log.append("\n");
        assert_eq!(log.look(), found(&[(4, "/b")]));
        let source = log.source();
        assert_eq!((source.lines, source.failures, source.unparsed), (4, 2, 1));
        assert_eq!(source.formats, ["aws-alb"]);
    }

    #[test]
    fn a_file_that_comes_later_is_read_from_its_beginning() {
        let mut log = Log::new(None);
        assert!(
            log.logs
                .troubles()
                .next()
                .unwrap()
                .1
                .contains("No such file")
        );
        assert_eq!(log.look(), found(&[]));
        log.append(&format!("{}\n", failure("/first")));
        assert_eq!(log.look(), found(&[(1, "/first")]));
        assert_eq!(log.logs.troubles().count(), 0);
    }

    #[test]
    fn rotation_by_rename_loses_nothing() {
        let mut log = Log::new(Some(""));
        log.append(&format!("{}\n", failure("/a")));
        fs::rename(&log.path, log.path.with_extension("1")).unwrap();
        // The writer goes on with the old file for a while.
        let mut old = OpenOptions::new();
        let mut old = old.append(true).open(log.path.with_extension("1")).unwrap();
        writeln!(old, "{}", failure("/b")).unwrap();
        assert_eq!(log.look(), found(&[(1, "/a"), (2, "/b")]));
        log.append(&format!("{}\n", failure("/c")));
        writeln!(old, "{}", failure("/late")).unwrap();
        let both = [log.look(), log.look()].concat();
        assert_eq!(both, found(&[(3, "/late"), (4, "/c")]));
    }

    #[test]
    fn rotation_by_truncation_begins_anew() {
        let mut log = Log::new(Some(""));
        log.append(&format!("{}\nhalf a li", failure("/a")));
        assert_eq!(log.look(), found(&[(1, "/a")]));
        fs::write(&log.path, format!("{}\n", failure("/b"))).unwrap();
        assert_eq!(log.look(), found(&[(2, "/b")]));
    }

    #[test]
    fn what_is_too_much_is_passed_over_and_counted() {
        let mut log = Log::new(Some(""));
        let long = "x".repeat(3 * LINE_MAX);
        log.append(&format!("{long}\n{}\n", failure("/behind-a-long-line")));
        assert_eq!(log.look(), found(&[(1, "/behind-a-long-line")]));
        assert_eq!(log.source().skipped_bytes, long.len() as u64 + 1);

        // Grown by more than can be read in time (a hole costs no disk).
        let file = OpenOptions::new().append(true).open(&log.path).unwrap();
        file.set_len(BEHIND_MAX + (4 << 20)).unwrap();
        log.append(&format!("\n{}\n", failure("/newest")));
        assert_eq!(log.look(), found(&[(2, "/newest")]));
        assert!(log.source().skipped_bytes > BEHIND_MAX);
    }

    #[test]
    fn other_logs_can_be_followed_from_now_on() {
        let mut log = Log::new(Some(""));
        log.append(&failure("/half"));
        assert_eq!(log.look(), found(&[]));
        let options = |paths: &[&PathBuf]| -> Vec<LogOption> {
            let option = |path: &&PathBuf| LogOption {
                path: (*path).clone(),
                format: None,
            };
            paths.iter().map(option).collect()
        };
        let other = log.path.with_extension("other");
        fs::write(&other, format!("{}\n", failure("/before"))).unwrap();
        log.logs.follow_only(&options(&[&other, &log.path]));
        log.append("\n");
        assert_eq!(log.look(), found(&[(1, "/half")]), "went on in its middle");
        log.logs.follow_only(&options(&[&other]));
        log.append(&format!("{}\n", failure("/unheard")));
        assert_eq!(log.look(), found(&[]));
        assert!(!log.logs.is_empty());
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let option = LogOption {
            path: dir.path().to_owned(),
            format: None,
        };
        let mut logs = Logs::new(&[option], 0);
        assert!(logs.look(0, 0).is_empty());
        let trouble = logs.sources().remove(0).trouble.unwrap();
        assert!(trouble.contains("no regular file"), "{trouble}");
    }
}
