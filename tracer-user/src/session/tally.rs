//! Everything a session counts beside the open exchanges, and the document made from it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::groups::{GROUPS_MAX, Groups, KEPT_MAX, KEPT_PER_GROUP, blamed_upstream};
use crate::case::{Case, Outcome};
use crate::event::{
    BackendSnapshot, Input, KernelEvent, Losses, MonoNs, ProxyProcess, SessionStart,
};
use crate::latency;
use crate::report::{
    BackendDoc, CaseDoc, Clock, Document, GroupDoc, Header, ProcessDoc, SCHEMA, Totals, Watched,
};

/// Most backends counted by outcome.
const UPSTREAMS_MAX: usize = 4096;
/// Most processes named in the report.
const PROCESSES_MAX: usize = 1024;
/// Most notes that a run may add.
const NOTES_MAX: usize = 100;

/// Cases by outcome, in the order of [`Outcome::ALL`].
type ByOutcome = [u64; Outcome::ALL.len()];

/// Counts and last states.
#[derive(Debug, Default)]
pub(super) struct Tally {
    start: Option<SessionStart>,
    /// Latest moment that any input told.
    seen: MonoNs,
    ended: bool,
    /// Outcomes that the session was asked for; empty: all.
    wanted: Vec<Outcome>,
    groups: Groups,
    by_outcome: ByOutcome,
    by_upstream: BTreeMap<SocketAddr, ByOutcome>,
    /// `None` until the first state of the counters came.
    backends: Option<Vec<BackendSnapshot>>,
    losses: Losses,
    processes: Vec<ProxyProcess>,
    notes: Vec<String>,
}

impl Tally {
    pub(super) fn input(&mut self, input: &Input) {
        match input {
            Input::Start(start) if self.start.is_none() => {
                self.see(start.started_mono_ns);
                let names = start.outcomes.iter();
                self.wanted = names.filter_map(|name| Outcome::from_name(name)).collect();
                self.start = Some(start.clone());
            }
            Input::Start(_) => self.note("A second start in this session was ignored.".into()),
            Input::Proxy(process) => {
                let known = self.processes.contains(process);
                if !known && self.processes.len() < PROCESSES_MAX {
                    self.processes.push(process.clone());
                }
            }
            Input::Kernel(KernelEvent::Exchange(exchange)) => self.see(exchange.time_ns),
            Input::Kernel(
                KernelEvent::Process(_) | KernelEvent::Backend(_) | KernelEvent::Dns(_),
            )
            | Input::LocalBackend(_)
            | Input::Icmp(_)
            | Input::ListenQueue(_)
            | Input::UpstreamsInUse(_) => {}
            Input::Tick(now) => self.see(*now),
            Input::Backends(backends) => self.backends = Some(backends.clone()),
            Input::Losses(losses) => self.losses.clone_from(losses),
            Input::End(now) => {
                self.see(*now);
                self.ended = true;
            }
        }
    }

    fn see(&mut self, now: MonoNs) {
        self.seen = self.seen.max(now);
    }

    pub(super) fn case(&mut self, case: &Case) {
        self.groups.add(case);
        let outcome = case.outcome as usize;
        self.by_outcome[outcome] += 1;
        if let Some(upstream) = blamed_upstream(case) {
            let room = self.by_upstream.len() < UPSTREAMS_MAX;
            if room || self.by_upstream.contains_key(&upstream) {
                self.by_upstream.entry(upstream).or_default()[outcome] += 1;
            }
        }
    }

    pub(super) fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn clock(&self) -> Clock {
        self.start.as_ref().map_or(Clock::default(), |start| Clock {
            unix_ns: start.started_unix_ns,
            mono_ns: start.started_mono_ns,
        })
    }

