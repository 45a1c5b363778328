//! Sessions for tests: one with every field of the format in use, one where nothing happened, one
//! whose every text is hostile.

use std::net::SocketAddr;

use super::{Document, LogExampleDoc, LogSourceDoc};
use crate::case::{
    Attempt, Case, Confidence, Downstream, EndedBy, Evidence, How, JoinKey, LogLine, Outcome,
    ProxyRef, Remedy, RequestSummary, SeenFrom, TimelineEvent, Verdict,
};
use crate::config::{Directive, ProxyConfig, Setting, Source, Target, UpstreamConfig, Value};
use crate::event::{BackendSnapshot, Input, ProxyKind, ProxyProcess, SessionStart};
use crate::logs::{Blame, Meaning};
use crate::session::Session;

const START_NS: u64 = 1_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn start() -> SessionStart {
    SessionStart {
        version: "0.1.0".into(),
        host: "web1".into(),
        kernel: "6.12.0-test".into(),
        started_unix_ns: 1_795_355_674_000_000_000,
        started_mono_ns: START_NS,
        statuses: vec![502, 503, 504],
        outcomes: Vec::new(),
        role: crate::event::HostRole::Proxy,
        reset_reasons: Vec::new(),
        utc_offset_s: 0,
        logs: false,
        notes: vec!["This kernel gives no reset reasons.".into()],
    }
}

/// An event of a timeline.
fn moment(
    t_us: i64,
    event: &'static str,
    bytes: Option<u64>,
    detail: Option<&str>,
) -> TimelineEvent {
    TimelineEvent {
        t_us,
        event,
        bytes,
        detail: detail.map(Into::into),
    }
}

fn evidence(fact: &'static str, text: &str, attempt: Option<usize>) -> Evidence {
    Evidence {
        fact,
        text: text.into(),
        attempt,
    }
}

fn remedy(target: &str, change: &str, why: &str) -> Remedy {
    Remedy {
        target: target.into(),
        change: change.into(),
        why: why.into(),
    }
}

/// A 502 with every field known.
pub(crate) fn reuse_race() -> Case {
    Case {
        id: "c1".into(),
        time_ns: START_NS + SECOND + 120_456_789,
        outcome: Outcome::ErrorResponse,
        status: Some(502),
        seen_from: SeenFrom::Proxy,
        proxy: ProxyRef {
            kind: ProxyKind::Nginx,
            pid: 1234,
            tid: 1234,
        },
        downstream: Downstream {
            client: Some(addr("192.0.2.7:51544")),
            local: Some(addr("192.0.2.1:80")),
            request: Some(RequestSummary {
                method: "POST".into(),
                path: "/checkout".into(),
                protocol: "HTTP/1.1".into(),
                host: Some("shop.example".into()),
                request_id: Some("8f14e45f".into()),
                traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            }),
            start_ns: Some(START_NS + SECOND - 200_000),
            response_bytes: Some(497),
            ttfb_us: Some(812),
        },
        attempts: vec![reset_attempt()],
        verdict: Verdict {
            rule: "keepalive-race",
            confidence: Confidence::Strong,
            inferred: false,
            because: Some("backend-restart"),
            summary: "nginx sent POST /checkout on a pooled connection to 10.0.0.5:8080 that had \
                      been idle for 4.999 s; the backend was just closing it and answered with a \
                      reset after 311 µs."
                .into(),
            evidence: vec![
                evidence(
                    "reused",
                    "the connection carried 6 exchanges before",
                    Some(0),
                ),
                evidence("idle", "it had been idle for 4.999 s", Some(0)),
                evidence("no-response", "not one byte of a response came", Some(0)),
            ],
            remedies: vec![
                remedy(
                    "nginx",
                    "upstream … {\n    keepalive_timeout 4s;\n}",
                    "The proxy must let go of idle connections before the backend does.",
                ),
                remedy(
                    "backend",
                    "raise its keep-alive timeout above 60 s",
                    "The same, from the other side.",
                ),
            ],
            agrees_with_log: Some(true),
        },
        log: Some(log_line(
            "/var/log/nginx/error.log",
            "2026/11/22 13:14:35 [error] 1234#1234: *7 recv() failed (104: Connection reset \
             by peer) while reading response header from upstream",
        )),
        log_more: vec![log_line("/var/log/nginx/access.log", "192.0.2.7 - - …")],
    }
}

