//! The "combined" form that NGINX and Apache share.

use super::entry::{Entry, System};
use super::scan::{ParseError, Scan};

pub(super) fn looks_like(_line: &[u8]) -> bool {
    false
}

pub(super) fn parse(line: &[u8], _system: System) -> Result<Entry<'_>, ParseError> {
    Err(Scan::new(line).error("a form that can be read"))
}
