//! Where cases and counts leave the agent.

mod counts;
mod documents;
mod file;

use crate::case::Case;
use crate::event::Input;
use crate::session::Session;
pub(super) use counts::Counts;
pub(super) use documents::{Documents, Shared, items};
pub(super) use file::Lines;

/// A receiver of what is found. None of these may block: what waits is theirs to bound.
pub(super) trait Exporter: Send {
    /// A case is known. The session makes its document ([`Session::case_document`]).
    fn case(&mut self, session: &Session, case: &Case);

    /// Any input, for counts that come from the kernel: `Backends`, `Losses`. There is a `Start` for each
    /// session; losses are counted from it, while the counters of backends go on.
    fn input(&mut self, input: &Input);

    /// About once a second.
    fn tick(&mut self);

    /// Hands over what is left, within a few seconds: the agent ends.
    fn finish(&mut self);
}
