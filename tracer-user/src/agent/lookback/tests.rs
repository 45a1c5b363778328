use tracer_ebpf::{Cause, LinkHow, Role, flags};

use super::*;
use crate::config::ProxyConfig;
use crate::diagnose::testing::AttemptBuilder;
use crate::event::{
    BackendSnapshot, ConnId, Exchange, KernelEvent, Link, LocalBackend, ProcessEvent, ProxyKind,
    ProxyProcess,
};
use crate::recording::Reader;
use crate::session::Session;

const S: MonoNs = 1_000_000_000;
const MS: MonoNs = 1_000_000;
/// The agent's start, by both clocks.
const BEGAN: MonoNs = 5_000 * S;
const BEGAN_UNIX: u64 = 1_795_355_674_000_000_000;

fn start() -> SessionStart {
    SessionStart {
        version: "0.1.0".into(),
        host: "web1".into(),
        kernel: "6.12.0-test".into(),
        started_unix_ns: BEGAN_UNIX,
        started_mono_ns: BEGAN,
        statuses: vec![502, 503, 504],
        outcomes: Vec::new(),
        role: crate::event::HostRole::Proxy,
        reset_reasons: Vec::new(),
        utc_offset_s: 0,
        logs: false,
        notes: Vec::new(),
    }
}

/// A backend closed without an answer.
fn upstream(n: u64, at: MonoNs) -> Exchange {
    let mut x = AttemptBuilder::sent().fin(1).exchange();
    x.time_ns = at + 2 * MS;
    x.conn = ConnId(1_000_000 + n);
    x.link = Some(Link {
        conn: ConnId(2_000_000 + n),
        exchange: 1,
        at_ns: at,
        how: LinkHow::SameTarget,
    });
    x.pid = 100;
    x.tid = 100;
    x.times.opened = Some(at - MS);
    x.times.established = Some(at);
    x.times.request_start = Some(at);
    x.times.fin_received = Some(at + MS);
    x.times.end_read = Some(at + MS + 10_000);
    x.times.closed = Some(at + 2 * MS);
    x
}

/// What its client got, that much later.
fn downstream(n: u64, at: MonoNs, later: u64) -> Exchange {
    let mut x = upstream(n, at);
    x.time_ns = at + 3 * MS + later;
    x.cause = Cause::Status;
    x.role = Role::Accepted;
    x.conn = ConnId(2_000_000 + n);
    x.link = Some(Link {
        conn: ConnId(1_000_000 + n),
        exchange: 1,
        at_ns: at,
        how: LinkHow::SameTarget,
    });
    x.thread_last_upstream = Some((ConnId(1_000_000 + n), at + 2 * MS));
    x.local = ([192, 0, 2, 1], 80).into();
    x.remote = ([192, 0, 2, 7], 40_000).into();
    x.flags = flags::WATCH;
    x.state = 1;
    x.times = crate::event::Times {
        opened: Some(at - 5 * MS),
        established: Some(at - 5 * MS),
        request_start: Some(at - 2 * MS),
        response_start: Some(x.time_ns),
        response_last: Some(x.time_ns),
        ..Default::default()
    };
    x.status = Some(502);
    x.response_head = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".to_vec();
    x
}

fn exchange(exchange: Exchange) -> Input {
    Input::Kernel(KernelEvent::Exchange(Box::new(exchange)))
}

/// Inputs of an agent and the moments at which they come: two failures every `every`, the client of one
/// of them late; processes that come and go, a backend that dies.
fn story(seconds: u64, every: u64, late: u64) -> Vec<(MonoNs, Input)> {
    let proxy = |pid| {
        Input::Proxy(ProxyProcess {
            instance: Some(100),
            pid,
            kind: ProxyKind::Nginx,
        })
    };
    let exit = |pid, at_ns| {
        Input::Kernel(KernelEvent::Process(ProcessEvent::Exit {
            pid,
            code: None,
            signal: Some(9),
            at_ns,
        }))
    };
    let mut story = vec![
        (BEGAN, proxy(100)),
        (BEGAN + 1, proxy(101)),
        (
            BEGAN + 2,
            Input::Config(vec![ProxyConfig {
                proxy: ProxyKind::Nginx,
                file: "/etc/nginx/nginx.conf".into(),
                upstreams: Vec::new(),
                notes: vec!["A note.".into()],
            }]),
        ),
        (
            BEGAN + 3,
            Input::LocalBackend(LocalBackend {
                addr: upstream(0, BEGAN).remote,
                pids: vec![200],
            }),
        ),
        (BEGAN + S, exit(101, BEGAN + S)),
    ];
    for n in 0..seconds * S / every {
        let at = BEGAN + 2 * S + n * every;
        story.push((at, exchange(upstream(2 * n, at))));
        story.push((at, exchange(downstream(2 * n, at, 0))));
        story.push((at, exchange(upstream(2 * n + 1, at))));
        let client = downstream(2 * n + 1, at, late);
        story.push((client.time_ns, exchange(client)));
        story.push((at + 40 * MS, Input::Tick(at + 40 * MS)));
        if n % 50 == 20 {
            story.push((at + 50 * MS, exit(200, at + 50 * MS)));
        }
        let counted = BackendSnapshot {
            upstream: upstream(0, at).remote,
            connects: 0,
            exchanges: n,
            connect: Vec::new(),
            ttfb: Vec::new(),
            total: Vec::new(),
            idle_reused_max_us: None,
            idle_closed_min_us: None,
            idle_closed: 0,
        };
        story.push((at + 60 * MS, Input::Backends(vec![counted])));
    }
    let end = BEGAN + 2 * S + seconds * S;
    story.retain(|(at, _)| *at < end);
    story.sort_by_key(|(at, _)| *at);
    story
}

