//! Failures of backends in the recent past: why a proxy may have taken them out of use.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::diagnose::{AttemptFacts, End, FailureWas, Phase, RecentFailure};
use crate::event::{MonoNs, ProxyKind};

use super::intake::Kind;

/// Marks last about as long: `fail_timeout` 10 s in nginx, `retry` 60 s in Apache, the time between
/// health checks in the others.
const REMEMBER_NS: MonoNs = 60_000_000_000;
/// Failures that are remembered.
const MAX: usize = 4096;
/// Backends that are named.
const NAMED: usize = 8;
/// A proxy that closes sooner than this did not wait for an answer in vain.
const PATIENCE_NS: u64 = 100_000_000;

/// Marks are made by one process and may be known to all of its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// Of this kind.
    Kind(ProxyKind),
    /// Of unknown kind.
    Pid(u32),
}

/// Where requests come in: the listening address, and the host that they name. What failed for one
/// may concern the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) local: SocketAddr,
    pub(super) host: Option<String>,
}

#[derive(Debug)]
struct Failure {
    program: Program,
    at: MonoNs,
    upstream: SocketAddr,
    was: FailureWas,
    /// Known when its client is.
    route: Option<Route>,
}

/// The recent ones, oldest first.
#[derive(Debug, Default)]
pub(super) struct Failures {
    seen: VecDeque<Failure>,
}

impl Failures {
    /// An attempt came to this.
    pub(super) fn note(&mut self, program: Program, facts: &AttemptFacts, kind: Kind) {
        let Some(was) = failure(facts, kind) else {
            return;
        };
        let at = facts.end_ns();
        while self.seen.len() >= MAX
            || self
                .seen
                .front()
                .is_some_and(|old| old.at.saturating_add(2 * REMEMBER_NS) < at)
        {
            self.seen.pop_front();
        }
        self.seen.push_back(Failure {
            program,
            at,
            upstream: facts.exchange.remote,
            was,
            route: None,
        });
    }

    /// The attempt worked for a request of this route.
    pub(super) fn note_route(&mut self, facts: &AttemptFacts, route: &Route) {
        let (at, upstream) = (facts.end_ns(), facts.exchange.remote);
        let failure = self
            .seen
            .iter_mut()
            .rev()
            .find(|failure| failure.at == at && failure.upstream == upstream);
        if let Some(failure) = failure {
            failure.route = Some(route.clone());
        }
    }

    /// Did backends of a program fail requests on other listening addresses before that moment?
    pub(super) fn elsewhere(&self, program: &Program, moment: MonoNs, route: &Route) -> bool {
        self.recent(program, moment)
            .any(|failure| is_elsewhere(failure, route))
    }

    fn recent(&self, program: &Program, moment: MonoNs) -> impl Iterator<Item = &Failure> {
        self.seen.iter().filter(move |failure| {
            failure.program == *program
                && failure.at <= moment
                && moment - failure.at <= REMEMBER_NS
        })
    }

    /// Those of a program before that moment, by backend: those of the same route first, then the
    /// newest. What is known to have failed a request on another listening address is left out; whom
    /// a health check works for is not known.
    pub(super) fn before(
        &self,
        program: &Program,
        moment: MonoNs,
        route: &Route,
    ) -> Vec<RecentFailure> {
        let mut found: Vec<RecentFailure> = Vec::new();
        let mut recent: Vec<&Failure> = self
            .recent(program, moment)
            .filter(|failure| !is_elsewhere(failure, route))
            .collect();
        let is_same = |failure: &Failure| failure.route.as_ref() == Some(route);
        recent.sort_by_key(|failure| (!is_same(failure), Reverse(failure.at)));
        for failure in recent {
            let known = found
                .iter_mut()
                .find(|other| other.upstream == failure.upstream);
            if let Some(known) = known {
                known.count += 1;
            } else if found.len() < NAMED {
                found.push(RecentFailure {
                    upstream: failure.upstream,
                    count: 1,
                    ago_ns: moment - failure.at,
                    was: failure.was,
                    same_route: is_same(failure),
                });
            }
        }
        found
    }
}

fn is_elsewhere(failure: &Failure, route: &Route) -> bool {
    let known = failure.route.as_ref();
    known.is_some_and(|other| other.local != route.local)
}

