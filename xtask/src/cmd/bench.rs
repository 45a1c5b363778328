//! `cargo xtask bench`: how fast why502 is, against what a person would use otherwise.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use clap::Subcommand;
use xtask::bench::logs;
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
    let What::Logs { size, runs, format } = args.what;
    // A program that is at hand is taken as it is.
    let why502 = match std::env::var_os("WHY502_BIN") {
        Some(named) => named.into(),
        None => {
            build::without_programs()?;
            paths::why502()
        }
    };
    stop::watch("bench", &TOLD_TO_STOP)?;
    let options = logs::Options {
        bytes: size,
        runs: usize::from(runs),
    };
    let Some(outcome) = logs::run(options, &why502, &TOLD_TO_STOP)? else {
        eprintln!("bench: stopped; its files are gone");
        return Ok(ExitCode::from(130));
    };
    print(format, &outcome)?;
    Ok(match outcome.held {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print(format: Format, outcome: &logs::Outcome) -> anyhow::Result<()> {
    match format {
        Format::Text => print!("{}", outcome.text()),
        Format::Json => println!("{}", serde_json::to_string(outcome)?),
    }
    Ok(())
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
