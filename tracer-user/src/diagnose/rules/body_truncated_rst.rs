//! The backend reset in the middle of the body.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::{AttemptFacts, End, Phase, Progress};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "body-truncated-rst",
    title: "The backend reset the connection in the middle of the body",
    explanation: "The response head was complete and had gone to the client, then an RST came before \
        the end of the body. The program aborted or crashed with data unread, or something on the way \
        reset the connection. Bytes that were still on their way are lost.",
    evidence: &[
        "a complete response head",
        "fewer body bytes than declared, no last chunk, or a body that only a FIN could have ended",
        "an RST came before the proxy closed",
    ],
    confused_with: &[
        Confusion {
            with: "body-truncated-fin",
            difference: "there the backend closes in order, which points at its program and not at an abort",
        },
        Confusion {
            with: "client-abort",
            difference: "there the client's FIN or RST comes first",
        },
    ],
    confirm: &[
        "curl -sv -o /dev/null http://BACKEND:PORT/path from the proxy's host: curl: (56) \"Recv failure: Connection reset by peer\" after part of the body",
        "tcpdump -ni any 'host BACKEND and tcp[tcpflags] & tcp-rst != 0' on both hosts: if the backend's host did not send the RST, something on the way did",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "look for a crash, a kill or an abortive close (SO_LINGER 0) in mid-response; read the whole request \
                body before answering",
            why: "closing with unread request bytes sends RST, which destroys response bytes that are under way",
        },
        Advice {
            target: "network",
            change: "if the backend's log knows nothing of it: idle or byte limits of a firewall, IDS or mesh sidecar on the way",
            why: "a middlebox can send the reset in the backend's name",
        },
        Advice {
            target: "nginx",
            change: "check the error log for \"while reading upstream\"",
            why: "the access log shows 200; only the error log tells that the body was cut",
        },
        Advice {
            target: "haproxy",
            change: "look for the termination state SD in the log",
            why: "the status in the log is 200; the state tells that the server ended in the data phase",
        },
        Advice {
            target: "envoy",
            change: "look for the response flag UC with upstream_reset_after_response_started in the access log",
            why: "the status in the log is 200",
        },
        Advice {
            target: "apache",
            change: "look for AH01110 in the error log",
            why: "the access log shows 200",
        },
        Advice {
            target: "front-door",
            change: "errorInfo OriginConnectionAborted with status 200",
            why: "the origin aborted within the response",
        },
        Advice {
            target: "gcp",
            change: "statusDetails backend_connection_closed_after_partial_response_sent",
            why: "the backend closed within the response",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    if attempt.phase() != Phase::Body || !matches!(attempt.first_end()?.0, End::PeerReset) {
        return None;
    }
    let mut facts = cut_body(attempt);
    facts.extend(evidence::reset_reason(attempt));
    facts.extend(evidence::errno(attempt));
    Some(Finding {
        ended_by: EndedBy::Backend,
        how: How::Reset,
        what: format!(
            "{} reset the connection (RST) after {}",
            attempt.exchange.remote,
            received(attempt)
        ),
        delivery: evidence::delivery(attempt),
        facts,
    })
}

/// How much of the body came, in words.
pub(super) fn received(attempt: &AttemptFacts) -> String {
    match attempt.progress {
        Progress::Body {
            declared: Some(declared),
            received,
        } => format!(
            "{received} of {declared} body bytes ({} missing)",
            declared.saturating_sub(received)
        ),
        Progress::Body {
            declared: None,
            received,
        } => format!(
            "{} of a chunked body without its last chunk",
            words::bytes(received)
        ),
        Progress::UntilClose { received } => {
            format!("{} of a body of undeclared length", words::bytes(received))
        }
        Progress::BadChunks { received } => {
            format!("{} of a malformed chunked body", words::bytes(received))
        }
        Progress::Nothing | Progress::NoHead | Progress::Complete | Progress::Opaque => {
            format!(
                "{} of a response",
                words::bytes(attempt.exchange.response_bytes)
            )
        }
    }
}

/// The evidence that a cut body leaves.
pub(super) fn cut_body(attempt: &AttemptFacts) -> Vec<Fact> {
    let mut facts = vec![
        Fact::new("body-incomplete", received(attempt)),
        evidence::first_end(attempt),
    ];
    facts.extend(evidence::unread(attempt));
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, expect};

    #[test]
    fn bodies() {
        let cut = ("body-truncated-rst", EndedBy::Backend, How::Reset);
        for progress in [
            Progress::Body {
                declared: Some(1000),
                received: 400,
            },
            Progress::Body {
                declared: None,
                received: 400,
            },
            Progress::UntilClose { received: 400 },
        ] {
            let up = || AttemptBuilder::sent().received(200, 450).progress(progress);
            expect(502, up().reset(6).closed(6), cut);
            expect(
                502,
                up().closed(6),
                ("unexplained", EndedBy::Proxy, How::Unknown),
            );
        }
    }
}
