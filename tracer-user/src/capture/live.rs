//! The event loop of a live capture.

use std::future::pending;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Watching;
use super::diagnostics::{self, Stderr};
use super::follow::Logs;
use super::icmp::Icmp;
use super::in_use::InUse;
use super::locals::{Answer, Locals};
use super::options::{CaptureOptions, LogOption};
use super::queues::Queues;
use super::sink::{Sink, Wish};
use super::standby::{Standby, Verdict};
use super::targets::Targets;
use crate::config::Configs;
use crate::decode::decode;
use crate::discover::Selection;
use crate::event::{
    self, Exchange, Input, KernelEvent, Losses, MonoNs, ProcessEvent, ProxyProcess, Sign,
};
use crate::kernel::loader::Tracer;

/// Lets deadlines of the session pass. A case is on the screen at most this much later than it is
/// known.
const TICK: Duration = Duration::from_millis(50);
/// While nothing happens, ticks are this far apart: they end up in the recording.
const IDLE_TICK: Duration = Duration::from_secs(5);
/// No deadline of the session is longer than this.
pub(crate) const LONGEST_DEADLINE: Duration = Duration::from_secs(125);
/// Counters are put into the session (and the recording) this often, and at the end.
const COUNTERS: Duration = Duration::from_secs(10);
/// Processes are looked for this often, beside the kernel's word.
const LOOK: Duration = Duration::from_secs(2);
/// Accept queues of local backends are looked at this often.
const QUEUES: Duration = Duration::from_millis(200);
/// Logs are looked at this often.
const LOGS: Duration = Duration::from_millis(100);
/// At the end, lines that are about to be written are waited for.
const LAST_LINES: Duration = Duration::from_millis(500);
/// At the end, records that belong to cases under way are waited for.
const LAST_RECORDS: Duration = Duration::from_millis(150);
/// Records that are taken before other things get their turn.
const BATCH: usize = 4096;

/// Wall clock, ns since the epoch.
pub(crate) fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Monotonic clock, ns: the clock of the kernel programs (`bpf_ktime_get_ns`).
pub(crate) fn mono_now() -> MonoNs {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Runs until something ends the capture, and gives what the sink makes of it.
pub(crate) async fn run<S: Sink>(
    options: &CaptureOptions,
    watching: Watching,
    sink: S,
) -> anyhow::Result<S::Done> {
    let Watching {
        mut tracer,
        watched,
        first: _,
    } = watching;
    // First of all: who reads that it is attached may end it at once, and wants the report.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    super::memory::give_back();
    let ring = tracer.take_ring().context("the ring buffer is gone")?;
    let mut logger = options
        .verbose
        .then(|| diagnostics::open(&mut tracer))
        .transpose()?;
    // SAFETY: the ring buffer owns its descriptor for as long as it lives, and never changes it.
    let mut ready =
        unsafe { AsyncFd::register(Ring(ring)) }.context("cannot wait for the ring buffer")?;
    let mut live = Live {
        tracer,
        watched,
        remote_view: options.remote_view,
        standby: options.standby.map(Standby::new),
        unread: Vec::new(),
        sink,
        undecoded: 0,
        last_event: None,
        last_tick: Instant::now(),
        last_icmp: Instant::now(),
        last_losses: Losses::new(),
    };
    let mut tick = every(TICK);
    let mut counters = every(COUNTERS);
    let mut look = every(LOOK);
    let mut queues = every(QUEUES);
    let mut logs = every(LOGS);
    let mut child = spawn(options)?;
    let end = async {
        match options.duration {
            Some(duration) => sleep(duration).await,
            None => pending().await,
        }
    };
    tokio::pin!(end);

    loop {
        tokio::select! {
            guard = ready.readable_mut() => {
                let mut guard = guard?;
                let more = live.drain(&mut guard.get_inner_mut().0, BATCH)?;
                if !more {
                    guard.clear_ready();
                }
            }
            _ = tick.tick() => {
                live.tick()?;
                flush(&mut logger);
            }
            _ = counters.tick() => live.count()?,
            _ = look.tick() => live.look()?,
            _ = queues.tick() => live.queues()?,
            _ = logs.tick(), if !live.watched.logs.is_empty() => live.logs()?,
            Some(answer) = live.watched.locals.answer() => live.local(answer)?,
            wish = live.sink.wish() => match wish {
                Wish::Nothing => {}
                Wish::Watch { selection, logs } => live.watch(selection, &logs)?,
                Wish::Count => live.count()?,
            },
            () = &mut end => break,
            status = ended(&mut child) => {
                let status = status?;
                eprintln!("why502: the command ended: {status}.");
                break;
            }
            () = asked_to_end(&mut interrupt, &mut terminate) => break,
        }
        if options
            .count
            .is_some_and(|count| live.sink.cases() >= count)
        {
            break;
        }
    }
    sleep(if live.watched.logs.is_empty() {
        LAST_RECORDS
    } else {
        LAST_LINES
    })
    .await;
    live.drain(&mut ready.get_mut().0, usize::MAX)?;
    flush(&mut logger);
    live.finish()
}

/// Wakes on every poll of the ring buffer's descriptor.
struct Ring(RingBuf<MapData>);

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn asked_to_end(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Starts the command of `-- COMMAND`. Its standard output goes to our standard error: ours carries
/// the report.
fn spawn(options: &CaptureOptions) -> anyhow::Result<Option<Child>> {
    let [program, arguments @ ..] = options.command.as_slice() else {
        return Ok(None);
    };
    let stderr: OwnedFd = rustix::io::dup(rustix::stdio::stderr())?;
    let child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::from(stderr))
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(Some(child))
}

async fn ended(child: &mut Option<Child>) -> std::io::Result<std::process::ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => pending().await,
    }
}

