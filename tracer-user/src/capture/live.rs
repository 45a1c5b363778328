//! The event loop of a live capture.

use std::future::pending;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::diagnostics::{self, Stderr};
use super::options::CaptureOptions;
use super::sink::Sink;
use super::targets::Targets;
use crate::decode::decode;
use crate::event::{Input, KernelEvent, Losses, MonoNs, ProcessEvent};
use crate::kernel::loader::Tracer;

/// Lets deadlines of the session pass. A case is on the screen at most this much later than it is
/// known.
const TICK: Duration = Duration::from_millis(50);
/// While nothing happens, ticks are this far apart: they end up in the recording.
const IDLE_TICK: Duration = Duration::from_secs(5);
/// No deadline of the session is longer than this.
const LONGEST_DEADLINE: Duration = Duration::from_secs(125);
/// Counters are put into the session (and the recording) this often, and at the end.
const COUNTERS: Duration = Duration::from_secs(10);
/// Processes are looked for this often, beside the kernel's word.
const LOOK: Duration = Duration::from_secs(2);
/// At the end, records that belong to cases under way are waited for.
const LAST_RECORDS: Duration = Duration::from_millis(150);
/// Records that are taken before other things get their turn.
const BATCH: usize = 4096;

/// Wall clock, ns since the epoch.
pub(super) fn unix_now() -> u64 {
    nanoseconds(ClockId::Realtime)
}

/// Monotonic clock, ns: the clock of the kernel programs (`bpf_ktime_get_ns`).
pub(super) fn mono_now() -> MonoNs {
    nanoseconds(ClockId::Monotonic)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Runs until something ends the capture, and writes the report. True: exit with 1.
pub(super) async fn run(
    options: &CaptureOptions,
    mut tracer: Tracer,
    targets: Targets,
    sink: Sink,
) -> anyhow::Result<bool> {
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
        targets,
        sink,
        undecoded: 0,
        last_event: None,
        last_tick: Instant::now(),
        last_losses: Losses::new(),
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut tick = every(TICK);
    let mut counters = every(COUNTERS);
    let mut look = every(LOOK);
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
            _ = counters.tick() => live.feed(&Input::Backends(live.tracer.backends()))?,
            _ = look.tick() => live.look()?,
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
    sleep(LAST_RECORDS).await;
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

struct Live {
    tracer: Tracer,
    targets: Targets,
    sink: Sink,
    undecoded: u64,
    last_event: Option<Instant>,
    last_tick: Instant,
    last_losses: Losses,
}

impl Live {
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
                Ok(event) => {
                    self.last_event = Some(Instant::now());
                    self.feed(&Input::Kernel(event))?;
                }
                Err(error) => {
                    self.undecoded += 1;
                    if self.undecoded == 1 {
                        eprintln!("why502: warning: a kernel record cannot be read: {error}");
                    }
                }
            }
        }
        Ok(true)
    }

    fn feed(&mut self, input: &Input) -> anyhow::Result<()> {
        self.sink.input(input, mono_now() / 1_000_000_000)
    }

    fn process(&mut self, event: ProcessEvent) -> anyhow::Result<()> {
        let new = self
            .targets
            .follow(&mut self.tracer, event, Instant::now())?;
        for proxy in new {
            self.feed(&Input::Proxy(proxy))?;
        }
        Ok(())
    }

    fn tick(&mut self) -> anyhow::Result<()> {
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
        for proxy in self.targets.look_again(&mut self.tracer)? {
            self.feed(&Input::Proxy(proxy))?;
        }
        self.targets.prune(&mut self.tracer, Instant::now());
        Ok(())
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

    fn finish(mut self) -> anyhow::Result<bool> {
        self.feed(&Input::Backends(self.tracer.backends_at_end()))?;
        self.losses()?;
        self.feed(&Input::End(mono_now()))?;
        // Detach before the report is read, not after.
        drop(self.tracer);
        self.sink.finish()
    }
}
