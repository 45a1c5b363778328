//! Ten thousand connections that never speak: each costs a place in the tracer's tables, and none may
//! cost more than that.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use xtask::lab::capture::{Capture, Output};
use xtask::lab::client::{Client, Request};
use xtask::lab::matrix::BACKEND_COMMAND;
use xtask::lab::net::free_ports;
use xtask::lab::process::{Running, bound, raise_descriptors, wait_for};
use xtask::lab::proxy::{Kind, Options, Route};
use xtask::lab::ready::skip;
use xtask::lab::stand::Stand;

use crate::{ensure_no_loss, turn, why502};

const SILENT: usize = 10_000;

/// After so many, one speaks. It is accepted after them, so no queue is ever longer.
const STEP: usize = 100;

/// One end of all of them, and something over.
const DESCRIPTORS: usize = SILENT + 2000;

/// The whole of a test, proxies and captures included.
const MOST: Duration = Duration::from_secs(20);

/// The right to run, with descriptors enough for us and for what we start; `None`: skipped, and said
/// so.
fn turn_with_descriptors(kinds: &[Kind]) -> Option<MutexGuard<'static, ()>> {
    let turn = turn(kinds)?;
    let may = raise_descriptors(DESCRIPTORS);
    if may < DESCRIPTORS {
        skip(&format!(
            "{DESCRIPTORS} open files; there may be {may} (`ulimit -Hn`)"
        ));
        return None;
    }
    Some(turn)
}

/// Connects and says nothing. Every tenth will end with FIN; the others are reset, because each FIN
/// leaves a port that nobody else gets for a minute.
fn silent(to: SocketAddr, number: usize) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if !number.is_multiple_of(10) {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    socket
        .connect_timeout(&to.into(), Duration::from_secs(2))
        .with_context(|| format!("connection {number} to {to}"))?;
    Ok(socket)
}

/// All of them, and `speak` is called again and again meanwhile.
fn crowd(to: SocketAddr, speak: impl Fn(usize)) -> Vec<Socket> {
    (0..SILENT)
        .map(|number| {
            if number % STEP == STEP - 1 {
                speak(number);
            }
            silent(to, number).unwrap()
        })
        .collect()
}

