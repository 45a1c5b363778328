//! The clear part of TLS: record headers, hellos and alerts, from the first bytes of either side.
//!
//! What is kept of a connection is cut at a few hundred bytes, and hellos with post-quantum key
//! shares are longer than that. Everything here takes what is there and leaves out what is not; no
//! input is an error.

mod alert;
mod bytes;
mod hello;
mod record;
mod refusal;

pub use alert::{Alert, alert_name};
pub use hello::{ClientHello, ServerHello, client_hello, server_hello};
pub use record::{Kind, Record, records};
pub use refusal::plain_text_refusal;

/// Name of a protocol version (RFC 8446, 4.2.1 and 4.1.2; RFC 5246, E).
pub fn version_name(version: u16) -> String {
    match version {
        0x0300 => "SSL 3.0".to_owned(),
        0x0301 => "TLS 1.0".to_owned(),
        0x0302 => "TLS 1.1".to_owned(),
        TLS_1_2 => "TLS 1.2".to_owned(),
        TLS_1_3 => "TLS 1.3".to_owned(),
        other => format!("version 0x{other:04x}"),
    }
}

/// The number of TLS 1.2.
pub const TLS_1_2: u16 = 0x0303;
/// The number of TLS 1.3.
pub const TLS_1_3: u16 = 0x0304;

#[cfg(test)]
mod tests;
