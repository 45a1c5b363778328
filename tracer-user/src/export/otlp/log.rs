//! OTLP logs: one record a case, tied to its span
//! (<https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto>).

use serde::Serialize;

use super::json::{Names, Pairs, Quoted, Text, payload};
use crate::case::{Case, Outcome};
use crate::deliver::{Payload, Signal};
use crate::export::attributes::{Attributes, LABEL_MAX, TEXT_MAX, printable_lines};
use crate::export::batch;
use crate::export::ids::{SpanId, TraceId};
use crate::export::resource::Origin;
use crate::export::spans;
use crate::session::blamed_attempt;

/// Name of the event.
const EVENT: &str = "why502.case";

const NAMES: Names = Names {
    resources: "resourceLogs",
    scopes: "scopeLogs",
    items: "logRecords",
};

/// A log record for each of these cases, in documents of bounded size.
pub fn logs(cases: &[Case], origin: &Origin) -> Vec<Payload> {
    batch::documents(cases, &|cases| document(cases, origin))
}

fn document(cases: &[Case], origin: &Origin) -> Option<Payload> {
    let resources = batch::by_resource(cases, origin, |case| vec![Record::of(case, origin)]);
    let written: Vec<_> = resources
        .iter()
        .map(|(resource, records)| (resource.clone(), records.iter().map(Json::of).collect()))
        .collect();
    payload::<Json<'_>>(Signal::Logs, &NAMES, &written, cases.len() as u64)
}

struct Record {
    at: u64,
    /// The client got an error.
    failed: bool,
    body: String,
    attributes: Attributes,
    trace: TraceId,
    span: SpanId,
    flags: u8,
}

impl Record {
    fn of(case: &Case, origin: &Origin) -> Self {
        let place = spans::server_place(case, origin);
        let mut found = Attributes::default();
        spans::asked(&mut found, case.downstream.request.as_ref());
        let path = case.downstream.request.as_ref().map(|r| r.path.as_str());
        found.maybe("url.path", path, TEXT_MAX);
        found.int("http.response.status_code", case.status.map(u64::from));
        if let Some(attempt) = blamed_attempt(case).and_then(|index| case.attempts.get(index)) {
            let upstream = attempt.upstream.to_string();
            found.text("why502.upstream", &upstream, LABEL_MAX);
        }
        found.extend(spans::judged(case));
        if let Some(log) = &case.log {
            found.text("why502.log.source", log.source, LABEL_MAX);
            found.text("why502.log.line", &log.line, TEXT_MAX);
        }
        Self {
            at: origin.unix(case.time_ns),
            failed: case.outcome != Outcome::Masked,
            body: printable_lines(&case.verdict.summary, TEXT_MAX),
            attributes: found,
            trace: place.trace,
            span: place.id,
            flags: place.flags,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    time_unix_nano: Quoted<u64>,
    observed_time_unix_nano: Quoted<u64>,
    severity_number: u8,
    severity_text: &'static str,
    event_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Text<'a>>,
    attributes: Pairs<'a>,
    trace_id: Quoted<TraceId>,
    span_id: Quoted<SpanId>,
    flags: u8,
}

impl<'a> Json<'a> {
    fn of(record: &'a Record) -> Self {
        let (severity_number, severity_text) = if record.failed {
            (17, "ERROR")
        } else {
            (13, "WARN")
        };
        Self {
            time_unix_nano: Quoted(record.at),
            observed_time_unix_nano: Quoted(record.at),
            severity_number,
            severity_text,
            event_name: EVENT,
            body: (!record.body.is_empty()).then_some(Text {
                string_value: &record.body,
            }),
            attributes: Pairs(&record.attributes),
            trace_id: Quoted(record.trace),
            span_id: Quoted(record.span),
            flags: record.flags,
        }
    }
}
