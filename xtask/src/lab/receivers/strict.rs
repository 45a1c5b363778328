//! Is a document OTLP in JSON to the letter? Receivers are lenient, each in another way, and ignore
//! fields that they do not know, as they must; a sender may not rely on that
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::Signal;
use super::compare::{LONG, LONG_LISTS};
use super::python::python;

/// Fields that hold enumerations, as numbers.
const ENUMS: [&str; 4] = ["kind", "code", "aggregationTemporality", "severityNumber"];
/// Lists that are there only with something in them.
const ENVELOPES: [&str; 10] = [
    "resourceSpans",
    "scopeSpans",
    "spans",
    "resourceMetrics",
    "scopeMetrics",
    "metrics",
    "dataPoints",
    "resourceLogs",
    "scopeLogs",
    "logRecords",
];

/// Errors with the path of the first thing that the encoding forbids, or that some receiver is known
/// to refuse.
pub fn check_letter(document: &Value) -> Result<()> {
    match fault("", "", document) {
        None => Ok(()),
        Some(what) => bail!("not OTLP: {what}"),
    }
}

fn fault(path: &str, name: &str, value: &Value) -> Option<String> {
    let wrong = |what: &str| Some(format!("{path} {what}: {value}"));
    let hex = |digits: usize| {
        let good = value.as_str().is_some_and(|id| {
            id.len() == digits
                && id.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
                && id.bytes().any(|c| c != b'0')
        });
        (!good).then(|| format!("{path} is no id of {digits} digits: {value}"))
    };
    match name {
        _ if value.is_null() => return wrong("is null"),
        "traceId" => return hex(32),
        "spanId" | "parentSpanId" => return hex(16),
        // 64 bits; a field of that name that is a list or a message is another one.
        _ if LONG.contains(&name) && !value.is_object() => {
            let number = value.as_str().and_then(|text| text.parse::<i128>().ok());
            return number
                .is_none()
                .then(|| format!("{path} is no number in a string: {value}"));
        }
        _ if ENUMS.contains(&name) && !value.is_u64() => return wrong("is no number"),
        _ if ENVELOPES.contains(&name) && value.as_array().is_none_or(Vec::is_empty) => {
            return wrong("is empty");
        }
        "value" | "body" if value.as_object().is_some_and(|fields| fields.len() != 1) => {
            return wrong("is not one value");
        }
        _ => {}
    }
    match value {
        Value::Object(fields) => {
            let lists = ["bucketCounts", "explicitBounds"].map(|list| fields.get(list));
            if let [Some(Value::Array(counts)), Some(Value::Array(bounds))] = lists
                && counts.len() != bounds.len() + 1
            {
                return wrong("has not one bucket more than bounds");
            }
            fields.iter().find_map(|(name, value)| {
                let path = format!("{path}.{name}");
                match name.contains('_') {
                    true => Some(format!("{path} is no name in lowerCamelCase")),
                    false => fault(&path, name, value),
                }
            })
        }
        Value::Array(entries) => {
            let inner = if LONG_LISTS.contains(&name) {
                "count"
            } else {
                ""
            };
            let mut entries = entries.iter().enumerate();
            entries.find_map(|(i, entry)| fault(&format!("{path}[{i}]"), inner, entry))
        }
        _ => None,
    }
}

/// Errors unless every field is one of the protocol's own messages and has a value of its kind, as
/// the OpenTelemetry project's generated code for Python has them. Ids are told as base64 there.
pub fn check_fields(signal: Signal, document: &Value) -> Result<()> {
    const PROGRAM: &str = r#"
import base64, importlib, json, sys
from google.protobuf import json_format

def ids(value, name=""):
    if isinstance(value, dict):
        return {key: ids(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [ids(inner) for inner in value]
    if name in ("traceId", "spanId", "parentSpanId"):
        return base64.b64encode(bytes.fromhex(value)).decode()
    return value

stem, request = sys.argv[1:]
module = importlib.import_module(f"opentelemetry.proto.collector.{stem}.v1.{stem}_service_pb2")
try:
    json_format.ParseDict(ids(json.load(sys.stdin)), getattr(module, request)())
except json_format.ParseError as error:
    sys.exit(str(error))
"#;
    let names = match signal {
        Signal::Traces => ["trace", "ExportTraceServiceRequest"],
        Signal::Metrics => ["metrics", "ExportMetricsServiceRequest"],
        Signal::Logs => ["logs", "ExportLogsServiceRequest"],
    };
    let mut child = python()?
        .args(["-c", PROGRAM])
        .args(names)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run python3")?;
    let mut stdin = child.stdin.take().context("no pipe to python3")?;
    // It reads all of it before it says anything; one that cannot even start says so below.
    let written = stdin.write_all(document.to_string().as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "not OTLP: {}", stderr.trim());
    written.context("python3 did not read the document")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::receivers::collector::SMALLEST_TRACE;
    use serde_json::json;

    #[test]
    fn to_the_letter() {
        let trace: Value = serde_json::from_str(SMALLEST_TRACE).unwrap();
        check_letter(&trace).unwrap();
        let span = |name: &str, value: Value| json!({"spans": [{name: value}]});
        for (document, expected) in [
            (
                span("traceId", json!("4BF92F3577B34DA6A3CE929D0E0E4736")),
                ".spans[0].traceId is no id of 32 digits",
            ),
            (
                span("spanId", json!("0000000000000000")),
                "is no id of 16 digits",
            ),
            (span("parentSpanId", json!("")), "is no id of 16 digits"),
            (
                span("startTimeUnixNano", json!(1)),
                "is no number in a string",
            ),
            (span("kind", json!("SPAN_KIND_SERVER")), "is no number"),
            (span("trace_id", json!("x")), "is no name in lowerCamelCase"),
            (span("status", Value::Null), "is null"),
            (
                span("attributes", json!([{"key": "a", "value": {}}])),
                "is not one value",
            ),
            (json!({"spans": []}), ".spans is empty"),
            (
                json!({"bucketCounts": ["1"], "explicitBounds": [1]}),
                "has not one bucket more",
            ),
            (
                json!({"bucketCounts": [1]}),
                ".bucketCounts[0] is no number in a string",
            ),
        ] {
            let error = check_letter(&document).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
