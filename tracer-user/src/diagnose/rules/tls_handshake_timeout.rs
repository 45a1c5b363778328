//! The TLS handshake took too long.

use crate::case::{EndedBy, How, Outcome};
use crate::diagnose::evidence::{Fact, NEVER_SENT};
use crate::diagnose::facts::{AttemptFacts, End};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, handshake, words};
use crate::event::ProxyKind;

/// A proxy that closes earlier than this after the last byte did not wait.
const PATIENCE_NS: u64 = 200_000_000;

pub(super) const RULE: Rule = Rule {
    id: "tls-handshake-timeout",
    title: "The backend did not finish the TLS handshake in time",
    explanation: "The connection was made and the ClientHello sent, and then the backend stayed silent \
        until the proxy gave up. Its kernel accepts connections, but no thread of the program reads \
        them: all are busy or stuck, or too few do the work of TLS.",
    evidence: &[
        "connected, a ClientHello was sent, the handshake was not done",
        "the proxy closed first, at least 200 ms after the backend's last byte (or the ClientHello), \
         without an alert; or its kernel gave up with errno 110",
        "the client was still there",
    ],
    confused_with: &[
        Confusion {
            with: "connect-timeout",
            difference: "there the TCP connection was never made",
        },
        Confusion {
            with: "listen-queue-overflow",
            difference: "there not even the ClientHello is acknowledged",
        },
        Confusion {
            with: "tls-verify-failed",
            difference: "there the proxy closes as soon as it has the certificate",
        },
    ],
    confirm: &[
        "on the backend's host: ss -tn 'sport = :PORT'; Recv-Q above 0 on many connections means that nobody reads the ClientHellos",
        "time openssl s_client -connect BACKEND:PORT </dev/null",
        "nginx's error_log: \"upstream timed out … while SSL handshaking to upstream\"; HAProxy: sC; Go: \"TLS handshake timeout\"",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "find what keeps its threads busy (thread dump, CPU); more workers, or TLS session resumption",
            why: "the ClientHello lies unread",
        },
        Advice {
            target: "nginx",
            change: "proxy_connect_timeout 3s;  # covers the handshake too; proxy_ssl_session_reuse on;",
            why: "a second server gets the request sooner, and resumed sessions cost less",
        },
        Advice {
            target: "haproxy",
            change: "timeout connect 3s, option redispatch",
            why: "the handshake must be done within timeout connect",
        },
        Advice {
            target: "envoy",
            change: "connect_timeout: 2s on the cluster; retry_on: connect-failure",
            why: "the handshake must be done within it; nothing was sent, so a retry is safe",
        },
        Advice {
            target: "apache",
            change: "ProxyPass … timeout=5",
            why: "the handshake is waited for as long as for a response",
        },
        Advice {
            target: "alb",
            change: "scale out the targets",
            why: "the balancer gives a handshake 10 s, then answers 502",
        },
        Advice {
            target: "front-door",
            change: "errorInfo OriginTimeout: scale out the origin",
            why: "the origin did not finish the handshake",
        },
        Advice {
            target: "big-ip",
            change: "handshake timeout of the server-ssl profile; log 01260013",
            why: "10 s by default",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let tls = handshake::of(attempt)?;
    let (end, at) = context.end(attempt)?;
    let silent = silent_ns(attempt, at)?;
    let ended_by = match end {
        End::KernelTimeout => EndedBy::Kernel,
        End::Proxy
            if silent >= PATIENCE_NS
                && !context.client_had_left(attempt)
                && tls.error_sent().is_none()
                && tls.error_received().is_none()
                && !tls.hidden_alert_sent
                && may_be_timeout(context) =>
        {
            EndedBy::Proxy
        }
        End::Proxy | End::PeerFin | End::PeerReset | End::Unreachable => return None,
    };
    let mut facts = handshake::facts(attempt, tls);
    facts.push(Fact::new(
        "silence",
        format!(
            "nothing came from the backend for {} before the end",
            words::duration(silent)
        ),
    ));
    facts.extend(acknowledged(attempt));
    let so_far = match tls.received {
        0 => "did not answer the ClientHello".to_owned(),
        received => format!(
            "stopped within the TLS handshake, after {}",
            words::bytes(received)
        ),
    };
    Some(Finding {
        ended_by,
        how: How::Timeout,
        what: format!(
            "{} {so_far}; after {} the proxy gave up",
            attempt.exchange.remote,
            words::duration(silent)
        ),
        delivery: NEVER_SENT.to_owned(),
        facts,
    })
}

/// nginx answers 504 to nothing but a timeout, and a timeout with nothing but 504.
fn may_be_timeout(context: &Context<'_>) -> bool {
    let case = context.case;
    let answered = context.deciding && case.outcome == Outcome::ErrorResponse;
    !answered || case.proxy != ProxyKind::Nginx || case.status == Some(504)
}

/// Time from the backend's last byte (or the ClientHello) to the end, ns.
fn silent_ns(attempt: &AttemptFacts, end: u64) -> Option<u64> {
    let times = &attempt.exchange.times;
    let last = times.response_last.max(times.request_start)?;
    Some(end.saturating_sub(last))
}

fn acknowledged(attempt: &AttemptFacts) -> Option<Fact> {
    let unacked = attempt.request_unacked()?;
    let text = if unacked == 0 {
        "the backend's kernel acknowledged all that the proxy had sent".to_owned()
    } else {
        format!(
            "the backend's kernel had not acknowledged {} of what the proxy had sent",
            words::bytes(unacked)
        )
    };
    Some(Fact::new("hello-acknowledged", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, case};

    #[test]
    fn silence_and_status_must_fit() {
        let up = || AttemptBuilder::handshake(|_| {});
        for (proxy, status, attempt, want) in [
            (
                ProxyKind::Nginx,
                504,
                up().closed(3000),
                "tls-handshake-timeout",
            ),
            (
                ProxyKind::Haproxy,
                503,
                up().closed(1000),
                "tls-handshake-timeout",
            ),
            (
                ProxyKind::Apache,
                502,
                up().closed(5000),
                "tls-handshake-timeout",
            ),
            // The proxy answered and had not closed yet.
            (
                ProxyKind::Haproxy,
                503,
                up().with(|x| x.time_ns += 1_000_000_000),
                "tls-handshake-timeout",
            ),
            (
                ProxyKind::Nginx,
                504,
                up().error(110, 900_000).closed(900_001),
                "tls-handshake-timeout",
            ),
            (ProxyKind::Nginx, 502, up().closed(3000), "unexplained"),
            (ProxyKind::Haproxy, 503, up().closed(20), "unexplained"),
            (
                ProxyKind::Haproxy,
                503,
                up().fin(999).closed(1000),
                "tls-peer-closed",
            ),
            (
                ProxyKind::Haproxy,
                503,
                AttemptBuilder::connecting().closed(1000),
                "connect-timeout",
            ),
        ] {
            let facts = case(proxy, status, vec![attempt.build()]);
            assert_eq!(judge(&facts).rule, want, "{facts:?}");
        }
    }
}
