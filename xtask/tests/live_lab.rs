//! Does each fault, through each real proxy, give the status and the log line that the catalogue
//! says? Needs root (packet filter, port ownership) and the four programs; without them the tests
//! say so loudly and, under CI, fail.
#![expect(
    clippy::unwrap_used,
    reason = "test helpers fail where they stand, like the tests"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use xtask::lab::client::{Client, ReplyEnd, Request};
use xtask::lab::proxy::{Kind, Options, Route};
use xtask::lab::ready;
use xtask::lab::stand::Stand;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stand, or `None` where this machine cannot have it.
fn stand(kind: Kind) -> Option<Stand> {
    ready::or_skip(&[kind]).then(|| Stand::start(kind, Options::default()).unwrap())
}

struct Row {
    route: Route,
    target: &'static str,
    status: u16,
    complete: bool,
    rule: &'static str,
}

const fn row(
    route: Route,
    target: &'static str,
    status: u16,
    complete: bool,
    rule: &'static str,
) -> Row {
    Row {
        route,
        target,
        status,
        complete,
        rule,
    }
}

fn check(stand: &Stand, rows: &[Row]) {
    let kind = stand.proxy.kind();
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let path = format!("{}/row-{number}", row.target);
        let met = stand.ask(row.route, &Request::get(&path)).unwrap();
        let log = stand.log_of(&path, &met).unwrap();
        let rules = log.allows(kind);
        if (met.reply.status, met.reply.complete) != (Some(row.status), row.complete)
            || !rules.contains(&row.rule)
        {
            wrong.push(format!(
                "{path} {:?}: wanted {} complete {} {}\n   got {met:?}\n   log {log:#?} -> {rules:?}",
                row.route, row.status, row.complete, row.rule
            ));
        }
    }
    assert!(wrong.is_empty(), "{}: {}", kind.name(), wrong.join("\n"));
}

/// Retries lead to the second backend and the client gets its answer.
fn check_retries(stand: &Stand) {
    for (route, target) in [(Route::Retry, "/fin/r"), (Route::RetryRefused, "/ok/r")] {
        let met = stand.ask(route, &Request::get(target)).unwrap();
        assert_eq!(met.reply.status, Some(200), "{target} {met:?}");
        assert_eq!(
            stand.behind.second.served_for(target).len(),
            1,
            "{target} {met:?}"
        );
    }
}

#[test]
fn nginx() {
    let _turn = turn();
    let Some(stand) = stand(Kind::Nginx) else {
        return;
    };
    check(
        &stand,
        &[
            row(Route::Refused, "/ok", 502, true, "connect-refused"),
            row(Route::BlackHole, "/ok", 504, true, "connect-timeout"),
            row(Route::Fresh, "/fin", 502, true, "fin-before-response"),
            row(Route::Fresh, "/rst", 502, true, "rst-before-response"),
            row(Route::Fresh, "/partial-header", 502, true, "partial-header"),
            row(
                Route::Fresh,
                "/partial-header-rst",
                502,
                true,
                "partial-header",
            ),
            row(Route::Fresh, "/hang", 504, true, "response-timeout"),
            row(Route::Fresh, "/body-fin", 200, false, "body-truncated-fin"),
            row(Route::Fresh, "/body-rst", 200, false, "body-truncated-rst"),
            row(
                Route::Fresh,
                "/chunked-fin",
                200,
                false,
                "body-truncated-fin",
            ),
            row(Route::Fresh, "/502", 502, true, "application-502"),
            row(Route::Pooled, "/503", 503, true, "application-502"),
            row(Route::Nobody, "/ok", 502, true, "unexplained"),
        ],
    );

    // Nothing lost, the order of events kept: an ordinary race.
    stand.drain().unwrap();
    let post = Request::post("/ok/race-post", b"a=1");
    let met = stand
        .race_paused(Route::Pooled, &Request::get("/ok/warm-1"), &post)
        .unwrap();
    assert_eq!(met.reply.status, Some(502), "{met:?}");
    let log = stand.log_of("/ok/race-post", &met).unwrap();
    assert!(
        log.allows(Kind::Nginx).contains(&"keepalive-race"),
        "{log:#?}"
    );
    let served = stand.behind.main.served();
    assert!(served.iter().all(|one| one.path != "/ok/race-post"));

    // A GET is sent again, on a new connection.
    stand.drain().unwrap();
    let get = Request::get("/ok/race-get");
    let met = stand
        .race_lost_fin(Route::Pooled, &Request::get("/ok/warm-2"), &get)
        .unwrap();
    assert_eq!(met.reply.status, Some(200), "{met:?}");
    let log = stand.log_of("/ok/race-get", &met).unwrap();
    let access = log.access.unwrap();
    assert!(access.contains("\"502, 200\""), "{access}");
    assert_eq!(stand.behind.main.served_for("/ok/race-get").len(), 1);

    check_retries(&stand);
}