fn log_line(path: &str, line: &str) -> LogLine {
    static MEANING: Meaning = Meaning {
        code: "recv() failed (104: Connection reset by peer)",
        text: "The backend reset the connection.",
        classes: &["keepalive-race", "rst-before-response"],
        blame: Blame::Backend,
    };
    LogLine {
        source: "nginx-error",
        line: line.into(),
        path: path.into(),
        number: 41,
        written_unix_ns: Some(1_795_353_275_000_000_000),
        joined_by: JoinKey::Upstream,
        meaning: Some(&MEANING),
    }
}

fn reset_attempt() -> Attempt {
    Attempt {
        upstream: addr("10.0.0.5:8080"),
        local: Some(addr("10.0.0.1:41022")),
        reused: true,
        adopted: true,
        exchange: Some(7),
        request: Some(RequestSummary {
            method: "POST".into(),
            path: "/shop/checkout".into(),
            protocol: "HTTP/1.1".into(),
            host: Some("api.internal".into()),
            request_id: Some("req-1".into()),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        }),
        start_ns: START_NS + SECOND,
        connect_us: None,
        ttfb_us: None,
        duration_us: Some(340),
        request_bytes: 412,
        request_bytes_unacked: Some(0),
        response_bytes: 0,
        response_bytes_unread: Some(0),
        content_length: None,
        status: None,
        ended_by: EndedBy::Backend,
        how: How::Reset,
        idle_before_us: Some(4_999_000),
        srtt_us: Some(300),
        retransmits: 0,
        reset_reason: Some("TCP_ABORT_ON_DATA".into()),
        errno: Some(104),
        events: vec![
            moment(-4_999_000, "last_used", None, None),
            moment(0, "request_sent", Some(412), None),
            moment(311, "reset_received", None, Some("TCP_ABORT_ON_DATA")),
            moment(340, "closed", None, Some("ECONNRESET")),
        ],
    }
}

fn good_attempt(upstream: &str) -> Attempt {
    Attempt {
        upstream: addr(upstream),
        local: Some(addr("10.0.0.1:41023")),
        reused: false,
        adopted: false,
        exchange: Some(1),
        connect_us: Some(180),
        ttfb_us: Some(2_100),
        request_bytes: 300,
        request_bytes_unacked: None,
        response_bytes: 1_500,
        response_bytes_unread: None,
        content_length: Some(1_400),
        status: Some(200),
        ended_by: EndedBy::Unknown,
        how: How::Completed,
        idle_before_us: None,
        srtt_us: None,
        reset_reason: None,
        errno: None,
        duration_us: None,
        events: vec![
            moment(0, "syn_sent", None, None),
            moment(180, "connected", None, None),
            moment(200, "request_sent", Some(300), None),
            moment(2_300, "response_started", Some(1_500), None),
        ],
        ..reset_attempt()
    }
}

/// A retry that hid a refused connection.
pub(crate) fn masked() -> Case {
    let mut case = reuse_race();
    case.id = "c3".into();
    case.time_ns += 2 * SECOND;
    case.outcome = Outcome::Masked;
    case.status = Some(200);
    case.attempts = vec![
        Attempt {
            upstream: addr("[2001:db8::5]:8080"),
            local: None,
            reused: false,
            adopted: false,
            exchange: None,
            request: None,
            request_bytes: 0,
            request_bytes_unacked: None,
            idle_before_us: None,
            how: How::Refused,
            errno: Some(111),
            events: vec![
                moment(0, "syn_sent", None, None),
                moment(95, "reset_received", None, Some("ECONNREFUSED")),
            ],
            ..reset_attempt()
        },
        good_attempt("10.0.0.6:8080"),
    ];
    case.verdict = Verdict {
        rule: "connect-refused",
        confidence: Confidence::Exact,
        inferred: false,
        because: None,
        summary: "Nothing listens on [2001:db8::5]:8080; nginx then asked 10.0.0.6:8080, and the \
                  client got 200."
            .into(),
        evidence: vec![evidence(
            "refused",
            "the SYN was answered with a reset after 95 µs",
            Some(0),
        )],
        remedies: Vec::new(),
        agrees_with_log: None,
    };
    case.log = None;
    case
}

