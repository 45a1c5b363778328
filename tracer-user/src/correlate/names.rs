//! Names that proxies asked for, and what came back.

use std::collections::{BTreeMap, VecDeque};

use crate::diagnose::{NameFailure, NameSays};
use crate::dns::{self, Message};
use crate::event::{DnsMessage, MonoNs};

/// Messages that are remembered.
const MAX: usize = 4096;
/// Names that are told.
const NAMED: usize = 4;
/// A query younger than this may still be answered.
const PATIENCE_NS: MonoNs = 1_000_000_000;
/// The record type of IPv4 addresses.
const A: u16 = 1;

#[derive(Debug)]
struct Seen {
    at: MonoNs,
    pid: u32,
    received: bool,
    message: Message,
}

/// The recent messages, oldest first.
#[derive(Debug, Default)]
pub(super) struct Names {
    seen: VecDeque<Seen>,
}

/// What is known of one name.
#[derive(Default)]
struct Known {
    resolved: Option<MonoNs>,
    failed: Option<(MonoNs, NameSays)>,
    asked: Option<MonoNs>,
    open: u32,
}

impl Names {
    /// A message was seen.
    pub(super) fn note(&mut self, message: &DnsMessage) {
        let Some(parsed) = dns::message(&message.first) else {
            return;
        };
        if parsed.answer != message.received {
            return;
        }
        if self.seen.len() >= MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen {
            at: message.time_ns,
            pid: message.pid,
            received: message.received,
            message: parsed,
        });
    }

    /// Names that had no address for this process between the two moments, newest first.
    pub(super) fn failures(&self, pid: u32, from: MonoNs, to: MonoNs) -> Vec<NameFailure> {
        let mut names: BTreeMap<&str, Known> = BTreeMap::new();
        for seen in &self.seen {
            if seen.pid != pid || seen.at < from || seen.at > to {
                continue;
            }
            let Some(name) = seen.message.name.as_deref() else {
                continue;
            };
            let known = names.entry(name).or_default();
            if seen.received {
                known.answered(seen.at, &seen.message);
            } else {
                known.open += 1;
                known.asked.get_or_insert(seen.at);
            }
        }
        let resolved: Vec<&str> = names
            .iter()
            .filter(|(_, known)| known.resolved.is_some())
            .map(|(name, _)| *name)
            .collect();
        let mut failures: Vec<NameFailure> = names
            .iter()
            .filter(|(name, _)| !is_search_of(name, &resolved))
            .filter_map(|(name, known)| {
                let (at_ns, says) = known.failure(to)?;
                Some(NameFailure {
                    name: (*name).to_owned(),
                    says,
                    at_ns,
                })
            })
            .collect();
        failures.sort_by(|a, b| b.at_ns.cmp(&a.at_ns).then_with(|| a.name.cmp(&b.name)));
        failures.truncate(NAMED);
        failures
    }
}

impl Known {
    fn answered(&mut self, at: MonoNs, message: &Message) {
        self.open = 0;
        match (message.rcode, message.answers) {
            (0, 1..) => self.resolved = Some(at),
            // No IPv6 address alone is nothing unusual.
            (0, 0) if message.record == Some(A) => self.failed = Some((at, NameSays::NoAddress)),
            (0, 0) => {}
            (rcode, _) => self.failed = Some((at, NameSays::Error(rcode))),
        }
    }

    fn failure(&self, to: MonoNs) -> Option<(MonoNs, NameSays)> {
        if let Some(failed) = self.failed {
            return self
                .resolved
                .is_none_or(|at| at < failed.0)
                .then_some(failed);
        }
        let asked = self.asked?;
        let waited = to.saturating_sub(asked) >= PATIENCE_NS;
        (self.open > 0 && self.resolved.is_none() && waited)
            .then_some((asked, NameSays::Nothing { queries: self.open }))
    }
}

/// Is it a resolved name with one of the host's search domains behind it? Such tries fail by design.
fn is_search_of(name: &str, resolved: &[&str]) -> bool {
    resolved.iter().any(|shorter| {
        name.strip_prefix(shorter)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::tests::build;

    const S: MonoNs = 1_000_000_000;

    fn names(messages: &[(u64, bool, u8, u16, &str)]) -> Names {
        let mut names = Names::default();
        for (s, received, rcode, answers, name) in messages {
            names.note(&DnsMessage {
                time_ns: s * S,
                pid: 1,
                tid: 1,
                received: *received,
                message_len: 40,
                first: build(9, *received, *rcode, *answers, name),
            });
        }
        names
    }

    #[test]
    fn failures() {
        let says = |messages: &[(u64, bool, u8, u16, &str)]| {
            let found = names(messages).failures(1, S, 20 * S);
            found
                .into_iter()
                .map(|f| (f.name, f.says))
                .collect::<Vec<_>>()
        };
        let a = |says| vec![("a".to_owned(), says)];
        let query = |s| (s, false, 0, 0, "a");
        for (messages, want) in [
            (
                vec![query(10), (11, true, 3, 0, "a")],
                a(NameSays::Error(3)),
            ),
            (
                vec![query(10), (11, true, 0, 0, "a")],
                a(NameSays::NoAddress),
            ),
            (
                vec![query(10), query(15)],
                a(NameSays::Nothing { queries: 2 }),
            ),
            // Answered, too young, before the time, after a failure, before a failure.
            (vec![query(10), (11, true, 0, 2, "a")], vec![]),
            (vec![query(20)], vec![]),
            (vec![query(0), (0, true, 3, 0, "a")], vec![]),
            (vec![(10, true, 2, 0, "a"), (11, true, 0, 1, "a")], vec![]),
            (
                vec![(10, true, 0, 1, "a"), (11, true, 2, 0, "a")],
                a(NameSays::Error(2)),
            ),
            // A search domain was tried first.
            (
                vec![(10, true, 3, 0, "a.corp.local"), (11, true, 0, 1, "a")],
                vec![],
            ),
        ] {
            assert_eq!(says(&messages), want, "{messages:?}");
        }
        let other = names(&[(10, true, 3, 0, "a")]);
        assert!(other.failures(2, S, 20 * S).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let many: Vec<_> = (0..MAX as u64 + 5).map(|s| (s, false, 0, 0, "a")).collect();
        assert_eq!(names(&many).seen.len(), MAX);
    }
}
