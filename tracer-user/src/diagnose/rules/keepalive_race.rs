//! A request met a pooled connection that the backend was just closing.

use crate::case::{EndedBy, How};
use crate::diagnose::errno::{ECONNRESET, EPIPE};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::{AttemptFacts, End, Phase};
use crate::diagnose::idle::near_default;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

/// Reset reasons that say: the backend's side was closed before the request came.
const CLOSED_BEFORE: [&str; 3] = ["TCP_ABORT_ON_DATA", "NO_SOCKET", "TCP_TIMEWAIT_SOCKET"];

pub(super) const RULE: Rule = Rule {
    id: "keepalive-race",
    title: "The backend closed an idle connection just as the proxy reused it",
    explanation: "The proxy kept the connection open for reuse. The backend's keep-alive timeout ran \
        out, and its FIN crossed with the next request (or arrived before it and was not looked at). \
        The backend's kernel answers such a request with a reset: the application never saw it. \
        Typical signs: a few failures per thousand, at random URLs, mostly at low traffic.",
    evidence: &[
        "the connection had carried an exchange before, and no response byte came for this one",
        "the backend's FIN came before the request, or before any byte of it was acknowledged; or its \
         reset says that its side was already closed; or the send itself failed",
        "or, with the backend on this host: it closed before it had read a byte of the request",
    ],
    confused_with: &[
        Confusion {
            with: "fin-before-response",
            difference: "there the request was acknowledged before the FIN: the backend had it",
        },
        Confusion {
            with: "rst-before-response",
            difference: "there the connection is fresh, or the reset comes from a program that aborts",
        },
        Confusion {
            with: "idle-drop-by-middlebox",
            difference: "there the backend still has the connection: a device on the way forgot it, and no FIN comes",
        },
    ],
    confirm: &[
        "find the idle time after which the backend closes: (printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'; sleep 200) | nc -v BACKEND PORT, and note when it ends",
        "compare it with the time that the proxy keeps idle connections; the race is possible where the backend's is the shorter or both are equal",
        "tcpdump -ni any 'host BACKEND and port PORT': FIN of the backend, then the request, then RST",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "upstream { … keepalive_timeout 4s; }  # below the backend's idle timeout; the default is 60s",
            why: "nginx then closes the idle connection first, so it never sends on one that the backend is closing",
        },
        Advice {
            target: "haproxy",
            change: "pool-purge-delay 2s on the server; http-reuse safe; retry-on conn-failure empty-response with \
                http-request disable-l7-retry if METH_POST",
            why: "idle connections leave the pool before the backend closes them, and what still races is retried \
                instead of dropped",
        },
        Advice {
            target: "envoy",
            change: "common_http_protocol_options: {idle_timeout: 4s} on the cluster (below the backend's), \
                retry_on: reset-before-request,connect-failure",
            why: "Envoy keeps idle connections for an hour by default",
        },
        Advice {
            target: "apache",
            change: "ProxyPass … ttl=4 (below the backend's), or SetEnv proxy-initial-not-pooled 1",
            why: "Apache has no idle limit of its own for pooled connections",
        },
        Advice {
            target: "backend",
            change: "raise the keep-alive (idle) timeout above the proxy's, e.g. gunicorn --keep-alive 75, \
                uvicorn --timeout-keep-alive 75, Node.js server.keepAliveTimeout = 75000, Apache KeepAliveTimeout 75",
            why: "whoever closes idle connections must be the side that also sends the requests",
        },
        Advice {
            target: "alb",
            change: "keep the target's idle timeout above the balancer's (idle_timeout.timeout_seconds, 60 s by default), for example 75 s",
            why: "the balancer reuses connections up to its own idle timeout",
        },
        Advice {
            target: "app-gateway",
            change: "keep the backend's idle timeout above 75 s (v2; 120 s for v1)",
            why: "the gateway's own value is fixed",
        },
        Advice {
            target: "gcp",
            change: "keep the backend's idle timeout at 620 s or more",
            why: "the balancer keeps connections for 600 s, fixed",
        },
        Advice {
            target: "front-door",
            change: "keep the origin's idle timeout above 90 s",
            why: "errorInfo OriginConnectionAborted otherwise",
        },
        Advice {
            target: "big-ip",
            change: "OneConnect: a maximum age below the pool member's idle timeout",
            why: "the default age is a day, so only the member ends idle connections",
        },
    ],
    decide,
};

