//! Something between the two forgot an idle connection.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::{End, Phase};
use crate::diagnose::idle::near_middlebox;
use crate::diagnose::{Advice, AttemptFacts, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "idle-drop-by-middlebox",
    title: "A middlebox had forgotten the idle connection",
    explanation: "The proxy kept a connection open for reuse; a firewall, NAT gateway, load balancer or connection-tracking table on the way forgot it after its own idle timeout, mostly without a word. The next request is answered with a reset by that device, or vanishes until a timeout. Backend and proxy both believed that the connection was open.",
    evidence: &[
        "the connection had carried an exchange before and had been idle",
        "a reset answers the request although no socket of the backend's host sent one (known where the backend runs on this host); or",
        "the request is retransmitted at least twice, nothing of it is acknowledged and nothing comes back, after at least 60 s of idleness (or 1 s, where the backend runs on this host)",
        "or, inferred and so weak at most: a reset without a FIN before it, right after an idle time that middleboxes are known for (240, 300, 350, 600, 900, 3600 s)",
    ],
    confused_with: &[
        Confusion {
            with: "keepalive-race",
            difference: "there the backend itself closed: its FIN comes first, or its kernel gives the reason",
        },
        Confusion {
            with: "path-reset",
            difference: "there the connection was fresh or in use",
        },
        Confusion {
            with: "rst-before-response",
            difference: "there the backend's program aborts",
        },
        Confusion {
            with: "packet-loss",
            difference: "there the connection was in use before",
        },
    ],
    confirm: &[
        "which device on the way has an idle timeout at or below that idle time? Firewalls, NAT gateways, NLB 350 s, Azure 240 s; conntrack: sysctl net.netfilter.nf_conntrack_tcp_timeout_established",
        "on the backend's host: ss -tn src :PORT dst PROXY still shows ESTAB for the connection that the proxy lost",
        "tcpdump on both hosts: the request leaves the proxy and never arrives; an RST arrives that the backend never sent",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "upstream { … keepalive_timeout 60s; } below the device's timeout; proxy_socket_keepalive on; with net.ipv4.tcp_keepalive_time=120",
            why: "the connection is closed, or kept alive by probes, before the device forgets it",
        },
        Advice {
            target: "haproxy",
            change: "option srvtcpka with srvtcpka-idle 120s; pool-purge-delay below the device's timeout",
            why: "probes keep the device's entry fresh",
        },
        Advice {
            target: "envoy",
            change: "upstream_connection_options: {tcp_keepalive: {keepalive_time: 120}} on the cluster; idle_timeout below the device's",
            why: "probes keep the device's entry fresh",
        },
        Advice {
            target: "apache",
            change: "ProxyPass … keepalive=On ttl=120, with net.ipv4.tcp_keepalive_time=120",
            why: "probes keep the device's entry fresh, and old connections are not reused",
        },
        Advice {
            target: "network",
            change: "raise the idle timeout on the device, or let it send an RST to both sides when it forgets a connection",
            why: "a silent drop is found only by a timeout",
        },
        Advice {
            target: "nlb",
            change: "tcp.idle_timeout.seconds (350 s by default); deregistration and cross-zone settings do not matter here",
            why: "the balancer forgets silently and resets the next segment",
        },
        Advice {
            target: "app-gateway",
            change: "Azure Load Balancer behind it: idle timeout of the rule (4 minutes) with TCP reset on idle",
            why: "otherwise it forgets silently",
        },
        Advice {
            target: "gcp",
            change: "keep-alive probes below 600 s",
            why: "VPC firewalls forget idle connections after 600 s",
        },
        Advice {
            target: "big-ip",
            change: "idle timeout of the TCP (FastL4) profile; loose close",
            why: "RST cause \"No flow found for ACK\" or \"Flow expired (sweeper)\"",
        },
    ],
    decide,
};

/// Shortest idle gap that counts where the backend's half was seen too.
const IDLE_SEEN_NS: u64 = 1_000_000_000;
/// Shortest idle gap that counts where it was not: no middlebox in use forgets sooner.
const IDLE_REMOTE_NS: u64 = 60_000_000_000;
/// Fewer retransmissions are ordinary loss.
const RESENT_MIN: u32 = 2;

/// A reset in the backend's name: proven, or inferred from a known timeout.
fn reset(attempt: &AttemptFacts, idle: u64) -> Option<Fact> {
    let (End::PeerReset, _) = attempt.first_end()? else {
        return None;
    };
    if attempt.reset_by_no_socket() && idle >= IDLE_SEEN_NS && attempt.any_acked() != Some(true) {
        return Some(no_socket(attempt));
    }
    // With the backend on this host the reason would be known if a socket had sent it.
    let idle = attempt
        .bare_reset_after_ns()
        .filter(|idle| *idle >= IDLE_REMOTE_NS)?;
    let (seconds, who) = near_middlebox(idle)?;
    Some(Fact::inferred(
        "inferred-from-idle-time",
        format!(
            "inferred, not seen: a backend that closes sends its FIN first, and none came; the connection had been idle for {}, just above the {seconds} s of {who}",
            words::duration(idle)
        ),
    ))
}

