//! What a guest does, as a value: made on the host, carried out by the guest's init. And what it says
//! of that, one JSON object a line, on its second serial port.

use serde::{Deserialize, Serialize};

/// Where the guest finds the plan.
pub(super) const PLAN: &str = "/plan.json";
/// Where it finds the names of its modules, in order.
pub(super) const MODULES: &str = "/modules/order";
/// Our programs in the guest.
pub(super) const WHY502: &str = "/usr/bin/why502";
pub(super) const LIVE: &str = "/usr/bin/live";
pub(super) const XTASK: &str = "/usr/bin/xtask";

/// How much longer than on real hardware things are waited for: a guest's processor does an
/// instruction in a nanosecond at best, it is its only one, and the verifier alone takes seconds on it.
const SLOWNESS: &str = "5";

/// Live tests that say the same of every kernel: who ended the connection and how, seen with real
/// proxies, that nothing stays, that standing by ends in time, where it is possible, and whose failure is whose where
/// all ask for the same.
const TESTS: [&str; 8] = [
    "proxies::nginx",
    "proxies::haproxy",
    "backends::the_backend_alone_tells_its_half",
    "processes::connections_older_than_the_capture",
    "processes::nothing_stays_after_a_kill",
    "standby::nginx_wakes_it",
    "standby::nginx_first_failures",
    "equal::at_nginx",
];

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// For every program.
    pub(super) environment: Vec<(String, String)>,
    /// One after the other.
    pub(super) steps: Vec<Step>,
    /// A shell on the console instead.
    pub(super) shell: bool,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) command: Vec<String>,
    /// Seconds until it is ended, in the guest's time.
    pub(super) limit: u64,
}

/// What becomes of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// JSON about this machine, and about the programs, which it loads. If it says that a capture is impossible, what follows is left out.
    Doctor,
    /// A test: its exit code counts.
    Test,
    /// The lab's JSON.
    Lab,
}

/// What a guest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    /// Init runs.
    Up {
        /// `uname -r`.
        release: String,
        /// Since the kernel began, milliseconds.
        ms: u64,
    },
    /// Something is not as it should be, but it goes on.
    Note { text: String },
    /// A step begins.
    Begin { step: String },
    /// A line of its standard output.
    Out { step: String, text: String },
    /// A line of its standard error.
    Err { step: String, text: String },
    /// A line of what the lab wrote down about verdicts that were not right.
    Kept { step: String, text: String },
    /// A step is over.
    End {
        step: String,
        /// Absent: a signal ended it.
        code: Option<i32>,
        ms: u64,
        timed_out: bool,
    },
    /// A step is left out.
    Skip { step: String, why: String },
    /// The guest switches itself off.
    Done,
}

impl Plan {
    /// What runs on every kernel. The limits are several times what each step takes.
    pub(super) fn full(library_path: &str) -> Self {
        let step = |name: &str, kind, limit, command: &[&str]| Step {
            name: name.to_owned(),
            kind,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            limit,
        };
        let mut steps = vec![step(
            "doctor",
            Kind::Doctor,
            240,
            &[WHY502, "doctor", "--load", "--format", "json"],
        )];
        for test in TESTS {
            let command = [LIVE, "--exact", test, "--test-threads=1", "--nocapture"];
            steps.push(step(test, Kind::Test, 300, &command));
        }
        let lab = [
            XTASK,
            "lab",
            "--short",
            "--repeat",
            "1",
            "--proxy",
            "nginx,haproxy",
            // Each further view is a capture, which takes ten seconds to load.
            "--view",
            "local",
            "--format",
            "json",
        ];
        steps.push(step("lab", Kind::Lab, 600, &lab));
        Self {
            environment: environment(library_path),
            steps,
            shell: false,
        }
    }

    /// A shell to look around.
    pub(super) fn shell(library_path: &str) -> Self {
        Self {
            environment: environment(library_path),
            steps: Vec::new(),
            shell: true,
        }
    }
}

fn environment(library_path: &str) -> Vec<(String, String)> {
    [
        ("PATH", "/usr/bin:/usr/sbin"),
        ("HOME", "/root"),
        ("TERM", "vt100"),
        ("LD_LIBRARY_PATH", library_path),
        ("WHY502_BIN", WHY502),
        ("WHY502_LIVE", "1"),
        (xtask::lab::process::SLOWNESS, SLOWNESS),
        // What a test lacks in the guest is a mistake in the guest.
        ("CI", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_and_its_events_survive_the_way() {
        let plan = Plan::full("/usr/lib");
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);

        let end = Event::End {
            step: "lab".to_owned(),
            code: None,
            ms: 1,
            timed_out: true,
        };
        let text = serde_json::to_string(&end).unwrap();
        assert_eq!(
            text,
            r#"{"event":"end","step":"lab","code":null,"ms":1,"timed_out":true}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), end);
    }

    #[test]
    fn steps_have_names_of_their_own() {
        let plan = Plan::full("");
        let mut names: Vec<&str> = plan.steps.iter().map(|step| step.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), plan.steps.len());
    }
}
