//! Latency histograms kept in the kernel, one set per upstream address.
//!
//! Log-linear buckets over microseconds: values below 16 have a bucket each, every octave above has
//! 16 buckets, so the relative error is at most 1/16. The scheme is that of HdrHistogram with four
//! significant bits (<https://hdrhistogram.github.io/HdrHistogram/>).

const SUB_BITS: u32 = 4;
const SUB: u32 = 1 << SUB_BITS;

/// Number of buckets: enough for 2³²−1 µs (71 minutes); longer times land in the last bucket.
pub const BUCKETS: usize = ((32 - SUB_BITS + 1) * SUB) as usize;

/// The bucket of a duration in microseconds.
#[inline(always)]
pub const fn bucket_of_us(us: u32) -> usize {
    if us < SUB {
        return us as usize;
    }
    let octave = 31 - us.leading_zeros();
    let shift = octave - SUB_BITS;
    (((shift + 1) << SUB_BITS) + ((us >> shift) & (SUB - 1))) as usize
}

/// Smallest duration (µs) that falls into `bucket`.
pub const fn bucket_low_us(bucket: usize) -> u64 {
    let b = bucket as u64;
    let sub = SUB as u64;
    if b < sub {
        return b;
    }
    let shift = b / sub - 1;
    (sub + b % sub) << shift
}

/// Largest duration (µs) that falls into `bucket`.
pub const fn bucket_high_us(bucket: usize) -> u64 {
    bucket_low_us(bucket + 1) - 1
}

/// A backend that closes sooner has no idle timeout: it closes after its response, as
/// `Connection: close` asks. One such close would hide the timeout of all other connections, µs.
pub const IDLE_CLOSE_MIN_US: u32 = 1_000_000;

/// Key of the per-backend table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendKey {
    /// IPv4 in the first four bytes, or IPv6; network byte order.
    pub addr: [u8; 16],
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// TCP port, host byte order.
    pub port: u16,
}

/// What the kernel counts for one upstream address.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BackendStats {
    /// Connection attempts (`SYN_SENT` entered).
    pub connects: u64,
    /// Exchanges that got at least the first byte of a response.
    pub exchanges: u64,
    /// Longest idle time after which the proxy used a connection again, µs.
    pub idle_reused_max_us: u32,
    /// Shortest idle time, of at least [`IDLE_CLOSE_MIN_US`], after which the backend closed a
    /// connection, µs; 0 if it never did.
    pub idle_closed_min_us: u32,
    /// How often the backend closed a connection that had been idle for that long.
    pub idle_closed: u32,
    /// Zero.
    pub pad: u32,
    /// SYN sent to connection established, µs.
    pub connect: [u32; BUCKETS],
    /// First byte of the request sent to first byte of the response read, µs.
    pub ttfb: [u32; BUCKETS],
    /// First byte of the request sent to last byte of the response read, µs.
    pub total: [u32; BUCKETS],
}

const _: () = assert!(BUCKETS == 464);
const _: () = assert!(size_of::<BackendKey>() == 20);
const _: () = assert!(size_of::<BackendStats>() == 32 + 3 * 4 * BUCKETS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_starts_where_the_one_before_it_ends() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of_us(bucket_low_us(bucket) as u32), bucket);
            assert_eq!(bucket_of_us(bucket_high_us(bucket) as u32), bucket);
        }
        assert_eq!(bucket_of_us(u32::MAX), BUCKETS - 1);
        assert_eq!(bucket_high_us(BUCKETS - 1), u64::from(u32::MAX));
    }

    #[test]
    fn relative_error_is_at_most_one_sixteenth() {
        for bucket in 16..BUCKETS {
            let (low, high) = (bucket_low_us(bucket), bucket_high_us(bucket));
            assert!((high - low) * 16 <= low, "bucket {bucket}: {low}..={high}");
        }
    }
}
