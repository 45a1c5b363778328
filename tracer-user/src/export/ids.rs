//! Trace and span ids, derived: exporting a case again gives the same spans, so that a receiver can
//! tell a repetition from a second failure.

use std::fmt;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::case::Case;

/// Keys of the hash. They keep these ids apart from other uses of the same hash, and never change.
const KEYS: (u64, u64) = (0x7768_7935_3032_2f74, 0x7261_6365_2d69_642f);

/// Sixteen bytes, not all zero (<https://www.w3.org/TR/trace-context/#trace-id>).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// Eight bytes, not all zero (<https://www.w3.org/TR/trace-context/#parent-id>).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// From 32 hexadecimal digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let value = u128::from_str_radix(text, 16).ok()?;
        (text.len() == 32 && value != 0).then_some(Self(value.to_be_bytes()))
    }
}

impl SpanId {
    /// From 16 hexadecimal digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let value = u64::from_str_radix(text, 16).ok()?;
        (text.len() == 16 && value != 0).then_some(Self(value.to_be_bytes()))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The trace of a case that belongs to no other.
pub(super) fn trace_of(host: &str, case: &Case) -> TraceId {
    let hash = hash(host, case, "trace", 0);
    TraceId(hash.max(1).to_be_bytes())
}

/// The span of the failed request.
pub(super) fn server_span_of(host: &str, case: &Case) -> SpanId {
    span(hash(host, case, "server", 0))
}

/// The span of an attempt, by its index.
pub(super) fn client_span_of(host: &str, case: &Case, attempt: usize) -> SpanId {
    span(hash(host, case, "client", attempt as u64))
}

fn span(hash: u128) -> SpanId {
    SpanId(((hash >> 64) as u64 ^ hash as u64).max(1).to_be_bytes())
}

/// The id of a case is unique within its session; with the moment by the monotonic clock it is unique
/// on its host.
fn hash(host: &str, case: &Case, what: &str, index: u64) -> u128 {
    let mut hasher = SipHasher13::new_with_keys(KEYS.0, KEYS.1);
    let mut put = |bytes: &[u8]| {
        std::hash::Hasher::write(&mut hasher, &(bytes.len() as u64).to_le_bytes());
        std::hash::Hasher::write(&mut hasher, bytes);
    };
    put(what.as_bytes());
    put(host.as_bytes());
    put(case.id.as_bytes());
    put(&case.time_ns.to_le_bytes());
    put(&index.to_le_bytes());
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::report::fixture;

    #[test]
    fn ids_stay_what_they_are() {
        // What an earlier version sent must be found again by a later one.
        let case = fixture::reuse_race();
        let ids = [
            trace_of("web1", &case).to_string(),
            server_span_of("web1", &case).to_string(),
            client_span_of("web1", &case, 0).to_string(),
        ];
        assert_eq!(
            ids,
            [
                "c1762f1a1d870e08fa67b1dc24d9d458",
                "de94456592010d2e",
                "2646285a6d2fd2bf",
            ]
        );
    }

    #[test]
    fn nothing_shares_an_id() {
        let mut spans = BTreeSet::new();
        let mut traces = BTreeSet::new();
        let mut case = fixture::reuse_race();
        for host in ["a", "b", ""] {
            for n in 0..50 {
                case.id = format!("c{n}");
                traces.insert(trace_of(host, &case));
                spans.insert(server_span_of(host, &case));
                spans.extend((0..4).map(|i| client_span_of(host, &case, i)));
            }
        }
        case.time_ns += 1;
        assert!(!traces.contains(&trace_of("", &case)));
        assert_eq!((traces.len(), spans.len()), (150, 750));
    }

    #[test]
    fn ids_of_zeros_and_other_lengths_are_none() {
        assert_eq!(TraceId::from_hex(&"0".repeat(32)), None);
        assert_eq!(TraceId::from_hex("1"), None);
        assert_eq!(SpanId::from_hex(&"0".repeat(16)), None);
        assert_eq!(SpanId::from_hex(&"z".repeat(16)), None);
        let id = SpanId::from_hex("00f067aa0ba902b7").unwrap();
        assert_eq!(id.to_string(), "00f067aa0ba902b7");
    }

    proptest! {
        #[test]
        fn the_same_case_has_the_same_ids(host in ".*", id in ".*", time in any::<u64>()) {
            let mut case = fixture::reuse_race();
            (case.id, case.time_ns) = (id, time);
            let again = case.clone();
            prop_assert_eq!(trace_of(&host, &case), trace_of(&host, &again));
            prop_assert_eq!(server_span_of(&host, &case), server_span_of(&host, &again));
            prop_assert!(TraceId::from_hex(&trace_of(&host, &case).to_string()).is_some());
            prop_assert!(SpanId::from_hex(&client_span_of(&host, &case, 0).to_string()).is_some());
        }
    }
}
