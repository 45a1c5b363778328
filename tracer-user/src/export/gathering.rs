//! Cases gather for a moment, so that one document tells of several.

use super::documents;
use super::resource::{Origin, ResourceConfig};
use crate::case::Case;
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
        self.since.get_or_insert(now);
        self.cases.push(case);
        match self.cases.len() >= self.most {
            true => self.take(),
            false => Vec::new(),
        }
    }

    /// Gives the documents when the first case has waited long enough.
    pub fn tick(&mut self, now: MonoNs) -> Vec<Payload> {
        match self.since {
            Some(since) if now.saturating_sub(since) >= DELAY => self.take(),
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
