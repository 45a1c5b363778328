//! Failures over time, in buckets that grow with the span.

use std::collections::BTreeMap;

/// Widths of buckets, seconds. Each divides the next, so that buckets can be put together.
const WIDTHS: [i64; 18] = [
    1,
    5,
    10,
    30,
    60,
    300,
    600,
    1_800,
    3_600,
    10_800,
    21_600,
    43_200,
    86_400,
    604_800,
    2_419_200,
    29_030_400,
    290_304_000,
    2_903_040_000,
];
/// Buckets between the first and the last, before wider ones are taken.
const SPAN_MAX: i64 = 4_096;

/// Counts over time.
#[derive(Clone, Debug, Default)]
pub struct OverTime {
    /// Place in [`WIDTHS`].
    width: usize,
    /// By the time of their beginning, in widths since the epoch.
    counts: BTreeMap<i64, u64>,
    unknown: u64,
}

impl OverTime {
    /// Counts a moment, ns since the epoch.
    pub(super) fn add(&mut self, unix_ns: Option<i64>) {
        let Some(unix_ns) = unix_ns else {
            self.unknown += 1;
            return;
        };
        let at = unix_ns.div_euclid(1_000_000_000).div_euclid(self.width_s());
        *self.counts.entry(at).or_default() += 1;
        while self.span() > SPAN_MAX && self.widen() {}
    }

    /// Seconds of a bucket.
    pub fn width_s(&self) -> i64 {
        WIDTHS.get(self.width).copied().unwrap_or(1)
    }

    /// Failures whose time is not known.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// The same, with so few buckets that at most so many lie between the first and the last.
    pub fn at_most(&self, buckets: usize) -> Self {
        let mut coarse = self.clone();
        let most = i64::try_from(buckets).unwrap_or(i64::MAX);
        while coarse.span() > most && coarse.widen() {}
        coarse
    }

    /// Beginnings of buckets, seconds since the epoch, and their counts: from the first to the last,
    /// empty ones between them included.
    pub fn buckets(&self) -> impl Iterator<Item = (i64, u64)> {
        let first = self.counts.first_key_value().map_or(0, |(at, _)| *at);
        (first..first + self.span()).map(|at| {
            let count = self.counts.get(&at).copied().unwrap_or(0);
            (at * self.width_s(), count)
        })
    }

    fn span(&self) -> i64 {
        match (self.counts.first_key_value(), self.counts.last_key_value()) {
            (Some((first, _)), Some((last, _))) => last - first + 1,
            _ => 0,
        }
    }

    fn widen(&mut self) -> bool {
        let Some(wider) = WIDTHS.get(self.width + 1) else {
            return false;
        };
        let times = wider / self.width_s();
        self.width += 1;
        for (at, count) in std::mem::take(&mut self.counts) {
            *self.counts.entry(at.div_euclid(times)).or_default() += count;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: impl IntoIterator<Item = i64>) -> OverTime {
        let mut over_time = OverTime::default();
        for second in seconds {
            over_time.add(Some(second * 1_000_000_000));
        }
        over_time
    }

    #[test]
    fn buckets_grow_with_the_span_and_nothing_is_lost() {
        assert!(WIDTHS.windows(2).all(|pair| pair[1] % pair[0] == 0));
        for (seconds, width) in [
            (vec![7], 1),
            (vec![7, 66], 1),
            (vec![0, 119], 5),
            (vec![120, 0, 3_600], 300),
            (vec![-5, 5, 86_400 * 365], 604_800),
        ] {
            let all = of(seconds.clone());
            let shown = all.at_most(60);
            let buckets: Vec<_> = shown.buckets().collect();
            assert!(buckets.len() <= 60, "{seconds:?}: {}", buckets.len());
            assert_eq!(shown.width_s(), width, "{seconds:?}");
            let count: u64 = buckets.iter().map(|(_, count)| count).sum();
            assert_eq!(count, seconds.len() as u64);
            for second in seconds {
                let holds = |(at, n): &(i64, u64)| (*at..at + width).contains(&second) && *n > 0;
                assert!(buckets.iter().any(holds), "{second}");
            }
        }
    }

    #[test]
    fn the_memory_is_bounded_also_for_times_that_make_no_sense() {
        let all = of((0..50_000).map(|n| n * 977));
        assert!(all.counts.len() as i64 <= SPAN_MAX);
        let mut far = of([i64::MIN / 1_000_000_000, 0, i64::MAX / 1_000_000_000]);
        far.add(None);
        let shown = far.at_most(60).buckets().count();
        assert!(shown <= 60, "{shown}");
        assert_eq!(far.unknown(), 1);
        assert_eq!(of([]).buckets().count(), 0);
    }
}
