//! The sink of the agent: every input goes into the look-back and the session, and what the session
//! finds goes to the exporters. Signals and orders come in here, too.
//!
//! A session lives for a day or so: its tables are bounded, but what they hold grows stale, and after the
//! wall clock was set its times would be wrong. At a quiet moment a new one begins where the old one was.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::burst::Burst;
use super::config::Config;
use super::control::Order;
use super::export::Exporter;
use super::folder::{Folder, Written};
use super::held::held;
use super::listen::{Listening, Pages, listen};
use super::log::Tap;
use super::lookback::{Limits, LookBack, State};
use super::notify::Notify;
use super::renewal::{self, Moments};
use crate::capture::live::{mono_now, unix_now};
use crate::capture::{Sink, Wish};
use crate::case::{Case, Outcome};
use crate::event::{Input, KernelEvent, Losses, MonoNs, SessionStart, Standby};
use crate::session::Session;

const SECOND: u64 = 1_000_000_000;
/// What follows a burst at once is in its snapshot, too.
const AFTER_BURST_S: u64 = 5;
/// The service manager is told how things are this often.
const STATUS_S: u64 = 10;

/// What the agent works with beside the event loop.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) config_path: PathBuf,
    pub(super) notify: Notify,
    pub(super) tap: Tap,
    pub(super) pages: Arc<Pages>,
    pub(super) listening: Option<Listening>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) exporters: Vec<Box<dyn Exporter>>,
}

