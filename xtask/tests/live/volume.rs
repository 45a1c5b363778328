//! Many failures at once, and requests of odd shapes.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use xtask::lab::capture::{Capture, Output};
use xtask::lab::client::{Client, ReplyEnd, Request};
use xtask::lab::process::send;
use xtask::lab::proxy::{Kind, Options, Proxy, Route};
use xtask::lab::stand::Stand;

use crate::{ensure_no_loss, turn, why502};

/// Sends that many equal requests over a few client connections.
fn storm(proxy: &Proxy, route: Route, target: &str, requests: usize) {
    const CLIENTS: usize = 4;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(proxy.front(route)).unwrap();
                for _ in 0..requests / CLIENTS {
                    let reply = client.send(&Request::get(target)).unwrap();
                    assert_eq!(reply.status, Some(502), "{reply:?}");
                    assert_eq!(reply.end, ReplyEnd::Open, "{reply:?}");
                }
            });
        }
    });
}

#[test]
fn an_incident_is_one_group_with_an_exact_count() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    const REQUESTS: usize = 2000;
    let options = Options {
        workers: 2,
        ..Options::default()
    };
    let stand = Stand::start(Kind::Nginx, options).unwrap();
    let pid = stand.proxy.pid().to_string();
    let args = ["--pid", &pid, "--format", "json"];
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    storm(&stand.proxy, Route::Refused, "/ok/incident", REQUESTS);
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
    let groups = document["groups"].as_array().unwrap();
    let [group] = &groups[..] else {
        panic!("not one group: {groups:?}; {}", document["losses"]);
    };
    assert_eq!(group["rule"], "connect-refused", "{group}");
    assert_eq!(
        group["count"],
        json!(REQUESTS),
        "{group} {}",
        document["losses"]
    );
    assert_eq!(
        group["upstream"],
        json!(stand.behind.refused.addr()),
        "{group}"
    );
    assert_eq!(document["totals"]["cases"], json!(REQUESTS));
    let listed = document["cases"].as_array().unwrap().len();
    assert!((1..=100).contains(&listed), "{listed} cases listed");
    let examples = group["examples"].as_array().unwrap();
    assert!(!examples.is_empty() && examples.len() <= listed, "{group}");
    ensure_no_loss(&document);
}

#[test]
fn a_full_ring_is_counted() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let stand = Stand::start(Kind::Nginx, Options::default()).unwrap();
    let pid = stand.proxy.pid().to_string();
    let args = ["--pid", &pid, "--format", "json", "--ring-bytes", "16384"];
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    // Nobody empties the ring meanwhile.
    send(capture.pid(), Signal::STOP).unwrap();
    storm(&stand.proxy, Route::Refused, "/ok/overflow", 400);
    send(capture.pid(), Signal::CONT).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
    let losses = document["losses"].as_object().unwrap();
    let lost: u64 = losses.values().filter_map(Value::as_u64).sum();
    assert!(lost > 0, "{document}");
    let cases = document["totals"]["cases"].as_u64().unwrap();
    assert!(cases < 400, "{cases} cases in spite of {lost} lost records");
    let notes = document["notes"].to_string();
    assert!(notes.contains("lost"), "the reader is not told: {notes}");
}

/// What a capture with these options counts while equal and healthy requests come as fast as they can: the
/// document, the requests, and the bytes of its recording. There are no cases.
fn healthy(kind: Kind, route: Route, more: &[&str]) -> (Value, u64, u64) {
    const CLIENTS: u64 = 8;
    const EACH: u64 = 1000;
    let stand = Stand::start(kind, Options::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("healthy.w502");
    let pid = stand.proxy.pid().to_string();
    let mut args = vec!["--pid", &pid, "--role", "proxy", "--format", "json"];
    args.extend(["-w", recording.to_str().unwrap()]);
    args.extend(more);
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(stand.proxy.front(route)).unwrap();
                for _ in 0..EACH {
                    let reply = client.send(&Request::get("/ok/healthy")).unwrap();
                    assert_eq!(reply.status, Some(200), "{reply:?}");
                }
            });
        }
    });
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
    assert_eq!(document["totals"]["cases"], 0, "{document}");
    let written = std::fs::metadata(&recording).unwrap().len();
    (document, CLIENTS * EACH, written)
}

#[test]
fn healthy_traffic_sends_nothing_to_user_space() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let (document, requests, written) = healthy(Kind::Nginx, Route::Fresh, &[]);
    assert_eq!(document["counters"]["exchange_records"], 0, "{document}");
    assert_eq!(document["totals"]["exchanges"], json!(requests));
    // Nor does what is counted grow with it.
    assert!(
        written < 64 << 10,
        "{written} bytes for {requests} requests"
    );
    ensure_no_loss(&document);
}

