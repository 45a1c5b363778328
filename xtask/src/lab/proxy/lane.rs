//! Ways through a proxy beyond the classic routes: each a listening port of its own, with its own
//! upstream, so that what happens on one does not reach another.

use std::net::SocketAddr;
use std::path::PathBuf;

/// One way through a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Its name, unique within the proxy; letters, digits and `_`.
    pub name: String,
    /// The backend.
    pub to: SocketAddr,
    /// Keep upstream connections for reuse?
    pub pooled: bool,
    /// Time to connect, ms.
    pub connect_ms: u64,
    /// Time for the response, ms. Apache takes whole seconds and rounds up.
    pub response_ms: u64,
    /// Time after which the proxy itself lets go of a kept connection, ms. Apache takes whole
    /// seconds and rounds up.
    pub keep_ms: Option<u64>,
    /// Does the proxy look after the backend with health checks of its own? Not all can.
    pub checked: bool,
    /// Are WebSockets let through?
    pub upgrade: bool,
    /// What else is special about the backends.
    pub special: Special,
    /// What the proxy speaks to the backend.
    pub speak: Speak,
}

/// What a proxy speaks to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speak {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS and without asking first (RFC 9113, 3.3).
    Http2,
    /// HTTP/1.1 over TLS, for [`crate::lab::tls::SITE`].
    Tls {
        /// The authorities to trust; without any, every certificate will do.
        trusted: Option<PathBuf>,
    },
}

/// What may be special about the backends of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Special {
    /// Nothing.
    #[default]
    Nothing,
    /// One connection at a time is allowed; who waits longer than that for it, ms, is told so.
    /// Apache counts for each of its processes.
    One {
        /// Time to wait, ms; NGINX does not wait, and Envoy lets one wait for as long as it takes.
        queue_ms: u64,
    },
    /// A backend that refuses is left alone for half a minute; there are two of them, the other on
    /// that address.
    MarkedDown {
        /// The second.
        second: SocketAddr,
    },
    /// The backend has a name, which that server is asked for; Apache asks that of the system.
    Named {
        /// The name server.
        resolver: SocketAddr,
    },
}

/// The name of a backend that has one.
pub(super) const NAME: &str = "nx.lab.test";

/// A lane and where the proxy listens for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// What it is.
    pub(super) lane: Lane,
    /// The proxy's port.
    pub(super) front: SocketAddr,
}
