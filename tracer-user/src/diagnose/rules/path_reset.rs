//! A reset that the backend did not send.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence;
use crate::diagnose::facts::{End, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "path-reset",
    title: "Something on the way reset the connection in the backend's name",
    explanation: "An RST arrived although no socket of the backend's host sent one: a firewall, an intrusion-prevention system, a mesh sidecar or connection tracking that took a packet for invalid ended the connection in the backend's name. The backend's log shows at most a client that left.",
    evidence: &[
        "an RST ended the connection",
        "the backend runs on this host, whose kernel tells of every reset that one of its sockets sends, and it told of none",
    ],
    confused_with: &[
        Confusion {
            with: "rst-before-response",
            difference: "there the backend's own kernel sent the reset and gives the reason",
        },
        Confusion {
            with: "idle-drop-by-middlebox",
            difference: "there the connection had been idle before",
        },
        Confusion {
            with: "connect-refused",
            difference: "there the reset answers the SYN",
        },
    ],
    confirm: &[
        "tcpdump -ni any 'host BACKEND and tcp[tcpflags] & tcp-rst != 0' on both hosts: the RST arrives at the proxy and never leaves the backend; its TTL and IP id differ from the backend's other packets",
        "nft list ruleset and iptables-save for \"reject with tcp reset\"; conntrack -S (invalid, drop)",
    ],
    remedies: &[
        Advice {
            target: "network",
            change: "find the device: a rule that rejects with an RST, an IDS/IPS signature, a byte or time limit, a sidecar's policy",
            why: "the backend had nothing to do with it",
        },
        Advice {
            target: "network",
            change: "net.netfilter.nf_conntrack_tcp_be_liberal=1 where connection tracking takes late segments for invalid",
            why: "Kubernetes nodes with NAT reset connections over such segments otherwise",
        },
        Advice {
            target: "nlb",
            change: "TCP_Target_Reset_Count rises although the targets send no reset",
            why: "the reset comes from a device between",
        },
        Advice {
            target: "app-gateway",
            change: "network security groups and firewalls (NVA) between the gateway and the backend",
            why: "they may reset in the backend's name",
        },
        Advice {
            target: "big-ip",
            change: "RST cause \"{peer} TCP RST from remote system\"",
            why: "the balancer saw a reset on the server side",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let (End::PeerReset, _) = attempt.first_end()? else {
        return None;
    };
    if !attempt.reset_by_no_socket()
        || !matches!(attempt.phase(), Phase::Waiting | Phase::Head | Phase::Body)
    {
        return None;
    }
    let x = &attempt.exchange;
    let mut facts = vec![
        super::idle_drop_by_middlebox::no_socket(attempt),
        evidence::first_end(attempt),
    ];
    facts.extend(evidence::acknowledged(attempt));
    facts.extend(evidence::reused(attempt));
    let state = match x.response_bytes {
        0 => "before any byte of a response".to_owned(),
        bytes => format!("after {} of the response", words::bytes(bytes)),
    };
    Some(Finding {
        ended_by: EndedBy::Network,
        how: How::Reset,
        what: format!(
            "something between the proxy and {} reset the connection {state}; the backend did not",
            x.remote
        ),
        delivery: evidence::delivery(attempt),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::conn::REASON_UNNAMED;

    use super::*;
    use crate::case::Confidence;
    use crate::diagnose::Progress;
    use crate::diagnose::facts::PeerHalf;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, at, case, expect};
    use crate::event::ProxyKind;

    #[test]
    fn resets_of_the_path() {
        let path = ("path-reset", EndedBy::Network, How::Reset);
        let half = Progress::Body {
            declared: Some(1000),
            received: 400,
        };
        let sent = || AttemptBuilder::sent().reset(3).closed(3);
        expect(502, sent().local_peer(), path);
        expect(
            502,
            sent().local_peer().received(200, 450).progress(half),
            path,
        );
        // The backend's kernel says so, or nothing is known of it.
        expect(
            502,
            sent().local_peer().reason("TCP_ABORT_ON_CLOSE"),
            ("rst-before-response", EndedBy::Backend, How::Reset),
        );
        expect(
            502,
            sent(),
            ("rst-before-response", EndedBy::Backend, How::Reset),
        );
    }

    #[test]
    fn a_kernel_that_does_not_tell_of_all_resets_makes_it_weak() {
        for (all, want) in [(true, Confidence::Strong), (false, Confidence::Weak)] {
            let sent = AttemptBuilder::sent().reset(3).closed(3);
            let mut attempt = sent.local_peer().build();
            attempt.reasons_known = all;
            let verdict = judge(&case(ProxyKind::Nginx, 502, vec![attempt]));
            assert_eq!((verdict.rule, verdict.confidence), ("path-reset", want));
        }
    }

    #[test]
    fn a_reset_that_a_socket_sent_is_none_of_the_path() {
        let mut attempt = AttemptBuilder::sent()
            .reset(3)
            .closed(3)
            .local_peer()
            .build();
        attempt.exchange.reset_received_reason = Some(REASON_UNNAMED);
        let facts = case(ProxyKind::Nginx, 502, vec![attempt]);
        assert_eq!(judge(&facts).rule, "rst-before-response");
    }

    #[test]
    fn a_backend_that_had_closed_is_no_path() {
        for (closed_ms, want) in [(2, "rst-before-response"), (9, "path-reset")] {
            let mut attempt = AttemptBuilder::sent()
                .reset(3)
                .closed(3)
                .local_peer()
                .build();
            attempt.peer = Some(PeerHalf {
                pid: 7,
                unread: Some(0),
                request_read: true,
                closed_ns: Some(at(closed_ms)),
                reset_reason: None,
                late_request: false,
                unheard: None,
            });
            let facts = case(ProxyKind::Nginx, 502, vec![attempt]);
            assert_eq!(judge(&facts).rule, want);
        }
    }
}
