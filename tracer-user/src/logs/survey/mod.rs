//! What the lines of many logs come to: counts, distributions, and a few examples of everything.
//!
//! The memory is bounded, however long the logs are. What the order of lines has no part in is counted
//! where the lines are read, in several threads ([`sift`]); failures are brought into their order and
//! then counted in one place ([`fold`]), so that the same logs give the same survey.

mod fold;
mod options;
mod over_time;
mod run;
mod sift;
mod tally;
mod top;

pub use fold::{Example, Left, MeaningCount, Missed, Problem, Survey, Unparsed};
pub use options::{Choice, Options};
pub use over_time::OverTime;
pub use run::{Progress, run};
pub use sift::Found;
pub use tally::{Distribution, Tally};
pub use top::Top;
