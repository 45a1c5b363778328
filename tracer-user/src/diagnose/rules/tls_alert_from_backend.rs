//! The backend refused the TLS handshake and said why.

use crate::case::EndedBy;
use crate::diagnose::evidence::NEVER_SENT;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, handshake};
use crate::tls::Alert;

pub(super) const RULE: Rule = Rule {
    id: "tls-alert-from-backend",
    title: "The backend refused the TLS handshake with an alert",
    explanation: "The backend answered the proxy's handshake with a fatal TLS alert. Its number says \
        what it did not like: 40, 70 and 71 version or cipher, 42 to 48 and 116 the proxy's client \
        certificate, 112 the server name, 120 the application protocol (ALPN). Alerts behind the \
        ServerHello of TLS 1.3 are encrypted and cannot be seen here.",
    evidence: &[
        "connected, a ClientHello was sent, no request",
        "a fatal alert of the backend, in the clear",
    ],
    confused_with: &[
        Confusion {
            with: "tls-verify-failed",
            difference: "there the proxy refuses the backend's certificate",
        },
        Confusion {
            with: "tls-peer-closed",
            difference: "there the backend closes without an alert",
        },
        Confusion {
            with: "plaintext-to-tls",
            difference: "there the proxy sent plain text",
        },
    ],
    confirm: &[
        "openssl s_client -connect BACKEND:PORT -servername NAME -tls1_2 (and -tls1_3): which one gets the alert?",
        "the proxy's log names the same number: nginx \"SSL alert number N\", HAProxy ssl_bc_err \"alert …\", Envoy TLS_error …ALERT, Go \"remote error: tls: …\"",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_ciphers …; proxy_ssl_server_name on; \
                proxy_ssl_certificate and proxy_ssl_certificate_key where the backend asks for one",
            why: "the offer must hold something that the backend accepts",
        },
        Advice {
            target: "haproxy",
            change: "server … ssl ssl-min-ver TLSv1.2 ciphers … sni str(app.internal) crt client.pem",
            why: "the offer must hold something that the backend accepts",
        },
        Advice {
            target: "envoy",
            change: "tls_params, sni, alpn_protocols and tls_certificates in the UpstreamTlsContext",
            why: "the offer must hold something that the backend accepts",
        },
        Advice {
            target: "apache",
            change: "SSLProxyProtocol, SSLProxyCipherSuite, SSLProxyMachineCertificateFile",
            why: "the offer must hold something that the backend accepts",
        },
        Advice {
            target: "backend",
            change: "allow the version, cipher, server name or client certificate that the alert is about",
            why: "it is the backend's policy that refuses",
        },
        Advice {
            target: "alb",
            change: "security policy with a version the target speaks; TargetTLSNegotiationErrorCount",
            why: "the balancer answers 502 with target status -",
        },
        Advice {
            target: "front-door",
            change: "errorInfo SSLHandshakeError: TLS 1.2 at the origin",
            why: "the handshake with the origin failed",
        },
        Advice {
            target: "gcp",
            change: "statusDetails failed_to_connect_to_backend, failed_to_negotiate_alpn: ALPN h2 for HTTP/2 backends",
            why: "a backend service of protocol HTTP2 needs ALPN",
        },
        Advice {
            target: "big-ip",
            change: "options, ciphers and certificate of the server-ssl profile; logs 01260009 and 01260013",
            why: "they name the alert",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let tls = handshake::of(attempt)?;
    let alert = tls.error_received()?;
    let (_, how) = handshake::ending(attempt);
    Some(Finding {
        ended_by: EndedBy::Backend,
        how,
        what: format!(
            "{} refused the TLS handshake with alert {}{}",
            attempt.exchange.remote,
            alert.describe(),
            meaning(alert)
        ),
        delivery: NEVER_SENT.to_owned(),
        facts: handshake::facts(attempt, tls),
    })
}

/// What such an alert is about in a handshake.
fn meaning(alert: Alert) -> &'static str {
    match alert.description {
        40 | 71 => ": no version, cipher, group or certificate type that both accept",
        70 => ": no TLS version that both accept",
        116 => ": it wants a client certificate",
        _ if alert.is_about_certificate() => ": it does not accept the proxy's client certificate",
        49 => ": it does not let this client in",
        112 => ": it does not know the server name",
        120 => ": no application protocol (ALPN) that both accept",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::How;
    use crate::diagnose::facts::FirstBytes;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, case, expect};
    use crate::event::ProxyKind;

    fn alert(fatal: bool, description: u8) -> AttemptBuilder {
        AttemptBuilder::handshake(|tls| {
            tls.first = Some(FirstBytes::Record);
            tls.received = 7;
            tls.alert_received = Some(Alert { fatal, description });
        })
    }

    #[test]
    fn alerts() {
        let refused = |how| ("tls-alert-from-backend", EndedBy::Backend, how);
        expect(502, alert(true, 70).fin(3).closed(3), refused(How::Fin));
        expect(502, alert(true, 40).reset(3).closed(3), refused(How::Reset));
        expect(502, alert(true, 112).closed(3), refused(How::Unknown));
        // A warning, and a goodbye.
        let closed = ("tls-peer-closed", EndedBy::Backend, How::Fin);
        expect(502, alert(false, 112).fin(3).closed(3), closed);
        expect(502, alert(true, 0).fin(3).closed(3), closed);
    }

    #[test]
    fn the_alert_is_named() {
        let facts = case(ProxyKind::Nginx, 502, vec![alert(true, 48).fin(3).build()]);
        let summary = judge(&facts).summary;
        assert!(
            summary.contains(
                "alert 48 (unknown_ca): it does not accept the proxy's client certificate"
            ),
            "{summary}"
        );
    }
}
