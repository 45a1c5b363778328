//! Nothing but an interim answer.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::{End, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};
use crate::http::Head;

pub(super) const RULE: Rule = Rule {
    id: "informational-only-response",
    title: "The backend sent an interim (1xx) answer and nothing else",
    explanation: "The backend answered with a 1xx head, usually 100 Continue, and closed before the final head began. Mostly its handling of Expect: 100-continue is at fault: it says continue and then drops the request.",
    evidence: &[
        "the response is one or more complete 1xx heads, and no byte of a final head",
        "the backend's FIN or RST came before the proxy closed",
    ],
    confused_with: &[
        Confusion {
            with: "partial-header",
            difference: "there a final head has begun",
        },
        Confusion {
            with: "fin-before-response",
            difference: "there no byte came at all",
        },
    ],
    confirm: &[
        "curl -v -H 'Expect: 100-continue' --data-binary @FILE http://BACKEND:PORT/path from the proxy's host: \"HTTP/1.1 100 Continue\" and then curl: (52) or (56)",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "after 100 Continue read the body and answer; or answer with the final status at once",
            why: "an interim answer promises another one (RFC 9110, 15.2)",
        },
        Advice {
            target: "nginx",
            change: "proxy_set_header Expect \"\";",
            why: "then the backend has no reason to send 100 Continue; versions before 1.29 pass an interim status on as if it were the answer",
        },
        Advice {
            target: "haproxy",
            change: "http-request del-header Expect",
            why: "then the backend has no reason to send 100 Continue",
        },
        Advice {
            target: "envoy",
            change: "route: {request_headers_to_remove: [expect]}",
            why: "then the backend has no reason to send 100 Continue",
        },
        Advice {
            target: "apache",
            change: "RequestHeader unset Expect early",
            why: "then the backend has no reason to send 100 Continue",
        },
        Advice {
            target: "gcp",
            change: "statusDetails backend_interim_response_not_supported",
            why: "this balancer takes no interim responses from some backends",
        },
        Advice {
            target: "front-door",
            change: "errorInfo OriginInvalidResponse",
            why: "the origin's response was not complete",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let response = &attempt.response;
    if attempt.phase() != Phase::Head || response.interim == 0 || response.head != Head::Absent {
        return None;
    }
    let (how, word) = match attempt.first_end()? {
        (End::PeerFin, _) => (How::Fin, "FIN"),
        (End::PeerReset, _) => (How::Reset, "RST"),
        (End::KernelTimeout | End::Unreachable | End::Proxy, _) => return None,
    };
    let x = &attempt.exchange;
    let status = x
        .status
        .map_or_else(|| "1xx".to_owned(), |status| status.to_string());
    let mut facts = vec![
        Fact::new(
            "interim-only",
            format!(
                "{} came: {} with status {status}, and nothing of a final response",
                words::bytes(x.response_bytes),
                if response.interim == 1 {
                    "one interim head"
                } else {
                    "interim heads, the last"
                },
            ),
        ),
        evidence::first_end(attempt),
    ];
    facts.extend(evidence::reset_reason(attempt));
    facts.extend(evidence::acknowledged(attempt));
    Some(Finding {
        ended_by: EndedBy::Backend,
        how,
        what: format!(
            "{} answered {status} only and ended the connection ({word}) without a final response",
            x.remote
        ),
        delivery: evidence::delivery(attempt),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Progress;
    use crate::diagnose::testing::{AttemptBuilder, expect};

    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

    #[test]
    fn only_interim_heads() {
        let up = |text: &str| {
            AttemptBuilder::sent()
                .answered(text, 0)
                .progress(Progress::NoHead)
        };
        expect(
            502,
            up(CONTINUE).fin(6).closed(6),
            ("informational-only-response", EndedBy::Backend, How::Fin),
        );
        expect(
            502,
            up(&format!("{CONTINUE}HTTP/1.1 20")).fin(6).closed(6),
            ("partial-header", EndedBy::Backend, How::Fin),
        );
        // The backend never went on, and the proxy's patience ended.
        expect(
            504,
            up(CONTINUE).closed(1005),
            ("response-timeout", EndedBy::Proxy, How::Timeout),
        );
    }
}
