//! The backend closed in the middle of the body.

use super::body_truncated_rst::{cut_body, received};
use crate::case::{EndedBy, How};
use crate::diagnose::evidence;
use crate::diagnose::facts::{End, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    id: "body-truncated-fin",
    title: "The backend closed before the whole body was sent",
    explanation: "The response head was complete and had gone to the client, then the backend's FIN \
        came before the declared length, or the last chunk, was reached. The client sees a good status \
        and a short body; access logs usually show 200.",
    evidence: &[
        "a complete response head that declares a length or chunks",
        "fewer body bytes than declared, or no last chunk",
        "the backend's FIN came before the proxy closed",
    ],
    confused_with: &[
        Confusion {
            with: "client-abort",
            difference: "there the client's FIN or RST comes first",
        },
        Confusion {
            with: "a body that ends with the connection",
            difference: "without a declared length a FIN is the regular end",
        },
        Confusion {
            with: "body-stalled",
            difference: "there the backend falls silent and the proxy closes",
        },
        Confusion {
            with: "chunk-framing-invalid",
            difference: "there what came of the chunks is not well-formed",
        },
    ],
    confirm: &[
        "curl -sv -o /dev/null http://BACKEND:PORT/path from the proxy's host: curl: (18) \"transfer closed with … bytes remaining\" shows the same cut",
        "on the backend's host at that second: the application's log, dmesg and journalctl -k for a killed worker",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "look for a worker timeout (gunicorn --timeout, php-fpm request_terminate_timeout), a crash or a \
                kill in mid-response, or a content-length that is larger than what is written",
            why: "the backend ended the response early; the proxy has sent the head already and cannot take it back",
        },
        Advice {
            target: "nginx",
            change: "check the error log for \"while reading upstream\" and free space under proxy_temp_path",
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
            target: "alb",
            change: "access log: 200 for both statuses with fewer sent_bytes than usual",
            why: "the status was sent before the cut; no 502 is counted",
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
    if attempt.phase() != Phase::Body || !matches!(attempt.first_end()?.0, End::PeerFin) {
        return None;
    }
    Some(Finding {
        ended_by: EndedBy::Backend,
        how: How::Fin,
        what: format!(
            "{} closed the connection (FIN) after {}",
            attempt.exchange.remote,
            received(attempt)
        ),
        delivery: evidence::delivery(attempt),
        facts: cut_body(attempt),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, case, expect};
    use crate::diagnose::{Progress, judge};
    use crate::event::ProxyKind;

    const HALF: Progress = Progress::Body {
        declared: Some(1000),
        received: 400,
    };

    #[test]
    fn bodies() {
        let up = || AttemptBuilder::sent().received(200, 450);
        let cut = ("body-truncated-fin", EndedBy::Backend, How::Fin);
        expect(502, up().progress(HALF).fin(6).closed(6), cut);
        let chunked = Progress::Body {
            declared: None,
            received: 400,
        };
        expect(502, up().progress(chunked).fin(6).closed(6), cut);
        // Without a length the FIN ends the body in order.
        expect(
            502,
            up().progress(Progress::UntilClose { received: 400 }).fin(6),
            ("unexplained", EndedBy::Backend, How::Completed),
        );
    }

    #[test]
    fn numbers_are_exact() {
        let attempt = AttemptBuilder::sent()
            .received(200, 450)
            .progress(HALF)
            .fin(6);
        let verdict = judge(&case(ProxyKind::Haproxy, 502, vec![attempt.build()]));
        assert!(
            verdict
                .summary
                .contains("after 400 of 1000 body bytes (600 missing)"),
            "{}",
            verdict.summary
        );
    }
}
