//! The backend closed within the TLS handshake.

use crate::case::How;
use crate::diagnose::facts::End;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, handshake};

pub(super) const RULE: Rule = Rule {
    id: "tls-peer-closed",
    title: "The backend closed the connection within the TLS handshake",
    explanation: "The proxy sent its ClientHello and the backend's FIN came before the handshake was \
        done, without an alert that says why. Typical: the port speaks no TLS and its program drops \
        what it does not understand, the server name in the ClientHello is missing or matches no \
        site, or the backend's TLS program is broken or being restarted.",
    evidence: &[
        "connected, a ClientHello was sent, no request",
        "the backend's FIN came first",
        "no alert in the clear came, and what came was TLS or nothing",
    ],
    confused_with: &[
        Confusion {
            with: "tls-alert-from-backend",
            difference: "there an alert says what the backend did not like",
        },
        Confusion {
            with: "tls-to-plaintext",
            difference: "there the backend answers in plain text",
        },
        Confusion {
            with: "fin-before-response",
            difference: "there the request was sent",
        },
    ],
    confirm: &[
        "openssl s_client -connect BACKEND:PORT -servername NAME, and the same with -noservername: does only one of them work?",
        "curl -v http://BACKEND:PORT/ : an answer means that the port speaks plain HTTP",
        "nginx's error_log: \"peer closed connection in SSL handshake\"; HAProxy: SC with \"SSL handshake failure\"; Envoy: UF with TLS_error",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "proxy_ssl_server_name on; proxy_ssl_name app.internal;",
            why: "off by default: without a server name a backend with several sites may drop the connection",
        },
        Advice {
            target: "haproxy",
            change: "server … ssl sni str(app.internal)",
            why: "no server name is sent unless sni is set",
        },
        Advice {
            target: "envoy",
            change: "sni: app.internal in the UpstreamTlsContext",
            why: "no server name is sent unless it is set",
        },
        Advice {
            target: "apache",
            change: "ProxyPreserveHost On where the backend knows the public name, else the backend's name in ProxyPass",
            why: "the server name follows the host that the request is sent with",
        },
        Advice {
            target: "backend",
            change: "check that TLS is enabled on that port, and the TLS log at this time",
            why: "the program closed without saying why on the wire",
        },
        Advice {
            target: "alb",
            change: "target group protocol HTTPS only for ports that speak TLS; TargetTLSNegotiationErrorCount",
            why: "the balancer answers 502 with target status -",
        },
        Advice {
            target: "nlb",
            change: "TargetTLSNegotiationErrorCount of the TLS listener",
            why: "handshakes with targets that failed are counted there only",
        },
        Advice {
            target: "app-gateway",
            change: "host name override in the backend settings, or the right host in the probe",
            why: "the server name follows it",
        },
        Advice {
            target: "front-door",
            change: "origin host header equal to a name the origin serves; errorInfo SSLHandshakeError",
            why: "the server name follows the origin host header",
        },
        Advice {
            target: "big-ip",
            change: "server name in the server-ssl profile; log 01260013",
            why: "none is sent unless it is set",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let did = "closed the connection (FIN)";
    handshake::ended_without_a_word(context, End::PeerFin, How::Fin, did)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::EndedBy;
    use crate::diagnose::FirstBytes;
    use crate::diagnose::testing::{AttemptBuilder, expect};

    #[test]
    fn closed() {
        let closed = ("tls-peer-closed", EndedBy::Backend, How::Fin);
        let up = || AttemptBuilder::handshake(|_| {});
        expect(502, up().fin(3).closed(3), closed);
        // In the middle of its part, and with a goodbye.
        let part = AttemptBuilder::handshake(|tls| {
            tls.first = Some(FirstBytes::Record);
            tls.received = 1500;
            tls.alert_received = Some(crate::tls::Alert {
                fatal: false,
                description: 0,
            });
        });
        expect(502, part.fin(3).closed(3), closed);
        // The proxy was first.
        expect(
            502,
            up().closed(3).fin(4),
            ("unexplained", EndedBy::Proxy, How::Unknown),
        );
        expect(
            502,
            AttemptBuilder::sent().fin(3).closed(3),
            ("fin-before-response", EndedBy::Backend, How::Fin),
        );
    }
}
