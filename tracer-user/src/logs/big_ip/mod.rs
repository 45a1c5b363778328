//! BIG-IP LTM: the system log (`/var/log/ltm`) and request logging.
//!
//! LTM passes on what a pool member answers. When a member fails it resets the client's connection, so
//! its log has resets with their causes and hardly ever a status.

mod address;
mod ltm;
mod request;
mod reset;

use crate::logs::entry::Entry;
use crate::logs::meaning::Meaning;
use crate::logs::scan::ParseError;
use crate::logs::stamp::Assume;
use crate::logs::syslog::prefix;

/// For `explain`.
pub(in crate::logs) static MEANINGS: &[&[&Meaning]] =
    &[ltm::MEANINGS, reset::MEANINGS, request::MEANINGS];

pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    let prefix = prefix(line);
    let body = prefix.body.rest();
    ltm::looks_like(body) || request::looks_like(body)
}

pub(in crate::logs) fn parse<'a>(line: &'a [u8], assume: &Assume) -> Result<Entry<'a>, ParseError> {
    let prefix = prefix(line);
    let scan = prefix.body.clone();
    let mut entry = if request::looks_like(scan.rest()) {
        request::parse(scan)?
    } else {
        ltm::parse(scan)?
    };
    entry.time = entry.time.or_else(|| prefix.time(assume));
    entry.pid = prefix.pid;
    Ok(entry)
}
