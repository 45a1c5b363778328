//! What must not become a case.

use tracer_ebpf::{Cause, LinkHow, flags};

use super::builder::{SIZED, Story, client, cut, fin, refused};
use crate::case::{Confidence, Outcome};
use crate::diagnose::testing::AttemptBuilder;
use crate::event::{Input, ProxyKind, ProxyProcess};

const SAME: LinkHow = LinkHow::SameTarget;
const LAST_READ: LinkHow = LinkHow::LastRead;

#[test]
fn a_health_check_that_fails_beside_a_good_request() {
    // The request had been taken up before the check failed.
    Story::usual()
        .up(refused(1, 3).linked(500, 1, LAST_READ))
        .down(client(500).status(200, 9).served_by(2, 1, 0))
        .tell()
        .nothing_but("unrelated_failures");
    // The guess even took the place of the real link.
    Story::usual()
        .up(refused(1, 3).linked(500, 1, LAST_READ))
        .down(client(500).status(200, 9).served_by(1, 0, 3))
        .tell()
        .nothing_but("unrelated_failures");
    // Without any link on the client's side.
    Story::usual()
        .up(refused(1, 3).linked(500, 1, LAST_READ))
        .down(client(500).status(200, 9))
        .tell()
        .nothing_but("unrelated_failures");
}

#[test]
fn a_health_check_that_fails_while_a_body_is_under_way() {
    let check = || refused(1, 30).linked(500, 1, LAST_READ);
    // The client's response was complete.
    Story::usual()
        .up(check())
        .down(
            client(500)
                .got(200, SIZED, 1000)
                .served_by(2, 1, 0)
                .closed(60),
        )
        .tell()
        .nothing_but("unrelated_failures");
    // It was cut for another reason.
    let told = Story::usual()
        .up(check())
        .down(
            client(500)
                .got(200, SIZED, 400)
                .served_by(2, 1, 0)
                .closed(60),
        )
        .tell();
    told.nothing_but("unrelated_failures");
    told.nothing_but("ended_without_failure");
}

#[test]
fn a_mirrored_request_that_fails() {
    Story::usual()
        .up(fin(1, 30).linked(500, 1, SAME))
        .down(client(500).status(200, 40).served_by(2, 1, 0))
        .tell()
        .nothing_but("unrelated_failures");
}

#[test]
fn an_error_status_that_is_not_watched() {
    for how in [SAME, LAST_READ] {
        Story::new(&[502])
            .up(refused(1, 0).linked(500, 1, how))
            .down(
                client(500)
                    .status(503, 1)
                    .with(|x| x.cause = Cause::Watched),
            )
            .tell()
            .nothing_but("unwatched_statuses");
    }
}

#[test]
fn an_interim_answer_decides_nothing() {
    let told = Story::usual()
        .up(fin(1, 30).linked(500, 1, SAME))
        .down(client(500).status(103, 31).served_by(2, 1, 31))
        .tell();
    told.nothing_but("pending_expired");
}

#[test]
fn a_client_that_leaves() {
    let up = || {
        AttemptBuilder::sent()
            .conn(1)
            .closed(51)
            .linked(500, 1, SAME)
    };
    let leaves = [
        // With or without a record of the backend side; in mid-body; by reset.
        Story::usual().down(client(500).left(50).closed(51).served_by(1, 1, 0)),
        Story::usual()
            .up(up())
            .down(client(500).left(50).closed(51)),
        Story::usual()
            .up(up().response(200, SIZED, 10))
            .down(client(500).got(200, SIZED, 10).left(50).closed(51)),
        Story::usual().up(up()).down(client(500).left(50).with(|x| {
            x.times.reset_received = x.times.fin_received.take();
        })),
    ];
    for story in leaves {
        story.tell().nothing_but("client_aborts");
    }
}

#[test]
fn a_client_that_leaves_after_the_failure_does_not_hide_it() {
    let told = Story::usual()
        .up(cut(1, 30).linked(500, 1, SAME))
        .down(
            client(500)
                .got(200, SIZED, 400)
                .served_by(1, 1, 0)
                .left(40)
                .closed(41),
        )
        .tell();
    assert_eq!(told.one().2, "body-truncated-fin");
}

