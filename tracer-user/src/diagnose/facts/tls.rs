//! What could be read of a TLS handshake with a backend.

use crate::tls::{Alert, ClientHello};

/// What the backend's first bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstBytes {
    /// A TLS record.
    Record,
    /// Something else; the bytes, safe to show.
    Plain(String),
}

/// The clear part of a TLS handshake that did not lead to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// What the proxy offered, as far as it was kept.
    pub hello: Option<ClientHello>,
    /// What the backend sent first.
    pub first: Option<FirstBytes>,
    /// Version that the backend chose.
    pub chosen: Option<u16>,
    /// Bytes that the backend sent.
    pub received: u64,
    /// Of those, bytes behind its ServerHello; `None` if it sent none.
    pub behind_hello: Option<u64>,
    /// Alert of the backend, in the clear.
    pub alert_received: Option<Alert>,
    /// Alert of the proxy, in the clear.
    pub alert_sent: Option<Alert>,
    /// The proxy's last send was of the size of an encrypted alert.
    pub hidden_alert_sent: bool,
    /// The proxy sent its second flight: for its part the handshake was done.
    pub second_flight: bool,
}

impl TlsFacts {
    /// The backend's error alert.
    pub fn error_received(&self) -> Option<Alert> {
        self.alert_received.filter(Alert::is_error)
    }

    /// The proxy's error alert.
    pub fn error_sent(&self) -> Option<Alert> {
        self.alert_sent.filter(Alert::is_error)
    }

    /// Did the backend send more behind its ServerHello than the few bytes that finish a resumed
    /// session? Then a certificate was in it.
    pub fn has_certificate_flight(&self) -> bool {
        const LEAST: u64 = 300;
        self.behind_hello.is_some_and(|bytes| bytes >= LEAST)
    }
}

/// What came from a backend over TLS after a request, as far as the sizes of the records tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsAnswer {
    /// Session tickets: records of one size at the beginning of a connection.
    pub tickets: u64,
    /// The tickets were one record: that it was no part of a response is likely, not sure.
    pub tickets_inferred: bool,
    /// The last record has the size of an alert: a goodbye.
    pub goodbye: bool,
    /// Bytes that are neither.
    pub other: u64,
}

/// How a backend shows that it wants TLS where it was sent plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantsTls {
    /// It answered with a TLS alert.
    Alert(Alert),
    /// Its error page says so, in these words.
    Says(&'static str),
}
