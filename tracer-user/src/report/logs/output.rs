//! Entries as they come and the summary at the end, in the form that was asked for.

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::document::{EntryDoc, LogsDocument, SCHEMA, SummaryDoc};
use super::text;
use crate::logs::survey::{Left, Survey};
use crate::report::{Format, Style};

/// Entries in the JSON object, unless said otherwise.
const ENTRIES: u64 = 1_000;

/// How it is shown.
#[derive(Clone, Debug)]
pub struct View {
    /// The form.
    pub format: Format,
    /// How text is set.
    pub style: Style,
    /// Most entries, or rows of each table in text.
    pub limit: Option<u64>,
    /// Show lines that could not be read, in text.
    pub unparsed: bool,
    /// Zone of the times in text.
    pub zone: TimeZone,
}

/// Writes what is found.
#[derive(Debug)]
pub struct Output<W> {
    out: W,
    view: View,
    entries: Vec<EntryDoc>,
    written: u64,
    left_out: u64,
}

impl<W: Write> Output<W> {
    /// Writes to `out`.
    pub fn new(view: View, out: W) -> Self {
        Self {
            out,
            view,
            entries: Vec::new(),
            written: 0,
            left_out: 0,
        }
    }

    /// Takes a failure.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn entry(&mut self, left: &Left<'_>) -> io::Result<()> {
        let limit = match self.view.format {
            Format::Text => return Ok(()),
            Format::Json => self.view.limit.unwrap_or(ENTRIES),
            Format::Ndjson => self.view.limit.unwrap_or(u64::MAX),
        };
        if self.written >= limit {
            self.left_out += 1;
            return Ok(());
        }
        self.written += 1;
        let entry = EntryDoc::from(left);
        if self.view.format == Format::Json {
            self.entries.push(entry);
            return Ok(());
        }
        self.line(&entry)
    }

    /// Hands on what was written: somebody may be watching.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes what everything comes to.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(&mut self, survey: &Survey) -> io::Result<()> {
        let summary = SummaryDoc::new(survey, self.left_out);
        match self.view.format {
            Format::Text => text::write(survey, &summary, &self.view, &mut self.out)?,
            Format::Ndjson => self.line(&summary)?,
            Format::Json => {
                let entries = std::mem::take(&mut self.entries);
                let schema = SCHEMA;
                self.line(&LogsDocument {
                    schema,
                    entries,
                    summary,
                })?;
            }
        }
        self.out.flush()
    }

    fn line(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }
}
