//! The agent as a service would run it: started by its configuration, told by signals, judged by its
//! metrics, its snapshots and what `/proc` says of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use xtask::lab::agent::{Agent, PATIENCE, Settings};
use xtask::lab::client::Request;
use xtask::lab::proxy::{Kind, Options, Route};
use xtask::lab::stand::{Behind, Stand};

use crate::{turn, why502};

/// Failures that are a burst.
const BURST: usize = 12;

fn settings(capture: &str) -> Settings {
    Settings {
        capture: capture.to_owned(),
        snapshot: format!("burst_failures = {BURST}"),
        ..Settings::default()
    }
}

fn report(recording: &Path) -> Value {
    let mut command = Command::new(why502());
    command
        .arg("report")
        .arg(recording)
        .args(["--format", "json"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Paths and rules of a report's cases.
fn told(report: &Value) -> Vec<(String, String)> {
    let cases = report["cases"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    cases
        .map(|case| {
            (
                text(&case["downstream"]["path"]),
                text(&case["verdict"]["rule"]),
            )
        })
        .collect()
}

/// Capabilities and `NoNewPrivs` of all its threads.
fn rights(pid: u32) -> Vec<(u64, u64, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .map(|status| {
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap().trim().to_owned()
            };
            let bits = |name| u64::from_str_radix(&field(name), 16).unwrap();
            (bits("CapEff:"), bits("CapPrm:"), field("NoNewPrivs:"))
        })
        .collect()
}

#[test]
fn a_day_in_the_life_of_an_agent() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let behind = Behind::without_filter().unwrap();
    let stand = Stand::with(Kind::Nginx, Options::default(), behind).unwrap();
    let traced = settings(&format!("pids = [{}]", stand.proxy.pid()));
    let mut agent = Agent::start(&why502(), &traced).unwrap();
    let cases = "why502_agent_cases_total{outcome=\"error-response\"}";

    // It has what it needs, and no more.
    const PTRACE_AND_READ: u64 = 1 << 19 | 1 << 2;
    const BPF: u64 = 1 << 39;
    const ADMIN: u64 = 1 << 21;
    for (effective, permitted, no_new) in rights(agent.running.pid()) {
        assert_eq!(effective & !(BPF | ADMIN), PTRACE_AND_READ, "{effective:x}");
        assert_eq!(permitted, effective);
        assert_eq!(no_new, "1");
    }
    agent.says("CAP_SYS_PTRACE").unwrap();

    // Failures are counted, and a snapshot has them.
    for n in 0..3 {
        let path = format!("/fin/{n}");
        stand.ask(Route::Fresh, &Request::get(&path)).unwrap();
        stand.ask(Route::Pooled, &Request::get("/ok")).unwrap();
    }
    agent.counts(cases, 3.0).unwrap();
    let output = agent.ask(&["snapshot"]).unwrap();
    assert!(output.status.success(), "{output:?}\n{}", agent.log());
    let path = String::from_utf8(output.stdout).unwrap();
    let first = report(Path::new(path.trim()));
    let expected: Vec<(String, String)> = (0..3)
        .map(|n| (format!("/fin/{n}"), "fin-before-response".to_owned()))
        .collect();
    assert_eq!(told(&first), expected, "{first:#}");
    let counted = first["backends"].as_array().unwrap().iter();
    let counted: u64 = counted.filter_map(|one| one["exchanges"].as_u64()).sum();
    assert_eq!(counted, 3, "answered: {:#}", first["backends"]);
    let mode = fs::metadata(path.trim())
        .map(|meta| std::os::unix::fs::PermissionsExt::mode(&meta.permissions()));
    assert_eq!(mode.unwrap() & 0o777, 0o600);

    // A second agent is told who is first.
    let second = agent.ask(&["agent"]).unwrap();
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    let pid = agent.running.pid();
    assert!(said.contains(&format!("process {pid} holds")), "{said}");

    // A bad configuration changes nothing and is told with its place.
    agent.reconfigure(&settings("snaplenn = 5")).unwrap();
    agent.hears("RELOADING=1").unwrap();
    agent.hears("READY=1").unwrap();
    agent
        .says("line 3, column 1: [capture] has no key snaplenn; did you mean snaplen?")
        .unwrap();
    // A good one is adopted: nothing that is traced now has this name.
    let nothing = settings("proxies = [\"no-such-proxy\"]\nsnaplen = 256");
    agent.reconfigure(&nothing).unwrap();
    agent
        .says("snaplen of [capture] is changed by a restart only")
        .unwrap();
    agent
        .counts("why502_agent_reloads_total{result=\"ok\"}", 1.0)
        .unwrap();
    stand
        .ask(Route::Fresh, &Request::get("/fin/unseen"))
        .unwrap();
    agent.reconfigure(&traced).unwrap();
    agent
        .counts("why502_agent_reloads_total{result=\"ok\"}", 2.0)
        .unwrap();

    // Many failures at once make a snapshot by themselves; a signal makes one, too.
    for n in 0..BURST {
        let path = format!("/rst/{n}");
        stand.ask(Route::Fresh, &Request::get(&path)).unwrap();
    }
    agent
        .counts(
            "why502_agent_snapshots_total{reason=\"burst\",result=\"written\"}",
            1.0,
        )
        .unwrap();
    agent.counts(cases, 3.0 + BURST as f64).unwrap();
    agent.running.signal(Signal::USR1).unwrap();
    agent
        .counts(
            "why502_agent_snapshots_total{reason=\"signal\",result=\"written\"}",
            1.0,
        )
        .unwrap();
    let snapshots = agent.snapshots();
    assert_eq!(snapshots.len(), 3, "{snapshots:?}");
    let last = report(&snapshots[2]);
    let rules = told(&last);
    assert_eq!(rules.len(), 3 + BURST, "{last:#}");
    assert_eq!(rules[..3], expected);
    assert!(
        rules[3..]
            .iter()
            .all(|(_, rule)| rule == "rst-before-response"),
        "{rules:?}"
    );

    // Where no snapshot can be written it says so and goes on.
    let folder = agent.dir().join("snapshots");
    fs::rename(&folder, folder.with_extension("old")).unwrap();
    fs::write(&folder, "no directory").unwrap();
    let output = agent.ask(&["snapshot"]).unwrap();
    assert_eq!(output.status.code(), Some(2));
    agent.says("no snapshot could be written").unwrap();
    assert!(
        agent
            .get("/healthz", "*/*")
            .unwrap()
            .contains("\"status\":\"ok\"")
    );
    assert!(
        agent
            .get("/metrics", "application/openmetrics-text")
            .unwrap()
            .ends_with("# EOF\n")
    );

    agent.hears("WATCHDOG=1").unwrap();
    agent.running.signal(Signal::TERM).unwrap();
    agent.hears("STOPPING=1").unwrap();
    let code = agent.running.wait(PATIENCE).unwrap();
    assert_eq!(code, Some(0), "{}", agent.log());
    assert!(!agent.dir().join("run/agent.sock").exists());
    // Every line of its log is JSON.
    for line in agent.log().lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
