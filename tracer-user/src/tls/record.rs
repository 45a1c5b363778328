//! Records (RFC 8446, 5.1).

use super::bytes::Cursor;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Change of cipher (TLS 1.2), or the empty gesture that TLS 1.3 keeps for middleboxes.
    ChangeCipherSpec,
    /// An alert in the clear.
    Alert,
    /// Handshake messages in the clear.
    Handshake,
    /// Application data; in TLS 1.3 everything that is encrypted.
    ApplicationData,
}

impl Kind {
    fn from_wire(value: u8) -> Option<Self> {
        match value {
            0x14 => Some(Self::ChangeCipherSpec),
            0x15 => Some(Self::Alert),
            0x16 => Some(Self::Handshake),
            0x17 => Some(Self::ApplicationData),
            _ => None,
        }
    }
}

/// One record, perhaps cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it carries.
    pub kind: Kind,
    /// Length that its header gives, bytes without the header.
    pub len: usize,
    /// Its bytes, as far as they are there.
    pub body: &'a [u8],
}

impl Record<'_> {
    /// Is it of the size of an encrypted alert: two bytes of alert, in TLS 1.3 one more for the inner
    /// type, and what the cipher adds? 19 with the AEAD ciphers of TLS 1.3 (RFC 8446, 5.2), 26 with
    /// AES-GCM in TLS 1.2 (RFC 5288, 3), 18 with ChaCha20-Poly1305 there (RFC 7905, 2).
    pub fn is_alert_size(&self) -> bool {
        match self.kind {
            Kind::ApplicationData => self.len == 19,
            Kind::Alert => matches!(self.len, 2 | 18 | 26),
            Kind::ChangeCipherSpec | Kind::Handshake => false,
        }
    }
}

/// The records at the front of a stream, up to the first thing that is none. A header that is cut
/// gives none.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = Cursor(bytes);
    std::iter::from_fn(move || {
        let kind = Kind::from_wire(rest.u8()?)?;
        // SSL 3.0 to TLS 1.3 all write 3 here.
        if rest.u8()? != 3 {
            return None;
        }
        rest.u8()?;
        let len = usize::from(rest.u16()?);
        Some(Record {
            kind,
            len,
            body: rest.up_to(len),
        })
    })
}
