//! Many failures within seconds: worth to keep what led to them.

use std::collections::VecDeque;

/// Counts failures by the second.
#[derive(Debug, Default)]
pub(super) struct Burst {
    seconds: VecDeque<(u64, u64)>,
    sum: u64,
    quiet_until: u64,
}

impl Burst {
    /// A failure. True if it makes a burst; then not again for `pause` seconds. All times in seconds of
    /// one clock.
    pub(super) fn failure(&mut self, second: u64, most: u64, within: u64, pause: u64) -> bool {
        match self.seconds.back_mut() {
            Some((last, count)) if *last >= second => *count += 1,
            _ => self.seconds.push_back((second, 1)),
        }
        self.sum += 1;
        while let Some((_, count)) = self
            .seconds
            .pop_front_if(|(at, _)| at.saturating_add(within) <= second)
        {
            self.sum -= count;
        }
        let is_burst = most > 0 && self.sum >= most && second >= self.quiet_until;
        if is_burst {
            self.quiet_until = second.saturating_add(pause);
        }
        is_burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts() {
        let told = |seconds: &[u64], most| {
            let mut burst = Burst::default();
            let is = |second: &u64| burst.failure(*second, most, 10, 60);
            seconds.iter().map(is).collect::<Vec<_>>()
        };
        assert_eq!(told(&[1, 1, 1, 1], 3), [false, false, true, false]);
        assert_eq!(told(&[1, 5, 10, 11], 3), [false, false, true, false]);
        assert_eq!(told(&[1, 5, 11], 3), [false; 3]);
        assert_eq!(
            told(&[1, 1, 50, 61, 61], 2),
            [false, true, false, false, true]
        );
        assert_eq!(told(&[1, 1, 1], 0), [false; 3]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut burst = Burst::default();
        for n in 0..1_000_000 {
            burst.failure(n / 100, 1, 10, 1);
        }
        assert!(burst.seconds.len() <= 10);
    }
}
