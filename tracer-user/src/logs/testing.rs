//! What the tests of several forms share.

use super::entry::Entry;
use super::scan::ParseError;
use super::stamp::Assume;

/// 2026-11-22T00:00:00Z, ns since the epoch.
pub(super) const MORNING_NS: i64 = 1_795_305_600_000_000_000;

/// Read at noon of that day, in a place that keeps UTC.
pub(crate) fn assume() -> Assume {
    Assume::offset(0, MORNING_NS + 12 * 3_600_000_000_000)
}

/// A line cut anywhere, or with any byte of it changed, is an error within the line or an entry.
pub(super) fn any_prefix_is_an_error_or_an_entry(
    line: &[u8],
    parse: impl for<'a> Fn(&'a [u8]) -> Result<Entry<'a>, ParseError>,
) {
    let check = |line: &[u8]| {
        if let Err(error) = parse(line) {
            assert!(error.offset <= line.len(), "{error}");
        }
    };
    for end in 0..=line.len() {
        check(&line[..end]);
    }
    for at in 0..line.len() {
        for byte in [0, b' ', b'"', b'\\', b'-', b'{', b'}', 0xff] {
            let mut line = line.to_vec();
            line[at] = byte;
            check(&line);
        }
    }
}