fn truncated() -> Case {
    let mut case = reuse_race();
    case.id = "c2".into();
    case.time_ns += SECOND;
    case.outcome = Outcome::Truncated;
    case.status = Some(200);
    case.attempts = vec![Attempt {
        how: How::Fin,
        response_bytes: 900,
        retransmits: 2,
        content_length: Some(5_000),
        ..good_attempt("10.0.0.6:8080")
    }];
    case.attempts[0].ended_by = EndedBy::Backend;
    case.verdict = Verdict {
        rule: "body-truncated-fin",
        confidence: Confidence::Weak,
        inferred: false,
        because: None,
        summary: "10.0.0.6:8080 declared 5000 bytes and closed after 800.".into(),
        evidence: vec![evidence("short-body", "800 of 5000 body bytes came", None)],
        remedies: Vec::new(),
        agrees_with_log: Some(false),
    };
    case.log = None;
    case
}

fn dropped() -> Case {
    let mut case = reuse_race();
    case.id = "c4".into();
    case.time_ns += 3 * SECOND;
    case.outcome = Outcome::Dropped;
    case.status = None;
    case.proxy.kind = ProxyKind::Other("my-proxy".into());
    case.downstream.request = None;
    case.downstream.start_ns = None;
    case.downstream.ttfb_us = None;
    case.downstream.response_bytes = Some(0);
    case.attempts.clear();
    case.verdict = Verdict {
        rule: "unexplained",
        confidence: Confidence::None,
        inferred: false,
        because: None,
        summary: "The client's connection was closed without an answer; no backend connection \
                  explains it."
            .into(),
        evidence: Vec::new(),
        remedies: Vec::new(),
        agrees_with_log: None,
    };
    case.log = None;
    case
}

fn snapshot(upstream: &str, exchanges: u64) -> BackendSnapshot {
    let bucket = |us| tracer_ebpf::bucket_of_us(us) as u16;
    BackendSnapshot {
        upstream: addr(upstream),
        connects: 3,
        exchanges,
        connect: vec![(bucket(180), 2), (bucket(1_200), 1)],
        ttfb: vec![
            (bucket(900), 40),
            (bucket(2_100), 9),
            (bucket(1_400_000), 1),
        ],
        total: vec![(bucket(2_500), 49)],
        idle_reused_max_us: Some(4_990_000),
        idle_closed_min_us: Some(5_004_000),
        idle_closed: 12,
    }
}

/// What the file says about one of the backends.
fn config(file: &str, group: &str) -> ProxyConfig {
    ProxyConfig {
        proxy: ProxyKind::Nginx,
        file: file.into(),
        upstreams: vec![UpstreamConfig {
            group: group.into(),
            targets: vec![Target::Address(addr("10.0.0.5:8080"))],
            settings: vec![Setting {
                directive: Directive::KeepaliveTimeout,
                value: Value::Millis(60_000),
                source: Source::File {
                    file: file.into(),
                    line: 41,
                },
            }],
        }],
        notes: vec![format!("{file}.d/api was not read: permission denied.")],
    }
}

