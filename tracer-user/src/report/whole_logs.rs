//! Logs that are read whole, for a recording that is over.

use crate::capture::options::LogOption;
use crate::capture::understand;
use crate::event::{LogRead, LogSource, MonoNs, SessionStart};
use crate::logs::read::each_line;
use crate::logs::{Assume, Format, without_queries};
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
        self.clock = Clock {
            unix_ns: start.started_unix_ns,
            mono_ns: start.started_mono_ns,
        };
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
    let mut last: Option<Format> = None;
    let lines = each_line(&option.path, |number, line| {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return;
        }
        let Some((format, entry)) = understand(line, &option.format, &last, assume) else {
            source.unparsed += 1;
            return;
        };
        let time = entry.time.or(entry.started).map(|stamp| stamp.unix_ns);
        let failed = entry.meaning.is_some_and(|meaning| meaning.is_failure());
        if failed && time.is_none_or(|at| window.0 <= at && at <= window.1) {
            source.failures += 1;
            found(LogRead {
                time_ns: ended,
                path: source.path.clone(),
                format: format.spec().to_owned(),
                number,
                line: without_queries(&String::from_utf8_lossy(line)),
            });
        }
        if last.as_ref() != Some(&format) {
            source.add_format(format.name());
            last = Some(format);
        }
    });
    source.lines = lines.lines;
    source.skipped_bytes = lines.too_long_bytes;
    source.trouble = lines.trouble.map(|trouble| trouble.to_string());
}