/// Which of equal requests a backend connection works for is not told by what it sends.
fn equal_requests(kind: Kind) {
    let Some(_turn) = turn(&[kind]) else {
        return;
    };
    for route in [Route::Fresh, Route::Pooled] {
        let (document, requests, _) = healthy(kind, route, &[]);
        assert_eq!(document["totals"]["exchanges"], json!(requests));
        ensure_no_loss(&document);
    }
}

#[test]
fn equal_requests_at_nginx() {
    equal_requests(Kind::Nginx);
}

#[test]
fn equal_requests_at_haproxy() {
    equal_requests(Kind::Haproxy);
}

#[test]
fn equal_requests_at_envoy() {
    equal_requests(Kind::Envoy);
}

#[test]
fn equal_requests_at_apache() {
    equal_requests(Kind::Apache);
}

#[test]
fn all_of_it_is_recorded_or_counted_as_lost() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    // A ring that overflows now and then, and one that does not.
    for ring in ["65536", "8388608"] {
        let more = ["--all", "--ring-bytes", ring];
        let (document, requests, _) = healthy(Kind::Nginx, Route::Fresh, &more);
        let loss = |name: &str| document["losses"][name].as_u64().unwrap_or(0);
        let lost = loss("ring_upstream") + loss("ring_downstream");
        let skipped = loss("hook_skipped");
        let recorded = document["counters"]["healthy_records"].as_u64().unwrap();
        eprintln!("{recorded} of {} were recorded, {lost} lost", 2 * requests);
        // Its side to the client and its side to the backend.
        assert!(recorded + lost <= 2 * requests, "{document}");
        assert!(recorded + lost + skipped >= 2 * requests, "{document}");
        assert!(recorded > 0, "{document}");
        let notes = document["notes"].to_string();
        assert!(
            notes.contains(&format!("{recorded} healthy exchanges")),
            "{notes}"
        );
        assert_eq!(notes.contains("records were lost"), lost > 0, "{notes}");
    }
}

#[test]
fn a_mixed_crowd_at_nginx() {
    mixed_crowd(Kind::Nginx);
}

#[test]
fn a_mixed_crowd_at_haproxy() {
    mixed_crowd(Kind::Haproxy);
}

#[test]
fn a_mixed_crowd_at_envoy() {
    mixed_crowd(Kind::Envoy);
}

#[test]
fn a_mixed_crowd_at_apache() {
    mixed_crowd(Kind::Apache);
}

/// Route, fault, and the rule if it is one.
const MIXTURE: [(Route, &str, Option<&str>); 9] = [
    (Route::Pooled, "/ok", None),
    (Route::Fresh, "/fin", Some("fin-before-response")),
    (Route::Pooled, "/slow", None),
    (Route::Fresh, "/rst", Some("rst-before-response")),
    (Route::Refused, "/ok", Some("connect-refused")),
    (Route::Fresh, "/502", Some("application-502")),
    (Route::Pooled, "/chunked-ok", None),
    (Route::Fresh, "/body-fin", Some("body-truncated-fin")),
    (Route::Fresh, "/partial-header", Some("partial-header")),
];

