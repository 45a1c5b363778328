//! How an error reaches the user: one line that says what is wrong, one that says what to do.

use std::fmt;
use std::io::{self, Write};

use crate::kernel::preflight::Blocked;

/// Exit code for wrong usage and errors.
pub(super) const FAILED: u8 = 2;

/// The options do not go together, or this version cannot do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    what: String,
    hint: String,
}

impl UsageError {
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }
}

impl std::error::Error for UsageError {}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Is this only the reader of our output who has seen enough?
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Writes the error. A standard error that is closed leaves nobody to tell.
pub(super) fn print(error: &anyhow::Error, mut out: impl Write) {
    let _ = out.write_all(render(error).as_bytes());
}

fn render(error: &anyhow::Error) -> String {
    let find = |error: &anyhow::Error| {
        error
            .chain()
            .find_map(|cause| cause.downcast_ref::<Blocked>())
            .cloned()
    };
    if let Some(Blocked(problems)) = find(error) {
        return problems
            .iter()
            .map(|problem| line(&problem.what, Some(&problem.remedy)))
            .collect();
    }
    let hint = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<UsageError>())
        .map(|usage| usage.hint.as_str());
    line(&format!("{error:#}"), hint)
}

fn line(what: &str, hint: Option<&str>) -> String {
    let mut text = format!("why502: error: {what}\n");
    if let Some(hint) = hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;
    use crate::kernel::problem::Problem;

    #[test]
    fn errors_as_they_are_shown() {
        let io = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        let table = [
            (
                anyhow::Error::new(io()).context("cannot open x.w502"),
                "why502: error: cannot open x.w502: no such file\n",
            ),
            (
                anyhow::Error::new(UsageError::new("not so", "like this")),
                "why502: error: not so\nhint: like this\n",
            ),
            (
                anyhow::Error::new(Blocked(vec![
                    Problem::blocks("no A", "get A"),
                    Problem::blocks("no B", "get B"),
                ]))
                .context("cannot capture"),
                "why502: error: no A\nhint: get A\nwhy502: error: no B\nhint: get B\n",
            ),
        ];
        for (error, expected) in table {
            assert_eq!(render(&error), expected);
        }
    }

    #[test]
    fn a_closed_pipe_is_told_from_other_errors() {
        let with = |kind| {
            Err::<(), _>(io::Error::from(kind))
                .context("cannot write")
                .unwrap_err()
        };
        assert!(is_closed_pipe(&with(io::ErrorKind::BrokenPipe)));
        assert!(!is_closed_pipe(&with(io::ErrorKind::StorageFull)));
    }
}
