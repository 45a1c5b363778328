//! Things that wait, found by what they have in common with their counterpart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use super::fit::{Told, canonical, trace_id};
use super::sighting::Sighting;
use crate::event::MonoNs;

/// A mark that more things have than this tells too little.
const CROWD: usize = 64;
const SECOND_NS: u64 = 1_000_000_000;

/// Something that a line and a case can have in common. Times are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mark {
    Request(String),
    Client(SocketAddr),
    Path(String, u64),
    Upstream(SocketAddr, u64),
    /// Neither path nor backend address is known.
    Second(u64),
}

/// Where a line is found.
pub(super) fn marks_of_line(line: &Sighting) -> Vec<Mark> {
    let second = line.at / SECOND_NS;
    let mut marks = Vec::new();
    marks.extend(line.request_id.clone().map(Mark::Request));
    marks.extend(
        line.traceparent
            .as_deref()
            .and_then(trace_id)
            .map(Mark::Request),
    );
    marks.extend(line.client_addr().map(Mark::Client));
    marks.extend(line.path.clone().map(|path| Mark::Path(path, second)));
    let addrs: BTreeSet<SocketAddr> = line.attempts.iter().filter_map(|a| a.addr).collect();
    let nothing = line.path.is_none() && addrs.is_empty();
    marks.extend(
        addrs
            .into_iter()
            .map(|addr| Mark::Upstream(canonical(addr), second)),
    );
    marks.extend(nothing.then_some(Mark::Second(second)));
    marks
}

/// Where to look for the lines of a case.
pub(super) fn marks_of_case(case: &Told) -> Vec<Mark> {
    let mut seconds = BTreeSet::new();
    let ends = case.attempts.iter().map(|(_, _, end)| *end);
    for moment in ends.chain([case.at]) {
        let second = moment / SECOND_NS;
        seconds.extend(second.saturating_sub(1)..=second + 1);
    }
    let mut marks = Vec::new();
    marks.extend(case.request_ids.iter().cloned().map(Mark::Request));
    marks.extend(case.trace_id.clone().map(Mark::Request));
    marks.extend(case.client.map(Mark::Client));
    let upstreams: BTreeSet<SocketAddr> = case.attempts.iter().map(|(up, _, _)| *up).collect();
    for second in seconds {
        marks.extend(case.path.clone().map(|path| Mark::Path(path, second)));
        marks.extend(upstreams.iter().map(|up| Mark::Upstream(*up, second)));
        marks.push(Mark::Second(second));
    }
    marks
}

/// Waiting things in the order in which they came, each with a deadline.
#[derive(Debug)]
pub(super) struct Pool<T> {
    next: u64,
    things: BTreeMap<u64, (MonoNs, T, Vec<Mark>)>,
    deadlines: BTreeSet<(MonoNs, u64)>,
    by_mark: HashMap<Mark, BTreeSet<u64>>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            next: 0,
            things: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            by_mark: HashMap::new(),
        }
    }
}

impl<T> Pool<T> {
    pub(super) fn len(&self) -> usize {
        self.things.len()
    }

    pub(super) fn insert(&mut self, thing: T, marks: Vec<Mark>, deadline: MonoNs) -> u64 {
        let id = self.next;
        self.next += 1;
        for mark in &marks {
            self.by_mark.entry(mark.clone()).or_default().insert(id);
        }
        self.deadlines.insert((deadline, id));
        self.things.insert(id, (deadline, thing, marks));
        id
    }

    pub(super) fn get(&self, id: u64) -> Option<&T> {
        self.things.get(&id).map(|(_, thing, _)| thing)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        let (deadline, thing, marks) = self.things.remove(&id)?;
        self.deadlines.remove(&(deadline, id));
        for mark in marks {
            if let Some(ids) = self.by_mark.get_mut(&mark) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_mark.remove(&mark);
                }
            }
        }
        Some(thing)
    }

    /// Things that share one of these marks, oldest first; true if a mark was left out because too many
    /// have it.
    pub(super) fn sharing(&self, marks: &[Mark]) -> (BTreeSet<u64>, bool) {
        let mut found = BTreeSet::new();
        let mut crowded = false;
        for ids in marks.iter().filter_map(|mark| self.by_mark.get(mark)) {
            if ids.len() > CROWD {
                crowded = true;
            } else {
                found.extend(ids);
            }
        }
        (found, crowded)
    }

    /// The thing whose deadline comes first, if it has passed.
    pub(super) fn due(&self, now: MonoNs) -> Option<u64> {
        let (deadline, id) = self.deadlines.first()?;
        (*deadline <= now).then_some(*id)
    }

    /// The thing whose deadline comes first.
    pub(super) fn first(&self) -> Option<u64> {
        self.deadlines.first().map(|(_, id)| *id)
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.things.iter().map(|(id, (_, thing, _))| (*id, thing))
    }
}