/// What a proxy may hold against a backend. A client that left is nobody's failure.
fn failure(facts: &AttemptFacts, kind: Kind) -> Option<FailureWas> {
    let x = &facts.exchange;
    match kind {
        Kind::Answered => x
            .status
            .filter(|status| *status >= 500)
            .map(FailureWas::Status),
        Kind::Failed if facts.client_had_left() || x.remote.port() == 0 => None,
        Kind::Failed => match (facts.phase(), facts.first_end()?.0) {
            (Phase::Connect, _) => Some(FailureWas::NotConnected),
            (Phase::Handshake, _) => Some(FailureWas::Handshake),
            (_, End::PeerFin | End::PeerReset) => Some(FailureWas::Ended),
            (_, End::KernelTimeout | End::Unreachable) => Some(FailureWas::GivenUp),
            (_, End::Proxy) => (facts.waited_ns()? >= PATIENCE_NS).then_some(FailureWas::GivenUp),
        },
        Kind::Unclear | Kind::Complete | Kind::Unused => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, at};

    fn route(port: u16) -> Route {
        Route {
            local: ([192, 0, 2, 1], port).into(),
            host: None,
        }
    }

    #[test]
    fn failures_of_the_same_route_stand_first() {
        let mut failures = Failures::default();
        let program = Program::Pid(1);
        let refused = |ms, port| {
            AttemptBuilder::connecting()
                .reset(ms)
                .closed(ms)
                .with(|x| x.remote.set_port(port))
                .build()
        };
        for (ms, port) in [(0, 1), (5, 2)] {
            failures.note(program.clone(), &refused(ms, port), Kind::Failed);
        }
        failures.note_route(&refused(0, 1), &route(80));
        let found = failures.before(&program, at(100), &route(80));
        let ports: Vec<_> = found
            .iter()
            .map(|f| (f.upstream.port(), f.same_route))
            .collect();
        assert_eq!(ports, [(1, true), (2, false)]);
        // On another listening address only the one without a client counts.
        let found = failures.before(&program, at(100), &route(81));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].upstream.port(), found[0].same_route), (2, false));
        assert!(failures.elsewhere(&program, at(100), &route(81)));
        assert!(!failures.elsewhere(&program, at(100), &route(80)));
    }

    #[test]
    fn what_counts_and_for_how_long() {
        let program = Program::Kind(ProxyKind::Nginx);
        for (attempt, kind, want) in [
            (
                AttemptBuilder::connecting().reset(0).closed(0),
                Kind::Failed,
                Some(FailureWas::NotConnected),
            ),
            (
                AttemptBuilder::sent().fin(5).closed(5),
                Kind::Failed,
                Some(FailureWas::Ended),
            ),
            (
                AttemptBuilder::sent().closed(500),
                Kind::Failed,
                Some(FailureWas::GivenUp),
            ),
            (
                AttemptBuilder::sent().received(503, 9),
                Kind::Answered,
                Some(FailureWas::Status(503)),
            ),
            (AttemptBuilder::sent().closed(5), Kind::Failed, None),
            (
                AttemptBuilder::sent().closed(500).client_left(),
                Kind::Failed,
                None,
            ),
            (AttemptBuilder::sent().fin(5), Kind::Complete, None),
        ] {
            let mut failures = Failures::default();
            let facts = attempt.build();
            failures.note(program.clone(), &facts, kind);
            let found = failures.before(&program, at(1000), &route(80));
            assert_eq!(found.first().map(|f| f.was), want, "{facts:?}");
            assert_eq!(found.len(), usize::from(want.is_some()));
            assert!(failures.before(&program, at(62_000), &route(80)).is_empty());
            assert!(failures.before(&program, at(-10), &route(80)).is_empty());
            assert!(
                failures
                    .before(&Program::Pid(1), at(1000), &route(80))
                    .is_empty()
            );
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut failures = Failures::default();
        for _ in 0..MAX + 10 {
            let refused = AttemptBuilder::connecting().reset(0).closed(0).build();
            failures.note(Program::Pid(1), &refused, Kind::Failed);
        }
        assert_eq!(failures.seen.len(), MAX);
        let found = failures.before(&Program::Pid(1), at(5), &route(80));
        assert_eq!((found.len(), found[0].count), (1, MAX as u32));
    }
}
