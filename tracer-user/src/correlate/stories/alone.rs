//! Error responses without any backend connection.

use tracer_ebpf::LinkHow;

use super::builder::{GET, Story, client, refused};
use crate::case::Confidence::{None as NoTie, Strong, Weak};
use crate::case::Outcome::ErrorResponse;
use crate::diagnose::testing::{AttemptBuilder, at, in_use};
use crate::dns::tests::build;
use crate::event::{
    DnsMessage, Input, KernelEvent, ListenQueue, ProxyKind, ProxyProcess, UpstreamsInUse,
};

fn found(busy: u32, descriptors: u64, ms: i64) -> Input {
    let mut reading = in_use(busy, 0, descriptors);
    reading.time_ns = at(ms);
    Input::UpstreamsInUse(reading)
}

fn dns(received: bool, rcode: u8, ms: i64) -> Input {
    Input::Kernel(KernelEvent::Dns(DnsMessage {
        time_ns: at(ms),
        pid: 100,
        tid: 100,
        received,
        message_len: 40,
        first: build(9, received, rcode, 0, "app.internal"),
    }))
}

#[test]
fn they_wait_for_a_look_at_the_process() {
    let story = Story::usual()
        .down(client(500).status(502, 31))
        .tick(131)
        .input(found(0, 1024, 200));
    assert!(story.clone().tick(330).so_far().cases.is_empty());
    assert_eq!(story.tick(331).so_far().one().2, "local-fd-exhausted");
}

#[test]
fn a_late_failure_still_explains_them() {
    let told = Story::usual()
        .down(client(500).status(502, 31))
        .tick(200)
        .up(refused(1, 30)
            .linked(500, 1, LinkHow::LastRead)
            .with(|x| x.time_ns = at(201)))
        .tell();
    assert_eq!(told.one().2, "connect-refused");
}

#[test]
fn an_echo_of_failures_before() {
    // A health check that failed, and a failed request of another client.
    for up in [
        refused(1, -5000),
        refused(1, -5000).linked(900, 1, LinkHow::LastRead),
    ] {
        let told = Story::usual()
            .up(up)
            .down(client(500).status(502, 31))
            .input(found(0, 50, 32))
            .tell();
        assert_eq!(
            told.one(),
            (
                ErrorResponse,
                Some(502),
                "no-backend-available",
                Weak,
                vec![]
            )
        );
    }
    // Too long ago, or something is busy.
    let old = Story::usual()
        .up(refused(1, -70_000))
        .down(client(500).status(502, 31))
        .tell();
    let unexplained = (ErrorResponse, Some(502), "unexplained", NoTie, vec![]);
    assert_eq!(old.one(), unexplained);
    let busy = Story::usual()
        .up(refused(1, -5000))
        .down(client(500).status(502, 31))
        .input(found(2, 50, 32))
        .tell();
    assert_eq!(busy.one(), unexplained);
}

#[test]
fn all_connections_are_busy() {
    let told = Story::usual()
        .down(client(500).status(502, 31))
        .input(found(2, 50, 32))
        .tell();
    assert_eq!(
        told.one(),
        (ErrorResponse, Some(502), "queue-timeout", Weak, vec![])
    );
    // The look was at another time.
    let told = Story::usual()
        .down(client(500).status(502, 31))
        .input(found(2, 50, 900))
        .tell();
    assert_eq!(told.one().2, "unexplained");
}

#[test]
fn a_name_without_an_address() {
    let rule = |query, answer: Option<(u8, i64)>| {
        let story = Story::usual().input(dns(false, 0, query));
        let story = match answer {
            Some((rcode, ms)) => story.input(dns(true, rcode, ms)),
            None => story,
        };
        story.down(client(500).status(502, 5000)).tell().one().2
    };
    assert_eq!(rule(0, Some((3, 20))), "name-resolution-failed");
    assert_eq!(rule(0, None), "name-resolution-failed");
    // Before the client's time.
    assert_eq!(rule(-900, Some((3, -880))), "unexplained");
}

#[test]
fn a_full_accept_queue() {
    let told = |addr: ([u8; 4], u16)| {
        Story::usual()
            .input(Input::ListenQueue(ListenQueue {
                time_ns: at(1500),
                addr: addr.into(),
                waiting: 6,
                overflows: 2,
            }))
            .up(AttemptBuilder::connecting()
                .conn(1)
                .with(|x| x.retransmits = 1)
                .closed(3000)
                .linked(500, 1, LinkHow::LastRead))
            .down(client(500).status(504, 3000).thread_last(1, 3000))
            .tell()
            .one()
    };
    assert_eq!(
        told(([10, 0, 0, 5], 8080)),
        (
            ErrorResponse,
            Some(504),
            "listen-queue-overflow",
            Strong,
            vec![1]
        )
    );
    assert_eq!(told(([10, 0, 0, 5], 8081)).2, "connect-timeout");
}

#[test]
fn a_request_that_was_taken_up_does_not_wait() {
    let story = Story::usual()
        .up(AttemptBuilder::sent()
            .conn(1)
            .request(GET)
            .fin(30)
            .closed(30)
            .linked(500, 1, LinkHow::SameTarget))
        .down(client(500).status(502, 31).served_by(1, 1, 0));
    assert_eq!(story.tick(131).so_far().cases.len(), 1);
}

#[test]
fn another_instance_and_another_port_are_none_of_its_business() {
    let proxy = |pid, instance| {
        Input::Proxy(ProxyProcess {
            pid,
            kind: ProxyKind::Nginx,
            instance: Some(instance),
        })
    };
    let rule = |instance| {
        let failed = refused(1, -5000).with(|x| x.pid = 200);
        let story = Story::usual()
            .input(proxy(100, 100))
            .input(proxy(200, instance));
        story.up(failed).down(client(500).status(502, 31)).tell()
    };
    assert_eq!(rule(100).one().2, "no-backend-available");
    assert_eq!(rule(200).one().2, "unexplained");
    let mut reading = in_use(2, 0, 50);
    reading.time_ns = at(32);
    let rule = |port| {
        let reading = UpstreamsInUse {
            port: Some(port),
            ..reading
        };
        let story = Story::usual().down(client(500).status(502, 31));
        story.input(Input::UpstreamsInUse(reading)).tell()
    };
    assert_eq!(rule(80).one().2, "queue-timeout");
    assert_eq!(rule(81).one().2, "unexplained");
}
