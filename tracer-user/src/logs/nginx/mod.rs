//! NGINX.

pub(super) mod error;
mod fields;
pub(super) mod json;
mod log_format;
mod statuses;

pub use log_format::LogFormat;
