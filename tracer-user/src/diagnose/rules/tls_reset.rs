//! The backend reset the connection within the TLS handshake.

use crate::case::How;
use crate::diagnose::facts::End;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, handshake};

pub(super) const RULE: Rule = Rule {
    id: "tls-reset",
    title: "The connection was reset within the TLS handshake",
    explanation: "The proxy sent its ClientHello and an RST came before the handshake was done, \
        without an alert. Typical: a program that does not speak TLS closed with the ClientHello \
        unread, a TLS program aborted, or a firewall or service mesh on the way does not let this \
        server name or version through.",
    evidence: &[
        "connected, a ClientHello was sent, no request",
        "an RST came first",
        "no alert in the clear came, and what came was TLS or nothing",
    ],
    confused_with: &[
        Confusion {
            with: "tls-peer-closed",
            difference: "there the backend closes in order (FIN)",
        },
        Confusion {
            with: "connect-refused",
            difference: "there the RST answers the SYN",
        },
        Confusion {
            with: "rst-before-response",
            difference: "there the request was sent",
        },
    ],
    confirm: &[
        "openssl s_client -connect BACKEND:PORT -servername NAME from the proxy's host and from the backend's own: if only the first is reset, something on the way does it",
        "nginx's error_log: \"peer closed connection in SSL handshake (104: Connection reset by peer)\"; HAProxy: SC with \"SSL handshake failure\"",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "check that TLS is enabled on that port, and the TLS program's log at this time",
            why: "closing with the ClientHello unread makes the kernel send RST",
        },
        Advice {
            target: "network",
            change: "look for a firewall, mesh sidecar or inspection device that filters by server name or TLS version",
            why: "such devices reset handshakes in the backend's name",
        },
        Advice {
            target: "nginx",
            change: "proxy_ssl_server_name on; proxy_ssl_name app.internal;",
            why: "off by default; some backends reset handshakes without a server name",
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
            target: "alb",
            change: "target group protocol HTTPS only for ports that speak TLS; TargetTLSNegotiationErrorCount",
            why: "the balancer answers 502 with target status -",
        },
        Advice {
            target: "app-gateway",
            change: "HTTPS in the backend settings only for ports that speak TLS",
            why: "it answers 502 UPSTREAM_CLOSED_CONNECTION",
        },
        Advice {
            target: "front-door",
            change: "errorInfo SSLHandshakeError: origin host header and origin port",
            why: "the handshake with the origin failed",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let did = "reset the connection (RST)";
    handshake::ended_without_a_word(context, End::PeerReset, How::Reset, did)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::EndedBy;
    use crate::diagnose::testing::{AttemptBuilder, expect};

    #[test]
    fn resets() {
        let up = || AttemptBuilder::handshake(|_| {});
        expect(
            502,
            up().reset(3).closed(3),
            ("tls-reset", EndedBy::Backend, How::Reset),
        );
        expect(
            502,
            up().fin(2).reset(3).closed(3),
            ("tls-peer-closed", EndedBy::Backend, How::Fin),
        );
        expect(
            502,
            AttemptBuilder::connecting().reset(0).closed(0),
            ("connect-refused", EndedBy::Backend, How::Refused),
        );
    }
}
