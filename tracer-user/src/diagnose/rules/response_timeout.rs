//! The backend kept the proxy waiting for too long.

use crate::case::{EndedBy, How, Outcome};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::{CaseFacts, End, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};
use crate::event::ProxyKind;

/// A proxy that closes earlier than this did not run into a timeout.
const PATIENCE_NS: u64 = 100_000_000;

pub(super) const RULE: Rule = Rule {
    id: "response-timeout",
    title: "The backend did not answer in time",
    explanation: "The request was sent and the backend stayed silent until the proxy's timeout closed \
        the connection (or the proxy's kernel gave up on unacknowledged data). The application is slow, \
        all its workers are busy, or it waits for something behind it.",
    evidence: &[
        "the request was sent, no complete response head came",
        "the proxy closed first, at least 100 ms after the request, while the client was still there",
        "the status is one that this kind of proxy gives for a timeout; or the kernel reported errno 110",
    ],
    confused_with: &[
        Confusion {
            with: "connect-timeout",
            difference: "there the handshake was never done",
        },
        Confusion {
            with: "client-abort",
            difference: "there the client left before the proxy closed",
        },
        Confusion {
            with: "packet-loss",
            difference: "there the request was retransmitted and never acknowledged, or the response has a hole",
        },
        Confusion {
            with: "mtu-black-hole",
            difference: "there only segments of full size are missing",
        },
    ],
    confirm: &[
        "curl -w '%{time_starttransfer}\\n' -o /dev/null -s http://BACKEND:PORT/path from the proxy's host: does it take longer than the proxy's timeout?",
        "on the backend's host while it hangs: ss -tn 'sport = :PORT'; Recv-Q above 0 means that no worker has read the request",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "measure this path: slow queries, locks, all workers busy (ss -tn on the backend: Recv-Q above 0 means \
                that no worker has read the request)",
            why: "the request lies there unanswered; a longer timeout only lets people wait longer",
        },
        Advice {
            target: "nginx",
            change: "location /slow { proxy_read_timeout 120s; }  # above the path's p99.9, for that path only",
            why: "60 s between two reads by default",
        },
        Advice {
            target: "haproxy",
            change: "timeout server 120s  # in the backend of that path only",
            why: "the response head must come within timeout server",
        },
        Advice {
            target: "envoy",
            change: "route: {timeout: 60s}  # for that route only",
            why: "15 s for the whole response by default",
        },
        Advice {
            target: "apache",
            change: "ProxyPass /slow … timeout=120",
            why: "otherwise ProxyTimeout or Timeout (60 s) counts; Apache reports it as 502",
        },
        Advice {
            target: "alb",
            change: "idle_timeout.timeout_seconds above the path's p99.9",
            why: "60 s by default; 504 with target status -",
        },
        Advice {
            target: "app-gateway",
            change: "request timeout of the HTTP setting",
            why: "20 s by default; 504 TIMED_OUT (502 on v1)",
        },
        Advice {
            target: "front-door",
            change: "origin response timeout (16 to 240 s)",
            why: "30 s by default; errorInfo OriginTimeout",
        },
        Advice {
            target: "gcp",
            change: "timeout of the backend service",
            why: "30 s by default for the whole response; statusDetails backend_timeout",
        },
        Advice {
            target: "big-ip",
            change: "idle timeout of the TCP profile",
            why: "300 s by default; an idle connection is reset",
        },
    ],
    decide,
};

/// Is that the status that such a proxy gives when a backend is too slow?
fn is_timeout_status(case: &CaseFacts) -> bool {
    matches!(
        (&case.proxy, case.status),
        (_, Some(504))
            | (ProxyKind::Apache | ProxyKind::Other(_), Some(502))
            | (ProxyKind::Envoy, Some(408 | 503))
    )
}

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    if !matches!(attempt.phase(), Phase::Waiting | Phase::Head) {
        return None;
    }
    let (end, at) = context.end(attempt)?;
    let waited = at.saturating_sub(attempt.exchange.times.request_start?);
    let answered = context.case.outcome == Outcome::ErrorResponse && context.deciding;
    let ended_by = match end {
        End::KernelTimeout => EndedBy::Kernel,
        End::Proxy
            if waited >= PATIENCE_NS
                && (answered || !attempt.client_had_left())
                && (!answered || is_timeout_status(context.case)) =>
        {
            EndedBy::Proxy
        }
        End::Proxy | End::PeerFin | End::PeerReset | End::Unreachable => return None,
    };
    let x = &attempt.exchange;
    let came = match x.response_bytes {
        0 => "no byte of a response came".to_owned(),
        n => format!("only {} of an incomplete head came", words::bytes(n)),
    };
    let mut facts = vec![
        evidence::first_end(attempt),
        Fact::new(
            "elapsed",
            format!("{came} within {}", words::duration(waited)),
        ),
    ];
    facts.extend(evidence::acknowledged(attempt));
    facts.extend(evidence::kernel_timer(attempt));
    facts.extend(evidence::retransmits(attempt));
    facts.extend(evidence::unread(attempt));
    facts.extend(evidence::errno(attempt));
    let who = match ended_by {
        EndedBy::Kernel => "the proxy's kernel gave up",
        _ => "the proxy gave up",
    };
    Some(Finding {
        ended_by,
        how: How::Timeout,
        what: format!(
            "{} did not answer within {}, then {who}",
            x.remote,
            words::duration(waited)
        ),
        delivery: evidence::delivery(attempt),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, case};
    use crate::diagnose::{Progress, judge};

    #[test]
    fn status_and_time_must_fit() {
        let slow = || AttemptBuilder::sent().closed(1000);
        for (proxy, status, attempt, want) in [
            (ProxyKind::Nginx, 504, slow(), "response-timeout"),
            (ProxyKind::Haproxy, 504, slow(), "response-timeout"),
            (ProxyKind::Envoy, 504, slow(), "response-timeout"),
            (ProxyKind::Envoy, 503, slow(), "response-timeout"),
            (ProxyKind::Apache, 502, slow(), "response-timeout"),
            (ProxyKind::Nginx, 502, slow(), "unexplained"),
            (
                ProxyKind::Nginx,
                504,
                AttemptBuilder::sent().closed(20),
                "unexplained",
            ),
            (
                ProxyKind::Nginx,
                502,
                AttemptBuilder::sent().error(110, 900_000).closed(900_001),
                "response-timeout",
            ),
            (
                ProxyKind::Nginx,
                504,
                slow().received(200, 9).progress(Progress::NoHead),
                "response-timeout",
            ),
        ] {
            let facts = case(proxy, status, vec![attempt.build()]);
            assert_eq!(judge(&facts).rule, want, "{facts:?}");
        }
    }

    #[test]
    fn an_attempt_before_the_last_needs_no_status() {
        let attempts = vec![
            AttemptBuilder::sent().closed(300).build(),
            AttemptBuilder::connecting().reset(301).closed(301).build(),
        ];
        let facts = case(ProxyKind::Nginx, 502, attempts);
        assert_eq!(
            crate::diagnose::ending(&facts, 0),
            (EndedBy::Proxy, How::Timeout)
        );
        let verdict = judge(&facts);
        assert_eq!(verdict.rule, "connect-refused");
        let earlier = verdict
            .evidence
            .iter()
            .find(|e| e.fact == "earlier-attempt")
            .unwrap();
        assert!(
            earlier.text.contains("response-timeout"),
            "{}",
            earlier.text
        );
        assert_eq!(earlier.attempt, Some(0));
    }
}
