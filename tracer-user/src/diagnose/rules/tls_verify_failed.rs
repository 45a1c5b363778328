//! The proxy did not accept the backend's certificate.

use crate::case::{EndedBy, How, Outcome};
use crate::diagnose::evidence::{Fact, NEVER_SENT};
use crate::diagnose::facts::{AttemptFacts, End, TlsFacts};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, handshake, words};
use crate::event::ProxyKind;
use crate::tls::version_name;

/// A check of a certificate takes less. A proxy that closes later than this after the backend's last
/// byte waited for something.
const AT_ONCE_NS: u64 = 200_000_000;

/// Alerts (handshake_failure, internal_error) for what the program itself objects to in a certificate
/// that OpenSSL finds good, as HAProxy to its name:
/// <https://github.com/openssl/openssl/blob/openssl-3.0.15/ssl/statem/statem_lib.c>, `x509table`.
const OWN_OBJECTIONS: [u8; 2] = [40, 80];

pub(super) const RULE: Rule = Rule {
    id: "tls-verify-failed",
    title: "The proxy did not accept the backend's certificate",
    explanation: "The backend sent its certificate and the proxy ended the connection before any \
        request: the certificate has expired, is for another name, or its issuer is not trusted. An \
        alert in the clear proves it. Where TLS 1.3 hides the alert, or where nginx and Apache look at \
        the certificate after the handshake, it is inferred from who closed when and from the sizes of \
        what was sent; which of the three reasons it was, only the proxy's log tells.",
    evidence: &[
        "the certificate flight of the backend arrived, no request was sent, and the proxy closed first",
        "one of: the proxy's alert in the clear, about a certificate; a last send of the size of an \
         encrypted alert in place of the second flight; with nginx or Apache, a handshake that was done \
         and then closed at once, with an error for the client that is no timeout",
    ],
    confused_with: &[
        Confusion {
            with: "tls-alert-from-backend",
            difference: "there the backend refuses the proxy",
        },
        Confusion {
            with: "tls-handshake-timeout",
            difference: "there the proxy waits for the backend before it closes",
        },
        Confusion {
            with: "tls-peer-closed",
            difference: "there the backend closes first",
        },
    ],
    confirm: &[
        "openssl s_client -connect BACKEND:PORT -servername NAME -verify_return_error -CAfile CA.pem -verify_hostname NAME </dev/null; openssl x509 -noout -dates -subject -ext subjectAltName of what it shows",
        "nginx's error_log: \"upstream SSL certificate verify error: (N:…)\" or \"does not match\"; HAProxy: \"certificate verify failed\"; Envoy: CERTIFICATE_VERIFY_FAILED; Go: x509:",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "renew the certificate, with the name that the proxy asks for among its alternative names and the \
                intermediate certificates in the chain",
            why: "switching the check off would hide it and open the door",
        },
        Advice {
            target: "nginx",
            change: "proxy_ssl_trusted_certificate ca.pem; proxy_ssl_name app.internal; proxy_ssl_server_name on; \
                proxy_ssl_verify_depth 2;",
            why: "the name that is checked is proxy_ssl_name, the host of proxy_pass unless set",
        },
        Advice {
            target: "haproxy",
            change: "server … ssl verify required ca-file ca.pem verifyhost app.internal sni str(app.internal)",
            why: "verification is on by default; without ca-file nothing is trusted",
        },
        Advice {
            target: "envoy",
            change: "trusted_ca and match_typed_subject_alt_names in the validation_context",
            why: "they say which issuers and names are accepted",
        },
        Advice {
            target: "apache",
            change: "SSLProxyCACertificateFile ca.pem; names and dates are checked by SSLProxyCheckPeerName and \
                SSLProxyCheckPeerExpire",
            why: "both checks are on by default, after the handshake",
        },
        Advice {
            target: "app-gateway",
            change: "trusted root certificate of the backend settings; host name override for the name",
            why: "its health probe fails on the certificate too",
        },
        Advice {
            target: "front-door",
            change: "a certificate of a public issuer for the origin host name; errorInfo CertificateNameCheckFailed, CertificateError, SSLInvalidRootCA",
            why: "origins are checked unless the name check is switched off",
        },
        Advice {
            target: "gcp",
            change: "statusDetails server_cert_validation_* and ssl_certificate_*",
            why: "only where backend authentication is configured",
        },
        Advice {
            target: "big-ip",
            change: "server-ssl profile: server certificate require, trusted CA, authenticate name; log 01260009",
            why: "not checked unless configured",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let tls = handshake::of(attempt)?;
    let (proof, sure) = proof(context, attempt, tls)?;
    let mut facts = handshake::facts(attempt, tls);
    facts.insert(0, proof);
    let verb = if sure {
        "the proxy did not accept the certificate of"
    } else {
        "the proxy most likely did not accept the certificate of"
    };
    Some(Finding {
        ended_by: EndedBy::Proxy,
        how: How::Unknown,
        what: format!(
            "{verb} {} and closed within the TLS handshake",
            attempt.exchange.remote
        ),
        delivery: NEVER_SENT.to_owned(),
        facts,
    })
}

/// What shows it, and whether it was seen rather than inferred.
fn proof(context: &Context<'_>, attempt: &AttemptFacts, tls: &TlsFacts) -> Option<(Fact, bool)> {
    let certificate = tls
        .error_sent()
        .filter(|alert| alert.is_about_certificate());
    if let Some(alert) = certificate {
        let text = format!(
            "after {} of the backend the proxy sent the TLS alert {}",
            words::bytes(tls.received),
            alert.describe()
        );
        return Some((Fact::new("alert-sent-about-certificate", text), true));
    }
    let refused = tls
        .error_sent()
        .filter(|alert| OWN_OBJECTIONS.contains(&alert.description));
    if let Some(alert) = refused.filter(|_| tls.has_certificate_flight()) {
        let text = format!(
            "inferred from the order: after {} of the backend, its certificate among them, the proxy sent the TLS alert {}; \
             OpenSSL sends it where the program objects to a name, and for keys that are too weak",
            words::bytes(tls.received),
            alert.describe()
        );
        return Some((Fact::inferred("alert-sent-after-certificate", text), false));
    }
    if !matches!(context.end(attempt), Some((End::Proxy, _)))
        || context.client_had_left(attempt)
        || tls.error_sent().is_some()
        || tls.error_received().is_some()
        || !closed_at_once(attempt)
    {
        return None;
    }
    if tls.hidden_alert_sent && !tls.second_flight && tls.has_certificate_flight() {
        let version = tls
            .chosen
            .map_or_else(|| "TLS 1.3".to_owned(), version_name);
        let text = format!(
            "inferred from sizes: after {} of the backend the proxy sent {} of the size of an alert in place of its second \
             flight, and closed; {version} hides the alert, so that it was about the certificate, and what was wrong with \
             it, cannot be told from outside",
            words::bytes(tls.received),
            words::bytes(attempt.exchange.sent_last_len.into()),
        );
        return Some((Fact::inferred("alert-hidden", text), false));
    }
    done_and_dropped(context, tls)
        .then(|| {
            format!(
                "inferred from the order: {} looks at the certificate when the handshake is done, and closed then without \
                 a request; what was wrong with it its log tells",
                context.case.proxy
            )
        })
        .map(|text| (Fact::inferred("closed-after-handshake", text), false))
}

/// nginx and Apache check name and issuer when the handshake is done, and close without an alert:
/// <https://github.com/nginx/nginx/blob/release-1.28.0/src/http/ngx_http_upstream.c>,
/// `ngx_http_upstream_ssl_handshake`;
/// <https://github.com/apache/httpd/blob/2.4.63/modules/ssl/ssl_engine_io.c>, `ssl_io_filter_handshake`.
fn done_and_dropped(context: &Context<'_>, tls: &TlsFacts) -> bool {
    let case = context.case;
    let checks_afterwards = matches!(case.proxy, ProxyKind::Nginx | ProxyKind::Apache);
    // An earlier attempt has no status of its own.
    let answered = context.deciding && case.outcome == Outcome::ErrorResponse;
    let error = !answered || matches!(case.status, Some(500 | 502));
    checks_afterwards && error && tls.second_flight && tls.received > 0
}

/// Did the proxy close right after the backend's last byte?
fn closed_at_once(attempt: &AttemptFacts) -> bool {
    let times = &attempt.exchange.times;
    let last = times.response_last.or(times.request_start);
    let Some(last) = last else {
        return false;
    };
    let closed = times.closed.unwrap_or(attempt.exchange.time_ns);
    closed.saturating_sub(last) <= AT_ONCE_NS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::facts::FirstBytes;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, case, expect};
    use crate::tls::{Alert, TLS_1_2, TLS_1_3};

    fn flight(change: impl FnOnce(&mut TlsFacts)) -> AttemptBuilder {
        AttemptBuilder::handshake(|tls| {
            tls.first = Some(FirstBytes::Record);
            tls.chosen = Some(TLS_1_3);
            tls.received = 1500;
            tls.behind_hello = Some(1400);
            change(tls);
        })
        .with(|x| x.times.response_last = Some(crate::diagnose::testing::at(3)))
    }

    fn alert(description: u8) -> Option<Alert> {
        Some(Alert {
            fatal: true,
            description,
        })
    }

    #[test]
    fn by_an_alert_in_the_clear() {
        let failed = ("tls-verify-failed", EndedBy::Proxy, How::Unknown);
        expect(
            502,
            flight(|tls| tls.alert_sent = alert(48)).closed(3),
            failed,
        );
        expect(
            502,
            flight(|tls| tls.alert_sent = alert(45)).closed(3).fin(4),
            failed,
        );
        // A check of the program's own, behind the certificate.
        expect(
            502,
            flight(|tls| tls.alert_sent = alert(40)).closed(3),
            failed,
        );
        expect(
            502,
            flight(|tls| {
                tls.alert_sent = alert(40);
                tls.behind_hello = None;
            })
            .closed(3),
            ("unexplained", EndedBy::Proxy, How::Unknown),
        );
        // About something else.
        expect(
            502,
            flight(|tls| tls.alert_sent = alert(70)).closed(3),
            ("unexplained", EndedBy::Proxy, How::Unknown),
        );
    }

    #[test]
    fn by_sizes_and_by_order() {
        let hidden = || flight(|tls| tls.hidden_alert_sent = true);
        let done = || {
            flight(|tls| {
                tls.second_flight = true;
                tls.chosen = Some(TLS_1_2);
            })
        };
        for (proxy, status, attempt, want) in [
            (
                ProxyKind::Envoy,
                503,
                hidden().closed(3),
                "tls-verify-failed",
            ),
            (ProxyKind::Nginx, 502, done().closed(3), "tls-verify-failed"),
            (
                ProxyKind::Apache,
                502,
                done().closed(3),
                "tls-verify-failed",
            ),
            // The others check within the handshake.
            (ProxyKind::Haproxy, 503, done().closed(3), "unexplained"),
            // The proxy waited.
            (
                ProxyKind::Nginx,
                504,
                done().closed(3000),
                "tls-handshake-timeout",
            ),
            // Nothing but a ServerHello, and a backend that was first.
            (
                ProxyKind::Envoy,
                503,
                flight(|tls| {
                    tls.hidden_alert_sent = true;
                    tls.behind_hello = Some(100);
                })
                .closed(3),
                "unexplained",
            ),
            (
                ProxyKind::Envoy,
                503,
                hidden().fin(2).closed(3),
                "tls-peer-closed",
            ),
        ] {
            let facts = case(proxy, status, vec![attempt.build()]);
            let verdict = judge(&facts);
            assert_eq!(verdict.rule, want, "{facts:?}");
            if want == "tls-verify-failed" {
                assert!(verdict.evidence[0].text.starts_with("inferred"));
                assert!(verdict.summary.contains("most likely"));
            }
        }
    }
}
