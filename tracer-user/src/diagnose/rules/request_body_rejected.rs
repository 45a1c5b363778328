//! The backend did not want the request's body.

use crate::case::{EndedBy, How};
use crate::diagnose::errno::{ECONNRESET, EPIPE};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::{End, Phase};
use crate::diagnose::{Advice, AttemptFacts, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "request-body-rejected",
    title: "The backend ended the connection before it had the whole request",
    explanation: "The proxy was still sending the request (mostly a large body) when the backend closed or reset the connection. Usually the backend decided without the body: a size limit, a missing login, an unknown path. Closing with unread bytes sends an RST, which also destroys the backend's answer on the way, so a 413 or 401 becomes a 502.",
    evidence: &[
        "the backend's FIN or RST came first, or a send failed, while less of the request had been written or acknowledged than it declares; or",
        "the backend's kernel says that it closed with request bytes unread, and the request has a body",
    ],
    confused_with: &[
        Confusion {
            with: "rst-before-response",
            difference: "there all of the request had been sent and acknowledged, or it has no body",
        },
        Confusion {
            with: "keepalive-race",
            difference: "there the connection was idle before and nothing of the request was acknowledged",
        },
    ],
    confirm: &[
        "curl -v --data-binary @LARGEFILE http://BACKEND:PORT/path from the proxy's host: look for an early status (413, 401, 400) before \"Connection reset by peer\" or \"Broken pipe\"",
        "on the backend's host: nstat -az TcpExtTCPAbortOnClose before and after counts closes with unread data",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "raise the body limit (client_max_body_size, LimitRequestBody, the framework's own), or read or drain the body before closing",
            why: "a close with unread bytes becomes an RST, and the answer is lost with it",
        },
        Advice {
            target: "nginx",
            change: "client_max_body_size equal to the backend's limit; proxy_request_buffering on",
            why: "nginx then answers 413 itself and sends nothing that would be refused",
        },
        Advice {
            target: "haproxy",
            change: "http-request deny deny_status 413 if { req.body_size gt 10485760 }",
            why: "the client gets a clear answer in place of a 502",
        },
        Advice {
            target: "envoy",
            change: "the buffer filter with max_request_bytes equal to the backend's limit",
            why: "Envoy then answers 413 itself",
        },
        Advice {
            target: "apache",
            change: "LimitRequestBody equal to the backend's limit",
            why: "Apache then answers 413 itself",
        },
        Advice {
            target: "alb",
            change: "let the target read the body before it closes",
            why: "502 with target status - otherwise",
        },
        Advice {
            target: "gcp",
            change: "let the backend read the body before it answers",
            why: "statusDetails backend_early_response_with_non_error_status or aborted_request_due_to_backend_early_response",
        },
        Advice {
            target: "front-door",
            change: "let the origin read the body before it closes",
            why: "errorInfo OriginConnectionAborted otherwise",
        },
    ],
    decide,
};

/// A server reads head and body together if they are not larger than this; unread bytes of a smaller
/// request do not tell the body from the head.
const ONE_READ: u64 = 8192;

