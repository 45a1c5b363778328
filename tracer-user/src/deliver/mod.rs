//! Brings documents to receivers: over HTTP, again if it must be, from memory or from a spool on disk.
//! What is in a document is [`crate::export`]'s concern.

mod backoff;
mod counters;
mod delivery;
mod destination;
pub mod env;
mod headers;
mod http;
mod notice;
mod outcome;
mod payload;
mod queue;
mod sender;
mod settings;
pub mod split;
pub mod spool;

pub use backoff::seed;
pub use counters::{Counters, Reason, Tally};
pub use delivery::Delivery;
pub use destination::{
    ClientIdentity, Compression, DEFAULT_TIMEOUT, Destination, Endpoint, Tls, Url, UrlError,
};
pub use headers::{Headers, HeadersError};
pub use http::{Client, TlsError};
pub use notice::{Notice, What};
pub use outcome::{Answer, Asked, HttpAnswer, Outcome, classify};
pub use payload::{Payload, Signal};
pub use sender::{Limits, Listener, Sender, StartError};
pub use settings::{Settings, SettingsError};

#[cfg(test)]
mod tests;
