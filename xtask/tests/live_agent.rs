//! What the agent hands on: whole, in order, once, and whatever becomes of the receiver, of the disk,
//! of the clock or of the agent itself.
#![expect(
    clippy::unwrap_used,
    reason = "test helpers fail where they stand, like the tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal as Kill;
use serde_json::Value;
use xtask::lab::agent::{Agent, PATIENCE, Settings};
use xtask::lab::client::Client;
use xtask::lab::net::free_ports;
use xtask::lab::process::wait_for;
use xtask::lab::proxy::{Kind, Options, Route};
use xtask::lab::ready;
use xtask::lab::receivers::answering::{Always, Answering};
use xtask::lab::receivers::collector::{Behaviour, Collector};
use xtask::lab::receivers::{Need, Signal, or_skip};
use xtask::lab::stand::{Behind, Stand};

fn why502() -> PathBuf {
    xtask::paths::tested_why502()
}

fn stand() -> Option<Stand> {
    let ready = ready::or_skip(&[Kind::Nginx]) && or_skip(&[Need::Collector]);
    ready.then(|| {
        let behind = Behind::without_filter().unwrap();
        Stand::with(Kind::Nginx, Options::default(), behind).unwrap()
    })
}

/// The trace that the client of that request began.
fn trace(n: usize) -> String {
    format!("4bf92f3577b34da6a3ce929d{n:08x}")
}

/// Requests whose backend resets, each within a trace of its client.
fn fail(stand: &Stand, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let mut client = Client::connect(stand.proxy.front(Route::Fresh)).unwrap();
        let request = format!(
            "GET /rst/{n} HTTP/1.1\r\nHost: lab.test\r\n\
             traceparent: 00-{}-00f067aa0ba902b7-01\r\n\r\n",
            trace(n)
        );
        client.write_raw(request.as_bytes()).unwrap();
        assert_eq!(client.read(false).status, Some(502));
    }
}

fn settings(stand: &Stand, more: &str) -> Settings {
    Settings {
        capture: format!("pids = [{}]", stand.proxy.pid()),
        more: more.to_owned(),
        ..Settings::default()
    }
}

fn otlp(addr: SocketAddr) -> String {
    format!("[export.otlp]\nendpoint = \"http://{addr}\"\nspool_directory = \"@/spool\"\n")
}

