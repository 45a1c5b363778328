//! Running other programs while a person waits.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How often a silent step says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How much of a failed step's output is shown.
const TAIL: usize = 30;

/// Says one line to the person.
pub(crate) fn say(line: impl AsRef<str>) {
    eprintln!("{}", line.as_ref());
}

/// Runs a program to its end with its output on the terminal, all of it on standard error.
pub(crate) fn loud(command: &mut Command) -> anyhow::Result<ExitStatus> {
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    command
        .stdin(Stdio::null())
        .stdout(stderr)
        .status()
        .with_context(|| format!("cannot run {}", name(command)))
}

/// Runs a program to its end with its output in `log`; shows the last line of it every few seconds,
/// and the end of it when the program fails.
pub(crate) fn quiet(command: &mut Command, log: &Path) -> anyhow::Result<()> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let (reader, writer) = io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot run {}", name(command)))?;
    // The command keeps its ends of the pipe open until it is told otherwise, and then the reader
    // would never see the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let tail = follow(reader, &mut file)?;
    let status = wait(&mut child)?;
    if !status.success() {
        for line in &tail {
            say(format!("    | {line}"));
        }
        bail!(
            "{} failed ({status}); all of its output is in {}",
            name(command),
            log.display()
        );
    }
    Ok(())
}

/// Copies lines until the pipe closes, and returns the last ones.
fn follow(reader: io::PipeReader, file: &mut File) -> anyhow::Result<Vec<String>> {
    let (lines, received) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let start = Instant::now();
    let mut next = start + HEARTBEAT;
    let mut tail: Vec<String> = Vec::new();
    loop {
        match received.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                writeln!(file, "{line}")?;
                if tail.len() == TAIL {
                    tail.remove(0);
                }
                tail.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(tail),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() >= next {
            next += HEARTBEAT;
            let last = tail.iter().rev().find(|line| !line.trim().is_empty());
            say(heartbeat(start.elapsed(), last.map_or("", String::as_str)));
        }
    }
}

fn wait(child: &mut Child) -> anyhow::Result<ExitStatus> {
    child.wait().context("lost the child process")
}

/// `    20 s  Compiling aya v0.14.0`, cut to the width of a terminal.
fn heartbeat(elapsed: Duration, last: &str) -> String {
    let last: String = last
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(66)
        .collect();
    format!("{:>6} s  {last}", elapsed.as_secs())
        .trim_end()
        .to_owned()
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats() {
        for (seconds, last, expected) in [
            (0, "", "     0 s"),
            (12, "  Compiling x v1 ", "    12 s  Compiling x v1"),
            (1234, "a\u{1b}[31mb\r", "  1234 s  a[31mb"),
        ] {
            assert_eq!(heartbeat(Duration::from_secs(seconds), last), expected);
        }
        let long = heartbeat(Duration::ZERO, &"é".repeat(500));
        assert_eq!(long.chars().count(), "     0 s  ".len() + 66);
    }

    #[test]
    fn quiet_keeps_the_output_and_tells_failure() {
        let log = std::env::temp_dir().join(format!("why502-quiet-{}/log", std::process::id()));
        let mut shell = Command::new("sh");
        quiet(shell.args(["-c", "echo one; printf 'two \\377' >&2"]), &log).unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo \u{fffd}\n");

        let mut shell = Command::new("sh");
        let error = quiet(shell.args(["-c", "echo no; exit 3"]), &log).unwrap_err();
        assert!(
            error.to_string().contains("sh failed (exit status: 3)"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&log).unwrap(), "no\n");

        let mut missing = Command::new("/nonexistent/program");
        let error = quiet(&mut missing, &log).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("cannot run /nonexistent/program"),
            "{error}"
        );
        fs::remove_dir_all(log.parent().unwrap()).unwrap();
    }
}
