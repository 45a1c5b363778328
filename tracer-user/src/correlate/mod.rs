//! Ties backend exchanges to what the client got: events in, cases out.
//!
//! A failed backend exchange waits ([`pending`]) until the record of its client's outcome comes. That
//! record is held back for [`HOLD_NS`], because the two come from different hooks and may change
//! places. Then [`matching`] looks for the attempts behind it and [`crate::diagnose`] judges them.
//! Time is what the inputs say; nothing here reads a clock, so a replay gives the same cases.

mod alone;
mod attempt;
mod backend_role;
mod checks;
mod counters;
mod failures;
mod icmp;
mod identity;
mod intake;
mod locals;
mod logged;
mod matching;
mod mirror;
mod names;
mod pending;
mod readings;
mod timeline;

use std::collections::{HashMap, VecDeque};

use tracer_ebpf::{Cause, LinkHow, Role, flags};

use crate::case::{Case, Confidence, Downstream, Outcome, ProxyRef, RequestSummary, SeenFrom};
use crate::diagnose::{self, Around, AttemptFacts, CaseFacts};
use crate::event::{
    Exchange, HostRole, Input, KernelEvent, MonoNs, ProcessEvent, ProxyKind, SessionStart,
};
use crate::http;
use attempt::between_us;
use checks::Checks;
use counters::Counters;
use failures::{Failures, Route};
use icmp::Icmp;
use intake::{Kind, Reasons};
use locals::Locals;
use matching::{Client, Draft, Judged};
use names::Names;
use pending::{Pending, Seq, Store};
use readings::Readings;

/// How long a client's record waits for backend records that were overtaken.
const HOLD_NS: u64 = 100_000_000;
/// How much longer an error waits that no backend connection explains: the capture looks at what the
/// process has open, and that comes behind.
const HOLD_ALONE_NS: u64 = 200_000_000;
/// How long a failure waits for its client: longer than the timeouts that proxies ship with.
const KEEP_NS: u64 = 120_000_000_000;
/// The same for what can only belong to a client record that is under way already.
const KEEP_SHORT_NS: u64 = 1_000_000_000;
/// The status that nginx logs when the client left. Watching it asks for client aborts as cases.
const CLIENT_CLOSED_REQUEST: u16 = 499;
/// Kind of a proxy process that was never announced.
pub(crate) const UNKNOWN_PROXY: &str = "unknown";

/// Bounds of the tables.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Backend exchanges that wait for their client.
    pending: usize,
    /// Client records that wait for backend exchanges.
    held: usize,
    /// Processes whose kind is known.
    processes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending: 65_536,
            held: 16_384,
            processes: 65_536,
        }
    }
}

/// Are there logs that tell what clients got whose responses cannot be read?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logs {
    None,
    /// Read while the capture runs.
    Live,
    /// Read whole when it is over.
    AtEnd,
}

/// Makes cases of a session's inputs.
#[derive(Debug)]
pub struct Correlator {
    limits: Limits,
    now: MonoNs,
    statuses: Vec<u16>,
    outcomes: Vec<Outcome>,
    reasons: Reasons,
    role: HostRole,
    proxies: HashMap<u32, ProxyKind>,
    /// Processes and the first of their instance.
    instances: HashMap<u32, u32>,
    locals: Locals,
    icmp: Icmp,
    pending: Store,
    held: VecDeque<(MonoNs, Box<Exchange>)>,
    /// Errors that no backend connection explains, in the order of their deadlines.
    alone: VecDeque<(MonoNs, Box<Exchange>)>,
    failures: Failures,
    names: Names,
    readings: Readings,
    counters: Counters,
    checks: Checks,
    /// Failures whose clients cannot be read wait for a line in a log.
    logs: Logs,
    /// Since when requests and responses are seen; `None`: tracing stands by.
    seen_since: Option<MonoNs>,
    /// Kernel records were lost: what rests on the order of records alone is less sure.
    records_lost: bool,
}

impl Default for Correlator {
    fn default() -> Self {
        Self::new()
    }
}

