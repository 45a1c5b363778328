//! The change of protocols did not come about.

use tracer_ebpf::Cause;

use crate::case::{EndedBy, How, Outcome};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::{End, Phase};
use crate::diagnose::{Advice, AttemptFacts, Confusion, Context, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    id: "upgrade-refused",
    title: "The backend did not switch protocols",
    explanation: "The request asked for another protocol (a WebSocket, mostly) and the backend answered with an error, or closed without an answer. Usually the Upgrade and Connection headers get lost at a hop before it, the path is not the one that takes WebSockets, or the backend refuses the origin.",
    evidence: &[
        "the request to the backend carries Upgrade",
        "the backend answered with a status of 400 or more (502 and 504 aside, which are another gateway's), or closed without a byte of an answer",
    ],
    confused_with: &[
        Confusion {
            with: "application-502",
            difference: "there the request is an ordinary one",
        },
        Confusion {
            with: "fin-before-response",
            difference: "there the request is an ordinary one",
        },
    ],
    confirm: &[
        "curl -v --http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' http://BACKEND:PORT/path from the proxy's host: 101 is a success",
        "compare with the same request through the proxy: which headers arrive at the backend?",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;  # with map $http_upgrade $connection_upgrade { default upgrade; '' close; }",
            why: "both headers are hop-by-hop: nginx passes them on only when told",
        },
        Advice {
            target: "haproxy",
            change: "timeout tunnel 1h",
            why: "upgrades pass without more; the tunnel has a timeout of its own",
        },
        Advice {
            target: "envoy",
            change: "upgrade_configs: [{upgrade_type: websocket}] on the connection manager or the route",
            why: "without it Envoy answers 403",
        },
        Advice {
            target: "apache",
            change: "ProxyPass \"/ws\" \"http://backend/ws\" upgrade=websocket",
            why: "otherwise Apache does not pass the upgrade on",
        },
        Advice {
            target: "backend",
            change: "check that this path takes upgrades, the allowed origins and the protocol version",
            why: "the answer came from there",
        },
        Advice {
            target: "alb",
            change: "idle timeout (idle_timeout.timeout_seconds) above the longest silence",
            why: "it also ends quiet WebSockets",
        },
        Advice {
            target: "gcp",
            change: "timeout of the backend service",
            why: "it bounds the life of a WebSocket; statusDetails websocket_handshake_failed",
        },
    ],
    decide,
};

/// The protocol that the request asks for. Of a request head that was not kept whole the client's own
/// request tells: what a proxy passes on of it stands behind the kept bytes.
fn asked<'a>(context: &Context<'a>, attempt: &'a AttemptFacts) -> Option<&'a str> {
    let own = attempt.asked.upgrade.as_deref();
    let of_client = context.case.client_upgrade.as_deref();
    own.or(of_client.filter(|_| attempt.asked.head_len.is_none()))
}

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let protocol = asked(context, attempt)?;
    let x = &attempt.exchange;
    let (ended_by, how, did) = match attempt.phase() {
        Phase::Connect | Phase::Handshake | Phase::Head => return None,
        Phase::Waiting => {
            // Those speak of the connection and hold for any request on it.
            let neighbours = [
                &super::keepalive_race::RULE,
                &super::request_body_rejected::RULE,
                &super::idle_drop_by_middlebox::RULE,
                &super::path_reset::RULE,
            ];
            if neighbours
                .iter()
                .any(|rule| (rule.decide)(context).is_some())
            {
                return None;
            }
            let (end, at) = attempt.first_end()?;
            let after = evidence::without_response(attempt, at);
            match end {
                End::PeerFin => (EndedBy::Backend, How::Fin, format!("closed (FIN) {after}")),
                End::PeerReset => (EndedBy::Backend, How::Reset, format!("reset (RST) {after}")),
                End::KernelTimeout | End::Unreachable | End::Proxy => return None,
            }
        }
        Phase::Body | Phase::Complete | Phase::Unreadable => {
            let status = x.status.filter(|status| refuses(*status))?;
            let passed_on = context.case.status == Some(status)
                || context.case.outcome == Outcome::Masked
                || !context.deciding;
            if x.cause != Cause::Status && !passed_on {
                return None;
            }
            (
                EndedBy::Backend,
                How::Completed,
                format!("answered {status}"),
            )
        }
    };
    let mut facts = vec![Fact::new(
        "upgrade-asked",
        format!(
            "the request to {} asks for the protocol {protocol}; it {did}",
            x.remote
        ),
    )];
    facts.extend(attempt.first_end().map(|_| evidence::first_end(attempt)));
    facts.extend(evidence::reset_reason(attempt));
    Some(Finding {
        ended_by,
        how,
        what: format!(
            "{} {did} when it was asked to switch to {protocol}",
            x.remote
        ),
        delivery: evidence::delivery(attempt),
        facts,
    })
}

/// An answer of the server itself; 502 and 504 come from a gateway that failed further in.
fn refuses(status: u16) -> bool {
    status >= 400 && !matches!(status, 502 | 504)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Progress;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, case, expect};
    use crate::event::ProxyKind;

    #[test]
    fn the_clients_request_tells_where_the_backends_was_cut() {
        let rule = |head: &str| {
            let attempt = AttemptBuilder::sent()
                .asked(head)
                .answered("HTTP/1.1 426 X\r\nContent-Length: 0\r\n\r\n", 0)
                .progress(Progress::Complete)
                .with(|x| x.cause = Cause::Status);
            let mut facts = case(ProxyKind::Apache, 426, vec![attempt.build()]);
            facts.client_upgrade = Some("websocket".into());
            judge(&facts).rule
        };
        assert_eq!(rule("GET /ws HTTP/1.1\r\nHost: x\r\n"), "upgrade-refused");
        // The proxy did not pass it on.
        assert_eq!(
            rule("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n"),
            "application-502"
        );
    }

    #[test]
    fn refusals() {
        let asked = || {
            AttemptBuilder::sent()
                .asked("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        };
        let answer = |status: u16| {
            asked()
                .answered(
                    &format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"),
                    0,
                )
                .progress(Progress::Complete)
                .with(|x| x.cause = Cause::Status)
        };
        let completed = ("upgrade-refused", EndedBy::Backend, How::Completed);
        expect(503, answer(503), completed);
        expect(403, answer(403), completed);
        expect(
            502,
            answer(502),
            ("application-502", EndedBy::Unknown, How::Completed),
        );
        expect(
            502,
            asked().fin(5).closed(5),
            ("upgrade-refused", EndedBy::Backend, How::Fin),
        );
        expect(
            502,
            AttemptBuilder::sent().fin(5).closed(5),
            ("fin-before-response", EndedBy::Backend, How::Fin),
        );
        // A pooled connection that was closing is a race whatever the request.
        expect(
            502,
            AttemptBuilder::reused(5000)
                .asked("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                .fin(-1)
                .unacked(0)
                .reset(1)
                .closed(1),
            ("keepalive-race", EndedBy::Backend, How::Reset),
        );
    }
}
