//! When does tracing stand by, and what wakes it? The programs and the clock are the caller's.

use std::time::{Duration, Instant};

use tracer_ebpf::{Cause, Role, flags};

use crate::event::{Exchange, MonoNs};

/// Whether requests and responses are looked at.
#[derive(Debug)]
pub(super) struct Standby {
    /// So long without a failure, and tracing stands by.
    quiet: Duration,
    /// Since when they are, and when the last failure was; `None`: tracing stands by.
    traces: Option<(MonoNs, Instant)>,
}

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is about what was seen from its beginning, or says itself that it is not.
    Take,
    /// It shows that something fails, and no more: what led to it went unseen.
    Sign,
    /// It shows that something fails, and is whole: what it worked for went unseen.
    SignAndTake,
}

impl Standby {
    /// Tracing stands by.
    pub(super) fn new(quiet: Duration) -> Self {
        Self {
            quiet,
            traces: None,
        }
    }

    pub(super) fn stands_by(&self) -> bool {
        self.traces.is_none()
    }

    /// Everything is looked at from `mono` on.
    pub(super) fn woken(&mut self, mono: MonoNs, now: Instant) {
        self.traces = Some((mono, now));
    }

    /// Nothing is, from now on.
    pub(super) fn rests(&mut self) {
        self.traces = None;
    }

    /// Something failed.
    pub(super) fn failed(&mut self, now: Instant) {
        if let Some((_, last)) = &mut self.traces {
            *last = now;
        }
    }

    /// Was there no failure for long enough?
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.traces
            .is_some_and(|(_, last)| now.duration_since(last) >= self.quiet)
    }

    pub(super) fn judge(&mut self, exchange: &Exchange, now: Instant) -> Verdict {
        if exchange.has(flags::UNSEEN) {
            return if is_failure(exchange) {
                self.failed(now);
                Verdict::SignAndTake
            } else {
                Verdict::Take
            };
        }
        let connects = exchange.role == Role::Connecting && exchange.exchange == 0;
        let since = self.traces.map(|(since, _)| since);
        if since.is_none_or(|since| exchange.time_ns < since) {
            let refused = connects && exchange.times.established.is_none();
            return if refused {
                Verdict::SignAndTake
            } else {
                Verdict::Sign
            };
        }
        // Whose request it was is not known: that of a client who was not seen asking.
        if connects && exchange.times.opened < since {
            return Verdict::Sign;
        }
        if exchange.cause != Cause::Sampled {
            self.failed(now);
        }
        Verdict::Take
    }
}

/// Is this connection, of which nothing was seen, a failure whatever the clients get? A request that nothing ever
/// came back for is, and a reset in place of an answer. An end in peace behind other exchanges may be one of a
/// protocol whose last word is ours.
fn is_failure(exchange: &Exchange) -> bool {
    let times = &exchange.times;
    let used = exchange.has(flags::USED_BEFORE);
    exchange.role == Role::Connecting
        && (times.reset_received.is_some() || !used && times.fin_received.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::exchange;

    const QUIET: Duration = Duration::from_secs(60);

    #[test]
    fn rests_after_a_time_without_failures() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut standby = Standby::new(QUIET);
        assert!(standby.stands_by());
        assert!(!standby.is_due(at(1000)));
        standby.woken(5, at(0));
        assert!(!standby.stands_by());
        assert!(!standby.is_due(at(59)));
        standby.failed(at(59));
        assert!(!standby.is_due(at(118)));
        assert!(standby.is_due(at(119)));
        standby.rests();
        assert!(standby.stands_by());
    }

    #[test]
    fn what_began_unseen_is_a_sign_only() {
        let now = Instant::now();
        let mut standby = Standby::new(QUIET);
        let mut exchange = exchange(Role::Connecting, 1);
        exchange.time_ns = 50;
        assert_eq!(standby.judge(&exchange, now), Verdict::Sign);
        standby.woken(100, now);
        assert_eq!(standby.judge(&exchange, now), Verdict::Sign);
        exchange.time_ns = 150;
        exchange.exchange = 3;
        exchange.times.opened = Some(10);
        assert_eq!(standby.judge(&exchange, now), Verdict::Take);
        // A connect that began before.
        exchange.exchange = 0;
        assert_eq!(standby.judge(&exchange, now), Verdict::Sign);
        exchange.times.opened = Some(120);
        assert_eq!(standby.judge(&exchange, now), Verdict::Take);
    }

    #[test]
    fn what_says_itself_that_it_went_unseen() {
        let now = Instant::now();
        let mut standby = Standby::new(QUIET);
        let mut ended = exchange(Role::Connecting, 1);
        ended.time_ns = 50;
        ended.flags = flags::UNSEEN;
        ended.times.established = Some(20);
        assert_eq!(standby.judge(&ended, now), Verdict::Take);
        // It may be no failure.
        assert!(standby.stands_by());
        standby.woken(100, now);
        assert_eq!(standby.judge(&ended, now + QUIET), Verdict::Take);
        assert!(standby.is_due(now + QUIET));
        for (reset, fin, used, want) in [
            (true, false, false, Verdict::SignAndTake),
            (true, true, true, Verdict::SignAndTake),
            (false, true, false, Verdict::SignAndTake),
            (false, true, true, Verdict::Take),
            (false, false, false, Verdict::Take),
        ] {
            let mut ended = ended.clone();
            ended.times.reset_received = reset.then_some(50);
            ended.times.fin_received = fin.then_some(40);
            if used {
                ended.flags |= flags::USED_BEFORE;
            }
            assert_eq!(standby.judge(&ended, now), want, "{reset} {fin} {used}");
        }
        ended.role = Role::Accepted;
        ended.times.reset_received = Some(50);
        assert_eq!(standby.judge(&ended, now), Verdict::Take);
    }

    #[test]
    fn a_refused_connection_needs_nothing_from_before() {
        let now = Instant::now();
        let mut standby = Standby::new(QUIET);
        let mut refused = exchange(Role::Connecting, 1);
        refused.time_ns = 50;
        refused.exchange = 0;
        refused.times.opened = Some(49);
        assert_eq!(standby.judge(&refused, now), Verdict::SignAndTake);
        // Its record was read late.
        standby.woken(100, now);
        assert_eq!(standby.judge(&refused, now), Verdict::SignAndTake);
        // It was reset behind its handshake.
        refused.times.established = Some(50);
        assert_eq!(standby.judge(&refused, now), Verdict::Sign);
    }

    #[test]
    fn healthy_exchanges_keep_nobody_awake() {
        let now = Instant::now();
        let mut standby = Standby::new(QUIET);
        standby.woken(100, now);
        let mut exchange = exchange(Role::Connecting, 1);
        exchange.time_ns = 150;
        exchange.cause = Cause::Sampled;
        assert_eq!(standby.judge(&exchange, now + QUIET), Verdict::Take);
        assert!(standby.is_due(now + QUIET));
    }
}