impl Correlator {
    /// A correlator that has seen nothing.
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        Self {
            limits,
            now: 0,
            statuses: Vec::new(),
            outcomes: Vec::new(),
            reasons: Reasons::new(),
            role: HostRole::Proxy,
            proxies: HashMap::new(),
            instances: HashMap::new(),
            locals: Locals::default(),
            icmp: Icmp::default(),
            pending: Store::new(limits.pending),
            held: VecDeque::new(),
            alone: VecDeque::new(),
            failures: Failures::default(),
            names: Names::default(),
            readings: Readings::default(),
            counters: Counters::default(),
            checks: Checks::default(),
            logs: Logs::None,
            seen_since: Some(0),
            records_lost: false,
        }
    }

    /// Logs are read whole, after the last input: what waits for a line waits until then. To be
    /// followed by [`Correlator::close`].
    pub(crate) fn wait_for_logs(&mut self) {
        self.logs = Logs::AtEnd;
    }

    /// Nothing more will come, from the kernel or from a log.
    pub(crate) fn close(&mut self) {
        for left in self.pending.expire(MonoNs::MAX) {
            self.expired(&left);
        }
    }

    /// Takes one input and gives the cases that it completes.
    pub fn input(&mut self, input: &Input) -> Vec<Case> {
        match input {
            Input::Start(start) => {
                self.start(start);
                Vec::new()
            }
            Input::Proxy(process) => {
                self.learn(process.pid, process.kind.clone(), process.instance);
                Vec::new()
            }
            Input::Kernel(KernelEvent::Process(event)) => {
                self.process(*event);
                Vec::new()
            }
            Input::Kernel(KernelEvent::Exchange(exchange)) => self.exchange(exchange),
            Input::Kernel(KernelEvent::Dns(message)) => {
                self.names.note(message);
                Vec::new()
            }
            Input::ListenQueue(reading) => {
                self.readings.queue(*reading);
                Vec::new()
            }
            Input::UpstreamsInUse(reading) => {
                self.readings.process(*reading);
                Vec::new()
            }
            Input::Kernel(KernelEvent::Backend(_) | KernelEvent::Sign(_)) => Vec::new(),
            Input::Icmp(error) => {
                self.icmp.learn(*error);
                Vec::new()
            }
            Input::LocalBackend(backend) => {
                self.locals.learn(backend);
                Vec::new()
            }
            Input::Tick(now) => self.advance(*now),
            Input::Losses(losses) => {
                self.records_lost = losses
                    .iter()
                    .any(|(name, count)| is_record_loss(name, *count));
                Vec::new()
            }
            Input::Log(read) => self.advance(read.time_ns),
            Input::Standby(standby) => {
                self.seen_since = standby.woken_by.map(|_| standby.time_ns);
                self.advance(standby.time_ns)
            }
            Input::Since(_) | Input::Backends(_) | Input::Config(_) | Input::LogSources(_) => {
                Vec::new()
            }
            // With logs, `close` follows.
            Input::End(now) => self.end(*now),
        }
    }

    /// Names and values of what was seen and did not become a case, in a fixed order.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters.list()
    }

    /// What a reader must know about these results: why something may be missing from them.
    pub fn notes(&self) -> Vec<String> {
        let counts = &self.counters;
        let mut notes = Vec::new();
        if counts.healthy_records > 0 {
            notes.push(format!(
                "{} healthy exchanges were recorded, the proxy's side to its client and its side to the backend each for itself, and that of a backend on this host, too",
                counts.healthy_records
            ));
        }
        if counts.unreadable_clients > 0 {
            notes.push(format!(
                "{} backend failures belong to clients whose responses cannot be read (TLS or HTTP/2): what these clients got is not known, so they are not among the cases",
                counts.unreadable_clients
            ));
        }
        if counts.ambiguous_connects > 0 {
            notes.push(format!(
                "{} failed connects may have been health checks or the first try of a request that was then answered by another backend: nothing tells the two apart, so they are not among the cases",
                counts.ambiguous_connects
            ));
        }
        if counts.pending_evicted > 0 {
            notes.push(format!(
                "{} backend failures were let go before their clients' responses came, because too many were waiting: some cases lack their cause",
                counts.pending_evicted
            ));
        }
        notes
    }

    fn start(&mut self, start: &SessionStart) {
        self.now = start.started_mono_ns;
        self.role = start.role;
        if start.logs && self.logs == Logs::None {
            self.logs = Logs::Live;
        }
        self.statuses.clone_from(&start.statuses);
        self.outcomes = start
            .outcomes
            .iter()
            .filter_map(|name| Outcome::from_name(name))
            .collect();
        self.reasons = intake::reasons(&start.reset_reasons);
    }

    fn learn(&mut self, pid: u32, kind: ProxyKind, instance: Option<u32>) {
        // Pids are few and the oldest knowledge cannot be told apart, so a full table starts anew.
        if self.proxies.len() >= self.limits.processes {
            self.proxies.clear();
            self.instances.clear();
        }
        self.proxies.insert(pid, kind);
        if let Some(instance) = instance {
            self.instances.insert(pid, instance);
        }
    }

    fn process(&mut self, event: ProcessEvent) {
        if let ProcessEvent::Fork { pid, parent } = event
            && let Some(kind) = self.proxies.get(&parent).cloned()
        {
            self.learn(pid, kind, self.instances.get(&parent).copied());
        }
        self.locals.process(event);
        // An exit is no reason to forget: records of the process may still be under way.
    }

    fn exchange(&mut self, exchange: &Exchange) -> Vec<Case> {
        let now = self.now.max(exchange.time_ns);
        let backend = exchange.has(flags::BACKEND);
        self.counters.exchange_records += 1;
        match (exchange.role, exchange.cause) {
            (_, Cause::Sampled) => self.counters.healthy_records += 1,
            (Role::Connecting, Cause::Watched | Cause::Unheard) => {}
            (Role::Accepted, cause) if backend && self.role == HostRole::Proxy => {
                // What a backend answers is seen at the proxy's end, too.
                if matches!(cause, Cause::Ended | Cause::Unheard) {
                    self.locals.half(exchange, &self.reasons);
                }
            }
            (Role::Accepted, Cause::Unheard) => {}
            (Role::Accepted, _) if backend => {
                let mut cases: Vec<Case> = self.backend_case(exchange).into_iter().collect();
                cases.extend(self.advance(now));
                return cases;
            }
            (Role::Connecting, Cause::Ended | Cause::Status) => self.upstream(exchange, now),
            (Role::Accepted, Cause::Ended | Cause::Status | Cause::Watched) => {
                self.held
                    .push_back((now.saturating_add(HOLD_NS), Box::new(exchange.clone())));
            }
        }
        self.advance(now)
    }

    fn upstream(&mut self, exchange: &Exchange, now: MonoNs) {
        let facts = intake::read(exchange.clone(), &self.reasons);
        let kind = intake::kind(&facts);
        // Connects of a program that is not known by name are not tied to clients at all.
        let tied_by_order = !matches!(self.kind_of(exchange.pid), ProxyKind::Other(_));
        // While tracing stands by nothing is tied.
        let seen = self
            .seen_since
            .is_some_and(|since| exchange.time_ns >= since);
        if exchange.link.is_none() && tied_by_order && seen {
            self.note_check(&facts, now);
        }
        self.failures.note(self.program(exchange.pid), &facts, kind);
        let keep = match kind {
            Kind::Unused => {
                self.counters.unused_upstreams += 1;
                return;
            }
            Kind::Complete => {
                self.counters.complete_upstreams += 1;
                KEEP_SHORT_NS
            }
            // The client's record is under way, or never comes.
            _ if exchange.has(flags::LINK_GONE) => KEEP_SHORT_NS,
            Kind::Failed | Kind::Unclear | Kind::Answered => KEEP_NS,
        };
        if let Some(evicted) = self.pending.insert(facts, kind, now.saturating_add(keep)) {
            self.counters.pending_evicted += u64::from(evicted.kind == Kind::Failed);
        }
    }

    fn advance(&mut self, now: MonoNs) -> Vec<Case> {
        self.now = self.now.max(now);
        let mut cases = Vec::new();
        loop {
            let early = self.held.len() > self.limits.held;
            let Some((deadline, exchange)) = self
                .held
                .pop_front_if(|(deadline, _)| early || *deadline <= self.now)
            else {
                break;
            };
            self.counters.held_early += u64::from(early);
            if !early && self.is_alone(&exchange) {
                let deadline = deadline.saturating_add(HOLD_ALONE_NS);
                self.alone.push_back((deadline, exchange));
            } else {
                cases.extend(self.downstream(&exchange));
            }
        }
        loop {
            let early = self.alone.len() > self.limits.held;
            let Some((_, exchange)) = self
                .alone
                .pop_front_if(|(deadline, _)| early || *deadline <= self.now)
            else {
                break;
            };
            self.counters.held_early += u64::from(early);
            cases.extend(self.downstream(&exchange));
        }
        if self.logs != Logs::AtEnd {
            for expired in self.pending.expire(self.now) {
                self.expired(&expired);
            }
        }
        cases
    }

    fn expired(&mut self, entry: &Pending) {
        if entry.kind == Kind::Failed {
            self.counters.pending_expired += 1;
        }
    }

    fn end(&mut self, now: MonoNs) -> Vec<Case> {
        self.now = self.now.max(now);
        let mut cases = Vec::new();
        while let Some((_, exchange)) = self.alone.pop_front().or_else(|| self.held.pop_front()) {
            cases.extend(self.downstream(&exchange));
        }
        if self.logs == Logs::None {
            self.close();
        }
        cases
    }

    fn is_watched(&self, client: &Exchange) -> bool {
        client
            .status
            .is_some_and(|status| self.statuses.contains(&status))
    }

    fn downstream(&mut self, exchange: &Exchange) -> Option<Case> {
        if is_unreadable(exchange) {
            self.unreadable(exchange);
            return None;
        }
        let request = http::summarise(&exchange.request_head);
        let client = Client {
            exchange,
            request: request.as_ref(),
        };
        let watched = self.is_watched(exchange);
        let judged = match exchange.cause {
            _ if exchange.has(flags::UNSEEN) => matching::unseen(&self.pending, client),
            Cause::Status => matching::error_response(&self.pending, client),
            Cause::Watched if watched => matching::error_response(&self.pending, client),
            Cause::Watched => matching::masked(&self.pending, client),
            Cause::Ended => matching::ended(&self.pending, client, &self.statuses),
            Cause::Sampled | Cause::Unheard => Judged::default(),
        };
        let (draft, attempts) = self.settle(judged, exchange)?;
        self.case(exchange, request, &draft, attempts)
    }

    /// Counts what came to nothing and takes the entries that a case claims.
    fn settle(&mut self, judged: Judged, client: &Exchange) -> Option<(Draft, Vec<AttemptFacts>)> {
        let pid = client.pid;
        for entry in judged
            .unrelated
            .iter()
            .filter_map(|seq| self.pending.get(*seq))
        {
            if entry.facts.phase().is_before_request() {
                let exchange = &entry.facts.exchange;
                self.checks.note(exchange.remote, exchange.time_ns);
            }
        }
        self.counters.unrelated_failures += self.drop_failures(&judged.unrelated);
        self.counters.unwatched_statuses += self.drop_failures(&judged.unwatched);
        self.counters.client_aborts += u64::from(judged.client_abort);
        self.counters.ended_without_failure += u64::from(judged.ended_without_failure);
        let draft = judged.draft?;
        let attempts: Vec<AttemptFacts> = draft
            .attempts
            .iter()
            .filter_map(|seq| {
                if draft.claim {
                    self.pending.remove(*seq).map(|entry| entry.facts)
                } else {
                    self.candidate(*seq, pid).cloned()
                }
            })
            .collect();
        let by_chance = draft.outcome == Outcome::Masked || client.has(flags::UNSEEN);
        if by_chance && self.may_be_check(pid, &attempts) {
            self.counters.ambiguous_connects += 1;
            return None;
        }
        let asked = !judged.client_abort || self.statuses.contains(&CLIENT_CLOSED_REQUEST);
        asked.then_some((draft, attempts))
    }

    /// Lets go of entries and says how many of them were failures.
    fn drop_failures(&mut self, seqs: &[Seq]) -> u64 {
        seqs.iter()
            .filter_map(|seq| self.pending.remove(*seq))
            .filter(|entry| entry.kind == Kind::Failed)
            .count() as u64
    }

    /// A client whose responses cannot be read: what it got is not known, so no case is made up.
    fn unreadable(&mut self, client: &Exchange) {
        if self.logs != Logs::None {
            return;
        }
        let failures: Vec<Seq> = self
            .pending
            .linked_to(client.conn, client.exchange)
            .map(|(seq, _)| seq)
            .collect();
        self.counters.unreadable_clients += u64::from(self.drop_failures(&failures) > 0);
    }

    fn note_check(&mut self, facts: &AttemptFacts, now: MonoNs) {
        if facts.phase().is_before_request() {
            self.checks.note(facts.exchange.remote, now);
        }
    }

    /// A single failed connect that only order and time tie to the client, to an address that fails
    /// without any client too: it may as well have been a health check.
    /// NGINX connects in the very call that read the request, and checks nobody's health.
    fn may_be_check(&self, pid: u32, attempts: &[AttemptFacts]) -> bool {
        match attempts {
            [_] if self.proxies.get(&pid) == Some(&ProxyKind::Nginx) => false,
            [only] => {
                is_guess(only)
                    && only.phase().is_before_request()
                    && self
                        .checks
                        .likely(only.exchange.remote, only.exchange.time_ns)
            }
            _ => false,
        }
    }

    /// Of a program that is not known by name the order of a thread's events proves nothing.
    /// Where records were lost, another failure may have come between: the order of those that are
    /// left proves less. So it does where the failure may have been a health check. A link that names
    /// the request itself is not touched by either.
    fn weigh(
        &self,
        draft: &Draft,
        client: &Exchange,
        kind: &ProxyKind,
        attempts: &[AttemptFacts],
    ) -> Confidence {
        let by_name = attempts
            .last()
            .and_then(|attempt| attempt.exchange.link)
            .is_some_and(|link| link.how == LinkHow::SameTarget && link.conn == client.conn);
        let by_order_only = !by_name && draft.tie == Confidence::Strong;
        // The others have timers of their own that connect too.
        let hidden_connect = draft.outcome == Outcome::Masked
            && *kind != ProxyKind::Nginx
            && matches!(attempts, [only] if only.phase().is_before_request());
        let check = self.may_be_check(client.pid, attempts);
        // Its tasks may move from thread to thread, as those of Go do.
        let unordered = matches!(kind, ProxyKind::Other(_)) && !client.has(flags::BACKEND);
        if by_order_only && (self.records_lost || hidden_connect || check || unordered) {
            Confidence::Weak
        } else {
            draft.tie
        }
    }

    fn case(
        &mut self,
        client: &Exchange,
        request: Option<RequestSummary>,
        draft: &Draft,
        attempts: Vec<AttemptFacts>,
    ) -> Option<Case> {
        let tie = self.weigh(draft, client, &self.kind_of(client.pid), &attempts);
        let times = &client.times;
        let (suffix, moment) = match client.cause {
            Cause::Ended => ("-end", times.closed),
            Cause::Status | Cause::Watched | Cause::Sampled | Cause::Unheard => {
                ("", times.response_start)
            }
        };
        let route = Route {
            local: client.local,
            host: request.as_ref().and_then(|request| request.host.clone()),
        };
        if draft.claim && tie >= Confidence::Strong {
            for attempt in &attempts {
                self.failures.note_route(attempt, &route);
            }
        }
        let around = if attempts.is_empty() {
            self.around(client, &route)
        } else {
            Around::default()
        };
        let got = Got {
            // An exchange has one beginning and one end of a response, so this is unique.
            id: format!("{}-{}{suffix}", client.conn, client.exchange),
            time_ns: draft.client_left_ns.or(moment).unwrap_or(client.time_ns),
            status: client.status,
            seen_from: if client.has(flags::BACKEND) {
                SeenFrom::Backend
            } else {
                SeenFrom::Proxy
            },
            pid: client.pid,
            tid: client.tid,
            request_start_ns: times.request_start,
            taken_up: client.link.is_some(),
            upgrade: http::inspect_request(&client.request_head).upgrade,
            around,
            downstream: Downstream {
                client: Some(client.remote),
                local: Some(client.local),
                request,
                start_ns: times.request_start,
                response_bytes: Some(client.response_bytes),
                ttfb_us: between_us(times.request_start, times.response_start),
            },
        };
        self.judged(got, draft, tie, attempts)
    }

    fn kind_of(&self, pid: u32) -> ProxyKind {
        let kind = self.proxies.get(&pid).cloned();
        kind.unwrap_or_else(|| ProxyKind::Other(UNKNOWN_PROXY.to_owned()))
    }

    /// Makes the case of what a client got and the attempts behind it.
    fn judged(
        &mut self,
        got: Got,
        draft: &Draft,
        tie: Confidence,
        mut attempts: Vec<AttemptFacts>,
    ) -> Option<Case> {
        if !self.outcomes.is_empty() && !self.outcomes.contains(&draft.outcome) {
            self.counters.filtered_outcomes += 1;
            return None;
        }
        self.counters.cases += 1;
        let status = got.status.filter(|_| draft.outcome != Outcome::Dropped);
        if got.seen_from == SeenFrom::Proxy {
            for attempt in &mut attempts {
                self.locals.attach(attempt);
                self.icmp.attach(attempt);
                attempt.listen_queue = self.readings.full_queue(
                    attempt.exchange.remote,
                    attempt.start_ns(),
                    attempt.end_ns(),
                );
            }
        }
        let facts = CaseFacts {
            around: got.around,
            seen_from: got.seen_from,
            proxy: self.kind_of(got.pid),
            outcome: draft.outcome,
            status,
            attempts,
            tie,
            client_left_ns: draft.client_left_ns,
            request_start_ns: got.request_start_ns,
            client_bytes: got.downstream.response_bytes,
            hidden_by: draft.hidden_by,
            taken_up: got.taken_up,
            client_upgrade: got.upgrade,
        };
        Some(Case {
            id: got.id,
            time_ns: got.time_ns,
            outcome: draft.outcome,
            status,
            downstream: got.downstream,
            attempts: attempt::build_all(&facts),
            verdict: diagnose::judge(&facts),
            log: None,
            log_more: Vec::new(),
            seen_from: got.seen_from,
            proxy: ProxyRef {
                kind: facts.proxy,
                pid: got.pid,
                tid: got.tid,
            },
        })
    }
}

/// What a client got, by its own record or by a log.
struct Got {
    id: String,
    time_ns: MonoNs,
    status: Option<u16>,
    seen_from: SeenFrom,
    pid: u32,
    tid: u32,
    request_start_ns: Option<MonoNs>,
    taken_up: bool,
    upgrade: Option<String>,
    around: Around,
    downstream: Downstream,
}

/// Is the tie of this failure to its client a guess?
fn is_guess(attempt: &AttemptFacts) -> bool {
    !matches!(attempt.exchange.link, Some(link) if link.how == LinkHow::SameTarget)
}

/// Does this loss counter stand for records or connections that cases are made of?
fn is_record_loss(name: &str, count: u64) -> bool {
    const OF_CASES: [&str; 5] = [
        "ring_upstream",
        "ring_downstream",
        "conn_table",
        // The same in older recordings.
        "connection_table",
        "undecoded_records",
    ];
    count > 0 && OF_CASES.contains(&name)
}

/// Can what this client got not be told at all?
fn is_unreadable(client: &Exchange) -> bool {
    client.has(flags::OPAQUE | flags::TLS | flags::TUNNEL)
        || client.cause != Cause::Ended && client.status.is_none()
}

#[cfg(test)]
mod stories;
