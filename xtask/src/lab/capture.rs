//! The real `why502 capture` as a child process, seen only through what its contract promises.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::process::{Running, bound, wait_for};

/// Time for a capture to attach, or to end after it was told to.
const PATIENCE: Duration = Duration::from_secs(15);

/// What happens to its standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Collected, with the time of each line.
    Collect,
    /// Goes where ours goes.
    Inherit,
}

/// A line and when it was read.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was read.
    pub at: Instant,
    /// The line without its end.
    pub text: String,
}

#[derive(Default)]
struct Lines {
    all: Mutex<Vec<Line>>,
    more: Condvar,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects a stream in a thread of its own.
    fn follow(stream: impl Read + Send + 'static) -> (Arc<Self>, JoinHandle<()>) {
        let lines = Arc::new(Self::default());
        let into = Arc::clone(&lines);
        let thread = std::thread::spawn(move || {
            for text in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                into.lock().push(Line {
                    at: Instant::now(),
                    text: String::from_utf8_lossy(&text).into_owned(),
                });
                into.more.notify_all();
            }
        });
        (lines, thread)
    }

    fn text(&self) -> String {
        let lines = self.lock();
        lines.iter().map(|line| line.text.clone() + "\n").collect()
    }
}

/// A running capture; ended when dropped.
pub struct Capture {
    running: Running,
    stdout: Option<Arc<Lines>>,
    stderr: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
    attach_time: Duration,
}

impl Capture {
    /// Starts `why502 capture` with these arguments and waits until its programs are attached.
    pub fn start(why502: &Path, args: &[&str], output: Output) -> Result<Self> {
        let started = Instant::now();
        let mut command = bound(why502);
        command
            .arg("capture")
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(match output {
                Output::Collect => Stdio::piped(),
                Output::Inherit => Stdio::inherit(),
            });
        let mut running = Running::start(&mut command)?;
        let child = running.child();
        let mut readers = Vec::new();
        let stderr = child.stderr.take().context("no standard error")?;
        let (stderr, reader) = Lines::follow(stderr);
        readers.push(reader);
        let stdout = child.stdout.take().map(|stdout| {
            let (lines, reader) = Lines::follow(stdout);
            readers.push(reader);
            lines
        });
        let mut capture = Self {
            running,
            stdout,
            stderr,
            readers,
            attach_time: Duration::ZERO,
        };
        capture.attach_time = capture.wait_attached(started)?;
        Ok(capture)
    }

    /// It says when its programs are attached; links alone do not show that none is to follow.
    fn wait_attached(&mut self, started: Instant) -> Result<Duration> {
        let running = &mut self.running;
        let stderr = &self.stderr;
        let attached = wait_for(PATIENCE, || {
            let said = stderr.lock();
            if let Some(line) = said.iter().find(|line| line.text.contains("attached in")) {
                return Ok(Some(line.at));
            }
            drop(said);
            if let Some(code) = running.exited()? {
                bail!("why502 ended with code {code} before it had attached");
            }
            Ok(None)
        });
        match attached {
            Ok(Some(at)) => Ok(at.duration_since(started)),
            Ok(None) => bail!("why502 attaches nothing: {}", self.stderr.text()),
            Err(error) => {
                // Let the readers see the end of the output.
                std::thread::sleep(Duration::from_millis(50));
                Err(error.context(self.stderr.text()))
            }
        }
    }

