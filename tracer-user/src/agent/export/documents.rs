//! Cases and counts to receivers of OTLP and Zipkin.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Exporter;
use crate::agent::config::{self, Compression as Packing, Receiver};
use crate::agent::held::held;
use crate::capture::live::{mono_now, unix_now};
use crate::case::Case;
use crate::deliver::env::Env;
use crate::deliver::spool::SpoolOptions;
use crate::deliver::{
    Compression, Counters, Delivery, Endpoint, Headers, Limits, Listener, Reason, Sender, Settings,
    Signal, seed,
};
use crate::event::Input;
use crate::export::otlp::{self, Span};
use crate::export::{Family, Gathering, Metrics, Point, Points, ResourceConfig};
use crate::session::Session;

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
    gathering: Gathering,
    /// When counting began, ns since the epoch.
    began_unix_ns: u64,
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
            if env.is_none(signal) {
                continue;
            }
            senders.push(sender(signal, receiver, &env)?);
        }
        if senders.is_empty() {
            return Ok(None);
        }
        let delivery = Arc::new(Delivery::new(senders));
        let gathering = Gathering::new(delivery.signals(), ResourceConfig::from(&env)).paced(&env);
        Ok(Some(Self {
            delivery,
            metrics,
            gathering,
            began_unix_ns: unix_ns,
            counts_every: env.metric_interval.unwrap_or(COUNTS),
            counted: Instant::now(),
        }))
    }

    /// What became of the documents.
    pub(in crate::agent) fn delivery(&self) -> Arc<Delivery> {
        Arc::clone(&self.delivery)
    }

    fn send_counts(&mut self) {
        self.counted = Instant::now();
        let Some(origin) = self.gathering.origin() else {
            return;
        };
        if !self.delivery.signals().contains(&Signal::Metrics) {
            return;
        }
        let span = Span {
            start_unix_ns: self.began_unix_ns,
            now_unix_ns: unix_now(),
        };
        let families = held(&self.metrics).families();
        self.delivery
            .offer_all(otlp::metrics(&families, origin, None, span));
    }
}

impl Exporter for Documents {
    fn case(&mut self, _: &Session, case: &Case) {
        self.delivery
            .offer_all(self.gathering.add(case.clone(), mono_now()));
    }

    fn input(&mut self, input: &Input) {
        if let Input::Start(start) = input {
            self.delivery.offer_all(self.gathering.start(start));
        }
    }

    fn tick(&mut self) {
        self.delivery.offer_all(self.gathering.tick(mono_now()));
        if self.counted.elapsed() >= self.counts_every {
            self.send_counts();
        }
    }

    fn finish(&mut self) {
        self.delivery.offer_all(self.gathering.take());
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
    let to = env.destination(signal, typed)?;
    if let Some(warning) = to.warning() {
        tracing::warn!("{warning}");
    }
    tracing::info!("{} go to {}", signal.name(), to.url);
    let spool = SpoolOptions {
        folder: receiver.spool_directory.join(signal.name()),
        max_bytes: receiver.spool_bytes,
    };
    std::fs::create_dir_all(&receiver.spool_directory)?;
    Ok(Sender::start(
        to,
        Limits::of(env),
        Some(&spool),
        seed(),
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