    pub(super) fn header(&self) -> Header {
        let start = self.start.as_ref();
        Header {
            schema: SCHEMA,
            version: start.map(|s| s.version.clone()),
            host: start.map(|s| s.host.clone()),
            kernel: start.map(|s| s.kernel.clone()),
            started: start.map(|s| self.clock().wall(s.started_mono_ns)),
            notes: start.map(|s| s.notes.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn document(&self, counters: &[(&'static str, u64)]) -> Document {
        let header = self.header();
        let clock = self.clock();
        let kept = self.groups.kept();
        Document {
            schema: header.schema,
            host: header.host,
            kernel: header.kernel,
            started: header.started,
            ended: self.start.is_some().then(|| clock.wall(self.seen)),
            groups: self.group_documents(clock),
            cases: kept.iter().map(|case| CaseDoc::new(case, clock)).collect(),
            backends: self.backend_documents(),
            losses: self.losses.iter().cloned().collect(),
            notes: self.all_notes(header.notes, kept.len()),
            version: header.version,
            watched: self.watched(),
            totals: self.totals(kept.len()),
            counters: counters
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        }
    }

    fn group_documents(&self, clock: Clock) -> Vec<GroupDoc> {
        let groups = self.groups.sorted();
        let document = |group: &super::groups::Group| GroupDoc {
            rule: group.key.as_ref().map_or("other", |key| key.rule),
            upstream: group.key.as_ref().and_then(|key| key.upstream),
            outcome: group.key.as_ref().map(|key| key.outcome.name()),
            status: group.key.as_ref().and_then(|key| key.status),
            count: group.count,
            first: clock.wall(group.first),
            last: clock.wall(group.last),
            examples: group.examples(),
        };
        groups.into_iter().map(document).collect()
    }

    /// By address. An address that only cases know has counts by outcome and nothing else.
    fn backend_documents(&self) -> Vec<BackendDoc> {
        let mut documents: BTreeMap<SocketAddr, BackendDoc> = BTreeMap::new();
        for backend in self.backends.iter().flatten() {
            let document = BackendDoc {
                upstream: backend.upstream,
                connects: Some(backend.connects),
                exchanges: Some(backend.exchanges),
                outcomes: BTreeMap::new(),
                connect: latency::summarise(&backend.connect).map(Into::into),
                ttfb: latency::summarise(&backend.ttfb).map(Into::into),
                response: latency::summarise(&backend.total).map(Into::into),
            };
            documents.insert(backend.upstream, document);
        }
        for (upstream, counts) in &self.by_upstream {
            let document = documents
                .entry(*upstream)
                .or_insert_with(|| BackendDoc::new(*upstream));
            document.outcomes = by_name(counts);
        }
        documents.into_values().collect()
    }

    fn watched(&self) -> Watched {
        let start = self.start.as_ref();
        let wanted = Outcome::ALL.into_iter();
        let wanted = wanted.filter(|o| self.wanted.is_empty() || self.wanted.contains(o));
        let processes = self.processes.iter().map(|process| ProcessDoc {
            kind: process.kind.name().to_owned(),
            pid: process.pid,
        });
        Watched {
            statuses: start.map(|s| s.statuses.clone()).unwrap_or_default(),
            outcomes: wanted.map(Outcome::name).collect(),
            processes: processes.collect(),
        }
    }

    fn totals(&self, listed: usize) -> Totals {
        let sum = |count: fn(&BackendSnapshot) -> u64| {
            let backends = self.backends.as_ref()?;
            Some(backends.iter().map(count).fold(0, u64::saturating_add))
        };
        Totals {
            cases: self.groups.counted(),
            cases_listed: listed as u64,
            outcomes: by_name(&self.by_outcome),
            connects: sum(|backend| backend.connects),
            exchanges: sum(|backend| backend.exchanges),
        }
    }

    fn all_notes(&self, mut notes: Vec<String>, listed: usize) -> Vec<String> {
        let counted = self.groups.counted();
        if counted > listed as u64 {
            notes.push(format!(
                "All {counted} cases are counted, {listed} of them are kept as examples (at most \
                 {KEPT_PER_GROUP} a group, {KEPT_MAX} in all)."
            ));
        }
        let mut groups = self.groups.sorted().into_iter();
        if let Some(other) = groups.find(|group| group.key.is_none()) {
            notes.push(format!(
                "{} cases are counted in the group \"other\": there is room for {GROUPS_MAX} \
                 different groups.",
                other.count
            ));
        }
        let lost: u64 = self.losses.iter().map(|(_, count)| count).sum();
        if lost > 0 {
            notes.push(format!(
                "{lost} records were lost or not kept (see losses): some failures may be missing, \
                 and what rests on the order of events is less sure."
            ));
        }
        if self.start.is_none() {
            notes.push("This session holds no start: host and times are not known.".into());
        } else if !self.ended {
            notes.push(
                "This session has no end: the capture was killed, or is still running. Its last \
                 moments may be missing."
                    .into(),
            );
        }
        notes.extend(self.notes.iter().cloned());
        notes
    }
}

/// Only the outcomes that occurred.
fn by_name(counts: &ByOutcome) -> BTreeMap<&'static str, u64> {
    let named = Outcome::ALL.iter().zip(counts);
    named
        .filter(|(_, count)| **count > 0)
        .map(|(outcome, count)| (outcome.name(), *count))
        .collect()
}
