//! `cargo xtask bench`: how fast why502 is, against what a person would use otherwise.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::ensure;
use clap::Subcommand;
use xtask::bench::{agent, logs};
use xtask::lab::demo::Format;
use xtask::paths;

use super::{build, stop};

/// Options of `bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
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
    match args.what {
        What::Agent {
            rate,
            seconds,
            rounds,
            format,
        } => {
            ensure!(
                rustix::process::geteuid().is_root(),
                "the agent needs root: sudo cargo xtask bench agent"
            );
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
        What::Logs { size, runs, format } => {
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

/// A program that is at hand is taken as it is.
fn why502(build: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("WHY502_BIN") {
        return Ok(named.into());
    }
    build()?;
    Ok(paths::why502())
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
