//! Access log of Traefik.

use crate::logs::entry::Entry;
use crate::logs::scan::{ParseError, Scan};

pub(in crate::logs) fn looks_like(_line: &[u8]) -> bool {
    false
}

pub(in crate::logs) fn parse<'a>(line: &'a [u8]) -> Result<Entry<'a>, ParseError> {
    Err(Scan::new(line).error("a form that can be read"))
}
