//! Order of records, order of attempts, order of time.

use tracer_ebpf::LinkHow;

use super::builder::{GET, SIZED, Story, client, cut, fin, refused};
use crate::case::Confidence::Strong;
use crate::case::Outcome::{ErrorResponse, Masked, Truncated};
use crate::diagnose::testing::{AttemptBuilder, at};
use crate::event::{Input, KernelEvent, ProcessEvent};

const SAME: LinkHow = LinkHow::SameTarget;

#[test]
fn a_case_waits_for_overtaken_records_and_no_longer() {
    let story = Story::usual()
        .up(fin(1, 30).linked(500, 1, SAME))
        .down(client(500).status(502, 31).served_by(1, 1, 0));
    assert!(story.clone().tick(130).so_far().cases.is_empty());
    assert_eq!(story.tick(131).so_far().cases.len(), 1);
}

#[test]
fn the_cause_may_come_after_the_response() {
    let told = Story::usual()
        .down(client(500).status(502, 30).served_by(1, 1, 0))
        .tick(50)
        .up(fin(1, 30).linked(500, 1, SAME).with(|x| x.time_ns = at(90)))
        .tick(131)
        .so_far();
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
}

#[test]
fn attempts_stand_in_the_order_in_which_they_failed() {
    let later = |conn, ms| {
        AttemptBuilder::sent()
            .conn(conn)
            .request(GET)
            .with(|x| {
                x.times.opened = Some(at(ms - 2));
                x.times.established = Some(at(ms - 2));
                x.times.request_start = Some(at(ms - 2));
            })
            .reset(ms)
            .closed(ms)
    };
    // The records come out of order; the last attempt was not linked but was last on the thread.
    let told = Story::usual()
        .up(later(2, 20).linked(500, 1, SAME))
        .up(fin(1, 10).linked(500, 1, SAME))
        .up(refused(3, 30))
        .down(
            client(500)
                .status(502, 31)
                .thread_last(3, 30)
                .served_by(2, 1, 18),
        )
        .tell();
    assert_eq!(
        told.one(),
        (
            ErrorResponse,
            Some(502),
            "connect-refused",
            Strong,
            vec![1, 2, 3]
        )
    );
    let earlier: Vec<&str> = told.cases[0]
        .verdict
        .evidence
        .iter()
        .filter(|e| e.fact == "earlier-attempt")
        .map(|e| e.text.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(earlier, ["fin-before-response", "rst-before-response"]);
}

#[test]
fn a_retry_that_is_cut_gives_two_cases_of_one_exchange() {
    let second = cut(2, 60).with(|x| {
        x.times.opened = Some(at(31));
        x.times.established = Some(at(31));
        x.times.request_start = Some(at(31));
    });
    let told = Story::usual()
        .up(fin(1, 30).linked(500, 1, SAME))
        .down(client(500).status(200, 34).served_by(2, 1, 31))
        .up(second.linked(500, 1, SAME))
        .down(
            client(500)
                .got(200, SIZED, 400)
                .served_by(2, 1, 31)
                .closed(61),
        )
        .tell();
    assert_eq!(
        told.short(),
        [
            (Masked, Some(200), "fin-before-response", Strong, vec![1]),
            (Truncated, Some(200), "body-truncated-fin", Strong, vec![2]),
        ]
    );
    assert_ne!(told.cases[0].id, told.cases[1].id);
}

#[test]
fn exchanges_of_one_client_connection_are_kept_apart() {
    let told = Story::usual()
        .up(fin(1, 30).linked(500, 1, SAME))
        .up(refused(2, 30).linked(500, 2, SAME))
        .down(client(500).status(502, 31).with(|x| x.exchange = 2))
        .down(client(500).status(502, 31))
        .tell();
    let rules: Vec<_> = told.short().into_iter().map(|s| (s.2, s.4)).collect();
    assert_eq!(
        rules,
        [
            ("connect-refused", vec![2]),
            ("fin-before-response", vec![1])
        ]
    );
}

#[test]
fn a_child_is_what_its_parent_is() {
    let fork = ProcessEvent::Fork {
        pid: 300,
        parent: 100,
    };
    let told = Story::usual()
        .input(Input::Kernel(KernelEvent::Process(fork)))
        .down(client(500).status(502, 0).with(|x| x.pid = 300))
        .down(client(501).status(502, 0).with(|x| x.pid = 999))
        .tell();
    let kinds: Vec<&str> = told
        .cases
        .iter()
        .map(|case| case.proxy.kind.name())
        .collect();
    assert_eq!(kinds, ["nginx", "unknown"]);
}

#[test]
fn a_replay_gives_the_same() {
    let story = (0..200).fold(Story::usual(), |story, i| {
        let client_conn = 500 + i % 40;
        let exchange = i as u32 / 40 + 1;
        let story = match i % 3 {
            0 => story.up(fin(i, 30).linked(client_conn, exchange, SAME)),
            1 => story.up(refused(i, 30)),
            _ => story.up(refused(i, 30).linked(client_conn, exchange, LinkHow::LastRead)),
        };
        story
            .down(
                client(client_conn)
                    .status(if i % 5 == 0 { 200 } else { 502 }, 31)
                    .thread_last(i, 30)
                    .with(|x| x.exchange = exchange),
            )
            .tick(i as i64)
    });
    let (one, two) = (story.clone().tell(), story.tell());
    assert!(one.cases.len() > 100);
    assert_eq!(one.cases, two.cases);
    let mut ids: Vec<_> = one.cases.iter().map(|case| case.id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), one.cases.len());
}

#[test]
fn retries_that_were_not_linked_follow_from_the_first() {
    // nginx goes through three dead servers; only the first connect is tied by the kernel half.
    let first = refused(1, 0).linked(500, 1, LinkHow::LastRead);
    let story = Story::usual()
        .up(first)
        .up(refused(2, 1))
        .up(refused(3, 2))
        // Another client's retry, much later.
        .up(refused(9, 40));
    let failed = story
        .clone()
        .down(client(500).status(502, 3).thread_last(3, 2))
        .tell();
    assert_eq!(
        failed.one(),
        (
            ErrorResponse,
            Some(502),
            "connect-refused",
            Strong,
            vec![1, 2, 3]
        )
    );
    let masked = story
        .down(client(500).status(200, 5).served_by(4, 1, 3))
        .tell();
    assert_eq!(
        masked.one(),
        (Masked, Some(200), "connect-refused", Strong, vec![1, 2, 3])
    );
    assert_eq!(masked.count("pending_expired"), 1);
}
