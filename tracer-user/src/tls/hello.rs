//! The two hellos (RFC 8446, 4.1.2 and 4.1.3; RFC 5246, 7.4.1).

use super::bytes::Cursor;
use super::record::{Kind, records};
use super::{TLS_1_2, TLS_1_3};
use crate::printable::printable_bytes;

// Extension numbers.
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

// Handshake message types.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// Longest name that is shown, characters (RFC 1035 allows 253).
const NAME_MAX: usize = 253;
/// Most versions and protocols that are kept.
const LIST_MAX: usize = 8;

/// The random value that makes a ServerHello a HelloRetryRequest (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What a client offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Host name it asks for, safe to show.
    pub sni: Option<String>,
    /// Versions, in its order; the legacy field's where it lists none.
    pub versions: Vec<u16>,
    /// Application protocols, in its order, safe to show.
    pub alpn: Vec<String>,
    /// All of it was there: what is absent was not offered.
    pub whole: bool,
}

/// What a server chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// The version; `None` if the message was cut before it.
    pub version: Option<u16>,
    /// It asks for another ClientHello.
    pub retry: bool,
    /// Length of the message in its record, bytes, headers included.
    pub len: usize,
}

/// The ClientHello at the front of these bytes, as far as it is there.
pub fn client_hello(bytes: &[u8]) -> Option<ClientHello> {
    let Message { body, whole, .. } = message(bytes, CLIENT_HELLO)?;
    let mut hello = ClientHello {
        whole,
        ..ClientHello::default()
    };
    let mut rest = Cursor(&body);
    let legacy = rest.u16();
    if client_extensions(&mut rest, &mut hello).is_none() {
        hello.whole = false;
    }
    if hello.versions.is_empty() && hello.whole {
        hello.versions.extend(legacy);
    }
    Some(hello)
}

/// Reads random, session id, cipher suites, compression methods and the extensions; `None` when it
/// was cut before the extensions. A hello without any is whole.
fn client_extensions(rest: &mut Cursor<'_>, hello: &mut ClientHello) -> Option<()> {
    rest.take(32)?;
    rest.vector8()?;
    rest.vector16()?;
    rest.vector8()?;
    for (number, data) in extensions(rest) {
        match number {
            SERVER_NAME => hello.sni = server_name(data),
            SUPPORTED_VERSIONS => {
                let list = Cursor(data).vector8().unwrap_or_default();
                hello.versions = list
                    .chunks_exact(2)
                    .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                    .filter(|version| !is_grease(*version))
                    .take(LIST_MAX)
                    .collect();
            }
            ALPN => hello.alpn = protocols(data),
            _ => {}
        }
    }
    Some(())
}

/// The ServerHello at the front of these bytes, as far as it is there.
pub fn server_hello(bytes: &[u8]) -> Option<ServerHello> {
    let Message { body, len, whole } = message(bytes, SERVER_HELLO)?;
    let mut rest = Cursor(&body);
    let legacy = rest.u16();
    let mut hello = ServerHello {
        version: None,
        retry: false,
        len,
    };
    let Some(random) = rest.take(32) else {
        return Some(hello);
    };
    hello.retry = random == RETRY;
    let chosen = chosen_version(&mut rest);
    // Without the extension the legacy field decides; only TLS 1.2 and older have none.
    hello.version = chosen.or(legacy.filter(|version| *version < TLS_1_2 || whole));
    if hello.retry && hello.version.is_none() {
        hello.version = Some(TLS_1_3);
    }
    Some(hello)
}

fn chosen_version(rest: &mut Cursor<'_>) -> Option<u16> {
    rest.vector8()?;
    rest.take(3)?;
    extensions(rest)
        .find(|(number, _)| *number == SUPPORTED_VERSIONS)
        .and_then(|(_, data)| Cursor(data).u16())
}

/// A handshake message, joined over its records.
struct Message {
    body: Vec<u8>,
    /// With the header of the message and of one record.
    len: usize,
    whole: bool,
}

/// The first handshake message, if it is of that type.
fn message(bytes: &[u8], wanted: u8) -> Option<Message> {
    const HEADERS: usize = 5 + 4;
    let mut joined = Vec::new();
    for record in records(bytes) {
        if record.kind != Kind::Handshake {
            break;
        }
        joined.extend_from_slice(record.body);
    }
    let mut rest = Cursor(&joined);
    if rest.u8()? != wanted {
        return None;
    }
    let len = rest.u24()?;
    let body = rest.up_to(len);
    Some(Message {
        body: body.to_vec(),
        len: len + HEADERS,
        whole: body.len() == len,
    })
}

/// Numbers and data of extensions; the data of the last may be cut.
fn extensions<'a>(rest: &mut Cursor<'a>) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
    let mut list = Cursor(rest.vector16().unwrap_or_default());
    std::iter::from_fn(move || Some((list.u16()?, list.vector16()?)))
}

/// The host name (RFC 6066, 3). A cut name is none: half a name would mislead.
fn server_name(data: &[u8]) -> Option<String> {
    let mut list = Cursor(Cursor(data).vector16()?);
    if list.u8()? != 0 {
        return None;
    }
    let len = list.u16()?;
    let name = list.take(len.into())?;
    Some(printable_bytes(name, NAME_MAX))
}

/// Names of protocols (RFC 7301, 3.1).
fn protocols(data: &[u8]) -> Vec<String> {
    let mut list = Cursor(Cursor(data).vector16().unwrap_or_default());
    std::iter::from_fn(|| {
        let len = list.u8()?;
        let name = list.take(len.into())?;
        Some(printable_bytes(name, 32))
    })
    .take(LIST_MAX)
    .collect()
}

/// Values that clients throw in to keep servers tolerant (RFC 8701).
fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}
