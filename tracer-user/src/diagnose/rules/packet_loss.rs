//! Packets get lost until somebody gives up.

use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::rules::mtu_black_hole::timed_out;
use crate::diagnose::{Advice, AttemptFacts, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "packet-loss",
    title: "Packets between proxy and backend get lost",
    explanation: "Segments had to be sent again and again, or are missing in what came back, until a timeout ended the wait. Small segments are lost as well, or ones of full size did get through before: it is the path that loses packets, not their size that is at fault.",
    evidence: &[
        "a timeout ended the exchange",
        "a segment of the request was retransmitted at least twice and stayed unacknowledged; or segments of the response arrived behind a hole that was never filled",
        "or, with the backend on this host: its kernel sent the same small segment of the response again at least twice, unacknowledged",
    ],
    confused_with: &[
        Confusion {
            with: "mtu-black-hole",
            difference: "there small segments pass and no segment of full size ever did",
        },
        Confusion {
            with: "response-timeout",
            difference: "there the request was acknowledged and nothing is missing in what came back",
        },
        Confusion {
            with: "listen-queue-overflow",
            difference: "there the backend's accept queue was full at that time, and so it never took the connection",
        },
        Confusion {
            with: "idle-drop-by-middlebox",
            difference: "there the connection had been idle for long before",
        },
    ],
    confirm: &[
        "mtr -nTP PORT BACKEND from the proxy's host, and back",
        "ip -s link on both hosts (errors, dropped); ethtool -S IFACE; conntrack -S and dmesg for \"nf_conntrack: table full\"",
        "ss -tni dst BACKEND:PORT: retrans, lost, rto, backoff; nstat -az TcpRetransSegs",
    ],
    remedies: &[
        Advice {
            target: "network",
            change: "mend the path: interface errors, a full connection-tracking table (net.netfilter.nf_conntrack_max), an overloaded link or instance",
            why: "no timeout of the proxy mends lost packets",
        },
        Advice {
            target: "nginx",
            change: "proxy_connect_timeout 3s; proxy_next_upstream error timeout;",
            why: "another server, over another path, can answer requests that may be repeated",
        },
        Advice {
            target: "haproxy",
            change: "timeout connect 3s, option redispatch, retries 3",
            why: "another server, over another path, can answer",
        },
        Advice {
            target: "envoy",
            change: "retry_policy: {retry_on: connect-failure,reset, num_retries: 1} on routes that may be repeated",
            why: "another host can answer",
        },
        Advice {
            target: "apache",
            change: "a second BalancerMember",
            why: "mod_proxy_balancer sends the next requests elsewhere",
        },
        Advice {
            target: "alb",
            change: "bandwidth and connection-tracking allowances of the instance (ethtool -S: bw_in_allowance_exceeded, conntrack_allowance_exceeded)",
            why: "an instance above its allowance loses packets",
        },
        Advice {
            target: "big-ip",
            change: "RST cause \"TCP retransmit timeout\"",
            why: "the balancer gave up on unacknowledged segments",
        },
    ],
    decide,
};

/// Fewer retransmissions of the same segment are ordinary.
const RESENT_MIN: u32 = 2;

/// Time from the request to its last retransmission, and to the end, ns.
fn retransmitting(attempt: &AttemptFacts) -> Option<(u64, u64)> {
    let times = &attempt.exchange.times;
    let taken = times.retransmit_last?.checked_sub(times.request_start?)?;
    Some((taken, attempt.waited_ns()?))
}

