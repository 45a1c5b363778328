//! Command line: arguments, their conversion, and the way to each command.

pub mod args;
pub(crate) mod convert;
pub mod error;
mod explain;
mod export;
mod generate;
mod logs;
mod moment;
pub mod terminal;
pub(crate) mod values;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use clap::error::ErrorKind;

use self::args::{Cli, Command, DoctorArgs, DoctorFormat, ReportArgs};
use crate::capture::options::CaptureOptions;

/// Does what the arguments say, and gives the exit code of the program: 0 it worked (also when the
/// reader of the output left early), 2 wrong usage or an error, 1 only when `--fail-on` asked for it.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return answer_clap(&error),
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => answer(&error),
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Capture(args) => return crate::capture::run(CaptureOptions::try_from(*args)?),
        Command::Agent(args) if args.check => {
            print(|out| crate::agent::check(&args.config, out))?;
        }
        Command::Agent(args) => return crate::agent::run(&args.config),
        Command::Snapshot(args) => {
            print(|out| crate::agent::snapshot(args.config.as_deref(), args.socket, out))?;
        }
        Command::Report(args) => print(|out| report(&args, out))?,
        Command::Export(args) => export::command(&args)?,
        Command::Logs(args) => return logs::command(&args),
        Command::Explain(args) => {
            let width = terminal::width(&io::stdout());
            print(|out| explain::command(&args, width, out))?;
        }
        Command::Doctor(args) => print(|out| doctor(args, out))?,
        Command::Completions { shell } => print(|out| Ok(generate::completions(shell, out)?))?,
        Command::Man { command } => print(|out| generate::man(command.as_deref(), out))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn doctor(args: DoctorArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let checkup = crate::doctor::examine(&args.types.into(), args.load)?;
    match args.format {
        DoctorFormat::Text => crate::doctor::text::write(&checkup, out)?,
        DoctorFormat::Json => crate::doctor::json::write(&checkup, out)?,
    }
    Ok(())
}

fn report(args: &ReportArgs, out: &mut impl Write) -> anyhow::Result<()> {
    crate::report::command(
        &args.file,
        &args.log,
        args.format.into(),
        terminal::style(),
        out,
    )
}

/// Hands out standard output, and finds the errors that show only when the last bytes are written.
fn print(
    write: impl FnOnce(&mut io::BufWriter<io::StdoutLock<'static>>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write(&mut out)?;
    out.flush().context("cannot write to standard output")
}

/// Help and version are results; anything else that the parser says is an error.
fn answer_clap(error: &clap::Error) -> ExitCode {
    let failed = error.use_stderr();
    if failed && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = write!(io::stderr(), "why502: ");
    }
    match error.print().context("cannot write to standard output") {
        // Nobody is left to tell what is wrong with the arguments.
        _ if failed => ExitCode::from(error::FAILED),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => answer(&error),
    }
}

fn answer(error: &anyhow::Error) -> ExitCode {
    if error::is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    error::print(error, io::stderr());
    ExitCode::from(error::FAILED)
}
