//! The real `why502` against real proxies, as a black box: it is started, told to stop, and judged
//! by what it prints. Needs root and the four programs; `cargo xtask test` runs it.
#![expect(
    clippy::unwrap_used,
    reason = "test helpers fail where they stand, like the tests"
)]

mod agent;
mod backends;
mod equal;
mod input;
mod logs;
mod numbers;
mod processes;
mod proxies;
mod silence;
mod standby;
mod story;
mod volume;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use xtask::lab::capture::Ended;
use xtask::lab::proxy::{Kind, Proxy, Route};
use xtask::lab::ready;

/// The program under test.
fn why502() -> PathBuf {
    xtask::paths::tested_why502()
}

/// The right to run, one test at a time; `None`: skipped, and said so.
///
/// One at a time because they share the packet filter, two cores, and the patience of timeouts.
fn turn(kinds: &[Kind]) -> Option<MutexGuard<'static, ()>> {
    turn_with(kinds, &[])
}

/// The same for a test that needs these programs, too.
fn turn_with(kinds: &[Kind], programs: &[&str]) -> Option<MutexGuard<'static, ()>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if !ready::or_skip_without(kinds, programs) {
        return None;
    }
    let binary = why502();
    assert!(
        binary.is_file(),
        "{} is not there; `cargo xtask build --release` makes it",
        binary.display()
    );
    Some(turn)
}

/// Nothing was lost, but for what the kernel itself leaves out where one call of a hook comes in between
/// another.
#[track_caller]
fn ensure_no_loss(document: &Value) {
    for (name, count) in document["losses"].as_object().unwrap() {
        if name == "hook_skipped" {
            eprintln!("the kernel left out {count} calls of hooks");
        } else {
            assert_eq!(count, 0, "{name}: {}", document["notes"]);
        }
    }
}

/// The cases that went through one of this proxy's ports. Other proxies may run on this host.
fn cases_of(ended: &Ended, proxy: &Proxy) -> Vec<Value> {
    let fronts = Route::ALL.map(|route| proxy.front(route).to_string());
    let mut cases = ended.cases();
    cases.retain(|case| {
        let local = case["downstream"]["local"].as_str();
        local.is_some_and(|local| fronts.iter().any(|front| front == local))
    });
    cases
}

/// Rules of cases, in order.
fn rules(cases: &[Value]) -> Vec<&str> {
    let rules = cases.iter();
    rules
        .map(|case| case["verdict"]["rule"].as_str().unwrap_or("?"))
        .collect()
}