/// The statement that a reset came from the path.
pub(super) fn no_socket(attempt: &AttemptFacts) -> Fact {
    if !attempt.reasons_known {
        return Fact::inferred(
            "inferred-from-silence",
            "inferred, not seen: a reset arrived, the backend runs on this host, and no socket here is known to have sent it; this kernel does not tell of resets that answer for a connection which is gone",
        );
    }
    Fact::new(
        "reset-by-no-socket",
        "a reset arrived, the backend runs on this host, and no socket here sent it: something on the way did",
    )
}

/// The request went unanswered into nowhere.
fn vanished(context: &Context<'_>, attempt: &AttemptFacts, idle: u64) -> Option<(Finding, Fact)> {
    let long = idle >= IDLE_REMOTE_NS || attempt.peer_local && idle >= IDLE_SEEN_NS;
    let resent = attempt
        .exchange
        .retransmitted
        .is_some_and(|segment| segment.times >= RESENT_MIN);
    if !long || !resent || attempt.any_acked() != Some(false) {
        return None;
    }
    let wait = super::mtu_black_hole::timed_out(context)?;
    Some((wait, evidence::resent(attempt)?))
}

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    if attempt.phase() != Phase::Waiting {
        return None;
    }
    let idle = attempt.idle_before_ns()?;
    let (ended_by, how, proof) = match reset(attempt, idle) {
        Some(proof) => (EndedBy::Network, How::Reset, proof),
        None => {
            let (wait, proof) = vanished(context, attempt, idle)?;
            (wait.ended_by, wait.how, proof)
        }
    };
    let x = &attempt.exchange;
    let idle = words::duration(idle);
    let did = match how {
        How::Reset => "was answered with a reset that the backend did not send",
        _ => "vanished on the way, however often it was sent",
    };
    let did = if proof.is_inferred() {
        "was answered with a reset that most likely came from a device on the way"
    } else {
        did
    };
    let mut facts = vec![
        proof,
        Fact::new(
            "idle-gap",
            format!("the connection had been idle for {idle}"),
        ),
        evidence::first_end(attempt),
    ];
    facts.extend(evidence::reused(attempt));
    facts.extend(evidence::acknowledged(attempt));
    facts.extend(evidence::kernel_timer(attempt));
    Some(Finding {
        ended_by,
        how,
        what: format!("after {idle} of idleness the request to {} {did}", x.remote),
        delivery: evidence::delivery(attempt),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Confidence;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, case, expect};
    use crate::event::ProxyKind;

    #[test]
    fn resets() {
        let bare = |idle_ms| {
            AttemptBuilder::reused(idle_ms)
                .unacked(100)
                .reset(1)
                .closed(1)
        };
        let drop = ("idle-drop-by-middlebox", EndedBy::Network, How::Reset);
        let backend = ("rst-before-response", EndedBy::Backend, How::Reset);
        let unknown = ("unexplained", EndedBy::Backend, How::Reset);
        expect(502, bare(3000).local_peer(), drop);
        expect(502, bare(351_000), drop);
        // Named by the backend's kernel.
        expect(502, bare(351_000).local_peer().reason("TCP_STATE"), backend);
        // Another host: short gaps, gaps that fit nothing.
        expect(502, bare(5000), backend);
        expect(502, bare(30_000), unknown);
        expect(502, bare(200_000), unknown);
        // Not idle long enough to be forgotten.
        expect(
            502,
            bare(100).local_peer(),
            ("path-reset", EndedBy::Network, How::Reset),
        );
    }

    #[test]
    fn what_is_inferred_is_weak() {
        for (attempt, want) in [
            (
                AttemptBuilder::reused(351_000)
                    .unacked(100)
                    .reset(1)
                    .closed(1),
                Confidence::Weak,
            ),
            (
                AttemptBuilder::reused(3000)
                    .unacked(100)
                    .reset(1)
                    .closed(1)
                    .local_peer(),
                Confidence::Strong,
            ),
        ] {
            let verdict = judge(&case(ProxyKind::Nginx, 502, vec![attempt.build()]));
            assert_eq!(
                (verdict.rule, verdict.confidence),
                ("idle-drop-by-middlebox", want)
            );
        }
    }

    #[test]
    fn silent_drops() {
        let gone = |idle_ms| {
            AttemptBuilder::reused(idle_ms)
                .unacked(0)
                .resent(100, 5)
                .closed(3000)
        };
        let drop = ("idle-drop-by-middlebox", EndedBy::Proxy, How::Timeout);
        let loss = ("packet-loss", EndedBy::Proxy, How::Timeout);
        expect(504, gone(400_000), drop);
        expect(504, gone(3000).local_peer(), drop);
        expect(504, gone(3000), loss);
        expect(504, gone(100).local_peer(), loss);
    }
}
