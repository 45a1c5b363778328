//! What failed while tracing stood by.

use tracer_ebpf::{LinkHow, flags};

use super::builder::{ClientBuilder, Story, client, fin, refused};
use crate::case::Confidence::{Strong, Weak};
use crate::case::Outcome::ErrorResponse;
use crate::diagnose::testing::{AttemptBuilder, at};
use crate::event::{Input, ProxyKind, ProxyProcess, Sign, Standby};

fn standby(ms: i64, woken: bool) -> Input {
    let remote = ([10, 0, 0, 5], 8080).into();
    Input::Standby(Standby {
        time_ns: at(ms),
        woken_by: woken.then_some(Sign::Connection { remote }),
    })
}

/// A story in which tracing stands by from the beginning.
fn asleep() -> Story {
    Story::usual().input(standby(-50_000, false))
}

/// What the kernel half makes of a failed connection.
fn unseen(attempt: AttemptBuilder) -> AttemptBuilder {
    attempt.with(|x| {
        x.flags |= flags::UNSEEN;
        x.request_head.clear();
    })
}

/// What it tells of a client's response.
fn got(status: u16, ms: i64) -> ClientBuilder {
    client(500).status(status, ms).with(|x| {
        x.flags |= flags::UNSEEN;
        x.request_head.clear();
        x.response_head.clear();
        x.request_bytes = 0;
        x.times.request_start = None;
    })
}

#[test]
fn the_failure_of_the_same_thread_explains_it() {
    for woken in [4, 6, 300] {
        let told = asleep()
            .up(unseen(fin(1, 5)))
            .down(got(502, 6))
            .input(standby(woken, true))
            .tell();
        let want = (
            ErrorResponse,
            Some(502),
            "fin-before-response",
            Weak,
            vec![1],
        );
        assert_eq!(told.one(), want);
        let case = &told.cases[0];
        assert!(case.verdict.inferred, "{case:?}");
        assert_eq!(case.attempts[0].exchange, None);
        assert_eq!(case.downstream.request, None);
    }
}

#[test]
fn the_proxy_may_let_go_behind_its_answer() {
    let told = asleep()
        .down(got(504, 900))
        .up(unseen(AttemptBuilder::sent().conn(1).closed(901)))
        .tell();
    let want = (ErrorResponse, Some(504), "response-timeout", Weak, vec![1]);
    assert_eq!(told.one(), want);
}

#[test]
fn refused_connections_are_seen_as_ever() {
    for kind in [ProxyKind::Nginx, ProxyKind::Envoy] {
        let envoy = Input::Proxy(ProxyProcess {
            instance: None,
            pid: 100,
            kind,
        });
        // The next one is no check because of the first.
        let told = asleep()
            .input(envoy)
            .up(refused(1, 5))
            .down(got(503, 6))
            .input(standby(7, true))
            .up(refused(2, 2005).linked(501, 1, LinkHow::LastRead))
            .down(
                client(501)
                    .with(|x| x.times.request_start = Some(at(2004)))
                    .status(503, 2006)
                    .thread_last(2, 2005),
            )
            .tell();
        let found: Vec<_> = told.short();
        assert_eq!(
            found,
            [
                (ErrorResponse, Some(503), "connect-refused", Weak, vec![1]),
                (ErrorResponse, Some(503), "connect-refused", Strong, vec![2]),
            ]
        );
    }
}

#[test]
fn tries_of_one_request() {
    let told = asleep()
        .up(unseen(fin(1, 5)))
        .up(refused(2, 5))
        .down(got(502, 6))
        .tell();
    let want = (
        ErrorResponse,
        Some(502),
        "connect-refused",
        Weak,
        vec![1, 2],
    );
    assert_eq!(told.one(), want);
}

#[test]
fn what_may_be_another_s_explains_nothing() {
    let other_thread = unseen(fin(1, 5)).with(|x| x.tid = 101);
    let other_time = unseen(fin(1, 5));
    let linked = unseen(fin(1, 5)).linked(501, 1, LinkHow::SameTarget);
    for (up, ms) in [(other_thread, 6), (other_time, 26), (linked, 6)] {
        assert!(asleep().up(up).down(got(502, ms)).tell().cases.is_empty());
    }
    // Two at once.
    let told = asleep()
        .up(unseen(fin(1, 5)))
        .up(unseen(fin(2, 5)).with(|x| x.times.opened = Some(at(3))))
        .down(got(502, 6))
        .tell();
    assert!(told.cases.is_empty());
    // Nothing: the backend's own answer, most likely.
    let told = asleep().down(got(502, 6)).tell();
    assert!(told.cases.is_empty());
}

#[test]
fn it_explains_nothing_that_was_seen() {
    let told = Story::usual()
        .up(unseen(fin(1, 5)))
        .down(client(500).status(502, 6).thread_last(1, 5))
        .tell();
    let (_, _, rule, _, attempts) = told.one();
    assert_ne!(rule, "fin-before-response");
    assert!(attempts.is_empty());
}

#[test]
fn a_request_of_unknown_length() {
    let told = asleep()
        .up(unseen(fin(1, 5)).with(|x| {
            x.flags |= flags::USED_BEFORE;
            x.request_bytes = 0;
            x.request_start_seq = 9000;
            (x.snd_una_at_end, x.write_seq_at_end) = (9000, 9000);
        }))
        .down(got(502, 6))
        .tell();
    assert_eq!(told.one().2, "fin-before-response");
    let summary = &told.cases[0].verdict.summary;
    assert!(summary.contains("arrived is not known"), "{summary}");
    let evidence = &told.cases[0].verdict.evidence;
    assert!(
        evidence.iter().any(|e| e.fact == "unseen-exchange"),
        "{evidence:?}"
    );
}
