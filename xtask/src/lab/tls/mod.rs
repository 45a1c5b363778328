//! Backends that speak TLS, rightly or wrongly: certificates made for one run, servers whose
//! handshake must fail, and listeners that break a handshake off.

mod authority;
mod raw;

pub use authority::{Authority, Certificate, Setup, Version};
pub use raw::{Answer, Raw};

/// The name for which the good certificates are made, and for which proxies ask.
pub const SITE: &str = "lab.test";
