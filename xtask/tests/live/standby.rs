//! Standing by: the first failure is told and not explained, those behind it are, and what happened unseen
//! gives no wrong case.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use xtask::lab::agent::{Agent, Settings};
use xtask::lab::capture::{Capture, Output};
use xtask::lab::client::{Client, Request};
use xtask::lab::process::slowness;
use xtask::lab::proxy::{Kind, Options, Route};
use xtask::lab::stand::{Behind, Stand};

use crate::{cases_of, ensure_no_loss, rules, turn, why502};

/// So long without a failure, s, on a machine of usual speed.
const QUIET_S: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(15);

const WAKES: &str = "while tracing stood by";
const RESTS: &str = "standing by for the first sign";

/// Waits for the n-th line with these words.
#[track_caller]
fn says(capture: &Capture, words: &str, times: usize) {
    let said = capture.says(words, times, PATIENCE).unwrap();
    assert!(said, "not said {times} times: {words}");
}

fn start(stand: &Stand, more: &[&str]) -> Capture {
    let pid = stand.proxy.pid().to_string();
    let quiet = format!("{}s", QUIET_S * slowness());
    let args = [&["--pid", &pid, "--standby", &quiet], more].concat();
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    says(&capture, RESTS, 1);
    capture
}

fn fail(stand: &Stand, path: &str) {
    let met = stand.ask(Route::Fresh, &Request::get(path)).unwrap();
    assert!(
        matches!(met.reply.status, Some(502 | 503)),
        "{path}: {met:?}"
    );
}

#[test]
fn nginx_wakes_it() {
    wakes_and_rests(Kind::Nginx);
}

#[test]
fn haproxy_wakes_it() {
    wakes_and_rests(Kind::Haproxy);
}

#[test]
fn envoy_wakes_it() {
    wakes_and_rests(Kind::Envoy);
}

#[test]
fn apache_wakes_it() {
    wakes_and_rests(Kind::Apache);
}

/// Has this kernel a place for it?
fn possible() -> bool {
    const PLACE: &[u8] = b"btf_trace_sock_send_length\0";
    let types = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    types.windows(PLACE.len()).any(|found| found == PLACE)
}

fn wakes_and_rests(kind: Kind) {
    let Some(_turn) = turn(&[kind]) else {
        return;
    };
    if !possible() {
        let output = Command::new(why502())
            .args(["capture", "--standby", "1m"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("cannot stand by on it"), "{said}");
        return;
    }
    let stand = Stand::start(kind, Options::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("recording");
    let written = recording.to_str().unwrap();
    let capture = start(&stand, &["--format", "json", "-w", written]);
    // Opened and used unseen, before each of the two periods in which everything is.
    let mut pooled = Client::connect(stand.proxy.front(Route::Pooled)).unwrap();
    let mut expected = Vec::new();
    for period in 1..=2 {
        for _ in 0..20 {
            let reply = pooled.send(&Request::get("/ok")).unwrap();
            assert_eq!(reply.status, Some(200), "{reply:?}");
        }
        // Of these the first is told and not explained.
        fail(&stand, &format!("/fin/unseen-{period}"));
        says(&capture, WAKES, period);
        for n in 0..3 {
            let path = format!("/fin/{period}-{n}");
            fail(&stand, &path);
            expected.push((path, "fin-before-response"));
        }
        let reply = pooled.send(&Request::get("/ok")).unwrap();
        assert_eq!(reply.status, Some(200), "{reply:?}");
        says(&capture, RESTS, period + 1);
    }
    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
    let found: Vec<(String, &str)> = document["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| {
            let path = case["downstream"]["path"].as_str().unwrap_or("?");
            let rule = case["verdict"]["rule"].as_str().unwrap_or("?");
            (path.to_owned(), rule)
        })
        .collect();
    assert_eq!(found, expected, "{document:#}");
    ensure_no_loss(&document);
    let notes = document["notes"].to_string();
    assert!(notes.contains("tracing stood by"), "{notes}");
    assert!(notes.contains("woken 2 times"), "{notes}");
    // A recording of it tells the same.
    let replayed = Command::new(why502())
        .arg("report")
        .arg(&recording)
        .args(["--format", "json"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&replayed.stdout),
        ended.stdout(),
        "{replayed:?}"
    );
}

#[test]
fn a_pooled_connection_of_before_is_told_right() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let stand = Stand::start(Kind::Nginx, Options::default()).unwrap();
    let capture = start(&stand, &["--format", "ndjson"]);
    let mut client = Client::connect(stand.proxy.front(Route::Pooled)).unwrap();
    for _ in 0..5 {
        let reply = client.send(&Request::get("/ok")).unwrap();
        assert_eq!(reply.status, Some(200), "{reply:?}");
    }
    fail(&stand, "/fin/unseen");
    says(&capture, WAKES, 1);
    // The connection to the backend is the one that carried the five: nothing of them is known.
    let met = stand
        .race_lost_fin_on(client, &Request::post("/ok/raced", b"a=1"))
        .unwrap();
    assert_eq!(met.reply.status, Some(502), "{met:?}");
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    let cases = cases_of(&ended, &stand.proxy);
    assert_eq!(rules(&cases), ["keepalive-race"], "{cases:#?}");
    let attempt = &cases[0]["attempts"][0];
    assert_eq!(attempt["reused"], true, "{attempt:#}");
}

