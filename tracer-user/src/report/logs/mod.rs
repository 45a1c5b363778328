//! What log files come to: entries and a summary, as JSON and as text.

mod document;
mod output;
#[cfg(test)]
mod schema_tests;
mod text;

pub use document::{
    BucketDoc, CountDoc, EntryDoc, ExampleDoc, FormatDoc, LogsDocument, MeaningDoc, NamedDoc,
    OverTimeDoc, ProblemDoc, SCHEMA, SummaryDoc, TooLongDoc, UnparsedDoc,
};
pub use output::{Output, View};
