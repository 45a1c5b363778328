//! The backend closed politely, without an answer.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence;
use crate::diagnose::facts::{End, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    id: "fin-before-response",
    title: "The backend closed the connection without an answer",
    explanation: "The request was sent, no byte of a response came, and then the backend's FIN. The \
        program closed the connection, or it ended: a killed process leaves a plain FIN too.",
    evidence: &[
        "connected, no response byte",
        "the backend's FIN came before the proxy closed, and it is no keep-alive race",
    ],
    confused_with: &[
        Confusion {
            with: "keepalive-race",
            difference: "there the FIN comes before any byte of the request was acknowledged, on a reused connection",
        },
        Confusion {
            with: "response-timeout",
            difference: "there the proxy closes first",
        },
    ],
    confirm: &[
        "curl -v http://BACKEND:PORT/path from the proxy's host, several times: curl: (52) \"Empty reply from server\"",
        "the backend's log at that second; dmesg, journalctl -k and the container's exit code for a process that ended",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "read the backend's log at this time: worker recycling (max_requests), a worker timeout, an \
                exception that closes the socket, a restart; dmesg and journalctl -k for a killed process",
            why: "it took the request and closed without answering",
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
            change: "a balancer with a second BalancerMember and failonstatus= as needed",
            why: "mod_proxy_balancer sends the next requests elsewhere",
        },
        Advice {
            target: "alb",
            change: "502 with target status -; deregistration delay at least as long as the longest request",
            why: "a target that is taken down closes what it still works on",
        },
        Advice {
            target: "app-gateway",
            change: "error_info UPSTREAM_CLOSED_CONNECTION",
            why: "the backend closed without an answer",
        },
        Advice {
            target: "front-door",
            change: "errorInfo OriginConnectionAborted",
            why: "the origin closed without an answer",
        },
        Advice {
            target: "gcp",
            change: "statusDetails backend_connection_closed_before_data_sent_to_client",
            why: "the backend closed without an answer",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    if attempt.phase() != Phase::Waiting {
        return None;
    }
    let (End::PeerFin, at) = attempt.first_end()? else {
        return None;
    };
    let x = &attempt.exchange;
    let after = evidence::without_response(attempt, at);
    let mut facts = vec![evidence::first_end(attempt)];
    facts.extend(evidence::acknowledged(attempt));
    facts.extend(evidence::reused(attempt));
    Some(Finding {
        ended_by: EndedBy::Backend,
        how: How::Fin,
        what: format!("{} closed the connection (FIN) {after}", x.remote),
        delivery: evidence::delivery(attempt),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, expect};

    #[test]
    fn fins() {
        let fin = ("fin-before-response", EndedBy::Backend, How::Fin);
        expect(502, AttemptBuilder::sent().fin(12).closed(12), fin);
        // FIN, and then a reset for the rest of the request.
        expect(
            502,
            AttemptBuilder::sent().fin(12).reset(13).closed(13),
            fin,
        );
        // The backend closed before the proxy wrote anything.
        expect(
            502,
            AttemptBuilder::sent()
                .with(|x| {
                    x.exchange = 0;
                    x.request_bytes = 0;
                    x.times.request_start = None;
                })
                .fin(12)
                .closed(12),
            fin,
        );
        // The proxy was first: its FIN is answered by the backend's.
        expect(
            502,
            AttemptBuilder::sent().closed(12).fin(13),
            ("unexplained", EndedBy::Proxy, How::Unknown),
        );
    }
}
