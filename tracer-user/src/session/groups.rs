//! Cases that look alike, counted together. An incident gives thousands of equal failures a second:
//! counts are exact, examples are few.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::case::{Case, How, Outcome};
use crate::event::MonoNs;

/// Most groups; cases of further ones are counted together.
pub(super) const GROUPS_MAX: usize = 4096;
/// Most cases kept of one group.
pub(super) const KEPT_PER_GROUP: usize = 20;
/// Most cases kept in all.
pub(super) const KEPT_MAX: usize = 1000;
/// Ids of examples given with a group.
const EXAMPLES: usize = 5;

/// What makes cases alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Rule of the verdict.
    pub(super) rule: &'static str,
    /// Backend of the attempt that failed.
    pub(super) upstream: Option<SocketAddr>,
    /// What the client got.
    pub(super) outcome: Outcome,
    /// With this status.
    pub(super) status: Option<u16>,
}

/// Counts of one group.
#[derive(Debug)]
pub(super) struct Group {
    /// `None`: the cases for which there was no room in a group of their own.
    pub(super) key: Option<Key>,
    /// Exact.
    pub(super) count: u64,
    /// Earliest case.
    pub(super) first: MonoNs,
    /// Latest case.
    pub(super) last: MonoNs,
    /// The first cases, with their place in the order of all cases.
    kept: Vec<(u64, Case)>,
}

impl Group {
    fn new(key: Option<Key>, time: MonoNs) -> Self {
        Self {
            key,
            count: 0,
            first: time,
            last: time,
            kept: Vec::new(),
        }
    }

    fn count(&mut self, time: MonoNs) {
        self.count += 1;
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }

    /// Ids of the first few cases, all of which are kept.
    pub(super) fn examples(&self) -> Vec<String> {
        let few = self.kept.iter().take(EXAMPLES);
        few.map(|(_, case)| case.id.clone()).collect()
    }
}

/// All groups of a session.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    by_key: HashMap<Key, usize>,
    overflow: Option<Group>,
    counted: u64,
    kept: usize,
}

impl Groups {
    /// Counts a case and keeps it while there is room.
    ///
    /// A group that has no example yet takes a place from the group that has most: one example of a
    /// rare failure says more than the twentieth of a frequent one.
    pub(super) fn add(&mut self, case: &Case) {
        let place = self.counted;
        self.counted += 1;
        let Some(index) = self.index(case) else {
            self.overflow
                .get_or_insert_with(|| Group::new(None, case.time_ns))
                .count(case.time_ns);
            return;
        };
        self.groups[index].count(case.time_ns);
        let has = self.groups[index].kept.len();
        if has >= KEPT_PER_GROUP {
            return;
        }
        if self.kept >= KEPT_MAX {
            if has > 0 || !self.make_room() {
                return;
            }
        } else {
            self.kept += 1;
        }
        self.groups[index].kept.push((place, case.clone()));
    }

    fn index(&mut self, case: &Case) -> Option<usize> {
        let key = Key {
            rule: case.verdict.rule,
            upstream: blamed_upstream(case),
            outcome: case.outcome,
            status: case.status,
        };
        if let Some(index) = self.by_key.get(&key) {
            return Some(*index);
        }
        let index = self.groups.len();
        if index == GROUPS_MAX {
            return None;
        }
        self.groups
            .push(Group::new(Some(key.clone()), case.time_ns));
        self.by_key.insert(key, index);
        Some(index)
    }

    /// Gives up the newest example of the group with most, if that leaves it one.
    fn make_room(&mut self) -> bool {
        let most = self.groups.iter_mut().max_by_key(|group| group.kept.len());
        match most {
            Some(group) if group.kept.len() > 1 => group.kept.pop().is_some(),
            _ => false,
        }
    }

    /// Largest first, those of equal size in the order in which they appeared; the group of those
    /// that had no room last.
    pub(super) fn sorted(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups.extend(&self.overflow);
        groups
    }

