//! Measurements and settings in, advice out.

use std::net::SocketAddr;

use tracer_ebpf::bucket_of_us;

use super::*;
use crate::config::{ProxyConfig, Setting, Source, Target, UpstreamConfig, Value};
use crate::latency::summarise;
use crate::report::fixture;

const MS: u64 = 1_000;
const S: u64 = 1_000_000;

fn upstream() -> SocketAddr {
    "10.0.0.5:8080".parse().unwrap()
}

/// Durations: (µs, how often).
fn latency(durations: &[(u64, u32)]) -> Latency {
    let buckets: Vec<(u16, u32)> = durations
        .iter()
        .map(|(us, count)| (bucket_of_us(*us as u32) as u16, *count))
        .collect();
    summarise(&buckets).unwrap()
}

fn setting(directive: Directive, value: Value, line: u32) -> Setting {
    let file = "/etc/nginx/nginx.conf".to_owned();
    let source = match line {
        0 => Source::Default,
        line => Source::File { file, line },
    };
    Setting {
        directive,
        value,
        source,
    }
}

/// One upstream for each of these.
fn settings(upstreams: Vec<(Target, Vec<Setting>)>) -> Settings {
    let proxy = upstreams[0].1[0].directive.proxy();
    let upstreams = upstreams
        .into_iter()
        .map(|(target, settings)| UpstreamConfig {
            group: "upstream api".into(),
            targets: vec![target],
            settings,
        });
    Settings::new(vec![ProxyConfig {
        proxy,
        file: "/etc/nginx/nginx.conf".into(),
        upstreams: upstreams.collect(),
        notes: Vec::new(),
    }])
}

fn here(directive: Directive, value: Value, line: u32) -> Settings {
    let target = Target::Address(upstream());
    settings(vec![(target, vec![setting(directive, value, line)])])
}

fn measured<'a>() -> Measured<'a> {
    Measured {
        upstream: upstream(),
        connect: None,
        ttfb: None,
        idle_reused_max_us: None,
        idle_closed_min_us: None,
        idle_closed: 0,
        failures: Failures::default(),
    }
}

fn span(count: u64, min: u64, max: u64) -> Span {
    Span { count, min, max }
}

/// The only advice, if there is any.
fn ask(proxy: &ProxyKind, measured: &Measured<'_>, settings: &Settings) -> Option<Advice> {
    let mut all = advise(proxy, measured, &settings.of(proxy, measured.upstream));
    assert!(all.len() <= 1, "{all:?}");
    all.pop()
}

#[test]
fn nothing_measured_is_nothing_advised() {
    let settings = here(Directive::ProxyReadTimeout, Value::Millis(60_000), 41);
    assert_eq!(ask(&ProxyKind::Nginx, &measured(), &settings), None);
    assert_eq!(
        ask(&ProxyKind::Envoy, &measured(), &Settings::default()),
        None
    );
}