fn flush(logger: &mut Option<EbpfLogger<Stderr>>) {
    if let Some(logger) = logger {
        logger.flush();
    }
}

/// What is looked at beside the records of the kernel half.
pub(super) struct Watched {
    pub(super) targets: Targets,
    pub(super) locals: Locals,
    pub(super) icmp: Icmp,
    pub(super) queues: Queues,
    pub(super) in_use: InUse,
    pub(super) logs: Logs,
    pub(super) configs: Configs,
}

struct Live<S> {
    tracer: Tracer,
    watched: Watched,
    remote_view: bool,
    standby: Option<Standby>,
    /// Processes whose configuration was not read yet.
    unread: Vec<ProxyProcess>,
    sink: S,
    undecoded: u64,
    last_event: Option<Instant>,
    last_tick: Instant,
    last_icmp: Instant,
    last_losses: Losses,
}

impl<S: Sink> Live<S> {
    /// Takes at most `most` records; true if there may be more.
    fn drain(&mut self, ring: &mut RingBuf<MapData>, most: usize) -> anyhow::Result<bool> {
        for _ in 0..most {
            let Some(record) = ring.next() else {
                return Ok(false);
            };
            let event = decode(&record);
            drop(record);
            match event {
                Ok(KernelEvent::Process(event)) => self.process(event)?,
                Ok(KernelEvent::Backend(backend)) => self.watched.locals.seen(backend),
                Ok(KernelEvent::Dns(message)) => {
                    self.feed(&Input::Kernel(KernelEvent::Dns(message)))?;
                }
                Ok(KernelEvent::Exchange(exchange)) => self.exchange(exchange)?,
                Ok(KernelEvent::Sign(sign)) => self.sign(Sign::Response {
                    status: sign.status,
                    client: sign.client,
                })?,
                Err(error) => {
                    self.undecoded += 1;
                    if self.undecoded == 1 {
                        self.sink
                            .warn(format!("a kernel record cannot be read: {error}"));
                    }
                }
            }
        }
        Ok(true)
    }

    fn feed(&mut self, input: &Input) -> anyhow::Result<()> {
        self.sink.input(input, mono_now() / 1_000_000_000)
    }

    /// Something fails: it is looked at from now on.
    fn sign(&mut self, sign: Sign) -> anyhow::Result<()> {
        let Some(standby) = &mut self.standby else {
            return Ok(());
        };
        if !standby.stands_by() {
            standby.failed(Instant::now());
            return Ok(());
        }
        self.tracer.wake()?;
        let time_ns = mono_now();
        standby.woken(time_ns, Instant::now());
        self.feed(&Input::Standby(event::Standby {
            time_ns,
            woken_by: Some(sign),
        }))?;
        self.tracer.end_standby();
        Ok(())
    }

    /// Stands by again once nothing has failed for long enough.
    fn rest(&mut self) -> anyhow::Result<()> {
        let Some(standby) = &mut self.standby else {
            return Ok(());
        };
        if !standby.is_due(Instant::now()) {
            return Ok(());
        }
        self.tracer.stand_by()?;
        standby.rests();
        self.feed(&Input::Standby(event::Standby {
            time_ns: mono_now(),
            woken_by: None,
        }))
    }

    fn exchange(&mut self, mut exchange: Box<Exchange>) -> anyhow::Result<()> {
        let verdict = match &mut self.standby {
            Some(standby) => standby.judge(&exchange, Instant::now()),
            None => Verdict::Take,
        };
        if verdict != Verdict::Take {
            self.sign(Sign::Connection {
                remote: exchange.remote,
            })?;
        }
        if verdict == Verdict::Sign {
            return Ok(());
        }
        self.last_event = Some(Instant::now());
        if self.remote_view {
            exchange.reset_received_reason = None;
        }
        let now = Instant::now();
        if now.duration_since(self.last_icmp) >= TICK {
            self.icmp()?;
        }
        let in_use = self.watched.in_use.look(&self.tracer, &exchange, now);
        self.feed(&Input::Kernel(KernelEvent::Exchange(exchange)))?;
        in_use.map_or(Ok(()), |in_use| self.feed(&Input::UpstreamsInUse(in_use)))
    }

