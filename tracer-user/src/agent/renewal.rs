//! When a session is renewed, and whether the wall clock was set: plain functions of moments.

use std::time::Duration;

use crate::capture::live::LONGEST_DEADLINE;
use crate::event::MonoNs;

/// A session is renewed at this age, …
const OLD: Duration = Duration::from_secs(24 * 3600);
/// … and at this one whatever goes on.
const TOO_OLD: Duration = Duration::from_secs(48 * 3600);
/// After the clock was set, a quiet moment is waited for this long.
const STEP_PATIENCE: Duration = Duration::from_secs(600);
/// A smaller step of the wall clock is none, ns.
const STEP_NS: i128 = 1_000_000_000;

/// Moments in the life of a session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    pub(super) session_began: MonoNs,
    pub(super) last_exchange: MonoNs,
    /// When the wall clock was set.
    pub(super) stepped: Option<MonoNs>,
}

impl Moments {
    /// Is it time for a new session? Best when nothing waits for its end.
    pub(super) fn is_due(self, now: MonoNs) -> bool {
        let since = |then: MonoNs| Duration::from_nanos(now.saturating_sub(then));
        let age = since(self.session_began);
        let quiet = since(self.last_exchange) > LONGEST_DEADLINE;
        let step = self.stepped.map(since);
        age >= OLD && quiet
            || age >= TOO_OLD
            || step.is_some_and(|step| quiet || step >= STEP_PATIENCE)
    }
}

/// By how much the wall clock was set, ns: how far it is from where it was beside the monotonic clock,
/// which goes on whatever becomes of it. `None`: not at all. Both pairs are wall clock and monotonic.
pub(super) fn step(was: (u64, MonoNs), is: (u64, MonoNs)) -> Option<i128> {
    let offset = |(unix_ns, mono_ns)| i128::from(unix_ns) - i128::from(mono_ns);
    let step: i128 = offset(is) - offset(was);
    (step.abs() >= STEP_NS).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;

    #[test]
    fn a_session_ends_at_a_quiet_moment_or_when_it_is_too_old() {
        // Age, time since the last exchange and since the clock was set.
        for (age, since_exchange, since_step, expected) in [
            (23 * HOUR, 23 * HOUR, None, false),
            (24 * HOUR, 126 * SECOND, None, true),
            (24 * HOUR, 124 * SECOND, None, false),
            (47 * HOUR, SECOND, None, false),
            (48 * HOUR, SECOND, None, true),
            (HOUR, 126 * SECOND, Some(SECOND), true),
            (HOUR, SECOND, Some(599 * SECOND), false),
            (HOUR, SECOND, Some(600 * SECOND), true),
        ] {
            let now = 100 * HOUR;
            let moments = Moments {
                session_began: now - age,
                last_exchange: now - since_exchange,
                stepped: since_step.map(|since| now - since),
            };
            let what = format!("{age} {since_exchange} {since_step:?}");
            assert_eq!(moments.is_due(now), expected, "{what}");
        }
    }

    #[test]
    fn steps_of_the_wall_clock() {
        let was = (1_000 * SECOND, 10 * SECOND);
        for (is, expected) in [
            ((1_050 * SECOND, 60 * SECOND), None),
            // Slewed, not set.
            ((1_050 * SECOND + SECOND / 2, 60 * SECOND), None),
            ((1_060 * SECOND, 60 * SECOND), Some(10)),
            ((20 * SECOND, 60 * SECOND), Some(-1_030)),
            ((0, u64::MAX), Some(-18_446_744_073 - 990)),
        ] {
            let seconds = step(was, is).map(|ns| ns / i128::from(SECOND));
            assert_eq!(seconds, expected, "{is:?}");
        }
    }
}
