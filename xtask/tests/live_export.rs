//! What `why502 export` makes of a recorded failure, judged by real receivers: taken whole, and part
//! of the trace that the client began.
#![expect(
    clippy::unwrap_used,
    reason = "test helpers fail where they stand, like the tests"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::lab::capture::{Capture, Output};
use xtask::lab::client::Client;
use xtask::lab::proxy::{Kind, Options, Route};
use xtask::lab::ready;
use xtask::lab::receivers::answering::{Always, Answering};
use xtask::lab::receivers::collector::{Behaviour, Collector};
use xtask::lab::receivers::compare::equal_after_defaults;
use xtask::lab::receivers::prometheus::{FIRST_SCRAPE, Prometheus, check_metrics};
use xtask::lab::receivers::recorder::Recorder;
use xtask::lab::receivers::strict::{check_fields, check_letter};
use xtask::lab::receivers::{Need, Signal, or_skip};
use xtask::lab::stand::{Behind, Stand};

const PATIENCE: Duration = Duration::from_secs(10);
/// The trace that the instrumented client began, and its span.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

fn why502() -> PathBuf {
    xtask::paths::tested_why502()
}

/// May it run: real proxies, the collector and the recorder.
fn ready() -> bool {
    ready::or_skip(&[Kind::Nginx]) && or_skip(&[Need::Collector, Need::PythonTools])
}

/// A live capture of one request with a `traceparent`, through a real NGINX, to a backend that resets.
fn recording(directory: &TempDir) -> PathBuf {
    let stand = Stand::with(
        Kind::Nginx,
        Options::default(),
        Behind::without_filter().unwrap(),
    );
    let stand = stand.unwrap();
    let file = directory.path().join("failure.w502");
    let pid = stand.proxy.pid().to_string();
    let args = [
        "--pid",
        &pid,
        "--format",
        "json",
        "-w",
        file.to_str().unwrap(),
    ];
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    let mut client = Client::connect(stand.proxy.front(Route::Fresh)).unwrap();
    let request = format!(
        "GET /rst/order HTTP/1.1\r\nHost: lab.test\r\ntraceparent: 00-{TRACE}-{CLIENT_SPAN}-01\r\n\r\n"
    );
    client.write_raw(request.as_bytes()).unwrap();
    assert_eq!(client.read(false).status, Some(502));
    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    file
}

fn run(words: &[&str]) -> (bool, String, String) {
    let output = Command::new(why502()).args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// The documents that it prints, one a line, each with what it is about.
fn exported(recording: &Path) -> Vec<(Signal, Value)> {
    let (worked, stdout, stderr) = run(&["export", recording.to_str().unwrap(), "--to", "otlp"]);
    assert!(worked, "{stderr}");
    let documents = stdout.lines().map(|line| {
        let document: Value = serde_json::from_str(line).unwrap();
        let known = [
            ("resourceSpans", Signal::Traces),
            ("resourceMetrics", Signal::Metrics),
            ("resourceLogs", Signal::Logs),
        ];
        let signal = known
            .into_iter()
            .find(|(key, _)| document.get(key).is_some());
        (
            signal.unwrap_or_else(|| panic!("no OTLP: {line}")).1,
            document,
        )
    });
    documents.collect()
}

/// Entries of lists within lists of a document.
fn all<'a>(document: &'a Value, path: &[&str]) -> Vec<&'a Value> {
    match path {
        [] => vec![document],
        [key, rest @ ..] => {
            let inner = document[key].as_array().into_iter().flatten();
            inner.flat_map(|entry| all(entry, rest)).collect()
        }
    }
}

fn spans(documents: &[Value]) -> Vec<&Value> {
    let documents = documents.iter();
    documents
        .flat_map(|one| all(one, &["resourceSpans", "scopeSpans", "spans"]))
        .collect()
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|one| one["key"] == key);
    found.map_or(&Value::Null, |one| &one["value"])
}

