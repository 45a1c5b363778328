//! The test language: make a request fail, say what `why502` must report about it, and compare
//! with what the backend, the client and the proxy's own log saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::lab::backend::{Backend, Served};
use xtask::lab::capture::{Capture, Output};
use xtask::lab::client::{Client, ReplyEnd, Request};
use xtask::lab::log::RequestLog;
use xtask::lab::net::BLACK_HOLE;
use xtask::lab::process::patient;
use xtask::lab::proxy::{Kind, Options, Route};
use xtask::lab::stand::{Met, Stand};

use crate::numbers::{self, Numbers};
use crate::why502;

/// Where an attempt leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Main,
    Second,
    Refused,
    BlackHole,
}

/// What became of the request of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Not sent: there was no connection.
    No,
    /// The backend has it, and its kernel has acknowledged it.
    Delivered,
    /// The backend has it, and reset before its kernel acknowledged anything.
    DeliveredUnacked,
    /// Sent on a connection whose other end was closed.
    TooLate,
}

/// One expected attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    to: To,
    sent: Sent,
    /// `None`: a completed exchange, where the end of the connection does not matter.
    ended_by: Option<&'static str>,
    how: &'static str,
    /// It hid the failure of those before it.
    hides: bool,
}

pub(crate) const fn try_to(to: To, sent: Sent, ended_by: &'static str, how: &'static str) -> Try {
    Try {
        to,
        sent,
        ended_by: Some(ended_by),
        how,
        hides: false,
    }
}

pub(crate) const fn answered(to: To) -> Try {
    Try {
        to,
        sent: Sent::Delivered,
        ended_by: None,
        how: "completed",
        hides: false,
    }
}

/// What the proxy's log must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogSays {
    /// A line that allows our rule.
    OurRule,
    /// That there was more than one attempt.
    Retry,
    /// Nothing at all.
    Nothing,
}

/// An expected case.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    rule: &'static str,
    outcome: &'static str,
    status: Option<u16>,
    tries: Vec<Try>,
    log: LogSays,
    weak: bool,
}

impl Want {
    /// An error response after one attempt.
    pub(crate) fn error(status: u16, rule: &'static str, only: Try) -> Self {
        Self {
            rule,
            outcome: "error-response",
            status: Some(status),
            tries: vec![only],
            log: LogSays::OurRule,
            weak: false,
        }
    }

    /// A 200 that was cut short.
    pub(crate) fn truncated(rule: &'static str, how: &'static str) -> Self {
        Self {
            outcome: "truncated",
            ..Self::error(200, rule, try_to(To::Main, Sent::Delivered, "backend", how))
        }
    }

    /// A 200 after a failure that nobody saw.
    pub(crate) fn masked(rule: &'static str, failed: Try, then: To, log: LogSays) -> Self {
        let then = Try {
            hides: true,
            ..answered(then)
        };
        Self {
            rule,
            outcome: "masked",
            status: Some(200),
            tries: vec![failed, then],
            log,
            weak: false,
        }
    }

    /// The tie may be weak: nothing but the process and the time holds the two sides together.
    pub(crate) fn or_weak(self) -> Self {
        Self { weak: true, ..self }
    }

    /// No answer at all.
    pub(crate) fn dropped(rule: &'static str, only: Try, log: LogSays) -> Self {
        Self {
            outcome: "dropped",
            status: None,
            log,
            ..Self::error(0, rule, only)
        }
    }

    /// An error response without any attempt.
    pub(crate) fn nobody(status: u16) -> Self {
        Self {
            rule: "unexplained",
            outcome: "error-response",
            status: Some(status),
            tries: Vec::new(),
            log: LogSays::OurRule,
            weak: false,
        }
    }

    fn confidence(&self, with_id: bool) -> &'static str {
        // That of the attempt which failed.
        let failed = self.tries.iter().find(|one| !one.hides);
        match (self.rule, failed.map(|failed| failed.sent)) {
            ("application-502" | "unexplained", _) => "none",
            // The id is seen on both sides only if the request went out.
            (_, Some(Sent::No) | None) => "strong",
            _ if with_id => "exact",
            _ => "strong",
        }
    }
}

/// What really happened in an attempt.
#[derive(Clone, Debug)]
struct Truth {
    upstream: SocketAddr,
    local: Option<SocketAddr>,
    reused: bool,
    exchange: Option<u32>,
    request_bytes: u64,
    unacked: Option<u64>,
    response_bytes: u64,
}

