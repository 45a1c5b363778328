//! What we write, read by OpenTelemetry's own decoder, and the rules of its JSON, walked.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1 as metrics_proto;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span as Decoded;
use serde_json::Value as Json;

use super::*;
use crate::case::Case;
use crate::deliver::{Payload, Signal};
use crate::event::ProxyKind;
use crate::export::attributes::{Attributes, TEXT_MAX, Value};
use crate::export::family::{Exemplar, Family, Label, Point, Points};
use crate::export::span::{Kind, Span};
use crate::export::testing::{cases, golden, hostile, origin, snapshot, truncated};
use crate::export::{Metrics, spans};
use crate::report::fixture;

/// Holds a document to the rules of OTLP's JSON that decoders are lenient about.
pub(super) fn obeys_the_rules(payload: &Payload) -> Json {
    let document: Json = serde_json::from_slice(&payload.body).unwrap();
    walk("", &document);
    document
}

fn walk(key: &str, value: &Json) {
    let at = || format!("{key}: {value}");
    let hex = |len: usize| {
        let text = value.as_str().unwrap_or_default();
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        digits && text.len() == len && text.bytes().any(|b| b != b'0')
    };
    let quoted = |value: &Json| value.as_str().is_some_and(|t| t.parse::<i128>().is_ok());
    match key {
        "traceId" => assert!(hex(32), "{}", at()),
        "spanId" | "parentSpanId" => assert!(hex(16), "{}", at()),
        "intValue" | "asInt" | "count" | "zeroCount" => assert!(quoted(value), "{}", at()),
        "bucketCounts" => assert!(value.as_array().unwrap().iter().all(quoted), "{}", at()),
        "kind"
        | "code"
        | "aggregationTemporality"
        | "severityNumber"
        | "flags"
        | "scale"
        | "offset" => assert!(value.is_i64() || value.is_u64(), "{}", at()),
        key if key.ends_with("UnixNano") => assert!(quoted(value), "{}", at()),
        _ => {}
    }
    match value {
        Json::Null => panic!("null under {key}"),
        Json::Object(fields) => {
            assert!(!fields.is_empty(), "nothing in {key}");
            for (key, value) in fields {
                let first = key.chars().next().unwrap();
                assert!(first.is_ascii_lowercase() && key.chars().all(char::is_alphanumeric));
                walk(key, value);
            }
        }
        Json::Array(items) => {
            assert!(!items.is_empty(), "nothing in {key}");
            for item in items {
                walk("", item);
            }
        }
        Json::String(_) | Json::Number(_) | Json::Bool(_) => {}
    }
}

/// Attributes as the decoder sees them, back in our form.
pub(super) fn decoded(attributes: &[KeyValue]) -> BTreeMap<String, Value> {
    let text = |value: &AnyValue| match value.value.as_ref() {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    let value = |pair: &KeyValue| match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => Value::Text(text.clone()),
        any_value::Value::IntValue(number) => Value::Int(*number),
        any_value::Value::BoolValue(value) => Value::Bool(*value),
        any_value::Value::ArrayValue(list) => Value::Texts(list.values.iter().map(text).collect()),
        other => panic!("{other:?}"),
    };
    let map: BTreeMap<_, _> = attributes
        .iter()
        .map(|p| (p.key.clone(), value(p)))
        .collect();
    assert_eq!(map.len(), attributes.len(), "a name comes twice");
    map
}

