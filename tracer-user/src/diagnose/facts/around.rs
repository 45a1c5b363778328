//! What is known of a proxy around a failure that no backend connection explains.

use std::net::SocketAddr;

use crate::event::{MonoNs, UpstreamsInUse};

/// What happened around the failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Around {
    /// Failures of backends that the same proxy program had shortly before the request, newest first.
    pub failures: Vec<RecentFailure>,
    /// Backends failed requests that came in on other listening addresses.
    pub failures_elsewhere: bool,
    /// What the process had open.
    pub in_use: Option<UpstreamsInUse>,
    /// Names that it could not resolve, newest first.
    pub names: Vec<NameFailure>,
    /// How long the client had waited for the error, ns.
    pub waited_ns: Option<u64>,
}

/// Failures of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentFailure {
    /// The backend.
    pub upstream: SocketAddr,
    /// How many.
    pub count: u32,
    /// The last of them, ns before the client's request.
    pub ago_ns: u64,
    /// What the last of them was.
    pub was: FailureWas,
    /// It failed a request that came in on the same listening address for the same host.
    pub same_route: bool,
}

/// What such a failure was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureWas {
    /// No connection.
    NotConnected,
    /// No TLS.
    Handshake,
    /// The backend ended the connection early.
    Ended,
    /// The proxy or its kernel gave up waiting.
    GivenUp,
    /// An answer with this status.
    Status(u16),
}

/// A name without an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameFailure {
    /// The name, safe to show.
    pub name: String,
    /// What came back.
    pub says: NameSays,
    /// When, or when it was asked for.
    pub at_ns: MonoNs,
}

/// What a name server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameSays {
    /// An error, by its response code.
    Error(u8),
    /// The name is there and has no address.
    NoAddress,
    /// Nothing.
    Nothing {
        /// How often it was asked.
        queries: u32,
    },
}
