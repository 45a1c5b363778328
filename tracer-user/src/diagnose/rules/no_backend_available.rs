//! The proxy had taken all backends out of use.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{Fact, NEVER_SENT};
use crate::diagnose::facts::{CaseFacts, FailureWas, RecentFailure};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};
use crate::event::ProxyKind;

pub(super) const RULE: Rule = Rule {
    id: "no-backend-available",
    title: "The proxy had no backend to send the request to",
    explanation: "The proxy answered without trying any backend, shortly after backends had failed \
        it: requests or health checks. It marks such backends down for a while, and this request found \
        none that was up. The failures before are the cause; this one is their echo. What marks the \
        proxy holds cannot be seen from outside, so this is a likely reading and its confidence is weak.",
    evidence: &[
        "an error response without any backend connection, with the status that this kind of proxy gives when no \
         backend is up (nginx 502, the others 503)",
        "failures of the same proxy program's backends within the 60 s before",
        "one of them failed a request that came in on the same address for the same host; or no connection of the \
         process was waiting for a response and no name was without an address",
    ],
    confused_with: &[
        Confusion {
            with: "queue-timeout",
            difference: "there backends are up and busy",
        },
        Confusion {
            with: "name-resolution-failed",
            difference: "there the name of a backend has no address",
        },
        Confusion {
            with: "a rule of the proxy that answers by itself",
            difference: "it has no failures before; with failures of other routes before, only the proxy's log tells",
        },
    ],
    confirm: &[
        "nginx's error_log: \"no live upstreams\"; HAProxy: 503 SC with <NOSRV>, \"has no server available!\"; Envoy: UH; Apache: AH01170 or \"all workers are in error state\"",
        "HAProxy: echo 'show servers state' | socat - /run/haproxy/admin.sock; Envoy: /clusters in the admin interface; Apache: balancer-manager",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "max_fails=0 for a group with a single server; fail_timeout=5s; a backup server",
            why: "one failure takes a server out for fail_timeout (10 s) unless it is the only one; with several, all \
                can be out at once",
        },
        Advice {
            target: "haproxy",
            change: "option httpchk, http-check send meth GET uri /health; default-server inter 2s fall 3 rise 2; a backup server",
            why: "a check that asks for the wrong path or host marks good servers down",
        },
        Advice {
            target: "envoy",
            change: "common_lb_config: {healthy_panic_threshold: {value: 50}}; outlier_detection: {max_ejection_percent: 50}",
            why: "some hosts then stay in use when all look bad",
        },
        Advice {
            target: "apache",
            change: "ProxyPass … retry=5, or retry=0 for a single backend",
            why: "a member in error is left out for retry= seconds (60 by default), even when it is back at once",
        },
        Advice {
            target: "backend",
            change: "mend what failed before: the evidence lists it",
            why: "the marks follow from it",
        },
        Advice {
            target: "alb",
            change: "health check path, port, host and matcher of the target group; 503 only without registered targets",
            why: "with all targets unhealthy the balancer tries them anyway",
        },
        Advice {
            target: "app-gateway",
            change: "health probe: path, host, status codes; 502 with NO_LIVE",
            why: "all members of the pool look unhealthy to it",
        },
        Advice {
            target: "gcp",
            change: "statusDetails failed_to_pick_backend: health check and its firewall rule",
            why: "no backend looks healthy to it",
        },
        Advice {
            target: "big-ip",
            change: "monitors of the pool; RST cause \"No pool member available\", log 01010028",
            why: "all members are marked down",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let case = context.alone()?;
    let around = &case.around;
    let same_route = around.failures.iter().any(|failure| failure.same_route);
    // Without a failure of this route, a busy connection speaks for a limit as well, and a name
    // without an address for that.
    let busy = around
        .in_use
        .is_some_and(|in_use| in_use.route_busy.unwrap_or(in_use.busy) > 0);
    let ambiguous = busy || !around.names.is_empty();
    if ambiguous && !same_route || around.failures.is_empty() || !is_status(case) {
        return None;
    }
    let mut facts: Vec<Fact> = around.failures.iter().map(fact).collect();
    if let Some(in_use) = around.in_use.filter(|_| !busy) {
        facts.push(Fact::new(
            "nothing-busy",
            format!(
                "no connection of process {} was waiting for a response",
                in_use.pid
            ),
        ));
    }
    let total: u32 = around.failures.iter().map(|failure| failure.count).sum();
    let newest = around.failures.first()?;
    Some(Finding {
        ended_by: EndedBy::Proxy,
        how: How::NoConnection,
        what: format!(
            "{} tried no backend for this request; {} of its backends failed {} in the 60 s before, {} the last, {} before",
            case.proxy,
            around.failures.len(),
            words::times(total.into()),
            newest.upstream,
            words::duration(newest.ago_ns)
        ),
        delivery: NEVER_SENT.to_owned(),
        facts,
    })
}

/// Is that what such a proxy answers when no backend is up?
fn is_status(case: &CaseFacts) -> bool {
    matches!(
        (&case.proxy, case.status),
        (ProxyKind::Nginx, Some(502))
            | (
                ProxyKind::Haproxy | ProxyKind::Envoy | ProxyKind::Apache,
                Some(503)
            )
            | (ProxyKind::Other(_), Some(502 | 503))
    )
}

/// Failures of one backend.
pub(super) fn fact(failure: &RecentFailure) -> Fact {
    let was = match failure.was {
        FailureWas::NotConnected => "no connection could be made".to_owned(),
        FailureWas::Handshake => "the TLS handshake failed".to_owned(),
        FailureWas::Ended => "the backend ended the connection early".to_owned(),
        FailureWas::GivenUp => "the proxy gave up waiting".to_owned(),
        FailureWas::Status(status) => format!("it answered {status}"),
    };
    let route = if failure.same_route {
        " for a request of the same route"
    } else {
        ""
    };
    Fact::new(
        "recent-failure",
        format!(
            "{} failed {} in the 60 s before, the last time {} before{route}: {was}",
            failure.upstream,
            words::times(failure.count.into()),
            words::duration(failure.ago_ns)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Confidence;
    use crate::diagnose::facts::{NameFailure, NameSays};
    use crate::diagnose::judge;
    use crate::diagnose::testing::{alone, case, in_use};

    fn failure() -> RecentFailure {
        RecentFailure {
            upstream: ([10, 0, 0, 5], 8080).into(),
            count: 2,
            ago_ns: 3_000_000_000,
            was: FailureWas::NotConnected,
            same_route: false,
        }
    }

    #[test]
    fn an_echo_of_failures() {
        for (proxy, status, failed, busy, want) in [
            (ProxyKind::Nginx, 502, true, Some(0), "no-backend-available"),
            (ProxyKind::Nginx, 502, true, None, "no-backend-available"),
            (
                ProxyKind::Haproxy,
                503,
                true,
                Some(0),
                "no-backend-available",
            ),
            // The status says something else; nothing failed before; others are served.
            (ProxyKind::Nginx, 503, true, Some(0), "unexplained"),
            (ProxyKind::Nginx, 502, false, Some(0), "unexplained"),
            (ProxyKind::Envoy, 503, true, Some(3), "unexplained"),
        ] {
            let facts = alone(proxy, status, |around| {
                around.failures = if failed { vec![failure()] } else { Vec::new() };
                around.in_use = busy.map(|busy| in_use(busy, 0, 50));
            });
            let verdict = judge(&facts);
            assert_eq!(verdict.rule, want, "{facts:?}");
            if want == "no-backend-available" {
                assert_eq!(verdict.confidence, Confidence::Weak);
                assert!(
                    verdict.evidence[0]
                        .text
                        .contains("10.0.0.5:8080 failed 2 times")
                );
            }
        }
    }

    #[test]
    fn a_check_that_failed_or_a_name_without_an_address() {
        let facts = alone(ProxyKind::Haproxy, 503, |around| {
            around.failures = vec![failure()];
            around.names = vec![NameFailure {
                name: "app.internal".into(),
                says: NameSays::Error(3),
                at_ns: 0,
            }];
        });
        let verdict = judge(&facts);
        assert_eq!(verdict.rule, "unexplained");
        let names: Vec<_> = verdict.evidence.iter().map(|e| e.fact).collect();
        assert!(names.contains(&"recent-failure") && names.contains(&"name-not-resolved"));
    }

    #[test]
    fn of_the_same_route_though_others_are_busy() {
        let facts = alone(ProxyKind::Envoy, 503, |around| {
            around.failures = vec![RecentFailure {
                same_route: true,
                ..failure()
            }];
            around.in_use = Some(in_use(3, 1, 50));
        });
        assert_eq!(judge(&facts).rule, "no-backend-available");
    }

    #[test]
    fn a_request_that_was_taken_up_is_another_story() {
        let mut facts = case(ProxyKind::Nginx, 502, vec![]);
        facts.around.failures = vec![failure()];
        assert_eq!(judge(&facts).rule, "unexplained");
    }
}
