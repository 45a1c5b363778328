//! The backend stopped in the middle of the response head.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::{End, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "partial-header",
    title: "The backend stopped within the response head",
    explanation: "Bytes of a response came, but the connection ended before the blank line that ends \
        the head of the final response. The backend died while writing it, or answered with an interim \
        (1xx) head only.",
    evidence: &[
        "at least one response byte, no complete head of a final response",
        "the backend's FIN or RST came before the proxy closed",
    ],
    confused_with: &[
        Confusion {
            with: "body-truncated-fin",
            difference: "there the head is complete, so the client gets a status and a cut body instead of a 502",
        },
        Confusion {
            with: "header-too-large",
            difference: "there the proxy closes first, with bytes unread",
        },
        Confusion {
            with: "informational-only-response",
            difference: "there the bytes are complete 1xx heads and no final head has begun",
        },
    ],
    confirm: &[
        "curl -v http://BACKEND:PORT/path from the proxy's host: headers appear and stop, then the connection ends",
        "the backend's log, dmesg and journalctl -k at that second for a crash or a kill",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "read the backend's log, dmesg and journalctl -k at this time: a crash or a kill while the head was written",
            why: "no setting of a proxy mends half a response head",
        },
        Advice {
            target: "app-gateway",
            change: "error_info UPSTREAM_CLOSED_CONNECTION",
            why: "the backend closed within the head",
        },
        Advice {
            target: "gcp",
            change: "statusDetails backend_connection_closed_after_partial_response_sent with status 0",
            why: "the backend closed within the head",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    if attempt.phase() != Phase::Head {
        return None;
    }
    let (how, word) = match attempt.first_end()? {
        (End::PeerFin, _) => (How::Fin, "FIN"),
        (End::PeerReset, _) => (How::Reset, "RST"),
        _ => return None,
    };
    let x = &attempt.exchange;
    let received = words::bytes(x.response_bytes);
    let mut facts = vec![
        Fact::new(
            "head-incomplete",
            format!("{received} of a response, without the blank line that ends the head"),
        ),
        evidence::first_end(attempt),
    ];
    facts.extend(evidence::reset_reason(attempt));
    facts.extend(evidence::unread(attempt));
    facts.extend(evidence::acknowledged(attempt));
    Some(Finding {
        ended_by: EndedBy::Backend,
        how,
        what: format!(
            "{} ended the connection ({word}) after {received} of an incomplete response head",
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

    #[test]
    fn heads() {
        let up = || {
            AttemptBuilder::sent()
                .received(200, 17)
                .progress(Progress::NoHead)
        };
        expect(
            502,
            up().fin(6).closed(6),
            ("partial-header", EndedBy::Backend, How::Fin),
        );
        expect(
            502,
            up().reset(6).closed(6),
            ("partial-header", EndedBy::Backend, How::Reset),
        );
        // The proxy did not like what it got.
        expect(
            502,
            up().closed(6),
            ("unexplained", EndedBy::Proxy, How::Unknown),
        );
    }
}