impl Truth {
    fn delivered(upstream: SocketAddr, served: &Served) -> Self {
        Self {
            upstream,
            local: Some(served.peer),
            reused: served.exchange > 1,
            exchange: Some(served.exchange),
            request_bytes: served.request_bytes,
            unacked: Some(0),
            response_bytes: served.response_bytes,
        }
    }

    /// A request like `before` on the connection of `before`, which got no further than the
    /// kernel of the backend.
    fn too_late(upstream: SocketAddr, before: &Served) -> Self {
        Self {
            reused: true,
            exchange: Some(before.exchange + 1),
            unacked: Some(before.request_bytes),
            response_bytes: 0,
            ..Self::delivered(upstream, before)
        }
    }

    const fn not_sent(upstream: SocketAddr) -> Self {
        Self {
            upstream,
            local: None,
            reused: false,
            exchange: None,
            request_bytes: 0,
            unacked: None,
            response_bytes: 0,
        }
    }
}

struct Expected {
    path: String,
    id: Option<String>,
    front: SocketAddr,
    met: Met,
    at: Instant,
    want: Want,
    truths: Vec<Truth>,
    log: RequestLog,
    log_numbers: Vec<Numbers>,
}

/// How a keep-alive race is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Race {
    /// The proxy finds the request and the backend's FIN in the same turn of its loop.
    Paused,
    /// The FIN is lost, so that the request meets a closed socket.
    LostFin,
    /// The same, for a client that was not heard before.
    LostFinNewClient,
}

/// One proxy with two captures on it: a plain one, which prints each case as it comes, and one
/// that also reports client aborts, records, and prints one document.
pub(crate) struct Story {
    pub(crate) stand: Stand,
    plain: Capture,
    wide: Capture,
    files: TempDir,
    expected: Vec<Expected>,
    aborted: Vec<String>,
    answered_late: Vec<String>,
    requests: u32,
}

