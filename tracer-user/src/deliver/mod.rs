//! Brings documents to receivers: over HTTP, again if it must be, from memory or from a spool on disk.
//! What is in a document is [`crate::export`]'s concern.

mod backoff;
mod destination;
pub mod env;
mod headers;
mod http;
mod outcome;
mod payload;
mod settings;

pub use destination::{
    ClientIdentity, Compression, DEFAULT_TIMEOUT, Destination, Endpoint, Tls, Url, UrlError,
};
pub use headers::{Headers, HeadersError};
pub use http::{Client, TlsError};
pub use outcome::{Answer, Asked, HttpAnswer, Outcome, classify};
pub use payload::{Payload, Signal};
pub use settings::{Settings, SettingsError};
