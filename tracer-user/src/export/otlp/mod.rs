//! OTLP/HTTP JSON (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

mod json;
mod log;
mod trace;

#[cfg(test)]
mod tests;

pub use log::logs;
pub use trace::traces;
