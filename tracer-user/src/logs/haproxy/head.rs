//! How lines of requests, sessions and connections begin: `%ci:%cp [%tr] %ft`.

use std::net::{IpAddr, SocketAddr};

use crate::logs::entry::Peer;
use crate::logs::scan::{ParseError, Scan, text};
use crate::logs::stamp::{Assume, Stamp, clf_local};

/// The client, the time and the place it came in at.
pub(super) struct Head<'a> {
    /// `None` for clients of a unix socket (`unix:1`).
    pub(super) client: Option<Peer>,
    /// When the connection was accepted, or the first byte of the request came.
    pub(super) started: Stamp,
    /// Name of the frontend, with a `~` behind it for TLS.
    pub(super) frontend: &'a [u8],
}

impl<'a> Head<'a> {
    pub(super) fn read(scan: &mut Scan<'a>, assume: &Assume) -> Result<Self, ParseError> {
        let client = scan.until_text(" [", "an address and a time")?;
        let before_time = scan.clone();
        let time = scan.until(b']', "the end of the time")?;
        let started = clf_local(&text(time), assume)
            .ok_or_else(|| before_time.error("a time like 22/Nov/2026:07:25:35.809"))?;
        scan.expect(" ")?;
        let client = address(client).map(|addr| Peer {
            ip: addr.ip(),
            port: Some(addr.port()),
        });
        let frontend = scan.word("the frontend")?;
        Ok(Self {
            client,
            started,
            frontend,
        })
    }
}

/// `%ci:%cp`: an address and always a port, without brackets. `::1:8080` is port 8080 of `::1`, not the
/// address that it also is.
pub(super) fn address(field: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = std::str::from_utf8(field).ok()?.rsplit_once(':')?;
    let ip: IpAddr = ip
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()?;
    Some(SocketAddr::new(ip, port.parse().ok()?))
}

/// `1.2.3.4:5 [22/Nov/2026:07:25:35.809] `.
pub(super) fn looks_like(body: &[u8]) -> bool {
    let mut scan = Scan::new(body);
    let client = scan.word("a client").unwrap_or_default();
    let time = scan.rest();
    memchr::memchr(b':', client).is_some()
        && matches!(
            time,
            [b'[', _, _, b'/', _, _, _, b'/', _, _, _, _, b':', ..]
        )
        && time.get(21) == Some(&b'.')
}
