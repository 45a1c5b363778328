//! `why502 report FILE`: a recording through the same session and reporter as a live capture.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use anyhow::Context as _;

use super::whole_logs::WholeLogs;
use super::{Format, Reporter, Style};
use crate::capture::options::LogOption;
use crate::event::{Input, MonoNs};
use crate::recording::{OpenError, Reader, Tear};
use crate::session::Session;

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The report cannot be written.
    #[error("writing the report failed: {0}")]
    Write(#[source] io::Error),
}

/// Reports on the recording `file`. A torn one is reported as far as it goes, with a warning on
/// standard error and in the report's notes.
pub fn command(
    file: &Path,
    logs: &[LogOption],
    format: Format,
    style: Style,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let name = file.display();
    let source = File::open(file).with_context(|| format!("cannot open {name}"))?;
    let source = BufReader::new(source);
    let tear = replay_with(source, logs, Reporter::new(format, style), out)
        .with_context(|| format!("cannot report on {name}"))?;
    if let Some(tear) = tear {
        eprintln!("why502: warning: {name}: {tear}");
    }
    Ok(())
}

/// Replays a recording; gives the tear, if it breaks off.
pub fn replay(
    source: impl Read,
    reporter: Reporter,
    out: &mut impl Write,
) -> Result<Option<Tear>, ReplayError> {
    replay_with(source, &[], reporter, out)
}

/// Replays a recording, and reads these logs before its end.
fn replay_with(
    source: impl Read,
    logs: &[LogOption],
    reporter: Reporter,
    out: &mut impl Write,
) -> Result<Option<Tear>, ReplayError> {
    let mut reader = Reader::new(source)?;
    let mut session = Session::new();
    let mut logs = (!logs.is_empty()).then(|| WholeLogs::new(logs));
    if logs.is_some() {
        session.wait_for_logs();
    }
    for input in reader.by_ref() {
        if let Input::End(now) = input {
            feed(&mut logs, now, &mut session);
        }
        if let (Input::Start(start), Some(logs)) = (&input, &mut logs) {
            logs.start(start);
        }
        reporter
            .input(&mut session, &input, out)
            .map_err(ReplayError::Write)?;
    }
    if let Some(last) = session.last_moment() {
        feed(&mut logs, last, &mut session);
    }
    reporter
        .rest(&mut session, out)
        .map_err(ReplayError::Write)?;
    let tear = reader.tear().cloned();
    if let Some(tear) = &tear {
        session.note(tear.to_string());
    }
    reporter.finish(&session, out).map_err(ReplayError::Write)?;
    Ok(tear)
}

/// Hands the logs to the session, once.
fn feed(logs: &mut Option<WholeLogs>, now: MonoNs, session: &mut Session) {
    let Some(logs) = logs.take() else { return };
    let sources = logs.read(now, |read| {
        session.input(&Input::Log(read));
    });
    session.input(&Input::LogSources(sources));
}
