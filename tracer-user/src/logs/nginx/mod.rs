//! NGINX.

pub(super) mod error;
pub(super) mod json;
mod log_format;

pub use log_format::LogFormat;