#[test]
fn response_timeouts() {
    let nginx = ProxyKind::Nginx;
    let fast = latency(&[(2 * MS, 5_000), (40 * MS, 50)]);
    let slow = latency(&[(2 * MS, 5_000), (40 * S, 200)]);
    let few = latency(&[(2 * MS, 99)]);
    let ask = |ttfb: &Latency, waits: Span, settings: &Settings| {
        let mut m = measured();
        m.ttfb = Some(ttfb);
        m.failures.response_waits = waits;
        ask(&nginx, &m, settings)
    };
    let at_60 = here(Directive::ProxyReadTimeout, Value::Millis(60_000), 41);
    let waits = span(4, 60 * S, 60 * S + 20 * MS);

    let stuck = ask(&fast, waits, &at_60).unwrap();
    assert_eq!(stuck.kind, "response-timeout");
    assert_eq!(stuck.change, None);
    assert_eq!(stuck.value.as_deref(), Some("60s"));
    assert_eq!(stuck.source.as_deref(), Some("/etc/nginx/nginx.conf:41"));
    assert!(
        stuck.text.starts_with(
            "4 requests were given up on after 60.000 s: proxy_read_timeout 60s \
         (/etc/nginx/nginx.conf:41). Of 5050 answers, 99 % began within"
        ),
        "{}",
        stuck.text
    );
    assert!(stuck.text.contains("Leave the timeout"), "{}", stuck.text);
    assert_eq!(stuck.measured["answers"], 5_050);
    assert_eq!(stuck.measured["waited_min_us"], 60 * S);

    let cut = ask(&slow, waits, &at_60).unwrap();
    assert_eq!(cut.change.as_deref(), Some("proxy_read_timeout 120s;"));

    // With many timeouts the answers that came say little about those that did not.
    let many = ask(&fast, span(500, 60 * S, 60 * S), &at_60).unwrap();
    assert!(many.change.is_none() && many.text.contains("one request in a hundred"));

    assert_eq!(ask(&few, waits, &at_60), None, "too few answers");

    // The wait contradicts the file: the file is not in force.
    let other = ask(&slow, span(4, 5 * S, 5 * S), &at_60).unwrap();
    assert_eq!(
        (other.change, other.value, other.source),
        (None, None, None)
    );
    assert!(
        other.text.contains("fits no value known here"),
        "{}",
        other.text
    );

    // Two locations: the wait tells which.
    let target = Target::Address(upstream());
    let two = |a: u64, b: u64| {
        let of = |ms, line| setting(Directive::ProxyReadTimeout, Value::Millis(ms), line);
        settings(vec![(target, vec![of(a, 7)]), (target, vec![of(b, 9)])])
    };
    let told = ask(&fast, waits, &two(5_000, 60_000)).unwrap();
    assert_eq!(told.source.as_deref(), Some("/etc/nginx/nginx.conf:9"));

    // No configuration: still what was measured.
    let bare = ask(&fast, waits, &Settings::default()).unwrap();
    assert_eq!((bare.value, bare.source), (None, None));
}

#[test]
fn close_to_the_timeout_before_anything_failed() {
    let at = |ms| here(Directive::TimeoutServer, Value::Millis(ms), 3);
    let ttfb = latency(&[(2 * MS, 5_000), (3 * S, 50)]);
    let mut m = measured();
    m.ttfb = Some(&ttfb);
    let close = ask(&ProxyKind::Haproxy, &m, &at(5_000)).unwrap();
    assert_eq!(close.change.as_deref(), Some("timeout server 15s"));
    assert_eq!(ask(&ProxyKind::Haproxy, &m, &at(30_000)), None);
    let unlimited = here(Directive::TimeoutServer, Value::Unlimited, 0);
    assert_eq!(ask(&ProxyKind::Haproxy, &m, &unlimited), None);
    let few = latency(&[(2 * MS, 900), (3 * S, 50)]);
    m.ttfb = Some(&few);
    assert_eq!(
        ask(&ProxyKind::Haproxy, &m, &at(5_000)),
        None,
        "too few answers"
    );
}

#[test]
fn idle_connections() {
    let nginx = ProxyKind::Nginx;
    let kept = |ms, line| here(Directive::KeepaliveTimeout, Value::Millis(ms), line);
    let gap = |closed: Option<u64>, count, reused: Option<u64>, races| {
        let mut m = measured();
        m.idle_closed_min_us = closed;
        m.idle_closed = count;
        m.idle_reused_max_us = reused;
        m.failures.race_idle = races;
        m
    };
    let none = Span::default();

    let race = gap(
        Some(5 * S),
        12,
        Some(4_990 * MS),
        span(2, 4_999 * MS, 5_001 * MS),
    );
    let advice = ask(&nginx, &race, &kept(60_000, 0)).unwrap();
    assert_eq!(advice.kind, "keep-alive");
    assert_eq!(advice.change.as_deref(), Some("keepalive_timeout 3s;"));
    assert_eq!(advice.value.as_deref(), Some("60s"));
    assert_eq!(advice.source.as_deref(), Some("default"));
    assert!(advice.text.contains("above 65 s"), "{}", advice.text);
    assert!(advice.text.contains("2 requests met"), "{}", advice.text);
    assert!(
        advice.text.contains("5 s is the default of"),
        "{}",
        advice.text
    );
    assert_eq!(advice.measured["race_idle_min_us"], 4_999 * MS);

    // Possible by the file alone, if connections are reused at all.
    let quiet = gap(Some(15 * S), 3, Some(2 * S), none);
    let advice = ask(&nginx, &quiet, &kept(60_000, 5)).unwrap();
    assert!(advice.text.contains("one can be"), "{}", advice.text);
    assert_eq!(advice.change.as_deref(), Some("keepalive_timeout 12s;"));

    for (why, m, settings) in [
        (
            "nginx closes first",
            gap(Some(15 * S), 3, Some(2 * S), none),
            kept(4_000, 5),
        ),
        ("no pool", gap(Some(15 * S), 3, None, none), kept(60_000, 0)),
        (
            "too few",
            gap(Some(15 * S), 2, Some(2 * S), none),
            kept(60_000, 0),
        ),
        (
            "closes after responses",
            gap(Some(80), 900, Some(2 * S), none),
            kept(60_000, 0),
        ),
        (
            "no timeout",
            gap(Some(2 * S), 9, Some(40 * S), none),
            kept(60_000, 0),
        ),
        (
            "unknown, never used late",
            gap(Some(9 * S), 9, Some(S), none),
            Settings::default(),
        ),
    ] {
        assert_eq!(ask(&nginx, &m, &settings), None, "{why}");
    }

    // HAProxy's delay is no bound: only what happened counts.
    let purge = here(Directive::PoolPurgeDelay, Value::Millis(5_000), 0);
    let late = gap(Some(8 * S), 5, Some(7 * S), none);
    let advice = ask(&ProxyKind::Haproxy, &late, &purge).unwrap();
    assert_eq!(advice.change.as_deref(), Some("pool-purge-delay 2s"));
    let early = gap(Some(8 * S), 5, Some(S), none);
    assert_eq!(ask(&ProxyKind::Haproxy, &early, &purge), None);

    let envoy = ask(&ProxyKind::Envoy, &race, &Settings::default()).unwrap();
    assert_eq!((envoy.change, envoy.setting), (None, None));
}

