//! Nobody listens.

use crate::case::{EndedBy, How};
use crate::diagnose::errno::ECONNREFUSED;
use crate::diagnose::evidence::{self, NEVER_SENT};
use crate::diagnose::facts::Phase;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "connect-refused",
    title: "The backend refused the connection",
    explanation: "The proxy's SYN was answered with a reset: nothing listens on that address and \
        port, or a firewall rule rejects it. The backend is stopped, restarting, or bound to another \
        address.",
    evidence: &[
        "the connection never reached ESTABLISHED",
        "an RST answered the SYN, or the socket reported errno 111",
    ],
    confused_with: &[
        Confusion {
            with: "connect-timeout",
            difference: "there nothing answers the SYN at all",
        },
        Confusion {
            with: "connect-unreachable",
            difference: "there an ICMP error or a missing route ends it (errno 113 or 101), no RST",
        },
    ],
    confirm: &[
        "on the backend's host: ss -ltn 'sport = :PORT'; no line, or 127.0.0.1 only, explains it",
        "from the proxy's host: curl -v telnet://BACKEND:PORT says \"Connection refused\" at once",
        "the service's log and journalctl -u UNIT at that second: a restart or a crash",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "check on the backend's host: ss -ltn (is the port there, bound to 127.0.0.1 or to all \
                addresses?), the service's state, the container's port mapping",
            why: "an RST to a SYN means that the host is up and nothing listens there",
        },
        Advice {
            target: "nginx",
            change: "a second server in the upstream group, with proxy_next_upstream error timeout;",
            why: "a refused connection is tried on the next server, for POST too: nothing was sent yet",
        },
        Advice {
            target: "haproxy",
            change: "server … check inter 2s fall 2, option redispatch, retries 3",
            why: "the server leaves the rotation by itself, and a retry may go to another one",
        },
        Advice {
            target: "envoy",
            change: "active health_checks on the cluster; retry_policy: {retry_on: connect-failure, num_retries: 2}",
            why: "nothing was sent, so a retry on another host is safe",
        },
        Advice {
            target: "apache",
            change: "a second BalancerMember; retry=5 on the members",
            why: "a member in error is left out for retry= seconds (60 by default), even when it is back at once",
        },
        Advice {
            target: "alb",
            change: "check the target group's port; let health checks run on the traffic port",
            why: "TargetConnectionErrorCount counts refused connections; 502 with target status -",
        },
        Advice {
            target: "nlb",
            change: "check the target's port; TCP_Target_Reset_Count",
            why: "the target's reset is passed on to the client",
        },
        Advice {
            target: "app-gateway",
            change: "check the port of the HTTP setting and the backend pool's health",
            why: "a refused connection gives 502",
        },
        Advice {
            target: "front-door",
            change: "errorInfo OriginConnectionRefused: check the origin's port",
            why: "the origin's host refused",
        },
        Advice {
            target: "gcp",
            change: "statusDetails failed_to_connect_to_backend: check the named port",
            why: "nothing listens there",
        },
        Advice {
            target: "big-ip",
            change: "log RST causes (tm.rstcause.log): \"TCP 3WHS rejected\" or \"TCP RST from remote system\"",
            why: "the pool member refused",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    if attempt.phase() != Phase::Connect {
        return None;
    }
    let times = &attempt.exchange.times;
    // An RST after the proxy had given up answers nothing.
    let reset = times
        .reset_received
        .filter(|at| times.closed.is_none_or(|closed| *at <= closed));
    if reset.is_none() && attempt.errno() != Some(ECONNREFUSED) {
        return None;
    }
    let after = reset
        .or(times.error)
        .and_then(|at| at.checked_sub(attempt.start_ns()))
        .map(|ns| format!(" after {}", words::duration(ns)))
        .unwrap_or_default();
    let mut facts = vec![evidence::first_end(attempt)];
    facts.extend(evidence::errno(attempt));
    facts.extend(evidence::reset_reason(attempt));
    Some(Finding {
        ended_by: EndedBy::Backend,
        how: How::Refused,
        what: format!("{} refused the connection{after}", attempt.exchange.remote),
        delivery: NEVER_SENT.to_owned(),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, expect};

    #[test]
    fn refused() {
        let refused = ("connect-refused", EndedBy::Backend, How::Refused);
        let up = AttemptBuilder::connecting;
        expect(503, up().reset(0).closed(0), refused);
        expect(502, up().error(111, 0).closed(1), refused);
        expect(
            502,
            up().with(|x| x.recv_errno = Some(111)).closed(1),
            refused,
        );
        // The RST came when the proxy had given up already.
        expect(
            504,
            up().closed(3000).with(|x| {
                x.times.reset_received = Some(x.time_ns + 5);
                x.retransmits = 2;
            }),
            ("connect-timeout", EndedBy::Proxy, How::Timeout),
        );
    }
}
