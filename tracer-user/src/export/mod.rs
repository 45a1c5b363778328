//! What is found, in the forms of tracing backends: plain functions from cases and counts to documents.
//! How they get there is [`crate::deliver`]'s concern.

use crate::case::Case;
use crate::deliver::{Payload, Signal};

mod attributes;
mod batch;
mod context;
mod distribution;
mod family;
mod gathering;
mod ids;
mod metrics;
pub mod otlp;
mod place;
pub mod prometheus;
mod replay;
mod resource;
mod span;
mod spans;
#[cfg(test)]
mod testing;
mod zipkin;

pub use distribution::Distribution;
pub use family::{Exemplar, Family, Label, Point, Points};
pub use gathering::Gathering;
pub use ids::{SpanId, TraceId};
pub use metrics::Metrics;
pub use replay::replay;
pub use resource::{Origin, ResourceConfig};
pub use zipkin::zipkin;

/// The documents of one signal about these cases. Metrics are of a whole session: see [`Metrics`].
pub fn documents(signal: Signal, cases: &[Case], origin: &Origin) -> Vec<Payload> {
    match signal {
        Signal::Traces => otlp::traces(cases, origin),
        Signal::Logs => otlp::logs(cases, origin),
        Signal::Zipkin => zipkin(cases, origin),
        Signal::Metrics => Vec::new(),
    }
}
