//! The backend's accept queue was full.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{self, Fact, NEVER_SENT};
use crate::diagnose::facts::{AttemptFacts, End, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "listen-queue-overflow",
    title: "The backend's accept queue was full",
    explanation: "The backend's port is open, but its program does not accept connections as fast as \
        they come: the queue of connections that wait for accept() is full and Linux drops SYNs, or \
        the last step of the handshake, without a word. The proxy sees a connect timeout; where only \
        the last step was dropped it sees a connection on which nothing is ever acknowledged.",
    evidence: &[
        "the backend is on this host, and its kernel counted overflows of accept queues (ListenOverflows) \
         during the attempt, one at least for each segment that stayed unanswered, while connections were waiting in this one",
        "the SYN stayed unanswered; or the connection was made and nothing sent on it was acknowledged, \
         though it was retransmitted",
    ],
    confused_with: &[
        Confusion {
            with: "connect-timeout",
            difference: "there no full queue is seen: a firewall, a wrong address, a host that is down",
        },
        Confusion {
            with: "response-timeout",
            difference: "there the backend's kernel acknowledged the request",
        },
    ],
    confirm: &[
        "on the backend's host: ss -ltn 'sport = :PORT'; Recv-Q at or above Send-Q is a full queue",
        "nstat -az TcpExtListenOverflows TcpExtListenDrops, twice: does it grow?",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "find what keeps it from accepting (blocked event loop, all workers busy); then a larger backlog: \
                listen(…, 4096), gunicorn --backlog, nginx listen … backlog=4096, with sysctl net.core.somaxconn at \
                least as high",
            why: "the smaller of backlog and somaxconn counts; a longer queue only helps with bursts",
        },
        Advice {
            target: "nginx",
            change: "server … max_conns=N below what the backend serves at once; proxy_connect_timeout 3s;",
            why: "what the backend cannot take goes elsewhere or fails sooner",
        },
        Advice {
            target: "haproxy",
            change: "server … maxconn N below what the backend serves at once; timeout queue 5s",
            why: "HAProxy's queue is fair and visible, the kernel's is neither",
        },
        Advice {
            target: "envoy",
            change: "circuit_breakers: max_connections per cluster; connect_timeout: 1s",
            why: "what the backend cannot take fails at once",
        },
        Advice {
            target: "apache",
            change: "ProxyPass … max=N connectiontimeout=3",
            why: "bounds the connections of each child process",
        },
        Advice {
            target: "alb",
            change: "scale out the targets",
            why: "the balancer answers 504 after its connect timeout of 10 s",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let queue = attempt.listen_queue?;
    let (end, at) = attempt.first_end()?;
    if !matches!(end, End::Proxy | End::KernelTimeout) || context.client_had_left(attempt) {
        return None;
    }
    let stage = stage(attempt)?;
    // Each segment that finds the queue full counts: this attempt's own are the first one and what was sent
    // again. Fewer are those of somebody else.
    if queue.overflows <= u64::from(attempt.exchange.retransmits) {
        return None;
    }
    let waited = at.saturating_sub(attempt.start_ns());
    let mut facts = vec![
        Fact::new(
            "accept-queue-full",
            format!(
                "{} connections waited to be accepted at {}, and {} segments found an accept queue of that host full meanwhile",
                queue.waiting, queue.addr, queue.overflows
            ),
        ),
        evidence::first_end(attempt),
    ];
    facts.extend(evidence::retransmits(attempt));
    facts.extend(evidence::acknowledged(attempt));
    Some(Finding {
        ended_by: match end {
            End::KernelTimeout => EndedBy::Kernel,
            _ => EndedBy::Proxy,
        },
        how: How::Timeout,
        what: format!(
            "{} does not accept connections fast enough: {stage} within {}",
            attempt.exchange.remote,
            words::duration(waited)
        ),
        delivery: match attempt.phase() {
            phase if phase.is_before_request() => NEVER_SENT.to_owned(),
            _ => "nothing of the request was acknowledged, so the application never saw it"
                .to_owned(),
        },
        facts,
    })
}

/// Which step of the handshake was dropped.
fn stage(attempt: &AttemptFacts) -> Option<&'static str> {
    let x = &attempt.exchange;
    match attempt.phase() {
        Phase::Connect if x.retransmits > 0 => Some("the SYN stayed unanswered"),
        Phase::Waiting | Phase::Handshake
            if x.retransmits > 0
                && x.response_bytes == 0
                && !x.reused()
                && attempt.any_acked() == Some(false) =>
        {
            Some("the last step of the handshake was dropped, and nothing sent was acknowledged")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, case};
    use crate::event::ProxyKind;

    #[test]
    fn only_with_a_full_queue() {
        let syn = || {
            AttemptBuilder::connecting()
                .closed(3000)
                .with(|x| x.retransmits = 2)
        };
        let request = || {
            AttemptBuilder::sent()
                .unacked(100)
                .closed(3000)
                .with(|x| x.retransmits = 4)
        };
        for (attempt, want) in [
            (syn().queue_full(5), "listen-queue-overflow"),
            (syn(), "connect-timeout"),
            // One segment was turned away: not one of these three.
            (syn().overflows(1), "connect-timeout"),
            (request().queue_full(5), "listen-queue-overflow"),
            // The request arrived: the queue had room for this one.
            (
                AttemptBuilder::sent().closed(3000).queue_full(5),
                "response-timeout",
            ),
            (
                AttemptBuilder::connecting()
                    .reset(0)
                    .closed(0)
                    .queue_full(5),
                "connect-refused",
            ),
        ] {
            let facts = case(ProxyKind::Nginx, 504, vec![attempt.build()]);
            assert_eq!(judge(&facts).rule, want, "{facts:?}");
        }
    }
}
