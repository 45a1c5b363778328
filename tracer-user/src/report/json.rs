//! One JSON object for a session.

use std::io::{self, Write};

use super::Document;

/// Writes the document and a line end.
pub(super) fn write(document: &Document, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, document)?;
    out.write_all(b"\n")
}