#[test]
fn response_heads() {
    let mut m = measured();
    m.failures.large_heads = span(1, 4_096, 4_096);
    let nginx = here(Directive::ProxyBufferSize, Value::Bytes(4_096), 0);
    let advice = ask(&ProxyKind::Nginx, &m, &nginx).unwrap();
    assert_eq!(
        advice.change.as_deref(),
        Some("proxy_buffer_size 8k; proxy_buffers 8 8k; proxy_busy_buffers_size 16k;")
    );
    m.failures.large_heads = span(2, 0, 15_360);
    let haproxy = here(Directive::Bufsize, Value::Bytes(16_384), 0);
    let advice = ask(&ProxyKind::Haproxy, &m, &haproxy).unwrap();
    assert_eq!(advice.change.as_deref(), Some("tune.bufsize 32768"));
}

#[test]
fn connect_timeouts() {
    let at = |ms| here(Directive::ProxyConnectTimeout, Value::Millis(ms), 8);
    let quick = latency(&[(300, 150)]);
    let few = latency(&[(300, 99)]);
    let slow = latency(&[(4 * S, 150)]);
    for (connects, ms, want) in [
        (&quick, 60_000, Some("proxy_connect_timeout 3s;")),
        (&quick, 5_000, None),
        (&few, 60_000, None),
        (&slow, 5_000, Some("proxy_connect_timeout 15s;")),
        (&slow, 20_000, None),
    ] {
        let mut m = measured();
        m.connect = Some(connects);
        let advice = ask(&ProxyKind::Nginx, &m, &at(ms));
        assert_eq!(advice.and_then(|a| a.change).as_deref(), want, "{ms}");
    }
    let mut m = measured();
    m.connect = Some(&quick);
    assert_eq!(ask(&ProxyKind::Nginx, &m, &Settings::default()), None);
    let unlimited = here(Directive::TimeoutConnect, Value::Unlimited, 0);
    let advice = ask(&ProxyKind::Haproxy, &m, &unlimited).unwrap();
    assert_eq!(advice.value.as_deref(), Some("unlimited"));
}

