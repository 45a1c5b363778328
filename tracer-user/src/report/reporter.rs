//! Drives a session and reports on it: the one path that live capture and replay share.

use std::io::{self, Write};

use super::{Style, json, ndjson, text};
use crate::case::Case;
use crate::event::Input;
use crate::session::Session;

/// Form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Text,
    /// One object at the end.
    Json,
    /// One object a line, cases as soon as they are known.
    Ndjson,
}

/// Writes the report of a session in one format.
#[derive(Clone, Copy, Debug)]
pub struct Reporter {
    format: Format,
    style: Style,
}

impl Reporter {
    /// `style` matters to [`Format::Text`] only.
    pub fn new(format: Format, style: Style) -> Self {
        Self { format, style }
    }

    /// Feeds an input to the session, writes what can be said at once, and gives the new cases.
    pub fn input(
        &self,
        session: &mut Session,
        input: &Input,
        out: &mut impl Write,
    ) -> io::Result<Vec<Case>> {
        let cases = session.input(input);
        if self.format == Format::Ndjson && matches!(input, Input::Start(_)) {
            ndjson::write_header(&session.header(), out)?;
            out.flush()?;
        }
        self.cases(session, &cases, out)?;
        Ok(cases)
    }

    /// Writes the cases that still wait, when a recording breaks off before its end.
    pub fn rest(&self, session: &mut Session, out: &mut impl Write) -> io::Result<()> {
        let cases = session.finish();
        self.cases(session, &cases, out)
    }

    fn cases(&self, session: &Session, cases: &[Case], out: &mut impl Write) -> io::Result<()> {
        if self.format != Format::Ndjson || cases.is_empty() {
            return Ok(());
        }
        for case in cases {
            ndjson::write_case(&session.case_document(case), out)?;
        }
        out.flush()
    }

    /// Writes the rest, after the last input.
    pub fn finish(&self, session: &Session, out: &mut impl Write) -> io::Result<()> {
        let document = session.document();
        match self.format {
            Format::Text => text::write(&document, self.style, out)?,
            Format::Json => json::write(&document, out)?,
            Format::Ndjson => ndjson::write_end(&document, out)?,
        }
        out.flush()
    }
}
