//! A capture and the replay of its recording say the same, byte for byte; damaged recordings are
//! reported as far as they go.

#![expect(clippy::unwrap_used, reason = "a failing test may panic anywhere")]

use std::fs;
use std::io::BufReader;
use std::net::SocketAddr;

use tracer_ebpf::{Cause, LinkHow, Role, bucket_of_us, flags};
use why502::config::{Directive, ProxyConfig, Setting, Source, Target, UpstreamConfig, Value};
use why502::event::{
    BackendSnapshot, ConnId, Exchange, Input, KernelEvent, Link, ProcessEvent, ProxyKind,
    ProxyProcess, SessionStart, Socket, Times,
};
use why502::recording::{Recorder, Writer};
use why502::report::{Format, Reporter, Style, command, replay};
use why502::session::Session;

const BASE: u64 = 1_000_000_000_000;
const MS: u64 = 1_000_000;

/// The backend closed without an answer; the proxy answered 502 half a millisecond later.
fn inputs() -> Vec<Input> {
    let mut inputs = vec![
        Input::Start(SessionStart {
            version: "0.1.0".into(),
            host: "web1".into(),
            kernel: "6.12.0-test".into(),
            started_unix_ns: 1_795_355_674_000_000_000,
            started_mono_ns: BASE,
            statuses: vec![502, 503, 504],
            outcomes: Vec::new(),
            role: why502::event::HostRole::Proxy,
            reset_reasons: vec![(5, "TCP_ABORT_ON_DATA".into())],
            utc_offset_s: 0,
            logs: false,
            notes: vec!["A limit.".into()],
        }),
        Input::Proxy(ProxyProcess {
            instance: None,
            pid: 100,
            kind: ProxyKind::Nginx,
        }),
        Input::Kernel(KernelEvent::Process(ProcessEvent::Fork {
            pid: 101,
            parent: 100,
        })),
    ];
    inputs.push(Input::Config(vec![ProxyConfig {
        proxy: ProxyKind::Nginx,
        file: "/etc/nginx/nginx.conf".into(),
        upstreams: vec![UpstreamConfig {
            group: "upstream api".into(),
            targets: vec![Target::Address(addr("10.0.0.5:8080"))],
            settings: vec![
                setting(
                    Directive::ProxyNextUpstream,
                    Value::Words(vec!["off".into()]),
                    12,
                ),
                setting(Directive::KeepaliveTimeout, Value::Millis(60_000), 41),
            ],
        }],
        notes: Vec::new(),
    }]));
    for n in 0..3 {
        let at = BASE + (100 + n * 1000) * MS;
        inputs.push(Input::Kernel(KernelEvent::Exchange(Box::new(upstream(
            n, at,
        )))));
        inputs.push(Input::Kernel(KernelEvent::Exchange(Box::new(downstream(
            n, at,
        )))));
        inputs.push(Input::Tick(at + 500 * MS));
    }
    inputs.push(Input::Backends(vec![BackendSnapshot {
        upstream: addr("10.0.0.5:8080"),
        connects: 3,
        exchanges: 500,
        connect: vec![(bucket_of_us(180) as u16, 3)],
        ttfb: vec![(bucket_of_us(900) as u16, 497)],
        total: vec![(bucket_of_us(1_900) as u16, 497)],
        idle_reused_max_us: Some(4_990_000),
        idle_closed_min_us: Some(5_004_000),
        idle_closed: 12,
    }]));
    inputs.push(Input::Losses(vec![("ring_upstream".into(), 0)]));
    inputs.push(Input::End(BASE + 10_000 * MS));
    inputs
}

