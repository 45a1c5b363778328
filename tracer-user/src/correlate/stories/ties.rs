//! How failure and response are tied, and how sure that is.

use tracer_ebpf::{Cause, LinkHow};

use super::builder::{GET, Story, client, fin, refused};
use crate::case::Confidence::{Exact, None as NoTie, Strong, Weak};
use crate::case::Outcome::ErrorResponse;
use crate::diagnose::testing::{AttemptBuilder, at};
use crate::event::Input;

const SAME: LinkHow = LinkHow::SameTarget;
const LAST_READ: LinkHow = LinkHow::LastRead;

#[test]
fn exact_by_request_id() {
    let head = "GET /b HTTP/1.1\r\nX-Request-Id: abc\r\n\r\n";
    for how in [SAME, LAST_READ, LinkHow::None] {
        let up = fin(1, 30).request(head);
        let up = if how == LinkHow::None {
            up
        } else {
            up.linked(500, 1, how)
        };
        let told = Story::usual()
            .up(up)
            .down(
                client(500)
                    .status(502, 31)
                    .with(|x| x.request_head = head.as_bytes().to_vec()),
            )
            .tell();
        assert_eq!(told.one().3, Exact, "{how:?}");
    }
}

#[test]
fn a_guessed_link_needs_the_thread() {
    for (last, want) in [(Some(1), Strong), (Some(7), Weak), (None, Weak)] {
        let mut down = client(500).status(502, 1);
        if let Some(conn) = last {
            down = down.thread_last(conn, 0);
        }
        let told = Story::usual()
            .up(refused(1, 0).linked(500, 1, LAST_READ))
            .down(down)
            .tell();
        assert_eq!(told.one().3, want, "{last:?}");
    }
}

#[test]
fn one_of_several_equal_requests_is_a_guess() {
    let tell = |status, last| {
        Story::usual()
            .up(fin(1, 30).linked(500, 1, LinkHow::EqualTarget))
            .down(client(500).status(status, 31).thread_last(last, 30))
            .tell()
    };
    // Whatever the thread did last.
    for last in [1, 7] {
        let told = tell(502, last);
        assert_eq!(told.one().3, Weak);
        let evidence = &told.cases[0].verdict.evidence;
        assert!(evidence.iter().any(|e| e.fact == "equal-requests"));
    }
    // That a retry hid it is no guess worth a case.
    assert!(tell(200, 1).cases.is_empty());
}

#[test]
fn strong_by_thread_order_without_a_link() {
    let told = Story::usual()
        .up(refused(1, 0))
        .down(client(500).status(503, 1).thread_last(1, 0))
        .tell();
    assert_eq!(
        told.one(),
        (ErrorResponse, Some(503), "connect-refused", Strong, vec![1])
    );
}

#[test]
fn what_was_last_on_the_thread_a_while_ago_is_weak() {
    let told = |ms| {
        Story::usual()
            .up(refused(1, 1).linked(500, 1, LinkHow::LastRead))
            .down(client(500).status(503, ms).thread_last(1, 1))
            .tell()
            .one()
    };
    assert_eq!((told(3).2, told(3).3), ("connect-refused", Strong));
    assert_eq!((told(1500).2, told(1500).3), ("connect-refused", Weak));
}

#[test]
fn two_failures_in_one_turn_are_only_candidates() {
    // One event loop turn read both failures and then wrote both responses.
    let told = Story::usual()
        .up(refused(1, 0).with(|x| x.times.opened = Some(at(-1))))
        .up(refused(2, 0).with(|x| x.times.opened = Some(at(-1))))
        .down(client(500).status(503, 1).thread_last(2, 0))
        .tell();
    let (_, _, rule, confidence, conns) = told.one();
    assert_eq!(
        (rule, confidence, conns),
        ("connect-refused", Weak, vec![1, 2])
    );
    assert!(
        told.cases[0]
            .verdict
            .evidence
            .iter()
            .any(|e| e.fact == "candidates")
    );
}

