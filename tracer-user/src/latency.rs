//! Latency distributions per backend.
