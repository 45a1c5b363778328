//! Stories of cases and lines.

use super::*;
use crate::case::{Case, SeenFrom};
use crate::report::fixture;

const MS: u64 = 1_000_000;

/// The session began at this moment, 13:54:34 UTC of 22 November 2026.
fn start() -> SessionStart {
    SessionStart {
        logs: true,
        ..fixture::start()
    }
}

/// So many ms after the start.
fn at(ms: u64) -> MonoNs {
    start().started_mono_ns + ms * MS
}

/// A POST to `path` that failed at this moment at 10.0.0.5:8080 as a race, answered by nginx 1234.
fn case(id: &str, path: &str, ms: u64) -> Case {
    let mut case = fixture::reuse_race();
    case.id = id.into();
    case.log = None;
    case.log_more.clear();
    case.verdict.agrees_with_log = None;
    case.time_ns = at(ms);
    for attempt in &mut case.attempts {
        attempt.start_ns = at(ms.saturating_sub(1));
        attempt.duration_us = Some(1000);
        attempt.request = None;
    }
    if let Some(request) = &mut case.downstream.request {
        request.path = path.into();
        request.method = "POST".into();
        request.request_id = None;
        request.traceparent = None;
    }
    case
}

/// The failure as NGINX's error log has it, which knows whole seconds.
fn error_line(path: &str, upstream: &str) -> String {
    format!(
        "2026/11/22 13:54:34 [error] 1234#1234: *7 recv() failed (104: Connection reset by peer) while \
         reading response header from upstream, client: 192.0.2.7, server: shop, request: \"POST {path} \
         HTTP/1.1\", upstream: \"http://{upstream}{path}\", host: \"shop\""
    )
}

/// The failure as NGINX's access log has it: with the client's port.
fn access_line(path: &str, port: u16) -> String {
    format!(
        r#"{{"msec":"1795355674.200","connection":"7","remote_addr":"192.0.2.7","remote_port":"{port}","request":"POST {path} HTTP/1.1","status":"502","request_time":"0.001","upstream_addr":"10.0.0.5:8080","upstream_status":"502","upstream_connect_time":"0.000","upstream_header_time":"-","upstream_response_time":"0.001","upstream_bytes_received":"0","upstream_bytes_sent":"75"}}"#
    )
}

fn read(format: &str, line: &str, number: u64, ms: u64) -> LogRead {
    LogRead {
        time_ns: at(ms),
        path: format!("/var/log/{format}"),
        format: format.into(),
        number,
        line: line.into(),
    }
}

/// Cases by id, with the numbers of their lines.
type Pairs = Vec<(String, Vec<u64>)>;

/// Cases first, then lines, then time goes by. The cases by id, with the numbers of their lines.
fn told(cases: Vec<Case>, lines: &[LogRead]) -> (Pairs, Vec<JoinCounts>, Vec<Case>) {
    let mut joiner = Joiner::default();
    let mut correlator = Correlator::new();
    joiner.start(&start());
    let mut out = joiner.advance(cases, at(300), &mut correlator);
    for line in lines {
        joiner.line(line);
        out.extend(joiner.advance(Vec::new(), line.time_ns, &mut correlator));
    }
    assert!(out.is_empty(), "a case must wait for its lines");
    out.extend(joiner.advance(Vec::new(), at(2000), &mut correlator));
    out.extend(joiner.advance(Vec::new(), at(5000), &mut correlator));
    let of = |case: &Case| {
        let logs = case.log.iter().chain(&case.log_more);
        let mut numbers: Vec<u64> = logs.map(|log| log.number).collect();
        numbers.sort_unstable();
        (case.id.clone(), numbers)
    };
    let mut by_id: Vec<_> = out.iter().map(of).collect();
    by_id.sort();
    (by_id, joiner.counts(), out)
}

fn joined(pairs: &[(&str, &[u64])]) -> Pairs {
    let owned = |(id, numbers): &(&str, &[u64])| ((*id).to_owned(), numbers.to_vec());
    pairs.iter().map(owned).collect()
}

