//! All destinations of a program: a document goes to each that takes its signal.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::counters::Counters;
use super::payload::{Payload, Signal};
use super::sender::Sender;

/// Senders that stand for themselves: one that is down holds up no other.
#[derive(Debug, Default)]
pub struct Delivery {
    senders: Vec<Sender>,
}

impl Delivery {
    /// Of these.
    pub fn new(senders: Vec<Sender>) -> Self {
        Self { senders }
    }

    /// What somebody takes.
    pub fn signals(&self) -> BTreeSet<Signal> {
        self.senders.iter().map(Sender::signal).collect()
    }

    /// Hands a document to those that take it. Never waits.
    pub fn offer(&self, payload: &Payload) {
        for sender in &self.senders {
            if sender.signal() == payload.signal {
                sender.offer(payload.clone());
            }
        }
    }

    /// Hands over all of these.
    pub fn offer_all(&self, payloads: Vec<Payload>) {
        for payload in &payloads {
            self.offer(payload);
        }
    }

    /// Counts of each destination.
    pub fn counters(&self) -> Vec<(Signal, Counters)> {
        let counters = |sender: &Sender| (sender.signal(), sender.counters());
        self.senders.iter().map(counters).collect()
    }

    /// Waits until all is settled; false: not within `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        self.senders.iter().all(|sender| sender.flush(left()))
    }

    /// Stops all at the same time, within `limit`. See [`Sender::finish`].
    pub fn finish(self, limit: Duration) -> Vec<(Signal, Counters)> {
        for sender in &self.senders {
            sender.stop(limit);
        }
        let finish = |sender: Sender| (sender.signal(), sender.finish(limit));
        self.senders.into_iter().map(finish).collect()
    }
}
