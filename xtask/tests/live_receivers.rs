//! The receivers that exports are tested against do what those tests rely on: they take what is
//! right, give all of it back, refuse as told, and end with the test.
#![expect(
    clippy::unwrap_used,
    reason = "test helpers fail where they stand, like the tests"
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xtask::lab::process::state;
use xtask::lab::receivers::answering::{Always, Answering};
use xtask::lab::receivers::collector::{Behaviour, Collector, SMALLEST_TRACE};
use xtask::lab::receivers::compare::equal_after_defaults;
use xtask::lab::receivers::prometheus::{FIRST_SCRAPE, Prometheus, check_metrics};
use xtask::lab::receivers::recorder::Recorder;
use xtask::lab::receivers::strict::{check_fields, check_letter};
use xtask::lab::receivers::{Need, Signal, or_skip};

const PATIENCE: Duration = Duration::from_secs(5);

fn trace() -> Value {
    serde_json::from_str(SMALLEST_TRACE).unwrap()
}

fn metrics() -> Value {
    json!({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "nginx"}}]},
        "scopeMetrics": [{"scope": {"name": "why502"}, "metrics": [
            {"name": "why502.cases", "unit": "{case}", "sum": {
                "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [{
                    "attributes": [{"key": "why502.rule", "value": {"stringValue": "keepalive-race"}}],
                    "startTimeUnixNano": "1795331412770692759", "timeUnixNano": "1795331472770692759",
                    "asInt": "0",
                }],
            }},
            {"name": "http.client.request.duration", "unit": "s", "exponentialHistogram": {
                "aggregationTemporality": 2, "dataPoints": [{
                    "startTimeUnixNano": "1795331412770692759", "timeUnixNano": "1795331472770692759",
                    "count": "9007199254740993", "sum": 0.25, "scale": 3, "zeroCount": "1",
                    "positive": {"offset": -40, "bucketCounts": ["0", "9007199254740992"]},
                    "exemplars": [{
                        "timeUnixNano": "1795331472770692000", "asDouble": 0.125,
                        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "051581bf3cb55c13",
                    }],
                }],
            }},
        ]}],
    }]})
}

fn logs() -> Value {
    json!({"resourceLogs": [{"scopeLogs": [{"scope": {"name": "why502"}, "logRecords": [{
        "timeUnixNano": "1795331412770692759", "severityNumber": 17, "severityText": "ERROR",
        "body": {"stringValue": "502 \u{1f9e8} \"quoted\""}, "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
        "attributes": [{"key": "bytes", "value": {"intValue": "-1"}}],
    }]}]}]})
}

#[test]
fn the_collector_gives_back_what_it_was_sent() {
    if !or_skip(&[Need::Collector]) {
        return;
    }
    let collector = Collector::start(Behaviour::Keep).unwrap();
    for (signal, document) in [
        (Signal::Traces, trace()),
        (Signal::Metrics, metrics()),
        (Signal::Logs, logs()),
    ] {
        collector.check(signal, &document).unwrap();
    }
    // A judge, not a yes-man.
    let error = collector.check(Signal::Traces, &json!({"resourceSpans": [{"scopeSpans": [{"spans": [
        {"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "051581bf3cb55c13", "nmae": "GET"},
    ]}]}]}));
    let error = error.unwrap_err().to_string();
    assert!(error.contains(".nmae: \"GET\" was lost"), "{error}");
    let answer = collector.post(
        Signal::Traces,
        br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz"}]}]}]}"#,
    );
    assert_eq!(answer.unwrap().status, 400);
    let pid = collector.pid();
    drop(collector);
    assert_eq!(state(pid), None);
}

#[test]
fn a_full_collector_says_503() {
    if !or_skip(&[Need::Collector]) {
        return;
    }
    let collector = Collector::start(Behaviour::Full).unwrap();
    let answer = collector
        .post(Signal::Traces, SMALLEST_TRACE.as_bytes())
        .unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("memory"), "{}", answer.text());
    assert_eq!(
        collector.documents(Signal::Traces).unwrap(),
        [] as [Value; 0]
    );
}

#[test]
fn a_collector_hands_on_what_the_next_one_answers() {
    if !or_skip(&[Need::Collector]) {
        return;
    }
    let next = Answering::start(Always {
        status: 429,
        headers: vec!["Retry-After: 7".into()],
        body: Vec::new(),
    })
    .unwrap();
    let collector = Collector::start(Behaviour::HandOn(next.addr())).unwrap();
    let answer = collector
        .post(Signal::Traces, SMALLEST_TRACE.as_bytes())
        .unwrap();
    assert_eq!(answer.status, 429, "{}", answer.text());
    let asked = next.asked();
    assert_eq!(asked.len(), 1);
    equal_after_defaults(&trace(), &serde_json::from_slice(&asked[0].body).unwrap()).unwrap();

    // Through a chain of two real ones.
    let last = Collector::start(Behaviour::Keep).unwrap();
    let first = Collector::start(Behaviour::HandOn(last.addr())).unwrap();
    let answer = first
        .post(Signal::Logs, logs().to_string().as_bytes())
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let documents = last.wait_documents(Signal::Logs, 1, PATIENCE).unwrap();
    equal_after_defaults(&logs(), &documents[0]).unwrap();

    // A receiver that went away and is back at its address.
    let addr = last.addr();
    drop(last);
    let answer = first
        .post(Signal::Logs, logs().to_string().as_bytes())
        .unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    let last = Collector::start_on(Behaviour::Keep, addr).unwrap();
    let answer = first
        .post(Signal::Logs, logs().to_string().as_bytes())
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(last.documents(Signal::Logs).unwrap().len(), 1);
}

