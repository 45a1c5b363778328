//! Brings documents to receivers: over HTTP, again if it must be, from memory or from a spool on disk.
//! What is in a document is [`crate::export`]'s concern.

mod payload;

pub use payload::{Payload, Signal};