/// What a capture says about the failures that it saw, and that it lost nothing.
#[track_caller]
fn stop(capture: Capture, want: &[(&str, &str, &str)]) {
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
    ensure_no_loss(&document);
    let cases = document["cases"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let told: Vec<_> = cases
        .iter()
        .map(|case| {
            let verdict = &case["verdict"];
            (
                text(&case["downstream"]["path"]),
                text(&verdict["rule"]),
                text(&verdict["confidence"]),
            )
        })
        .collect();
    let owned = |&(path, rule, confidence): &(&str, &str, &str)| {
        (path.to_owned(), rule.to_owned(), confidence.to_owned())
    };
    let want: Vec<_> = want.iter().map(owned).collect();
    assert_eq!(told, want, "{document}");
    assert_eq!(document["totals"]["cases"], want.len(), "{document}");
}

/// Descriptors that these processes have open.
fn open_files(pids: &[u32]) -> usize {
    let of = |pid: &u32| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    pids.iter().map(of).sum()
}

/// First they come while a capture runs, then they are there when one begins and go while it runs.
fn at_proxy(kind: Kind) {
    let Some(_turn) = turn_with_descriptors(&[kind]) else {
        return;
    };
    let started = Instant::now();
    let options = Options {
        workers: 2,
        clients: SILENT + 500,
        // The machine is busy with the crowd.
        response_ms: 5000,
        ..Options::default()
    };
    let stand = Stand::start(kind, options).unwrap();
    let pid = stand.proxy.pid().to_string();
    let begin = || {
        let args = ["--pid", &pid, "--format", "json"];
        Capture::start(&why502(), &args, Output::Collect).unwrap()
    };
    let ask = |route, path: &str, fails| {
        let met = stand.ask(route, &Request::get(path)).unwrap();
        // The proxies do not agree on which of the three.
        let failed = matches!(met.reply.status, Some(502..=504));
        let right = if fails {
            failed
        } else {
            met.reply.status == Some(200)
        };
        assert!(right, "{path}: {met:?}");
    };

    let capture = begin();
    let front = stand.proxy.front(Route::Fresh);
    let crowd = crowd(front, |number| {
        ask(Route::Fresh, &format!("/ok/among-{number}"), false);
        if number == SILENT / 2 - 1 {
            ask(Route::Fresh, "/fin/among", true);
        }
    });
    ask(Route::Pooled, "/ok/behind", false);
    ask(Route::Fresh, "/rst/behind", true);
    let held = open_files(&stand.proxy.workers());
    assert!(held >= SILENT, "{} holds {held} files", kind.name());
    stop(
        capture,
        &[
            ("/fin/among", "fin-before-response", "strong"),
            ("/rst/behind", "rst-before-response", "strong"),
        ],
    );

    let capture = begin();
    ask(Route::Fresh, "/ok/later", false);
    ask(Route::Fresh, "/fin/later", true);
    drop(crowd);
    let workers = stand.proxy.workers();
    let gone = wait_for(Duration::from_secs(5), || {
        Ok((open_files(&workers) < SILENT / 10).then_some(()))
    });
    assert!(gone.unwrap().is_some(), "{} keeps them", kind.name());
    ask(Route::Fresh, "/ok/last", false);
    ask(Route::Refused, "/ok/refused", true);
    stop(
        capture,
        &[
            ("/fin/later", "fin-before-response", "strong"),
            ("/ok/refused", "connect-refused", "strong"),
        ],
    );
    let took = started.elapsed();
    assert!(took < MOST, "{took:?}");
}

#[test]
fn ten_thousand_silent_clients_of_nginx() {
    at_proxy(Kind::Nginx);
}

#[test]
fn ten_thousand_silent_clients_of_haproxy() {
    at_proxy(Kind::Haproxy);
}

#[test]
fn ten_thousand_silent_clients_of_envoy() {
    at_proxy(Kind::Envoy);
}

/// That they do take places: in a table that has too few for them, those left out are counted.
#[test]
fn silent_clients_that_find_no_place_are_counted() {
    let Some(_turn) = turn_with_descriptors(&[Kind::Nginx]) else {
        return;
    };
    const PLACES: usize = 4000;
    let options = Options {
        clients: SILENT + 500,
        ..Options::default()
    };
    let stand = Stand::start(Kind::Nginx, options).unwrap();
    let (pid, places) = (stand.proxy.pid().to_string(), PLACES.to_string());
    let args = ["--pid", &pid, "--max-connections", &places];
    let args = [&args[..], &["--format", "json"]].concat();
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    let crowd = crowd(stand.proxy.front(Route::Fresh), |number| {
        let path = format!("/ok/among-{number}");
        stand.ask(Route::Fresh, &Request::get(&path)).unwrap();
    });
    let ended = capture.stop().unwrap();
    drop(crowd);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
    let left_out = document["losses"]["conn_table"].as_u64();
    let least = (SILENT - PLACES) as u64;
    assert!(left_out >= Some(least), "{document}");
    assert_eq!(document["totals"]["cases"], 0, "{document}");
}

/// The same on the host of a backend: the balancer connects and asks nothing.
#[test]
fn ten_thousand_silent_connections_to_a_backend() {
    let Some(_turn) = turn_with_descriptors(&[]) else {
        return;
    };
    let started = Instant::now();
    // A process of its own: no process need hold both ends.
    let addr = free_ports(1).unwrap()[0];
    let backend = Running::start(
        bound(Path::new(env!("CARGO_BIN_EXE_xtask")))
            .args([BACKEND_COMMAND, &addr.to_string()])
            .stdin(Stdio::null()),
    )
    .unwrap();
    let listens = wait_for(Duration::from_secs(5), || {
        Ok(Client::connect(addr).is_ok().then_some(()))
    });
    assert!(listens.unwrap().is_some(), "the backend does not listen");
    let pid = backend.pid().to_string();
    let begin = || {
        let args = ["--role", "backend", "--pid", &pid, "--format", "json"];
        Capture::start(&why502(), &args, Output::Collect).unwrap()
    };
    let ask = |path: &str| {
        let mut client = Client::connect(addr).unwrap();
        // A backend that resets may do so before the answer is read.
        let _ = client.send(&Request::get(path));
    };

    let capture = begin();
    let crowd = crowd(addr, |number| {
        ask(&format!("/ok/among-{number}"));
        if number == SILENT / 2 - 1 {
            ask("/fin/among");
        }
    });
    ask("/rst/behind");
    let held = open_files(&[backend.pid()]);
    assert!(held >= SILENT, "the backend holds {held} files");
    stop(
        capture,
        &[
            ("/fin/among", "fin-before-response", "strong"),
            ("/rst/behind", "rst-before-response", "strong"),
        ],
    );

    let capture = begin();
    ask("/ok/later");
    ask("/fin/later");
    drop(crowd);
    let gone = wait_for(Duration::from_secs(5), || {
        Ok((open_files(&[backend.pid()]) < SILENT / 10).then_some(()))
    });
    assert!(gone.unwrap().is_some(), "the backend keeps them");
    ask("/ok/last");
    ask("/rst/last");
    stop(
        capture,
        &[
            ("/fin/later", "fin-before-response", "strong"),
            ("/rst/last", "rst-before-response", "strong"),
        ],
    );
    let took = started.elapsed();
    assert!(took < MOST, "{took:?}");
}
