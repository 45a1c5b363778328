//! The `capture` command: loader, session and reports, wired together.

mod diagnostics;
mod export;
mod follow;
mod icmp;
mod in_use;
mod live;
mod locals;
pub mod options;
mod queues;
mod sink;
mod targets;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;

use self::export::Export;
use self::follow::Logs;
pub(crate) use self::follow::understand;
use self::icmp::Icmp;
use self::in_use::InUse;
use self::locals::Locals;
use self::options::CaptureOptions;
use self::queues::Queues;
use self::sink::Sink;
use self::targets::{Targets, namespaces};
use crate::config::Configs;
use crate::event::{Input, SessionStart};
use crate::kernel::loader::{Settings, Tracer};
use crate::kernel::preflight::Preflight;
use crate::recording::Recorder;

/// Traces until something ends the capture, and reports.
pub fn run(options: CaptureOptions) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let preflight = Preflight::look();
    let mut notes: Vec<String> = preflight
        .check()?
        .iter()
        .map(|problem| problem.what.clone())
        .collect();
    let recorder = options
        .write
        .as_deref()
        .map(|path| {
            Recorder::create(path)
                .with_context(|| format!("cannot write the recording {}", path.display()))
        })
        .transpose()?;

    let export = Export::start(&options.exports)?;

    let mut tracer = Tracer::load(&settings(&options))?;
    let mut targets = Targets::new(options.selection.clone(), options.role);
    let mut proxies = targets.look(&mut tracer)?;
    tracer.attach()?;
    notes.extend(
        tracer
            .missing_hooks()
            .iter()
            .map(|hook| format!("the kernel refused the hook {hook}")),
    );
    let mut icmp = Icmp::default();
    for (_, namespace) in namespaces(Path::new("/proc"), &targets.pids()) {
        if let Err(error) = icmp.watch(&namespace) {
            notes.push(format!(
                "ICMP errors are not seen (raw sockets: {error}): a path MTU that shrinks is told by \
                 retransmissions alone"
            ));
            break;
        }
    }
    let utc_offset_s = utc_offset_s();
    let logs = Logs::new(&options.logs, utc_offset_s);
    for (path, trouble) in logs.troubles() {
        eprintln!("why502: warning: the log {path} cannot be read yet ({trouble}); waiting for it");
    }
    let start = start(&options, &preflight, utc_offset_s, notes);
    if let Err(error) = targets.adopt(&mut tracer) {
        eprintln!("why502: warning: connections that are open now are not known: {error}");
    }
    // What began between the first look and the attachment.
    proxies.extend(targets.look_again(&mut tracer)?);
    let mut locals = Locals::new(options.local_backends);
    locals.look(&targets);
    greet(&options, &targets, began);

    let mut sink = Sink::new(&options, recorder, export);
    sink.input(&Input::Start(start), 0)?;
    let mut configs = Configs::new("/proc");
    let config = configs.look(&proxies);
    for proxy in proxies {
        sink.input(&Input::Proxy(proxy), 0)?;
    }
    if let Some(config) = config {
        sink.input(&Input::Config(config), 0)?;
    }
    let watched = live::Watched {
        targets,
        locals,
        icmp,
        queues: Queues::default(),
        in_use: InUse::default(),
        logs,
        configs,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let failed = runtime.block_on(live::run(&options, tracer, watched, sink))?;
    Ok(ExitCode::from(u8::from(failed)))
}

fn settings(options: &CaptureOptions) -> Settings {
    Settings {
        snaplen: u32::from(options.snaplen),
        sample_every: options.sample_every,
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
