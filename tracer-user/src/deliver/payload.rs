//! One document for one receiver.

use bytes::Bytes;

/// What a document is about, which decides where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// OTLP traces: `v1/traces`.
    Traces,
    /// OTLP metrics: `v1/metrics`.
    Metrics,
    /// OTLP logs: `v1/logs`.
    Logs,
    /// Zipkin v2 spans: `api/v2/spans`.
    Zipkin,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// What it is about.
    pub signal: Signal,
    /// The document: JSON.
    pub body: Bytes,
    /// Spans, data points or log records in it.
    pub items: u64,
}
