//! What became of the documents of one destination: every one is in exactly one of these numbers.

use std::ops::{Add, AddAssign, Sub, SubAssign};

use super::payload::Signal;

/// Documents, and the spans, data points or log records in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Documents.
    pub documents: u64,
    /// Items.
    pub items: u64,
}

impl Tally {
    /// One document.
    pub fn one(items: u64) -> Self {
        let documents = 1;
        Self { documents, items }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            documents: self.documents.saturating_add(other.documents),
            items: self.items.saturating_add(other.items),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            documents: self.documents.saturating_sub(other.documents),
            items: self.items.saturating_sub(other.items),
        }
    }
}

impl SubAssign for Tally {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// Why a document will not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The queue in memory was full; the oldest went.
    QueueFull,
    /// The spool was full; the oldest went.
    SpoolFull,
    /// The receiver does not want it.
    Refused,
    /// Too large for the receiver or the spool, and in one piece.
    TooLarge,
    /// Answered with "later" for too long.
    Expired,
    /// The program ended first.
    Stopped,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::SpoolFull,
        Self::Refused,
        Self::TooLarge,
        Self::Expired,
        Self::Stopped,
    ];

    /// For labels and names of counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::SpoolFull => "spool_full",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Expired => "expired",
            Self::Stopped => "stopped",
        }
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handed over by this process.
    pub offered: Tally,
    /// Found in the spool at the start.
    pub recovered: Tally,
    /// Taken by the receiver. A document that was sent in parts counts its parts.
    pub sent: Tally,
    /// Bytes of their bodies, before compression.
    pub sent_bytes: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// Items of documents that were taken, which the receiver then left out.
    pub rejected_items: u64,
    /// Written to the spool.
    pub spooled: Tally,
    /// Documents of the spool that were torn or damaged.
    pub torn_documents: u64,
    /// Times that the spool could not be written to.
    pub spool_failures: u64,
    /// In memory and in the spool now.
    pub waiting: Tally,
    /// Bytes in the queue in memory.
    pub queue_bytes: u64,
    /// Bytes on disk.
    pub spool_bytes: u64,
    pub(super) dropped: [Tally; Reason::ALL.len()],
}

impl Counters {
    /// What will not arrive, by reason.
    pub fn dropped(&self, reason: Reason) -> Tally {
        self.dropped[reason as usize]
    }

    pub(super) fn drop(&mut self, reason: Reason, what: Tally) {
        self.dropped[reason as usize] += what;
    }

    /// What did not arrive or was left out, in items, as named losses for a report; zeros are left out.
    pub fn losses(&self, signal: Signal) -> Vec<(String, u64)> {
        let name = signal.name();
        let dropped = Reason::ALL.map(|reason| (reason.name(), self.dropped(reason).items));
        let others = [
            ("rejected", self.rejected_items),
            ("torn_documents", self.torn_documents),
        ];
        let all = dropped.into_iter().chain(others);
        all.filter(|(_, count)| *count > 0)
            .map(|(what, count)| (format!("export_{name}_{what}"), count))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_named() {
        let mut counters = Counters {
            rejected_items: 2,
            ..Counters::default()
        };
        assert_eq!(Counters::default().losses(Signal::Logs), []);
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            counters.drop(reason, Tally::one(at as u64 * 10));
            counters.drop(reason, Tally::one(1));
        }
        let losses = counters.losses(Signal::Traces);
        assert_eq!(losses.len(), 7);
        assert_eq!(losses[1], ("export_traces_spool_full".into(), 11));
        assert_eq!(losses[6], ("export_traces_rejected".into(), 2));
    }
}
