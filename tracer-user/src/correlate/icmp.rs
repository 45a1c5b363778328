//! ICMP errors that arrived, by the connection that they are about.

use std::collections::VecDeque;

use crate::diagnose::AttemptFacts;
use crate::event::IcmpError;

/// Most errors that are remembered.
const KEPT: usize = 512;
/// Most errors that one attempt takes along.
const PER_ATTEMPT: usize = 4;
/// They are stamped when they are read, which on a busy host is later than they came.
const SLACK_NS: u64 = 2_000_000_000;

/// The recent ones, oldest first.
#[derive(Debug, Default)]
pub(super) struct Icmp(VecDeque<IcmpError>);

impl Icmp {
    /// One arrived.
    pub(super) fn learn(&mut self, error: IcmpError) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(error);
    }

    /// Adds those about the attempt's connection, within its life, to the attempt.
    pub(super) fn attach(&self, attempt: &mut AttemptFacts) {
        let x = &attempt.exchange;
        let from = x.times.opened.unwrap_or_else(|| attempt.start_ns());
        let until = attempt.end_ns().max(x.time_ns).saturating_add(SLACK_NS);
        attempt.icmp = self
            .0
            .iter()
            .filter(|error| {
                (error.local, error.remote) == (x.local, x.remote)
                    && (from..=until).contains(&error.time_ns)
            })
            .take(PER_ATTEMPT)
            .copied()
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, at};
    use crate::event::IcmpSays;

    #[test]
    fn by_connection_and_time() {
        let attempt = || AttemptBuilder::sent().closed(2000).build();
        let x = attempt().exchange;
        let error = |ms| IcmpError {
            time_ns: at(ms),
            from: [192, 0, 2, 9].into(),
            local: x.local,
            remote: x.remote,
            says: IcmpSays::TooBig { mtu: 1400 },
        };
        let mut other = error(5);
        other.local.set_port(1);
        let mut icmp = Icmp::default();
        for error in [error(-5000), error(5), other, error(9000)] {
            icmp.learn(error);
        }
        let mut facts = attempt();
        icmp.attach(&mut facts);
        assert_eq!(facts.icmp, [error(5)]);
        for _ in 0..2 * KEPT {
            icmp.learn(error(5));
        }
        assert_eq!(icmp.0.len(), KEPT);
        icmp.attach(&mut facts);
        assert_eq!(facts.icmp.len(), PER_ATTEMPT);
    }
}
