//! `cargo xtask test`: everything that can be checked on this machine.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use xtask::dist::Target;
use xtask::lab::process::find_program;
use xtask::paths;

use super::build::{self, cargo};
use super::setup::{self, Purpose};
use crate::progress::{loud, say};

/// Options of `test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the live tests against real proxies, which need root
    #[arg(long)]
    no_live: bool,
}

/// How one check ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Check {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    setup::ensure(Purpose::Test)?;
    let strict = env::var("CI").is_ok_and(|ci| ci == "true");
    let checks: Vec<Check> = [
        check("formatting", || {
            status(cargo().args(["fmt", "--all", "--check"]))
        }),
        check("lints", || {
            let clippy = [
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ];
            status(cargo().args(clippy))
        }),
        check("lints of the kernel programs", lint_programs),
        check("licences and sources of dependencies", deny),
        check("Vagrantfile", vagrant),
        check("tests without root", || {
            status(cargo().args(["test", "--workspace", "--no-fail-fast"]))
        }),
        check("live tests", || live(args.no_live)),
        check("fault lab, short", || fault_lab(args.no_live)),
    ]
    .into();

    say("");
    for check in &checks {
        say(format!(
            "{:>5} s  {}  {}",
            check.took.as_secs(),
            word(&check.outcome),
            check.name
        ));
        if let Outcome::Failed(why) | Outcome::Skipped(why) = &check.outcome {
            say(format!("                   {why}"));
        }
    }
    say(summary(&checks));
    match verdict(&checks, strict) {
        None => Ok(()),
        Some(why) => bail!("{why}"),
    }
}

fn check(name: &'static str, body: impl FnOnce() -> anyhow::Result<Outcome>) -> Check {
    say(format!("\n=== {name}"));
    let started = Instant::now();
    let outcome = body().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
    if let Outcome::Skipped(why) = &outcome {
        say(format!("*** SKIPPED: {why}"));
    }
    Check {
        name,
        outcome,
        took: started.elapsed(),
    }
}

fn status(command: &mut Command) -> anyhow::Result<Outcome> {
    let status = loud(command)?;
    Ok(match status.success() {
        true => Outcome::Passed,
        false => Outcome::Failed(status.to_string()),
    })
}

/// On the host, since no clippy exists for BPF, with the registers of each machine that the programs
/// know.
fn lint_programs() -> anyhow::Result<Outcome> {
    for target in Target::ALL {
        let outcome = lint_programs_for(target.architecture())?;
        if outcome != Outcome::Passed {
            return Ok(outcome);
        }
    }
    Ok(Outcome::Passed)
}

fn lint_programs_for(architecture: &str) -> anyhow::Result<Outcome> {
    let mut clippy = cargo();
    clippy
        .args([
            "clippy",
            "--package",
            "tracer-ebpf",
            "--bin",
            "tracer",
            "--features",
            "programs",
        ])
        // Some dependencies build anew whenever this variable comes or goes.
        .arg("--target-dir")
        .arg(paths::target_dir().join("lint-programs"))
        // aya-ebpf needs nightly features.
        .env("RUSTC_BOOTSTRAP", "1")
        // No unwinding without the standard library.
        .args(["--", "-C", "panic=abort"])
        .arg(format!("--cfg=bpf_target_arch=\"{architecture}\""))
        // A value larger than the 512 bytes of stack must be handed over by reference.
        .args([
            "-D",
            "warnings",
            "-A",
            "clippy::needless_borrows_for_generic_args",
        ]);
    status(&mut clippy)
}