/// Feeds everything but the start.
fn fill(session: &mut Session) {
    for pid in [1234, 1235] {
        let kind = ProxyKind::Nginx;
        session.input(&Input::Proxy(ProxyProcess {
            pid,
            kind,
            instance: None,
        }));
    }
    for n in 0..30 {
        let mut case = reuse_race();
        case.id = format!("r{n}");
        case.time_ns += n * SECOND / 10;
        session.count(&[case]);
    }
    session.count(&[truncated(), masked(), dropped()]);
    session.input(&Input::Config(vec![config(
        "/etc/nginx/nginx.conf",
        "upstream api",
    )]));
    session.input(&Input::Backends(vec![
        snapshot("10.0.0.6:8080", 50),
        snapshot("10.0.0.5:8080", 1_184),
    ]));
    session.input(&Input::Losses(vec![
        ("ring_upstream".into(), 3),
        ("conn_table".into(), 0),
    ]));
    session.input(&Input::End(START_NS + 10 * SECOND));
}

/// Every field of the format is in use.
pub(crate) fn session() -> Session {
    let mut session = Session::new();
    session.input(&Input::Start(start()));
    fill(&mut session);
    session
}

/// See [`session`].
pub(crate) fn document() -> Document {
    let mut document = session().document();
    document.logs = vec![LogSourceDoc {
        path: "/var/log/nginx/error.log".into(),
        formats: vec!["nginx-error".into()],
        lines: 412,
        unparsed: 1,
        skipped_bytes: 0,
        failures: 37,
        joined: 33,
        known: 1,
        not_the_backend: 1,
        unwatched: 0,
        without_cause: 2,
        ambiguous_cases: 0,
        let_go: 0,
        clock_skew_us: Some(1_200),
        clock_skew_pairs: Some(33),
        examples: vec![LogExampleDoc {
            line_number: 7,
            line: "2026/11/22 13:14:30 [error] 1234#1234: *2 no live upstreams".into(),
        }],
    }];
    document
}

/// Traffic, and nothing wrong.
pub(crate) fn quiet_document() -> Document {
    let mut session = Session::new();
    session.input(&Input::Start(SessionStart {
        notes: Vec::new(),
        ..start()
    }));
    for pid in 100..112 {
        let kind = ProxyKind::Haproxy;
        session.input(&Input::Proxy(ProxyProcess {
            pid,
            kind,
            instance: None,
        }));
    }
    session.input(&Input::Backends(vec![snapshot("10.0.0.6:8080", 50)]));
    session.input(&Input::End(START_NS + 86_400 * SECOND));
    session.document()
}

/// Nothing at all.
pub(crate) fn empty_document() -> Document {
    Session::new().document()
}

/// Every text that somebody else chose tries to take over the terminal, and is long.
pub(crate) fn hostile_document() -> Document {
    let evil = format!("\x1b[2J\r\n\u{202e}{}\t\0", "evil".repeat(2_000));
    let mut session = Session::new();
    session.input(&Input::Start(SessionStart {
        host: evil.clone(),
        kernel: evil.clone(),
        notes: vec![evil.clone()],
        ..start()
    }));
    session.input(&Input::Proxy(ProxyProcess {
        instance: None,
        pid: 1,
        kind: ProxyKind::Other(evil.clone()),
    }));
    let mut case = reuse_race();
    case.id.clone_from(&evil);
    case.proxy.kind = ProxyKind::Other(evil.clone());
    if let Some(request) = &mut case.downstream.request {
        request.method.clone_from(&evil);
        request.path.clone_from(&evil);
        request.protocol.clone_from(&evil);
        request.request_id = Some(evil.clone());
    }
    case.attempts[0].events[0].detail = Some(evil.clone());
    case.verdict.summary.clone_from(&evil);
    case.verdict.evidence[0].text.clone_from(&evil);
    case.verdict.remedies = vec![remedy(&evil, &evil, &evil)];
    case.log = Some(log_line(&evil, &evil));
    session.count(&[case]);
    session.input(&Input::Config(vec![config(&evil, &evil)]));
    session.input(&Input::Backends(vec![snapshot("10.0.0.5:8080", 3)]));
    session.input(&Input::Losses(vec![(evil, 1)]));
    session.document()
}
