//! Envoy, and what is built on it (Istio, Contour, Envoy Gateway, …).
//!
//! Fields: <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>.

mod flags;
pub(super) mod json;
mod meanings;
mod outcome;
pub(super) mod text;

/// For `explain`.
pub(in crate::logs) use meanings::MEANINGS;
