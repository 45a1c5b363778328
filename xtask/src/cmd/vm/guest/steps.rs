//! The steps of a plan, one after the other, with a time limit for each.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::super::plan::{Event, Kind, Plan, Step};
use super::Host;

/// How many lines of each stream of a step the host gets; a slow port would hold up the rest.
const MOST_LINES: usize = 2000;

/// How many of the lab's notes.
const MOST_NOTES: usize = 100;

pub(super) fn all(plan: &Plan, host: &Host) {
    let mut impossible = false;
    for step in &plan.steps {
        if impossible {
            host.tell(&Event::Skip {
                step: step.name.clone(),
                why: "a capture does not work on this kernel".to_owned(),
            });
            continue;
        }
        host.tell(&Event::Begin {
            step: step.name.clone(),
        });
        let started = Instant::now();
        let (code, timed_out, said) = one(step, host).unwrap_or_else(|error| {
            host.tell(&Event::Err {
                step: step.name.clone(),
                text: format!("{error:#}"),
            });
            (None, false, String::new())
        });
        if step.kind == Kind::Lab {
            keep(step, host);
        }
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        host.tell(&Event::End {
            step: step.name.clone(),
            code,
            ms,
            timed_out,
        });
        impossible = step.kind == Kind::Doctor && says_impossible(&said);
    }
}

/// Hands on what the lab wrote down, which ends with the guest.
fn keep(step: &Step, host: &Host) {
    let Ok(runs) = std::fs::read_dir(xtask::paths::target_dir().join("lab")) else {
        return;
    };
    for run in runs.flatten() {
        let notes = std::fs::read_to_string(run.path().join("not-right.ndjson"));
        for line in notes.unwrap_or_default().lines().take(MOST_NOTES) {
            host.tell(&Event::Kept {
                step: step.name.clone(),
                text: line.to_owned(),
            });
        }
    }
}

fn says_impossible(doctor: &str) -> bool {
    let parsed: Result<Value, _> = serde_json::from_str(doctor);
    parsed.is_ok_and(|doctor| doctor["outlook"] == "impossible")
}

/// Exit code, whether it had to be ended, and its standard output.
fn one(step: &Step, host: &Host) -> Result<(Option<i32>, bool, String)> {
    let (program, arguments) = step.command.split_first().context("a step has a command")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir("/root")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Whatever it starts ends with it.
        .process_group(0);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let out = child.stdout.take().context("no output")?;
    let err = child.stderr.take().context("no output")?;
    let name = || step.name.clone();
    // The doctor's and the lab's JSON may have many lines and is wanted whole.
    let whole = matches!(step.kind, Kind::Doctor | Kind::Lab);
    let out = follow(out, host, whole, {
        let step = name();
        move |text| Event::Out {
            step: step.clone(),
            text,
        }
    });
    let err = follow(err, host, false, {
        let step = name();
        move |text| Event::Err {
            step: step.clone(),
            text,
        }
    });
    let limit = Duration::from_secs(step.limit);
    let (code, timed_out) = wait(&mut child, limit)?;
    // What it left behind would hold the pipes open.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Fails if nobody is left.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let said = out.join().unwrap_or_default();
    let _ = err.join();
    Ok((code, timed_out, said))
}

fn wait(child: &mut Child, limit: Duration) -> Result<(Option<i32>, bool)> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok((status.code(), false));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok((None, true))
}

/// Hands lines on, and gives all of them in the end.
fn follow(
    stream: impl Read + Send + 'static,
    host: &Host,
    whole: bool,
    event: impl Fn(String) -> Event + Send + 'static,
) -> JoinHandle<String> {
    let host = host.clone();
    let told = Mutex::new(0_usize);
    std::thread::spawn(move || {
        let mut all = String::new();
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).into_owned();
            let mut told = told
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            *told += 1;
            if whole {
                all.push_str(&text);
                all.push('\n');
            }
            if whole || *told <= MOST_LINES {
                host.tell(&event(text));
            }
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_no_leaves_the_rest_out() {
        for (doctor, expected) in [
            (r#"{"outlook":"impossible"}"#, true),
            (r#"{"outlook":"limited"}"#, false),
            ("{}", false),
            ("", false),
        ] {
            assert_eq!(says_impossible(doctor), expected, "{doctor}");
        }
    }
}
