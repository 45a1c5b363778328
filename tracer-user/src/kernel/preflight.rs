//! Can a capture work here? Asked before anything is loaded, and by `doctor`.

use std::fmt;

use super::features::Features;
use super::problem::{Problem, Severity};
use super::rights::Rights;
use super::types::TypeSource;

/// Are the kernel programs in this binary?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programs {
    /// They are.
    Built,
    /// They were left out when it was built: why.
    LeftOut(String),
}

impl Programs {
    /// Of this binary; the build script says.
    pub fn of_this_build() -> Self {
        match env!("WHY502_BPF_STATE") {
            "built" => Self::Built,
            why => Self::LeftOut(why.to_owned()),
        }
    }
}

/// Everything that a capture needs from this machine and this binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// The kernel programs.
    pub programs: Programs,
    /// What we may do.
    pub rights: Rights,
    /// What the kernel offers.
    pub features: Features,
}

impl Preflight {
    /// Of this machine, now, whose kernel's types `source` describes. Loads nothing.
    pub fn look(source: &TypeSource) -> Self {
        Self {
            programs: Programs::of_this_build(),
            rights: Rights::read(),
            features: Features::probe(source),
        }
    }

    /// What is missing, the worst first.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Programs::LeftOut(why) = &self.programs {
            problems.push(Problem::blocks(
                format!("this build has no kernel programs: {why}"),
                "in the source tree: cargo xtask setup && cargo xtask build",
            ));
        }
        problems.extend(self.rights.problems());
        problems.extend(self.features.problems());
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        problems
    }

    /// The limits that a capture has to live with, or all that makes it impossible.
    pub fn check(&self) -> Result<Vec<Problem>, Blocked> {
        let (blocks, limits): (Vec<_>, Vec<_>) = self
            .problems()
            .into_iter()
            .partition(|problem| problem.severity == Severity::Blocks);
        if blocks.is_empty() {
            Ok(limits)
        } else {
            Err(Blocked(blocks))
        }
    }
}

/// No capture is possible. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked(pub Vec<Problem>);

impl std::error::Error for Blocked {}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}", problem.what)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_programs_says_how_to_get_them() {
        let preflight = Preflight {
            programs: Programs::LeftOut("no compiler for BPF".into()),
            ..Preflight::look(&TypeSource::Kernel)
        };
        let Err(Blocked(problems)) = preflight.check() else {
            panic!("a capture without programs");
        };
        assert!(problems[0].what.contains("no compiler for BPF"));
        assert!(problems[0].remedy.contains("cargo xtask setup"));
        assert!(problems.iter().all(|p| p.severity == Severity::Blocks));
    }
}
