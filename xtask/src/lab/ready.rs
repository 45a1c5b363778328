//! Can this machine run the lab? And what a test does when it cannot.

use std::io::Write as _;

use super::process::find_program;
use super::proxy::Kind;

/// Set where the tests that need all this are wanted (`cargo xtask test`). Without it they pass
/// quietly over: `cargo test --workspace` is the tier that runs everywhere.
pub const WANTED: &str = "WHY502_LIVE";

/// What is missing to run these proxies; empty when all is there.
pub fn missing(kinds: &[Kind]) -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root".to_owned());
    }
    for kind in kinds {
        if kind.program().is_none() {
            missing.push(format!("the program {}", kind.name()));
        }
    }
    missing
}

/// Are the tests wanted that need more than cargo? Says so if not.
pub fn wanted() -> bool {
    let wanted = std::env::var_os(WANTED).is_some();
    if !wanted {
        // Past the test harness, see below.
        let _ = writeln!(
            std::io::stderr().lock(),
            "not run without {WANTED}=1 (`cargo xtask test` sets it)"
        );
    }
    wanted
}

/// May a test that needs these proxies, root, the packet filter and a look at the kernel's programs
/// run? If not it says so where nobody overlooks it, and under CI the test fails: a skipped test must
/// never look like a passed one there.
///
/// # Panics
///
/// With `CI` in the environment and something missing.
pub fn or_skip(kinds: &[Kind]) -> bool {
    or_skip_without(kinds, &[])
}

/// The same for a test that needs these programs, too.
///
/// # Panics
///
/// Likewise.
pub fn or_skip_without(kinds: &[Kind], programs: &[&str]) -> bool {
    if !wanted() {
        return false;
    }
    let mut missing = missing(kinds);
    for program in ["nft", "bpftool"].iter().chain(programs) {
        if find_program(program).is_none() {
            missing.push(format!("the program {program}"));
        }
    }
    if missing.is_empty() {
        return true;
    }
    skip(&missing.join(", "));
    false
}

/// Says that a test does not run, and what it lacks, where nobody overlooks it.
///
/// # Panics
///
/// With `CI` in the environment.
pub fn skip(reason: &str) {
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
}