pub(super) fn ours(attributes: &Attributes) -> BTreeMap<String, Value> {
    let pairs = attributes.iter();
    pairs
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn same(got: &Decoded, span: &Span) {
    assert_eq!(hex(&got.trace_id), span.trace.to_string());
    assert_eq!(hex(&got.span_id), span.id.to_string());
    let parent = span.parent.map(|p| p.id.to_string()).unwrap_or_default();
    assert_eq!(hex(&got.parent_span_id), parent);
    let remote = span.parent.is_some_and(|parent| parent.remote);
    let known = if remote { 0x300 } else { 0x100 };
    assert_eq!(got.flags, known | u32::from(span.flags));
    assert_eq!(got.name, span.name);
    assert_eq!(got.kind, if span.kind == Kind::Server { 2 } else { 3 });
    let times = (got.start_time_unix_nano, got.end_time_unix_nano);
    assert_eq!(times, (span.start, span.end));
    assert_eq!(decoded(&got.attributes), ours(&span.attributes));
    assert_eq!(got.events.len(), span.events.len());
    for (got, event) in got.events.iter().zip(&span.events) {
        assert_eq!((got.time_unix_nano, &got.name), (event.at, &event.name));
        assert_eq!(decoded(&got.attributes), ours(&event.attributes));
    }
    let links = got
        .links
        .iter()
        .map(|l| (hex(&l.trace_id), hex(&l.span_id), l.flags));
    let wanted = span.links.iter().map(|link| {
        let flags = 0x300 | u32::from(link.flags);
        (link.trace.to_string(), link.parent.to_string(), flags)
    });
    assert!(links.eq(wanted));
    assert_eq!(got.status.is_some(), span.failed.is_some());
    assert!(got.status.as_ref().is_none_or(|status| status.code == 2));
}

#[test]
fn traces_say_what_was_found() {
    let (cases, origin) = (cases(), origin());
    let payloads = traces(&cases, &origin);
    assert_eq!(payloads.len(), 1);
    obeys_the_rules(&payloads[0]);
    let got: ExportTraceServiceRequest = serde_json::from_slice(&payloads[0].body).unwrap();
    let got = got.resource_spans;
    // The hostile case is of another kind of proxy.
    assert_eq!(got.len(), 2);
    let mut count = 0;
    for (resource, cases) in got.iter().zip([&cases[..4], &cases[4..]]) {
        let proxy = &cases[0].proxy;
        let wanted = origin.resource(Some(&proxy.kind), Some(proxy.pid));
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        assert_eq!(decoded(attributes), ours(&wanted));
        let [scope] = &resource.scope_spans[..] else {
            panic!()
        };
        assert_eq!(scope.scope.as_ref().unwrap().name, "why502");
        assert_eq!(
            scope.scope.as_ref().unwrap().version,
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(scope.schema_url, "https://opentelemetry.io/schemas/1.44.0");
        let wanted: Vec<Span> = cases
            .iter()
            .flat_map(|case| spans::of(case, &origin))
            .collect();
        assert_eq!(scope.spans.len(), wanted.len());
        for (got, span) in scope.spans.iter().zip(&wanted) {
            same(got, span);
            count += 1;
        }
    }
    assert_eq!(
        (payloads[0].signal, payloads[0].items),
        (Signal::Traces, count)
    );
}

#[test]
fn logs_say_what_was_found() {
    let (cases, origin) = (cases(), origin());
    let payloads = logs(&cases, &origin);
    obeys_the_rules(&payloads[0]);
    assert_eq!((payloads[0].signal, payloads[0].items), (Signal::Logs, 5));
    let got: ExportLogsServiceRequest = serde_json::from_slice(&payloads[0].body).unwrap();
    let records = got
        .resource_logs
        .iter()
        .flat_map(|r| &r.scope_logs[0].log_records);
    for (got, case) in records.zip(&cases) {
        let server = &spans::of(case, &origin)[0];
        assert_eq!(hex(&got.trace_id), server.trace.to_string());
        assert_eq!(hex(&got.span_id), server.id.to_string());
        assert_eq!(got.flags, u32::from(server.flags));
        assert_eq!(got.time_unix_nano, server.end);
        assert_eq!(got.observed_time_unix_nano, server.end);
        assert_eq!(got.event_name, "why502.case");
        let masked = case.outcome.name() == "masked";
        let severity = if masked { (13, "WARN") } else { (17, "ERROR") };
        assert_eq!((got.severity_number, got.severity_text.as_str()), severity);
        let attributes = decoded(&got.attributes);
        let body = &got.body.as_ref().unwrap().value;
        let Some(any_value::Value::StringValue(body)) = body else {
            panic!()
        };
        assert_eq!(attributes["why502.summary"], Value::Text(body.clone()));
        assert_eq!(
            attributes["why502.rule"],
            Value::Text(case.verdict.rule.into())
        );
        let upstream = attributes.get("why502.upstream");
        assert_eq!(upstream.is_some(), !case.attempts.is_empty());
    }
}

#[test]
fn documents_as_they_are() {
    let case = fixture::masked();
    let origin = origin();
    golden(
        "otlp-traces.json",
        &traces(&[fixture::reuse_race(), case.clone()], &origin),
    );
    golden("otlp-logs.json", &logs(&[case], &origin));
}

#[test]
fn hostile_text_is_bounded_and_does_nothing() {
    for payload in [
        traces(&[hostile()], &origin()),
        logs(&[hostile()], &origin()),
    ]
    .concat()
    {
        let document = obeys_the_rules(&payload);
        assert!(payload.body.len() < 512 << 10, "{}", payload.body.len());
        texts(&document, &mut |text| {
            assert!(text.chars().count() <= TEXT_MAX, "{}", text.len());
            assert!(
                text.chars()
                    .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}')
            );
        });
    }
}

fn texts(value: &Json, see: &mut impl FnMut(&str)) {
    match value {
        Json::String(text) => see(text),
        Json::Array(items) => items.iter().for_each(|item| texts(item, see)),
        Json::Object(fields) => fields.values().for_each(|item| texts(item, see)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

#[test]
fn batches_are_bounded() {
    let origin = origin();
    assert_eq!(traces(&[], &origin), []);
    let many = |case: Case, count| vec![case; count];
    let of_two = traces(&many(fixture::reuse_race(), 600), &origin);
    let items: Vec<u64> = of_two.iter().map(|payload| payload.items).collect();
    assert_eq!(items, [512, 512, 176]);
    // Three spans a case: never a case in two documents.
    let of_three = traces(&many(fixture::masked(), 200), &origin);
    assert!(of_three.iter().all(|p| p.items % 3 == 0 && p.items <= 512));
    assert_eq!(
        of_three.iter().map(|payload| payload.items).sum::<u64>(),
        600
    );
    let large = traces(&many(hostile(), 30), &origin);
    assert!(large.iter().all(|payload| payload.body.len() <= 4 << 20));
    assert_eq!(large.iter().map(|payload| payload.items).sum::<u64>(), 60);
}

const NOW: super::Span = super::Span {
    start_unix_ns: 1_795_355_674_000_000_000,
    now_unix_ns: 1_795_355_734_000_000_000,
};

fn counted() -> Metrics {
    let mut metrics = Metrics::new();
    metrics.backends(&[snapshot("10.0.0.6:8080", 50), snapshot("10.0.0.5:8080", 3)]);
    for case in cases().iter().chain([&truncated()]) {
        metrics.case(case, &origin());
    }
    metrics.losses(&vec![("ring_upstream".into(), 3)]);
    metrics
}

fn labels<T>(point: &Point<T>) -> BTreeMap<String, Value> {
    let value = |label: &Label| match label {
        Label::Text(text) => Value::Text(text.to_string()),
        Label::Int(number) => Value::Int((*number).into()),
    };
    let pairs = point.labels.iter();
    pairs
        .map(|(key, label)| ((*key).to_owned(), value(label)))
        .collect()
}

fn same_examples(got: &[metrics_proto::Exemplar], wanted: &[Exemplar]) {
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(wanted) {
        assert_eq!(hex(&got.trace_id), wanted.trace.to_string());
        assert_eq!(hex(&got.span_id), wanted.span.to_string());
        assert_eq!(got.time_unix_nano, wanted.unix_ns);
        assert_eq!(
            got.value,
            Some(metrics_proto::exemplar::Value::AsDouble(wanted.value))
        );
    }
}

#[test]
fn metrics_say_what_was_counted() {
    let families = counted().families();
    let payloads = metrics(&families, &origin(), Some(&ProxyKind::Nginx), NOW);
    assert_eq!(payloads.len(), 1);
    obeys_the_rules(&payloads[0]);
    let got: ExportMetricsServiceRequest = serde_json::from_slice(&payloads[0].body).unwrap();
    let resource = got.resource_metrics[0].resource.as_ref().unwrap();
    let wanted = origin().resource(Some(&ProxyKind::Nginx), None);
    assert_eq!(decoded(&resource.attributes), ours(&wanted));
    let got = &got.resource_metrics[0].scope_metrics[0].metrics;
    let wanted: Vec<&Family> = families.iter().filter(|f| !f.is_empty()).collect();
    assert_eq!(got.len(), wanted.len());
    let mut count = 0;
    for (got, family) in got.iter().zip(wanted) {
        assert_eq!(got.name, family.name);
        assert_eq!(
            (got.unit.as_str(), got.description.as_str()),
            (family.unit, family.help)
        );
        let times = |start, now| assert_eq!((start, now), (NOW.start_unix_ns, NOW.now_unix_ns));
        match (got.data.as_ref().unwrap(), &family.points) {
            (Data::Sum(sum), Points::Counter(points)) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
                assert_eq!(sum.data_points.len(), points.len());
                for (got, point) in sum.data_points.iter().zip(points) {
                    let value = metrics_proto::number_data_point::Value::AsInt(point.value as i64);
                    assert_eq!(got.value, Some(value));
                    assert_eq!(decoded(&got.attributes), labels(point));
                    times(got.start_time_unix_nano, got.time_unix_nano);
                    same_examples(&got.exemplars, &point.exemplars);
                    count += 1;
                }
            }
            (Data::Gauge(gauge), Points::Gauge(points)) => {
                let value = metrics_proto::number_data_point::Value::AsDouble(points[0].value);
                assert_eq!(gauge.data_points[0].value, Some(value));
                count += points.len();
            }
            (Data::ExponentialHistogram(histogram), Points::Histogram(_, points)) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                assert_eq!(histogram.data_points.len(), points.len());
                for (got, point) in histogram.data_points.iter().zip(points) {
                    let wanted = point.value.exponential();
                    assert_eq!(
                        (got.count, got.sum),
                        (point.value.count(), Some(point.value.sum()))
                    );
                    assert_eq!((got.scale, got.zero_count), (wanted.scale, wanted.zero));
                    let buckets = got.positive.as_ref().unwrap();
                    assert_eq!(
                        (buckets.offset, &buckets.bucket_counts),
                        (wanted.offset, &wanted.counts)
                    );
                    let sum: u64 = buckets.bucket_counts.iter().sum();
                    assert_eq!(got.zero_count + sum, got.count);
                    assert_eq!(decoded(&got.attributes), labels(point));
                    times(got.start_time_unix_nano, got.time_unix_nano);
                    same_examples(&got.exemplars, &point.exemplars);
                    count += 1;
                }
            }
            (got, wanted) => panic!("{got:?} for {wanted:?}"),
        }
    }
    assert_eq!(
        (payloads[0].signal, payloads[0].items),
        (Signal::Metrics, count as u64)
    );
    golden("otlp-metrics.json", &payloads);
}

#[test]
fn a_sum_in_fractions_grows_from_the_start() {
    let points = Points::Sum(vec![Point::new(Vec::new(), 1.5)]);
    let families = [Family::new("process.cpu", "s", "Used.", points)];
    let payloads = metrics(&families, &origin(), None, NOW);
    obeys_the_rules(&payloads[0]);
    let got: ExportMetricsServiceRequest = serde_json::from_slice(&payloads[0].body).unwrap();
    let got = &got.resource_metrics[0].scope_metrics[0].metrics[0];
    let Some(Data::Sum(sum)) = &got.data else {
        panic!("{got:?}")
    };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    let value = metrics_proto::number_data_point::Value::AsDouble(1.5);
    assert_eq!(sum.data_points[0].value, Some(value));
    let times = |p: &metrics_proto::NumberDataPoint| (p.start_time_unix_nano, p.time_unix_nano);
    let wanted = (NOW.start_unix_ns, NOW.now_unix_ns);
    assert_eq!(times(&sum.data_points[0]), wanted);
}

#[test]
fn many_series_are_several_documents() {
    let mut metrics_of = Metrics::new();
    let states: Vec<_> = (1..=600)
        .map(|port| snapshot(&format!("10.0.0.5:{port}"), 3))
        .collect();
    metrics_of.backends(&states);
    let families = metrics_of.families();
    let payloads = metrics(&families, &origin(), None, NOW);
    assert_eq!(payloads.iter().map(|p| p.items).sum::<u64>(), 5 * 257 + 1);
    for payload in &payloads {
        assert!(payload.items <= 1024);
        obeys_the_rules(payload);
    }
    assert_eq!(metrics(&[], &origin(), None, NOW), []);
}
