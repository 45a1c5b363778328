//! Durations as the kernel counted them ([`tracer_ebpf::hist`]), and the histograms that receivers
//! take. The kernel's buckets are at most 1/16 of their value wide; every duration counts with the
//! middle of its bucket, so counts are exact and a value or a sum is within 1/32 of the truth.

use std::collections::BTreeMap;

use tracer_ebpf::hist::{BUCKETS, bucket_high_us, bucket_low_us};

/// Bounds of `http.client.request.duration`, seconds
/// (<https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>).
pub(super) const REQUEST_BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Bounds of connect times, seconds: within a rack they are far below those of requests.
pub(super) const CONNECT_BOUNDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Finest scale of an exponential histogram: its buckets are then about as wide as the kernel's.
const SCALE_MAX: u32 = 4;
/// Most buckets, as OpenTelemetry's SDKs have it.
const EXPONENTIAL_MAX: i32 = 160;

/// Counts by bucket of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution(BTreeMap<u16, u64>);

/// An exponential histogram
/// (<https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exponential {
    /// Bucket `i` holds what is above `2^(i/2^scale)` and at most `2^((i+1)/2^scale)` seconds.
    pub(super) scale: i32,
    /// Durations of less than a microsecond.
    pub(super) zero: u64,
    /// Index of the first bucket.
    pub(super) offset: i32,
    /// Counts from there on.
    pub(super) counts: Vec<u64>,
}

impl Distribution {
    /// Adds to the count of a bucket; one that does not exist is ignored.
    pub(super) fn add(&mut self, bucket: u16, count: u64) {
        if usize::from(bucket) < BUCKETS && count > 0 {
            let sum = self.0.entry(bucket).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Number of durations.
    pub(super) fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Their sum, seconds.
    pub(super) fn sum(&self) -> f64 {
        // Exact in µs as long as it fits.
        let add = |sum: u128, (us, n): (u64, u64)| sum + u128::from(us) * u128::from(n);
        self.middles().fold(0, add) as f64 / 1e6
    }

    /// Counts of durations that are not longer than each bound.
    pub(super) fn up_to(&self, bounds: &[f64]) -> Vec<u64> {
        let count = |bound: &f64| {
            let within = self.middles().filter(|(us, _)| seconds(*us) <= *bound);
            within.fold(0_u64, |sum, (_, n)| sum.saturating_add(n))
        };
        bounds.iter().map(count).collect()
    }

    pub(super) fn exponential(&self) -> Exponential {
        let mut zero = 0_u64;
        let mut fine: BTreeMap<i32, u64> = BTreeMap::new();
        for (us, n) in self.middles() {
            let sum = if us == 0 {
                &mut zero
            } else {
                fine.entry(index(seconds(us))).or_default()
            };
            *sum = sum.saturating_add(n);
        }
        let edge = |edge: Option<(&i32, &u64)>| edge.map_or(0, |(index, _)| *index);
        let (first, last) = (edge(fine.first_key_value()), edge(fine.last_key_value()));
        // Each step down joins two neighbours.
        let mut down = 0;
        while (last >> down) - (first >> down) >= EXPONENTIAL_MAX {
            down += 1;
        }
        let offset = first >> down;
        let len = if fine.is_empty() {
            0
        } else {
            ((last >> down) - offset + 1).unsigned_abs() as usize
        };
        let mut counts = vec![0_u64; len];
        for (index, n) in fine {
            let at = ((index >> down) - offset).unsigned_abs() as usize;
            counts[at] = counts[at].saturating_add(n);
        }
        Exponential {
            scale: SCALE_MAX.cast_signed() - down,
            zero,
            offset,
            counts,
        }
    }

    /// The middle of each bucket in µs, and its count.
    fn middles(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(bucket, count)| {
            let bucket = usize::from(*bucket);
            let middle = bucket_low_us(bucket).midpoint(bucket_high_us(bucket));
            (middle, *count)
        })
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Index of a positive value at the finest scale.
fn index(value: f64) -> i32 {
    (value.log2() * f64::from(1 << SCALE_MAX)).ceil() as i32 - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_ebpf::bucket_of_us;

    use super::*;

    fn of(durations: impl IntoIterator<Item = u32>) -> Distribution {
        let mut found = Distribution::default();
        for us in durations {
            found.add(bucket_of_us(us) as u16, 1);
        }
        found
    }

    fn upper(e: &Exponential, at: usize) -> f64 {
        let index = f64::from(e.offset) + at as f64 + 1.0;
        2_f64.powf(index / 2_f64.powi(e.scale))
    }

    #[test]
    fn nothing_is_nothing() {
        let empty = Distribution::default();
        assert_eq!((empty.count(), empty.sum()), (0, 0.0));
        assert!(empty.exponential().counts.is_empty());
        assert_eq!(empty.up_to(&[1.0]), [0]);
        let mut wrong = Distribution::default();
        wrong.add(BUCKETS as u16, 5);
        wrong.add(3, 0);
        assert_eq!(wrong, empty);
    }

    #[test]
    fn few_values_in_full() {
        let found = of([0, 1_000_000, 1_000_000]);
        let e = found.exponential();
        assert_eq!((e.zero, e.scale, e.counts.as_slice()), (1, 4, &[2][..]));
        let top = upper(&e, 0);
        assert!((0.95..1.1).contains(&top), "{top}");
        assert_eq!(found.up_to(&[0.0, 0.5, 1.1, 10.0]), [1, 1, 3, 3]);
    }

    #[test]
    fn the_widest_range_has_few_buckets() {
        let e = of([1, u32::MAX]).exponential();
        assert!(e.counts.len() <= 160 && e.scale == 2, "{e:?}");
        assert_eq!(e.counts.iter().sum::<u64>(), 2);
    }

    #[test]
    fn counts_do_not_wrap() {
        let mut found = Distribution::default();
        found.add(500, u64::MAX);
        found.add(400, u64::MAX);
        found.add(401, u64::MAX);
        assert_eq!(found.count(), u64::MAX);
        assert!(found.sum().is_finite());
        assert_eq!(found.up_to(&[1e9]), [u64::MAX]);
    }

    proptest! {
        #[test]
        fn counts_are_exact_and_values_close(durations in prop::collection::vec(0_u32.., 1..200)) {
            let found = of(durations.iter().copied());
            let count = durations.len() as u64;
            prop_assert_eq!(found.count(), count);
            let truth: f64 = durations.iter().map(|us| f64::from(*us) / 1e6).sum();
            prop_assert!((found.sum() - truth).abs() <= truth / 16.0 + 1e-9);

            let e = found.exponential();
            prop_assert_eq!(e.zero + e.counts.iter().sum::<u64>(), count);
            prop_assert!(e.counts.len() <= 160 && (0..=4).contains(&e.scale));
            // Every duration lies in its bucket, but for the width of a kernel's bucket.
            let mut sorted = durations;
            sorted.sort_unstable();
            let mut rest = sorted.into_iter().skip(e.zero as usize);
            let base = 2_f64.powf(2_f64.powi(-e.scale));
            for (at, n) in e.counts.iter().enumerate() {
                let top = upper(&e, at);
                for us in rest.by_ref().take(*n as usize) {
                    let v = f64::from(us) / 1e6;
                    prop_assert!(v <= top * 1.0626 && v >= top / base / 1.0626, "{} in {}", v, top);
                }
            }

            let steps = found.up_to(&REQUEST_BOUNDS);
            prop_assert!(steps.is_sorted() && steps[13] <= count);
        }
    }
}
