//! Backends that run on this host: their halves of connections, and the ends of their processes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;

use super::intake::Reasons;
use super::mirror;
use crate::diagnose::{AttemptFacts, PeerHalf, Phase, ProcessEnd};
use crate::event::{Exchange, LocalBackend, MonoNs, ProcessEvent};

/// Most halves that wait for the proxy's record.
const HALVES_MAX: usize = 16_384;
/// Most ends of processes that are remembered.
const ENDS_MAX: usize = 256;
/// Most addresses.
const ADDRESSES_MAX: usize = 1024;
/// A half this much older than the attempt is of an earlier connection between the same ends.
const HALF_AGE_NS: u64 = 100_000_000;
/// The kernel closes a process's sockets this soon after it reports the exit; tearing down a large
/// process takes its time.
const TEARDOWN_NS: u64 = 2_000_000_000;
/// The same where it is not known which process had the connection.
const TEARDOWN_UNSURE_NS: u64 = 100_000_000;
/// The order of two events of different processors is not known more exactly.
const SLACK_NS: u64 = 5_000_000;
/// A refused connection is put down to an exit this long before.
const REFUSED_NS: u64 = 60_000_000_000;

/// Both ends of a connection, the backend's first.
type Ends = (SocketAddr, SocketAddr);

#[derive(Debug)]
struct Half {
    time_ns: MonoNs,
    half: PeerHalf,
}

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Locals {
    pids: BTreeMap<SocketAddr, BTreeSet<u32>>,
    halves: HashMap<Ends, Half>,
    /// In the order of arrival, to forget the oldest.
    order: VecDeque<Ends>,
    ends: VecDeque<ProcessEnd>,
    oom: BTreeSet<u32>,
}

impl Locals {
    /// A backend was found.
    pub(super) fn learn(&mut self, backend: &LocalBackend) {
        if self.pids.len() < ADDRESSES_MAX || self.pids.contains_key(&backend.addr) {
            self.pids
                .entry(backend.addr)
                .or_default()
                .extend(&backend.pids);
        }
    }

    /// Something happened to a process.
    pub(super) fn process(&mut self, event: ProcessEvent) {
        match event {
            ProcessEvent::OomVictim { pid, .. } => {
                if self.oom.len() >= ENDS_MAX {
                    self.oom.clear();
                }
                self.oom.insert(pid);
            }
            ProcessEvent::Exit {
                pid,
                code,
                signal,
                at_ns,
            } => {
                if self.ends.len() >= ENDS_MAX {
                    self.ends.pop_front();
                }
                self.ends.push_back(ProcessEnd {
                    pid,
                    at_ns,
                    code,
                    signal,
                    oom: self.oom.remove(&pid),
                });
            }
            ProcessEvent::Fork { .. } | ProcessEvent::Exec { .. } | ProcessEvent::Listen { .. } => {
            }
        }
    }

    /// A backend's half of a connection ended.
    pub(super) fn half(&mut self, x: &Exchange, reasons: &Reasons) {
        if self.halves.len() >= HALVES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.halves.remove(&oldest);
        }
        let ends = (x.local, x.remote);
        let half = Half {
            time_ns: x.time_ns,
            half: peer_half(x, reasons),
        };
        if self.halves.insert(ends, half).is_none() {
            self.order.push_back(ends);
        }
    }

    /// Adds what is known of the backend's side to an attempt.
    pub(super) fn attach(&self, attempt: &mut AttemptFacts) {
        let x = &attempt.exchange;
        attempt.peer_local = self.pids.contains_key(&x.remote);
        attempt.peer = self
            .halves
            .get(&(x.remote, x.local))
            .filter(|half| half.time_ns.saturating_add(HALF_AGE_NS) >= attempt.start_ns())
            .map(|half| half.half.clone());
        attempt.process_end = self.process_end(attempt);
    }

    /// The same where the record is the backend's own and so names its process.
    pub(super) fn attach_process_end(&self, attempt: &mut AttemptFacts) {
        attempt.process_end = self.end_of(attempt.exchange.pid, attempt);
    }

    /// The end of that process, if it ended the attempt's connection.
    fn end_of(&self, pid: u32, attempt: &AttemptFacts) -> Option<ProcessEnd> {
        let end = attempt.end_ns();
        let found = self.ends.iter().rev().find(|ended| {
            ended.pid == pid && attempt.backend_ended_first() && is_within(ended, end, TEARDOWN_NS)
        });
        found.copied()
    }

    fn process_end(&self, attempt: &AttemptFacts) -> Option<ProcessEnd> {
        let end = attempt.end_ns();
        let owners = self.pids.get(&attempt.exchange.remote)?;
        let within = |ended: &ProcessEnd, ns: u64| is_within(ended, end, ns);
        let mut ends = self.ends.iter().rev();
        let found = match (&attempt.peer, attempt.phase()) {
            (_, Phase::Connect) => {
                // A listener that another process still holds refuses nobody.
                let all_gone = owners
                    .iter()
                    .all(|pid| self.ends.iter().any(|ended| ended.pid == *pid));
                ends.find(|ended| {
                    all_gone && owners.contains(&ended.pid) && within(ended, REFUSED_NS)
                })
            }
            (Some(half), _) if half.pid != 0 => return self.end_of(half.pid, attempt),
            _ => ends.find(|ended| {
                owners.contains(&ended.pid)
                    && attempt.backend_ended_first()
                    && within(ended, TEARDOWN_UNSURE_NS)
            }),
        };
        found.copied()
    }
}

