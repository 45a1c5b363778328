//! `cargo xtask lab`: how often why502 is right, measured.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use clap::ValueEnum;
use xtask::lab::demo::Format;
use xtask::lab::matrix::{self, Options, Stop};
use xtask::lab::proxy::Kind;
use xtask::paths;

use super::setup::{self, Purpose};
use super::{build, stop};

/// Options of `lab`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these rows of the catalogue, e.g. E15,E18; `controls` stands for the healthy traffic
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    only: Vec<String>,
    /// Only these proxies
    #[arg(long, value_delimiter = ',', value_enum)]
    proxy: Vec<ProxyArg>,
    /// How often each variant of a row is tried with each proxy [default: 20, with --short 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,
    /// Few variants, few repeats: less than 90 seconds
    #[arg(long)]
    short: bool,
    /// Whether the tracer may look at the backends' half of a connection, as on one host, or not
    #[arg(long, value_enum, default_value_t = ViewArg::Both)]
    view: ViewArg,
    /// Where chance begins; printed by each run [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// The form of the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProxyArg {
    Nginx,
    Haproxy,
    Envoy,
    Apache,
}

impl ProxyArg {
    const fn kind(self) -> Kind {
        match self {
            Self::Nginx => Kind::Nginx,
            Self::Haproxy => Kind::Haproxy,
            Self::Envoy => Kind::Envoy,
            Self::Apache => Kind::Apache,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ViewArg {
    Both,
    Local,
    Remote,
}

/// Set by Ctrl-C.
static TOLD_TO_STOP: AtomicBool = AtomicBool::new(false);

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("the lab needs root: it makes network namespaces and traces what runs in them");
    }
    // A tracer that is at hand is taken as it is.
    let why502 = match paths::named_why502() {
        Some(named) => named,
        None => {
            setup::ensure(Purpose::Test)?;
            build::why502(true)?
        }
    };
    let kinds: Vec<Kind> = args.proxy.iter().map(|proxy| proxy.kind()).collect();
    let missing = matrix::missing(&kinds);
    if !missing.is_empty() {
        bail!("the lab needs {}", missing.join(", "));
    }
    let options = Options {
        only: args.only.clone(),
        kinds,
        repeat: args.repeat,
        short: args.short,
        local: args.view != ViewArg::Remote,
        remote: args.view != ViewArg::Local,
        seed: args.seed.unwrap_or_else(seconds_now),
    };
    let stop = Stop::new(&TOLD_TO_STOP, |told| stop::watch("lab", told));
    let Some(outcome) = matrix::run(&options, &why502, &stop)? else {
        eprintln!("lab: stopped; everything that was started is gone");
        return Ok(ExitCode::from(130));
    };
    print(args.format, &outcome);
    Ok(match outcome.held {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print(format: Format, outcome: &matrix::Outcome) {
    match format {
        Format::Text => print!("{}", outcome.text),
        Format::Json => println!("{}", outcome.json),
    }
}

fn seconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map(|since| since.as_secs()).unwrap_or_default()
}