#[test]
fn what_holds_for_a_backend() {
    let of = |ms, line| {
        vec![setting(
            Directive::ProxyReadTimeout,
            Value::Millis(ms),
            line,
        )]
    };
    let address = Target::Address(upstream());
    let other = Target::Address("10.0.0.6:8080".parse().unwrap());
    let (name, elsewhere) = (Target::Port(8080), Target::Port(81));
    for (upstreams, want) in [
        (
            vec![(address, of(1_000, 1))],
            Some("proxy_read_timeout is 1s (/etc/nginx/nginx.conf:1)"),
        ),
        (vec![(other, of(1_000, 1)), (elsewhere, of(2_000, 2))], None),
        // A host name counts only while no address does.
        (
            vec![(name, of(2_000, 2)), (address, of(1_000, 1))],
            Some("proxy_read_timeout is 1s (/etc/nginx/nginx.conf:1)"),
        ),
        (
            vec![(name, of(2_000, 2))],
            Some(
                "proxy_read_timeout is 2s (/etc/nginx/nginx.conf:2), if this backend belongs to \
                 upstream api (the file has a name or variable, no address)",
            ),
        ),
        // A variable may always be meant.
        (
            vec![(address, of(1_000, 1)), (Target::Any, of(2_000, 2))],
            Some(
                "proxy_read_timeout is 1s (/etc/nginx/nginx.conf:1) or 2s (/etc/nginx/nginx.conf:2)",
            ),
        ),
        // The same value twice is one value; one that is unknown makes all unknown.
        (
            vec![(address, of(1_000, 1)), (address, of(1_000, 2))],
            Some("proxy_read_timeout is 1s (/etc/nginx/nginx.conf:1)"),
        ),
        (vec![(address, of(1_000, 1)), (address, Vec::new())], None),
    ] {
        let settings = settings(upstreams);
        let in_force = settings.of(&ProxyKind::Nginx, upstream());
        assert_eq!(
            in_force.sentence(Directive::ProxyReadTimeout).as_deref(),
            want
        );
        let haproxy = settings.of(&ProxyKind::Haproxy, upstream());
        assert_eq!(haproxy.sentence(Directive::ProxyReadTimeout), None);
    }
}

#[test]
fn remedies_say_what_is_set_now() {
    let address = Target::Address(upstream());
    let all = settings(vec![(
        address,
        vec![
            setting(Directive::ProxyReadTimeout, Value::Millis(60_000), 41),
            setting(Directive::ProxyConnectTimeout, Value::Millis(60_000), 0),
        ],
    )]);
    let nginx = ProxyKind::Nginx;
    let in_force = all.of(&nginx, upstream());
    for (target, change, want) in [
        (
            "nginx",
            "location /slow { proxy_read_timeout 120s; }",
            Some("(now 60s, /etc/nginx/nginx.conf:41)"),
        ),
        (
            "nginx",
            "proxy_connect_timeout 3s;",
            Some("(now 60s, default)"),
        ),
        (
            "nginx",
            "proxy_connect_timeout 3s; proxy_read_timeout 9s;",
            Some(
                "(now proxy_connect_timeout 60s, default; proxy_read_timeout 60s, \
                 /etc/nginx/nginx.conf:41)",
            ),
        ),
        ("backend", "proxy_read_timeout 120s", None),
        ("nginx", "keepalive_timeout 4s", None),
    ] {
        assert_eq!(
            now(target, change, &nginx, &in_force).as_deref(),
            want,
            "{change}"
        );
    }
    let by_name = settings(vec![(
        Target::Port(8080),
        vec![setting(
            Directive::ProxyReadTimeout,
            Value::Millis(60_000),
            41,
        )],
    )]);
    let in_force = by_name.of(&nginx, upstream());
    assert_eq!(
        now("nginx", "proxy_read_timeout 1s;", &nginx, &in_force),
        None
    );
}

#[test]
fn failures_are_gathered_from_attempts() {
    use crate::case::{EndedBy, How};
    let mut failures = Failures::default();
    let race = fixture::reuse_race();
    failures.add(&race, &race.attempts[0], true);
    assert_eq!(failures.race_idle, span(1, 4_999_000, 4_999_000));
    let mut slow = race.clone();
    slow.verdict.rule = "response-timeout";
    slow.attempts[0].ended_by = EndedBy::Proxy;
    slow.attempts[0].how = How::Timeout;
    slow.attempts[0].duration_us = Some(60 * S);
    for extra in [0, 5, 2] {
        slow.attempts[0].duration_us = Some(60 * S + extra);
        failures.add(&slow, &slow.attempts[0], true);
    }
    assert_eq!(failures.response_waits, span(3, 60 * S, 60 * S + 5));
    assert_eq!(failures.race_idle.count, 1);
    assert_eq!(failures.connect_waits.count, 0);
    assert!(failures.proxies.contains(&ProxyKind::Nginx));
}
