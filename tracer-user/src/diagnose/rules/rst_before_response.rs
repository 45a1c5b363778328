//! The backend reset the connection without an answer.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence;
use crate::diagnose::facts::{AttemptFacts, End, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule};

/// After so long an idle gap a bare reset may be a middlebox's as well.
const IDLE_DOUBT_NS: u64 = 10_000_000_000;

pub(super) const RULE: Rule = Rule {
    id: "rst-before-response",
    title: "The backend reset the connection without an answer",
    explanation: "The request was sent, no byte of a response came, and then an RST. The program \
        aborted the connection, or closed it with part of the request unread (Linux then sends RST \
        in place of FIN), or something on the way reset it.",
    evidence: &[
        "connected, no response byte",
        "an RST came first, and it is no keep-alive race",
    ],
    confused_with: &[
        Confusion {
            with: "keepalive-race",
            difference: "there the connection was idle before and the backend's side was closed when the request came",
        },
        Confusion {
            with: "fin-before-response",
            difference: "there the backend closes in order, having read all of the request",
        },
        Confusion {
            with: "request-body-rejected",
            difference: "there the backend had not taken all of a request with a body",
        },
        Confusion {
            with: "idle-drop-by-middlebox",
            difference: "there the connection had been idle and the backend's host sent no reset",
        },
        Confusion {
            with: "path-reset",
            difference: "there the backend's host sent no reset",
        },
    ],
    confirm: &[
        "curl -v with the same method and body against BACKEND:PORT: curl: (56) \"Recv failure: Connection reset by peer\"",
        "on the backend's host: nstat -az TcpExtTCPAbortOnClose TcpExtTCPAbortOnData TcpExtTCPAbortOnLinger before and after; the counter that moves says why",
        "tcpdump on both hosts: did the backend's host send the RST at all?",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "look for an abortive close (SO_LINGER 0, a crash with unread data) or a body limit that closes \
                before the request is read; let it read or drain the body before closing",
            why: "closing with unread bytes makes the kernel send RST, and the response is lost with it",
        },
        Advice {
            target: "network",
            change: "if the backend's log knows nothing of it: a firewall, IDS, mesh sidecar or connection tracking on \
                the way (net.netfilter.nf_conntrack_tcp_be_liberal=1)",
            why: "a middlebox can send the reset in the backend's name",
        },
        Advice {
            target: "nginx",
            change: "proxy_next_upstream error timeout;  # the default; without non_idempotent no POST is repeated",
            why: "another server answers in its place, for requests that may be repeated",
        },
        Advice {
            target: "haproxy",
            change: "retry-on empty-response conn-failure, with http-request disable-l7-retry if METH_POST",
            why: "another try answers in its place, for requests that may be repeated",
        },
        Advice {
            target: "envoy",
            change: "retry_policy: {retry_on: reset, num_retries: 1} on routes that may be repeated",
            why: "another host answers in its place",
        },
        Advice {
            target: "apache",
            change: "a balancer with a second BalancerMember",
            why: "mod_proxy_balancer sends the next requests elsewhere",
        },
        Advice {
            target: "alb",
            change: "502 with target status - while the target's log knows nothing of the request",
            why: "the target reset the connection before it answered",
        },
        Advice {
            target: "nlb",
            change: "TCP_Target_Reset_Count",
            why: "the target's reset is passed on to the client",
        },
        Advice {
            target: "app-gateway",
            change: "error_info UPSTREAM_CLOSED_CONNECTION",
            why: "the backend reset the connection",
        },
        Advice {
            target: "gcp",
            change: "statusDetails backend_connection_closed_before_data_sent_to_client",
            why: "the backend reset the connection",
        },
        Advice {
            target: "big-ip",
            change: "RST cause \"{peer} TCP RST from remote system\" in /var/log/ltm (tm.rstcause.log)",
            why: "the pool member reset the connection",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    if attempt.phase() != Phase::Waiting {
        return None;
    }
    let (End::PeerReset, at) = attempt.first_end()? else {
        return None;
    };
    if attempt
        .bare_reset_after_ns()
        .is_some_and(|idle| idle >= IDLE_DOUBT_NS)
    {
        return None;
    }
    let x = &attempt.exchange;
    let after = evidence::without_response(attempt, at);
    let mut facts = vec![evidence::first_end(attempt)];
    facts.extend(evidence::reset_reason(attempt));
    facts.extend(evidence::acknowledged(attempt));
    facts.extend(evidence::reused(attempt));
    facts.extend(evidence::errno(attempt));
    Some(Finding {
        ended_by: EndedBy::Backend,
        how: How::Reset,
        what: format!("{} reset the connection (RST) {after}", x.remote),
        delivery: delivery(attempt),
        facts,
    })
}

/// The kernel drops the acknowledgement that comes with a reset, so "nothing acknowledged" does not
/// prove that the application had not read the request.
fn delivery(attempt: &AttemptFacts) -> String {
    if attempt.any_acked() == Some(false) {
        return "no byte of the request was acknowledged before the reset, which still does not prove that the \
                application had not read it: retry only an idempotent request"
            .to_owned();
    }
    evidence::delivery(attempt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, case, expect};
    use crate::event::ProxyKind;

    #[test]
    fn resets() {
        let reset = ("rst-before-response", EndedBy::Backend, How::Reset);
        expect(502, AttemptBuilder::sent().reset(12).closed(12), reset);
        expect(
            502,
            AttemptBuilder::reused(5000).reset(40).closed(40),
            reset,
        );
        let abort = AttemptBuilder::sent().reset(1).reason("TCP_ABORT_ON_CLOSE");
        expect(502, abort.closed(1), reset);
        // A reset that answers data behind the proxy's own close.
        expect(
            502,
            AttemptBuilder::sent().closed(12).reset(13),
            ("unexplained", EndedBy::Proxy, How::Unknown),
        );
    }

    #[test]
    fn never_calls_a_retry_safe() {
        for attempt in [
            AttemptBuilder::sent().unacked(100).reset(3).closed(3),
            AttemptBuilder::sent().reset(3).closed(3),
        ] {
            let verdict = judge(&case(ProxyKind::Envoy, 503, vec![attempt.build()]));
            assert!(
                verdict.summary.contains("idempotent"),
                "{}",
                verdict.summary
            );
        }
    }
}
