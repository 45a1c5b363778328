//! How long to wait before the next attempt.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Exponential, with jitter so that a thousand hosts do not come back at once.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
    state: u64,
}

/// A receiver that asks for more is asked again after this.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// For [`super::Sender::start`]: differs between hosts, whatever their clocks and process numbers.
pub fn seed() -> u64 {
    RandomState::new().hash_one(())
}

impl Backoff {
    /// From `first`, doubled with each failure, up to `cap`. `seed` differs between hosts.
    pub(super) fn new(first: Duration, cap: Duration, seed: u64) -> Self {
        Self {
            first,
            cap,
            failures: 0,
            state: seed,
        }
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// After a failure: what to wait. Between half and the whole of the doubled time; at least what the
    /// receiver asked for, and then up to a quarter more, since it asked all of us the same.
    pub(super) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(self.cap);
        let own = whole / 2 + whole.mul_f64(self.share() / 2.0);
        let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let spread = asked.min(self.cap).mul_f64(self.share() / 4.0);
        own.max(asked + spread)
    }

    /// In 0..1, by SplitMix64 (<https://doi.org/10.1145/2660193.2660195>).
    fn share(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u32 as f64 / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn doubles_up_to_the_cap() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(S(1), S(30), seed);
            for whole in [1, 2, 4, 8, 16, 30, 30, 30].map(S) {
                let wait = backoff.next(None);
                assert!(wait >= whole / 2 && wait <= whole, "{seed} {wait:?}");
            }
            for _ in 0..100 {
                assert!(backoff.next(None) <= S(30));
            }
            backoff.reset();
            assert!(backoff.next(None) <= S(1));
        }
    }

    #[test]
    fn hosts_do_not_come_back_together() {
        let waits: std::collections::BTreeSet<_> = (0..100)
            .map(|seed| Backoff::new(S(1), S(30), seed).next(None))
            .collect();
        assert!(waits.len() > 95);
        let again = |seed| Backoff::new(S(1), S(30), seed).next(Some(S(7)));
        assert_eq!(again(3), again(3));
        assert_ne!(again(3), again(4));
    }

    #[test]
    fn what_the_receiver_asks_for_is_the_least() {
        for (asked, least, most) in [(0, 0, 1), (7, 7, 9), (100, 100, 108), (1 << 40, 3600, 3608)] {
            for seed in 0..50 {
                let wait = Backoff::new(S(1), S(30), seed).next(Some(S(asked)));
                assert!(wait >= S(least) && wait <= S(most), "{asked} {wait:?}");
            }
        }
    }
}
