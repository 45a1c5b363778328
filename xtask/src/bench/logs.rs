//! `why502 logs` against awk, on an access log of an Application Load Balancer.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use super::alb::Log;
use super::child::{Run, pipeline};
use super::machine::{Machine, machine};
use crate::lab::process::find_program;

/// Where the log begins; any number would do.
const SEED: u64 = 502;
/// Bytes that are written between two looks whether to stop.
const STEP_BYTES: u64 = 16 << 20;
/// why502 has to be this many times as fast as the other tool.
pub const RATIO_MIN: f64 = 2.0;
/// why502 may have this much memory, however large the log.
pub const RSS_MAX_BYTES: u64 = 64 << 20;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Size of the log, bytes.
    pub bytes: u64,
    /// Runs of each tool.
    pub runs: usize,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Where it was measured.
    pub machine: Machine,
    /// The program that `awk` is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awk: Option<String>,
    /// Size of the log, bytes.
    pub log_bytes: u64,
    /// Size of the same log in gzip, bytes.
    pub gzip_bytes: u64,
    /// Lines with status 502, which each tool had to find.
    pub bad_gateways: u64,
    /// One for each tool and scenario.
    pub rows: Vec<Row>,
    /// What had to hold.
    pub targets: Vec<Target>,
    /// All of it did.
    pub held: bool,
}

/// A tool in a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is read.
    pub scenario: &'static str,
    /// What reads it.
    pub tool: &'static str,
    /// Median of the runs.
    pub seconds_median: f64,
    /// The fastest run and the slowest.
    pub seconds_spread: [f64; 2],
    /// Bytes of the log, as text, in a second of the median run.
    pub bytes_per_second: u64,
    /// Most memory of any program of the tool in any run.
    pub rss_bytes: u64,
}

/// What had to hold.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// Of which scenario.
    pub scenario: &'static str,
    /// In words.
    pub what: String,
    /// Median of the other tool by median of why502.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// It did.
    pub held: bool,
}

struct Tool<'a> {
    scenario: &'static str,
    name: &'static str,
    commands: Box<dyn Fn() -> Vec<Command> + 'a>,
    count: fn(&[u8]) -> anyhow::Result<u64>,
}

const WHY502: &str = "why502";

/// Makes the log, runs every tool in turn, and removes the log. `None`: it was told to stop.
///
/// # Errors
/// A tool is missing or fails, or finds another number of lines.
pub fn run(options: Options, why502: &Path, stop: &AtomicBool) -> anyhow::Result<Option<Outcome>> {
    let dir = tempfile::Builder::new().prefix("why502-bench-").tempdir()?;
    let (plain, gzip) = (dir.path().join("alb.log"), dir.path().join("alb.log.gz"));
    eprintln!("bench: writing {} MB of log", options.bytes / 1_000_000);
    let Some((log_bytes, bad_gateways)) = write(options.bytes, &plain, stop)? else {
        return Ok(None);
    };
    eprintln!("bench: compressing it");
    compress(&plain, &gzip)?;
    let gzip_bytes = fs::metadata(&gzip)?.len();

    let tools = tools(why502, &plain, &gzip);
    let mut measured: Vec<Vec<Run>> = tools.iter().map(|_| Vec::new()).collect();
    // One round more: the first fills the page cache and does not count. Taking turns, all tools
    // suffer alike from whatever else the machine does.
    for round in 0..=options.runs {
        for (tool, runs) in tools.iter().zip(&mut measured) {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let run = pipeline((tool.commands)());
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let mut run = run?;
            let seconds = run.elapsed.as_secs_f64();
            let name = format!("{}, {}", tool.scenario, tool.name);
            eprintln!(
                "bench: round {round} of {}: {name}: {seconds:.3} s",
                options.runs
            );
            let found = (tool.count)(&run.out).with_context(|| name.clone())?;
            // What we have ourselves counts for our children too.
            run.out = Vec::new();
            ensure!(
                found == bad_gateways,
                "{name} found {found} lines with status 502, but {bad_gateways} were written"
            );
            if round > 0 {
                runs.push(run);
            }
        }
    }
    let rows: Vec<Row> = tools
        .iter()
        .zip(&measured)
        .map(|(tool, runs)| row(tool, runs, log_bytes))
        .collect();
    let targets = targets(&rows);
    Ok(Some(Outcome {
        machine: machine(),
        awk: awk(),
        log_bytes,
        gzip_bytes,
        bad_gateways,
        held: targets.iter().all(|target| target.held),
        rows,
        targets,
    }))
}

impl Outcome {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let [fastest, slowest] = row.seconds_spread;
            text.push_str(&format!(
                "{:<10} {:<12} {:>7.3} s ({fastest:.3} – {slowest:.3})  {:>6} MB/s  {:>4} MB of memory\n",
                row.scenario,
                row.tool,
                row.seconds_median,
                row.bytes_per_second / 1_000_000,
                row.rss_bytes / 1_000_000,
            ));
        }
        for target in &self.targets {
            let held = if target.held { "held" } else { "MISSED" };
            text.push_str(&format!("{held}: {}, {}\n", target.scenario, target.what));
        }
        text
    }
}

