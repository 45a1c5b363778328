//! From the monotonic clock of events to the wall clock of readers.

use jiff::Timestamp;

use crate::event::{MonoNs, SessionStart};

/// One instant on both clocks. The wall clock is read once, at the start: a clock that is set while
/// capturing cannot tear a timeline apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Wall clock, ns since the epoch.
    pub unix_ns: u64,
    /// Monotonic clock at the same instant, ns.
    pub mono_ns: MonoNs,
}

impl Clock {
    /// As both stood when the session began.
    pub fn of(start: &SessionStart) -> Self {
        Self {
            unix_ns: start.started_unix_ns,
            mono_ns: start.started_mono_ns,
        }
    }

    /// RFC 3339, UTC, microseconds (rounded down).
    pub fn wall(self, at: MonoNs) -> String {
        let ns = i128::from(self.unix_ns) + i128::from(at) - i128::from(self.mono_ns);
        wall(ns)
    }

    /// The moment on the wall clock, ns since the epoch.
    pub fn unix(self, at: MonoNs) -> i64 {
        let ns = i128::from(self.unix_ns) + i128::from(at) - i128::from(self.mono_ns);
        i64::try_from(ns).unwrap_or(i64::MAX)
    }

    /// The monotonic time of a moment on the wall clock, ns; 0 for what lies before its zero.
    pub fn mono(self, unix_ns: i64) -> MonoNs {
        let ns = i128::from(unix_ns) - i128::from(self.unix_ns) + i128::from(self.mono_ns);
        MonoNs::try_from(ns.max(0)).unwrap_or(MonoNs::MAX)
    }
}

/// RFC 3339, UTC, microseconds, of ns since the epoch.
pub(super) fn unix_time(unix_ns: i64) -> String {
    wall(unix_ns.into())
}

fn wall(unix_ns: i128) -> String {
    // Any sum of two 64-bit numbers of ns lies within the years that a timestamp can hold.
    let time = Timestamp::from_microsecond(unix_ns.div_euclid(1000) as i64).unwrap_or_default();
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_times() {
        let clock = Clock {
            unix_ns: 1_795_355_674_000_000_999,
            mono_ns: 5_000,
        };
        for (at, want) in [
            (5_000, "2026-11-22T13:54:34.000000Z"),
            (5_001, "2026-11-22T13:54:34.000001Z"),
            (1_500_005_000, "2026-11-22T13:54:35.500000Z"),
            // Before the start: the last use of a pooled connection.
            (0, "2026-11-22T13:54:33.999995Z"),
        ] {
            assert_eq!(clock.wall(at), want, "{at}");
        }
        assert_eq!(Clock::default().wall(0), "1970-01-01T00:00:00.000000Z");
        for extreme in [0, u64::MAX] {
            let clock = Clock {
                unix_ns: extreme,
                mono_ns: u64::MAX - extreme,
            };
            assert!(clock.wall(extreme).ends_with('Z'));
            assert!(clock.wall(u64::MAX - extreme).ends_with('Z'));
        }
    }
}