/// Requests of all kinds at the same time, on two workers: each failure must go to its own request.
fn mixed_crowd(kind: Kind) {
    let Some(_turn) = turn(&[kind]) else {
        return;
    };
    const CLIENTS: usize = 5;
    const EACH: usize = 54;
    let options = Options {
        workers: 2,
        response_ms: 5000,
        ..Options::default()
    };
    let stand = Stand::start(kind, options).unwrap();
    let pid = stand.proxy.pid().to_string();
    let args = ["--pid", &pid, "--format", "ndjson"];
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let stand = &stand;
            scope.spawn(move || {
                for number in 0..EACH {
                    let (route, fault, _) = MIXTURE[(client + number) % MIXTURE.len()];
                    let path = format!("{fault}/{client}-{number}");
                    let id = format!("crowd-{client}-{number}");
                    let request = Request::get(&path);
                    // Half of them can be told apart by nothing but the order of events.
                    let request = match number % 2 {
                        0 => request.with_id(&id),
                        _ => request,
                    };
                    stand.ask(route, &request).unwrap();
                }
            });
        }
    });
    std::thread::sleep(Duration::from_millis(800));
    let ended = capture.stop().unwrap();
    let mut cases = ended.cases();
    let mut wrong = Vec::new();
    for client in 0..CLIENTS {
        for number in 0..EACH {
            let (_, fault, rule) = MIXTURE[(client + number) % MIXTURE.len()];
            let path = format!("{fault}/{client}-{number}");
            let (mine, others) = cases
                .into_iter()
                .partition(|case| case["downstream"]["path"] == json!(path));
            cases = others;
            let mine: Vec<Value> = mine;
            let Some(rule) = rule else {
                wrong.extend(mine.iter().map(|case| format!("{path} is healthy: {case}")));
                continue;
            };
            let [case] = &mine[..] else {
                wrong.push(format!("{path}: {} cases", mine.len()));
                continue;
            };
            let attempt = &case["attempts"][0];
            let served = stand.behind.main.served();
            let peer = served.iter().find(|one| one.path == path);
            let right = case["verdict"]["rule"] == rule
                && case["attempts"].as_array().map(Vec::len) == Some(1)
                && peer.is_none_or(|one| attempt["local"] == json!(one.peer))
                && peer.is_none_or(|one| attempt["request_bytes"] == one.request_bytes)
                && peer.is_none_or(|one| attempt["response_bytes"] == one.response_bytes);
            if !right {
                wrong.push(format!("{path}, {rule}, {peer:?}: {case}"));
            }
        }
    }
    wrong.extend(cases.iter().map(|case| format!("nobody expected {case}")));
    assert!(
        wrong.is_empty(),
        "{}: {} wrong\n{}",
        kind.name(),
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn odd_requests() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let stand = Stand::start(Kind::Nginx, Options::default()).unwrap();
    let pid = stand.proxy.pid().to_string();
    let args = ["--pid", &pid, "--format", "ndjson"];
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    let refused = stand.proxy.front(Route::Refused);

    // Not HTTP at all: the proxy says 400 and asks nobody.
    let mut client = Client::connect(refused).unwrap();
    client
        .write_raw(b"\x00\x01\xff\xfe\x80 \x1b[31m\r\n\r\n")
        .unwrap();
    assert_eq!(client.read(false).status, Some(400));
    // Bytes above ASCII in the path, and a query that must not be shown.
    let mut client = Client::connect(refused).unwrap();
    client
        .write_raw(b"GET /\xff\xfe\xc3\x28/<script>?secret=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert_eq!(client.read(false).status, Some(502));
    // A request line far longer than anything that is kept.
    let mut client = Client::connect(refused).unwrap();
    let long = format!("/{}", "a".repeat(64 * 1024));
    assert_eq!(client.send(&Request::get(&long)).unwrap().status, Some(502));
    // One that comes byte by byte.
    let mut client = Client::connect(refused).unwrap();
    for byte in b"GET /dripping HTTP/1.1\r\nHost: a\r\n\r\n" {
        client.write_raw(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.read(false).status, Some(502));
    // Two at once.
    let mut client = Client::connect(refused).unwrap();
    client
        .write_raw(
            b"GET /pipe-1 HTTP/1.1\r\nHost: a\r\n\r\nGET /pipe-2 HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    drop(client);

    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let cases = ended.cases();
    let shown = ended.stdout();
    assert_eq!(crate::rules(&cases), ["connect-refused"; 5], "{shown}");
    assert!(
        !shown.contains("secret"),
        "the query string is shown: {shown}"
    );
    for line in &ended.lines {
        assert!(
            line.text.len() < 16 * 1024,
            "a line of {} bytes",
            line.text.len()
        );
        assert!(!line.text.contains(['\u{1b}', '\0']), "{}", line.text);
        serde_json::from_str::<Value>(&line.text).unwrap();
    }
    assert_eq!(cases[2]["downstream"]["path"], "/dripping", "{}", cases[2]);
}

/// Heads of any length are kept: up to 512 bytes of each the connections lie in one table, beyond in another.
#[test]
fn heads_of_any_length() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let options = Options {
        response_ms: 5000,
        ..Options::default()
    };
    let stand = Stand::start(Kind::Nginx, options).unwrap();
    let pid = stand.proxy.pid().to_string();
    for (snaplen, path_len) in [(64, 30), (512, 350), (520, 350), (1024, 800)] {
        let bytes = snaplen.to_string();
        let args = ["--pid", &pid, "--snaplen", &bytes, "--format", "ndjson"];
        let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
        let mut wanted = Vec::new();
        for (route, fault, rule) in MIXTURE {
            let path = format!("{:x<path_len$}", format!("{fault}/"));
            let request = Request::get(&path).with_id("behind-the-path");
            stand.ask(route, &request).unwrap();
            // Where a response's head is longer than what is kept, nobody knows where its body should end.
            let seen = rule.filter(|rule| snaplen > 64 || *rule != "body-truncated-fin");
            wanted.extend(seen.map(|rule| (path, json!(rule))));
        }
        std::thread::sleep(Duration::from_millis(500));
        let cases = capture.stop().unwrap().cases();
        let rules = cases.iter().map(|case| &case["verdict"]["rule"]);
        assert!(
            rules.eq(wanted.iter().map(|(_, rule)| rule)),
            "{snaplen} bytes: {cases:?}"
        );
        for (case, (path, _)) in cases.iter().zip(&wanted) {
            let down = &case["downstream"];
            // Reports show so much of a path.
            let shown = down["path"].as_str().unwrap();
            assert!(
                path.starts_with(shown.trim_end_matches('…')),
                "{snaplen} bytes: {down}"
            );
            let id = (snaplen > 64).then_some("behind-the-path");
            assert_eq!(down["request_id"].as_str(), id, "{snaplen} bytes: {down}");
        }
    }
}
