//! What is found, in the forms of tracing backends: plain functions from cases and counts to documents.
//! How they get there is [`crate::deliver`]'s concern.

mod attributes;
mod batch;
mod context;
mod distribution;
mod family;
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
pub use ids::{SpanId, TraceId};
pub use metrics::Metrics;
pub use replay::{Documents, replay};
pub use resource::{Origin, ResourceConfig};
pub use zipkin::zipkin;
