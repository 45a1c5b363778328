//! The `capture` command: loader, session and reports, wired together.

mod diagnostics;
mod export;
mod follow;
mod icmp;
mod in_use;
pub(crate) mod live;
mod locals;
mod memory;
pub mod options;
mod queues;
mod sink;
mod standby;
mod targets;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;

use self::export::Export;
use self::follow::Logs;
use self::icmp::Icmp;
use self::in_use::InUse;
use self::locals::Locals;
use self::options::CaptureOptions;
use self::queues::Queues;
use self::sink::Report;
pub(crate) use self::sink::{Sink, Wish};
use self::targets::{Targets, namespaces};
use crate::config::Configs;
use crate::event::{Input, ProxyProcess, SessionStart};
use crate::kernel::loader::{Settings, Tracer};
use crate::kernel::preflight::Preflight;
use crate::recording::Recorder;

/// Traces until something ends the capture, and reports.
pub fn run(options: CaptureOptions) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let ready = Ready::check(&options)?;
    let recorder = options
        .write
        .as_deref()
        .map(|path| {
            Recorder::create(path)
                .with_context(|| format!("cannot write the recording {}", path.display()))
        })
        .transpose()?;
    let export = Export::start(&options.exports)?;
    let mut warn = |warning: String| eprintln!("why502: warning: {warning}");
    let attached = ready.attach(&options, &mut warn)?;
    let watching = attached.watch(&options);
    greet(&options, &watching.watched.targets, began);
    let mut sink = Report::new(&options, recorder, export);
    for input in &watching.first {
        sink.input(input, 0)?;
    }
    let failed = runtime()?.block_on(live::run(&options, watching, sink))?;
    Ok(ExitCode::from(u8::from(failed)))
}

/// The event loop's runtime: one thread.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")
}

/// This machine can be traced.
pub(crate) struct Ready {
    preflight: Preflight,
    notes: Vec<String>,
}

impl Ready {
    /// Fails with what stands in the way.
    pub(crate) fn check(options: &CaptureOptions) -> anyhow::Result<Self> {
        let preflight = Preflight::look(&options.types);
        let problems = preflight.check()?;
        let notes = problems
            .iter()
            .map(|problem| problem.what.clone())
            .collect();
        Ok(Self { preflight, notes })
    }

    /// Loads and attaches the programs, and opens what needs rights.
    pub(crate) fn attach(
        self,
        options: &CaptureOptions,
        warn: &mut dyn FnMut(String),
    ) -> anyhow::Result<Attached> {
        let Self {
            preflight,
            mut notes,
        } = self;
        let mut tracer = Tracer::load(&settings(options))?;
        let mut targets = Targets::new(options.selection.clone(), options.role);
        let mut proxies = targets.look(&mut tracer)?;
        tracer.attach()?;
        if options.standby.is_some() {
            tracer.stand_by()?;
        }
        notes.extend(
            tracer
                .refused_hooks()
                .iter()
                .map(|hook| format!("the kernel refused the hook {hook}")),
        );
        let mut icmp = Icmp::default();
        let proc = Path::new("/proc");
        let mut places = namespaces(proc, &targets.pids());
        if places.is_empty() {
            // A proxy that starts later is most likely where we are.
            places = namespaces(proc, &[std::process::id()]);
        }
        for (_, namespace) in places {
            if let Err(error) = icmp.watch(&namespace) {
                notes.push(format!(
                    "ICMP errors are not seen (raw sockets: {error}): a path MTU that shrinks is \
                     told by retransmissions alone"
                ));
                break;
            }
        }
        let utc_offset_s = utc_offset_s();
        let logs = Logs::new(&options.logs, utc_offset_s);
        for (path, trouble) in logs.troubles() {
            warn(format!(
                "the log {path} cannot be read yet ({trouble}); waiting for it"
            ));
        }
        let start = start(options, &preflight, utc_offset_s, notes);
        if let Err(error) = targets.adopt(&mut tracer) {
            warn(format!(
                "connections that are open now are not known: {error}"
            ));
        }
        // What began between the first look and the attachment.
        proxies.extend(targets.look_again(&mut tracer)?);
        Ok(Attached {
            tracer,
            targets,
            proxies,
            icmp,
            logs,
            start,
        })
    }
}

