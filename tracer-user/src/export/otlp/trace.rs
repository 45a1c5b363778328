//! OTLP traces
//! (<https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto>).

use serde::Serialize;

use super::json::{Names, Pairs, Quoted, payload};
use crate::case::Case;
use crate::deliver::{Payload, Signal};
use crate::export::attributes::{TEXT_MAX, printable_lines};
use crate::export::batch;
use crate::export::context::Context;
use crate::export::ids::{SpanId, TraceId};
use crate::export::resource::Origin;
use crate::export::span::{Event, Kind, Span};
use crate::export::spans;

/// It is known whether the parent, or what a link names, is in another process.
const HAS_IS_REMOTE: u32 = 0x100;
/// It is.
const IS_REMOTE: u32 = 0x200;
/// `STATUS_CODE_ERROR`.
const STATUS_ERROR: u8 = 2;

const NAMES: Names = Names {
    resources: "resourceSpans",
    scopes: "scopeSpans",
    items: "spans",
};

/// The traces of these cases, in documents of bounded size.
pub fn traces(cases: &[Case], origin: &Origin) -> Vec<Payload> {
    batch::documents(cases, &|cases| document(cases, origin))
}

fn document(cases: &[Case], origin: &Origin) -> Option<Payload> {
    let resources = batch::by_resource(cases, origin, |case| spans::of(case, origin));
    let count = resources.iter().map(|(_, spans)| spans.len() as u64).sum();
    let written: Vec<_> = resources
        .iter()
        .map(|(resource, spans)| (resource.clone(), spans.iter().map(SpanJson::of).collect()))
        .collect();
    payload::<SpanJson<'_>>(Signal::Traces, &NAMES, &written, count)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson<'a> {
    trace_id: Quoted<TraceId>,
    span_id: Quoted<SpanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<Quoted<SpanId>>,
    flags: u32,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: Quoted<u64>,
    end_time_unix_nano: Quoted<u64>,
    #[serde(skip_serializing_if = "Pairs::is_empty")]
    attributes: Pairs<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<LinkJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

impl<'a> SpanJson<'a> {
    fn of(span: &'a Span) -> Self {
        let Span {
            trace,
            id,
            parent,
            flags,
            kind,
            name,
            start,
            end,
            attributes,
            events,
            links,
            failed,
        } = span;
        let remote = parent.is_some_and(|parent| parent.remote);
        Self {
            trace_id: Quoted(*trace),
            span_id: Quoted(*id),
            parent_span_id: parent.map(|parent| Quoted(parent.id)),
            flags: u32::from(*flags) | HAS_IS_REMOTE | if remote { IS_REMOTE } else { 0 },
            name,
            kind: match kind {
                Kind::Server => 2,
                Kind::Client => 3,
            },
            start_time_unix_nano: Quoted(*start),
            end_time_unix_nano: Quoted(*end),
            attributes: Pairs(attributes),
            events: events.iter().map(EventJson::of).collect(),
            links: links.iter().map(LinkJson::of).collect(),
            status: failed.as_ref().map(|why| Status {
                code: STATUS_ERROR,
                message: printable_lines(why, TEXT_MAX),
            }),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventJson<'a> {
    time_unix_nano: Quoted<u64>,
    name: &'a str,
    #[serde(skip_serializing_if = "Pairs::is_empty")]
    attributes: Pairs<'a>,
}

impl<'a> EventJson<'a> {
    fn of(event: &'a Event) -> Self {
        Self {
            time_unix_nano: Quoted(event.at),
            name: &event.name,
            attributes: Pairs(&event.attributes),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkJson {
    trace_id: Quoted<TraceId>,
    span_id: Quoted<SpanId>,
    flags: u32,
}

impl LinkJson {
    fn of(context: &Context) -> Self {
        Self {
            trace_id: Quoted(context.trace),
            span_id: Quoted(context.parent),
            flags: u32::from(context.flags) | HAS_IS_REMOTE | IS_REMOTE,
        }
    }
}

#[derive(Serialize)]
struct Status {
    code: u8,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}
