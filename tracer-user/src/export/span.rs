//! A span before it takes the form of a receiver.

use super::attributes::Attributes;
use super::context::Context;
use super::ids::{SpanId, TraceId};

/// Which end of an exchange a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The one that was asked.
    Server,
    /// The one that asks.
    Client,
}

/// The span above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) id: SpanId,
    /// It came in a header: another process made it.
    pub(super) remote: bool,
}

/// A moment of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// ns since the epoch.
    pub(super) at: u64,
    pub(super) name: String,
    pub(super) attributes: Attributes,
}

/// One operation over some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: Option<Parent>,
    /// W3C trace flags.
    pub(super) flags: u8,
    pub(super) kind: Kind,
    pub(super) name: String,
    /// ns since the epoch.
    pub(super) start: u64,
    /// ns since the epoch, not before the start.
    pub(super) end: u64,
    pub(super) attributes: Attributes,
    pub(super) events: Vec<Event>,
    /// Traces that it has to do with and is no part of.
    pub(super) links: Vec<Context>,
    /// It failed; why, in words, perhaps none.
    pub(super) failed: Option<String>,
}