#[test]
fn a_line_of_the_same_request_is_joined_and_says_whether_it_agrees() {
    let line = read("nginx-error", &error_line("/a", "10.0.0.5:8080"), 1, 310);
    let (pairs, counts, cases) = told(vec![case("a", "/a", 200)], &[line]);
    assert_eq!(pairs, joined(&[("a", &[1])]));
    let log = cases[0].log.as_ref().unwrap();
    assert_eq!(
        (log.joined_by, log.source),
        (JoinKey::Upstream, "nginx-error")
    );
    assert_eq!(cases[0].verdict.agrees_with_log, Some(true));
    assert_eq!((counts[0].failures, counts[0].joined), (1, 1));
}

#[test]
fn what_contradicts_the_case_is_not_joined() {
    for (why, line) in [
        ("another path", error_line("/b", "10.0.0.5:8080")),
        ("another backend", error_line("/a", "10.0.0.6:8080")),
        ("another client port", access_line("/a", 1)),
        (
            "another time",
            error_line("/a", "10.0.0.5:8080").replace("13:54:34", "13:54:31"),
        ),
        (
            "another program",
            "Nov 22 13:54:34 haproxy[1234]: 192.0.2.7:51544 [22/Nov/2026:13:54:34.200] fe be/a \
             0/0/0/-1/1 502 209 - - SH-- 1/1/0/0/0 0/0 \"POST /a HTTP/1.1\""
                .to_owned(),
        ),
    ] {
        let format = crate::logs::detect(line.as_bytes()).unwrap();
        let lines = [read(format.name(), &line, 1, 310)];
        let (pairs, ..) = told(vec![case("a", "/a", 200)], &lines);
        assert_eq!(pairs, joined(&[("a", &[])]), "{why}");
    }
}

#[test]
fn both_logs_of_nginx_are_joined_and_the_error_says_more() {
    let lines = [
        read("nginx-error", &error_line("/a", "10.0.0.5:8080"), 1, 310),
        read("nginx-json", &access_line("/a", 51544), 2, 320),
    ];
    let (pairs, counts, cases) = told(vec![case("a", "/a", 200)], &lines);
    assert_eq!(pairs, joined(&[("a", &[1, 2])]));
    let log = cases[0].log.as_ref().unwrap();
    assert_eq!(
        (log.source, log.joined_by),
        ("nginx-error", JoinKey::Client)
    );
    // The access line has the time to the ms, and the client's port proves that it is the one.
    let skew = counts.iter().find_map(|file| file.skew).unwrap();
    assert!(skew.0.unsigned_abs() <= MS && skew.1 == 1, "{skew:?}");
}

#[test]
fn equal_lines_go_to_equal_cases_in_their_order_if_there_are_as_many() {
    let line = error_line("/same", "10.0.0.5:8080");
    let lines = [1, 2].map(|number| read("nginx-error", &line, number, 310));
    let both = vec![case("a", "/same", 200), case("b", "/same", 210)];
    let (pairs, ..) = told(both.clone(), &lines);
    assert_eq!(pairs, joined(&[("a", &[1]), ("b", &[2])]));

    // One line for two cases: whose it is cannot be told.
    let (pairs, counts, _) = told(both, &lines[..1]);
    assert_eq!(pairs, joined(&[("a", &[]), ("b", &[])]));
    assert_eq!(counts[0].ambiguous_cases, 2);
    assert_eq!((counts[0].joined, counts[0].known), (0, 1));
}

#[test]
fn the_clients_port_tells_equal_requests_apart() {
    let mut other = case("b", "/same", 210);
    other.downstream.client = "192.0.2.7:40000".parse().ok();
    // In the wrong order, and one without a case.
    let lines = [(40000, 1), (51544, 2), (7, 3)]
        .map(|(port, number)| read("nginx-json", &access_line("/same", port), number, 310));
    let (pairs, counts, _) = told(vec![case("a", "/same", 200), other], &lines);
    assert_eq!(pairs, joined(&[("a", &[2]), ("b", &[1])]));
    assert_eq!((counts[0].joined, counts[0].without_cause), (2, 1));
    assert_eq!(counts[0].examples.len(), 1);
}

