//! What is found, in the forms of tracing backends: plain functions from cases and counts to documents.
//! How they get there is [`crate::deliver`]'s concern.

mod attributes;
mod batch;
mod context;
mod ids;
pub mod otlp;
mod place;
mod resource;
mod span;
mod spans;
#[cfg(test)]
mod testing;

pub use ids::{SpanId, TraceId};
pub use resource::{Origin, ResourceConfig};
