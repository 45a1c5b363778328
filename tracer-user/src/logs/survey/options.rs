//! What is asked for.

use crate::logs::{Assume, Format, Stamp};

/// How the form of a line is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// By a look at it; the form of the line before it is tried first.
    Auto,
    /// It was said.
    Is(Format),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The form of the lines.
    pub format: Choice,
    /// What is taken for granted about times.
    pub assume: Assume,
    /// Lines before this moment are left out; ns since the epoch.
    pub since: Option<i64>,
    /// Lines from this moment on are left out; ns since the epoch.
    pub until: Option<i64>,
    /// Only failures with one of these statuses; empty: all failures.
    pub statuses: Vec<u16>,
}

/// Is a line within the time that was asked for?
pub(super) enum Within {
    Yes,
    No,
    /// It has no time.
    Unknown,
}

impl Options {
    pub(super) fn within(&self, time: Option<Stamp>) -> Within {
        if self.since.is_none() && self.until.is_none() {
            return Within::Yes;
        }
        let Some(time) = time else {
            return Within::Unknown;
        };
        let early = self.since.is_some_and(|since| time.unix_ns < since);
        let late = self.until.is_some_and(|until| time.unix_ns >= until);
        if early || late {
            Within::No
        } else {
            Within::Yes
        }
    }

    pub(super) fn wants(&self, status: Option<u16>) -> bool {
        self.statuses.is_empty() || status.is_some_and(|status| self.statuses.contains(&status))
    }
}