#[test]
fn a_proxy_that_ends_a_client_for_its_own_reasons() {
    Story::usual()
        .down(client(500).closed(60_000))
        .tell()
        .nothing_but("ended_without_failure");
    // A guess from long ago does not count.
    let told = Story::usual()
        .up(refused(1, 3).linked(500, 1, LAST_READ))
        .down(client(500).closed(60_000))
        .tell();
    told.nothing_but("ended_without_failure");
    told.nothing_but("unrelated_failures");
}

#[test]
fn backend_connections_that_end_in_order() {
    Story::usual()
        .up(fin(1, 30)
            .response(200, "HTTP/1.0 200 OK\r\n\r\n", 400)
            .linked(500, 1, SAME))
        .tell()
        .nothing_but("complete_upstreams");
    Story::usual()
        .up(AttemptBuilder::sent()
            .with(|x| {
                x.request_bytes = 0;
                x.times.request_start = None;
                x.exchange = 0;
            })
            .closed(9))
        .tell()
        .nothing_but("unused_upstreams");
    let sampled = |x: &mut crate::event::Exchange| x.cause = Cause::Sampled;
    let told = Story::usual()
        .up(fin(1, 30).with(sampled))
        .down(client(500).status(200, 31).with(sampled))
        .tell();
    assert!(told.cases.is_empty());
    assert_eq!(told.count("healthy_records"), 2);
    assert_eq!(told.count("exchange_records"), 2);
}

#[test]
fn a_client_that_cannot_be_read() {
    for flag in [flags::TLS, flags::OPAQUE] {
        for down in [
            client(500).status(200, 31).with(|x| x.status = None),
            client(500).closed(31),
        ] {
            let told = Story::usual()
                .up(fin(1, 30).linked(500, 1, SAME))
                .down(down.with(|x| x.flags |= flag))
                .tell();
            told.nothing_but("unreadable_clients");
            assert!(told.notes[0].contains("cannot be read"));
            assert_eq!(told.count("pending_expired"), 0);
        }
    }
    // Nothing failed: nothing to count.
    let told = Story::usual()
        .down(client(500).closed(31).with(|x| x.flags |= flags::TLS))
        .tell();
    assert_eq!(told.count("unreadable_clients"), 0);
}

#[test]
fn an_error_response_that_ends_its_connection_is_one_case() {
    let told = Story::usual()
        .up(fin(1, 30).linked(500, 1, SAME))
        .down(client(500).status(502, 31).served_by(1, 1, 0))
        .down(
            client(500)
                .got(502, "HTTP/1.1 502 X\r\nContent-Length: 9\r\n\r\n", 3)
                .closed(32),
        )
        .tell();
    assert_eq!(told.cases.len(), 1);
}

#[test]
fn a_failed_connect_to_a_probed_address_hides_behind_no_answer() {
    let proxy = |kind| {
        Story::usual().input(Input::Proxy(ProxyProcess {
            pid: 100,
            kind,
            instance: None,
        }))
    };
    // It fits the request in every way of order and time.
    let beside = |story: Story| {
        story
            .up(refused(1, 3).linked(500, 1, LAST_READ))
            .down(client(500).status(200, 9).served_by(2, 1, 4))
            .tell()
    };
    let alone = beside(proxy(ProxyKind::Haproxy)).one();
    assert_eq!((alone.0, alone.3), (Outcome::Masked, Confidence::Weak));
    // The same address has failed for no client: it is probed.
    beside(proxy(ProxyKind::Haproxy).up(refused(9, 1))).nothing_but("ambiguous_connects");
    // NGINX probes nobody.
    let nginx = beside(proxy(ProxyKind::Nginx).up(refused(9, 1))).one();
    assert_eq!((nginx.0, nginx.3), (Outcome::Masked, Confidence::Strong));
}
