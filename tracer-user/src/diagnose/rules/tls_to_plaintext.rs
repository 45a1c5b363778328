//! TLS was spoken to a port that does not speak it.

use crate::diagnose::evidence::NEVER_SENT;
use crate::diagnose::facts::FirstBytes;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, handshake};

pub(super) const RULE: Rule = Rule {
    id: "tls-to-plaintext",
    title: "The proxy speaks TLS to a backend that does not",
    explanation: "The proxy sent a ClientHello and the backend's answer is no TLS: usually a 400 in \
        plain text from a web server that could not read the request. Every request of this route \
        fails.",
    evidence: &[
        "connected, a ClientHello was sent, no request",
        "the first byte that came is none of a TLS record (0x14 to 0x17)",
    ],
    confused_with: &[
        Confusion {
            with: "plaintext-to-tls",
            difference: "there it is the other way round: the request went out in plain text",
        },
        Confusion {
            with: "tls-peer-closed",
            difference: "there the backend closes without a word; it may be a plain port too",
        },
    ],
    confirm: &[
        "curl -v http://BACKEND:PORT/ answers, openssl s_client -connect BACKEND:PORT says \"wrong version number\"",
        "the proxy's log: \"wrong version number\" (nginx, HAProxy, Envoy), \"first record does not look like a TLS handshake\" (Go)",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "proxy_pass http://…  # or the port on which the backend speaks TLS",
            why: "the scheme decides whether TLS is spoken",
        },
        Advice {
            target: "haproxy",
            change: "take ssl off the server line, or give the TLS port",
            why: "ssl on the server line makes HAProxy speak TLS to it",
        },
        Advice {
            target: "envoy",
            change: "take the transport_socket off the cluster, or give the TLS port",
            why: "the transport socket makes Envoy speak TLS",
        },
        Advice {
            target: "apache",
            change: "ProxyPass … http://…, or the TLS port",
            why: "the scheme decides whether TLS is spoken",
        },
        Advice {
            target: "backend",
            change: "enable TLS on that port, if it was meant to be there",
            why: "it answered in plain text",
        },
        Advice {
            target: "alb",
            change: "target group protocol HTTP",
            why: "HTTPS makes the balancer speak TLS to the targets",
        },
        Advice {
            target: "app-gateway",
            change: "backend settings: protocol HTTP, or the TLS port",
            why: "it answers 502",
        },
        Advice {
            target: "front-door",
            change: "forwarding protocol HTTP only, or the origin's HTTPS port",
            why: "errorInfo SSLHandshakeError",
        },
        Advice {
            target: "gcp",
            change: "backend service protocol HTTP",
            why: "HTTPS and HTTP2 mean TLS to the backends",
        },
        Advice {
            target: "big-ip",
            change: "take the server-ssl profile off the virtual server, or use the TLS port",
            why: "the profile makes it speak TLS to the members",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let tls = handshake::of(attempt)?;
    let Some(FirstBytes::Plain(text)) = &tls.first else {
        return None;
    };
    let (ended_by, how) = handshake::ending(attempt);
    Some(Finding {
        ended_by,
        how,
        what: format!(
            "{} does not speak TLS on this port: it answered the ClientHello with plain text that begins with {text}",
            attempt.exchange.remote
        ),
        delivery: NEVER_SENT.to_owned(),
        facts: handshake::facts(attempt, tls),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{EndedBy, How};
    use crate::diagnose::testing::{AttemptBuilder, expect};

    #[test]
    fn plain_answers() {
        let up = || {
            AttemptBuilder::handshake(|tls| {
                tls.first = Some(FirstBytes::Plain("HTTP/1.1 400".into()));
                tls.received = 180;
            })
        };
        let rule = "tls-to-plaintext";
        expect(502, up().closed(3), (rule, EndedBy::Proxy, How::Unknown));
        expect(
            502,
            up().fin(2).closed(3),
            (rule, EndedBy::Backend, How::Fin),
        );
        expect(
            502,
            up().reset(2).closed(3),
            (rule, EndedBy::Backend, How::Reset),
        );
        expect(
            502,
            AttemptBuilder::handshake(|_| {}).fin(2).closed(3),
            ("tls-peer-closed", EndedBy::Backend, How::Fin),
        );
    }
}