#[test]
fn receivers_take_all_of_it() {
    if !ready() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let documents = exported(&recording(&directory));
    assert!(
        documents
            .iter()
            .any(|(signal, _)| *signal == Signal::Traces)
    );
    let collector = Collector::start(Behaviour::Keep).unwrap();
    let recorder = Recorder::start().unwrap();
    for (signal, document) in &documents {
        check_letter(document).unwrap();
        check_fields(*signal, document).unwrap();
        collector.check(*signal, document).unwrap();
        let answer = recorder
            .post(*signal, document.to_string().as_bytes())
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let kept = recorder.documents(*signal).unwrap();
        assert!(
            kept.iter()
                .any(|one| equal_after_defaults(document, one).is_ok())
        );
    }
}

/// The samples that the unit tests of the export compare with: cases that are harder to come by.
#[test]
fn receivers_take_the_samples() {
    if !or_skip(&[Need::Collector, Need::PythonTools]) {
        return;
    }
    let samples = xtask::paths::root().join("tracer-user/src/export/golden");
    let collector = Collector::start(Behaviour::Keep).unwrap();
    let mut seen = 0;
    for signal in Signal::ALL {
        let sample = samples.join(format!("otlp-{}.json", signal.name()));
        let Ok(text) = std::fs::read(&sample) else {
            continue;
        };
        let document = serde_json::from_slice(&text).unwrap();
        check_letter(&document).unwrap();
        check_fields(signal, &document).unwrap();
        collector.check(signal, &document).unwrap();
        seen += 1;
    }
    assert!(seen >= 2, "only {seen} samples in {}", samples.display());
}

#[test]
fn our_spans_hang_under_the_clients() {
    if !ready() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = recording(&directory);
    let collector = Collector::start(Behaviour::Keep).unwrap();
    // The instrumented client sends its own span.
    let client = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": TRACE, "spanId": CLIENT_SPAN, "name": "GET", "kind": 3,
        "startTimeUnixNano": "1795331412770692759", "endTimeUnixNano": "1795331412890692759",
    }]}]}]});
    collector.check(Signal::Traces, &client).unwrap();

    let words = [
        "export",
        file.to_str().unwrap(),
        "--to",
        "otlp",
        "--endpoint",
        &collector.url(),
    ];
    let (worked, _, stderr) = run(&words);
    assert!(worked, "{stderr}");
    let documents = collector
        .wait_documents(Signal::Traces, 2, PATIENCE)
        .unwrap();
    let spans = spans(&documents);
    assert!(
        spans.iter().all(|span| span["traceId"] == TRACE),
        "{spans:?}"
    );
    let ids: Vec<&str> = spans
        .iter()
        .map(|span| span["spanId"].as_str().unwrap())
        .collect();
    for span in &spans {
        // A trace without a hole.
        let parent = span["parentSpanId"].as_str().unwrap_or_default();
        assert_eq!(parent.is_empty(), span["spanId"] == CLIENT_SPAN, "{span}");
        assert!(parent.is_empty() || ids.contains(&parent), "{span}");
    }
    let server: Vec<_> = spans.iter().filter(|span| span["kind"] == 2).collect();
    let [server] = server[..] else {
        panic!("{} SERVER spans", server.len());
    };
    assert_eq!(server["parentSpanId"], CLIENT_SPAN);
    assert_eq!(server["status"]["code"], 2, "{server}");
    assert_eq!(
        attribute(server, "http.response.status_code")["intValue"],
        "502"
    );
    let attempt = spans
        .iter()
        .find(|span| span["parentSpanId"] == server["spanId"]);
    let attempt = attempt.unwrap_or_else(|| panic!("no attempt: {spans:?}"));
    assert_eq!(attempt["kind"], 3, "{attempt}");
    assert_eq!(attempt["status"]["code"], 2, "{attempt}");

    // Sent again, it is the same spans.
    let before: Vec<String> = ids.iter().skip(1).map(ToString::to_string).collect();
    let (worked, _, stderr) = run(&words);
    assert!(worked, "{stderr}");
    let documents = collector
        .wait_documents(Signal::Traces, 3, PATIENCE)
        .unwrap();
    let again = self::spans(&documents[2..]);
    let again: Vec<&str> = again
        .iter()
        .map(|span| span["spanId"].as_str().unwrap())
        .collect();
    assert_eq!(again, before);
}