/// What shows that the backend did not take all of the request.
fn proof(attempt: &AttemptFacts) -> Option<Fact> {
    let x = &attempt.exchange;
    // Its head may not have been kept whole; no head is as long as that.
    let has_body = attempt.asked.chunked
        || attempt.asked.content_length.is_some_and(|n| n > 0)
        || x.request_bytes > ONE_READ;
    if !has_body {
        return None;
    }
    let declared = attempt.asked.total();
    if let Some(total) = declared.filter(|total| x.request_bytes < *total) {
        return Some(Fact::new(
            "request-incomplete",
            format!(
                "{} of a request of {} had been sent",
                x.request_bytes,
                words::bytes(total)
            ),
        ));
    }
    let acked = attempt
        .request_unacked()
        .map(|unacked| x.request_bytes - unacked);
    if let Some(acked) = acked.filter(|acked| *acked > 0 && *acked < x.request_bytes)
        && x.request_bytes > ONE_READ
    {
        return Some(Fact::new(
            "request-unacknowledged",
            format!(
                "{acked} of {} of the request so far had been acknowledged",
                words::bytes(x.request_bytes)
            ),
        ));
    }
    if let Some(errno @ (EPIPE | ECONNRESET)) = x.send_errno
        && attempt.any_acked() == Some(true)
    {
        return Some(Fact::new(
            "send-failed",
            format!(
                "after {} of the request a send failed with {}",
                words::bytes(x.request_bytes),
                crate::diagnose::errno::describe(errno)
            ),
        ));
    }
    let unread = attempt
        .peer
        .as_ref()
        .and_then(|half| half.unread)
        .unwrap_or(0);
    let closed_unread = attempt.reset_received_reason.as_deref() == Some("TCP_ABORT_ON_CLOSE");
    if x.request_bytes > ONE_READ && (closed_unread || unread > 0) {
        return Some(Fact::new(
            "request-unread",
            "the backend closed with bytes of the request unread",
        ));
    }
    None
}

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    if !matches!(attempt.phase(), Phase::Waiting | Phase::Head | Phase::Body) {
        return None;
    }
    let x = &attempt.exchange;
    let how = match attempt.first_end()?.0 {
        End::PeerFin if x.times.reset_received.is_none() => How::Fin,
        End::PeerFin | End::PeerReset => How::Reset,
        // The failed send is seen before the RST is noted.
        End::Proxy if matches!(x.send_errno, Some(EPIPE | ECONNRESET)) => How::Reset,
        End::KernelTimeout | End::Unreachable | End::Proxy => return None,
    };
    let proof = proof(attempt)?;
    let what = format!(
        "{} ended the connection ({}) before it had taken the whole request: {}",
        x.remote,
        if how == How::Fin { "FIN" } else { "RST" },
        proof.text()
    );
    let mut facts = vec![proof, evidence::first_end(attempt)];
    facts.extend(evidence::acknowledged(attempt));
    facts.extend(evidence::reset_reason(attempt));
    facts.extend(evidence::errno(attempt));
    Some(Finding {
        ended_by: EndedBy::Backend,
        how,
        what,
        delivery:
            "the backend may have acted on the part that it had: retry only an idempotent request"
                .to_owned(),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, expect};

    fn upload(length: u64, sent: u64, acked: u32) -> AttemptBuilder {
        AttemptBuilder::sent()
            .asked(&format!(
                "POST /up HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"
            ))
            .with(|x| {
                x.request_bytes = sent;
                x.socket.unacked = Some(sent as u32 - acked);
            })
            .seq(acked, sent as u32)
    }

    #[test]
    fn rejections() {
        let rst = ("request-body-rejected", EndedBy::Backend, How::Reset);
        let fin = ("request-body-rejected", EndedBy::Backend, How::Fin);
        expect(
            502,
            upload(1_000_000, 200_000, 60_000).reset(3).closed(3),
            rst,
        );
        expect(
            502,
            upload(1_000_000, 200_000, 60_000).fin(3).closed(3),
            fin,
        );
        expect(
            502,
            upload(1_000_000, 200_000, 60_000)
                .with(|x| x.send_errno = Some(32))
                .closed(3),
            rst,
        );
        // All sent, not all taken.
        expect(
            502,
            upload(100_000, 100_045, 60_000).reset(3).closed(3),
            rst,
        );
        // All taken by its kernel, and its kernel says that it was not read.
        expect(
            502,
            upload(100_000, 100_045, 100_045)
                .reset(3)
                .reason("TCP_ABORT_ON_CLOSE")
                .closed(3),
            rst,
        );
    }

    #[test]
    fn a_long_request_has_a_body() {
        let attempt = AttemptBuilder::sent()
            .with(|x| {
                x.request_bytes = 800_000;
                x.socket.unacked = Some(600_000);
            })
            .seq(200_000, 800_000)
            .reset(3)
            .closed(3);
        expect(
            502,
            attempt,
            ("request-body-rejected", EndedBy::Backend, How::Reset),
        );
    }

    #[test]
    fn neighbours() {
        let reset = ("rst-before-response", EndedBy::Backend, How::Reset);
        expect(
            502,
            upload(100_000, 100_045, 100_045).reset(3).closed(3),
            reset,
        );
        expect(
            502,
            upload(20, 61, 61)
                .reset(3)
                .reason("TCP_ABORT_ON_CLOSE")
                .closed(3),
            reset,
        );
        expect(
            502,
            AttemptBuilder::sent()
                .reset(3)
                .reason("TCP_ABORT_ON_CLOSE")
                .closed(3),
            reset,
        );
        // The proxy's own timeout while the backend does not read.
        expect(
            504,
            upload(1_000_000, 200_000, 60_000).closed(3000),
            ("response-timeout", EndedBy::Proxy, How::Timeout),
        );
    }
}
