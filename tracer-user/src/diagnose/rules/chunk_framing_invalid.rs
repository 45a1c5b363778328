//! A chunk-size line that is none.

use crate::diagnose::evidence::Fact;
use crate::diagnose::refusal::refusal;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "chunk-framing-invalid",
    title: "The backend's chunked body is not well-formed",
    explanation: "The response says Transfer-Encoding: chunked, but where a chunk-size line (or the line end behind a chunk) had to be, something else stands. The proxy cannot tell where the body ends and gives it up. On the first chunk this can still become a 502; later the client gets a good status and a cut body.",
    evidence: &[
        "a chunk-size line or chunk end within the kept bytes that is none, with its offset",
        "the proxy ended it at once, or the client's response was cut",
    ],
    confused_with: &[
        Confusion {
            with: "body-truncated-fin",
            difference: "there the chunks are well-formed and the last one is missing",
        },
        Confusion {
            with: "conflicting-framing",
            difference: "there the head already contradicts itself",
        },
    ],
    confirm: &[
        "curl -sv --raw -o - http://BACKEND:PORT/path from the proxy's host | head -c 2000 | cat -v shows the chunk lines as they are",
        "the proxy's log: nginx \"upstream sent invalid chunked response\", HAProxy PD (or PH on the first chunk)",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "let the HTTP library write the chunks; drop a Transfer-Encoding line that the application adds by hand",
            why: "a line set by hand does not make the body chunked",
        },
        Advice {
            target: "nginx",
            change: "look for \"invalid chunked response\" in the error log",
            why: "the access log shows 200",
        },
        Advice {
            target: "haproxy",
            change: "look for PD or PH in the log; show errors",
            why: "the status in the log may be 200",
        },
        Advice {
            target: "gcp",
            change: "statusDetails backend_response_corrupted",
            why: "the balancer refuses it too",
        },
        Advice {
            target: "front-door",
            change: "errorInfo OriginInvalidResponse",
            why: "the edge refuses it too",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let offset = attempt.response.bad_chunk?;
    let refusal = refusal(context)?;
    let x = &attempt.exchange;
    let fact = Fact::new(
        "bad-chunk",
        format!(
            "byte {offset} of the response is not the chunk-size line, or the end of a chunk, that must stand there"
        ),
    );
    let what = format!(
        "{} gave up the chunked body of {} after {}: the framing is broken at byte {offset}",
        context.case.proxy,
        x.remote,
        words::bytes(x.response_bytes)
    );
    Some(refusal.finding(attempt, fact, what))
}

#[cfg(test)]
mod tests {
    use crate::case::Outcome;
    use crate::diagnose::testing::{AttemptBuilder, case};
    use crate::diagnose::{Progress, judge};
    use crate::event::ProxyKind;

    #[test]
    fn chunks() {
        for (body, progress, want) in [
            (
                "zz\r\n*****\r\n",
                Progress::BadChunks { received: 11 },
                "chunk-framing-invalid",
            ),
            (
                "5\r\n*****\r\n",
                Progress::Body {
                    declared: None,
                    received: 10,
                },
                "body-truncated-fin",
            ),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            let attempt = AttemptBuilder::sent()
                .answered(&head, 0)
                .progress(progress)
                .fin(6)
                .end_read(6)
                .closed(6);
            let mut facts = case(ProxyKind::Nginx, 200, vec![attempt.build()]);
            facts.outcome = Outcome::Truncated;
            assert_eq!(judge(&facts).rule, want, "{body:?}");
        }
    }
}
