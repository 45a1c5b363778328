//! What had to hold.

use serde::Serialize;

/// What had to hold.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// In words.
    pub what: String,
    /// It did.
    pub held: bool,
}

impl Target {
    /// A line for each.
    pub(super) fn lines(targets: &[Self]) -> String {
        let line = |target: &Self| {
            let held = if target.held { "held" } else { "MISSED" };
            format!("{held}: {}\n", target.what)
        };
        targets.iter().map(line).collect()
    }

    /// Did all of them hold?
    pub(super) fn all_held(targets: &[Self]) -> bool {
        targets.iter().all(|target| target.held)
    }
}