/// The agent's end of the event loop.
pub(super) struct Keeper {
    parts: Parts,
    session: Session,
    lookback: LookBack,
    /// State of now, for a new session.
    state: State,
    start: SessionStart,
    /// Loss counters of the kernel, and what they were when the session began.
    losses: Losses,
    losses_before: Losses,
    now: MonoNs,
    began: MonoNs,
    moments: Moments,
    cases: u64,
    burst: Burst,
    burst_due_s: Option<u64>,
    last_second: u64,
    last_status: String,
    /// A snapshot that waits for the counters of now.
    wanted: Option<(&'static str, Option<Order>)>,
    writing: Option<Writing>,
    written: (mpsc::UnboundedSender<Done>, mpsc::UnboundedReceiver<Done>),
    hangup: Signal,
    user: Signal,
    watchdog: Option<Interval>,
}

/// A snapshot that is being written.
struct Writing {
    thread: JoinHandle<()>,
    reason: &'static str,
    order: Option<Order>,
}

type Done = Result<Written, String>;

impl Keeper {
    /// To be called within the runtime.
    pub(super) fn new(parts: Parts) -> anyhow::Result<Self> {
        let now = mono_now();
        let watchdog = parts.notify.watchdog.map(|period| {
            let mut interval = interval(period.max(Duration::from_millis(10)));
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Ok(Self {
            session: Session::new(),
            lookback: LookBack::new(limits(&parts.config)),
            state: State::default(),
            start: SessionStart {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                host: String::new(),
                kernel: String::new(),
                started_unix_ns: unix_now(),
                started_mono_ns: now,
                statuses: Vec::new(),
                outcomes: Vec::new(),
                role: crate::event::HostRole::Proxy,
                reset_reasons: Vec::new(),
                utc_offset_s: 0,
                logs: false,
                notes: Vec::new(),
            },
            losses: Losses::new(),
            losses_before: Losses::new(),
            now,
            began: now,
            moments: Moments {
                session_began: now,
                last_exchange: now,
                stepped: None,
            },
            cases: 0,
            burst: Burst::default(),
            burst_due_s: None,
            last_second: 0,
            last_status: String::new(),
            wanted: None,
            writing: None,
            written: mpsc::unbounded_channel(),
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
            watchdog,
            parts,
        })
    }

    /// Work begins.
    pub(super) fn ready(&mut self) {
        self.vitals();
        self.parts.notify.ready();
        self.status();
    }

    fn take(&mut self, input: &Input) {
        self.lookback.push(input, self.now);
        if State::is_set_by(input) {
            self.state.apply(input, self.now);
        }
        for exporter in &mut self.parts.exporters {
            exporter.input(input);
        }
        let cases = self.session.input(input);
        self.found(&cases);
    }

    fn found(&mut self, cases: &[Case]) {
        for case in cases {
            self.cases += 1;
            let outcome = case.outcome.name();
            *held(&self.parts.pages.vitals)
                .cases
                .entry(outcome)
                .or_default() += 1;
            for exporter in &mut self.parts.exporters {
                exporter.case(&self.session, case);
            }
            tracing::debug!(
                id = case.id,
                rule = case.verdict.rule,
                outcome = case.outcome.name(),
                "case"
            );
            let config = &self.parts.config.snapshot;
            let second = self.now / SECOND;
            // A retry has hidden the others.
            let counts = case.outcome != Outcome::Masked;
            if counts
                && self.burst.failure(
                    second,
                    config.burst_failures,
                    config.burst_seconds,
                    config.burst_pause_seconds,
                )
            {
                tracing::info!(
                    "{} failures within {} s: a snapshot follows",
                    config.burst_failures,
                    config.burst_seconds
                );
                self.burst_due_s = Some(second + AFTER_BURST_S);
            }
        }
    }

    fn stands_by(&self, standby: &Standby) {
        let mut vitals = held(&self.parts.pages.vitals);
        vitals.tracing = standby.woken_by.is_some();
        if vitals.tracing {
            vitals.wakes += 1;
            tracing::warn!("{standby}");
        } else {
            tracing::info!("{standby}");
        }
    }

    /// The counters since the session began.
    fn losses_since(&self) -> Losses {
        let before = |name: &str| {
            let found = self.losses_before.iter().find(|(other, _)| other == name);
            found.map_or(0, |(_, count)| *count)
        };
        let since = self.losses.iter().map(|(name, count)| {
            let count = count.saturating_sub(before(name));
            (name.clone(), count)
        });
        since.filter(|(_, count)| *count > 0).collect()
    }

    /// Once a second.
    fn second(&mut self, second: u64) {
        if self.burst_due_s.is_some_and(|due| due <= second) {
            self.burst_due_s = None;
            self.snapshot("burst", None);
        }
        for exporter in &mut self.parts.exporters {
            exporter.tick();
        }
        self.look_at_the_clock();
        if self.moments.is_due(self.now) {
            self.renew();
        }
        self.vitals();
        if second.is_multiple_of(STATUS_S) {
            self.status();
            let left_out = self.parts.tap.take_left_out();
            if left_out > 0 {
                tracing::info!("{left_out} warnings that repeat others were left out");
            }
        }
    }

    fn look_at_the_clock(&mut self) {
        let was = (self.start.started_unix_ns, self.start.started_mono_ns);
        let Some(step) = renewal::step(was, (unix_now(), mono_now())) else {
            return;
        };
        tracing::warn!(
            "the wall clock was set by {:+.3} s: times from now on go by the new one",
            step as f64 / 1e9
        );
        held(&self.parts.pages.vitals).clock_steps += 1;
        self.moments.stepped = Some(self.now);
        self.set_clock();
    }

    /// The start as if its wall clock had been right by the one of now.
    fn set_clock(&mut self) {
        let age = mono_now().saturating_sub(self.start.started_mono_ns);
        self.start.started_unix_ns = unix_now().saturating_sub(age);
    }

    /// A new session begins where the old one was.
    fn renew(&mut self) {
        let cases = self.session.input(&Input::End(self.now));
        self.found(&cases);
        self.moments.stepped = None;
        self.moments.session_began = self.now;
        self.losses_before.clone_from(&self.losses);
        self.state.no_losses();
        self.lookback.push(&Input::Losses(Losses::new()), self.now);
        self.start.started_mono_ns = mono_now();
        self.start.started_unix_ns = unix_now();
        self.session = Session::new();
        let start = Input::Start(self.start.clone());
        // Of the times from now on, and of losses that are counted from zero.
        for exporter in &mut self.parts.exporters {
            exporter.input(&start);
        }
        for input in [start].iter().chain(&self.state.inputs()) {
            self.session.input(input);
        }
        held(&self.parts.pages.vitals).sessions += 1;
    }

    fn vitals(&mut self) {
        let mut vitals = held(&self.parts.pages.vitals);
        let uptime = self.now.saturating_sub(self.began);
        vitals.uptime_s = uptime as f64 / 1e9;
        if vitals.started_unix_s == 0.0 {
            vitals.started_unix_s = unix_now() as f64 / 1e9;
        }
        vitals.traced = self.state.traced() as u64;
        vitals.losses.clone_from(&self.losses);
        vitals.lookback_bytes = self.lookback.bytes() as u64;
        vitals.lookback_limit_bytes = self.parts.config.lookback.bytes;
        let reach = self
            .lookback
            .first()
            .map_or(0, |first| self.now.saturating_sub(first));
        vitals.lookback_seconds = reach as f64 / 1e9;
        vitals.lookback_refused = self.lookback.refused();
    }

    fn status(&mut self) {
        let status = match self.state.traced() {
            0 => format!("No proxy runs yet; {} failures so far", self.cases),
            n => format!("Traces {n} processes; {} failures so far", self.cases),
        };
        if status != self.last_status {
            self.parts.notify.status(&status);
            self.last_status = status;
        }
    }

    /// Writes the look-back as soon as the counters of now are there.
    fn snapshot(&mut self, reason: &'static str, order: Option<Order>) {
        if self.writing.is_some() || self.wanted.is_some() {
            let why = "one is being written already; ask again in a moment";
            tracing::info!("no snapshot ({reason}): {why}");
            if let Some(order) = order {
                let _ = order.send(Err(why.to_owned()));
            }
            return;
        }
        self.wanted = Some((reason, order));
    }

    /// Writes it, in a thread of its own.
    fn write(&mut self, reason: &'static str, order: Option<Order>) {
        self.now = self.now.max(mono_now());
        let snapshot = self.lookback.snapshot(&self.start, self.now);
        let folder = Folder::new(&self.parts.config.snapshot);
        let done = self.written.0.clone();
        let unix_ns = unix_now();
        let write = move || {
            let written = folder.write(unix_ns, reason, |out| snapshot.write(out));
            // Nobody is left to be told when the agent has ended.
            let _ = done.send(written.map_err(|error| error.to_string()));
        };
        let started = std::thread::Builder::new()
            .name("snapshot".into())
            .spawn(write);
        match started {
            Ok(thread) => {
                self.writing = Some(Writing {
                    thread,
                    reason,
                    order,
                });
            }
            Err(error) => self.told(reason, order, Err(error.to_string())),
        }
    }

    fn snapshot_done(&mut self, done: Done) {
        if let Some(writing) = self.writing.take() {
            // It has just said that it is at its end.
            let _ = writing.thread.join();
            self.told(writing.reason, writing.order, done);
        }
    }

    fn told(&mut self, reason: &'static str, order: Option<Order>, done: Done) {
        let result = match &done {
            Ok(written) => {
                tracing::info!(
                    path = %written.path.display(),
                    bytes = written.bytes,
                    reason,
                    deleted = written.deleted.len(),
                    "snapshot written; read it with why502 report"
                );
                "written"
            }
            Err(why) => {
                tracing::error!(
                    directory = %self.parts.config.snapshot.directory.display(),
                    reason,
                    "no snapshot could be written: {why}. The agent goes on"
                );
                "failed"
            }
        };
        let mut vitals = held(&self.parts.pages.vitals);
        *vitals.snapshots.entry((reason, result)).or_default() += 1;
        drop(vitals);
        if let Some(order) = order {
            let _ = order.send(done.map(|written| written.path));
        }
    }

    /// Reads the configuration again. A bad one changes nothing.
    fn reload(&mut self) -> Wish {
        self.parts.notify.reloading(mono_now());
        let wish = match super::read_config(&self.parts.config_path) {
            Ok(config) => {
                self.reloaded("ok");
                self.adopt(config)
            }
            Err(error) => {
                self.reloaded("failed");
                for line in format!("{error:#}").lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("the configuration was not changed");
                Wish::Nothing
            }
        };
        self.parts.notify.ready();
        wish
    }

    fn reloaded(&self, result: &'static str) {
        let mut vitals = held(&self.parts.pages.vitals);
        *vitals.reloads.entry(result).or_default() += 1;
    }

    fn adopt(&mut self, mut config: Config) -> Wish {
        let old = self.parts.config.clone();
        for key in keep_what_stays(&mut config, &old) {
            tracing::warn!("{key} is changed by a restart only: systemctl restart why502");
        }
        if config.metrics_listen != old.metrics_listen {
            match config
                .metrics_listen
                .map(|addr| listen(addr, Arc::clone(&self.parts.pages)))
            {
                None => self.parts.listening = None,
                Some(Ok(listening)) => {
                    tracing::info!("metrics at http://{}/metrics", listening.addr);
                    self.parts.listening = Some(listening);
                }
                Some(Err(error)) => {
                    tracing::error!("{error:#}; it stays where it was");
                    config.metrics_listen = old.metrics_listen;
                }
            }
        }
        self.parts.tap.set_level(config.log_output.level);
        self.lookback.set_limits(limits(&config), self.now);
        let outcomes: Vec<String> = config
            .capture
            .outcomes
            .iter()
            .map(|outcome| outcome.name().to_owned())
            .collect();
        let logs = !config.logs.is_empty();
        if outcomes != self.start.outcomes || logs != self.start.logs {
            self.start.outcomes = outcomes;
            self.start.logs = logs;
            self.renew();
        }
        tracing::info!("the configuration was read again");
        let options = config.capture_options();
        self.parts.config = config;
        Wish::Watch {
            selection: options.selection,
            logs: options.logs,
        }
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        window_ns: config.lookback.minutes * 60 * SECOND,
        bytes: usize::try_from(config.lookback.bytes).unwrap_or(usize::MAX),
    }
}

/// Puts back what cannot change while the agent runs, and names it.
fn keep_what_stays(config: &mut Config, old: &Config) -> Vec<&'static str> {
    let mut kept = Vec::new();
    macro_rules! stays {
        ($($field:ident).+, $name:literal) => {
            if config.$($field).+ != old.$($field).+ {
                config.$($field).+ = old.$($field).+.clone();
                kept.push($name);
            }
        };
    }
    stays!(runtime_directory, "runtime_directory");
    stays!(capture.role, "role of [capture]");
    stays!(capture.statuses, "statuses of [capture]");
    stays!(capture.snaplen, "snaplen of [capture]");
    stays!(capture.sample_every, "sample of [capture]");
    stays!(capture.standby_seconds, "standby_seconds of [capture]");
    stays!(capture.ring_bytes, "ring_bytes of [capture]");
    stays!(capture.max_connections, "max_connections of [capture]");
    stays!(capture.types, "btf of [capture]");
    stays!(export, "[export]");
    stays!(log_output.format, "format of [log_output]");
    kept
}

impl Sink for Keeper {
    type Done = ();