#[test]
fn what_fails_to_come_is_told_with_the_log() {
    if !or_skip(&[Need::Collector]) {
        return;
    }
    let collector = Collector::start(Behaviour::Keep).unwrap();
    let began = Instant::now();
    let error = collector.wait_documents(Signal::Traces, 1, Duration::from_millis(200));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("got 0 of 1 documents of traces") && error.contains("its log:"),
        "{error}"
    );
    assert!(began.elapsed() < PATIENCE);
    let error = Collector::start_on(Behaviour::Keep, collector.addr())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("is taken"), "{error}");
}

#[test]
fn the_recorder_gives_back_the_very_words() {
    if !or_skip(&[Need::PythonTools]) {
        return;
    }
    let recorder = Recorder::start().unwrap();
    for (signal, document) in [
        (Signal::Traces, trace()),
        (Signal::Metrics, metrics()),
        (Signal::Logs, logs()),
    ] {
        let answer = recorder
            .post(signal, document.to_string().as_bytes())
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let documents = recorder.documents(signal).unwrap();
        assert_eq!(documents.len(), 1);
        equal_after_defaults(&document, &documents[0]).unwrap();
    }
    recorder.clear().unwrap();
    assert_eq!(
        recorder.documents(Signal::Traces).unwrap(),
        [] as [Value; 0]
    );
}

#[test]
fn the_protocols_own_messages_judge_fields() {
    if !or_skip(&[Need::PythonTools]) {
        return;
    }
    for (signal, document) in [
        (Signal::Traces, trace()),
        (Signal::Metrics, metrics()),
        (Signal::Logs, logs()),
    ] {
        check_letter(&document).unwrap();
        check_fields(signal, &document).unwrap();
    }
    let mut unknown = trace();
    unknown["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["nmae"] = json!("GET");
    let error = check_fields(Signal::Traces, &unknown)
        .unwrap_err()
        .to_string();
    assert!(error.contains("nmae"), "{error}");
    assert!(check_fields(Signal::Logs, &trace()).is_err());
}

const EXPOSITION: &str = "\
# HELP why502_cases_total Failures by verdict.
# TYPE why502_cases_total counter
why502_cases_total{rule=\"keepalive-race\",upstream=\"10.0.0.5:8080\",outcome=\"error-response\"} 3
";

#[test]
fn prometheus_scrapes_and_is_asked() {
    if !or_skip(&[Need::Prometheus]) {
        return;
    }
    check_metrics(EXPOSITION).unwrap();
    let error = check_metrics(&EXPOSITION.replace("_total", "_ms")).unwrap_err();
    assert!(error.to_string().contains("counter"), "{error}");
    assert!(check_metrics("why502_cases_total{rule=x} 3\n").is_err());

    let page = Answering::start(Always {
        status: 200,
        headers: vec!["Content-Type: text/plain; version=0.0.4".into()],
        body: EXPOSITION.into(),
    })
    .unwrap();
    let prometheus = Prometheus::start("why502", &[page.addr()], &[]).unwrap();
    prometheus.wait_up(FIRST_SCRAPE).unwrap();
    let series = prometheus
        .wait_query("why502_cases_total", PATIENCE)
        .unwrap();
    assert_eq!(series.len(), 1);
    assert_eq!(series[0].value, 3.0);
    assert_eq!(series[0].labels["rule"], "keepalive-race");
    assert_eq!(
        prometheus.query("scalar(sum(why502_cases_total))").unwrap()[0].value,
        3.0
    );
    assert_eq!(prometheus.query("no_such_metric").unwrap(), []);
    let error = prometheus.query("sum(").unwrap_err().to_string();
    assert!(error.contains("parse error"), "{error}");

    // A target that stops to make sense is told as such.
    page.answer(Always {
        status: 500,
        headers: Vec::new(),
        body: Vec::new(),
    });
    let down = prometheus.wait_query("up == 0", PATIENCE).unwrap();
    assert_eq!(down[0].labels["job"], "why502");
    let error = prometheus
        .wait_up(Duration::from_millis(100))
        .unwrap_err()
        .to_string();
    assert!(error.contains("500"), "{error}");
}
