//! Every outcome of the contract.

use tracer_ebpf::{Cause, LinkHow};

use super::builder::{GET, SIZED, Story, client, cut, fin, refused};
use crate::case::Confidence::{None as NoTie, Strong};
use crate::case::Outcome::{Dropped, ErrorResponse, Masked, Truncated};
use crate::case::{EndedBy, How};
use crate::diagnose::testing::{AttemptBuilder, at};

const SAME: LinkHow = LinkHow::SameTarget;

#[test]
fn error_response() {
    let told = Story::usual()
        .up(fin(1, 30).linked(500, 1, SAME))
        .down(client(500).status(502, 31).served_by(1, 1, 0))
        .tell();
    assert_eq!(
        told.one(),
        (
            ErrorResponse,
            Some(502),
            "fin-before-response",
            Strong,
            vec![1]
        )
    );
    let case = &told.cases[0];
    let request = case.downstream.request.as_ref().unwrap();
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("GET", "/a")
    );
    assert_eq!(case.time_ns, at(31));
    assert_eq!(case.downstream.ttfb_us, Some(33_000));
    assert_eq!(case.proxy.kind.name(), "nginx");
    assert_eq!(case.attempts[0].ended_by, EndedBy::Backend);
    assert_eq!(told.count("pending_expired"), 0);
}

#[test]
fn truncated() {
    for thread_first in [true, false] {
        let up = cut(1, 30).linked(500, 1, SAME);
        let down = client(500)
            .got(200, SIZED, 400)
            .served_by(1, 1, 0)
            .closed(31);
        let story = Story::usual();
        // The client's end may overtake the record of the cause.
        let story = if thread_first {
            story.up(up).down(down)
        } else {
            story.down(down).up(up)
        };
        let told = story.tell();
        assert_eq!(
            told.one(),
            (Truncated, Some(200), "body-truncated-fin", Strong, vec![1])
        );
        let attempt = &told.cases[0].attempts[0];
        assert_eq!(attempt.content_length, Some(1000));
        assert!(told.cases[0].verdict.summary.contains("400 of 1000"));
    }
}

#[test]
fn dropped_by_a_race() {
    let race = AttemptBuilder::reused(5000)
        .conn(1)
        .fin(0)
        .unacked(100)
        .reset(1)
        .closed(1);
    let told = Story::usual()
        .up(race.linked(500, 3, SAME))
        .down(
            client(500)
                .with(|x| x.exchange = 3)
                .closed(2)
                .served_by(1, 7, 0),
        )
        .tell();
    assert_eq!(
        told.one(),
        (Dropped, None, "keepalive-race", Strong, vec![1])
    );
}

#[test]
fn masked_by_a_retry() {
    let told = Story::usual()
        .up(refused(1, 0).linked(500, 1, LinkHow::LastRead))
        .down(client(500).status(200, 9).served_by(2, 1, 1))
        .tell();
    assert_eq!(
        told.one(),
        (Masked, Some(200), "connect-refused", Strong, vec![1])
    );
    assert!(told.cases[0].verdict.summary.contains("a retry hid it"));
}

#[test]
fn masked_by_the_proxy_itself() {
    let told = Story::usual()
        .up(fin(1, 30).linked(500, 1, SAME))
        .down(client(500).status(200, 31).served_by(1, 1, 0))
        .tell();
    assert_eq!(
        told.one(),
        (Masked, Some(200), "fin-before-response", Strong, vec![1])
    );
    assert!(told.cases[0].verdict.summary.contains("answer of its own"));
}

#[test]
fn an_answer_of_the_application() {
    let answer = AttemptBuilder::sent()
        .conn(1)
        .request(GET)
        .response(503, "HTTP/1.1 503 X\r\nContent-Length: 5\r\n\r\n", 5)
        .with(|x| x.cause = Cause::Status);
    let told = Story::usual()
        .up(answer.linked(500, 1, SAME))
        .down(client(500).status(503, 31).served_by(1, 1, 0))
        .tell();
    assert_eq!(
        told.one(),
        (ErrorResponse, Some(503), "application-502", NoTie, vec![1])
    );
    assert_eq!(told.cases[0].attempts[0].how, How::Completed);
}

#[test]
fn no_backend_at_all() {
    let told = Story::usual().down(client(500).status(502, 0)).tell();
    assert_eq!(
        told.one(),
        (ErrorResponse, Some(502), "unexplained", NoTie, vec![])
    );
    assert!(
        told.cases[0]
            .verdict
            .summary
            .contains("no backend connection was made")
    );
}

#[test]
fn client_abort_only_on_request() {
    let up = AttemptBuilder::sent()
        .conn(1)
        .closed(51)
        .client_left()
        .linked(500, 1, SAME);
    let down = client(500).left(50).closed(51).served_by(1, 1, 0);
    let usual = Story::usual().up(up.clone()).down(down.clone()).tell();
    usual.nothing_but("client_aborts");
    assert_eq!(usual.count("pending_expired"), 0);
    let asked = Story::new(&[499, 502]).up(up).down(down).tell();
    assert_eq!(
        asked.one(),
        (Dropped, None, "client-abort", Strong, vec![1])
    );
    assert_eq!(asked.cases[0].attempts[0].ended_by, EndedBy::Client);
    assert_eq!(asked.cases[0].time_ns, at(50));
}

#[test]
fn outcomes_can_be_narrowed() {
    let told = Story::usual()
        .outcomes(&["masked", "dropped"])
        .up(fin(1, 30).linked(500, 1, SAME))
        .down(client(500).status(502, 31))
        .tell();
    told.nothing_but("filtered_outcomes");
}

#[test]
fn an_answer_that_ends_with_its_connection() {
    let head = "HTTP/1.0 502 X\r\n\r\n";
    let answer = AttemptBuilder::sent()
        .conn(1)
        .request(GET)
        .linked(500, 1, SAME);
    let told = Story::usual()
        .up(answer
            .clone()
            .response(502, head, 0)
            .with(|x| x.cause = Cause::Status))
        .up(answer.response(502, head, 9).fin(6).closed(6))
        .down(client(500).status(502, 7).served_by(1, 1, 0))
        .tell();
    assert_eq!(told.one().2, "application-502");
    assert_eq!(told.cases[0].attempts[0].ended_by, EndedBy::Backend);
}
