//! Cases and counts to receivers of OTLP and Zipkin.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Exporter;
use crate::agent::config::{self, Compression as Packing, Receiver};
use crate::case::Case;
use crate::deliver::env::Env;
use crate::deliver::spool::SpoolOptions;
use crate::deliver::{
    Compression, Counters, Delivery, Endpoint, Headers, Limits, Listener, Reason, Sender, Settings,
    Signal,
};
use crate::event::Input;
use crate::export::otlp::{self, Span};
use crate::export::{Family, Metrics, Origin, Point, Points, ResourceConfig, zipkin};
use crate::session::Session;

/// Cases are sent together that come within this time.
const DELAY: Duration = Duration::from_secs(1);
/// More are not held back.
const BATCH: usize = 128;
/// Counts are sent this often, unless `OTEL_METRIC_EXPORT_INTERVAL` says otherwise.
const COUNTS: Duration = Duration::from_secs(60);
/// What receivers are given at the end. What they have not taken then stays in the spool.
const LAST: Duration = Duration::from_secs(5);

/// Counts that the metrics page shows, too.
pub(in crate::agent) type Shared = Arc<Mutex<Metrics>>;

/// Sends documents.
pub(in crate::agent) struct Documents {
    delivery: Arc<Delivery>,
    metrics: Shared,
    resource: ResourceConfig,
    origin: Option<Origin>,
    /// When counting began, ns since the epoch.
    began_unix_ns: u64,
    waiting: Vec<Case>,
    since: Option<Instant>,
    counts_every: Duration,
    counted: Instant,
}

impl Documents {
    /// Starts the senders; `None`: nobody is to be sent to. To be called when rights were given up:
    /// threads keep those that they start with.
    pub(in crate::agent) fn start(
        export: &config::Export,
        env: Env,
        metrics: Shared,
        unix_ns: u64,
    ) -> anyhow::Result<Option<Self>> {
        let otlp = [Signal::Traces, Signal::Logs, Signal::Metrics];
        let otlp = otlp.map(|signal| (signal, &export.otlp));
        let all = otlp.into_iter().chain([(Signal::Zipkin, &export.zipkin)]);
        let mut senders = Vec::new();
        for (signal, receiver) in all {
            let Some(receiver) = receiver else { continue };
            if signal != Signal::Zipkin && env.is_none(signal) {
                continue;
            }
            senders.push(sender(signal, receiver, &env)?);
        }
        if senders.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            delivery: Arc::new(Delivery::new(senders)),
            metrics,
            resource: ResourceConfig::from(&env),
            origin: None,
            began_unix_ns: unix_ns,
            waiting: Vec::new(),
            since: None,
            counts_every: env.metric_interval.unwrap_or(COUNTS),
            counted: Instant::now(),
        }))
    }

    /// What became of the documents.
    pub(in crate::agent) fn delivery(&self) -> Arc<Delivery> {
        Arc::clone(&self.delivery)
    }

    fn send(&mut self) {
        self.since = None;
        let cases = std::mem::take(&mut self.waiting);
        let Some(origin) = self.origin.as_ref().filter(|_| !cases.is_empty()) else {
            return;
        };
        for signal in [Signal::Traces, Signal::Logs, Signal::Zipkin] {
            if !self.delivery.takes(signal) {
                continue;
            }
            let payloads = match signal {
                Signal::Traces => otlp::traces(&cases, origin),
                Signal::Logs => otlp::logs(&cases, origin),
                Signal::Zipkin | Signal::Metrics => zipkin(&cases, origin),
            };
            for payload in payloads {
                self.delivery.offer(&payload);
            }
        }
    }

    fn send_counts(&mut self) {
        self.counted = Instant::now();
        let Some(origin) = &self.origin else { return };
        if !self.delivery.takes(Signal::Metrics) {
            return;
        }
        let span = Span {
            start_unix_ns: self.began_unix_ns,
            now_unix_ns: crate::capture::live::unix_now(),
        };
        let families = self
            .metrics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .families();
        for payload in otlp::metrics(&families, origin, None, span) {
            self.delivery.offer(&payload);
        }
    }
}

impl Exporter for Documents {
    fn case(&mut self, _: &Session, case: &Case) {
        self.since.get_or_insert_with(Instant::now);
        self.waiting.push(case.clone());
        if self.waiting.len() >= BATCH {
            self.send();
        }
    }

    fn input(&mut self, input: &Input) {
        if let Input::Start(start) = input {
            // Cases of the session before belong to its clock.
            self.send();
            self.origin = Some(Origin::new(start, self.resource.clone()));
        }
    }

    fn tick(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= DELAY) {
            self.send();
        }
        if self.counted.elapsed() >= self.counts_every {
            self.send_counts();
        }
    }

    fn finish(&mut self) {
        self.send();
        self.send_counts();
        if !self.delivery.flush(LAST) {
            tracing::warn!("a receiver did not take everything in time; the rest is in its spool");
        }
    }
}

fn sender(signal: Signal, receiver: &Receiver, env: &Env) -> anyhow::Result<Sender> {
    let headers = receiver.headers_file.as_deref();
    let typed = Settings {
        endpoint: Some(Endpoint::Base(receiver.endpoint.clone())),
        headers: headers
            .map(Headers::from_file)
            .transpose()?
            .unwrap_or_default(),
        timeout: Some(Duration::from_secs(receiver.timeout_seconds)),
        compression: Some(match receiver.compression {
            Packing::None => Compression::None,
            Packing::Gzip => Compression::Gzip,
        }),
        ..Settings::default()
    };
    let to = typed.over(&env.settings(signal)).destination(signal)?;
    if to.sends_secrets_in_clear() {
        tracing::warn!("headers go to {} unencrypted; use https://", to.url);
    }
    tracing::info!("{} go to {}", signal.name(), to.url);
    let spool = SpoolOptions {
        folder: receiver.spool_directory.join(signal.name()),
        max_bytes: receiver.spool_bytes,
    };
    std::fs::create_dir_all(&receiver.spool_directory)?;
    let seed = u64::from(std::process::id()) << 32 | crate::capture::live::unix_now() >> 32;
    Ok(Sender::start(
        to,
        Limits::default(),
        Some(&spool),
        seed,
        listener(),
    )?)
}

fn listener() -> Listener {
    Arc::new(|notice| {
        if notice.what.is_good() {
            tracing::info!("{notice}");
        } else {
            tracing::warn!("{notice}");
        }
    })
}

/// Items by destination, signal and what became of them.
pub(in crate::agent) fn items(counters: &[(Signal, Counters)]) -> Family {
    let mut points = Vec::new();
    for (signal, counters) in counters {
        let destination = match signal {
            Signal::Zipkin => "zipkin",
            _ => "otlp",
        };
        let dropped = Reason::ALL.map(|reason| counters.dropped(reason).items);
        for (result, items) in [
            ("delivered", counters.sent.items),
            ("rejected", counters.rejected_items),
            ("dropped", dropped.iter().sum()),
        ] {
            let labels = vec![
                ("destination", destination.into()),
                ("signal", signal.name().into()),
                ("result", result.into()),
            ];
            points.push(Point::new(labels, items));
        }
    }
    Family::new(
        "why502.export.items",
        "{item}",
        "Spans, data points and log records, by what became of them.",
        Points::Counter(points),
    )
}
