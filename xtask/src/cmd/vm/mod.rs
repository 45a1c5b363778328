//! `cargo xtask vm`: the live tests and the short lab on other kernels, under QEMU.
//!
//! Facts come from packages (`apt`, `store`, `kernels`), go into an image (`image`, `modules`,
//! `cpio`) with a plan (`plan`), which the guest carries out (`guest`); `qemu` watches it, `heard`
//! folds what it says, `judge` and `report` are plain functions of that.

mod apt;
mod cpio;
pub(crate) mod guest;
mod heard;
mod image;
mod judge;
mod kernels;
mod modules;
mod plan;
mod qemu;
mod report;
mod store;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use xtask::lab::demo::Format;
use xtask::paths;

use self::heard::{Heard, StepEnd};
use self::image::Base;
use self::judge::Row;
use self::kernels::Line;
use self::plan::{Event, Kind, Plan};
use self::qemu::{Boot, End, Qemu};
use super::{build, stop};
use crate::progress::{loud, say};

/// Until init runs: some seconds, and as much again for each of its neighbours on a busy host.
const UNTIL_UP: Duration = Duration::from_secs(240);

/// Until a guest has switched itself off. Not the sum of its steps' limits: those are in its own time.
const IN_ALL: Duration = Duration::from_secs(30 * 60);

/// How much of a console is shown when it went wrong.
const TAIL: usize = 25;

/// Options of `vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these: 5.10, 6.1, 6.12 or newest (or its version, e.g. 7.2)
    #[arg(long, value_delimiter = ',', value_name = "VERSION")]
    kernel: Vec<String>,
    /// Boot one kernel and look inside instead of testing
    #[arg(long, conflicts_with_all = ["format", "document"])]
    shell: bool,
    /// Write docs/kernel-support.md from the result; needs all kernels
    #[arg(long, conflicts_with = "kernel")]
    document: bool,
    /// How many guests run at a time [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    jobs: Option<u8>,
    /// The form of the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Set by Ctrl-C.
