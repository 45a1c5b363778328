//! The OpenTelemetry Collector, the reference judge of OTLP: what it gives back is what a real
//! receiver understood. Built by `scripts/build-collector.sh`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{self, Answer};
use super::service::{Service, answers};
use super::{Signal, compare};
use crate::lab::net::free_ports;
use crate::lab::process::{bound, wait_for};

/// The smallest trace that every receiver took which was tried.
pub const SMALLEST_TRACE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"nginx"}}]},"scopeSpans":[{"scope":{"name":"why502","version":"0.1.0"},"spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"051581bf3cb55c13","parentSpanId":"00f067aa0ba902b7","flags":769,"name":"GET","kind":2,"startTimeUnixNano":"1795331412770692759","endTimeUnixNano":"1795331412890692759","attributes":[{"key":"http.response.status_code","value":{"intValue":"502"}}],"status":{"code":2,"message":"upstream reset"}}]}]}]}"#;

/// What it does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Takes it; [`Collector::documents`] gives it back.
    Keep,
    /// Refuses all of it with 503: its memory limit is reached.
    Full,
    /// Hands it on to the OTLP receiver there and answers as that answers; keeps nothing back, tries
    /// nothing again.
    HandOn(SocketAddr),
}

/// A running collector; ended when dropped.
pub struct Collector {
    service: Service,
    addr: SocketAddr,
}

impl Collector {
    /// Starts one and waits until it answers. Errors hold its log.
    pub fn start(behaviour: Behaviour) -> Result<Self> {
        Self::start_on(behaviour, free_ports(1)?[0])
    }

    /// The same at an address where one was before, for a receiver that comes back.
    pub fn start_on(behaviour: Behaviour, addr: SocketAddr) -> Result<Self> {
        // Or whoever sits there would answer in its stead while it starts.
        drop(TcpListener::bind(addr).with_context(|| format!("{addr} is taken"))?);
        let directory = Service::directory()?;
        let config = directory.path().join("config.json");
        // JSON is YAML.
        fs::write(&config, configuration(behaviour, addr).to_string())?;
        let files = [config];
        let service = launch(directory, &files, &[], || match behaviour {
            // It measures its memory only after a while.
            Behaviour::Full => {
                let trace = SMALLEST_TRACE.as_bytes();
                http::post_json(addr, &Signal::Traces.path(), trace)
                    .is_ok_and(|answer| answer.status == 503)
            }
            Behaviour::Keep | Behaviour::HandOn(_) => answers(addr, "/"),
        })?;
        if behaviour == Behaviour::Full {
            // What it took before it measured. It opens the file anew for each document.
            let _ = fs::remove_file(service.path().join(file(Signal::Traces)));
        }
        Ok(Self { service, addr })
    }

    /// Starts one with somebody else's configuration, of which later files override earlier ones,
    /// and which has it listen at `addr`. [`Self::documents`] is not for it.
    pub fn with_files(
        files: &[PathBuf],
        environment: &[(&str, String)],
        addr: SocketAddr,
    ) -> Result<Self> {
        let directory = Service::directory()?;
        let service = launch(directory, files, environment, || answers(addr, "/"))?;
        Ok(Self { service, addr })
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL, as in `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.service.pid()
    }

    /// Posts a document.
    pub fn post(&self, signal: Signal, body: &[u8]) -> Result<Answer> {
        http::post_json(self.addr, &signal.path(), body)
            .with_context(|| self.service.explain("did not answer"))
    }

    /// What it has taken so far, one document for each request, in their order.
    pub fn documents(&self, signal: Signal) -> Result<Vec<Value>> {
        let path = self.service.path().join(file(signal));
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        let whole = text.rsplit_once('\n').map_or("", |(whole, _torn)| whole);
        let lines = whole.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str(line).context("the collector wrote no JSON"))
            .collect()
    }

    /// Waits until it has taken that many documents. Errors: it has not in time, with its log.
    pub fn wait_documents(
        &self,
        signal: Signal,
        count: usize,
        patience: Duration,
    ) -> Result<Vec<Value>> {
        let arrived = wait_for(patience, || {
            let documents = self.documents(signal)?;
            Ok((documents.len() >= count).then_some(documents))
        })?;
        match arrived {
            Some(documents) => Ok(documents),
            None => bail!(
                "{}",
                self.service.explain(&format!(
                    "got {} of {count} documents of {} within {} s",
                    self.documents(signal)?.len(),
                    signal.name(),
                    patience.as_secs()
                ))
            ),
        }
    }

    /// Posts a document and reads it back; errors unless it was taken and nothing of it was lost.
    pub fn check(&self, signal: Signal, sent: &Value) -> Result<()> {
        let before = self.documents(signal)?.len();
        let answer = self.post(signal, sent.to_string().as_bytes())?;
        if answer.status != 200 {
            bail!(
                "{}",
                self.service
                    .explain(&format!("answered {}: {}", answer.status, answer.text()))
            );
        }
        let documents = self.wait_documents(signal, before + 1, Duration::from_secs(5))?;
        compare::equal_after_defaults(sent, &documents[before])
    }
}

fn launch(
    directory: TempDir,
    files: &[PathBuf],
    environment: &[(&str, String)],
    ready: impl FnMut() -> bool,
) -> Result<Service> {
    let mut command = bound(&crate::paths::collector());
    let files = files.iter();
    command.args(files.map(|file| format!("--config=file:{}", file.display())));
    for (name, value) in environment {
        command.env(name, value);
    }
    Service::start("the collector", &mut command, directory, ready)
}

fn file(signal: Signal) -> String {
    format!("{}.jsonl", signal.name())
}

fn configuration(behaviour: Behaviour, addr: SocketAddr) -> Value {
    let mut exporters = json!({});
    let mut pipelines = json!({});
    let processors = match behaviour {
        Behaviour::Full => json!(["memory_limiter"]),
        Behaviour::Keep | Behaviour::HandOn(_) => json!([]),
    };
    for signal in Signal::ALL {
        let (name, exporter) = match behaviour {
            Behaviour::Keep | Behaviour::Full => (
                format!("jsonfile/{}", signal.name()),
                json!({"path": file(signal)}),
            ),
            Behaviour::HandOn(next) => (
                "otlp_http".to_owned(),
                json!({
                    "endpoint": format!("http://{next}"),
                    "encoding": "json",
                    "compression": "none",
                    "sending_queue": {"enabled": false},
                    "retry_on_failure": {"enabled": false},
                }),
            ),
        };
        exporters[&name] = exporter;
        pipelines[signal.name()] = json!({
            "receivers": ["otlp"], "processors": processors, "exporters": [name],
        });
    }
    let mut config = json!({
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": addr.to_string()}}}},
        "exporters": exporters,
        "service": {
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
            "pipelines": pipelines,
        },
    });
    if behaviour == Behaviour::Full {
        // Less than it needs to be there at all.
        config["processors"] = json!({
            "memory_limiter": {"check_interval": "100ms", "limit_mib": 1, "spike_limit_mib": 0},
        });
    }
    config
}
