//! Latency distributions: the kernel's buckets, read as an HdrHistogram.
//!
//! The kernel sorts durations into buckets that are at most 1/16 of their value wide
//! ([`tracer_ebpf::hist`]). Each bucket's count is recorded at the bucket's middle, so a quantile is
//! within 1/32 (about 3 %) of the truth; `min` and `max` are the outer edges of the outermost
//! buckets, so that no duration lies outside them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use tracer_ebpf::hist::{BUCKETS, bucket_high_us, bucket_low_us};

/// Precision of the histogram that leaves, in decimal digits.
const SIGNIFICANT_DIGITS: u8 = 3;

/// A distribution of durations in µs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Number of durations.
    pub count: u64,
    /// No duration was shorter, µs.
    pub min_us: u64,
    /// Median, µs.
    pub p50_us: u64,
    /// 90th percentile, µs.
    pub p90_us: u64,
    /// 99th percentile, µs.
    pub p99_us: u64,
    /// 99.9th percentile, µs.
    pub p999_us: u64,
    /// No duration was longer, µs.
    pub max_us: u64,
    /// The histogram in the HdrHistogram V2 encoding with DEFLATE, base64: what the log format of
    /// HdrHistogram carries and its libraries in other languages read.
    pub hdr_v2: String,
}

/// Summarises (bucket, count) pairs of [`tracer_ebpf::hist`]. `None` when nothing was counted.
/// Buckets that do not exist are ignored: a recording may hold any numbers.
pub fn summarise(buckets: &[(u16, u32)]) -> Option<Latency> {
    let known = || {
        buckets
            .iter()
            .map(|(bucket, count)| (usize::from(*bucket), u64::from(*count)))
            .filter(|(bucket, count)| *bucket < BUCKETS && *count > 0)
    };
    let first = known().map(|(bucket, _)| bucket).min()?;
    let last = known().map(|(bucket, _)| bucket).max()?;

    let longest = bucket_high_us(BUCKETS - 1);
    let mut histogram = Histogram::<u64>::new_with_bounds(1, longest, SIGNIFICANT_DIGITS).ok()?;
    for (bucket, count) in known() {
        let middle = bucket_low_us(bucket).midpoint(bucket_high_us(bucket));
        histogram.saturating_record_n(middle, count);
    }

    let (min_us, max_us) = (bucket_low_us(first), bucket_high_us(last));
    of_histogram(&histogram, min_us, max_us)
}

/// The figures of a histogram whose outer edges are known. `None` when nothing was counted.
pub(crate) fn of_histogram(
    histogram: &Histogram<u64>,
    min_us: u64,
    max_us: u64,
) -> Option<Latency> {
    if histogram.is_empty() {
        return None;
    }
    let quantile = |q| histogram.value_at_quantile(q).clamp(min_us, max_us);
    Some(Latency {
        count: histogram.len(),
        min_us,
        p50_us: quantile(0.5),
        p90_us: quantile(0.9),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        max_us,
        hdr_v2: encode(histogram)?,
    })
}

fn encode(histogram: &Histogram<u64>) -> Option<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .ok()?;
    Some(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use tracer_ebpf::hist::bucket_of_us;

    use super::*;

    fn buckets(durations: impl IntoIterator<Item = u32>) -> Vec<(u16, u32)> {
        durations
            .into_iter()
            .map(|us| (bucket_of_us(us) as u16, 1))
            .collect()
    }

    #[test]
    fn nothing_counted_is_nothing_said() {
        assert_eq!(summarise(&[]), None);
        assert_eq!(summarise(&[(7, 0)]), None);
        assert_eq!(summarise(&[(BUCKETS as u16, 5), (u16::MAX, 5)]), None);
    }

    #[test]
    fn quantiles_are_within_a_bucket_of_the_truth() {
        let latency = summarise(&buckets(1..=100_000)).unwrap();
        assert_eq!(latency.count, 100_000);
        assert_eq!(latency.min_us, 1);
        for (got, truth) in [
            (latency.p50_us, 50_000),
            (latency.p90_us, 90_000),
            (latency.p99_us, 99_000),
            (latency.p999_us, 99_900),
            (latency.max_us, 100_000),
        ] {
            assert!(u64::abs_diff(got, truth) * 16 <= truth, "{got} for {truth}");
        }
    }

    #[test]
    fn edges() {
        let zero = summarise(&buckets([0])).unwrap();
        assert_eq!((zero.min_us, zero.p50_us, zero.max_us), (0, 0, 0));
        let longest = summarise(&buckets([u32::MAX])).unwrap();
        assert!(longest.min_us <= longest.p50_us && longest.p50_us <= longest.max_us);
        assert_eq!(longest.max_us, u64::from(u32::MAX));
        let many = summarise(&[(20, u32::MAX), (20, u32::MAX)]).unwrap();
        assert_eq!(many.count, 2 * u64::from(u32::MAX));
    }

    #[test]
    fn the_encoding_reads_back() {
        let latency = summarise(&buckets([3, 180, 180, 40_000])).unwrap();
        // The cookie of the compressed V2 encoding.
        assert!(latency.hdr_v2.starts_with("HISTF"), "{}", latency.hdr_v2);
        let bytes = STANDARD.decode(&latency.hdr_v2).unwrap();
        let back: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        assert_eq!(back.len(), 4);
        assert_eq!(back.value_at_quantile(0.5), latency.p50_us);
    }
}