/// What shows that packets were lost, and that the loss took the time.
fn lost(attempt: &AttemptFacts) -> Option<Fact> {
    let x = &attempt.exchange;
    if let Some(fact) = evidence::unheard(attempt) {
        return Some(fact);
    }
    if x.retransmitted
        .is_some_and(|segment| segment.times >= RESENT_MIN)
    {
        if attempt.request_unacked().is_some_and(|unacked| unacked > 0) {
            return evidence::resent(attempt);
        }
        if let Some((taken, waited)) = retransmitting(attempt)
            && taken >= waited / 2
        {
            return Some(Fact::new(
                "retransmission-took-the-time",
                format!(
                    "retransmitting the request took {} of the {} that the proxy waited",
                    words::duration(taken),
                    words::duration(waited)
                ),
            ));
        }
    }
    let behind = x.socket.out_of_order.filter(|count| *count > 0)?;
    Some(Fact::new(
        "hole-in-response",
        format!(
            "{behind} segment{} of the response arrived behind a hole that was never filled",
            if behind == 1 { "" } else { "s" }
        ),
    ))
}

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let wait = timed_out(context)?;
    let lost = lost(attempt)?;
    let x = &attempt.exchange;
    let what = format!(
        "packets between the proxy and {} were lost until the wait ended: {}",
        x.remote,
        lost.text()
    );
    let mut facts = vec![lost, evidence::first_end(attempt)];
    facts.extend(evidence::kernel_timer(attempt));
    facts.extend(evidence::retransmits(attempt));
    facts.extend(x.socket.srtt_us.map(|us| {
        Fact::new(
            "round-trip-time",
            format!(
                "the round-trip time is {}",
                words::duration(u64::from(us) * 1000)
            ),
        )
    }));
    facts.extend(evidence::acknowledged(attempt));
    Some(Finding {
        ended_by: wait.ended_by,
        how: wait.how,
        what,
        delivery: evidence::delivery(attempt),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use crate::case::{EndedBy, How};
    use crate::diagnose::testing::{AttemptBuilder, at, case, expect};
    use crate::diagnose::{Progress, judge};
    use crate::event::ProxyKind;

    #[test]
    fn losses() {
        let lost = ("packet-loss", EndedBy::Proxy, How::Timeout);
        let unacked = || AttemptBuilder::sent().unacked(0).closed(3000);
        expect(504, unacked().resent(100, 3), lost);
        expect(
            504,
            unacked().resent(100, 1),
            ("response-timeout", EndedBy::Proxy, How::Timeout),
        );
        expect(
            504,
            AttemptBuilder::sent().closed(3000).resent(100, 3),
            ("response-timeout", EndedBy::Proxy, How::Timeout),
        );
        // The backend's own kernel tells that its answer does not arrive.
        expect(
            504,
            AttemptBuilder::sent().unheard(300, 2).closed(3000),
            lost,
        );
        // It got through at last, when most of the time was over.
        let late = |ms| {
            AttemptBuilder::sent()
                .closed(2000)
                .resent(100, 3)
                .with(|x| x.times.retransmit_last = Some(at(ms)))
        };
        expect(504, late(1660), lost);
        expect(
            504,
            late(600),
            ("response-timeout", EndedBy::Proxy, How::Timeout),
        );
        // In the body, after full segments.
        let body = AttemptBuilder::sent()
            .received(200, 100_000)
            .progress(Progress::Body {
                declared: Some(200_000),
                received: 99_900,
            })
            .with(|x| {
                x.mss_at_start = Some(1448);
                x.socket.out_of_order = Some(7);
            })
            .closed(3000);
        expect(502, body, lost);
    }

    #[test]
    fn timers_of_the_kernel_are_told_apart() {
        for (user_timeout, unacked, want) in [
            (0, 100, "tcp_retries2"),
            (5000, 100, "TCP_USER_TIMEOUT (5000 ms)"),
            (0, 0, "keep-alive probes"),
        ] {
            let attempt = AttemptBuilder::sent()
                .error(110, 9000)
                .closed(9001)
                .with(|x| {
                    x.socket.user_timeout_ms = Some(user_timeout);
                    x.socket.unacked = Some(unacked);
                });
            let verdict = judge(&case(ProxyKind::Nginx, 504, vec![attempt.build()]));
            let timer = verdict
                .evidence
                .iter()
                .find(|e| e.fact == "kernel-timer")
                .unwrap();
            assert!(timer.text.contains(want), "{}", timer.text);
        }
    }
}