fn always(status: u16, body: &str) -> Always {
    Always {
        status,
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
}

fn spans(documents: &[Value]) -> Vec<&Value> {
    documents
        .iter()
        .flat_map(|one| one["resourceSpans"].as_array().into_iter().flatten())
        .flat_map(|one| one["scopeSpans"].as_array().into_iter().flatten())
        .flat_map(|one| one["spans"].as_array().into_iter().flatten())
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The spans of requests, each with its trace, in the order in which they came.
fn requests(documents: &[Value]) -> Vec<(String, String)> {
    let servers = spans(documents)
        .into_iter()
        .filter(|span| span["kind"] == 2);
    servers
        .map(|span| {
            (
                text(span, "traceId").to_owned(),
                text(span, "spanId").to_owned(),
            )
        })
        .collect()
}

/// Waits until a collector has that many requests, and for what comes too much.
fn arrived(collector: &Collector, agent: &Agent, count: usize) -> Vec<(String, String)> {
    let patience = Duration::from_secs(60);
    let found = wait_for(patience, || {
        let found = requests(&collector.documents(Signal::Traces)?);
        Ok((found.len() >= count).then_some(found))
    });
    let documents = collector.documents(Signal::Traces).unwrap();
    let found = found.unwrap();
    assert!(
        found.is_some(),
        "{} of {count} requests\n{}",
        requests(&documents).len(),
        agent.log()
    );
    std::thread::sleep(Duration::from_millis(300));
    requests(&collector.documents(Signal::Traces).unwrap())
}

fn traces(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(trace).collect()
}

fn of_traces(found: &[(String, String)]) -> Vec<String> {
    found.iter().map(|(trace, _)| trace.clone()).collect()
}

fn bodies(answering: &Answering, path: &str) -> Vec<Value> {
    let asked = answering.asked();
    let there = asked.iter().filter(|one| one.line.contains(path));
    there
        .map(|one| serde_json::from_slice(&one.body).unwrap())
        .collect()
}

/// Spans by their ids, with what every receiver keeps of them.
fn by_id(spans: &[&Value]) -> BTreeMap<String, Vec<String>> {
    let keys = ["traceId", "parentSpanId", "name"];
    let one = |span: &&Value| {
        let mut kept: Vec<String> = keys.map(|key| text(span, key).to_owned()).into();
        kept.push(span["kind"].to_string());
        kept.push(span["attributes"].to_string());
        (text(span, "spanId").to_owned(), kept)
    };
    spans.iter().map(one).collect()
}

/// When spans began, seconds since the epoch, by their ids.
fn starts(spans: &[&Value]) -> BTreeMap<String, f64> {
    let start = |span: &&Value| text(span, "startTimeUnixNano").parse::<f64>().unwrap() / 1e9;
    let one = |span| (text(span, "spanId").to_owned(), start(&span));
    spans.iter().copied().map(one).collect()
}

fn exported(recording: &Path) -> Vec<Value> {
    let mut command = Command::new(why502());
    command.arg("export").arg(recording).args(["--to", "otlp"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let documents = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    documents.collect()
}

#[test]
fn every_receiver_gets_what_a_snapshot_holds() {
    let Some(stand) = stand() else { return };
    let collector = Collector::start(Behaviour::Keep).unwrap();
    let zipkin = Answering::start(always(202, "")).unwrap();
    let more = format!(
        "{}[export.zipkin]\nendpoint = \"http://{}\"\nspool_directory = \"@/spool\"\n\
         [export.ndjson]\npath = \"@/cases.ndjson\"\n",
        otlp(collector.addr()),
        zipkin.addr()
    );
    let mut settings = settings(&stand, &more);
    let mut agent = Agent::start(&why502(), &settings).unwrap();
    fail(&stand, 0..4);
    assert_eq!(of_traces(&arrived(&collector, &agent, 4)), traces(0..4));

    // With other outcomes a new session begins where the old one was.
    settings.capture += "\noutcomes = [\"error-response\"]";
    agent.reconfigure(&settings).unwrap();
    agent.counts("why502_agent_sessions_total", 1.0).unwrap();
    fail(&stand, 4..6);
    assert_eq!(of_traces(&arrived(&collector, &agent, 6)), traces(0..6));
    let cases = "why502_cases_total{outcome=\"error-response\",proxy=\"nginx\"}";
    agent.counts(cases, 6.0).unwrap();

    let output = agent.ask(&["snapshot"]).unwrap();
    assert!(output.status.success(), "{output:?}\n{}", agent.log());
    let snapshot = String::from_utf8(output.stdout).unwrap();
    let expected = exported(Path::new(snapshot.trim()));
    let starts_there = starts(&spans(&expected));
    let expected = by_id(&spans(&expected));
    let got = collector.documents(Signal::Traces).unwrap();
    let got = spans(&got);
    assert_eq!(got.len(), expected.len(), "each once");
    assert_eq!(by_id(&got), expected);
    // The two clocks are compared anew for each session.
    for (id, at) in starts(&got) {
        let apart = at - starts_there[&id];
        assert!(apart.abs() < 1e-3, "{id}: {apart} s");
    }

    let posted = bodies(&zipkin, "/api/v2/spans");
    let posted = posted.iter().flat_map(|body| body.as_array().unwrap());
    let mut posted: Vec<&str> = posted.map(|span| text(span, "id")).collect();
    posted.sort_unstable();
    let mut ids: Vec<&str> = expected.keys().map(String::as_str).collect();
    ids.sort_unstable();
    assert_eq!(posted, ids);
    let delivered = |to: &str, signal: &str| {
        format!(
            "why502_export_items_total{{destination=\"{to}\",signal=\"{signal}\",result=\"delivered\"}}"
        )
    };
    let items = expected.len() as f64;
    agent.counts(&delivered("otlp", "traces"), items).unwrap();
    agent.counts(&delivered("zipkin", "zipkin"), items).unwrap();

    // The counts go out at the end, too.
    agent.running.signal(Kill::TERM).unwrap();
    let code = agent.running.wait(PATIENCE).unwrap();
    assert_eq!(code, Some(0), "{}", agent.log());
    let lines = fs::read_to_string(agent.dir().join("cases.ndjson")).unwrap();
    let paths = lines.lines().map(|line| {
        let case: Value = serde_json::from_str(line).unwrap();
        case["downstream"]["path"].as_str().unwrap().to_owned()
    });
    let expected: Vec<String> = (0..6).map(|n| format!("/rst/{n}")).collect();
    assert_eq!(paths.collect::<Vec<_>>(), expected);
    let counts = collector.documents(Signal::Metrics).unwrap();
    let last = counts.last().unwrap().to_string();
    assert!(last.contains("why502.failures"), "{last}");
    assert_eq!(
        collector.documents(Signal::Logs).unwrap().len(),
        collector.documents(Signal::Traces).unwrap().len()
    );
}

#[test]
fn a_killed_agent_sends_the_same_spans_when_the_receiver_is_back() {
    let Some(stand) = stand() else { return };
    let unwilling = Answering::start(always(503, "")).unwrap();
    let addr = unwilling.addr();
    let settings = settings(&stand, &otlp(addr));
    let agent = Agent::start(&why502(), &settings).unwrap();
    fail(&stand, 0..5);
    let tried = wait_for(PATIENCE, || {
        let tried = bodies(&unwilling, "/v1/traces");
        Ok((!tried.is_empty()).then_some(tried))
    });
    let tried = requests(&tried.unwrap().unwrap());
    // A second document waits behind the first.
    std::thread::sleep(Duration::from_millis(1500));
    fail(&stand, 5..8);
    // Cases wait for each other for a second before they are handed over.
    std::thread::sleep(Duration::from_millis(2500));
    let dir = agent.kill().unwrap();
    drop(unwilling);

    let collector = Collector::start_on(Behaviour::Keep, addr).unwrap();
    let agent = Agent::start_in(dir, &why502(), &settings).unwrap();
    fail(&stand, 8..10);
    let found = arrived(&collector, &agent, 10);
    assert_eq!(of_traces(&found), traces(0..10), "in order, each once");
    assert_eq!(
        found[..tried.len()],
        tried,
        "with the ids of the first time"
    );
}

#[test]
fn a_receiver_that_wants_time_gets_it_and_one_that_refuses_is_not_asked_again() {
    let Some(stand) = stand() else { return };
    let receiver = Answering::start(Always {
        headers: vec!["Retry-After: 3".to_owned()],
        ..always(429, "slow down")
    })
    .unwrap();
    let agent = Agent::start(&why502(), &settings(&stand, &otlp(receiver.addr()))).unwrap();
    let asked = |count: usize| {
        let asked = wait_for(Duration::from_secs(30), || {
            let asked = bodies(&receiver, "/v1/traces");
            Ok((asked.len() >= count).then_some(asked))
        });
        let asked = asked.unwrap();
        asked.unwrap_or_else(|| panic!("not asked {count} times\n{}", agent.log()))
    };
    fail(&stand, 0..1);
    asked(1);
    let told = Instant::now();
    receiver.answer(always(200, "{}"));
    let again = asked(2);
    // It was told a moment before we saw that.
    assert!(
        told.elapsed() >= Duration::from_millis(2500),
        "{:?}",
        told.elapsed()
    );
    assert_eq!(again[0], again[1], "the same document");
    let items = |result: &str| {
        format!(
            "why502_export_items_total{{destination=\"otlp\",signal=\"traces\",result=\"{result}\"}}"
        )
    };
    let each = spans(&again[..1]).len() as f64;
    agent.counts(&items("delivered"), each).unwrap();

    // No document like these will ever be taken.
    let refusals = [
        (400, "unknown field nmae"),
        (404, "<html>no such page</html>"),
        (200, "<html>Welcome to the wiki</html>"),
    ];
    let mut dropped = 0.0;
    for (n, (status, body)) in refusals.into_iter().enumerate() {
        receiver.answer(always(status, body));
        fail(&stand, n + 1..n + 2);
        asked(3 + n);
        dropped += each;
        agent.counts(&items("dropped"), dropped).unwrap();
    }
    agent.says("unknown field nmae").unwrap();
    agent.says("not an OTLP endpoint").unwrap();
    receiver.answer(always(200, "{}"));
    fail(&stand, 9..10);
    let all = asked(6);
    assert_eq!(all.len(), 6, "nothing was sent twice");
    agent.counts(&items("delivered"), 2.0 * each).unwrap();
}

#[test]
fn on_a_full_disk_the_agent_goes_on_and_loses_nothing_that_memory_holds() {
    let Some(stand) = stand() else { return };
    let addr = free_ports(1).unwrap()[0];
    let more = format!(
        "[export.otlp]\nendpoint = \"http://{addr}\"\nspool_directory = \"@/disk/spool\"\n"
    );
    let mut settings = settings(&stand, &more);
    settings.small_disk_kb = Some(48);
    settings.snapshot = "burst_failures = 0".to_owned();
    let agent = Agent::start(&why502(), &settings).unwrap();
    let count = 30;
    for n in 0..count {
        fail(&stand, n..n + 1);
        // A document each second or so.
        std::thread::sleep(Duration::from_millis(150));
    }
    let cases = "why502_agent_cases_total{outcome=\"error-response\"}";
    agent.counts(cases, count as f64).unwrap();
    agent.says("No space left on device").unwrap();
    assert!(
        agent
            .get("/healthz", "*/*")
            .unwrap()
            .contains("\"status\":\"ok\"")
    );

    let collector = Collector::start_on(Behaviour::Keep, addr).unwrap();
    let found = arrived(&collector, &agent, count);
    assert_eq!(of_traces(&found), traces(0..count), "in order, each once");
}

#[test]
fn a_clock_that_is_set_is_told_and_followed() {
    let Some(stand) = stand() else { return };
    let preload = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    if !Path::new(preload).exists() {
        ready::skip("no libfaketime (`cargo xtask setup --for test`)");
        return;
    }
    let collector = Collector::start(Behaviour::Keep).unwrap();
    let mut settings = settings(&stand, &otlp(collector.addr()));
    let dir = tempfile::tempdir().unwrap();
    let clock = dir.path().join("clock");
    fs::write(&clock, "+0\n").unwrap();
    settings.environment = vec![
        ("LD_PRELOAD", preload.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let agent = Agent::start(&why502(), &settings).unwrap();
    fail(&stand, 0..1);
    arrived(&collector, &agent, 1);
    fs::write(&clock, "+7200\n").unwrap();
    agent.says("the wall clock was set by +7").unwrap();
    agent.counts("why502_agent_clock_steps_total", 1.0).unwrap();

    // A new session goes by the new time, without waiting for a quiet moment.
    settings.capture += "\noutcomes = [\"error-response\"]";
    agent.reconfigure(&settings).unwrap();
    agent.counts("why502_agent_sessions_total", 1.0).unwrap();
    fail(&stand, 1..2);
    arrived(&collector, &agent, 2);
    let documents = collector.documents(Signal::Traces).unwrap();
    let starts = starts(&spans(&documents));
    let at = |n: usize| starts[&requests(&documents)[n].1];
    let apart = at(1) - at(0);
    assert!((7190.0..7400.0).contains(&apart), "{apart} s apart");
}
