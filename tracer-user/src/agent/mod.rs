//! The agent: a capture that goes on all year. `docs/agent.md` tells how to run it.
//!
//! The event loop is that of `capture`; [`keeper`] is its sink. Rights are given up between the attachment
//! and the loop ([`rights`]), the recent past is kept in [`lookback`].

mod burst;
pub mod config;
mod control;
mod export;
mod folder;
mod held;
mod keeper;
mod listen;
mod lock;
mod log;
mod lookback;
mod notify;
mod renewal;
mod rights;
mod vitals;

use std::fs::File;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;

use self::config::Config;
use self::control::Control;
use self::export::Exporter;
use self::held::held;
use self::keeper::{Keeper, Parts};
use self::listen::{Pages, listen};
use self::lock::Lock;
use self::notify::Notify;
use crate::capture::{Attached, Ready, Sink as _, live, runtime};
use crate::deliver::Delivery;
use crate::deliver::env::Env;

/// A larger file is no configuration.
const CONFIG_MAX: u64 = 1 << 20;
/// Orders that wait for the loop.
const ORDERS: usize = 8;

/// Reads and checks a configuration; the error has a line for everything that is wrong.
fn read_config(path: &Path) -> anyhow::Result<Config> {
    let name = path.display();
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    file.take(CONFIG_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {name}"))?;
    if text.len() as u64 > CONFIG_MAX {
        bail!("{name} is larger than 1 MiB: is this a configuration of why502?");
    }
    Config::parse(&text).map_err(|problems| {
        let lines = problems
            .0
            .iter()
            .map(|problem| format!("{name}: {problem}"));
        anyhow::Error::msg(lines.collect::<Vec<_>>().join("\n"))
    })
}

/// Checks a configuration and prints what would be used.
pub fn check(path: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let config = read_config(path)?;
    writeln!(out, "# {} is good. What would be used:", path.display())?;
    out.write_all(config.show().as_bytes())?;
    Ok(())
}

/// Asks the agent that runs with that configuration, or behind that socket, for a snapshot.
pub fn snapshot(
    config: Option<&Path>,
    socket: Option<PathBuf>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let socket = match (socket, config) {
        (Some(socket), _) => socket,
        (None, Some(config)) => read_config(config)?.socket(),
        (None, None) => Config::default().socket(),
    };
    writeln!(out, "{}", control::ask(&socket)?)?;
    Ok(())
}

/// Runs until it is told to end.
pub fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let config = read_config(path)?;
    let _lock = Lock::take(&config.runtime_directory)?;
    let tap = log::init(config.log_output)?;
    start(path, config, tap, began)?;
    Ok(ExitCode::SUCCESS)
}

fn start(path: &Path, config: Config, tap: log::Tap, began: Instant) -> anyhow::Result<()> {
    let notify = Notify::from_env().unwrap_or_else(|error| {
        tracing::warn!("the service manager cannot be told anything: {error}");
        Notify::default()
    });
    let options = config.capture_options();
    let mut warn = |warning: String| tracing::warn!("{warning}");
    let mut attached = Ready::check(&options)?.attach(&options, &mut warn)?;
    let ms = began.elapsed().as_millis();
    match attached.summary() {
        Some(traced) => tracing::info!("tracing {traced} (attached in {ms} ms)"),
        None => tracing::info!("no proxy runs yet; waiting for one (attached in {ms} ms)"),
    }
    // A port below 1024 may need a right that goes next.
    let runtime = runtime()?;
    let inside = runtime.enter();
    let metrics = export::Shared::default();
    let delivered = Delivered::default();
    let pages = Arc::new(Pages {
        more: vec![more(Arc::clone(&metrics), Arc::clone(&delivered))],
        ..Pages::default()
    });
    let listen_at = config.metrics_listen;
    let listening = listen_at
        .map(|addr| listen(addr, Arc::clone(&pages)))
        .transpose()?;
    if let Some(listening) = &listening {
        let addr = listening.addr;
        tracing::info!("metrics at http://{addr}/metrics, health at http://{addr}/healthz");
        if !addr.ip().is_loopback() {
            tracing::warn!(
                "{addr} can be reached from other hosts, and asks nobody for a password"
            );
        }
    }
    give_up_rights(&mut attached, options.standby.is_some());
    let (orders, ordered) = mpsc::channel(ORDERS);
    let control = Control::listen(&config.socket(), orders)?;
    let exporters = exporters(&config, metrics, &delivered)?;
    let watching = attached.watch(&options);
    let mut keeper = Keeper::new(Parts {
        config,
        config_path: path.to_owned(),
        notify,
        tap,
        pages,
        listening,
        orders: ordered,
        exporters,
    })?;
    for input in &watching.first {
        keeper.input(input, 0)?;
    }
    keeper.ready();
    drop(inside);
    let ended = runtime.block_on(live::run(&options, watching, keeper));
    drop(control);
    ended
}

/// What became of documents; empty while none are sent.
type Delivered = Arc<OnceLock<Arc<Delivery>>>;

/// The exporters' part of the metrics page.
fn more(metrics: export::Shared, delivered: Delivered) -> listen::More {
    Box::new(move || {
        let mut families = held(&metrics).families();
        if let Some(delivery) = delivered.get() {
            families.push(export::items(&delivery.counters()));
        }
        families
    })
}

/// To be called when rights were given up: senders' threads keep those that they start with.
fn exporters(
    config: &Config,
    metrics: export::Shared,
    delivered: &Delivered,
) -> anyhow::Result<Vec<Box<dyn Exporter>>> {
    let mut exporters: Vec<Box<dyn Exporter>> =
        vec![Box::new(export::Counts::new(Arc::clone(&metrics)))];
    let (env, warnings) = Env::of_process();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let now = live::unix_now();
    if let Some(documents) = export::Documents::start(&config.export, env, metrics, now)? {
        // Nothing else sets it.
        let _ = delivered.set(documents.delivery());
        exporters.push(Box::new(documents));
    }
    if let Some(file) = &config.export.ndjson {
        let lines = export::Lines::open(file).with_context(|| {
            format!(
                "cannot write {} (path of [export.ndjson])",
                file.path.display()
            )
        })?;
        exporters.push(Box::new(lines));
    }
    Ok(exporters)
}

fn give_up_rights(attached: &mut Attached, stands_by: bool) {
    let outcome = rights::drop_unneeded(attached.tracer(), stands_by);
    for refused in &outcome.refused {
        tracing::warn!("a right could not be given up: {refused}");
    }
    let kept = outcome.kept.iter();
    let kept: Vec<String> = kept
        .map(|kept| format!("{} {}", kept.name, kept.why))
        .collect();
    tracing::info!("rights kept: {}; all others were given up", kept.join("; "));
}
