//! All connections that the proxy may use were busy.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{Fact, NEVER_SENT};
use crate::diagnose::facts::CaseFacts;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};
use crate::event::{ProxyKind, UpstreamsInUse};

/// A client that was answered sooner did not wait in a queue.
const QUEUED_NS: u64 = 100_000_000;

pub(super) const RULE: Rule = Rule {
    id: "queue-timeout",
    title: "All backend connections that the proxy may use were busy",
    explanation: "The proxy answered without a connection to a backend while all its connections to \
        backends were busy and none had failed: a limit (maxconn, max_conns, a circuit breaker, the \
        workers' max=) was reached, and the request was refused, or waited in the proxy's queue until \
        its time was over. The limit itself cannot be seen from outside, so the confidence is weak.",
    evidence: &[
        "an error response without any backend connection",
        "connections of the process were waiting for responses",
        "with HAProxy: the client had waited at least 100 ms for its 503 (without any server HAProxy answers at once)",
        "with the others: no connection was free, no backend of the same proxy program had failed in the 60 s before, and \
         the client had waited at least 100 ms or the proxy is of a kind that refuses at once (nginx, Envoy)",
        "or: connections worked for clients of the same port, and none to the same backends was free",
    ],
    confused_with: &[
        Confusion {
            with: "no-backend-available",
            difference: "there backends failed before and nothing is busy",
        },
        Confusion {
            with: "local-fd-exhausted",
            difference: "there the kernel's limit is reached",
        },
        Confusion {
            with: "a rule of the proxy that answers by itself",
            difference: "a rate limit or a fixed answer looks the same while other requests are busy: the log tells",
        },
    ],
    confirm: &[
        "HAProxy: termination state sQ, Tw at timeout queue; Envoy: flag UO, upstream_rq_pending_overflow; nginx: \"no live upstreams\" with max_conns set",
        "ss -tn state established dst BACKEND:PORT | wc -l, against the limit in the configuration",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "raise max_conns, or add servers",
            why: "a server at max_conns counts as not available",
        },
        Advice {
            target: "haproxy",
            change: "server … maxconn at what the backend serves at once; timeout queue 30s; more servers",
            why: "requests wait in the queue for timeout queue (timeout connect if unset)",
        },
        Advice {
            target: "envoy",
            change: "circuit_breakers: thresholds: [{max_connections: …, max_pending_requests: …, max_requests: …}]",
            why: "each is 1024 by default",
        },
        Advice {
            target: "apache",
            change: "ProxyPass … max=N acquire=3000",
            why: "a request waits acquire= ms for one of max= connections of its child process",
        },
        Advice {
            target: "backend",
            change: "look at its latency: slow answers keep connections busy",
            why: "connections in use are requests a second times their duration",
        },
        Advice {
            target: "alb",
            change: "scale out; SurgeQueueLength and SpilloverCount exist for classic balancers only",
            why: "503 for want of capacity is rare",
        },
        Advice {
            target: "big-ip",
            change: "connection limits of pool and members; queue on connection limit",
            why: "above the limit connections are reset",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let case = context.alone()?;
    let in_use = case.around.in_use?;
    let waited = case.around.waited_ns.unwrap_or(0);
    // All that this client's port was waiting for, and nothing free to the same backends.
    let route = in_use.route_busy.zip(in_use.route_idle);
    let route_full = route.is_some_and(|(busy, idle)| busy > 0 && idle == 0);
    if in_use.busy == 0 && !route_full {
        return None;
    }
    // HAProxy answers 503 at once where it has no server at all: a wait was one in the queue.
    let queued =
        case.proxy == ProxyKind::Haproxy && case.status == Some(503) && waited >= QUEUED_NS;
    let all_busy = in_use.idle == 0 && case.around.failures.is_empty();
    let refused = (all_busy || route_full) && fits(case, waited, route_full);
    if !queued && !refused {
        return None;
    }
    let busy = match route.filter(|_| route_full) {
        Some((busy, _)) => format!(
            "{} worked for clients of the same port, and none to the same backends was free",
            connections(busy)
        ),
        None => busy_words(&in_use),
    };
    Some(Finding {
        ended_by: EndedBy::Proxy,
        how: How::NoConnection,
        what: format!(
            "{} made no connection to a backend within {}; {busy}",
            case.proxy,
            words::duration(waited)
        ),
        delivery: NEVER_SENT.to_owned(),
        facts: vec![
            Fact::new("all-busy", busy),
            Fact::new(
                "waited",
                format!("the client had waited {}", words::duration(waited)),
            ),
        ],
    })
}

fn busy_words(in_use: &UpstreamsInUse) -> String {
    format!(
        "{} of process {} waited for responses, and {}",
        connections(in_use.busy),
        in_use.pid,
        match in_use.idle {
            0 => "none was free".to_owned(),
            idle => format!("{} free", connections(idle)),
        }
    )
}

/// HAProxy and Apache let a request wait first; nginx and Envoy refuse it at once.
fn fits(case: &CaseFacts, waited: u64, route_full: bool) -> bool {
    let queued = waited >= QUEUED_NS;
    match (&case.proxy, case.status) {
        (ProxyKind::Nginx, Some(502)) => true,
        // It gives the same answer when health checks or names failed, which may be long ago.
        (ProxyKind::Envoy, Some(503)) => route_full || !case.around.failures_elsewhere,
        (ProxyKind::Apache, Some(503)) => queued,
        (ProxyKind::Other(_), Some(502..=504)) => queued,
        _ => false,
    }
}

fn connections(count: u32) -> String {
    match count {
        1 => "1 connection".to_owned(),
        count => format!("{count} connections"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::facts::{FailureWas, RecentFailure};
    use crate::diagnose::judge;
    use crate::diagnose::testing::{alone, in_use};

    #[test]
    fn busy_and_waiting() {
        for (proxy, status, waited_ms, busy, idle, failed, want) in [
            (ProxyKind::Haproxy, 503, 5000, 3, 0, false, "queue-timeout"),
            (ProxyKind::Envoy, 503, 0, 3, 0, false, "queue-timeout"),
            (ProxyKind::Nginx, 502, 0, 3, 0, false, "queue-timeout"),
            // A rule that denies answers at once; a free connection; failures before; nothing busy.
            (ProxyKind::Haproxy, 503, 0, 3, 0, false, "unexplained"),
            (ProxyKind::Nginx, 503, 0, 3, 0, false, "unexplained"),
            (ProxyKind::Envoy, 503, 0, 3, 1, false, "unexplained"),
            (ProxyKind::Envoy, 503, 0, 3, 0, true, "unexplained"),
            // Other backends may have free connections and failures.
            (ProxyKind::Haproxy, 503, 5000, 3, 1, true, "queue-timeout"),
            (ProxyKind::Haproxy, 503, 5000, 0, 0, false, "unexplained"),
        ] {
            let facts = alone(proxy, status, |around| {
                around.waited_ns = Some(waited_ms * 1_000_000);
                around.in_use = Some(in_use(busy, idle, 50));
                if failed {
                    around.failures = vec![RecentFailure {
                        upstream: ([10, 0, 0, 5], 80).into(),
                        count: 1,
                        ago_ns: 5,
                        was: FailureWas::Ended,
                        same_route: false,
                    }];
                }
            });
            assert_eq!(judge(&facts).rule, want, "{facts:?}");
        }
    }

    /// What the clients of other ports do, and their backends' failures, does not matter then.
    #[test]
    fn the_connections_of_the_same_port_decide() {
        for (route_busy, route_idle, want) in [
            (3, 0, "queue-timeout"),
            (3, 1, "unexplained"),
            (0, 0, "no-backend-available"),
        ] {
            let facts = alone(ProxyKind::Nginx, 502, |around| {
                around.in_use = Some(UpstreamsInUse {
                    route_busy: Some(route_busy),
                    route_idle: Some(route_idle),
                    ..in_use(5, 5, 50)
                });
                around.failures = vec![RecentFailure {
                    upstream: ([10, 0, 0, 5], 80).into(),
                    count: 1,
                    ago_ns: 5,
                    was: FailureWas::Ended,
                    same_route: false,
                }];
            });
            assert_eq!(judge(&facts).rule, want, "{facts:?}");
        }
    }
}