static TOLD_TO_STOP: AtomicBool = AtomicBool::new(false);

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let lines = match kernels::chosen(&args.kernel) {
        Ok(lines) => lines,
        Err(word) => bail!(
            "there is no kernel {word:?} here: the choice is {}",
            kernels::LINES.map(|line| line.name).join(", ")
        ),
    };
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "the guests are copies of this host's programs, and the kernels are those for x86-64: run it there"
        );
    }
    let top = paths::root().join("target/vm");
    // Before the long build: what is missing is said at once.
    let qemu = Qemu::find(&top)?;
    let own = programs()?;
    let scratch = tempfile::Builder::new()
        .prefix("why502-vm-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    let mut stripped = Vec::new();
    for (program, path) in &own {
        stripped.push((image::stripped(program, scratch.path())?, *path));
    }
    let own: Vec<(&Path, &str)> = stripped
        .iter()
        .map(|(program, path)| (program.as_path(), path.trim_start_matches('/')))
        .collect();
    let base = Base::gather(&own, args.shell)?;
    if args.shell {
        return shell(&top, &qemu, &base, &lines, scratch.path());
    }
    stop::watch("vm", &TOLD_TO_STOP)?;
    let rows = all(&top, &qemu, &base, &lines, args, scratch.path());
    if TOLD_TO_STOP.load(Ordering::Relaxed) {
        drop(scratch);
        eprintln!("vm: stopped; QEMU and its files are gone");
        return Ok(ExitCode::from(130));
    }
    if args.document {
        ensure!(
            rows.iter().all(|row| !row.observes.is_empty()),
            "not all kernels could be looked at; docs/kernel-support.md stays as it was"
        );
        let page = paths::root().join("docs/kernel-support.md");
        fs::write(&page, report::page(&rows))
            .with_context(|| format!("cannot write {}", page.display()))?;
        say(format!("vm: wrote {}", page.display()));
    }
    print(args.format, &rows)?;
    Ok(match rows.iter().all(|row| row.passed) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print(format: Format, rows: &[Row]) -> Result<()> {
    match format {
        Format::Text => print!("{}", report::text(rows)),
        Format::Json => {
            let document = report::Document { kernels: rows };
            println!("{}", serde_json::to_string(&document)?);
        }
    }
    Ok(())
}

/// Our programs as they run in a guest: the tracer under test, the live tests, and this program,
/// which is its init and its lab.
fn programs() -> Result<Vec<(PathBuf, &'static str)>> {
    // A tracer that is at hand is taken as it is.
    let why502 = match paths::named_why502() {
        Some(named) => named,
        None => build::why502(true)?,
    };
    ensure!(
        why502.is_file(),
        "{} is not there; `cargo xtask build --release` makes it",
        why502.display()
    );
    let own = std::env::current_exe().context("cannot find this very program")?;
    Ok(vec![
        (why502, plan::WHY502),
        (live_tests()?, plan::LIVE),
        (own, plan::XTASK),
    ])
}

/// The program with the live tests; cargo says where it is.
fn live_tests() -> Result<PathBuf> {
    let build = ["test", "--package", "xtask", "--test", "live", "--no-run"];
    let status = loud(build::cargo().args(build))?;
    ensure!(status.success(), "the live tests do not build ({status})");
    let output = build::cargo()
        .args(build)
        .args(["--quiet", "--message-format=json"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    executable(&said).context("cargo does not say where the live tests are")
}

/// The program in cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    let message = messages.lines().rev().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "live").then_some(message)
    })?;
    message["executable"].as_str().map(PathBuf::from)
}

/// Boots all, several at a time, and gives their rows in order. One that fails does not end the rest.
fn all(
    top: &Path,
    qemu: &Qemu,
    base: &Base,
    lines: &[&'static Line],
    args: &Args,
    scratch: &Path,
) -> Vec<Row> {
    let plan = Plan::full(&base.library_path());
    let rows = Mutex::new(BTreeMap::new());
    let mut ready = VecDeque::new();
    for (number, line) in lines.iter().enumerate() {
        match kernel(top, line, &args.kernel) {
            Ok(kernel) => ready.push_back((number, *line, kernel)),
            Err(error) => told(&rows, number, not_booted(line, &plan, &error)),
        }
    }
    let at_once = args.jobs.map_or_else(
        // A guest keeps one thread busy.
        || std::thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    let ready = Mutex::new(ready);
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(lines.len()) {
            scope.spawn(|| {
                while !TOLD_TO_STOP.load(Ordering::Relaxed) {
                    let next = ready
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_front();
                    let Some((number, line, kernel)) = next else {
                        break;
                    };
                    let row = one(top, qemu, base, line, &kernel, &plan, scratch);
                    let row = row.unwrap_or_else(|error| not_booted(line, &plan, &error));
                    told(&rows, number, row);
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.into_values().collect()
}

/// Keeps a row, and says its verdict.
fn told(rows: &Mutex<BTreeMap<usize, Row>>, number: usize, row: Row) {
    if !TOLD_TO_STOP.load(Ordering::Relaxed) {
        say(format!("vm: {}", report::verdict(&row)));
    }
    let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
    rows.insert(number, row);
}

/// Boots one kernel and judges it.
fn one(
    top: &Path,
    qemu: &Qemu,
    base: &Base,
    line: &Line,
    kernel: &store::Kernel,
    plan: &Plan,
    scratch: &Path,
) -> Result<Row> {
    let started = Instant::now();
    say(format!("vm: {} boots", kernel.release.name));
    let initramfs = scratch.join(format!("initramfs-{}", line.name));
    let size = base.write(&initramfs, &modules::collect(&kernel.modules)?, plan)?;
    let logs = top.join("logs");
    fs::create_dir_all(&logs)?;
    let console = logs.join(format!("{}.console", line.name));
    let boot = Boot {
        image: &kernel.image,
        initramfs: &initramfs,
        console: &console,
        until_up: UNTIL_UP,
        in_all: IN_ALL,
    };
    let mut heard = Heard::default();
    let mut transcript = String::new();
    let end = qemu::run(qemu, &boot, &TOLD_TO_STOP, |text| {
        transcript.push_str(text);
        transcript.push('\n');
        if let Some(event) = heard.line(text) {
            show(line.name, started.elapsed(), &event, size);
        }
    })?;
    // For the one who wants to know more than the verdict.
    let told = logs.join(format!("{}.ndjson", line.name));
    fs::write(&told, transcript)?;
    let row = judge::judge(
        line.name,
        &kernel.release.name,
        plan,
        &heard,
        &end,
        started.elapsed().as_secs(),
    );
    if !heard.done && !matches!(end, End::Stopped) {
        say(format!("vm: the last lines of {}:", console.display()));
        for line in qemu::tail(&console, TAIL) {
            say(format!("    | {line}"));
        }
    }
    if !row.passed {
        say(format!("vm: all it said is in {}", told.display()));
    }
    for ran in &heard.steps {
        let failed = plan
            .steps
            .iter()
            .any(|step| step.name == ran.name && step.kind == Kind::Test)
            && !matches!(
                ran.end,
                Some(StepEnd::Ended { code: Some(0), .. } | StepEnd::Skipped { .. })
            );
        if failed {
            say(format!("vm: {} said:", ran.name));
            for line in &ran.err[ran.err.len().saturating_sub(TAIL)..] {
                say(format!("    | {line}"));
            }
        }
    }
    Ok(row)
}

/// The kernel of a line, if it is the one that was asked for.
fn kernel(top: &Path, line: &'static Line, asked: &[String]) -> Result<store::Kernel> {
    let kernel = store::kernel(top, line)?;
    let fits = |word: &String| {
        word == line.name || format!("{}.", kernel.release.name).starts_with(&format!("{word}."))
    };
    let is_newest = kernels::LINES.last() == Some(line);
    ensure!(
        !is_newest || asked.is_empty() || asked.iter().any(fits),
        "Debian's newest kernel is {}; ask for that, or for `newest`",
        kernel.release.name
    );
    Ok(kernel)
}

/// Says how it goes on, with the time since the kernel was started.
fn show(name: &str, elapsed: Duration, event: &Event, size: u64) {
    let text = match event {
        Event::Up { release, .. } => {
            format!("{release} is up, with {} MB of files", size / 1_000_000)
        }
        Event::Note { text } => text.clone(),
        Event::End {
            step,
            code,
            timed_out,
            ..
        } => match (code, timed_out) {
            (_, true) => format!("{step}: took too long"),
            (Some(0), _) => step.clone(),
            (Some(code), _) => format!("{step}: ended with {code}"),
            (None, _) => format!("{step}: ended by a signal"),
        },
        Event::Skip { step, why } => format!("{step}: left out, {why}"),
        // The lab says how far it is.
        Event::Err { step, text } if step == "lab" && text.starts_with("lab: ") => text.clone(),
        Event::Begin { .. }
        | Event::Out { .. }
        | Event::Err { .. }
        | Event::Kept { .. }
        | Event::Done => return,
    };
    say(format!("    {:>4} s  {name:<6}  {text}", elapsed.as_secs()));
}

/// The row of a kernel that could not even be booted.
fn not_booted(line: &Line, plan: &Plan, error: &anyhow::Error) -> Row {
    let heard = Heard::default();
    let mut row = judge::judge(line.name, line.name, plan, &heard, &End::Stopped, 0);
    row.reasons = vec![format!("{error:#}")];
    row.passed = false;
    row
}

/// Boots the newest of those that were asked for, with a shell.
fn shell(
    top: &Path,
    qemu: &Qemu,
    base: &Base,
    lines: &[&'static Line],
    scratch: &Path,
) -> Result<ExitCode> {
    let line = lines.last().context("no kernel was asked for")?;
    let kernel = kernel(top, line, &[])?;
    let initramfs = scratch.join("initramfs");
    let plan = Plan::shell(&base.library_path());
    base.write(&initramfs, &modules::collect(&kernel.modules)?, &plan)?;
    say(format!(
        "vm: {} boots; Ctrl-A X ends it the hard way",
        kernel.release.name
    ));
    let boot = Boot {
        image: &kernel.image,
        initramfs: &initramfs,
        console: Path::new("/dev/null"),
        until_up: UNTIL_UP,
        in_all: Duration::MAX,
    };
    // Ctrl-C is the guest's: QEMU takes the terminal for itself.
    qemu::shell(qemu, &boot)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_tests_are() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"xtask"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"live"},"executable":"/t/live-1"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/t/live-1")));
        assert_eq!(executable("no JSON"), None);
        assert_eq!(executable(""), None);
    }

    #[test]
    fn a_kernel_that_cannot_be_had_fails_with_the_reason() {
        let error = anyhow::anyhow!("no network");
        let row = not_booted(&kernels::LINES[0], &Plan::full(""), &error);
        assert!(!row.passed);
        assert_eq!(row.reasons, ["no network"]);
        assert_eq!(row.release, "5.10");
        assert!(row.tests > 0 && row.skipped == row.tests);
    }
}
