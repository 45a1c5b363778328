//! Standing by: the first failure is explained by what the sockets' counters tell and no further, those behind it
//! as ever, and what happened unseen gives no wrong case.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use xtask::lab::agent::{Agent, Settings};
use xtask::lab::capture::{Capture, Output};
use xtask::lab::client::{Client, ReplyEnd, Request};
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
    start_with(stand, QUIET_S * 1000, more)
}

fn start_with(stand: &Stand, quiet_ms: u32, more: &[&str]) -> Capture {
    let pid = stand.proxy.pid().to_string();
    let quiet = format!("{}ms", quiet_ms * slowness());
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
        // Of the first the path is not known.
        fail(&stand, &format!("/fin/unseen-{period}"));
        says(&capture, WAKES, period);
        expected.push(("?".to_owned(), "fin-before-response", "weak"));
        for n in 0..3 {
            let path = format!("/fin/{period}-{n}");
            fail(&stand, &path);
            expected.push((path, "fin-before-response", "strong"));
        }
        let reply = pooled.send(&Request::get("/ok")).unwrap();
        assert_eq!(reply.status, Some(200), "{reply:?}");
        says(&capture, RESTS, period + 1);
    }
    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
    let found: Vec<(String, &str, &str)> = document["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| {
            let path = case["downstream"]["path"].as_str().unwrap_or("?");
            let verdict = |field: &str| case["verdict"][field].as_str().unwrap_or("?");
            (path.to_owned(), verdict("rule"), verdict("confidence"))
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

/// What is asked while tracing stands by, and the rule that is named for it, if any.
struct First {
    route: Route,
    path: &'static str,
    rule: Option<&'static str>,
}

const fn first(route: Route, path: &'static str, rule: &'static str) -> First {
    First {
        route,
        path,
        rule: Some(rule),
    }
}

const fn untold(route: Route, path: &'static str) -> First {
    First {
        route,
        path,
        rule: None,
    }
}

const FIRSTS: [First; 12] = [
    first(Route::Refused, "/ok", "connect-refused"),
    first(Route::BlackHole, "/ok", "connect-timeout"),
    first(Route::Fresh, "/fin", "fin-before-response"),
    first(Route::Pooled, "/fin", "fin-before-response"),
    first(Route::Fresh, "/rst", "rst-before-response"),
    first(Route::Pooled, "/rst", "rst-before-response"),
    first(Route::Fresh, "/hang", "response-timeout"),
    first(Route::Pooled, "/hang", "response-timeout"),
    // The backend's own answer passed by unseen, and so did the beginning of one.
    untold(Route::Fresh, "/502"),
    untold(Route::Pooled, "/503"),
    untold(Route::Fresh, "/partial-header"),
    untold(Route::Nobody, "/ok"),
];

#[test]
fn nginx_first_failures() {
    first_failures(Kind::Nginx);
}

#[test]
fn haproxy_first_failures() {
    first_failures(Kind::Haproxy);
}

#[test]
fn envoy_first_failures() {
    first_failures(Kind::Envoy);
}

#[test]
fn apache_first_failures() {
    first_failures(Kind::Apache);
}

fn first_failures(kind: Kind) {
    let Some(_turn) = turn(&[kind]) else {
        return;
    };
    if !possible() {
        // `wakes_and_rests` says more.
        return;
    }
    let stand = Stand::start(kind, Options::default()).unwrap();
    let capture = start_with(&stand, 300, &["--format", "ndjson"]);
    let mut met = Vec::new();
    let kept = || {
        // Some proxies keep connections for the client only.
        let mut client = Client::connect(stand.proxy.front(Route::Pooled)).unwrap();
        for _ in 0..3 {
            let reply = client.send(&Request::get("/ok")).unwrap();
            assert_eq!(reply.status, Some(200), "{reply:?}");
        }
        // The kernel's counters tell times by its tick.
        std::thread::sleep(Duration::from_millis(20));
        client
    };
    let mut woken = 0;
    for first in FIRSTS {
        says(&capture, RESTS, woken + 1);
        let mut client = match first.route {
            Route::Pooled => kept(),
            route => Client::connect(stand.proxy.front(route)).unwrap(),
        };
        let reply = client.send(&Request::get(first.path)).unwrap();
        if reply.status.is_none_or(|status| status < 500) {
            // Some proxies drop the client if a kept connection fails: of that, only a reset wakes it.
            assert!(matches!(first.route, Route::Pooled), "{reply:?}");
            if first.path == "/rst" {
                woken += 1;
                says(&capture, WAKES, woken);
            }
            continue;
        }
        woken += 1;
        says(&capture, WAKES, woken);
        met.push((client.local(), first.path, first.rule, reply));
    }
    says(&capture, RESTS, woken + 1);
    let raced = stand
        .race_lost_fin_on(kept(), &Request::post("/ok/raced", b"a=1"))
        .unwrap();
    if raced.reply.status.is_some() {
        says(&capture, WAKES, woken + 1);
        met.push((raced.client, "raced", Some("keepalive-race"), raced.reply));
    }
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    let cases = cases_of(&ended, &stand.proxy);
    for (client, path, rule, reply) in met {
        let client = client.to_string();
        let found: Vec<&Value> = cases
            .iter()
            .filter(|case| case["downstream"]["client"] == client)
            .collect();
        let named: Vec<&str> = found
            .iter()
            .map(|case| case["verdict"]["rule"].as_str().unwrap())
            .collect();
        assert_eq!(named, Vec::from_iter(rule), "{path}: {reply:?}\n{found:#?}");
        for case in found {
            assert_eq!(case["verdict"]["confidence"], "weak", "{path}: {case:#}");
            assert_eq!(case["status"], reply.status.unwrap(), "{path}: {case:#}");
        }
    }
}

#[test]
fn healthy_traffic_wakes_nobody() {
    let kinds = [Kind::Nginx, Kind::Haproxy, Kind::Envoy, Kind::Apache];
    let Some(_turn) = turn(&kinds) else {
        return;
    };
    for kind in kinds {
        let stand = Stand::start(kind, Options::default()).unwrap();
        let capture = start(&stand, &["--format", "json"]);
        for route in [Route::Fresh, Route::Pooled, Route::Shared] {
            let mut client = Client::connect(stand.proxy.front(route)).unwrap();
            for target in [
                "/ok",
                "/ok?bytes=300000",
                "/204",
                "/404",
                "/500",
                "/chunked-ok",
                "/cl-delimited",
                "/close-after",
                "/slow?ms=200",
            ] {
                let reply = client.send(&Request::get(target)).unwrap();
                assert!(reply.complete, "{kind:?} {target}: {reply:?}");
                if reply.end != ReplyEnd::Open || reply.header("connection") == Some("close") {
                    client = Client::connect(stand.proxy.front(route)).unwrap();
                }
            }
            let body = vec![b'a'; 100_000];
            let reply = client.send(&Request::post("/ok", &body)).unwrap();
            assert_eq!(reply.status, Some(200), "{kind:?}: {reply:?}");
            // One that has had enough.
            let mut hasty = Client::connect(stand.proxy.front(route)).unwrap();
            hasty.write(&Request::get("/slow?ms=400")).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            hasty.abort();
            // The kept connections grow old.
            stand.drain().unwrap();
            let met = stand.ask(route, &Request::get("/ok")).unwrap();
            assert_eq!(met.reply.status, Some(200), "{kind:?}: {met:?}");
        }
        std::thread::sleep(Duration::from_millis(500));
        let ended = capture.stop().unwrap();
        assert!(!ended.stderr.contains(WAKES), "{kind:?}: {}", ended.stderr);
        let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
        assert_eq!(document["totals"]["cases"], 0, "{document:#}");
        ensure_no_loss(&document);
    }
}

#[test]
fn a_hidden_failure_wakes_it() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let stand = Stand::start(Kind::Nginx, Options::default()).unwrap();
    let capture = start(&stand, &["--format", "json"]);
    for path in ["/fin/unseen", "/fin/seen"] {
        let met = stand.ask(Route::Retry, &Request::get(path)).unwrap();
        assert_eq!(met.reply.status, Some(200), "{path}: {met:?}");
        says(&capture, WAKES, 1);
    }
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
    let cases = document["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 1, "{document:#}");
    assert_eq!(cases[0]["outcome"], "masked", "{document:#}");
    assert_eq!(cases[0]["downstream"]["path"], "/fin/seen", "{document:#}");
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
    let told = ["fin-before-response", "keepalive-race"];
    assert_eq!(rules(&cases), told, "{cases:#?}");
    assert_eq!(cases[1]["verdict"]["confidence"], "strong", "{cases:#?}");
    let attempt = &cases[1]["attempts"][0];
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
    // Only of what failed unseen the path is not known.
    let unknown = &Value::Null;
    assert_eq!(
        paths,
        [unknown, unknown, unknown, &Value::from("/fin/seen")],
        "{document:#}"
    );
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
    assert_eq!(
        paths,
        [&Value::Null, &Value::from("/502/seen")],
        "{document:#}"
    );
    for case in cases {
        assert_eq!(case["verdict"]["rule"], "application-502", "{case:#}");
    }
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
    agent.counts(cases, 4.0).unwrap();
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
    assert_eq!(report["totals"]["cases"], 4, "{report:#}");
    let notes = report["notes"].to_string();
    assert!(notes.contains("woken once"), "{notes}");
    agent.counts("why502_agent_tracing", 0.0).unwrap();
    agent.says("CAP_SYS_PTRACE").unwrap();
}
