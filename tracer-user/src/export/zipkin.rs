//! Zipkin v2 JSON (<https://zipkin.io/zipkin-api/#/default/post_spans>). Spans are mapped as
//! OpenTelemetry's exporters do
//! (<https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/zipkin/>); links have no room in it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use serde::Serialize;

use super::attributes::{Attributes, TEXT_MAX, Value, printable_lines};
use super::batch;
use super::resource::{Origin, SCOPE, VERSION};
use super::span::{Event, Kind, Span};
use super::spans;
use crate::case::Case;
use crate::deliver::{Payload, Signal};

/// The spans of these cases: arrays of bounded size.
pub fn zipkin(cases: &[Case], origin: &Origin) -> Vec<Payload> {
    batch::documents(cases, &|cases| document(cases, origin))
}

fn document(cases: &[Case], origin: &Origin) -> Option<Payload> {
    let mut all = Vec::new();
    for case in cases {
        let service = origin.service_name(Some(&case.proxy.kind));
        let resource = origin.resource(Some(&case.proxy.kind), Some(case.proxy.pid));
        let spans = spans::of(case, origin);
        all.extend(spans.iter().map(|span| Json::of(span, &service, &resource)));
    }
    if all.is_empty() {
        return None;
    }
    let body = serde_json::to_vec(&all).ok()?;
    Some(Payload {
        signal: Signal::Zipkin,
        body: Bytes::from(body),
        items: all.len() as u64,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    kind: &'static str,
    name: String,
    /// µs since the epoch.
    timestamp: u64,
    /// µs, at least 1.
    duration: u64,
    local_endpoint: Endpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_endpoint: Option<Endpoint>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation>,
    tags: BTreeMap<String, String>,
}

impl Json {
    fn of(span: &Span, service: &str, resource: &Attributes) -> Self {
        let mut tags: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in resource.iter().chain(span.attributes.iter()) {
            if key != "service.name" {
                tags.insert(key.to_owned(), tag(value));
            }
        }
        tags.insert("otel.scope.name".into(), SCOPE.into());
        tags.insert("otel.scope.version".into(), VERSION.into());
        if let Some(why) = &span.failed {
            // An empty tag would be no error to some readers.
            let why = printable_lines(why, TEXT_MAX);
            let why = if why.is_empty() { "true".into() } else { why };
            tags.insert("otel.status_code".into(), "ERROR".into());
            tags.insert("error".into(), why);
        }
        let end = |side| Endpoint::of(&span.attributes, side);
        let mut local = end("local").unwrap_or_default();
        local.service_name = Some(service.to_owned());
        Self {
            trace_id: span.trace.to_string(),
            id: span.id.to_string(),
            parent_id: span.parent.map(|parent| parent.id.to_string()),
            kind: match span.kind {
                Kind::Server => "SERVER",
                Kind::Client => "CLIENT",
            },
            name: span.name.clone(),
            timestamp: span.start / 1000,
            duration: ((span.end - span.start) / 1000).max(1),
            local_endpoint: local,
            remote_endpoint: end("peer"),
            annotations: span.events.iter().map(Annotation::of).collect(),
            tags,
        }
    }
}

/// Lists as JSON, as OpenTelemetry's mapping has it.
fn tag(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Texts(texts) => serde_json::to_string(texts).unwrap_or_default(),
    }
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<i64>,
}

impl Endpoint {
    /// The end `local` or `peer` of the connection, if it is known.
    fn of(attributes: &Attributes, side: &str) -> Option<Self> {
        let value = |name| attributes.get(&format!("network.{side}.{name}"));
        let Some(Value::Text(address)) = value("address") else {
            return None;
        };
        let address: IpAddr = address.parse().ok()?;
        Some(Self {
            service_name: None,
            ipv4: Some(address).filter(IpAddr::is_ipv4),
            ipv6: Some(address).filter(IpAddr::is_ipv6),
            port: match value("port") {
                Some(Value::Int(port)) if *port > 0 => Some(*port),
                _ => None,
            },
        })
    }
}

#[derive(Serialize)]
struct Annotation {
    timestamp: u64,
    value: String,
}

impl Annotation {
    fn of(event: &Event) -> Self {
        let details = event.attributes.iter().map(|(key, value)| {
            let key = key.trim_start_matches("why502.");
            format!(" {key}={}", tag(value))
        });
        Self {
            timestamp: event.at / 1000,
            value: format!("{}{}", event.name, details.collect::<String>()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use zipkin_types::{Kind as Strict, Span as Decoded};

    use super::super::testing::{cases, golden, hostile, origin};
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_strict_reader_finds_what_we_wrote() {
        let (cases, origin) = (cases(), origin());
        let payloads = zipkin(&cases, &origin);
        assert_eq!((payloads.len(), payloads[0].signal), (1, Signal::Zipkin));
        let got: Vec<Decoded> = serde_json::from_slice(&payloads[0].body).unwrap();
        let all = |case| spans::of(case, &origin).into_iter().map(move |s| (s, case));
        let wanted: Vec<(Span, &Case)> = cases.iter().flat_map(all).collect();
        assert_eq!(got.len() as u64, payloads[0].items);
        assert_eq!(got.len(), wanted.len());
        for (got, (span, case)) in got.iter().zip(&wanted) {
            assert_eq!(got.trace_id().to_string(), span.trace.to_string());
            assert_eq!(got.id().to_string(), span.id.to_string());
            let parent = got.parent_id().map(|id| id.to_string());
            assert_eq!(parent, span.parent.map(|p| p.id.to_string()));
            let client = matches!(got.kind(), Some(Strict::Client));
            assert_eq!(client, span.kind == Kind::Client);
            assert_eq!(got.name(), Some(span.name.as_str()));
            let start = UNIX_EPOCH + Duration::from_micros(span.start / 1000);
            assert_eq!(got.timestamp(), Some(start));
            let duration = Duration::from_micros(((span.end - span.start) / 1000).max(1));
            assert_eq!(got.duration(), Some(duration));
            let local = got.local_endpoint().unwrap();
            let service = origin.service_name(Some(&case.proxy.kind));
            assert_eq!(local.service_name(), Some(service.as_str()));
            if client {
                let remote = got.remote_endpoint().unwrap();
                assert!(remote.port().is_some());
                assert_eq!(remote.ipv4().is_some(), remote.ipv6().is_none());
            }
            for (key, value) in span.attributes.iter() {
                assert_eq!(got.tags()[key], tag(value));
            }
            assert_eq!(got.tags().contains_key("error"), span.failed.is_some());
            assert_eq!(got.tags()["host.name"], "web1");
            assert_eq!(got.annotations().len(), span.events.len());
            for (got, event) in got.annotations().iter().zip(&span.events) {
                let at = UNIX_EPOCH + Duration::from_micros(event.at / 1000);
                assert_eq!(got.timestamp(), at);
                assert!(got.value().starts_with(&event.name));
            }
        }
    }

    #[test]
    fn documents_as_they_are() {
        golden("zipkin.json", &zipkin(&[fixture::masked()], &origin()));
        assert_eq!(zipkin(&[], &origin()), []);
    }

    #[test]
    fn hostile_text_is_bounded() {
        let payloads = zipkin(&[hostile()], &origin());
        assert!(payloads[0].body.len() < 512 << 10);
        let text = String::from_utf8_lossy(&payloads[0].body).into_owned();
        assert!(!text.contains('\u{202e}') && !text.contains("\\u001b"));
        let got: Vec<Decoded> = serde_json::from_str(&text).unwrap();
        assert_eq!(got.len(), 2);
    }
}
