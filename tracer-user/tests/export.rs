//! `why502 export` on a recording: every form, in a file and on standard output.

#![expect(clippy::unwrap_used, reason = "a failing test may panic anywhere")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tracer_ebpf::{Cause, LinkHow, Role, bucket_of_us, flags};
use why502::event::{
    BackendSnapshot, ConnId, Exchange, HostRole, Input, KernelEvent, Link, ProxyKind, ProxyProcess,
    SessionStart, Socket, Times,
};
use why502::recording::Recorder;

const BASE: u64 = 1_000_000_000_000;
const MS: u64 = 1_000_000;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn start() -> Input {
    Input::Start(SessionStart {
        version: "0.1.0".into(),
        host: "web1".into(),
        kernel: "6.12.0-test".into(),
        started_unix_ns: 1_795_355_674_000_000_000,
        started_mono_ns: BASE,
        statuses: vec![502],
        outcomes: Vec::new(),
        role: HostRole::Proxy,
        reset_reasons: Vec::new(),
        utc_offset_s: 0,
        logs: false,
        notes: Vec::new(),
    })
}

fn exchange(role: Role, conn: u64, remote: &str) -> Exchange {
    let head = format!(
        "GET /cart?secret=1 HTTP/1.1\r\nHost: shop.example\r\n\
         traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n\r\n"
    );
    Exchange {
        time_ns: BASE + 20 * MS,
        cause: Cause::Ended,
        role,
        conn: ConnId(conn),
        link: None,
        thread_last_upstream: None,
        local: "10.0.0.1:41022".parse().unwrap(),
        remote: remote.parse().unwrap(),
        netns: 1,
        pid: 100,
        tid: 100,
        exchange: 1,
        flags: 0,
        state: 1,
        times: Times {
            opened: Some(BASE + 9 * MS),
            established: Some(BASE + 10 * MS),
            request_start: Some(BASE + 11 * MS),
            ..Times::default()
        },
        request_bytes: 100,
        response_bytes: 0,
        status: None,
        retransmits: 0,
        request_start_seq: 0,
        snd_una_at_end: 0,
        write_seq_at_end: 0,
        reset_sent_reason: None,
        reset_received_reason: None,
        sk_err: None,
        send_errno: None,
        recv_errno: None,
        socket: Socket::default(),
        request_head: head.into_bytes(),
        response_head: Vec::new(),
        response_tail: Vec::new(),
        sent_last: Vec::new(),
        sent_last_len: 0,
        retransmitted: None,
        mss_at_start: None,
        pmtu_at_start: None,
    }
}

/// The backend closed without an answer; the proxy answered 502.
fn record(file: &Path) {
    let mut backend = exchange(Role::Connecting, 2, "10.0.0.5:8080");
    backend.link = Some(Link {
        conn: ConnId(1),
        exchange: 1,
        at_ns: BASE + 11 * MS,
        how: LinkHow::SameTarget,
    });
    backend.flags = flags::PEER_FIN_FIRST;
    backend.times.fin_received = Some(BASE + 15 * MS);
    backend.times.end_read = Some(BASE + 15 * MS);
    backend.times.closed = Some(BASE + 16 * MS);
    let mut client = exchange(Role::Accepted, 1, "192.0.2.7:51544");
    client.cause = Cause::Status;
    client.flags = flags::WATCH;
    client.link = Some(Link {
        conn: ConnId(2),
        exchange: 1,
        at_ns: BASE + 11 * MS,
        how: LinkHow::SameTarget,
    });
    client.times.request_start = Some(BASE + 10 * MS);
    client.times.response_start = Some(BASE + 17 * MS);
    client.status = Some(502);
    client.response_bytes = 300;
    client.response_head = b"HTTP/1.1 502 Bad Gateway\r\n\r\n".to_vec();
    let mut recorder = Recorder::create(file).unwrap();
    for input in [
        start(),
        Input::Proxy(ProxyProcess {
            instance: None,
            pid: 100,
            kind: ProxyKind::Nginx,
        }),
        Input::Kernel(KernelEvent::Exchange(Box::new(backend))),
        Input::Kernel(KernelEvent::Exchange(Box::new(client))),
        Input::Backends(vec![BackendSnapshot {
            upstream: "10.0.0.5:8080".parse().unwrap(),
            connects: 1,
            exchanges: 3,
            connect: vec![(bucket_of_us(200) as u16, 1)],
            ttfb: vec![(bucket_of_us(900) as u16, 3)],
            total: vec![(bucket_of_us(1_000) as u16, 3)],
            idle_reused_max_us: None,
            idle_closed_min_us: None,
            idle_closed: 0,
        }]),
        Input::Losses(vec![("ring_upstream".into(), 2)]),
        Input::End(BASE + 10_000 * MS),
    ] {
        assert_eq!(recorder.record(&input), None);
    }
}

