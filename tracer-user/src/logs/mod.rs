//! Log lines of proxies and balancers: what they say, and what it means.
//!
//! One file per form of line. A parser is total: any bytes give an [`Entry`] or a [`ParseError`] with
//! the place where the line stops making sense. What a code or message means stands in a table of
//! [`Meaning`]s beside the parser that reads it.
//!
//! Adding a form: a file with `looks_like`, `parse` and its meanings; a variant of [`Format`].

mod apache;
mod aws;
mod azure;
mod big_ip;
mod caddy;
mod combined;
mod detect;
mod entry;
mod envoy;
mod format;
mod gcp;
mod haproxy;
mod json;
mod meaning;
mod nginx;
pub mod read;
mod scan;
mod stamp;
pub mod survey;
mod syslog;
mod traefik;

pub use detect::detect;
pub use entry::{Entry, Kind, LogAttempt, Peer, System, Text, Timers, path_of};
pub use format::{Format, UnknownFormat};
pub use meaning::{Blame, Meaning};
pub use nginx::LogFormat;
pub use scan::ParseError;
pub use stamp::{Assume, Stamp};

#[cfg(test)]
pub(crate) mod testing;