#[test]
fn a_failure_of_another_client_is_not_taken() {
    let told = Story::usual()
        .up(fin(1, 30).linked(500, 1, SAME))
        .up(fin(2, 30))
        .down(client(500).status(502, 31).thread_last(2, 30))
        .tell();
    assert_eq!(told.one().4, [1]);
    let told = Story::usual()
        .up(fin(2, 30).linked(501, 1, SAME))
        .down(client(500).status(502, 31).thread_last(2, 30))
        .tell();
    assert_eq!((told.one().2, told.one().4), ("unexplained", vec![]));
}

#[test]
fn weak_by_process_and_time() {
    let other_thread = |conn, ms| refused(conn, ms).with(|x| x.tid = 101);
    let told = Story::usual()
        .up(other_thread(1, 3))
        .up(other_thread(2, 5))
        // Before the request, after the response, another process.
        .up(other_thread(3, -50))
        .up(other_thread(4, 60))
        .up(other_thread(5, 4).with(|x| x.pid = 7))
        .down(client(500).status(503, 6))
        .tell();
    let (_, _, rule, confidence, conns) = told.one();
    assert_eq!(
        (rule, confidence, conns),
        ("connect-refused", Weak, vec![1, 2])
    );
    // Candidates are not used up.
    assert_eq!(told.count("pending_expired"), 5);
}

#[test]
fn no_candidates_when_another_connection_took_the_request_up() {
    let told = Story::usual()
        .up(refused(1, 3).with(|x| x.tid = 101))
        .down(client(500).status(503, 6).served_by(9, 4, 0))
        .tell();
    assert_eq!(
        told.one(),
        (ErrorResponse, Some(503), "unexplained", NoTie, vec![])
    );
    assert_eq!(told.cases[0].verdict.evidence[0].fact, "no-failure-seen");
}

#[test]
fn a_timeout_that_the_proxy_closes_after_its_answer() {
    let told = Story::usual()
        .up(AttemptBuilder::sent()
            .conn(1)
            .request(GET)
            .closed(1002)
            .linked(500, 1, SAME))
        .down(client(500).status(504, 1000).served_by(1, 1, 0))
        .tell();
    assert_eq!(
        told.one(),
        (
            ErrorResponse,
            Some(504),
            "response-timeout",
            Strong,
            vec![1]
        )
    );
}

#[test]
fn the_application_answers_after_a_failed_attempt() {
    let answer = AttemptBuilder::sent()
        .conn(2)
        .with(|x| {
            x.cause = Cause::Status;
            x.times.opened = Some(at(40));
            x.times.established = Some(at(40));
            x.times.request_start = Some(at(40));
            x.time_ns = at(60);
        })
        .response(502, "HTTP/1.1 502 X\r\n\r\n", 0)
        .with(|x| x.times.response_start = Some(at(60)));
    let told = Story::usual()
        .up(fin(1, 30).linked(500, 1, SAME))
        .up(answer.linked(500, 1, SAME))
        .down(client(500).status(502, 61).served_by(2, 1, 40))
        .tell();
    let (_, _, rule, _, conns) = told.one();
    assert_eq!((rule, conns), ("application-502", vec![1, 2]));
    assert!(
        told.cases[0]
            .verdict
            .evidence
            .iter()
            .any(|e| e.fact == "earlier-attempt" && e.text.contains("fin-before-response"))
    );
}

#[test]
fn lost_records_weaken_what_rests_on_order_alone() {
    let lost = |count| Input::Losses(vec![("ring_upstream".to_owned(), count)]);
    let by_order = |count| {
        Story::usual()
            .input(lost(count))
            .up(refused(1, 30))
            .down(client(500).status(502, 31).thread_last(1, 30))
            .tell()
            .one()
            .3
    };
    assert_eq!(by_order(0), Strong);
    assert_eq!(by_order(3), Weak);
    let by_name = Story::usual()
        .input(lost(3))
        .up(fin(1, 30).linked(500, 1, LinkHow::SameTarget))
        .down(client(500).status(502, 31).served_by(1, 1, 0))
        .tell()
        .one();
    assert_eq!(by_name.3, Strong);
}
