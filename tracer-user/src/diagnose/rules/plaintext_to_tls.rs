//! Plain text was sent to a port that wants TLS.

use crate::case::EndedBy;
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::WantsTls;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, handshake};

pub(super) const RULE: Rule = Rule {
    id: "plaintext-to-tls",
    title: "The proxy speaks plain HTTP to a backend that wants TLS",
    explanation: "The request went out in plain text and the backend's answer shows that it expected \
        TLS: an alert record, or an error page that says so. Every request of this route fails. Other \
        TLS programs only close or reset the connection; from outside that cannot be told from \
        fin-before-response or rst-before-response.",
    evidence: &[
        "the request was sent in plain text",
        "the answer is a TLS alert record (0x15 0x03), or a 400 whose page says that TLS is wanted",
    ],
    confused_with: &[
        Confusion {
            with: "fin-before-response",
            difference: "there no byte came; a TLS program that drops plain text looks the same",
        },
        Confusion {
            with: "tls-to-plaintext",
            difference: "there it is the other way round",
        },
        Confusion {
            with: "malformed-response",
            difference: "there the bytes are no TLS alert",
        },
    ],
    confirm: &[
        "openssl s_client -connect BACKEND:PORT completes a handshake; curl -v http://BACKEND:PORT/ does not get a page",
        "the backend's log: \"http request\" (OpenSSL), \"first record does not look like a TLS handshake\" (Go)",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "proxy_pass https://…",
            why: "the scheme decides whether TLS is spoken",
        },
        Advice {
            target: "haproxy",
            change: "server … ssl verify required ca-file ca.pem",
            why: "without ssl on the server line HAProxy speaks plain text",
        },
        Advice {
            target: "envoy",
            change: "a transport_socket with an UpstreamTlsContext on the cluster",
            why: "without it Envoy speaks plain text",
        },
        Advice {
            target: "apache",
            change: "ProxyPass … https://… with SSLProxyEngine on",
            why: "the scheme decides whether TLS is spoken",
        },
        Advice {
            target: "alb",
            change: "target group protocol HTTPS",
            why: "HTTP makes the balancer speak plain text to the targets",
        },
        Advice {
            target: "app-gateway",
            change: "backend settings: protocol HTTPS",
            why: "it answers 502, or passes the 400 on",
        },
        Advice {
            target: "front-door",
            change: "forwarding protocol HTTPS only; errorInfo OriginInvalidResponse",
            why: "the origin's port wants TLS",
        },
        Advice {
            target: "gcp",
            change: "backend service protocol HTTPS; statusDetails backend_response_corrupted",
            why: "HTTP means plain text to the backends",
        },
        Advice {
            target: "big-ip",
            change: "a server-ssl profile on the virtual server",
            why: "without it the member gets plain text",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let (fact, answer) = match attempt.wants_tls? {
        WantsTls::Alert(alert) => (
            format!(
                "the answer to the request is a TLS alert record: {}",
                alert.describe()
            ),
            format!("with the TLS alert {}", alert.describe()),
        ),
        WantsTls::Says(words) => (
            format!("the backend's error page says: {words}"),
            "with a 400 that says so".to_owned(),
        ),
    };
    let (_, how) = handshake::ending(attempt);
    Some(Finding {
        ended_by: EndedBy::Backend,
        how,
        what: format!(
            "{} wants TLS on this port and answered the request in plain text {answer}",
            attempt.exchange.remote
        ),
        delivery: "the application never saw the request".to_owned(),
        facts: vec![
            Fact::new("backend-wants-tls", fact),
            evidence::first_end(attempt),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::How;
    use crate::diagnose::Progress;
    use crate::diagnose::testing::{AttemptBuilder, expect};
    use crate::tls::Alert;

    #[test]
    fn answers_of_tls_programs() {
        let up = |wants| {
            AttemptBuilder::sent()
                .received(0, 7)
                .progress(Progress::NoHead)
                .wants_tls(wants)
        };
        let alert = WantsTls::Alert(Alert {
            fatal: true,
            description: 70,
        });
        let rule = "plaintext-to-tls";
        expect(
            502,
            up(alert).fin(5).closed(5),
            (rule, EndedBy::Backend, How::Fin),
        );
        expect(
            502,
            up(alert).closed(5),
            (rule, EndedBy::Backend, How::Unknown),
        );
        expect(
            502,
            up(WantsTls::Says("x")).reset(5).closed(5),
            (rule, EndedBy::Backend, How::Reset),
        );
        // A close without a byte proves nothing.
        expect(
            502,
            AttemptBuilder::sent().reset(5).closed(5),
            ("rst-before-response", EndedBy::Backend, How::Reset),
        );
    }
}