/// Was anything read? A process that is traced since a moment ago may have read before.
fn was_read(x: &Exchange) -> bool {
    match (x.socket.unread, x.socket.bytes_received) {
        (Some(unread), Some(received)) if x.exchange == 0 => u64::from(unread) < received,
        _ => x.exchange > 0,
    }
}

/// Did the process end at most `ns` before that moment?
fn is_within(ended: &ProcessEnd, moment: MonoNs, ns: u64) -> bool {
    ended.at_ns <= moment.saturating_add(SLACK_NS) && ended.at_ns.saturating_add(ns) >= moment
}

/// What a backend's record says of its half.
pub(super) fn peer_half(x: &Exchange, reasons: &Reasons) -> PeerHalf {
    let late_request = mirror::is_late(x);
    PeerHalf {
        pid: x.pid,
        unread: x.socket.unread,
        request_read: was_read(x) && !late_request,
        closed_ns: x.times.closed,
        reset_reason: x
            .reset_sent_reason
            .and_then(|number| reasons.get(&number))
            .map(|name| name.trim_start_matches("SK_RST_REASON_").to_owned()),
        late_request,
        unheard: x
            .retransmitted
            .filter(|_| x.socket.unacked.is_some_and(|unacked| unacked > 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, at};

    fn backend() -> LocalBackend {
        LocalBackend {
            addr: ([10, 0, 0, 5], 8080).into(),
            pids: vec![7],
        }
    }

    fn exit(pid: u32, ms: i64, signal: i32) -> ProcessEvent {
        ProcessEvent::Exit {
            pid,
            code: None,
            signal: Some(signal),
            at_ns: at(ms),
        }
    }

    fn half(pid: u32) -> Exchange {
        let mut x = AttemptBuilder::sent().exchange();
        std::mem::swap(&mut x.local, &mut x.remote);
        x.pid = pid;
        x.time_ns = at(5);
        x
    }

    fn signal(locals: &Locals, attempt: AttemptBuilder) -> Option<i32> {
        let mut facts = attempt.build();
        locals.attach(&mut facts);
        facts.process_end.and_then(|end| end.signal)
    }

    #[test]
    fn an_exit_explains_what_it_ended() {
        let mut locals = Locals::default();
        locals.learn(&backend());
        locals.process(exit(7, 4, 11));
        assert_eq!(signal(&locals, AttemptBuilder::sent().fin(5)), Some(11));
        // Long before, or after; or the proxy closed; or a process that is none of the backend's.
        assert_eq!(signal(&locals, AttemptBuilder::sent().fin(500)), None);
        assert_eq!(signal(&locals, AttemptBuilder::sent().closed(5)), None);
        locals.process(exit(8, 499, 9));
        assert_eq!(signal(&locals, AttemptBuilder::sent().fin(500)), None);
        // With its own half it is known whose connection it was.
        locals.half(&half(7), &Reasons::new());
        assert_eq!(signal(&locals, AttemptBuilder::sent().fin(500)), Some(11));
        locals.half(&half(9), &Reasons::new());
        assert_eq!(signal(&locals, AttemptBuilder::sent().fin(5)), None);
    }

    #[test]
    fn a_refusal_follows_the_end_of_the_last_process() {
        let mut locals = Locals::default();
        locals.learn(&LocalBackend {
            pids: vec![7, 8],
            ..backend()
        });
        locals.process(exit(7, -3000, 9));
        let refused = || AttemptBuilder::connecting().reset(0).closed(0);
        assert_eq!(signal(&locals, refused()), None);
        locals.process(exit(8, -2000, 9));
        assert_eq!(signal(&locals, refused()), Some(9));
    }

    #[test]
    fn want_of_memory_is_noted() {
        let mut locals = Locals::default();
        locals.learn(&backend());
        locals.process(ProcessEvent::OomVictim {
            pid: 7,
            at_ns: at(3),
        });
        locals.process(exit(7, 4, 9));
        let mut facts = AttemptBuilder::sent().fin(5).build();
        locals.attach(&mut facts);
        assert!(facts.process_end.is_some_and(|end| end.oom));
        assert!(facts.peer_local);
    }

    #[test]
    fn memory_is_bounded() {
        let mut locals = Locals::default();
        for port in 0..HALVES_MAX + 10 {
            let mut x = half(7);
            x.local.set_port(port as u16);
            x.remote.set_port((port >> 16) as u16);
            locals.half(&x, &Reasons::new());
        }
        assert_eq!(locals.halves.len(), HALVES_MAX);
        assert_eq!(locals.order.len(), HALVES_MAX);
    }
}