fn why502(args: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_why502"))
        .arg("export")
        .arg(file)
        .args(args)
        .env("OTEL_SERVICE_NAME", "edge")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=prod",
        )
        .output()
        .unwrap()
}

fn exported(args: &[&str], file: &Path) -> String {
    let output = why502(args, file);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_form_of_a_recording() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("incident.w502");
    record(&file);
    for (args, words) in [
        (
            &["--to", "otlp"][..],
            &["resourceSpans", "\"502\"", TRACE, "edge", "prod"][..],
        ),
        (
            &["--to", "otlp", "--signal", "logs"],
            &["logRecords", TRACE, "edge"],
        ),
        (
            &["--to", "otlp", "--signal", "metrics"],
            &[
                "why502.failures",
                "exponentialHistogram",
                "ring_upstream",
                TRACE,
            ],
        ),
        (
            &["--to", "zipkin"],
            &["\"SERVER\"", "\"CLIENT\"", TRACE, "edge"],
        ),
        (&["--to", "ndjson"], &["\"type\":\"case\"", TRACE]),
    ] {
        let text = exported(args, &file);
        for word in words {
            assert!(text.contains(word), "{args:?}: no {word} in {text}");
        }
        assert!(!text.contains("secret"), "{args:?}");
        for line in text.lines() {
            let _json: Value = serde_json::from_str(line).unwrap();
        }
        assert!(args.contains(&"ndjson") || text.lines().count() == 1);
        assert_eq!(exported(args, &file), text, "{args:?}: not the same again");
        let copy = dir.path().join("copy");
        let name = copy.to_str().unwrap();
        assert_eq!(exported(&[args, &["-o", name]].concat(), &file), "");
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), text);
        std::fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn the_spans_of_a_failure_join_its_trace() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("incident.w502");
    record(&file);
    let document: Value = serde_json::from_str(&exported(&["--to", "otlp"], &file)).unwrap();
    let spans = &document["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans.as_array().unwrap().len(), 2);
    let [server, client] = [&spans[0], &spans[1]];
    assert_eq!(
        (&server["traceId"], &client["traceId"]),
        (&TRACE.into(), &TRACE.into())
    );
    assert_eq!(server["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(
        (&server["flags"], &client["flags"]),
        (&0x301.into(), &0x101.into())
    );
    assert_eq!(client["parentSpanId"], server["spanId"]);
    let unix = |ms: u64| (1_795_355_674_000_000_000 + ms * MS).to_string();
    assert_eq!(server["startTimeUnixNano"], unix(10));
    assert_eq!(server["endTimeUnixNano"], unix(17));
    assert_eq!(client["startTimeUnixNano"], unix(9));
    assert_eq!(client["endTimeUnixNano"], unix(16));
}

#[test]
fn errors_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x");
    let fails = |args: &[&str], words: &str| {
        let output = why502(args, &file);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(errors.contains(words), "{args:?}: {errors}");
    };
    fails(&["--to", "otlp"], "cannot open");
    std::fs::write(&file, "no recording").unwrap();
    fails(&["--to", "otlp"], "not a why502 recording");
    fails(&["--to", "zipkin", "--signal", "logs"], "--to otlp");
    fails(&["--to", "jaeger"], "otlp, zipkin, ndjson");
    fails(&[], "--to");
    record(&file);
    let before = std::fs::read(&file).unwrap();
    let own = file.to_str().unwrap();
    fails(&["--to", "otlp", "-o", own], "another file");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    fails(
        &["--to", "otlp", "-o", "/nowhere/at/all"],
        "cannot write to /nowhere/at/all",
    );
}
