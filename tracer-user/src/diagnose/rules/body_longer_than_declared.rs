//! More came than the head had declared.

use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::Phase;
use crate::diagnose::refusal::refusal;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "body-longer-than-declared",
    title: "The backend sent more than it had declared",
    explanation: "The response is complete by its own head, and bytes came behind its end: a Content-Length that is too small, a body on a response that has none (HEAD, 204, 304). Most proxies drop the surplus and the connection; some refuse the response. Harmless by itself, so it is named only where the proxy cut or refused the response.",
    evidence: &[
        "a complete response and bytes behind its end",
        "the proxy ended it at once; the client got something else or less",
    ],
    confused_with: &[
        Confusion {
            with: "conflicting-framing",
            difference: "there the head declares two lengths",
        },
        Confusion {
            with: "keepalive-race",
            difference: "a notice that the backend sends on an idle connection (408) is surplus too, but the request that follows fails",
        },
    ],
    confirm: &[
        "curl -sv -o /dev/null http://BACKEND:PORT/path from the proxy's host says \"Excess found in a read\" or \"excess bytes\"",
        "printf 'GET /path HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' | nc BACKEND PORT | wc -c, against head plus Content-Length",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "mend the Content-Length: a filter that changes the body (compression, templates) must drop or recompute it; send no body with 204, 304 or to HEAD",
            why: "what stands behind the end would be read as the next response",
        },
        Advice {
            target: "nginx",
            change: "the error log warns \"upstream sent more data than specified in \\\"Content-Length\\\" header\"",
            why: "nginx drops the surplus and does not reuse the connection",
        },
        Advice {
            target: "gcp",
            change: "statusDetails backend_response_corrupted",
            why: "the balancer may refuse it",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let x = &attempt.exchange;
    let surplus = attempt.response.surplus + u64::from(x.socket.unread.unwrap_or(0));
    if attempt.phase() != Phase::Complete || surplus == 0 {
        return None;
    }
    let refusal = refusal(context)?;
    let mut facts = vec![
        Fact::new(
            "surplus",
            format!(
                "{} came behind the end of a complete response",
                words::bytes(surplus)
            ),
        ),
        Fact::new("refused", refusal.text()),
    ];
    facts.extend(evidence::our_reset(attempt));
    facts.extend(evidence::unread(attempt));
    Some(Finding {
        ended_by: refusal.ended_by,
        how: refusal.how,
        what: format!(
            "{} gave up the response of {}: {} more came than its head declares",
            context.case.proxy,
            x.remote,
            words::bytes(surplus)
        ),
        delivery: evidence::delivery(attempt),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use crate::diagnose::testing::{AttemptBuilder, case};
    use crate::diagnose::{Progress, judge};
    use crate::event::ProxyKind;

    #[test]
    fn surplus() {
        for (more, want) in [(9, "body-longer-than-declared"), (5, "unexplained")] {
            let attempt = AttemptBuilder::sent()
                .answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", more)
                .progress(Progress::Complete)
                .closed(6);
            let verdict = judge(&case(ProxyKind::Envoy, 502, vec![attempt.build()]));
            assert_eq!(verdict.rule, want);
        }
    }
}
