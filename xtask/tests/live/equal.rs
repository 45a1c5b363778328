//! The same page, asked for by many at the same time, and some of them get nothing: only the order of events tells
//! which backend connection worked for whom.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use xtask::lab::backend::{Backend, FAULT_HEADER, Served};
use xtask::lab::capture::{Capture, Output};
use xtask::lab::client::Client;
use xtask::lab::net::free_ports;
use xtask::lab::proxy::{Kind, Options, Route};
use xtask::lab::stand::Stand;

use crate::logs::start_caddy;
use crate::{turn, turn_with, why502};

const CLIENTS: usize = 6;
const EACH: usize = 60;

/// A request line, and what goes behind the head.
type Message = (&'static str, &'static str);

const GET: Message = ("GET /same HTTP/1.1\r\n", "");
/// No proxy tries that again by itself.
const POST: Message = ("POST /same HTTP/1.1\r\nContent-Length: 1\r\n", "x");

#[test]
fn at_nginx() {
    at(Kind::Nginx);
}

#[test]
fn at_haproxy() {
    at(Kind::Haproxy);
}

#[test]
fn at_envoy() {
    at(Kind::Envoy);
}

#[test]
fn at_apache() {
    at(Kind::Apache);
}

/// Its requests move from thread to thread, so that not even their order is known.
#[test]
fn at_caddy() {
    let Some(_turn) = turn_with(&[], &["caddy"]) else {
        return;
    };
    let backend = Backend::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let front = free_ports(1).unwrap()[0];
    let config = format!(
        "{{\n  admin off\n  auto_https off\n}}\nhttp://:{port} {{\n  bind {ip}\n  reverse_proxy {main}\n}}\n",
        port = front.port(),
        ip = front.ip(),
        main = backend.addr(),
    );
    let _caddy = start_caddy(dir.path(), front, &config);
    let args = ["--proxy", "caddy", "--format", "ndjson"];
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    let asked = ask(front, POST);
    judge("caddy", capture, asked, &backend.served(), CLIENTS * EACH);
}

fn at(kind: Kind) {
    let Some(_turn) = turn(&[kind]) else {
        return;
    };
    for route in [Route::Fresh, Route::Pooled] {
        let stand = Stand::start(kind, Options::default()).unwrap();
        let pid = stand.proxy.pid().to_string();
        let args = ["--pid", &pid, "--format", "ndjson"];
        let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
        let asked = ask(stand.proxy.front(route), GET);
        let what = format!("{}, {route:?}", kind.name());
        // An Envoy gives a request to whichever connection is ready first.
        let guesses_max = match (kind, route) {
            (Kind::Envoy, Route::Pooled) => CLIENTS * EACH / 20,
            _ => 0,
        };
        let served = stand.behind.main.served();
        judge(&what, capture, asked, &served, guesses_max);
    }
}

/// A client, the path that the backend was told, and the rule if it failed.
type Asked = (SocketAddr, String, Option<&'static str>);

fn ask(front: SocketAddr, (line, body): Message) -> Vec<Asked> {
    const LUCK: [(&str, Option<&str>); 5] = [
        ("/ok", None),
        ("/fin", Some("fin-before-response")),
        ("/slow", None),
        ("/ok", None),
        ("/rst", Some("rst-before-response")),
    ];
    let ask = move |client: usize, number: usize| {
        let (fault, rule) = LUCK[(client + number) % LUCK.len()];
        let fault = format!("{fault}/{client}-{number}");
        let text = format!("{line}Host: lab.test\r\n{FAULT_HEADER}: {fault}\r\n\r\n{body}");
        // An address of its own: ports come back soon.
        let from = Ipv4Addr::new(127, 1, client as u8, number as u8 + 1);
        let mut client = Client::connect_from((from, 0).into(), front).unwrap();
        client.write_raw(text.as_bytes()).unwrap();
        let reply = client.read(false);
        assert_eq!(reply.status == Some(200), rule.is_none(), "{reply:?}");
        (client.local(), fault, rule)
    };
    std::thread::scope(|scope| {
        let each: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || (0..EACH).map(|n| ask(client, n)).collect::<Vec<_>>())
            })
            .collect();
        let each = each.into_iter();
        each.flat_map(|client| client.join().unwrap()).collect()
    })
}

/// Every failure has its case, and what is called sure is so. A guess among equal requests may be wrong now and
/// then, and is weak.
fn judge(what: &str, capture: Capture, asked: Vec<Asked>, served: &[Served], guesses_max: usize) {
    std::thread::sleep(Duration::from_millis(800));
    let ended = capture.stop().unwrap();
    let mut cases = ended.cases();
    let (mut sure, mut guesses, mut missed) = (Vec::new(), Vec::new(), Vec::new());
    let requests = asked.len();
    for (client, fault, rule) in asked {
        let (mine, others): (Vec<_>, Vec<_>) = cases
            .into_iter()
            .partition(|case| case["downstream"]["client"] == json!(client));
        cases = others;
        let peers: Vec<_> = served
            .iter()
            .filter(|one| one.path == fault)
            .map(|one| json!(one.peer))
            .collect();
        let is_right = |case: &Value| {
            // On a reused connection the proxy may have tried again.
            let attempts = case["attempts"].as_array().unwrap();
            case["verdict"]["rule"] == json!(rule)
                && attempts.len() == peers.len()
                && attempts.iter().all(|one| peers.contains(&one["local"]))
        };
        match &mine[..] {
            [] if rule.is_none() => {}
            [case] if is_right(case) => {}
            [case] if case["verdict"]["confidence"] == "weak" => guesses.push(fault),
            [case] if case["verdict"]["rule"] == "unexplained" => missed.push(fault),
            _ => sure.push(format!("{fault}, {rule:?}, {peers:?}: {}", json!(mine))),
        }
    }
    sure.extend(cases.iter().map(|case| format!("nobody expected {case}")));
    let skipped: u64 = ended
        .of_type("loss")
        .into_iter()
        .filter(|(_, loss)| loss["name"] == "hook_skipped")
        .filter_map(|(_, loss)| loss["count"].as_u64())
        .sum();
    eprintln!(
        "{what}: of {requests} {} guessed wrong, {} without a cause, {} wrong; the kernel left out {skipped} calls",
        guesses.len(),
        missed.len(),
        sure.len()
    );
    // A request that was not seen to be sent is taken for one that waits.
    let allowed = 2 * skipped as usize;
    assert!(
        sure.len() <= allowed,
        "{what}: {} wrong and sure\n{}",
        sure.len(),
        sure.join("\n")
    );
    assert!(
        guesses.len() + missed.len() <= guesses_max,
        "{what}: {guesses:?} {missed:?}"
    );
}
