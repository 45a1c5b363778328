//! The client left before the proxy could answer, and the proxy let go of the backend.

use crate::case::{EndedBy, How, Outcome};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "client-abort",
    title: "The client gave up first",
    explanation: "The client closed or reset its connection before it had the whole response. The \
        proxy then dropped the backend connection: the end of that connection is the consequence, \
        not the cause. Reported only when 499 is among the watched statuses.",
    evidence: &[
        "the client's FIN or RST came before the proxy closed its connection",
        "the backend connection had not ended by then",
    ],
    confused_with: &[
        Confusion {
            with: "response-timeout",
            difference: "there the client is still connected when the proxy gives up",
        },
        Confusion {
            with: "fin-before-response",
            difference: "there the backend's FIN comes before the proxy's close",
        },
    ],
    confirm: &[
        "nginx: status 499 in the access log; HAProxy: a termination state that begins with C; Envoy: response flag DC",
        "compare how long the client waited with the timeout of the program or balancer in front",
    ],
    remedies: &[
        Advice {
            target: "network",
            change: "order the timeouts: each hop in front waits longer than the hop behind it",
            why: "a client or balancer that is less patient than this proxy gives up first",
        },
        Advice {
            target: "nginx",
            change: "proxy_ignore_client_abort on;  # only where the request must run to its end",
            why: "nginx then finishes the backend request although nobody waits for the answer",
        },
        Advice {
            target: "haproxy",
            change: "option abortonclose",
            why: "requests of clients that left are not sent to a server from the queue any more",
        },
        Advice {
            target: "backend",
            change: "look at the latency of this path",
            why: "people and programs give up on slow answers",
        },
        Advice {
            target: "alb",
            change: "status 460 in the access log: raise the client's timeout above the idle timeout",
            why: "460 is the client that left before the idle timeout",
        },
        Advice {
            target: "app-gateway",
            change: "status 499 with CLIENT_CLOSED_REQUEST",
            why: "the client left first",
        },
        Advice {
            target: "gcp",
            change: "statusDetails client_disconnected_before_any_response",
            why: "the client left first",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let left = context.case.client_left_ns?;
    if !context.deciding || !matches!(context.case.outcome, Outcome::Dropped | Outcome::Truncated) {
        return None;
    }
    if let Some(attempt) = context.attempt {
        let (_, at) = attempt.first_end()?;
        if at < left {
            return None;
        }
    }
    let waited = context
        .case
        .request_start_ns
        .and_then(|start| left.checked_sub(start))
        .map(|ns| format!(" after {}", words::duration(ns)))
        .unwrap_or_default();
    let what = match context.attempt {
        Some(attempt) => format!(
            "the client left{waited}, before {} had answered in full, and the proxy followed",
            attempt.exchange.remote
        ),
        None => format!("the client left{waited}, before it had its whole response"),
    };
    let mut facts = vec![Fact::new(
        "client-left",
        format!("the client's FIN or RST came{waited}, before the proxy closed"),
    )];
    facts.extend(context.attempt.map(evidence::first_end));
    Some(Finding {
        ended_by: EndedBy::Client,
        how: How::Unknown,
        what,
        delivery: context.attempt.map(evidence::delivery).unwrap_or_default(),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use crate::case::Outcome;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, at, case};
    use crate::event::ProxyKind;

    #[test]
    fn the_client_must_have_left_first() {
        for (outcome, left_ms, attempt, want) in [
            (
                Outcome::Dropped,
                40,
                Some(AttemptBuilder::sent().closed(41)),
                "client-abort",
            ),
            (Outcome::Dropped, 40, None, "client-abort"),
            // The backend failed first.
            (
                Outcome::Dropped,
                40,
                Some(AttemptBuilder::sent().fin(39).closed(41)),
                "fin-before-response",
            ),
            // The proxy gave up first.
            (
                Outcome::Dropped,
                400,
                Some(AttemptBuilder::sent().closed(300)),
                "response-timeout",
            ),
            // It was answered after all: a client may close its sending side and wait.
            (
                Outcome::ErrorResponse,
                40,
                Some(AttemptBuilder::sent().closed(3000)),
                "response-timeout",
            ),
        ] {
            let mut facts = case(
                ProxyKind::Nginx,
                504,
                attempt.map(AttemptBuilder::build).into_iter().collect(),
            );
            facts.outcome = outcome;
            facts.client_left_ns = Some(at(left_ms));
            assert_eq!(judge(&facts).rule, want, "{outcome:?} {left_ms}");
        }
    }
}
