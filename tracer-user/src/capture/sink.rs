//! Where the inputs of a live session go. Of a capture: the recording, the session, and what the user
//! sees at once. The same order for each, so that a replay sees what the live run saw.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::Instant;

use anyhow::Context as _;

use super::export::Export;
use super::live::mono_now;
use super::options::{CaptureOptions, FailOn, LogOption};
use crate::discover::Selection;
use crate::event::Input;
use crate::recording::Recorder;
use crate::report::{Format, Reporter, case_line};
use crate::session::Session;

/// Case lines that are shown per second while a capture runs; the report has all.
const LINES_PER_SECOND: u32 = 10;

/// The end of the pipe, which may want something of the event loop meanwhile.
pub(crate) trait Sink {
    /// What is left when it is over.
    type Done;

    /// Takes an input. `second`: the monotonic clock's, for what is shown or done only so often.
    fn input(&mut self, input: &Input, second: u64) -> anyhow::Result<()>;

    /// Something went wrong that ends nothing.
    fn warn(&mut self, warning: String);

    /// Cases so far.
    fn cases(&self) -> u64;

    /// Waits for a wish; what is dropped while it waits loses nothing.
    async fn wish(&mut self) -> Wish;

    /// The last input was taken.
    fn finish(self) -> anyhow::Result<Self::Done>;
}

/// What a sink can ask of the event loop.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Go on.
    Nothing,
    /// Watch these processes and logs from now on.
    Watch {
        /// The processes.
        selection: Selection,
        /// The logs.
        logs: Vec<LogOption>,
    },
    /// Hand over the state of all counters now.
    Count,
}

/// The sink of a capture. True at the end: `--fail-on` asks for exit code 1.
pub(super) struct Report {
    recorder: Option<Recorder>,
    export: Option<Export>,
    session: Session,
    reporter: Reporter,
    out: BufWriter<StdoutLock<'static>>,
    show_lines: bool,
    shown: (u64, u32),
    hidden: u64,
    fail_on: FailOn,
    failed: bool,
    cases: u64,
}

impl Report {
    /// `recorder` and `export` were opened before the capture started.
    pub(super) fn new(
        options: &CaptureOptions,
        recorder: Option<Recorder>,
        export: Option<Export>,
    ) -> Self {
        Self {
            recorder,
            export,
            session: Session::new(),
            reporter: Reporter::new(options.format, crate::cli::terminal::style()),
            out: BufWriter::new(io::stdout().lock()),
            show_lines: options.format != Format::Ndjson,
            shown: (0, 0),
            hidden: 0,
            fail_on: options.fail_on.clone(),
            failed: false,
            cases: 0,
        }
    }

    fn show(&mut self, second: u64, line: &str) {
        if self.shown.0 != second {
            self.shown = (second, 0);
            if self.hidden > 0 {
                eprintln!("… and {} more", self.hidden);
                self.hidden = 0;
            }
        }
        if self.shown.1 < LINES_PER_SECOND {
            self.shown.1 += 1;
            eprintln!("{line}");
        } else {
            self.hidden += 1;
        }
    }
}

impl Sink for Report {
    type Done = bool;

    /// Records an input and hands it to the session.
    fn input(&mut self, input: &Input, second: u64) -> anyhow::Result<()> {
        if let Some(recorder) = &mut self.recorder
            && let Some(trouble) = recorder.record(input)
        {
            eprintln!("why502: warning: {trouble}");
            self.session.note(trouble);
        }
        if let Input::Standby(standby) = input {
            eprintln!("why502: {standby}.");
        }
        let cases = self
            .reporter
            .input(&mut self.session, input, &mut self.out)
            .context("cannot write to standard output")?;
        if let Some(export) = &mut self.export {
            export.input(input, &cases, mono_now());
        }
        for case in &cases {
            self.cases += 1;
            self.failed |= self.fail_on.matches(case);
            if self.show_lines {
                self.show(second, &case_line(&self.session.case_document(case)));
            }
        }
        Ok(())
    }

    fn warn(&mut self, warning: String) {
        eprintln!("why502: warning: {warning}");
    }

    fn cases(&self) -> u64 {
        self.cases
    }

    async fn wish(&mut self) -> Wish {
        std::future::pending().await
    }

    fn finish(mut self) -> anyhow::Result<bool> {
        if self.hidden > 0 {
            eprintln!("… and {} more", self.hidden);
        }
        self.reporter
            .finish(&self.session, &mut self.out)
            .context("cannot write to standard output")?;
        self.out
            .flush()
            .context("cannot write to standard output")?;
        // The report first: it must not wait for a receiver that is down.
        if let Some(export) = self.export {
            export.finish(Instant::now());
        }
        Ok(self.failed)
    }
}
