//! Alerts (RFC 8446, 6; RFC 5246, 7.2).

use super::record::{Kind, records};

/// An alert that was sent in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Is it fatal? (All errors are in TLS 1.3, whatever the level says.)
    pub fatal: bool,
    /// Its number.
    pub description: u8,
}

impl Alert {
    /// The first alert in the clear among these records.
    pub fn find(bytes: &[u8]) -> Option<Self> {
        records(bytes)
            .find(|record| record.kind == Kind::Alert && record.len == 2)
            .and_then(|record| match *record.body {
                [level @ 1..=2, description] => Some(Self {
                    fatal: level == 2,
                    description,
                }),
                _ => None,
            })
    }

    /// Does it end the connection because of an error? A polite goodbye and a mere warning do not.
    pub fn is_error(&self) -> bool {
        self.fatal && !matches!(self.description, CLOSE_NOTIFY | USER_CANCELED)
    }

    /// Is it about the certificate that was received?
    pub fn is_about_certificate(&self) -> bool {
        matches!(self.description, 41..=46 | 48 | 113 | 114)
    }

    /// Number and name: `40 (handshake_failure)`.
    pub fn describe(&self) -> String {
        match alert_name(self.description) {
            Some(name) => format!("{} ({name})", self.description),
            None => self.description.to_string(),
        }
    }
}

const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;

/// The name of an alert in the registry
/// (<https://www.iana.org/assignments/tls-parameters/tls-parameters.xhtml>, TLS Alerts).
pub fn alert_name(description: u8) -> Option<&'static str> {
    Some(match description {
        CLOSE_NOTIFY => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        USER_CANCELED => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => return None,
    })
}