impl Story {
    pub(crate) fn start(kind: Kind) -> Self {
        let stand = Stand::start(kind, Options::default()).unwrap();
        let files = tempfile::tempdir().unwrap();
        let recording = files.path().join("story.w502");
        let pid = stand.proxy.pid().to_string();
        let plain = ["--pid", &pid, "--format", "ndjson"];
        let plain = Capture::start(&why502(), &plain, Output::Collect).unwrap();
        let wide = Capture::start(
            &why502(),
            &[
                "--pid",
                &pid,
                "--format",
                "json",
                "--status",
                "499,502,503,504",
                "-w",
                recording.to_str().unwrap(),
            ],
            Output::Collect,
        )
        .unwrap();
        Self {
            stand,
            plain,
            wide,
            files,
            expected: Vec::new(),
            aborted: Vec::new(),
            answered_late: Vec::new(),
            requests: 0,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.stand.proxy.kind()
    }

    /// A path of its own for each request, all of one length for one fault.
    fn path(&mut self, fault: &str) -> String {
        self.requests += 1;
        format!("{fault}/{:04}", self.requests)
    }

    /// The path of a new request for this fault, and with its query.
    fn path_and_target(&mut self, fault: &str) -> (String, String) {
        match fault.split_once('?') {
            None => {
                let path = self.path(fault);
                (path.clone(), path)
            }
            Some((fault, query)) => {
                let path = self.path(fault);
                let target = format!("{path}?{query}");
                (path, target)
            }
        }
    }

    fn id(&self) -> String {
        format!("lab-{:04}", self.requests)
    }

    fn backend(&self, to: To) -> Option<&Backend> {
        match to {
            To::Main => Some(&self.stand.behind.main),
            To::Second => Some(&self.stand.behind.second),
            To::Refused | To::BlackHole => None,
        }
    }

    fn address(&self, to: To) -> SocketAddr {
        match to {
            To::Refused => self.stand.behind.refused.addr(),
            To::BlackHole => BLACK_HOLE,
            To::Main | To::Second => self.backend(to).unwrap().addr(),
        }
    }

    /// Sends a request that fails, once with and once without a request id.
    pub(crate) fn fault(&mut self, route: Route, fault: &str, want: &Want) {
        for with_id in [true, false] {
            self.fault_one(route, fault, want, with_id);
        }
    }

    /// Sends a request that fails, over a connection of its own.
    pub(crate) fn fault_one(&mut self, route: Route, fault: &str, want: &Want, with_id: bool) {
        if matches!(route, Route::Pooled | Route::Shared) {
            self.stand.drain().unwrap();
        }
        let (path, target) = self.path_and_target(fault);
        let id = with_id.then(|| self.id());
        let request = Request {
            id: id.as_deref(),
            ..Request::get(&target)
        };
        let met = self.stand.ask(route, &request).unwrap();
        self.expect(route, path, id, met, want, None);
    }

    /// Sends a POST that fails over a connection that has just been used, by the same client.
    pub(crate) fn fault_on_reused(&mut self, route: Route, fault: &str, want: &Want) {
        for with_id in [true, false] {
            self.stand.drain().unwrap();
            let mut client = Client::connect(self.stand.proxy.front(route)).unwrap();
            let warm_up = self.path("/ok");
            client.send(&Request::get(&warm_up)).unwrap();
            let (path, target) = self.path_and_target(fault);
            let id = with_id.then(|| self.id());
            let request = Request {
                id: id.as_deref(),
                ..Request::post(&target, b"item=42")
            };
            let met = Met {
                reply: client.send(&request).unwrap(),
                client: client.local(),
            };
            self.expect(route, path, id, met, want, None);
        }
    }

    /// Makes a keep-alive race, once with and once without a request id.
    pub(crate) fn race(&mut self, route: Route, race: Race, method: &'static str, want: &Want) {
        for with_id in [true, false] {
            self.stand.drain().unwrap();
            let body: &[u8] = if method == "POST" { b"item=42" } else { b"" };
            let warm_path = self.path("/ok/race");
            let warm_id = with_id.then(|| self.id());
            let warm_up = Request {
                method,
                target: &warm_path,
                id: warm_id.as_deref(),
                body,
            };
            let path = self.path("/ok/race");
            let id = with_id.then(|| self.id());
            let request = Request {
                target: &path,
                id: id.as_deref(),
                ..warm_up
            };
            let met = match race {
                Race::Paused => self.stand.race_paused(route, &warm_up, &request),
                Race::LostFin => self.stand.race_lost_fin(route, &warm_up, &request),
                Race::LostFinNewClient => {
                    self.stand.ask(route, &warm_up).unwrap();
                    let client = Client::connect(self.stand.proxy.front(route)).unwrap();
                    self.stand.race_lost_fin_on(client, &request)
                }
            };
            let before = self.stand.behind.main.served_for(&warm_path).remove(0);
            self.expect(route, path.clone(), id, met.unwrap(), want, Some(&before));
        }
    }

    fn expect(
        &mut self,
        route: Route,
        path: String,
        id: Option<String>,
        met: Met,
        want: &Want,
        before: Option<&Served>,
    ) {
        let at = Instant::now();
        assert_eq!(met.reply.status, want.status, "{path}: {met:?}");
        let mut next: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        let truths = want.tries.iter().map(|one| {
            let upstream = self.address(one.to);
            match one.sent {
                Sent::No => Truth::not_sent(upstream),
                Sent::TooLate => Truth::too_late(upstream, before.unwrap()),
                Sent::Delivered | Sent::DeliveredUnacked => {
                    let served = self.backend(one.to).unwrap().served_for(&path);
                    let number = next.entry(upstream).or_default();
                    *number += 1;
                    let served = &served[*number - 1];
                    let unacked = match one.sent {
                        Sent::DeliveredUnacked => served.request_bytes,
                        _ => 0,
                    };
                    Truth {
                        unacked: Some(unacked),
                        ..Truth::delivered(upstream, served)
                    }
                }
            }
        });
        let truths = truths.collect();
        let log = self.stand.log_of(&path, &met).unwrap();
        let log_numbers = numbers::of(self.kind(), &log);
        self.expected.push(Expected {
            front: self.stand.proxy.front(route),
            path,
            id,
            met,
            at,
            want: want.clone(),
            truths,
            log,
            log_numbers,
        });
    }

    /// A client that leaves before its answer, once with a FIN and once with a reset.
    pub(crate) fn client_abort(&mut self, route: Route) {
        // A FIN alone may be a client that has only finished sending: these two go on and send
        // the response, and nothing has failed.
        let patient = matches!(self.kind(), Kind::Haproxy | Kind::Apache);
        for politely in [true, false] {
            let path = self.path("/slow");
            let target = format!("{path}?ms=250");
            let mut client = Client::connect(self.stand.proxy.front(route)).unwrap();
            client.write(&Request::get(&target)).unwrap();
            std::thread::sleep(Duration::from_millis(60));
            if politely {
                drop(client);
            } else {
                client.abort();
            }
            std::thread::sleep(Duration::from_millis(300));
            if politely && patient {
                self.answered_late.push(path);
            } else {
                self.aborted.push(path);
            }
        }
    }

    /// Traffic in which nothing fails, of every kind that looks a little like failure.
    pub(crate) fn healthy(&mut self) {
        let front = self.stand.proxy.front(Route::Pooled);
        let mut client = Client::connect(front).unwrap();
        let mut targets: Vec<(&str, &str, u16)> = vec![
            ("GET", "/ok", 200),
            ("GET", "/ok?bytes=300000", 200),
            ("HEAD", "/ok", 200),
            ("GET", "/204", 204),
            ("GET", "/304", 304),
            ("GET", "/404", 404),
            ("GET", "/500", 500),
            ("GET", "/chunked-ok", 200),
            ("GET", "/slow?ms=300", 200),
            ("POST", "/ok", 200),
            ("POST", "/204", 204),
        ];
        // NGINX before 1.29 takes an interim response for the final one.
        if self.kind() != Kind::Nginx {
            targets.push(("GET", "/100-continue", 200));
            targets.push(("GET", "/103-hints", 200));
        }
        for (method, target, status) in targets {
            for _ in 0..3 {
                let (_, target) = self.path_and_target(target);
                let body: &[u8] = if method == "POST" { &[b'a'; 5000] } else { b"" };
                let request = Request {
                    method,
                    body,
                    ..Request::get(&target)
                };
                let reply = client.send(&request).unwrap();
                assert_eq!(
                    (reply.status, reply.complete),
                    (Some(status), true),
                    "{method} {target} {reply:?}"
                );
                if reply.end != ReplyEnd::Open
                    || reply
                        .header("connection")
                        .is_some_and(|value| value == "close")
                {
                    client = Client::connect(front).unwrap();
                }
            }
        }
        for route in [Route::Fresh, Route::Pooled] {
            let target = self.path("/cl-delimited");
            let met = self.stand.ask(route, &Request::get(&target)).unwrap();
            assert!(met.reply.complete, "{met:?}");
        }
        // The backend closes an idle connection, by itself and on command, and nobody is using it.
        let target = format!("{}?ms=20", self.path("/close-after"));
        self.stand
            .ask(Route::Pooled, &Request::get(&target))
            .unwrap();
        std::thread::sleep(Duration::from_millis(60));
        let target = self.path("/ok");
        self.stand
            .ask(Route::Pooled, &Request::get(&target))
            .unwrap();
        self.stand.drain().unwrap();
        // Clients that go while nothing is under way, and one that never says a word.
        let target = self.path("/ok");
        let mut idle = Client::connect(front).unwrap();
        idle.send(&Request::get(&target)).unwrap();
        idle.abort();
        drop(Client::connect(front).unwrap());
        drop(client);
    }

    /// Ends the captures and compares everything.
    pub(crate) fn finish(self) {
        let name = self.kind().name();
        // The last case must come by itself, not because the capture ends.
        let last = self.expected.last().map(|last| last.path.clone());
        self.plain.wait_line(Duration::from_secs(2), |line| {
            line["type"] == "case" && line["downstream"]["path"] == json!(last)
        });
        let attach_times = [&self.plain, &self.wide].map(Capture::attach_time);
        let plain = self.plain.stop().unwrap();
        let wide = self.wide.stop().unwrap();
        let mut problems = Vec::new();
        for (what, ended) in [("plain", &plain), ("wide", &wide)] {
            if ended.code != 0 {
                problems.push(format!("{what}: exit {}: {}", ended.code, ended.stderr));
            }
        }

        let cases = plain.of_type("case");
        let mut delays = Vec::new();
        for expected in &self.expected {
            let mine = cases.iter();
            let mine: Vec<_> = mine
                .filter(|(_, case)| path_of(case) == expected.path)
                .collect();
            let [(at, case)] = mine[..] else {
                problems.push(format!(
                    "{} ({}): {} cases\n  met {:?}\n  log {:#?}\n  {}",
                    expected.path,
                    expected.want.rule,
                    mine.len(),
                    expected.met,
                    expected.log,
                    mine.iter()
                        .map(|(_, case)| case.to_string())
                        .collect::<Vec<_>>()
                        .join("\n  ")
                ));
                continue;
            };
            delays.push(at.saturating_duration_since(expected.at));
            let wrong = compare(
                expected,
                case,
                self.stand.proxy.kind(),
                &self.stand.proxy.workers(),
            );
            if !wrong.is_empty() {
                problems.push(format!(
                    "{} ({}):\n  {}\n  met {:?}\n  log {:?}\n  case {case}",
                    expected.path,
                    expected.want.rule,
                    wrong.join("\n  "),
                    expected.met,
                    expected.log,
                ));
            }
        }
        for (_, case) in &cases {
            if !self
                .expected
                .iter()
                .any(|expected| path_of(case) == expected.path)
            {
                problems.push(format!("nobody expected {case}"));
            }
        }
        problems.extend(sums(&plain, cases.len()));

        let document: Value = serde_json::from_str(&wide.stdout()).unwrap_or_default();
        let listed = document["cases"].as_array().cloned().unwrap_or_default();
        for path in &self.aborted {
            let case = listed.iter().find(|case| path_of(case) == path);
            let rule = case.map(|case| &case["verdict"]["rule"]);
            if rule != Some(&json!("client-abort")) {
                problems.push(format!("{path}: not reported as client-abort: {case:?}"));
            }
        }
        for path in &self.answered_late {
            let case = listed.iter().find(|case| path_of(case) == path);
            if let Some(case) = case {
                problems.push(format!("{path}: was answered, and reported: {case}"));
            }
        }
        let total = self.expected.len() + self.aborted.len();
        if document["totals"]["cases"] != json!(total) {
            problems.push(format!(
                "{total} cases expected, totals {}",
                document["totals"]
            ));
        }
        let recording = self.files.path().join("story.w502");
        let replayed = Command::new(why502())
            .arg("report")
            .arg(&recording)
            .args(["--format", "json"])
            .output()
            .unwrap();
        if String::from_utf8_lossy(&replayed.stdout) != wide.stdout() {
            problems.push(format!(
                "the recording reports something else:\n{}\nlive:\n{}",
                String::from_utf8_lossy(&replayed.stdout),
                wide.stdout()
            ));
        }

        let slowest = delays.iter().max().copied().unwrap_or_default();
        eprintln!(
            "{name}: {} cases; attached after {attach_times:?}; slowest case on screen after {slowest:?}",
            cases.len()
        );
        if slowest > patient(Duration::from_secs(2)) {
            problems.push(format!("a case took {slowest:?} to appear"));
        }
        for time in attach_times {
            if time > patient(Duration::from_secs(2)) {
                problems.push(format!("attaching took {time:?}"));
            }
        }
        // Where programs can be preempted (seen on 7.2), the kernel leaves calls of a hook out while one is. The
        // captures count them, and each may make a case of ours wrong or missing, and so the sums.
        let lost = plain.of_type("loss");
        let of_plain: u64 = lost
            .iter()
            .filter(|(_, loss)| loss["name"] == "hook_skipped")
            .filter_map(|(_, loss)| loss["count"].as_u64())
            .sum();
        let of_wide = document["losses"]["hook_skipped"].as_u64();
        let skipped = of_plain + of_wide.unwrap_or_default();
        if skipped > 0 {
            eprintln!("{name}: the kernel left out {skipped} calls of hooks, so {problems:#?}");
        }
        assert!(
            problems.len() as u64 <= 3 * skipped,
            "{name}: {} problems\n\n{}\n\nstderr: {}\n\nlost: {:?}",
            problems.len(),
            problems.join("\n\n"),
            plain.stderr,
            lost
        );
    }
}

fn path_of(case: &Value) -> &str {
    case["downstream"]["path"].as_str().unwrap_or("")
}

/// Groups and totals must add up, and nothing may be lost.
fn sums(ended: &xtask::lab::capture::Ended, cases: usize) -> Vec<String> {
    let mut problems = Vec::new();
    let groups = ended.of_type("group");
    let counts = groups
        .iter()
        .filter_map(|(_, group)| group["count"].as_u64());
    let counted: u64 = counts.sum();
    if counted != cases as u64 {
        problems.push(format!("the groups count {counted} cases of {cases}"));
    }
    for (_, loss) in ended.of_type("loss") {
        if loss["count"] != 0 {
            problems.push(format!("lost: {loss}"));
        }
    }
    match &ended.of_type("footer")[..] {
        [(_, footer)] if footer["totals"]["cases"] == json!(cases) => {}
        footers => problems.push(format!("footers: {footers:?}")),
    }
    problems
}

fn compare(expected: &Expected, case: &Value, kind: Kind, workers: &[u32]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut same = |what: &str, got: &Value, want: Value| {
        // What is unknown is absent, and JSON gives null for it.
        if *got != want {
            wrong.push(format!("{what} is {got}, not {want}"));
        }
    };
    let want = &expected.want;
    same("rule", &case["verdict"]["rule"], json!(want.rule));
    let confidence = &case["verdict"]["confidence"];
    if !(want.weak && confidence == "weak") {
        let wanted = want.confidence(expected.id.is_some());
        same("confidence", confidence, json!(wanted));
    }
    same("outcome", &case["outcome"], json!(want.outcome));
    same("status", &case["status"], json!(want.status));
    same("proxy.kind", &case["proxy"]["kind"], json!(kind.name()));
    let pid = case["proxy"]["pid"].as_u64();
    same(
        "proxy.pid is a worker",
        &json!(workers.iter().any(|worker| Some(u64::from(*worker)) == pid)),
        json!(true),
    );
    let downstream = &case["downstream"];
    same("client", &downstream["client"], json!(expected.met.client));
    same("local", &downstream["local"], json!(expected.front));
    same("protocol", &downstream["protocol"], json!("HTTP/1.1"));
    same("request_id", &downstream["request_id"], json!(expected.id));
    same(
        "downstream.response_bytes",
        &downstream["response_bytes"],
        json!(expected.met.reply.bytes),
    );
    let attempts = case["attempts"].as_array().cloned().unwrap_or_default();
    // A case lists what failed. The try that was answered need not be there: healthy exchanges stay
    // in the kernel.
    let failed = want.tries.iter().filter(|one| !one.hides).count();
    if attempts.len() != failed && attempts.len() != want.tries.len() {
        same("number of attempts", &json!(attempts.len()), json!(failed));
    }
    for (number, ((attempt, truth), one)) in attempts
        .iter()
        .zip(&expected.truths)
        .zip(&want.tries)
        .enumerate()
    {
        let mut same = |what: &str, want: Value| {
            let got = &attempt[what];
            if *got != want {
                wrong.push(format!("attempts[{number}].{what} is {got}, not {want}"));
            }
        };
        same("upstream", json!(truth.upstream));
        same("how", json!(one.how));
        if let Some(ended_by) = one.ended_by {
            same("ended_by", json!(ended_by));
        }
        same("reused", json!(truth.reused));
        same("exchange", json!(truth.exchange));
        same("request_bytes", json!(truth.request_bytes));
        same("response_bytes", json!(truth.response_bytes));
        if let Some(local) = truth.local {
            same("local", json!(local));
        }
        if let Some(unacked) = truth.unacked {
            same("request_bytes_unacked", json!(unacked));
        }
        if truth.reused && attempt["idle_before_us"].as_u64().is_none() {
            wrong.push(format!("attempts[{number}].idle_before_us is missing"));
        }
    }
    wrong.extend(log_agrees(expected, kind, &attempts));
    wrong
}

fn log_agrees(expected: &Expected, kind: Kind, attempts: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let allowed = expected.log.allows(kind);
    match expected.want.log {
        LogSays::OurRule if !allowed.contains(&expected.want.rule) => {
            wrong.push(format!("the proxy's log says {allowed:?}"));
        }
        LogSays::Retry if !numbers::shows_retry(kind, &expected.log) => {
            wrong.push("the proxy's log shows no retry".to_owned());
        }
        LogSays::Nothing if expected.log.access.is_some() => {
            wrong.push("the proxy logged what should be silent".to_owned());
        }
        LogSays::OurRule | LogSays::Retry | LogSays::Nothing => {}
    }
    // Some logs have numbers for the last try only, which need not be in the case.
    let tries = expected.want.tries.len();
    let skipped = tries - expected.log_numbers.len().min(tries);
    for (attempt, numbers) in attempts.iter().skip(skipped).zip(&expected.log_numbers) {
        for (what, logged) in numbers.fields() {
            if logged
                .as_ref()
                .is_some_and(|logged| attempt[what] != *logged)
            {
                wrong.push(format!(
                    "{what} is {}, the log says {logged:?}",
                    attempt[what]
                ));
            }
        }
    }
    wrong
}
