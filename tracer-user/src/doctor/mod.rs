//! What this machine can and cannot observe. Gathered here as plain values; [`text`] and [`json`]
//! show them.

pub mod json;
mod proxies;
pub mod text;
mod trial;
mod verdicts;
mod weight;

use std::path::Path;

use crate::discover::{self, ScanError, Selection};
use crate::kernel::preflight::Preflight;
use crate::kernel::problem::{Problem, Severity};
use crate::kernel::types::TypeSource;

pub use self::proxies::ProxyGroup;
pub use self::verdicts::{Standing, Verdict};
pub use self::weight::Weight;

/// The result of an examination.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkup {
    /// Host name.
    pub host: String,
    /// What a capture needs.
    pub preflight: Preflight,
    /// Did the kernel accept a program, when asked to load one? `None`: not tried, for lack of
    /// rights.
    pub trial: Option<Result<(), String>>,
    /// The programs of a capture, loaded and attached for a moment, or why they could not be; `None`:
    /// not asked for.
    pub weight: Option<Result<Weight, String>>,
    /// The proxies that run here.
    pub proxies: Vec<ProxyGroup>,
    /// Inode of our own network namespace.
    pub own_netns: Option<u64>,
    /// Path of our own control group.
    pub own_cgroup: Option<String>,
}

/// What a capture would do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Work.
    Works,
    /// Work and see less than it could.
    Limited,
    /// Fail.
    Impossible,
}

impl Outlook {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Limited => "limited",
            Self::Impossible => "impossible",
        }
    }
}

impl Checkup {
    /// What is missing, the worst first.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.preflight.problems();
        if let Some(Err(why)) = &self.trial {
            problems.push(Problem::blocks(
                format!("the kernel refused a program that does nothing: {why}"),
                "look for a security policy that forbids the bpf system call (seccomp, SELinux, a BPF LSM)",
            ));
        }
        if let Some(Err(why)) = &self.weight {
            problems.push(Problem::blocks(
                format!("the programs of a capture cannot be loaded: {why}"),
                "report the kernel release, and this message",
            ));
        }
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        problems
    }

    /// How each verdict on a failure comes about here.
    pub fn verdicts(&self) -> Vec<Verdict> {
        verdicts::verdicts(&self.preflight)
    }

    /// What a capture would do.
    pub fn outlook(&self) -> Outlook {
        match self.problems().first().map(|worst| worst.severity) {
            None => Outlook::Works,
            Some(Severity::Limits) => Outlook::Limited,
            Some(Severity::Blocks) => Outlook::Impossible,
        }
    }
}

/// Examines this machine, whose kernel's types `source` describes. `load`: with the programs of a
/// capture, for a moment.
pub fn examine(source: &TypeSource, load: bool) -> Result<Checkup, ScanError> {
    let proc = Path::new("/proc");
    let mut preflight = Preflight::look(source);
    let found = discover::scan(&Selection::default(), proc)?;
    let weight = load.then(|| weight::weigh(&preflight, source));
    if let Some(Ok(weight)) = &weight {
        let features = &mut preflight.features;
        features.tried(&weight.attached, &weight.refused);
    }
    Ok(Checkup {
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        trial: trial::load(&preflight.rights),
        weight,
        proxies: proxies::group(&found, proc),
        own_netns: discover::netns(proc, std::process::id()),
        own_cgroup: discover::cgroup(proc, std::process::id()),
        preflight,
    })
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outlook_follows_the_worst_problem() {
        let healthy = fixture::healthy();
        assert_eq!(healthy.outlook(), Outlook::Works);
        assert_eq!(fixture::without_root().outlook(), Outlook::Impossible);
        let mut limited = healthy.clone();
        limited.preflight.features.tcp_iterator = Some(false);
        assert_eq!(limited.outlook(), Outlook::Limited);
        let refused = Checkup {
            trial: Some(Err("Operation not permitted".into())),
            ..limited
        };
        assert_eq!(refused.outlook(), Outlook::Impossible);
        assert!(refused.problems()[0].what.contains("not permitted"));
    }

    #[test]
    fn this_machine_can_be_examined() {
        let checkup = examine(&TypeSource::Kernel, false).unwrap();
        assert!(!checkup.host.is_empty());
        assert!(checkup.own_netns.is_some());
    }
}