/// The programs are attached; nothing was begun that would keep rights which are dropped now.
pub(crate) struct Attached {
    tracer: Tracer,
    targets: Targets,
    proxies: Vec<ProxyProcess>,
    icmp: Icmp,
    logs: Logs,
    start: SessionStart,
}

impl Attached {
    /// The programs and their maps.
    pub(crate) fn tracer(&mut self) -> &mut Tracer {
        &mut self.tracer
    }

    /// Which processes are traced, in words; `None`: no one yet.
    pub(crate) fn summary(&self) -> Option<String> {
        (!self.targets.is_empty()).then(|| self.targets.summary())
    }

    /// Begins to look at everything beside the kernel's records.
    pub(crate) fn watch(self, options: &CaptureOptions) -> Watching {
        let mut locals = Locals::new(options.local_backends);
        locals.look(&self.targets);
        let mut configs = Configs::new("/proc");
        let config = configs.look(&self.proxies);
        let mut first = vec![Input::Start(self.start)];
        first.extend(self.proxies.into_iter().map(Input::Proxy));
        first.extend(config.map(Input::Config));
        if options.standby.is_some() {
            first.push(Input::Standby(crate::event::Standby {
                time_ns: live::mono_now(),
                woken_by: None,
            }));
        }
        Watching {
            tracer: self.tracer,
            watched: live::Watched {
                targets: self.targets,
                locals,
                icmp: self.icmp,
                queues: Queues::default(),
                in_use: InUse::default(),
                logs: self.logs,
                configs,
            },
            first,
        }
    }
}

/// Everything that the event loop works with.
pub(crate) struct Watching {
    tracer: Tracer,
    watched: live::Watched,
    /// The first inputs of the session.
    pub(crate) first: Vec<Input>,
}

fn settings(options: &CaptureOptions) -> Settings {
    Settings {
        snaplen: u32::from(options.snaplen),
        sample_every: options.sample_every,
        standby: options.standby.map(|_| options.role),
        verbose: options.verbose,
        // 499 stands for "the client gave up" and is never on the wire.
        statuses: options
            .statuses
            .iter()
            .copied()
            .filter(|status| *status != 499)
            .collect(),
        ring_bytes: Some(options.ring_bytes),
        max_connections: Some(options.max_connections),
        types: options.types.clone(),
        verifier_figures: false,
    }
}

fn start(
    options: &CaptureOptions,
    preflight: &Preflight,
    utc_offset_s: i32,
    notes: Vec<String>,
) -> SessionStart {
    SessionStart {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        kernel: preflight.features.release.clone(),
        started_unix_ns: live::unix_now(),
        started_mono_ns: live::mono_now(),
        statuses: options.statuses.clone(),
        outcomes: options
            .outcomes
            .iter()
            .map(|outcome| outcome.name().to_owned())
            .collect(),
        role: options.role,
        reset_reasons: preflight.features.reset_reasons.clone(),
        utc_offset_s,
        logs: !options.logs.is_empty(),
        notes,
    }
}

/// Local time of this host, seconds east of UTC.
fn utc_offset_s() -> i32 {
    let zone = jiff::tz::TimeZone::system();
    zone.to_offset(jiff::Timestamp::now()).seconds()
}

fn greet(options: &CaptureOptions, targets: &Targets, began: Instant) {
    let until = match (&options.duration, options.command.is_empty()) {
        (Some(duration), _) => format!("for {}", humantime::format_duration(*duration)),
        (None, false) => "until the command ends".to_owned(),
        (None, true) => "until Ctrl-C".to_owned(),
    };
    if targets.is_empty() {
        eprintln!(
            "why502: no proxy is running yet; waiting for one to start ({until}). Known by name: \
             nginx, haproxy, envoy, apache; any other with --proxy NAME or --pid PID."
        );
    } else {
        eprintln!(
            "why502: tracing {} {until} (attached in {} ms).",
            targets.summary(),
            began.elapsed().as_millis()
        );
    }
}