/// What shows that the backend's side was closed before the request came.
///
/// In this order: its FIN stood before the request; its FIN crossed with the request; its reset
/// names a closed socket; the send failed. A bare reset is none: the FIN of a backend that closes comes
/// before it, in order.
fn proof(attempt: &AttemptFacts) -> Option<Fact> {
    let x = &attempt.exchange;
    let start = x.times.request_start;
    if attempt.peer.as_ref().is_some_and(|half| half.late_request) {
        return Some(Fact::new(
            "closed-before-reading",
            "the backend's own half of the connection: it closed before it had read a byte of this request",
        ));
    }
    let at_end = attempt.at_peer_end();
    if let Some(fin) = x.times.fin_received {
        // The request's time is that at which its send returned, and a backend on this host may have
        // read it by then; sequence numbers tell the order.
        let sent_before = at_end.as_ref().is_some_and(|at_end| at_end.written > 0);
        if let Some(early) = start
            .filter(|_| !sent_before)
            .and_then(|start| start.checked_sub(fin))
            .filter(|ns| *ns > 0)
        {
            return Some(Fact::new(
                "fin-before-request",
                format!(
                    "the backend's FIN arrived {} before the request was written",
                    words::duration(early)
                ),
            ));
        }
        match at_end {
            Some(at_end) if at_end.acked > 0 => return None,
            Some(at_end) if at_end.written > 0 => {
                return Some(Fact::new(
                    "fin-crossed-request",
                    "the backend's FIN arrived when no byte of the request had been acknowledged",
                ));
            }
            Some(_) | None if x.times.reset_received.is_some() => {
                return Some(Fact::new(
                    "fin-then-reset",
                    "the backend's FIN was followed by a reset in answer to the request",
                ));
            }
            Some(_) | None => {}
        }
    }
    if attempt.any_acked() == Some(true) {
        return None;
    }
    if let Some(reason) = attempt.reset_received_reason.as_deref() {
        return CLOSED_BEFORE.contains(&reason).then(|| {
            Fact::new(
                "reset-by-closed-socket",
                format!("the reset's reason is {reason}: the backend's side was closed before the request came"),
            )
        });
    }
    if matches!(x.send_errno, Some(EPIPE | ECONNRESET)) {
        return Some(Fact::new(
            "send-failed",
            "the connection was gone when the proxy sent the request",
        ));
    }
    None
}

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    if attempt.phase() != Phase::Waiting || !attempt.exchange.reused() {
        return None;
    }
    let (end, _) = attempt.first_end()?;
    // The proxy may look at the failed send and close before the FIN or RST is noted.
    if !matches!(end, End::PeerFin | End::PeerReset) && attempt.exchange.send_errno.is_none() {
        return None;
    }
    let proof = proof(attempt)?;
    let delivery = "the application never saw the request, so a retry is safe";
    let mut facts = vec![proof];
    let idle = attempt.idle_before_ns();
    if let Some(idle) = idle {
        let hint = near_default(idle)
            .map(|(s, who)| format!(", close to the {s} s default of {who}"))
            .unwrap_or_default();
        facts.push(Fact::new(
            "idle-gap",
            format!(
                "the connection had been idle for {}{hint}",
                words::duration(idle)
            ),
        ));
    }
    facts.extend(evidence::reused(attempt));
    facts.extend(evidence::acknowledged(attempt));
    facts.extend(evidence::reset_reason(attempt));
    let reset = attempt.exchange.times.reset_received.is_some();
    let idle = idle
        .map(|ns| format!(" (idle for {})", words::duration(ns)))
        .unwrap_or_default();
    Some(Finding {
        ended_by: EndedBy::Backend,
        how: if reset { How::Reset } else { How::Fin },
        what: format!(
            "{} was closing the pooled connection{idle} as the proxy sent the next request on it",
            attempt.exchange.remote
        ),
        delivery: delivery.to_owned(),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, case, expect};
    use crate::event::ProxyKind;

    #[test]
    fn races() {
        let by_fin = ("keepalive-race", EndedBy::Backend, How::Fin);
        let by_reset = ("keepalive-race", EndedBy::Backend, How::Reset);
        let up = || AttemptBuilder::reused(5000);
        // The FIN stood before the request, and a reset answered.
        expect(502, up().fin(-1).unacked(0).reset(1).closed(1), by_reset);
        // The FIN crossed with the request.
        expect(502, up().fin(1).unacked(100).reset(2).closed(2), by_reset);
        expect(502, up().fin(1).unacked(100).closed(2), by_fin);
        // The backend is on this host and its kernel says why.
        for reason in CLOSED_BEFORE {
            let attempt = AttemptBuilder::reused(100)
                .unacked(100)
                .reset(1)
                .reason(reason);
            expect(502, attempt.closed(1), by_reset);
        }
        // The send failed.
        expect(
            502,
            up().unacked(0).with(|x| x.send_errno = Some(32)).closed(0),
            by_fin,
        );
    }

    #[test]
    fn not_races() {
        let fin = ("fin-before-response", EndedBy::Backend, How::Fin);
        let reset = ("rst-before-response", EndedBy::Backend, How::Reset);
        // The backend had the request.
        expect(502, AttemptBuilder::reused(5000).fin(30).closed(31), fin);
        // A fresh connection cannot race.
        expect(
            502,
            AttemptBuilder::sent().unacked(100).reset(1).closed(1),
            reset,
        );
        // No idle gap worth the name, no reason given.
        expect(
            502,
            AttemptBuilder::reused(20).unacked(100).reset(1).closed(1),
            reset,
        );
        // Too late for an answer to the request alone.
        expect(
            502,
            AttemptBuilder::reused(5000)
                .unacked(100)
                .reset(50)
                .closed(50),
            reset,
        );
        // The program aborted: its kernel says so.
        let aborted = AttemptBuilder::reused(5000)
            .unacked(100)
            .reset(1)
            .reason("TCP_STATE");
        expect(502, aborted.closed(1), reset);
    }

    #[test]
    fn a_backend_on_this_host_may_be_done_before_the_send_returns() {
        let fin = ("fin-before-response", EndedBy::Backend, How::Fin);
        let attempt = AttemptBuilder::reused(5000).fin(-1).with(|x| {
            // All of the request was written and acknowledged when the FIN came.
            x.request_start_seq = 1000;
            let end = 1000 + x.request_bytes as u32;
            (x.snd_una_at_end, x.write_seq_at_end) = (end, end);
        });
        expect(502, attempt.closed(1), fin);
    }

    #[test]
    fn a_proven_race_calls_a_retry_safe() {
        let summary = |attempt: AttemptBuilder| {
            judge(&case(ProxyKind::Nginx, 502, vec![attempt.build()])).summary
        };
        let proven = AttemptBuilder::reused(5000)
            .fin(-1)
            .unacked(0)
            .reset(1)
            .closed(1);
        assert!(summary(proven).contains("a retry is safe"));
    }

    #[test]
    fn evidence_names_the_likely_servers() {
        let attempt = AttemptBuilder::reused(4999)
            .fin(0)
            .unacked(100)
            .reset(1)
            .closed(1);
        let verdict = judge(&case(ProxyKind::Nginx, 502, vec![attempt.build()]));
        let gap = verdict
            .evidence
            .iter()
            .find(|e| e.fact == "idle-gap")
            .unwrap();
        assert!(
            gap.text
                .contains("4.999 s, close to the 5 s default of Node.js"),
            "{}",
            gap.text
        );
        assert!(
            verdict
                .summary
                .contains("a retry is safe; the client got 502 from nginx.")
        );
        assert_eq!(verdict.remedies[0].target, "nginx");
        assert_eq!(verdict.remedies.last().unwrap().target, "backend");
    }
}
