//! Access logs by a `log_format` of the user's own.

use crate::logs::entry::Entry;
use crate::logs::scan::{ParseError, Scan};
use crate::logs::stamp::Assume;

/// A `log_format` string, ready to read lines with.
#[derive(Debug, PartialEq, Eq)]
pub struct LogFormat {
    text: String,
}

impl LogFormat {
    /// Takes the string as it stands in the configuration, without the quotes.
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
        }
    }

    /// The string.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(in crate::logs) fn parse<'a>(
        &self,
        line: &'a [u8],
        _assume: &Assume,
    ) -> Result<Entry<'a>, ParseError> {
        Err(Scan::new(line).error("a form that can be read"))
    }
}