    /// Kept cases in the order in which they came.
    pub(super) fn kept(&self) -> Vec<&Case> {
        let mut kept: Vec<&(u64, Case)> = self.groups.iter().flat_map(|g| &g.kept).collect();
        kept.sort_by_key(|(place, _)| *place);
        kept.into_iter().map(|(_, case)| case).collect()
    }

    /// Cases counted.
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }
}

/// Backend of the attempt that failed: the last one, unless a retry hid the failure; then the last
/// one that did not end well.
pub(super) fn blamed_upstream(case: &Case) -> Option<SocketAddr> {
    let attempt = case.attempts.get(blamed_attempt(case)?)?;
    Some(attempt.upstream)
}

/// Index of that attempt.
pub(crate) fn blamed_attempt(case: &Case) -> Option<usize> {
    let failed = |status: Option<u16>| status.is_some_and(|status| status >= 400);
    let hidden = case
        .attempts
        .iter()
        .rposition(|attempt| attempt.how != How::Completed || failed(attempt.status))
        .filter(|_| case.outcome == Outcome::Masked);
    hidden.or(case.attempts.len().checked_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn case(id: u64, port: u16) -> Case {
        let mut case = fixture::reuse_race();
        case.id = format!("c{id}");
        case.time_ns = id;
        for attempt in &mut case.attempts {
            attempt.upstream.set_port(port);
        }
        case
    }

    #[test]
    fn counts_are_exact_and_examples_are_few() {
        let mut groups = Groups::default();
        for id in 0..5000 {
            groups.add(&case(id, if id % 5 == 0 { 2 } else { 1 }));
        }
        let sorted = groups.sorted();
        assert_eq!(sorted.len(), 2);
        assert_eq!((sorted[0].count, sorted[1].count), (4000, 1000));
        assert_eq!((sorted[0].first, sorted[0].last), (1, 4999));
        assert_eq!(sorted[1].examples(), ["c0", "c5", "c10", "c15", "c20"]);
        assert_eq!(groups.kept().len(), 2 * KEPT_PER_GROUP);
        assert_eq!(groups.counted(), 5000);
        assert!(groups.kept().is_sorted_by_key(|case| case.time_ns));
    }

    #[test]
    fn memory_is_bounded_and_a_rare_failure_still_has_its_example() {
        let mut groups = Groups::default();
        let frequent = (KEPT_MAX / KEPT_PER_GROUP) as u64;
        let mut id = 0;
        for port in 0..frequent {
            for _ in 0..50 {
                groups.add(&case(id, port as u16));
                id += 1;
            }
        }
        assert_eq!(groups.kept().len(), KEPT_MAX);
        for port in frequent..10_000 {
            groups.add(&case(id, port as u16));
            id += 1;
        }
        assert_eq!(groups.kept().len(), KEPT_MAX);
        let sorted = groups.sorted();
        assert_eq!(sorted.len(), GROUPS_MAX + 1);
        let other = sorted[GROUPS_MAX];
        assert_eq!(other.key, None);
        assert_eq!(other.count, 10_000 - GROUPS_MAX as u64);
        assert_eq!(sorted.iter().map(|g| g.count).sum::<u64>(), id);
        // Every example can be looked up; every group that could get one has one.
        let kept: std::collections::HashSet<_> =
            groups.kept().iter().map(|c| c.id.clone()).collect();
        assert!(
            sorted
                .iter()
                .flat_map(|g| g.examples())
                .all(|id| kept.contains(&id))
        );
        assert_eq!(
            sorted.iter().filter(|g| !g.kept.is_empty()).count(),
            KEPT_MAX
        );
    }

    #[test]
    fn a_hidden_failure_belongs_to_the_backend_that_failed() {
        let masked = fixture::masked();
        assert_eq!(blamed_upstream(&masked), Some(masked.attempts[0].upstream));
        let mut none = masked.clone();
        none.attempts.clear();
        assert_eq!(blamed_upstream(&none), None);
        let mut error = masked;
        error.outcome = Outcome::ErrorResponse;
        assert_eq!(blamed_upstream(&error), Some(error.attempts[1].upstream));
    }
}