fn setting(directive: Directive, value: Value, line: u32) -> Setting {
    let file = "/etc/nginx/nginx.conf".into();
    Setting {
        directive,
        value,
        source: Source::File { file, line },
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn upstream(n: u64, at: u64) -> Exchange {
    Exchange {
        time_ns: at + 2 * MS,
        cause: Cause::Ended,
        role: Role::Connecting,
        conn: ConnId(1000 + n),
        link: Some(Link {
            conn: ConnId(2000 + n),
            exchange: 1,
            at_ns: at,
            how: LinkHow::SameTarget,
        }),
        thread_last_upstream: None,
        local: addr("10.0.0.1:41022"),
        remote: addr("10.0.0.5:8080"),
        netns: 1,
        pid: 100,
        tid: 100,
        exchange: 1,
        flags: flags::PEER_FIN_FIRST,
        state: 7,
        times: Times {
            opened: Some(at - MS),
            established: Some(at),
            request_start: Some(at),
            fin_received: Some(at + MS),
            end_read: Some(at + MS + 10_000),
            closed: Some(at + 2 * MS),
            ..Times::default()
        },
        request_bytes: 60,
        response_bytes: 0,
        status: None,
        retransmits: 0,
        request_start_seq: 5000,
        snd_una_at_end: 5060,
        write_seq_at_end: 5060,
        reset_sent_reason: None,
        reset_received_reason: None,
        sk_err: None,
        send_errno: None,
        recv_errno: None,
        socket: Socket {
            unread: Some(0),
            unacked: Some(0),
            srtt_us: Some(200),
            ..Socket::default()
        },
        request_head: b"GET /checkout?secret=1 HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_vec(),
        response_head: Vec::new(),
        response_tail: Vec::new(),
        sent_last: Vec::new(),
        sent_last_len: 0,
        retransmitted: None,
        mss_at_start: None,
        pmtu_at_start: None,
    }
}

fn downstream(n: u64, at: u64) -> Exchange {
    Exchange {
        time_ns: at + 3 * MS,
        cause: Cause::Status,
        role: Role::Accepted,
        conn: ConnId(2000 + n),
        link: Some(Link {
            conn: ConnId(1000 + n),
            exchange: 1,
            at_ns: at,
            how: LinkHow::SameTarget,
        }),
        thread_last_upstream: Some((ConnId(1000 + n), at + 2 * MS)),
        local: addr("192.0.2.1:80"),
        remote: addr("192.0.2.7:51544"),
        flags: flags::WATCH,
        state: 1,
        times: Times {
            opened: Some(at - 5 * MS),
            established: Some(at - 5 * MS),
            request_start: Some(at - 2 * MS),
            response_start: Some(at + 3 * MS),
            response_last: Some(at + 3 * MS),
            ..Times::default()
        },
        response_bytes: 150,
        status: Some(502),
        response_head: b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ..upstream(n, at)
    }
}

const FORMATS: [Format; 3] = [Format::Text, Format::Json, Format::Ndjson];

fn live(format: Format) -> String {
    let reporter = Reporter::new(format, Style::PLAIN);
    let mut session = Session::new();
    let mut out = Vec::new();
    for input in inputs() {
        reporter.input(&mut session, &input, &mut out).unwrap();
    }
    reporter.finish(&session, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn recording() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    for input in inputs() {
        writer.write(&input).unwrap();
    }
    bytes
}

#[test]
fn a_replay_says_what_the_capture_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("incident.w502");
    let mut recorder = Recorder::create(&file).unwrap();
    for input in inputs() {
        assert_eq!(recorder.record(&input), None);
    }
    for format in FORMATS {
        let mut out = Vec::new();
        command(&file, &[], format, Style::PLAIN, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), live(format), "{format:?}");
    }
}

#[test]
fn the_story_is_told_and_secrets_are_not() {
    for format in FORMATS {
        let report = live(format);
        assert!(report.contains("fin-before-response"), "{report}");
        assert!(report.contains("10.0.0.5:8080"), "{report}");
        assert!(report.contains("/checkout"), "{report}");
        assert!(!report.contains("secret"), "{report}");
        // What the configuration said at the capture, beside the remedy and in the advice.
        let report = report.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            report.contains("(now off, /etc/nginx/nginx.conf:12)"),
            "{report}"
        );
        assert!(
            report.contains("keepalive_timeout is 60s (/etc/nginx/nginx.conf:41)"),
            "{report}"
        );
    }
}

#[test]
fn torn_and_damaged_recordings_are_reported_as_far_as_they_go() {
    let bytes = recording();
    let reporter = Reporter::new(Format::Json, Style::PLAIN);
    let report = |bytes: &[u8]| {
        let mut out = Vec::new();
        let tear = replay(BufReader::new(bytes), reporter, &mut out);
        tear.map(|tear| (tear, String::from_utf8(out).unwrap()))
    };
    for len in (0..bytes.len()).step_by(7) {
        match report(&bytes[..len]) {
            Ok((tear, json)) => {
                let value: serde_json::Value = serde_json::from_str(&json).unwrap();
                let noted = value["notes"].to_string().contains("torn at byte");
                assert_eq!(noted, tear.is_some(), "{len}: {json}");
            }
            Err(_) => assert!(len < 12, "{len}"),
        }
    }
    for at in (0..bytes.len()).step_by(11) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x55;
        let _no_panic = report(&bytes);
    }
}

/// Whatever stands in the frames, in whatever order: no panic.
#[test]
fn inputs_in_any_order_do_no_harm() {
    let inputs = inputs();
    for skip in 0..inputs.len() {
        for reverse in [false, true] {
            let mut some: Vec<&Input> = inputs.iter().skip(skip).collect();
            if reverse {
                some.reverse();
            }
            let mut session = Session::new();
            for input in some {
                session.input(input);
            }
            let _document = session.document();
        }
    }
}

#[test]
fn what_is_no_recording_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes, words) in [
        ("empty", &b""[..], "is empty"),
        ("pcap", b"\xd4\xc3\xb2\xa1", "not a why502 recording"),
        ("newer", b"why502\r\n\x09\0\0\0", "format version 9"),
        ("cut", b"why502\r\n", "holds no event"),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        let error = command(&file, &[], Format::Text, Style::PLAIN, &mut Vec::new()).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(words), "{text}");
        assert!(text.contains(name), "{text}");
    }
    let absent = command(
        &dir.path().join("absent"),
        &[],
        Format::Text,
        Style::PLAIN,
        &mut Vec::new(),
    );
    assert!(format!("{:#}", absent.unwrap_err()).contains("cannot open"));
}
