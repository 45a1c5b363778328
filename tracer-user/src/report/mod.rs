//! Reports: the document of the contract, as JSON, NDJSON and text.
//!
//! The types in here are the only ones that are serialised for users; `docs/json-schema.md`
//! describes every field. A renderer turns them into bytes, and the same session gives the same
//! bytes, live or replayed.

mod case_document;
mod clock;
mod document;
#[cfg(test)]
pub(crate) mod fixture;
mod json;
mod log_document;
pub mod logs;
mod ndjson;
mod replay;
mod reporter;
#[cfg(test)]
mod schema_tests;
mod text;
mod whole_logs;

pub use case_document::{
    AttemptDoc, CaseDoc, DownstreamDoc, EventDoc, EvidenceDoc, LogDoc, ProxyDoc, RemedyDoc,
    VerdictDoc,
};
pub use clock::Clock;
pub use document::{
    AdviceDoc, BackendDoc, Document, GroupDoc, Header, LatencyDoc, ProcessDoc, SCHEMA, Totals,
    Watched,
};
pub use log_document::{LogExampleDoc, LogSourceDoc};
pub use replay::{ReplayError, command, replay};
pub use reporter::{Format, Reporter};
pub use text::{Style, case_line};
