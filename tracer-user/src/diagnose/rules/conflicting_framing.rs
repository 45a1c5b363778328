//! The response head says two things about the body's length.

use crate::case::EndedBy;
use crate::diagnose::evidence::Fact;
use crate::diagnose::refusal::refusal;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule};
use crate::event::ProxyKind;
use crate::http::FramingFault;

pub(super) const RULE: Rule = Rule {
    id: "conflicting-framing",
    title: "The backend's response declares its length in two ways",
    explanation: "The response head is well-formed, but its lines about the body contradict each other: two Content-Length lines, Content-Length beside Transfer-Encoding, a length that is no number, an unknown coding. Such a response can be read in two ways (response splitting), so many proxies refuse it; one that does not may wait for bytes that never come.",
    evidence: &[
        "the complete head has contradicting or unknown framing lines",
        "the proxy ended it at once after the data; the client got something else",
    ],
    confused_with: &[
        Confusion {
            with: "malformed-response",
            difference: "there a byte is not allowed in a head at all",
        },
        Confusion {
            with: "body-longer-than-declared",
            difference: "there one length is declared and more is sent",
        },
    ],
    confirm: &[
        "curl -sv -o /dev/null http://BACKEND:PORT/path from the proxy's host, and count the Content-Length and Transfer-Encoding lines",
        "nginx (from 1.23): \"upstream sent duplicate header line\" or \"… at the same time\"; HAProxy: show errors",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "let one place set the length: two frameworks, a filter that compresses, or a proxy inside the application add a second line",
            why: "the two readers of such a response may disagree on where it ends",
        },
        Advice {
            target: "nginx",
            change: "mend the backend; versions before 1.23.0 let it pass",
            why: "since then nginx refuses duplicate and contradicting lines",
        },
        Advice {
            target: "alb",
            change: "desync mitigation mode (routing.http.desync_mitigation_mode)",
            why: "in its strictest mode the balancer refuses ambiguous responses",
        },
        Advice {
            target: "gcp",
            change: "statusDetails backend_response_corrupted",
            why: "the balancer refuses it too",
        },
    ],
    decide,
};

fn describe(fault: &FramingFault) -> String {
    match fault {
        FramingFault::TwoLengths => "two different Content-Length values".to_owned(),
        FramingFault::InvalidLength => "a Content-Length that is no number".to_owned(),
        FramingFault::RepeatedLength => "the same Content-Length twice".to_owned(),
        FramingFault::LengthAndCoding => "both Content-Length and Transfer-Encoding".to_owned(),
        FramingFault::UnknownCoding(name) => {
            format!("the unknown Transfer-Encoding \"{name}\"")
        }
    }
}

/// Does such a proxy take this as it is? HAProxy follows RFC 9112, 6.3, where Transfer-Encoding counts
/// and equal lengths are one; then something else must have been the reason.
fn accepted(proxy: &ProxyKind, fault: &FramingFault) -> bool {
    matches!(
        (proxy, fault),
        (
            ProxyKind::Haproxy,
            FramingFault::LengthAndCoding | FramingFault::RepeatedLength
        )
    )
}

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let fault = attempt.response.framing.as_ref()?;
    if accepted(&context.case.proxy, fault) {
        return None;
    }
    let refusal = refusal(context)?;
    let x = &attempt.exchange;
    let what = describe(fault);
    let fact = Fact::new("framing-conflict", format!("the response head has {what}"));
    let what = match refusal.ended_by {
        // The proxy believed one of the two, and the backend the other.
        EndedBy::Backend => format!(
            "{} ended its response before {} had all that it waited for: the head has {what}",
            x.remote, context.case.proxy
        ),
        _ => format!(
            "{} refused the response of {}: its head has {what}",
            context.case.proxy, x.remote
        ),
    };
    Some(refusal.finding(attempt, fact, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, case};
    use crate::diagnose::{Progress, judge};

    #[test]
    fn conflicts() {
        let two = "Content-Length: 5\r\nContent-Length: 6";
        let both = "Content-Length: 5\r\nTransfer-Encoding: chunked";
        for (proxy, lines, status, want) in [
            (ProxyKind::Nginx, two, 502, "conflicting-framing"),
            (ProxyKind::Haproxy, two, 502, "conflicting-framing"),
            (ProxyKind::Nginx, both, 502, "conflicting-framing"),
            (ProxyKind::Haproxy, both, 502, "unexplained"),
            (ProxyKind::Nginx, "Content-Length: 5", 502, "unexplained"),
            // The backend's own 502, conflict or not.
            (ProxyKind::Nginx, two, 200, "application-502"),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
            let attempt = AttemptBuilder::sent()
                .answered(&head, 5)
                .progress(Progress::Complete)
                .closed(6);
            let verdict = judge(&case(proxy, status, vec![attempt.build()]));
            assert_eq!(verdict.rule, want, "{lines}");
        }
    }
}
