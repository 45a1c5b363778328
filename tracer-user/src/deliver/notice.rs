//! What a person should hear while documents are on their way. Nothing is said twice in a row.

use std::fmt;

use super::payload::Signal;

/// One sentence for a log or a terminal. Untrusted text in it is bounded and escaped; secrets are not in
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whose documents.
    pub signal: Signal,
    /// Where they go, without the secret parts.
    pub url: String,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// An attempt failed and will be repeated.
    Down(String),
    /// After [`What::Down`]: documents are taken again.
    Up,
    /// A document was refused for good.
    Refused(String),
    /// Some items of a document were left out by the receiver.
    Rejected {
        /// How many.
        items: u64,
        /// Why, as the receiver says.
        message: String,
    },
    /// The receiver took everything, and has something to say.
    Warned(String),
    /// A document was given up after a long time.
    Expired(String),
    /// The spool cannot be written to; documents stay in memory.
    SpoolDown(String),
    /// After [`What::SpoolDown`]: it can be again.
    SpoolUp,
    /// Something went, because there is no room.
    Dropped {
        /// Items, since the last such notice.
        items: u64,
        /// `queue` or `spool`.
        full: &'static str,
    },
}

impl What {
    /// Is it good news?
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Up | Self::SpoolUp)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, url) = (self.signal.name(), &self.url);
        match &self.what {
            What::Down(reason) => {
                write!(f, "{name} cannot be delivered now: {reason}; trying again")
            }
            What::Up => write!(f, "{name} are delivered to {url} again"),
            What::Refused(reason) => write!(f, "{name} were refused by {url}: {reason}"),
            What::Rejected { items, message } => write!(
                f,
                "{url} took the {name} but left {items} of them out: {message}"
            ),
            What::Warned(message) => write!(f, "{url} took the {name} and warns: {message}"),
            What::Expired(reason) => {
                write!(
                    f,
                    "{name} for {url} were given up after many attempts: {reason}"
                )
            }
            What::SpoolDown(reason) => write!(
                f,
                "the spool for {name} cannot be written to ({reason}); they wait in memory, and are lost \
                 there when it is full or the program is killed. Make room on that disk"
            ),
            What::SpoolUp => write!(f, "the spool for {name} can be written to again"),
            What::Dropped { items, full } => write!(
                f,
                "the {full} for {name} is full: the {items} oldest were dropped"
            ),
        }
    }
}