fn deny() -> anyhow::Result<Outcome> {
    if find_program("cargo-deny").is_none() {
        let why = "cargo-deny is not installed (`cargo install cargo-deny --locked`)";
        return Ok(Outcome::Skipped(why.into()));
    }
    // Not the advisories: they need the network, and change without a change of ours.
    status(cargo().args([
        "deny",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))
}

fn vagrant() -> anyhow::Result<Outcome> {
    let Some(vagrant) = find_program("vagrant") else {
        return Ok(Outcome::Skipped("vagrant is not installed".into()));
    };
    let validate = |options: &[&str]| {
        let mut command = Command::new(&vagrant);
        command.arg("validate").args(options);
        command.current_dir(paths::root().join("vagrant"));
        command
    };
    let output = validate(&[]).output().context("cannot run vagrant")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && text.contains("No usable default provider") {
        say("no provider here: checking all but the providers' own settings");
        return status(&mut validate(&["--ignore-provider"]));
    }
    say(text.trim());
    say(String::from_utf8_lossy(&output.stdout).trim());
    Ok(match output.status.success() {
        true => Outcome::Passed,
        false => Outcome::Failed(output.status.to_string()),
    })
}

fn live(unwanted: bool) -> anyhow::Result<Outcome> {
    if unwanted {
        return Ok(Outcome::Skipped("left out by --no-live".into()));
    }
    if !rustix::process::geteuid().is_root() {
        return Ok(Outcome::Skipped(
            "not root: nothing was traced for real".into(),
        ));
    }
    status(
        cargo()
            .args([
                "test",
                "--package",
                "xtask",
                "--test",
                "live*",
                "--no-fail-fast",
                "--",
                "--test-threads=1",
            ])
            .env("WHY502_LIVE", "1")
            .env("WHY502_BIN", checked_why502()?),
    )
}

/// The program that the live tests run: one that notices numbers that overflow. `cargo xtask vm` runs the
/// release.
fn checked_why502() -> anyhow::Result<PathBuf> {
    match paths::named_why502() {
        Some(named) => Ok(named),
        None => build::why502(false),
    }
}

/// How often the verdicts are right, with real failures; in a process of its own, because it leaves
/// this one's namespaces.
fn fault_lab(unwanted: bool) -> anyhow::Result<Outcome> {
    if unwanted {
        return Ok(Outcome::Skipped("left out by --no-live".into()));
    }
    if !rustix::process::geteuid().is_root() {
        return Ok(Outcome::Skipped(
            "not root: no failure was made for real".into(),
        ));
    }
    // This very program may have been built anew by the tests before, and its file be another.
    status(
        cargo()
            .args([
                "run",
                "--quiet",
                "--package",
                "xtask",
                "--",
                "lab",
                "--short",
            ])
            .env("WHY502_BIN", checked_why502()?),
    )
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed ",
        Outcome::Failed(_) => "FAILED ",
        Outcome::Skipped(_) => "SKIPPED",
    }
}

fn summary(checks: &[Check]) -> String {
    let count = |wanted: fn(&Outcome) -> bool| checks.iter().filter(|c| wanted(&c.outcome)).count();
    format!(
        "checks: {} passed, {} failed, {} skipped",
        count(|o| *o == Outcome::Passed),
        count(|o| matches!(o, Outcome::Failed(_))),
        count(|o| matches!(o, Outcome::Skipped(_))),
    )
}

/// Why the whole run failed, if it did. Where nobody reads along (`strict`), a live tier that did
/// not run is a failure.
fn verdict(checks: &[Check], strict: bool) -> Option<String> {
    if checks
        .iter()
        .any(|check| matches!(check.outcome, Outcome::Failed(_)))
    {
        return Some("not everything passed".into());
    }
    let live = checks.iter().find(|check| check.name == "live tests");
    match live.map(|check| &check.outcome) {
        Some(Outcome::Skipped(_)) if strict => {
            Some("the live tests were skipped, which CI=true does not allow".into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(outcomes: Vec<(&'static str, Outcome)>) -> Vec<Check> {
        let check = |(name, outcome)| Check {
            name,
            outcome,
            took: Duration::ZERO,
        };
        outcomes.into_iter().map(check).collect()
    }

    #[test]
    fn verdicts() {
        let skipped = || Outcome::Skipped("why".into());
        let failed = || Outcome::Failed("why".into());
        let cases = [
            (
                "all well",
                vec![("lints", Outcome::Passed), ("live tests", Outcome::Passed)],
                [false; 2],
            ),
            (
                "one failed",
                vec![("lints", failed()), ("live tests", Outcome::Passed)],
                [true; 2],
            ),
            (
                "live skipped",
                vec![("live tests", skipped())],
                [false, true],
            ),
            (
                "another skipped",
                vec![("Vagrantfile", skipped()), ("live tests", Outcome::Passed)],
                [false; 2],
            ),
        ];
        for (name, outcomes, expected) in cases {
            let checks = checks(outcomes);
            let fails = [false, true].map(|strict| verdict(&checks, strict).is_some());
            assert_eq!(fails, expected, "{name}");
        }
    }

    #[test]
    fn the_last_line_counts() {
        let checks = checks(vec![
            ("a", Outcome::Passed),
            ("b", Outcome::Passed),
            ("c", Outcome::Failed(String::new())),
            ("d", Outcome::Skipped(String::new())),
        ]);
        assert_eq!(summary(&checks), "checks: 2 passed, 1 failed, 1 skipped");
    }
}