    fn input(&mut self, input: &Input, second: u64) -> anyhow::Result<()> {
        self.now = self.now.max(input.moment().unwrap_or(0));
        match input {
            Input::Start(start) => {
                self.start = start.clone();
                self.take(input);
            }
            Input::Losses(losses) => {
                self.losses.clone_from(losses);
                self.take(&Input::Losses(self.losses_since()));
            }
            Input::Standby(standby) => {
                self.stands_by(standby);
                self.take(input);
            }
            Input::Kernel(KernelEvent::Exchange(_)) => {
                self.moments.last_exchange = self.now;
                self.take(input);
            }
            Input::Backends(_) => {
                self.take(input);
                if let Some((reason, order)) = self.wanted.take() {
                    self.write(reason, order);
                }
            }
            _ => self.take(input),
        }
        if second > self.last_second {
            self.last_second = second;
            self.second(second);
        }
        Ok(())
    }

    fn warn(&mut self, warning: String) {
        tracing::warn!("{warning}");
    }

    fn cases(&self) -> u64 {
        self.cases
    }

    async fn wish(&mut self) -> Wish {
        if self.wanted.is_some() {
            return Wish::Count;
        }
        let watchdog = async {
            match &mut self.watchdog {
                Some(interval) => interval.tick().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = watchdog => self.parts.notify.alive(),
            Some(()) = self.hangup.recv() => return self.reload(),
            Some(()) = self.user.recv() => self.snapshot("signal", None),
            Some(order) = self.parts.orders.recv() => self.snapshot("asked", Some(order)),
            Some(done) = self.written.1.recv() => self.snapshot_done(done),
        }
        Wish::Nothing
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.parts.notify.stopping();
        let cases = self.session.finish();
        self.found(&cases);
        if let Some(writing) = self.writing.take() {
            let _ = writing.thread.join();
            if let Ok(done) = self.written.1.try_recv() {
                self.told(writing.reason, writing.order, done);
            }
        }
        for exporter in &mut self.parts.exporters {
            exporter.finish();
        }
        tracing::info!("ended after {} failures", self.cases);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::export::{Counts, Shared};
    use crate::export::prometheus;
    use crate::report::fixture;

    #[test]
    fn exporters_hear_of_a_new_session() {
        let runtime = crate::capture::runtime().unwrap();
        let _inside = runtime.enter();
        let shared = Shared::default();
        let mut keeper = Keeper::new(Parts {
            config: Config::default(),
            config_path: PathBuf::new(),
            notify: Notify::default(),
            tap: Tap::default(),
            pages: Arc::default(),
            listening: None,
            orders: mpsc::channel(1).1,
            exporters: vec![Box::new(Counts::new(Arc::clone(&shared)))],
        })
        .unwrap();
        // The kernel counts on, whatever a session does.
        let lost = |count| Input::Losses(vec![("ring".into(), count)]);
        keeper.input(&Input::Start(fixture::start()), 0).unwrap();
        keeper.input(&lost(2), 0).unwrap();
        keeper.renew();
        keeper.input(&lost(5), 0).unwrap();
        keeper.renew();
        keeper.input(&lost(5), 0).unwrap();
        keeper.input(&lost(6), 0).unwrap();
        let families = held(&shared).families();
        let text = prometheus::text(&families, prometheus::Exposition::Classic);
        assert!(
            text.contains("why502_losses_total{kind=\"ring\"} 6\n"),
            "{text}"
        );
    }
}
