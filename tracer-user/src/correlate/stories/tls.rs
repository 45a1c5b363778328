//! Backends that are spoken to over TLS.

use tracer_ebpf::{LinkHow, flags};

use super::builder::{Story, client};
use crate::case::Confidence::{None as NoTie, Strong};
use crate::case::Outcome::{Dropped, ErrorResponse};
use crate::diagnose::testing::{AttemptBuilder, at};
use crate::event::{Exchange, Input, ProxyKind, ProxyProcess};

const LAST_READ: LinkHow = LinkHow::LastRead;
const HANDSHAKE: u32 = flags::TLS | flags::OPAQUE | flags::HANDSHAKE;

/// A ClientHello was sent and this came back.
fn handshake(answer: &[u8]) -> AttemptBuilder {
    let answer = answer.to_vec();
    AttemptBuilder::sent().conn(1).with(|x| {
        x.flags |= HANDSHAKE;
        x.response_bytes = answer.len() as u64;
        x.response_head = answer;
    })
}

/// A request over TLS, and so many encrypted bytes in answer.
fn request(answer: u64) -> AttemptBuilder {
    AttemptBuilder::sent().conn(1).with(|x| {
        x.flags |= flags::TLS | flags::OPAQUE;
        x.response_bytes = answer;
        if answer > 0 {
            x.response_head = vec![0x17, 3, 3, 0, (answer.min(250) - 5) as u8];
            x.times.response_last = Some(at(3));
        }
    })
}

fn answered(up: AttemptBuilder, status: u16) -> super::builder::Short {
    Story::usual()
        .up(up.linked(500, 1, LAST_READ))
        .down(
            client(500)
                .status(status, 31)
                .thread_last(1, 30)
                .served_by(1, 1, 0),
        )
        .tell()
        .one()
}

#[test]
fn failed_handshakes() {
    for (up, want) in [
        (handshake(b"").fin(30).closed(30), "tls-peer-closed"),
        (handshake(b"").reset(30).closed(30), "tls-reset"),
        (
            handshake(&[0x15, 3, 3, 0, 2, 2, 40]).fin(30).closed(30),
            "tls-alert-from-backend",
        ),
        (
            handshake(b"HTTP/1.1 400 Bad Request\r\n\r\n").closed(30),
            "tls-to-plaintext",
        ),
        (
            handshake(&[0x16, 3, 3, 4, 0])
                .with(|x| {
                    x.sent_last = vec![0x15, 3, 3, 0, 2, 2, 45];
                    x.sent_last_len = 7;
                })
                .closed(30),
            "tls-verify-failed",
        ),
    ] {
        let want = (ErrorResponse, Some(502), want, Strong, vec![1]);
        assert_eq!(answered(up, 502), want);
    }
}

#[test]
fn a_health_check_that_does_no_more_than_the_handshake() {
    Story::usual()
        .up(handshake(&[0x16, 3, 3, 0, 9])
            .with(|x| x.flags |= flags::TLS_SECOND_FLIGHT)
            .closed(9))
        .tell()
        .nothing_but("unused_upstreams");
    // Such an address is probed: what looks like a hidden first try may be a check.
    let told = Story::usual()
        .input(Input::Proxy(ProxyProcess {
            instance: None,
            pid: 100,
            kind: ProxyKind::Haproxy,
        }))
        .up(handshake(b"").conn(9).fin(1).closed(1))
        .up(handshake(b"").fin(3).closed(3).linked(500, 1, LAST_READ))
        .down(client(500).status(200, 9).served_by(2, 1, 4))
        .tell();
    told.nothing_but("ambiguous_connects");
}

#[test]
fn an_end_without_an_answer() {
    let rule = |up| answered(up, 502).2;
    assert_eq!(rule(request(0).fin(30).closed(30)), "fin-before-response");
    assert_eq!(rule(request(0).reset(30).closed(30)), "rst-before-response");
    // An encrypted alert is no response.
    assert_eq!(rule(request(24).fin(30).closed(30)), "fin-before-response");
    assert_eq!(answered(request(0).closed(200), 504).2, "response-timeout");
}

#[test]
fn what_tls_hides_is_said() {
    let told = Story::usual()
        .up(request(240).fin(30).closed(30).linked(500, 1, LAST_READ))
        .down(
            client(500)
                .status(502, 31)
                .thread_last(1, 30)
                .served_by(1, 1, 0),
        )
        .tell();
    assert_eq!(
        told.one(),
        (ErrorResponse, Some(502), "unexplained", NoTie, vec![1])
    );
    let verdict = &told.cases[0].verdict;
    assert!(verdict.evidence.iter().any(|e| e.fact == "hidden-by-tls"));
}

#[test]
fn a_client_that_is_dropped() {
    let told = |change: fn(&mut Exchange)| {
        Story::usual()
            .up(request(240)
                .fin(30)
                .closed(30)
                .linked(500, 1, LAST_READ)
                .with(change))
            .down(client(500).closed(31).served_by(1, 1, 0))
            .tell()
    };
    assert_eq!(told(|_| {}).one().0, Dropped);
    // It had its answer already: the end of the backend connection is nobody's fault.
    told(|x| x.flags |= flags::LINK_ANSWERED).nothing_but("ended_without_failure");
}

#[test]
fn plain_text_to_a_port_that_wants_tls() {
    let up = AttemptBuilder::sent()
        .conn(1)
        .with(|x| {
            x.response_head = vec![0x15, 3, 1, 0, 2, 2, 70];
            x.response_bytes = 7;
        })
        .closed(30);
    assert_eq!(answered(up, 502).2, "plaintext-to-tls");
}
