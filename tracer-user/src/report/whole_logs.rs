//! Logs that are read whole, for a recording that is over.

use crate::capture::options::LogOption;
use crate::event::{LogRead, LogSource, MonoNs, SessionStart};
use crate::logs::read::each_line;
use crate::logs::{Assume, FailureLines};
use crate::report::Clock;

/// Lines this far outside of the recording's time are left alone: no clock is that wrong, ns.
const AROUND_NS: i64 = 3_600_000_000_000;

/// Logs to read when the recording has been read.
pub(super) struct WholeLogs {
    options: Vec<LogOption>,
    clock: Clock,
    utc_offset_s: i32,
    began: MonoNs,
}

impl WholeLogs {
    pub(super) fn new(options: &[LogOption]) -> Self {
        Self {
            options: options.to_vec(),
            clock: Clock::default(),
            utc_offset_s: 0,
            began: 0,
        }
    }

    /// The recording's host and time.
    pub(super) fn start(&mut self, start: &SessionStart) {
        self.clock = Clock::of(start);
        self.utc_offset_s = start.utc_offset_s;
        self.began = start.started_mono_ns;
    }

    /// Gives the lines that tell of failures around the time of the recording, which ended then.
    pub(super) fn read(&self, ended: MonoNs, mut found: impl FnMut(LogRead)) -> Vec<LogSource> {
        let window = (
            self.clock.unix(self.began).saturating_sub(AROUND_NS),
            self.clock.unix(ended).saturating_add(AROUND_NS),
        );
        let assume = Assume::offset(self.utc_offset_s, self.clock.unix(ended));
        let mut sources = Vec::new();
        for option in &self.options {
            let mut source = LogSource {
                path: option.path.to_string_lossy().into_owned(),
                ..LogSource::default()
            };
            read(option, &assume, window, ended, &mut source, &mut found);
            if let Some(trouble) = &source.trouble {
                let path = option.path.display();
                eprintln!("why502: warning: the log {path}: {trouble}");
            }
            sources.push(source);
        }
        sources
    }
}

fn read(
    option: &LogOption,
    assume: &Assume,
    window: (i64, i64),
    ended: MonoNs,
    source: &mut LogSource,
    found: &mut impl FnMut(LogRead),
) {
    let mut failures = FailureLines::new(option.format.clone());
    let lines = each_line(&option.path, |number, line| {
        let failure = failures.line(line, assume, source);
        let around = |at| window.0 <= at && at <= window.1;
        if let Some(failure) = failure.filter(|failure| failure.unix_ns.is_none_or(around)) {
            source.failures += 1;
            found(failure.of(source, number, ended));
        }
    });
    source.lines = lines.lines;
    source.skipped_bytes = lines.too_long_bytes;
    source.trouble = lines.trouble.map(|trouble| trouble.to_string());
}