#[test]
fn haproxy() {
    let _turn = turn();
    let Some(stand) = stand(Kind::Haproxy) else {
        return;
    };
    check(
        &stand,
        &[
            row(Route::Refused, "/ok", 503, true, "connect-refused"),
            row(Route::BlackHole, "/ok", 503, true, "connect-timeout"),
            row(Route::Fresh, "/fin", 502, true, "fin-before-response"),
            row(Route::Fresh, "/rst", 502, true, "rst-before-response"),
            row(Route::Fresh, "/partial-header", 502, true, "partial-header"),
            row(Route::Fresh, "/hang", 504, true, "response-timeout"),
            row(Route::Fresh, "/body-fin", 200, false, "body-truncated-fin"),
            row(Route::Fresh, "/body-rst", 200, false, "body-truncated-rst"),
            row(
                Route::Fresh,
                "/chunked-fin",
                200,
                false,
                "body-truncated-fin",
            ),
            row(Route::Fresh, "/502", 502, true, "application-502"),
            row(Route::Nobody, "/ok", 503, true, "unexplained"),
        ],
    );
    check_retries(&stand);

    // Not the first request of its client: dropped without a word.
    stand.drain().unwrap();
    let request = Request::get("/ok/race-1");
    let met = stand
        .race_lost_fin(Route::Pooled, &Request::get("/ok/warm-1"), &request)
        .unwrap();
    assert_eq!(
        (met.reply.bytes, met.reply.end),
        (0, ReplyEnd::Fin),
        "{met:?}"
    );
    let log = stand.log_of("/ok/race-1", &met).unwrap();
    assert_eq!(log.access, None);

    // The first one, over a connection that somebody else has used: 502.
    stand.drain().unwrap();
    stand
        .ask(Route::Shared, &Request::get("/ok/warm-2"))
        .unwrap();
    let client = Client::connect(stand.proxy.front(Route::Shared)).unwrap();
    let met = stand
        .race_lost_fin_on(client, &Request::get("/ok/race-2"))
        .unwrap();
    assert_eq!(met.reply.status, Some(502), "{met:?}");
    let log = stand.log_of("/ok/race-2", &met).unwrap();
    assert!(
        log.allows(Kind::Haproxy).contains(&"keepalive-race"),
        "{log:#?}"
    );
}

#[test]
fn envoy() {
    let _turn = turn();
    let Some(stand) = stand(Kind::Envoy) else {
        return;
    };
    check(
        &stand,
        &[
            row(Route::Refused, "/ok", 503, true, "connect-refused"),
            row(Route::BlackHole, "/ok", 503, true, "connect-timeout"),
            row(Route::Fresh, "/fin", 503, true, "fin-before-response"),
            row(Route::Fresh, "/rst", 503, true, "rst-before-response"),
            row(Route::Fresh, "/partial-header", 502, true, "partial-header"),
            row(Route::Fresh, "/hang", 504, true, "response-timeout"),
            row(Route::Fresh, "/body-fin", 200, false, "body-truncated-fin"),
            row(Route::Fresh, "/body-rst", 200, false, "body-truncated-rst"),
            row(
                Route::Fresh,
                "/chunked-fin",
                200,
                false,
                "body-truncated-fin",
            ),
            row(Route::Fresh, "/502", 502, true, "application-502"),
            row(Route::Nobody, "/ok", 503, true, "unexplained"),
        ],
    );
    check_retries(&stand);

    stand.drain().unwrap();
    let request = Request::get("/ok/race");
    let met = stand
        .race_lost_fin(Route::Pooled, &Request::get("/ok/warm"), &request)
        .unwrap();
    assert_eq!(met.reply.status, Some(503), "{met:?}");
    let log = stand.log_of("/ok/race", &met).unwrap();
    assert!(
        log.allows(Kind::Envoy).contains(&"keepalive-race"),
        "{log:#?}"
    );
}

#[test]
fn apache() {
    let _turn = turn();
    let Some(stand) = stand(Kind::Apache) else {
        return;
    };
    check(
        &stand,
        &[
            row(Route::Refused, "/ok", 503, true, "connect-refused"),
            row(Route::BlackHole, "/ok", 503, true, "connect-timeout"),
            row(Route::Fresh, "/fin", 502, true, "fin-before-response"),
            row(Route::Fresh, "/rst", 502, true, "rst-before-response"),
            row(Route::Fresh, "/partial-header", 502, true, "partial-header"),
            row(Route::Fresh, "/hang", 502, true, "response-timeout"),
            row(Route::Fresh, "/body-fin", 200, false, "body-truncated-fin"),
            row(Route::Fresh, "/body-rst", 200, false, "body-truncated-rst"),
            row(
                Route::Fresh,
                "/chunked-fin",
                200,
                false,
                "body-truncated-fin",
            ),
            row(Route::Fresh, "/502", 502, true, "application-502"),
            row(Route::Nobody, "/ok", 503, true, "unexplained"),
            row(Route::RetryRefused, "/ok", 200, true, "connect-refused"),
        ],
    );

    stand.drain().unwrap();
    let request = Request::get("/ok/race");
    let met = stand
        .race_lost_fin(Route::Pooled, &Request::get("/ok/warm"), &request)
        .unwrap();
    assert_eq!(
        (met.reply.bytes, met.reply.end),
        (0, ReplyEnd::Fin),
        "{met:?}"
    );
    let log = stand.log_of("/ok/race", &met).unwrap();
    assert!(
        log.allows(Kind::Apache).contains(&"keepalive-race"),
        "{log:#?}"
    );
}