    /// Time from its start until the last program was attached.
    pub const fn attach_time(&self) -> Duration {
        self.attach_time
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Waits for a JSON line on standard output that the test accepts.
    pub fn wait_line(
        &self,
        patience: Duration,
        accept: impl Fn(&Value) -> bool,
    ) -> Option<(Instant, Value)> {
        let deadline = Instant::now() + patience;
        let stdout = self.stdout.as_ref()?;
        let mut next = 0;
        let mut lines = stdout.lock();
        loop {
            for line in &lines[next..] {
                match serde_json::from_str(&line.text) {
                    Ok(value) if accept(&value) => return Some((line.at, value)),
                    Ok(_) | Err(_) => {}
                }
            }
            next = lines.len();
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = stdout
                .more
                .wait_timeout(lines, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until that many lines on standard error hold these words.
    pub fn says(&self, words: &str, times: usize, patience: Duration) -> Result<bool> {
        let said = wait_for(patience, || {
            let lines = self.stderr.lock();
            let there = lines.iter().filter(|line| line.text.contains(words));
            Ok((there.count() >= times).then_some(()))
        })?;
        Ok(said.is_some())
    }

    /// Ctrl-C, then waits for the end.
    pub fn stop(self) -> Result<Ended> {
        self.running.signal(Signal::INT)?;
        self.wait()
    }

    /// `kill -9`.
    pub fn kill(self) -> Result<Ended> {
        self.running.signal(Signal::KILL)?;
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Result<Ended> {
        let code = self.running.wait(PATIENCE)?;
        let code = code.with_context(|| format!("why502 does not end: {}", self.stderr.text()))?;
        for reader in self.readers.drain(..) {
            // A reader does not panic; if it did, its lines so far are there.
            let _ = reader.join();
        }
        Ok(Ended {
            code,
            lines: self
                .stdout
                .map(|lines| lines.lock().clone())
                .unwrap_or_default(),
            stderr: self.stderr.text(),
        })
    }
}

/// What a capture left.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub lines: Vec<Line>,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Standard output as it was written.
    pub fn stdout(&self) -> String {
        let lines = self.lines.iter();
        lines.map(|line| line.text.clone() + "\n").collect()
    }

    /// The JSON lines of that `type`, with the time at which they were read.
    pub fn of_type(&self, kind: &str) -> Vec<(Instant, Value)> {
        let lines = self.lines.iter();
        lines
            .filter_map(|line| Some((line.at, serde_json::from_str(&line.text).ok()?)))
            .filter(|(_, value): &(_, Value)| value["type"] == kind)
            .collect()
    }

    /// The cases.
    pub fn cases(&self) -> Vec<Value> {
        let cases = self.of_type("case").into_iter();
        cases.map(|(_, case)| case).collect()
    }
}

/// Kernel objects that a process holds, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Attachments.
    pub links: BTreeSet<u32>,
    /// Programs.
    pub programs: BTreeSet<u32>,
}

impl Held {
    /// What the process holds now; empty if it is gone.
    pub fn by(pid: u32) -> Self {
        let mut held = Self::default();
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
            return held;
        };
        for descriptor in descriptors.flatten() {
            let info = fs::read_to_string(descriptor.path()).unwrap_or_default();
            held.links.extend(number(&info, "link_id"));
            held.programs.extend(number(&info, "prog_id"));
        }
        held
    }

    /// What any process holds now.
    pub fn by_anybody() -> Self {
        let mut held = Self::default();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            let Self { links, programs } = Self::by(pid);
            held.links.extend(links);
            held.programs.extend(programs);
        }
        held
    }

    /// Those of `self` that still exist: held by a process, or by anything else in the kernel (a pin),
    /// which `bpftool` tells; live tests do not run without it.
    pub fn still_there(&self) -> Self {
        let mut alive = Self::by_anybody();
        alive.links.extend(listed("link"));
        alive.programs.extend(listed("prog"));
        Self {
            links: self.links.intersection(&alive.links).copied().collect(),
            programs: self
                .programs
                .intersection(&alive.programs)
                .copied()
                .collect(),
        }
    }
}

fn number(info: &str, key: &str) -> Option<u32> {
    let line = info.lines().find(|line| line.starts_with(key))?;
    line.split(':').nth(1)?.trim().parse().ok()
}

/// Numbers of all links or programs of the kernel; empty without `bpftool`.
fn listed(what: &str) -> Vec<u32> {
    let Some(bpftool) = super::process::find_program("bpftool") else {
        return Vec::new();
    };
    let Ok(output) = Command::new(bpftool).args([what, "list", "-j"]).output() else {
        return Vec::new();
    };
    let listed: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let ids = listed.iter().filter_map(|object| object["id"].as_u64());
    ids.filter_map(|id| u32::try_from(id).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_fdinfo() {
        let info =
            "pos:\t0\nlink_type:\traw_tracepoint\nlink_id:\t7\nprog_tag:\tab\nprog_id:\t12\n";
        assert_eq!(
            (number(info, "link_id"), number(info, "prog_id")),
            (Some(7), Some(12))
        );
        assert_eq!(number("", "link_id"), None);
    }

    #[test]
    fn a_child_that_fails_tells_why() {
        let error = Capture::start(Path::new("/bin/false"), &[], Output::Collect)
            .err()
            .unwrap();
        assert!(
            format!("{error:#}").contains("ended with code 1"),
            "{error:#}"
        );
    }
}