#[test]
fn what_is_under_way_gives_no_case() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let options = Options {
        response_ms: 20_000,
        ..Options::default()
    };
    let stand = Stand::start(Kind::Nginx, options).unwrap();
    let capture = start(&stand, &["--format", "json"]);
    std::thread::scope(|scope| {
        let slow = |path: &'static str| {
            let stand = &stand;
            scope.spawn(move || {
                let met = stand.ask(Route::Pooled, &Request::get(path)).unwrap();
                assert_eq!(met.reply.status, Some(200), "{path}: {met:?}");
                assert!(met.reply.complete, "{path}: {met:?}");
            })
        };
        // Begun unseen, ended when everything is seen.
        let first = slow("/slow/a?ms=1000");
        let second = slow("/drip/a?length=200000&sent=100000&pause=1000");
        std::thread::sleep(Duration::from_millis(300));
        fail(&stand, "/fin/unseen-1");
        says(&capture, WAKES, 1);
        first.join().unwrap();
        second.join().unwrap();
        // Begun when everything was seen, over when it is again; between them, it was not.
        let third = slow("/slow/b?ms=5000");
        let fourth = slow("/drip/b?length=200000&sent=100000&pause=5000");
        says(&capture, RESTS, 2);
        fail(&stand, "/fin/unseen-2");
        says(&capture, WAKES, 2);
        third.join().unwrap();
        fourth.join().unwrap();
    });
    says(&capture, RESTS, 3);
    fail(&stand, "/fin/unseen-3");
    says(&capture, WAKES, 3);
    fail(&stand, "/fin/seen");
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
    let cases = document["cases"].as_array().unwrap();
    let paths: Vec<&Value> = cases
        .iter()
        .map(|case| &case["downstream"]["path"])
        .collect();
    assert_eq!(paths, ["/fin/seen"], "{document:#}");
}

#[test]
fn a_backend_s_host_stands_by_too() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let stand = Stand::start(Kind::Nginx, Options::default()).unwrap();
    let capture = start(&stand, &["--role", "backend", "--format", "json"]);
    // Connections that carry something and close are no sign.
    for _ in 0..5 {
        let met = stand.ask(Route::Pooled, &Request::get("/ok")).unwrap();
        assert_eq!(met.reply.status, Some(200), "{met:?}");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(!capture.says(WAKES, 1, Duration::ZERO).unwrap());
    fail(&stand, "/502/unseen");
    says(&capture, WAKES, 1);
    fail(&stand, "/502/seen");
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
    let cases = document["cases"].as_array().unwrap();
    let paths: Vec<&Value> = cases
        .iter()
        .map(|case| &case["downstream"]["path"])
        .collect();
    assert_eq!(paths, ["/502/seen"], "{document:#}");
    assert_eq!(cases[0]["verdict"]["rule"], "application-502");
}

#[test]
fn an_agent_without_rights_wakes() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let behind = Behind::without_filter().unwrap();
    let stand = Stand::with(Kind::Nginx, Options::default(), behind).unwrap();
    let pid = stand.proxy.pid();
    let settings = Settings {
        capture: format!("pids = [{pid}]\nstandby_seconds = {}", QUIET_S * slowness()),
        ..Settings::default()
    };
    let agent = Agent::start(&why502(), &settings).unwrap();
    let cases = "why502_agent_cases_total{outcome=\"error-response\"}";
    agent.counts("why502_agent_tracing", 0.0).unwrap();
    fail(&stand, "/fin/unseen");
    agent.counts("why502_agent_tracing", 1.0).unwrap();
    agent.counts("why502_agent_wakes_total", 1.0).unwrap();
    for n in 0..3 {
        fail(&stand, &format!("/fin/{n}"));
    }
    agent.counts(cases, 3.0).unwrap();
    // A snapshot says for how long nothing was seen.
    let output = agent.ask(&["snapshot"]).unwrap();
    assert!(output.status.success(), "{output:?}\n{}", agent.log());
    let path = String::from_utf8(output.stdout).unwrap();
    let report = Command::new(why502())
        .arg("report")
        .arg(Path::new(path.trim()))
        .args(["--format", "json"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["totals"]["cases"], 3, "{report:#}");
    let notes = report["notes"].to_string();
    assert!(notes.contains("woken once"), "{notes}");
    agent.counts("why502_agent_tracing", 0.0).unwrap();
    agent.says("CAP_SYS_PTRACE").unwrap();
}
