//! Bounded memory, counted losses.

use tracer_ebpf::{LinkHow, flags};

use super::builder::{Story, client, fin};
use crate::correlate::Limits;
use crate::diagnose::testing::at;

#[test]
fn failures_without_a_client_expire() {
    let story = Story::usual().up(fin(1, 30));
    assert_eq!(
        story
            .clone()
            .tick(120_029)
            .so_far()
            .count("pending_expired"),
        0
    );
    assert_eq!(story.tick(120_030).so_far().count("pending_expired"), 1);
    // Its client is gone already: nothing can come later than its record.
    let gone = Story::usual().up(fin(1, 30).with(|x| x.flags |= flags::LINK_GONE));
    assert_eq!(gone.tick(1_030).so_far().count("pending_expired"), 1);
}

#[test]
fn a_slow_retry_still_finds_its_first_attempt() {
    let told = Story::usual()
        .up(fin(1, 30).linked(500, 1, LinkHow::SameTarget))
        .tick(100_000)
        .down(client(500).status(200, 100_001).served_by(2, 1, 31))
        .tell();
    assert_eq!(told.cases.len(), 1);
}

#[test]
fn ten_thousand_failures_wait_and_the_oldest_give_way() {
    let limits = Limits {
        pending: 10_000,
        ..Limits::default()
    };
    let story = (0..12_000).fold(Story::usual().limits(limits), |story, i| {
        story.up(fin(i, 30).linked(500 + i, 1, LinkHow::SameTarget))
    });
    let told = story
        // Gone, and still there.
        .down(client(500).status(502, 31).served_by(0, 1, 0))
        .down(client(500 + 11_999).status(502, 31).served_by(11_999, 1, 0))
        .tell();
    assert_eq!(told.count("pending_evicted"), 2_000);
    assert_eq!(told.count("pending_expired"), 9_999);
    let rules: Vec<_> = told.short().into_iter().map(|short| short.2).collect();
    assert_eq!(rules, ["unexplained", "fin-before-response"]);
}

#[test]
fn held_records_are_judged_early_rather_than_lost() {
    let limits = Limits {
        held: 10,
        ..Limits::default()
    };
    let story = (0..25).fold(Story::usual().limits(limits), |story, i| {
        story.down(client(500 + i).status(502, 31))
    });
    let told = story.so_far();
    assert_eq!(told.cases.len(), 15);
    assert_eq!(told.count("held_early"), 15);
    assert_eq!(told.cases[0].time_ns, at(31));
}

#[test]
fn times_of_a_damaged_recording_do_no_harm() {
    for ns in [0, 1, u64::MAX - 1, u64::MAX] {
        let bad = move |x: &mut crate::event::Exchange| {
            x.time_ns = ns;
            x.times.closed = Some(ns);
            x.times.response_start = Some(ns);
            x.times.idle_since = Some(ns);
            x.request_bytes = ns;
            x.response_bytes = ns;
            x.request_start_seq = 77;
        };
        let told = Story::usual()
            .up(fin(1, 30).linked(500, 1, LinkHow::SameTarget).with(bad))
            .down(client(500).status(502, 31).with(bad))
            .down(client(500).closed(32).with(bad))
            .tell();
        assert!(!told.cases.is_empty());
    }
}