/// The cases as they are shown, by their moments.
fn cases(inputs: impl IntoIterator<Item = Input>) -> Vec<(MonoNs, String)> {
    let mut session = Session::new();
    let mut found = Vec::new();
    for input in inputs {
        for case in session.input(&input) {
            let text = serde_json::to_string(&session.case_document(&case)).unwrap();
            found.push((case.time_ns, text));
        }
    }
    found
}

fn written(snapshot: &Snapshot) -> Vec<Input> {
    let mut bytes = Vec::new();
    snapshot.write(&mut bytes).unwrap();
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let inputs = reader.by_ref().collect();
    assert_eq!(reader.tear(), None);
    inputs
}

/// Most clients get their answer at once, some wait.
const LATE: u64 = 100 * S;

const LIMITS: Limits = Limits {
    window_ns: 300 * S,
    bytes: 16 << 20,
};

/// Cases of the agent and of its snapshot at the end of the story, from the same moment on.
fn both(limits: Limits, story: &[(MonoNs, Input)]) -> (Vec<(MonoNs, String)>, Vec<Input>) {
    let mut back = LookBack::new(limits);
    for (at, input) in story {
        back.push(input, *at);
        let most = limits.bytes + 2 * CHUNK_BYTES;
        assert!(back.bytes() <= most, "{} bytes", back.bytes());
    }
    let now = story.last().unwrap().0;
    let inputs = written(&back.snapshot(&start(), now));
    let live = [Input::Start(start())].into_iter();
    let live = live.chain(story.iter().map(|(_, input)| input.clone()));
    let live = cases(live.chain([Input::End(now)]));
    (live, inputs)
}

fn since(inputs: &[Input]) -> MonoNs {
    let Some(Input::Since(since)) = inputs.get(1) else {
        panic!("{:?}", inputs.get(1));
    };
    *since
}

#[test]
fn a_snapshot_says_what_the_agent_said() {
    for (seconds, every, late, limits, whole) in [
        // Nothing was let go.
        (100, S, LATE, LIMITS, true),
        (2000, S, LATE, LIMITS, false),
        (2000, 7 * S, LATE, LIMITS, false),
        // Memory for less than the window.
        (
            2000,
            S,
            S,
            Limits {
                bytes: 64 << 10,
                ..LIMITS
            },
            false,
        ),
    ] {
        let story = story(seconds, every, late);
        let (mut live, inputs) = both(limits, &story);
        let since = since(&inputs);
        assert_eq!(whole, since <= BEGAN + S, "{seconds} {every}");
        live.retain(|(at, _)| *at >= since);
        let replayed = cases(inputs);
        assert!(live.len() > 10, "{seconds} {every}: {}", live.len());
        assert_eq!(replayed, live, "{seconds} {every} {limits:?}");
        let now = story.last().unwrap().0;
        if limits == LIMITS && !whole {
            let minutes = (now - since) / S;
            assert!((300..370).contains(&minutes), "{minutes} s are whole");
        }
    }
}

#[test]
fn a_snapshot_counts_its_own_time() {
    let (_, inputs) = both(LIMITS, &story(2000, S, LATE));
    let counted = inputs.iter().find_map(|input| match input {
        Input::Backends(backends) => Some(backends[0].exchanges),
        _ => None,
    });
    assert!((300..500).contains(&counted.unwrap()), "{counted:?}");
    let Input::Start(start) = &inputs[0] else {
        panic!("{:?}", inputs[0]);
    };
    let went_on = start.started_mono_ns - BEGAN;
    assert!(went_on > 1000 * S);
    assert_eq!(start.started_unix_ns - BEGAN_UNIX, went_on);
}

#[test]
fn less_can_be_kept_from_now_on() {
    let story = story(400, S, LATE);
    let mut back = LookBack::new(LIMITS);
    for (at, input) in &story {
        back.push(input, *at);
    }
    let (now, before) = (story.last().unwrap().0, back.bytes());
    let limits = Limits {
        window_ns: S,
        bytes: 8192,
    };
    back.set_limits(limits, now);
    assert!(back.bytes() < before);
    assert!(back.first().unwrap() > BEGAN + 100 * S);
    // Who was traced is still known.
    let inputs = written(&back.snapshot(&start(), now));
    let proxies = inputs
        .iter()
        .filter(|input| matches!(input, Input::Proxy(_)));
    assert_eq!(proxies.count(), 1);
}
