//! Processes and connections that come and go around a capture.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use xtask::lab::capture::{Capture, Held, Output};
use xtask::lab::client::{Client, Request};
use xtask::lab::process::wait_for;
use xtask::lab::proxy::{Kind, Options, Proxy, Route};
use xtask::lab::stand::{Behind, Stand};

use crate::{cases_of, rules, turn, why502};

fn capture(args: &[&str]) -> Capture {
    Capture::start(
        &why502(),
        &[&["--format", "ndjson"], args].concat(),
        Output::Collect,
    )
    .unwrap()
}

#[test]
fn several_proxies_found_by_themselves() {
    let Some(_turn) = turn(&Kind::ALL) else {
        return;
    };
    let behind = Behind::start().unwrap();
    let proxies =
        Kind::ALL.map(|kind| Proxy::start(kind, behind.upstreams(), Options::default()).unwrap());
    let capture = capture(&["--proxy", "auto"]);
    for proxy in &proxies {
        let mut client = Client::connect(proxy.front(Route::Fresh)).unwrap();
        client.send(&Request::get("/rst/auto")).unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    for proxy in &proxies {
        let cases = cases_of(&ended, proxy);
        let name = proxy.kind().name();
        assert_eq!(
            rules(&cases),
            ["rst-before-response"],
            "{name}: {}",
            ended.stdout()
        );
        assert_eq!(cases[0]["proxy"]["kind"], name);
    }
}

#[test]
fn reloaded_and_new_proxies_are_seen() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let stand = Stand::start(Kind::Nginx, Options::default()).unwrap();
    let capture = capture(&["--proxy", "nginx"]);

    // New workers of a master that is known.
    let before = stand.proxy.workers();
    stand.proxy.signal(Signal::HUP).unwrap();
    let replaced = wait_for(Duration::from_secs(5), || {
        let now = stand.proxy.workers();
        let new = !now.is_empty() && now.iter().all(|pid| !before.contains(pid));
        Ok(new.then_some(()))
    });
    assert!(
        replaced.unwrap().is_some(),
        "NGINX did not replace its workers"
    );
    stand
        .ask(Route::Fresh, &Request::get("/fin/reloaded"))
        .unwrap();

    // A whole new proxy.
    let upstreams = stand.behind.upstreams();
    let second = Proxy::start(Kind::Nginx, upstreams, Options::default()).unwrap();
    let mut client = Client::connect(second.front(Route::Fresh)).unwrap();
    client.send(&Request::get("/fin/started")).unwrap();

    // And what is left of the first when it is gone: nothing to say, no error.
    let Stand { proxy, behind } = stand;
    std::thread::sleep(Duration::from_millis(500));
    let fronts = Route::ALL.map(|route| proxy.front(route).to_string());
    drop(proxy);
    client.send(&Request::get("/fin/after")).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let of_first: Vec<_> = ended
        .cases()
        .into_iter()
        .filter(|case| {
            fronts
                .iter()
                .any(|front| case["downstream"]["local"] == json!(front))
        })
        .collect();
    assert_eq!(
        rules(&of_first),
        ["fin-before-response"],
        "{}",
        ended.stdout()
    );
    let of_second = cases_of(&ended, &second);
    assert_eq!(
        rules(&of_second),
        ["fin-before-response"; 2],
        "{}",
        ended.stdout()
    );
    drop(behind);
}

#[test]
fn connections_older_than_the_capture() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let stand = Stand::start(Kind::Nginx, Options::default()).unwrap();
    let warm = "/ok/before-capture";
    let mut client = Client::connect(stand.proxy.front(Route::Pooled)).unwrap();
    client.send(&Request::post(warm, b"a=1")).unwrap();
    let pid = stand.proxy.pid().to_string();
    let capture = capture(&["--pid", &pid]);
    let local = client.local();
    let met = stand
        .race_lost_fin_on(client, &Request::post("/ok/after-capture", b"a=1"))
        .unwrap();
    assert_eq!(met.reply.status, Some(502));
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    let cases = ended.cases();
    assert_eq!(
        rules(&cases),
        ["keepalive-race"],
        "{}\n{}",
        ended.stdout(),
        ended.stderr
    );
    let attempt = &cases[0]["attempts"][0];
    let used = &stand.behind.main.served_for(warm)[0];
    assert_eq!(attempt["adopted"], true, "{attempt}");
    assert_eq!(attempt["reused"], true, "{attempt}");
    assert_eq!(attempt["local"], json!(used.peer), "{attempt}");
    assert_eq!(cases[0]["downstream"]["client"], json!(local));
    assert_eq!(cases[0]["status"], 502);
}

#[test]
fn nothing_stays_after_a_kill() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let stand = Stand::start(Kind::Nginx, Options::default()).unwrap();
    let pid = stand.proxy.pid().to_string();
    let capture = capture(&["--pid", &pid]);
    let held = Held::by(capture.pid());
    assert!(
        !held.links.is_empty() && !held.programs.is_empty(),
        "{held:?}"
    );
    assert_eq!(held.still_there(), held);
    capture.kill().unwrap();
    let mut left = held.clone();
    let gone = wait_for(Duration::from_secs(5), || {
        left = held.still_there();
        Ok((left == Held::default()).then_some(()))
    });
    assert!(gone.unwrap().is_some(), "still attached: {left:?}");
}

#[test]
fn an_end_is_reached_in_every_way() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let stand = Stand::start(Kind::Nginx, Options::default()).unwrap();
    let pid = stand.proxy.pid().to_string();

    let counted = capture(&["--pid", &pid, "--count", "2"]);
    for path in ["/fin/1", "/fin/2"] {
        stand.ask(Route::Fresh, &Request::get(path)).unwrap();
    }
    let ended = counted.wait().unwrap();
    assert_eq!(
        (ended.code, ended.cases().len()),
        (0, 2),
        "{}",
        ended.stderr
    );

    let timed = capture(&["--pid", &pid, "--duration", "500ms"]);
    assert_eq!(timed.wait().unwrap().code, 0);

    let with_command = capture(&["--pid", &pid, "--fail-on", "case", "--", "sleep", "1"]);
    stand.ask(Route::Fresh, &Request::get("/fin/3")).unwrap();
    let ended = with_command.wait().unwrap();
    assert_eq!(
        (ended.code, ended.cases().len()),
        (1, 1),
        "{}",
        ended.stderr
    );
}
