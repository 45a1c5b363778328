//! What keeps a capture from working, or takes something away from it.

/// One obstacle, in words for the person who can remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is missing, in one line.
    pub what: String,
    /// What to do about it, in one line.
    pub remedy: String,
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A capture works and sees less.
    Limits,
    /// No capture is possible.
    Blocks,
}

impl Problem {
    pub(crate) fn blocks(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            severity: Severity::Blocks,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn limits(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            severity: Severity::Limits,
            ..Self::blocks(what, remedy)
        }
    }
}

impl Severity {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::Blocks => "blocks",
        }
    }
}
