//! `--role backend`: the host behind a balancer. The client here is the balancer.

use std::time::Duration;

use serde_json::Value;
use xtask::lab::backend::Backend;
use xtask::lab::capture::{Capture, Ended, Output};
use xtask::lab::client::{Client, Request};

use super::{turn, why502};

/// Longer than a client that just changes its mind.
const PATIENT: Duration = Duration::from_millis(1200);

/// Asks and does not care how it ends.
fn ask(backend: &Backend, target: &str) {
    let mut client = Client::connect(backend.addr()).unwrap();
    // A backend that resets may do so before the answer is read.
    let _ = client.send(&Request::get(target));
}

/// Leaves after so long without an answer.
fn leave(backend: &Backend, target: &str, after: Duration) {
    let mut client = Client::connect(backend.addr()).unwrap();
    client.write(&Request::get(target)).unwrap();
    std::thread::sleep(after);
}

/// Does this kernel say why it sends a reset (6.10 and later)?
fn names_resets() -> bool {
    let said = std::process::Command::new(why502())
        .args(["doctor", "--format", "json"])
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&said.stdout).unwrap();
    !told["reset_reasons"].as_array().unwrap().is_empty()
}

/// Rule, outcome, how and confidence of the only case with that path.
fn of(ended: &Ended, path: &str) -> (String, String, String, String) {
    let cases = ended.cases();
    let mine: Vec<&Value> = cases
        .iter()
        .filter(|case| case["downstream"]["path"] == path)
        .collect();
    let [case] = mine[..] else {
        panic!("{path}: {} cases\n{}", mine.len(), ended.stdout());
    };
    assert_eq!(case["seen_from"], "backend", "{case}");
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    (
        text(&case["verdict"]["rule"]),
        text(&case["outcome"]),
        text(&case["attempts"][0]["how"]),
        text(&case["verdict"]["confidence"]),
    )
}

#[test]
fn the_backend_alone_tells_its_half() {
    let Some(_turn) = turn(&[]) else { return };
    let backend = Backend::start().unwrap();
    let pid = std::process::id().to_string();
    let args = ["--role", "backend", "--pid", &pid, "--format", "ndjson"];
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    for target in [
        "/ok/1",
        "/fin/1",
        "/rst/1",
        "/partial-header/1",
        "/body-fin/1",
        "/chunked-rst/1",
        "/502/1",
        "/404/1",
        "/cl-delimited/1",
    ] {
        ask(&backend, target);
    }
    leave(&backend, "/hang/long", PATIENT);
    leave(&backend, "/hang/short", Duration::from_millis(100));
    // The idle connection is closed, and the next request comes too late.
    let mut late = Client::connect(backend.addr()).unwrap();
    late.send(&Request::get("/close-after/1?ms=50")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let _ = late.write(&Request::get("/ok/late"));
    std::thread::sleep(Duration::from_millis(300));
    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    let owned = |(rule, outcome, how, confidence): (&str, &str, &str, &str)| {
        (rule.into(), outcome.into(), how.into(), confidence.into())
    };
    for (path, want) in [
        (
            "/fin/1",
            ("fin-before-response", "dropped", "fin", "strong"),
        ),
        (
            "/rst/1",
            ("rst-before-response", "dropped", "reset", "strong"),
        ),
        (
            "/partial-header/1",
            ("partial-header", "truncated", "fin", "strong"),
        ),
        (
            "/body-fin/1",
            ("body-truncated-fin", "truncated", "fin", "strong"),
        ),
        (
            "/chunked-rst/1",
            ("body-truncated-rst", "truncated", "reset", "strong"),
        ),
        (
            "/502/1",
            ("application-502", "error-response", "completed", "none"),
        ),
        (
            "/hang/long",
            ("response-timeout", "dropped", "timeout", "weak"),
        ),
    ] {
        assert_eq!(of(&ended, path), owned(want), "{path}");
    }
    // What came late has no readable head.
    let cases = ended.cases();
    let races: Vec<&Value> = cases
        .iter()
        .filter(|case| case["verdict"]["rule"] == "keepalive-race")
        .collect();
    // A kernel that names no reasons does not tell either of a reset that no socket sends.
    let told = names_resets();
    assert_eq!(races.len(), usize::from(told), "{}", ended.stdout());
    for race in races {
        assert_eq!(race["downstream"]["client"], late.local().to_string());
    }
    for path in ["/ok/1", "/404/1", "/cl-delimited/1", "/hang/short"] {
        assert!(
            cases.iter().all(|case| case["downstream"]["path"] != path),
            "{path} is no failure of the backend's: {}",
            ended.stdout()
        );
    }
    assert_eq!(cases.len(), 7 + usize::from(told), "{}", ended.stdout());
}
