//! Log lines of proxies and balancers: what they say, and what it means.
//!
//! One file per form of line. A parser is total: any bytes give an [`Entry`] or a [`ParseError`] with
//! the place where the line stops making sense. What a code or message means stands in a table of
//! [`Meaning`]s beside the parser that reads it.
//!
//! Adding a form: a file with `looks_like`, `parse` and its meanings; a variant of [`Format`]; its table in
//! `codes.rs`; lines in samples/ and what they say in `samples.rs`.

mod apache;
mod aws;
mod azure;
mod big_ip;
mod caddy;
mod codes;
mod combined;
mod detect;
mod entry;
mod envoy;
mod escape;
mod failures;
mod format;
mod gcp;
mod go_error;
mod haproxy;
mod json;
mod meaning;
mod myths;
mod nginx;
pub mod read;
mod redact;
mod scan;
mod stamp;
pub mod survey;
mod syslog;
mod traefik;

pub use codes::codes;
pub use detect::detect;
pub use entry::{Entry, Kind, LogAttempt, Peer, System, Text, Timers, path_of};
pub(crate) use failures::FailureLines;
pub use format::{Format, UnknownFormat};
pub use meaning::{Blame, Meaning};
pub use myths::{Myth, myths};
pub use nginx::LogFormat;
pub use redact::without_queries;
pub use scan::ParseError;
pub use stamp::{Assume, Stamp};

#[cfg(test)]
mod samples;
#[cfg(test)]
pub(crate) mod testing;
