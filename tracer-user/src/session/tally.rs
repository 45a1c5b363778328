//! Everything a session counts beside the open exchanges, and the document made from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::groups::{
    GROUPS_MAX, Groups, KEPT_MAX, KEPT_PER_GROUP, blamed_attempt, blamed_upstream,
};
use super::standby::StoodBy;
use crate::advise::{self, Failures, Measured, Settings};
use crate::case::{Case, Outcome};
use crate::event::{
    BackendSnapshot, HOOK_SKIPPED, Input, KernelEvent, Losses, MonoNs, ProxyKind, ProxyProcess,
    SessionStart, Standby,
};
use crate::join::JoinCounts;
use crate::latency;
use crate::report::{
    AdviceDoc, BackendDoc, CaseDoc, Clock, Document, GroupDoc, Header, ProcessDoc, SCHEMA, Totals,
    Watched,
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
    /// What failed exchanges tell about limits.
    failures: BTreeMap<SocketAddr, Failures>,
    /// What the proxies' configurations say.
    settings: Settings,
    /// `None` until the first state of the counters came.
    backends: Option<Vec<BackendSnapshot>>,
    losses: Losses,
    processes: Vec<ProxyProcess>,
    standby: StoodBy,
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
                KernelEvent::Process(_)
                | KernelEvent::Backend(_)
                | KernelEvent::Dns(_)
                | KernelEvent::Sign(_),
            )
            | Input::Since(_)
            | Input::LocalBackend(_)
            | Input::Icmp(_)
            | Input::ListenQueue(_)
            | Input::UpstreamsInUse(_)
            | Input::Log(_)
            | Input::LogSources(_) => {}
            Input::Standby(standby) => {
                self.see(standby.time_ns);
                // One that began before is that of the session before, too.
                let began = self.start.as_ref().map_or(0, |start| start.started_mono_ns);
                self.standby.input(&Standby {
                    time_ns: standby.time_ns.max(began),
                    ..*standby
                });
            }
            Input::Tick(now) => self.see(*now),
            Input::Backends(backends) => self.backends = Some(backends.clone()),
            Input::Config(configs) => self.settings = Settings::new(configs.clone()),
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
        let deciding = blamed_attempt(case);
        for (index, attempt) in case.attempts.iter().enumerate() {
            let room = self.failures.len() < UPSTREAMS_MAX;
            if room || self.failures.contains_key(&attempt.upstream) {
                let failures = self.failures.entry(attempt.upstream).or_default();
                failures.add(case, attempt, deciding == Some(index));
            }
        }
    }

    /// A case as it is serialised, its remedies beside what is configured now.
    pub(super) fn case_document(&self, case: &Case) -> CaseDoc {
        let mut document = CaseDoc::new(case, self.clock());
        if let Some(upstream) = blamed_upstream(case) {
            let proxy = &case.proxy.kind;
            let in_force = self.settings.of(proxy, upstream);
            for remedy in &mut document.verdict.remedies {
                let now = advise::now(&remedy.target, &remedy.change, proxy, &in_force);
                if let Some(now) = now {
                    remedy.why = format!("{} {now}", remedy.why);
                }
            }
        }
        document
    }

    pub(super) fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn clock(&self) -> Clock {
        self.start.as_ref().map(Clock::of).unwrap_or_default()
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

    pub(super) fn document(
        &self,
        counters: &[(&'static str, u64)],
        logs: &[JoinCounts],
    ) -> Document {
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
            cases: kept.iter().map(|case| self.case_document(case)).collect(),
            backends: self.backend_documents(),
            losses: self.losses.iter().cloned().collect(),
            notes: self.all_notes(header.notes, kept.len(), logs),
            version: header.version,
            watched: self.watched(),
            totals: self.totals(kept.len()),
            counters: counters
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            logs: logs.iter().map(Into::into).collect(),
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
            let [connect, ttfb, response] =
                [&backend.connect, &backend.ttfb, &backend.total].map(|b| latency::summarise(b));
            let measured = Measured {
                upstream: backend.upstream,
                connect: connect.as_ref(),
                ttfb: ttfb.as_ref(),
                idle_reused_max_us: backend.idle_reused_max_us,
                idle_closed_min_us: backend.idle_closed_min_us,
                idle_closed: backend.idle_closed,
                failures: self.failures_of(backend.upstream),
            };
            let document = BackendDoc {
                advice: self.advice(&measured),
                upstream: backend.upstream,
                connects: Some(backend.connects),
                exchanges: Some(backend.exchanges),
                outcomes: BTreeMap::new(),
                connect: connect.map(Into::into),
                ttfb: ttfb.map(Into::into),
                response: response.map(Into::into),
            };
            documents.insert(backend.upstream, document);
        }
        for (upstream, counts) in &self.by_upstream {
            let document = documents
                .entry(*upstream)
                .or_insert_with(|| self.uncounted_backend(*upstream));
            document.outcomes = by_name(counts);
        }
        documents.into_values().collect()
    }

    /// A backend that only cases tell of.
    fn uncounted_backend(&self, upstream: SocketAddr) -> BackendDoc {
        let measured = Measured {
            upstream,
            connect: None,
            ttfb: None,
            idle_reused_max_us: None,
            idle_closed_min_us: None,
            idle_closed: 0,
            failures: self.failures_of(upstream),
        };
        BackendDoc {
            advice: self.advice(&measured),
            ..BackendDoc::new(upstream)
        }
    }

    fn failures_of(&self, upstream: SocketAddr) -> Failures {
        self.failures.get(&upstream).cloned().unwrap_or_default()
    }

    /// For each kind of proxy that speaks to the backend: those that met a failure there, those whose
    /// configuration names it, else the only kind that is traced.
    fn advice(&self, measured: &Measured<'_>) -> Vec<AdviceDoc> {
        let mut proxies = measured.failures.proxies.clone();
        let traced: BTreeSet<ProxyKind> = self.processes.iter().map(|p| p.kind.clone()).collect();
        let named = |kind: &&ProxyKind| self.settings.of(kind, measured.upstream).is_certain();
        proxies.extend(traced.iter().filter(named).cloned());
        if proxies.is_empty() && traced.len() == 1 {
            proxies = traced;
        }
        let advise = |kind: &ProxyKind| {
            let in_force = self.settings.of(kind, measured.upstream);
            advise::advise(kind, measured, &in_force)
        };
        proxies.iter().flat_map(advise).map(Into::into).collect()
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

    fn all_notes(&self, mut notes: Vec<String>, listed: usize, logs: &[JoinCounts]) -> Vec<String> {
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
        let (skipped, lost): (Vec<_>, Vec<_>) = self
            .losses
            .iter()
            .partition(|(name, _)| name == HOOK_SKIPPED);
        if let [(_, skipped)] = skipped[..] {
            notes.push(format!(
                "The kernel left out {skipped} calls of hooks, of whatever process, while another call was under way on \
                 the same processor: what they would have told may be missing."
            ));
        }
        let lost: u64 = lost.iter().map(|(_, count)| count).sum();
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
        for config in self.settings.configs() {
            let about = |note: &String| format!("Configuration of {}: {note}", config.proxy);
            notes.extend(config.notes.iter().map(about));
        }
        notes.extend(self.standby.note(self.seen));
        notes.extend(logs.iter().flat_map(JoinCounts::notes));
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
