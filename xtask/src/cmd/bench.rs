//! `cargo xtask bench`: how fast why502 is, against what a person would use otherwise.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use xtask::bench::overhead::Tool;
use xtask::bench::{agent, logs, overhead, page, scale};
use xtask::lab::demo::Format;
use xtask::paths;

use super::{build, stop};

/// Options of `bench`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    overhead: Overhead,
}

/// What tracing costs the proxy, against other tracers; needs root and wrk.
#[derive(clap::Args)]
struct Overhead {
    /// Only the load of this name, or those with this in their names
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Only these tracers, in each load; else those that tell something there
    #[arg(long, value_name = "NAME", value_parser = tool)]
    tool: Vec<Tool>,
    /// Pairs of runs with and without each tracer
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Seconds of each run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The form of the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Subcommand)]
enum What {
    /// What the agent costs while all is well: NGINX with healthy requests at a fixed rate; needs root,
    /// and h2load (package nghttp2-client)
    Agent {
        /// Requests in a second
        #[arg(long, default_value_t = 25_000, value_parser = clap::value_parser!(u64).range(50..=1_000_000))]
        rate: u64,
        /// Seconds of each round
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(3..=3600))]
        seconds: u64,
        /// Rounds
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
        rounds: u8,
        /// The form of the result
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Many connections that are open, many that come and go, many failures at once; needs root and wrk
    Scale {
        /// Connections that are open at a time
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        connections: u32,
        /// Seconds of the other two
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
        /// The form of the result
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Prints docs/performance.md from the JSON of the other benchmarks
    Page {
        /// What `bench`, `bench agent` and `bench scale` wrote with --format json
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// `why502 logs` against awk and zcat, on a large access log; builds why502 without its kernel
    /// programs, needs no root
    Logs {
        /// Size of the log: 1G, 200M
        #[arg(long, default_value = "1G", value_parser = bytes)]
        size: u64,
        /// Runs of each tool
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
        runs: u8,
        /// The form of the result
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

/// Set by Ctrl-C.
static TOLD_TO_STOP: AtomicBool = AtomicBool::new(false);

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(what) = &args.what else {
        return overhead(&args.overhead);
    };
    match what {
        What::Page { files } => print_page(files),
        &What::Agent {
            rate,
            seconds,
            rounds,
            format,
        } => {
            ensure_root()?;
            let why502 = why502(|| build::why502(true))?;
            stop::watch("bench", &TOLD_TO_STOP)?;
            let options = agent::Options {
                per_second: rate,
                duration: Duration::from_secs(seconds),
                rounds: usize::from(rounds),
            };
            let outcome = agent::run(options, &why502, &TOLD_TO_STOP)?;
            end(format, outcome.map(|o| (o.held, o.text(), json(&o))))
        }
        &What::Scale {
            connections,
            seconds,
            format,
        } => {
            ensure_root()?;
            let why502 = why502(|| build::why502(true))?;
            stop::watch("bench", &TOLD_TO_STOP)?;
            let options = scale::Options {
                connections: connections as usize,
                time: Duration::from_secs(seconds),
            };
            let outcome = scale::run(options, &why502, &TOLD_TO_STOP)?;
            end(format, outcome.map(|o| (o.held, o.text(), json(&o))))
        }
        &What::Logs { size, runs, format } => {
            let why502 = why502(build::without_programs)?;
            stop::watch("bench", &TOLD_TO_STOP)?;
            let options = logs::Options {
                bytes: size,
                runs: usize::from(runs),
            };
            let outcome = logs::run(options, &why502, &TOLD_TO_STOP)?;
            end(format, outcome.map(|o| (o.held, o.text(), json(&o))))
        }
    }
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print_page(files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut results = page::Results::default();
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let result = serde_json::from_slice(&bytes);
        let result = result.with_context(|| format!("{} is no JSON", file.display()))?;
        let added = results.add(result);
        added.with_context(|| format!("{} is not known", file.display()))?;
    }
    print!("{}", results.page());
    Ok(ExitCode::SUCCESS)
}

fn ensure_root() -> anyhow::Result<()> {
    let root = rustix::process::geteuid().is_root();
    ensure!(root, "tracing needs root: sudo cargo xtask bench …");
    Ok(())
}

fn overhead(args: &Overhead) -> anyhow::Result<ExitCode> {
    ensure_root()?;
    // A whole name means that one alone, although others contain it.
    let is_one = |part: &str| overhead::SCENARIOS.iter().any(|one| one.name == part);
    let wanted = |name: &str| {
        args.scenario.is_empty()
            || args.scenario.iter().any(|part| match is_one(part) {
                true => name == part,
                false => name.contains(part.as_str()),
            })
    };
    let scenarios: Vec<_> = overhead::SCENARIOS
        .into_iter()
        .filter(|scenario| wanted(scenario.name))
        .collect();
    ensure!(
        !scenarios.is_empty(),
        "no such load; there are {}",
        overhead::SCENARIOS.map(|scenario| scenario.name).join(", ")
    );
    let why502 = why502(|| build::why502(true))?;
    stop::watch("bench", &TOLD_TO_STOP)?;
    let options = overhead::Options {
        scenarios,
        tools: args.tool.clone(),
        rounds: usize::from(args.rounds),
        slice: Duration::from_secs(args.seconds),
    };
    let outcome = overhead::run(&options, &why502, &TOLD_TO_STOP)?;
    end(args.format, outcome.map(|o| (o.held, o.text(), json(&o))))
}

fn tool(name: &str) -> Result<Tool, String> {
    let found = Tool::ALL.into_iter().find(|tool| tool.name() == name);
    found.ok_or_else(|| format!("there are {}", Tool::ALL.map(Tool::name).join(", ")))
}

/// A program that is at hand is taken as it is.
fn why502(build: impl FnOnce() -> anyhow::Result<PathBuf>) -> anyhow::Result<PathBuf> {
    paths::named_why502().map_or_else(build, Ok)
}

fn json(outcome: &impl serde::Serialize) -> serde_json::Result<String> {
    serde_json::to_string(outcome)
}

/// Prints whether it held, in words and in JSON. `None`: it was told to stop.
#[expect(clippy::print_stdout, reason = "the result of the command")]
fn end(
    format: Format,
    outcome: Option<(bool, String, serde_json::Result<String>)>,
) -> anyhow::Result<ExitCode> {
    let Some((held, text, json)) = outcome else {
        eprintln!("bench: stopped; its files are gone");
        return Ok(ExitCode::from(130));
    };
    match format {
        Format::Text => print!("{text}"),
        Format::Json => println!("{}", json?),
    }
    Ok(match held {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// `1G`, `200M`, `5000`.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.trim_end_matches(['B', 'i']) {
        number if number.ends_with(['G', 'g']) => (&number[..number.len() - 1], 1_u64 << 30),
        number if number.ends_with(['M', 'm']) => (&number[..number.len() - 1], 1 << 20),
        number => (number, 1),
    };
    let number: u64 = digits.parse().map_err(|_| "give 1G or 200M".to_owned())?;
    number
        .checked_mul(unit)
        // The log has to stay within one month.
        .filter(|bytes| (1_000_000..=4 << 30).contains(bytes))
        .ok_or_else(|| "from 1M to 4G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("1G", Some(1 << 30)),
            ("200M", Some(200 << 20)),
            ("1GiB", Some(1 << 30)),
            ("2000000", Some(2_000_000)),
            ("9G", None),
            ("1", None),
            ("99999999999999999999G", None),
            ("G", None),
            ("", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}