/// The names that alerts and dashboard read are those that an agent shows.
#[test]
fn the_fleets_metrics_are_those_that_are_shown() {
    let read = |path: &str| std::fs::read_to_string(xtask::paths::root().join(path)).unwrap();
    let shown = read("tracer-user/src/export/golden/metrics.prom");
    let page = read("docs/fleet.md");
    let rows = page
        .lines()
        .filter(|line| line.contains(" | counter | ") || line.contains(" | histogram | "));
    for row in rows {
        let words: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        // These two stand for what the sample does not have.
        if ["why502_retransmits_total", "why502_export_items_total"].contains(&words[0]) {
            continue;
        }
        let stem = format!("{}_bucket{{", words[0]);
        let name = if row.contains("histogram") {
            stem
        } else {
            format!("{}{{", words[0])
        };
        let line = shown.lines().find(|line| line.starts_with(&name));
        let line = line.unwrap_or_else(|| panic!("{} is not shown", words[0]));
        for label in &words[1..] {
            assert!(line.contains(&format!("{label}=\"")), "{line}: no {label}");
        }
    }
}

#[test]
fn prometheus_reads_the_sample_with_its_exemplars() {
    if !or_skip(&[Need::Prometheus]) {
        return;
    }
    let samples = xtask::paths::root().join("tracer-user/src/export/golden");
    check_metrics(&std::fs::read_to_string(samples.join("metrics.prom")).unwrap()).unwrap();
    let agent = Answering::start(Always {
        status: 200,
        headers: vec![
            "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8".into(),
        ],
        body: std::fs::read(samples.join("metrics.openmetrics")).unwrap(),
    })
    .unwrap();
    let prometheus = Prometheus::start("why502", &[agent.addr()], &[]).unwrap();
    prometheus.wait_up(FIRST_SCRAPE).unwrap();
    let series = prometheus
        .wait_query("why502_failures_total", PATIENCE)
        .unwrap();
    assert!(
        series
            .iter()
            .any(|one| one.labels["rule"] == "keepalive-race")
    );
    let bucket = "http_client_request_duration_seconds_bucket";
    // Whatever time the sample has.
    let exemplars = prometheus.exemplars(bucket, 0.0, 4e9).unwrap();
    let labels = &exemplars[0]["exemplars"][0]["labels"];
    assert_eq!(
        labels["trace_id"].as_str().map(str::len),
        Some(32),
        "{exemplars}"
    );
}

#[test]
fn the_manifests_configuration_is_valid() {
    if !or_skip(&[Need::PythonTools]) {
        return;
    }
    let manifest = xtask::paths::root().join("scripts/fleet/daemonset.yaml");
    let manifest = xtask::lab::receivers::python::yaml(&manifest).unwrap();
    let map = manifest
        .iter()
        .find(|one| one["kind"] == "ConfigMap")
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), map["data"]["agent.toml"].as_str().unwrap()).unwrap();
    let (worked, _, stderr) = run(&[
        "agent",
        "--config",
        file.path().to_str().unwrap(),
        "--check",
    ]);
    assert!(worked, "{stderr}");
}

#[test]
fn what_a_receiver_refuses_is_told() {
    if !ready() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = recording(&directory);
    let full = Collector::start(Behaviour::Full).unwrap();
    let words = [
        "export",
        file.to_str().unwrap(),
        "--to",
        "otlp",
        "--endpoint",
        &full.url(),
    ];
    let (worked, _, stderr) = run(&words);
    assert!(!worked, "nothing was delivered");
    assert!(stderr.contains("503"), "{stderr}");
    assert_eq!(full.documents(Signal::Traces).unwrap(), [] as [Value; 0]);
}
