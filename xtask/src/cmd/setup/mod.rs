//! `cargo xtask setup`: installs what building and testing need.
//!
//! It looks at the machine, plans, does the first step that it may do, and looks again, until
//! nothing is left. So a second run is quick, and a step that did not bring what it should is noticed.

mod apt;
mod facts;
mod plan;
mod step;

use std::time::Instant;

use anyhow::anyhow;
use clap::ValueEnum;

use crate::progress::{quiet, say};
use facts::Facts;
use step::Step;

/// Options of `setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to make ready for; demo includes build, and test includes demo
    #[arg(long = "for", value_enum, default_value_t = Purpose::Build)]
    purpose: Purpose,
}

/// What the machine must be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Purpose {
    /// Build why502 for packages, also for machines of other kinds
    // First, because the others do not include it.
    Dist,
    /// Build why502 with its kernel programs
    Build,
    /// Also run the demo
    Demo,
    /// Also run all tests
    Test,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure(args.purpose)
}

/// Makes the machine ready for `purpose`, or says which commands would.
pub(crate) fn ensure(purpose: Purpose) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut done: Vec<Step> = Vec::new();
    let mut given_up: Vec<Step> = Vec::new();
    let mut said = Vec::new();
    loop {
        let facts = Facts::look(purpose, &done, &given_up);
        let plan = plan::plan(&facts, purpose);
        for line in plan.present {
            if !said.contains(&line) {
                say(format!("setup: {line}"));
                said.push(line);
            }
        }
        let Some(step) = plan.steps.iter().find(|step| step.may_run(facts.root)) else {
            for note in plan.notes {
                say(format!("setup: {note}"));
            }
            if plan.steps.is_empty() {
                break;
            }
            return Err(by_hand(&plan.steps, facts.root));
        };
        let ended = match done.contains(step) {
            false => execute(step, done.len()),
            true => Err(anyhow!("ran, but what it installs is still not found")),
        };
        match ended {
            Ok(()) => done.push(step.clone()),
            Err(why) if step.optional() => {
                say(format!("setup: {step}: {why:#}"));
                given_up.push(step.clone());
            }
            Err(why) => return Err(why.context(format!("setup: {step}"))),
        }
    }
    if !done.is_empty() {
        say(format!("setup: done in {} s", started.elapsed().as_secs()));
    }
    Ok(())
}

fn execute(step: &Step, number: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    say(format!("setup: {step}"));
    let logs = xtask::paths::root().join("target/setup");
    for (i, line) in step.lines().iter().enumerate() {
        say(format!("    $ {line}"));
        let log = logs.join(format!("step-{number}-{i}.log"));
        quiet(line.command().current_dir(xtask::paths::root()), &log)?;
    }
    say(format!("    done in {} s", started.elapsed().as_secs()));
    Ok(())
}

/// The message for a person who must do the rest.
fn by_hand(steps: &[Step], root: bool) -> anyhow::Error {
    let mut text = String::from("setup cannot do the rest by itself; run this, then try again:\n");
    for step in steps {
        text.push_str(&format!("\n  # {step}\n"));
        for line in step.lines() {
            let sudo = if step.needs_root() && !root {
                "sudo "
            } else {
                ""
            };
            text.push_str(&format!("  {sudo}{line}\n"));
        }
    }
    anyhow::Error::msg(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_printed_as_commands() {
        let steps = [
            Step::Apt(vec!["nginx".into(), "haproxy".into()]),
            Step::NightlySource { nightly: false },
        ];
        let text = by_hand(&steps, false).to_string();
        assert_eq!(
            text,
            "setup cannot do the rest by itself; run this, then try again:\n\
             \n  # install nginx haproxy\n  \
             sudo scripts/apt-install.sh nginx haproxy\n\
             \n  # fetch the source of `core` for rustup's nightly\n  \
             rustup toolchain install nightly --profile minimal --component rust-src\n"
        );
        assert!(!by_hand(&steps, true).to_string().contains("sudo"));
    }
}
