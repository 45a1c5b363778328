//! The agent's own log: text or JSON on standard error, which a service manager puts into its journal.
//! A warning that repeats is told a few times a minute; the rest is counted.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use super::config::{LogForm, LogLevel, LogOutput};

/// Warnings of one place that are told in this time.
const MOST: u32 = 5;
const WITHIN: Duration = Duration::from_secs(60);

/// What can be changed while it runs, and what was left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Tap(Arc<State>);

#[derive(Debug, Default)]
struct State {
    level: AtomicU8,
    left_out: AtomicU64,
    /// By the place in the program: when its minute began, and how many came since.
    told: Mutex<HashMap<Identifier, (Instant, u32)>>,
}

/// Begins to log; fails if something else in this process has begun already.
pub(super) fn init(output: LogOutput) -> anyhow::Result<Tap> {
    let tap = Tap::default();
    tap.set_level(output.level);
    let registry = tracing_subscriber::registry();
    let filter = tap.clone();
    // The journal has the time already.
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let layer = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false);
    match (output.format, in_journal) {
        (LogForm::Json, _) => registry
            .with(layer.json().flatten_event(true).with_filter(filter))
            .try_init()?,
        (LogForm::Text, true) => registry
            .with(layer.without_time().with_filter(filter))
            .try_init()?,
        (LogForm::Text, false) => registry.with(layer.with_filter(filter)).try_init()?,
    }
    Ok(tap)
}

impl Tap {
    /// Tells this much from now on.
    pub(super) fn set_level(&self, level: LogLevel) {
        let level = match level {
            LogLevel::Error => 1,
            LogLevel::Warn => 2,
            LogLevel::Info => 3,
            LogLevel::Debug => 4,
        };
        self.0.level.store(level, Ordering::Relaxed);
    }

    /// Warnings that were left out since the last time this was asked.
    pub(super) fn take_left_out(&self) -> u64 {
        self.0.left_out.swap(0, Ordering::Relaxed)
    }

    fn is_told(&self, place: Identifier, now: Instant) -> bool {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = told.entry(place).or_insert((now, 0));
        if now.duration_since(*since) >= WITHIN {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        let is_told = *count <= MOST;
        if !is_told {
            self.0.left_out.fetch_add(1, Ordering::Relaxed);
        }
        is_told
    }
}

impl<S: Subscriber> Filter<S> for Tap {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let level = match *metadata.level() {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            _ => 4,
        };
        level <= self.0.level.load(Ordering::Relaxed)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() != Level::WARN || self.is_told(metadata.callsite(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::PoisonError;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn levels_and_repetitions() {
        let tap = Tap::default();
        tap.set_level(LogLevel::Info);
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .with_filter(tap.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..20 {
                tracing::warn!(n, "again");
                tracing::info!("always");
                tracing::debug!("never");
            }
            tap.set_level(LogLevel::Error);
            tracing::info!("not any more");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let count = |word| text.lines().filter(|line| line.contains(word)).count();
        assert_eq!((count("again"), count("always")), (MOST as usize, 20));
        assert_eq!((count("never"), count("any more")), (0, 0));
        assert_eq!(tap.take_left_out(), 15);
        assert_eq!(tap.take_left_out(), 0);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&first["message"], &first["n"]),
            (&"again".into(), &0.into())
        );
    }
}
