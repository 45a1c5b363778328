//! NGINX.

pub(super) mod error;
mod fields;
pub(super) mod json;
mod log_format;
mod messages;
mod statuses;

pub use log_format::LogFormat;