fn write(bytes: u64, file: &Path, stop: &AtomicBool) -> anyhow::Result<Option<(u64, u64)>> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
    let mut log = Log::new(SEED);
    let (mut written, mut bad_gateways) = (0, 0);
    while written < bytes {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (more, found) = log.write(STEP_BYTES.min(bytes - written), &mut out)?;
        written += more;
        bad_gateways += found;
    }
    out.flush()?;
    Ok(Some((written, bad_gateways)))
}

fn compress(plain: &Path, gzip: &Path) -> anyhow::Result<()> {
    let status = Command::new("gzip")
        .arg("-6")
        .stdin(File::open(plain)?)
        .stdout(File::create(gzip)?)
        .status()
        .context("cannot run gzip")?;
    if !status.success() {
        bail!("gzip failed ({status})");
    }
    Ok(())
}

fn tools<'a>(why502: &'a Path, plain: &'a Path, gzip: &'a Path) -> Vec<Tool<'a>> {
    let ours = |file: &'a Path| -> Box<dyn Fn() -> Vec<Command> + 'a> {
        Box::new(move || {
            let mut command = Command::new(why502);
            command.args(["logs", "--output", "json"]).arg(file);
            vec![command]
        })
    };
    let awk = || {
        let mut awk = Command::new("awk");
        awk.arg("$9 == 502");
        awk
    };
    vec![
        Tool {
            scenario: "alb-plain",
            name: WHY502,
            commands: ours(plain),
            count: count_json,
        },
        Tool {
            scenario: "alb-plain",
            name: "awk",
            commands: Box::new(move || {
                let mut awk = awk();
                awk.arg(plain);
                vec![awk]
            }),
            count: count_lines,
        },
        Tool {
            scenario: "alb-gzip",
            name: WHY502,
            commands: ours(gzip),
            count: count_json,
        },
        Tool {
            scenario: "alb-gzip",
            name: "zcat | awk",
            commands: Box::new(move || {
                let mut zcat = Command::new("zcat");
                zcat.arg(gzip).stderr(Stdio::inherit());
                vec![zcat, awk()]
            }),
            count: count_lines,
        },
    ]
}

fn count_lines(out: &[u8]) -> anyhow::Result<u64> {
    Ok(out.iter().filter(|byte| **byte == b'\n').count() as u64)
}

fn count_json(out: &[u8]) -> anyhow::Result<u64> {
    let document: serde_json::Value = serde_json::from_slice(out)?;
    let found = document.pointer("/summary/statuses/502");
    found
        .and_then(serde_json::Value::as_u64)
        .context("the summary counts no status 502")
}

fn row(tool: &Tool<'_>, runs: &[Run], log_bytes: u64) -> Row {
    let mut seconds: Vec<f64> = runs.iter().map(|run| run.elapsed.as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    let at = |place: usize| seconds.get(place).copied().unwrap_or_default();
    let median = at(seconds.len() / 2);
    Row {
        scenario: tool.scenario,
        tool: tool.name,
        seconds_median: median,
        seconds_spread: [at(0), at(seconds.len().saturating_sub(1))],
        bytes_per_second: (log_bytes as f64 / median) as u64,
        rss_bytes: runs.iter().map(|run| run.rss_bytes).max().unwrap_or(0),
    }
}

fn targets(rows: &[Row]) -> Vec<Target> {
    let ours = rows.iter().filter(|row| row.tool == WHY502);
    ours.flat_map(|ours| {
        let of_scenario = rows.iter().filter(|row| row.scenario == ours.scenario);
        let others = of_scenario.filter(|row| row.tool != WHY502);
        let faster = others.map(|other| {
            let ratio = other.seconds_median / ours.seconds_median;
            Target {
                scenario: ours.scenario,
                what: format!(
                    "why502 is {ratio:.2} times as fast as {}, at least {RATIO_MIN} are wanted",
                    other.tool
                ),
                ratio: Some(ratio),
                held: ratio >= RATIO_MIN,
            }
        });
        let small = Target {
            scenario: ours.scenario,
            what: format!(
                "why502 needs {} MB of memory, at most {} are wanted",
                ours.rss_bytes / 1_000_000,
                RSS_MAX_BYTES / 1_000_000
            ),
            ratio: None,
            held: ours.rss_bytes <= RSS_MAX_BYTES,
        };
        faster.chain([small])
    })
    .collect()
}

/// The program that `awk` is here: one of several.
fn awk() -> Option<String> {
    let awk = fs::canonicalize(find_program("awk")?).ok()?;
    Some(awk.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_hold() {
        let row = |scenario, tool, seconds_median, rss_bytes| Row {
            scenario,
            tool,
            seconds_median,
            seconds_spread: [0.0, 0.0],
            bytes_per_second: 0,
            rss_bytes,
        };
        let rows = [
            row("a", WHY502, 1.0, 10 << 20),
            row("a", "awk", 2.5, 1 << 30),
            row("b", WHY502, 1.0, 1 << 30),
            row("b", "awk", 1.9, 0),
        ];
        let held: Vec<bool> = targets(&rows).iter().map(|target| target.held).collect();
        assert_eq!(held, [true, true, false, false]);
    }

    #[test]
    fn sizes_and_counts() {
        assert_eq!(count_lines(b"a\nb\n").unwrap(), 2);
        assert_eq!(
            count_json(br#"{"summary":{"statuses":{"502":7}}}"#).unwrap(),
            7
        );
        assert!(count_json(b"{}").is_err());
    }
}
