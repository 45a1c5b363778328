//! The backend answered with the error status itself.

use tracer_ebpf::Cause;

use crate::case::{EndedBy, How, Outcome};
use crate::diagnose::evidence::Fact;
use crate::diagnose::facts::{End, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "application-502",
    title: "The backend sent the error status itself",
    explanation: "The response that the proxy passed on came from the backend: its application, or \
        another proxy in front of it. The connection worked; the cause lies one hop further in.",
    evidence: &["the head of the backend's response carries the status that the client got"],
    confused_with: &[Confusion {
        with: "fin-before-response",
        difference: "there no byte of a response came from the backend and the proxy made the status up",
    }],
    confirm: &[
        "curl -v http://BACKEND:PORT/path from the proxy's host, past the proxy: the same status with the backend's own error page",
        "the proxy's log: nginx has the status and a time in $upstream_status and $upstream_header_time, HAProxy shows ----, Envoy says via_upstream, Apache has no AH line",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "read the log of the application (or of the next proxy behind this address) at this time, \
            by request id if there is one; run why502 on that host if it is a proxy",
            why: "this proxy only passed the status on; changing it here would hide the failure",
        },
        Advice {
            target: "alb",
            change: "compare elb_status_code with target_status_code in the access log",
            why: "both carry the status when the target sent it",
        },
        Advice {
            target: "app-gateway",
            change: "error_info NO_ERROR in the access log",
            why: "the gateway passed the status of the backend on",
        },
        Advice {
            target: "front-door",
            change: "errorInfo NoError in the access log",
            why: "the origin sent the status",
        },
        Advice {
            target: "gcp",
            change: "statusDetails response_sent_by_backend",
            why: "the backend sent the status",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let status = attempt.exchange.status?;
    let whole = attempt.exchange.cause == Cause::Status
        || !matches!(
            attempt.phase(),
            Phase::Connect | Phase::Waiting | Phase::Head
        );
    let fits = match (context.deciding, context.case.outcome) {
        (true, Outcome::ErrorResponse) => context.case.status == Some(status),
        (true, Outcome::Truncated | Outcome::Dropped) => false,
        // A retry after an answer of the backend (nginx: proxy_next_upstream http_502).
        (true, Outcome::Masked) | (false, _) => status >= 500,
    };
    if !whole || !fits {
        return None;
    }
    let times = &attempt.exchange.times;
    let ttfb = times
        .response_start
        .zip(times.request_start)
        .and_then(|(response, request)| response.checked_sub(request))
        .map(|ns| format!(" {} after the request", words::duration(ns)))
        .unwrap_or_default();
    let ended_by = match attempt.first_end() {
        Some((End::PeerFin | End::PeerReset, _)) => EndedBy::Backend,
        Some((End::Proxy, _)) => EndedBy::Proxy,
        Some((End::KernelTimeout | End::Unreachable, _)) | None => EndedBy::Unknown,
    };
    let upstream = attempt.exchange.remote;
    Some(Finding {
        ended_by,
        how: How::Completed,
        what: format!("{upstream} itself answered {status}{ttfb}"),
        delivery: "the request was delivered and answered".to_owned(),
        facts: vec![Fact::new(
            "backend-status",
            format!("the response from {upstream} began with status {status}{ttfb}"),
        )],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, case};
    use crate::diagnose::{Progress, ending, judge};
    use crate::event::ProxyKind;

    #[test]
    fn only_the_status_that_was_passed_on() {
        let answered = |status| {
            AttemptBuilder::sent()
                .received(status, 300)
                .progress(Progress::Complete)
        };
        for (attempt, status, want, ended_by) in [
            (answered(502), 502, "application-502", EndedBy::Unknown),
            (
                answered(502).closed(9),
                502,
                "application-502",
                EndedBy::Proxy,
            ),
            (
                answered(503).fin(9),
                503,
                "application-502",
                EndedBy::Backend,
            ),
            // The proxy made another status of it.
            (answered(200), 502, "unexplained", EndedBy::Unknown),
        ] {
            let facts = case(ProxyKind::Nginx, status, vec![attempt.build()]);
            let verdict = judge(&facts);
            assert_eq!((verdict.rule, verdict.confidence.name()), (want, "none"));
            assert_eq!(ending(&facts, 0), (ended_by, How::Completed));
        }
    }
}
