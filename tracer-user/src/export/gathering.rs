//! Cases gather for a moment, so that one document tells of several.

use super::documents;
use super::resource::{Origin, ResourceConfig};
use crate::case::Case;
use crate::deliver::env::Env;
use crate::deliver::{Payload, Signal};
use crate::event::{MonoNs, SessionStart};

/// Cases wait for others for this time, ns.
const DELAY: MonoNs = 1_000_000_000;

/// More are not held back.
const BATCH: usize = 128;

/// Cases that wait to become documents. Moments are those of one monotonic clock, whose ever.
#[derive(Debug)]
pub struct Gathering {
    signals: Vec<Signal>,
    most: usize,
    /// Of spans: one for each request and one for each attempt.
    spans_most: usize,
    delay: MonoNs,
    /// What the user says of the observed service.
    resource: ResourceConfig,
    origin: Option<Origin>,
    cases: Vec<Case>,
    /// When the first of them came.
    since: Option<MonoNs>,
}

impl Gathering {
    /// For documents of these signals.
    pub fn new(signals: impl IntoIterator<Item = Signal>, resource: ResourceConfig) -> Self {
        Self {
            signals: signals.into_iter().collect(),
            most: BATCH,
            spans_most: usize::MAX,
            delay: DELAY,
            resource,
            origin: None,
            cases: Vec::new(),
            since: None,
        }
    }

    /// Of `most` cases at the latest.
    #[must_use]
    pub fn at_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// As `OTEL_BSP_SCHEDULE_DELAY` and `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` say
    /// (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#batch-span-processor>).
    /// A case stays whole, however many spans it has.
    #[must_use]
    pub fn paced(self, env: &Env) -> Self {
        let delay = env.batch_delay.map(|delay| delay.as_nanos());
        let delay = delay.and_then(|ns| MonoNs::try_from(ns).ok());
        let spans = env.batch_items.and_then(|n| usize::try_from(n).ok());
        Self {
            delay: delay.unwrap_or(self.delay),
            spans_most: spans.unwrap_or(self.spans_most),
            ..self
        }
    }

    /// A session begins. Gives documents of what waited: it belongs to the clock of the session before.
    pub fn start(&mut self, start: &SessionStart) -> Vec<Payload> {
        let before = self.take();
        self.origin = Some(Origin::new(start, self.resource.clone()));
        before
    }

    /// Where cases come from, once a session has begun.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Takes a case, and gives the documents when there are enough.
    pub fn add(&mut self, case: Case, now: MonoNs) -> Vec<Payload> {
        let waiting: usize = self.cases.iter().map(spans).sum();
        let before = match waiting + spans(&case) > self.spans_most {
            true => self.take(),
            false => Vec::new(),
        };
        self.since.get_or_insert(now);
        self.cases.push(case);
        match self.cases.len() >= self.most {
            true => before.into_iter().chain(self.take()).collect(),
            false => before,
        }
    }

    /// Gives the documents when the first case has waited long enough.
    pub fn tick(&mut self, now: MonoNs) -> Vec<Payload> {
        match self.since {
            Some(since) if now.saturating_sub(since) >= self.delay => self.take(),
            _ => Vec::new(),
        }
    }

    /// The documents of all that wait. Cases before the first start have no place to come from, and are
    /// in none.
    pub fn take(&mut self) -> Vec<Payload> {
        self.since = None;
        let cases = std::mem::take(&mut self.cases);
        let Some(origin) = &self.origin else {
            return Vec::new();
        };
        let signals = self.signals.iter();
        signals
            .flat_map(|signal| documents(*signal, &cases, origin))
            .collect()
    }
}

fn spans(case: &Case) -> usize {
    1 + case.attempts.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn gathering(most: usize) -> Gathering {
        let signals = [Signal::Traces, Signal::Metrics, Signal::Zipkin];
        let mut gathering = Gathering::new(signals, ResourceConfig::default()).at_most(most);
        assert_eq!(gathering.start(&fixture::start()), []);
        gathering
    }

    fn signals(payloads: &[Payload]) -> Vec<Signal> {
        payloads.iter().map(|payload| payload.signal).collect()
    }

    #[test]
    fn some_wait_for_others_but_not_for_long() {
        let both = [Signal::Traces, Signal::Zipkin];
        let mut few = gathering(2);
        assert_eq!(few.add(fixture::reuse_race(), 5), []);
        assert_eq!(few.tick(4 + DELAY), []);
        assert_eq!(signals(&few.tick(5 + DELAY)), both);
        assert_eq!(few.tick(5 + 2 * DELAY), []);
        assert_eq!(few.add(fixture::reuse_race(), 9), []);
        assert_eq!(signals(&few.add(fixture::reuse_race(), 9)), both);
        assert_eq!(few.take(), []);
        assert_eq!(few.add(fixture::reuse_race(), 9), []);
        assert_eq!(signals(&few.take()), both);
    }

    #[test]
    fn as_slow_and_as_large_as_the_environment_says() {
        let env = Env {
            batch_delay: Some(std::time::Duration::from_secs(3)),
            batch_items: Some(5),
            ..Env::default()
        };
        let mut gathering = gathering(9).paced(&env);
        let case = fixture::reuse_race();
        assert_eq!(spans(&case), 2);
        assert_eq!(gathering.add(case.clone(), 0), []);
        assert_eq!(gathering.add(case.clone(), 1), []);
        // The third would make six.
        let payloads = gathering.add(case, 2);
        assert_eq!(payloads[0].items, 4);
        assert_eq!(gathering.tick(2 + 2_999_999_999), []);
        assert_eq!(gathering.tick(2 + 3_000_000_000)[0].items, 2);
    }

    #[test]
    fn what_waits_belongs_to_the_clock_of_its_session() {
        let (mut one, mut other) = (gathering(9), gathering(9));
        one.add(fixture::reuse_race(), 0);
        other.add(fixture::reuse_race(), 0);
        let mut later = fixture::start();
        later.started_unix_ns += 7;
        assert_eq!(one.start(&later), other.take());
        one.add(fixture::reuse_race(), 0);
        other.add(fixture::reuse_race(), 0);
        assert_ne!(one.take(), other.take());
    }

    #[test]
    fn without_a_start_there_is_nothing_to_say() {
        let mut gathering = Gathering::new([Signal::Logs], ResourceConfig::default()).at_most(1);
        assert_eq!(gathering.add(fixture::reuse_race(), 0), []);
    }
}