#[test]
fn a_log_that_says_otherwise_is_quoted() {
    let line = error_line("/a", "10.0.0.5:8080").replace(
        "recv() failed (104: Connection reset by peer)",
        "upstream sent too big header",
    );
    let (_, _, cases) = told(
        vec![case("a", "/a", 200)],
        &[read("nginx-error", &line, 1, 310)],
    );
    let verdict = &cases[0].verdict;
    assert_eq!(verdict.agrees_with_log, Some(false));
    let quoted = verdict.evidence.last().unwrap();
    assert_eq!(quoted.fact, "log-says-otherwise");
    assert!(
        quoted.text.contains("upstream sent too big header"),
        "{}",
        quoted.text
    );
}

#[test]
fn a_weak_case_becomes_strong_when_the_log_names_its_backend() {
    let mut weak = case("a", "/a", 200);
    weak.verdict.confidence = Confidence::Weak;
    let line = read("nginx-error", &error_line("/a", "10.0.0.5:8080"), 1, 310);
    let mut inferred = weak.clone();
    inferred.verdict.inferred = true;
    let (_, _, cases) = told(vec![weak], std::slice::from_ref(&line));
    assert_eq!(cases[0].verdict.confidence, Confidence::Strong);
    // What was inferred does not become certain because the request is.
    let (_, _, cases) = told(vec![inferred], &[line]);
    assert_eq!(cases[0].verdict.confidence, Confidence::Weak);
}

#[test]
fn lines_that_come_late_are_known_and_not_counted_as_unexplained() {
    let mut joiner = Joiner::default();
    let mut correlator = Correlator::new();
    joiner.start(&start());
    joiner.advance(vec![case("a", "/a", 200)], at(300), &mut correlator);
    let out = joiner.advance(Vec::new(), at(1600), &mut correlator);
    assert_eq!(out.len(), 1, "it does not wait for ever");
    joiner.line(&read(
        "nginx-error",
        &error_line("/a", "10.0.0.5:8080"),
        1,
        2000,
    ));
    joiner.advance(Vec::new(), at(6000), &mut correlator);
    let counts = joiner.counts().remove(0);
    assert_eq!((counts.known, counts.without_cause), (1, 0));
}

#[test]
fn a_crowd_of_cases_is_let_go_early_and_counted() {
    let mut joiner = Joiner::default();
    let mut correlator = Correlator::new();
    joiner.start(&start());
    let many = (0..CASES_MAX + 10).map(|n| case(&format!("c{n}"), &format!("/{n}"), 200));
    let out = joiner.advance(many.collect(), at(300), &mut correlator);
    assert_eq!(out.len(), 10);
    assert_eq!(joiner.counts.hurried, 10);
}

/// The log of a balancer whose clock is 37 s ahead, read with the recording of the backend's host.
#[test]
fn a_balancers_clock_is_found_out() {
    let mut joiner = Joiner::default();
    let mut correlator = Correlator::new();
    joiner.wait_for_all();
    joiner.start(&SessionStart {
        role: HostRole::Backend,
        ..start()
    });
    let seen_here = |n: u64| {
        let mut case = case(&format!("c{n}"), &format!("/p{n}"), 1000 * n);
        case.seen_from = SeenFrom::Backend;
        case
    };
    let line = |n: u64| {
        let line = format!(
            "http 2026-11-22T13:55:{:02}.000000Z app/shop/1 203.0.113.5:51544 10.0.0.5:8080 0.000 -1 -1 502 \
             - 312 277 \"POST http://shop.example.com:80/p{n} HTTP/1.1\" \"curl\" - -",
            11 + n,
        );
        read("aws-alb", &line, n, 9000)
    };
    joiner.advance((1..=5).map(seen_here).collect(), at(6000), &mut correlator);
    for n in 1..=5 {
        joiner.line(&line(n));
    }
    // Long before the recording.
    let early = line(1).line.replace("13:55:12", "11:00:00");
    joiner.line(&read("aws-alb", &early, 6, 9000));
    let cases = joiner.finish(Vec::new(), at(9000), &mut correlator);
    assert_eq!(cases.len(), 5);
    for (n, case) in cases.iter().enumerate() {
        assert_eq!(case.log.as_ref().map(|log| log.number), Some(n as u64 + 1));
    }
    let counts = joiner.counts().remove(0);
    // Half a µs is the resolution of the line's time.
    assert_eq!(counts.skew, Some((37_000_000_500, 5)));
    assert_eq!((counts.failures, counts.joined), (5, 5));
}
