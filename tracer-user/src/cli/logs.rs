//! `why502 logs`: options to what is asked for, and standard output and error to those who wait.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use jiff::tz::TimeZone;

use super::args::LogsArgs;
use super::error::{FAILED, UsageError};
use super::{moment, terminal};
use crate::logs::read::{Source, Trouble, find};
use crate::logs::survey::{Choice, Left, Options, Problem, Progress, run};
use crate::logs::{Assume, Format};
use crate::printable::printable;
use crate::report::logs::{Output, View};

/// The form that is found by a look at each line.
const AUTO: &str = "auto";
/// Progress is shown after this time, and as often.
const PATIENCE: Duration = Duration::from_millis(500);

/// Runs the command.
pub(super) fn command(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let now = now_unix_ns();
    let zone = args.zone.clone().unwrap_or_else(TimeZone::system);
    let at = |text: &Option<String>| {
        let text = text.as_deref();
        text.map(|text| moment::parse(text, &zone, now)).transpose()
    };
    let options = Options {
        format: choice(&args.format)?,
        assume: Assume {
            zone: zone.clone(),
            now_unix_ns: now,
        },
        since: at(&args.since)?,
        until: at(&args.until)?,
        statuses: args.status.clone(),
    };
    if let (Some(since), Some(until)) = (options.since, options.until)
        && since >= until
    {
        let what = "--since is not before --until: no line is between them";
        let hint =
            "times without a zone are in the zone of --zone, this machine's if it is not given";
        return Err(UsageError::new(what, hint).into());
    }
    let mut problems = Vec::new();
    let sources = find(&args.files, |path, error| {
        problems.push(Problem {
            file: path.to_string_lossy().into_owned(),
            trouble: Trouble::Io(error.to_string()),
        });
    });
    let view = View {
        format: args.output.into(),
        style: terminal::style(),
        limit: args.limit,
        unparsed: args.unparsed,
        zone,
    };
    let mut rim = Rim {
        output: Output::new(view, BufWriter::new(io::stdout().lock())),
        waiting: Waiting::new(&sources),
    };
    let mut survey = run(sources, options, &mut rim).context("cannot write to standard output")?;
    rim.waiting.clear();
    for problem in problems {
        survey.problem(problem);
    }
    let done = rim.output.finish(&survey);
    done.context("cannot write to standard output")?;

    let mut failed = survey.more_problems > 0;
    for Problem { file, trouble } in &survey.problems {
        let kind = if trouble.is_error() {
            "error"
        } else {
            "warning"
        };
        failed |= trouble.is_error();
        let (file, trouble) = (printable(file, 300), printable(&trouble.to_string(), 300));
        let _nobody_to_tell = writeln!(io::stderr(), "why502: {kind}: {file}: {trouble}");
    }
    Ok(if failed {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

fn choice(text: &str) -> Result<Choice, UsageError> {
    if text == AUTO {
        return Ok(Choice::Auto);
    }
    text.parse().map(Choice::Is).map_err(|error| {
        let names: Vec<&str> = Format::names().collect();
        let names = names.join(", ");
        let hint = format!("the formats are {AUTO}, {names}, or a log_format string of NGINX");
        UsageError::new(format!("{error}"), hint)
    })
}

fn now_unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ns = since.map_or(0, |since| since.as_nanos());
    i64::try_from(ns).unwrap_or(i64::MAX)
}

/// Where results and patience go.
struct Rim {
    output: Output<BufWriter<StdoutLock<'static>>>,
    waiting: Waiting,
}

impl Progress for Rim {
    type Error = io::Error;

    fn failure(&mut self, failure: &Left<'_>) -> io::Result<()> {
        self.output.entry(failure)
    }

    fn caught_up(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn read(&mut self, bytes: u64) {
        self.waiting.show(bytes);
    }
}

/// One line on a terminal that says how far it is.
struct Waiting {
    terminal: bool,
    started: Instant,
    last: Instant,
    total: Option<u64>,
    shown: bool,
}

impl Waiting {
    fn new(sources: &[Source]) -> Self {
        let now = Instant::now();
        Self {
            terminal: io::stderr().is_terminal(),
            started: now,
            last: now,
            total: sources.iter().map(Source::bytes).sum(),
            shown: false,
        }
    }

    fn show(&mut self, bytes: u64) {
        if !self.terminal || self.last.elapsed() < PATIENCE {
            return;
        }
        self.last = Instant::now();
        self.shown = true;
        let line = progress(bytes, self.total, self.started.elapsed());
        let _nobody_to_tell = write!(io::stderr(), "\r{line}\x1b[K");
    }

    fn clear(&mut self) {
        if self.shown {
            let _nobody_to_tell = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// `412 MB of 1000 MB, 41 %, 820 MB/s`.
fn progress(bytes: u64, total: Option<u64>, elapsed: Duration) -> String {
    const MB: u64 = 1_000_000;
    let rate = bytes as f64 / elapsed.as_secs_f64().max(0.001) / MB as f64;
    let read = bytes / MB;
    match total {
        Some(total) if total > 0 => {
            let share = u128::from(bytes.min(total)) * 100 / u128::from(total);
            format!("{read} MB of {} MB, {share} %, {rate:.0} MB/s", total / MB)
        }
        _ => format!("{read} MB, {rate:.0} MB/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is() {
        for (bytes, total, line) in [
            (
                412_000_000,
                Some(1_000_000_000),
                "412 MB of 1000 MB, 41 %, 206 MB/s",
            ),
            (1_100_000, Some(1_000_000), "1 MB of 1 MB, 100 %, 1 MB/s"),
            (5_000_000, None, "5 MB, 2 MB/s"),
            (5_000_000, Some(0), "5 MB, 2 MB/s"),
        ] {
            assert_eq!(progress(bytes, total, Duration::from_secs(2)), line);
        }
    }

    #[test]
    fn the_help_names_every_format() {
        use clap::CommandFactory as _;
        let mut program = super::super::args::Cli::command();
        let logs = program.find_subcommand_mut("logs").unwrap();
        let help = logs.render_long_help().to_string();
        let words: Vec<&str> = help
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .collect();
        for name in Format::names() {
            assert!(words.contains(&name), "{name}");
        }
    }

    #[test]
    fn names_of_formats() {
        assert_eq!(choice("auto"), Ok(Choice::Auto));
        assert_eq!(choice("aws-alb"), Ok(Choice::Is(Format::AwsAlb)));
        assert!(matches!(
            choice("$status $request"),
            Ok(Choice::Is(Format::NginxCustom(_)))
        ));
        assert!(choice("alb2").is_err());
    }
}