    fn process(&mut self, event: ProcessEvent) -> anyhow::Result<()> {
        let watched = &mut self.watched;
        let new = watched
            .targets
            .follow(&mut self.tracer, event, Instant::now())?;
        let local = watched.locals.follow(event, Instant::now());
        for proxy in new {
            self.proxy(proxy)?;
        }
        if let Some(backend) = local {
            self.feed(&Input::LocalBackend(backend))?;
        }
        if matches!(
            event,
            ProcessEvent::Exit { .. } | ProcessEvent::OomVictim { .. }
        ) {
            self.feed(&Input::Kernel(KernelEvent::Process(event)))?;
        }
        Ok(())
    }

    /// An ICMP error has to be told before the case that it led to, and a client's record waits 100 ms
    /// for its backends': whatever may end that wait comes behind a look that is at most a [`TICK`] old.
    fn icmp(&mut self) -> anyhow::Result<()> {
        self.last_icmp = Instant::now();
        for error in self.watched.icmp.read(mono_now()) {
            self.feed(&Input::Icmp(error))?;
        }
        Ok(())
    }

    fn queues(&mut self) -> anyhow::Result<()> {
        let watched = &mut self.watched;
        let mut found = Vec::new();
        for (thread, addrs) in watched.locals.places() {
            found.extend(
                watched
                    .queues
                    .look(Path::new("/proc"), thread, addrs, mono_now()),
            );
        }
        for queue in found {
            self.feed(&Input::ListenQueue(queue))?;
        }
        let Watched {
            locals, targets, ..
        } = &mut self.watched;
        locals.look_again(targets, Instant::now());
        Ok(())
    }

    fn logs(&mut self) -> anyhow::Result<()> {
        let lines = self.watched.logs.look(mono_now(), unix_now());
        if !lines.is_empty() {
            self.last_event = Some(Instant::now());
        }
        for line in lines {
            self.sign(Sign::Log)?;
            self.feed(&Input::Log(line))?;
        }
        Ok(())
    }

    /// What is counted in the kernel, and of the logs.
    fn count(&mut self) -> anyhow::Result<()> {
        self.log_sources()?;
        self.feed(&Input::Backends(self.tracer.backends()))
    }

    fn log_sources(&mut self) -> anyhow::Result<()> {
        let sources = self.watched.logs.sources();
        match sources.is_empty() {
            true => Ok(()),
            false => self.feed(&Input::LogSources(sources)),
        }
    }

    fn local(&mut self, answer: Answer) -> anyhow::Result<()> {
        let Watched {
            locals, targets, ..
        } = &mut self.watched;
        match locals.found(&mut self.tracer, targets, answer)? {
            Some(backend) => self.feed(&Input::LocalBackend(backend)),
            None => Ok(()),
        }
    }

    fn proxy(&mut self, proxy: ProxyProcess) -> anyhow::Result<()> {
        self.unread.push(proxy.clone());
        self.feed(&Input::Proxy(proxy))
    }

    /// Reads the configurations of processes that are new since the last time: a reload starts some.
    fn config(&mut self) -> anyhow::Result<()> {
        let unread = std::mem::take(&mut self.unread);
        match self.watched.configs.look(&unread) {
            Some(configs) => self.feed(&Input::Config(configs)),
            None => Ok(()),
        }
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        self.icmp()?;
        self.rest()?;
        let busy = self
            .last_event
            .is_some_and(|at| at.elapsed() < LONGEST_DEADLINE);
        if busy {
            self.losses()?;
        }
        if busy || self.last_tick.elapsed() >= IDLE_TICK {
            self.last_tick = Instant::now();
            self.feed(&Input::Tick(mono_now()))?;
        }
        Ok(())
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let new = self.watched.targets.look_again(&mut self.tracer)?;
        for proxy in new {
            self.proxy(proxy)?;
        }
        self.config()?;
        self.watched.targets.prune(&mut self.tracer, Instant::now());
        Ok(())
    }

    /// Other processes and logs are to be watched from now on.
    fn watch(&mut self, selection: Selection, logs: &[LogOption]) -> anyhow::Result<()> {
        self.watched.logs.follow_only(logs);
        self.watched.targets.select(selection, &mut self.tracer);
        self.look()
    }

    /// Losses that are new since the last look: they bear on the cases that follow.
    fn losses(&mut self) -> anyhow::Result<()> {
        let mut losses = self.tracer.losses();
        if self.undecoded > 0 {
            losses.push(("undecoded_records".to_owned(), self.undecoded));
        }
        if losses != self.last_losses {
            self.last_losses.clone_from(&losses);
            self.feed(&Input::Losses(losses))?;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<S::Done> {
        self.icmp()?;
        self.config()?;
        self.logs()?;
        self.log_sources()?;
        self.feed(&Input::Backends(self.tracer.backends_at_end()))?;
        self.losses()?;
        self.feed(&Input::End(mono_now()))?;
        // Detach before the report is read, not after.
        drop(self.tracer);
        self.sink.finish()
    }
}
