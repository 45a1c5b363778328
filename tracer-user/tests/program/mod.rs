//! The built program, and what it said.

use std::process::{Command, Output, Stdio};

pub(crate) const WHY502: &str = env!("CARGO_BIN_EXE_why502");

/// A run that is over.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The program with nothing to read.
pub(crate) fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(WHY502);
    command.args(arguments).stdin(Stdio::null());
    command
}
