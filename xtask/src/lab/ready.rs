//! Can this machine run the lab? And what a test does when it cannot.

use std::io::Write as _;

use super::process::find_program;
use super::proxy::Kind;

/// What is missing to run these proxies in the lab; empty when all is there.
pub fn missing(kinds: &[Kind]) -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root (packet filter, tracing)".to_owned());
    }
    for name in ["nft"] {
        if find_program(name).is_none() {
            missing.push(format!("the program {name}"));
        }
    }
    for kind in kinds {
        if kind.program().is_none() {
            missing.push(format!("the program {}", kind.name()));
        }
    }
    missing
}

/// May a test that needs all this run? If not it says so where nobody overlooks it, and under CI
/// the test fails: a skipped test must never look like a passed one there.
///
/// # Panics
///
/// With `CI` in the environment and something missing.
pub fn or_skip(missing: &[String]) -> bool {
    if missing.is_empty() {
        return true;
    }
    let reason = missing.join(", ");
    assert!(
        std::env::var_os("CI").is_none(),
        "cannot run under CI without {reason}"
    );
    // Not with a printing macro: the test harness hides what a passing test prints. If standard
    // error is closed there is nobody to tell.
    let _ = writeln!(
        std::io::stderr().lock(),
        "\n*** SKIPPED, NOTHING WAS TESTED. Missing: {reason} ***\n"
    );
    false
}
