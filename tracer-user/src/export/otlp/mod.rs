//! OTLP/HTTP JSON (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

mod json;
mod log;
mod metric;
mod trace;

#[cfg(test)]
mod tests;

pub use log::logs;
pub use metric::{Span, metrics};
pub use trace::traces;
