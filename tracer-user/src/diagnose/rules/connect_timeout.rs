//! The SYN went unanswered.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{self, Fact, NEVER_SENT};
use crate::diagnose::facts::{End, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

/// A proxy that closes an unanswered SYN earlier than this did not wait for it.
const PATIENCE_NS: u64 = 200_000_000;

pub(super) const RULE: Rule = Rule {
    id: "connect-timeout",
    title: "The backend did not answer the connection attempt",
    explanation: "The proxy's SYN was sent, usually more than once, and nothing came back until a \
        timeout. A firewall drops it, the address is wrong, the host is down, or the listener's \
        queue is full.",
    evidence: &[
        "the connection never reached ESTABLISHED and no RST or ICMP error came",
        "the SYN was retransmitted, or the proxy waited at least 200 ms, or the kernel reported errno 110",
        "the client was still there",
    ],
    confused_with: &[
        Confusion {
            with: "connect-refused",
            difference: "there an RST answers within a round trip",
        },
        Confusion {
            with: "response-timeout",
            difference: "there the connection was made and the request sent",
        },
    ],
    confirm: &[
        "from the proxy's host: curl -v --connect-timeout 5 telnet://BACKEND:PORT hangs; tcpdump -ni any 'host BACKEND and port PORT' shows SYN after SYN and no answer",
        "on the backend's host: tcpdump for the same SYNs; if they do not arrive the path drops them, if they do look at ss -ltn and nstat -az TcpExtListenOverflows",
    ],
    remedies: &[
        Advice {
            target: "network",
            change: "let the proxy's addresses through: firewall, security group, network policy",
            why: "silence means that something drops the packets; a closed port would answer with an RST",
        },
        Advice {
            target: "backend",
            change: "ss -ltn on the backend: if Recv-Q has reached Send-Q the accept queue is full; raise the \
                listen backlog and net.core.somaxconn, or add workers",
            why: "a full queue drops SYNs without a word",
        },
        Advice {
            target: "nginx",
            change: "proxy_connect_timeout 3s;",
            why: "60 s by default: far longer than a healthy connect takes",
        },
        Advice {
            target: "haproxy",
            change: "timeout connect 3s, option redispatch",
            why: "a retry on another server starts sooner",
        },
        Advice {
            target: "envoy",
            change: "connect_timeout: 1s on the cluster; retry_on: connect-failure",
            why: "5 s by default; nothing was sent, so a retry is safe",
        },
        Advice {
            target: "apache",
            change: "ProxyPass … connectiontimeout=3",
            why: "otherwise the general Timeout of 60 s counts",
        },
        Advice {
            target: "alb",
            change: "let the balancer's security group reach the target port",
            why: "10 s for a connect, fixed; 504 with target status -",
        },
        Advice {
            target: "app-gateway",
            change: "let the gateway's subnet through the NSG and the route table",
            why: "it answers 502 or 504",
        },
        Advice {
            target: "front-door",
            change: "let the service tag AzureFrontDoor.Backend through to the origin",
            why: "errorInfo OriginTimeout or OriginConnectionError",
        },
        Advice {
            target: "gcp",
            change: "let 35.191.0.0/16 and 130.211.0.0/22 through the firewall",
            why: "the balancer and its health checks come from there",
        },
        Advice {
            target: "big-ip",
            change: "check the route to the pool member; RST cause \"handshake timeout\"",
            why: "the member did not answer the SYN",
        },
    ],
    decide,
};

/// The kernel asks for a neighbour three times, a second apart (`mcast_solicit` and `retrans_time_ms` of
/// <https://docs.kernel.org/networking/ip-sysctl.html>), and reports only then that there is none.
const UNRESOLVED_NS: u64 = 3_200_000_000;

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    if attempt.phase() != Phase::Connect {
        return None;
    }
    let (end, at) = attempt.first_end()?;
    let waited = at.saturating_sub(attempt.start_ns());
    let retransmits = attempt.exchange.retransmits;
    let ended_by = match end {
        End::KernelTimeout => EndedBy::Kernel,
        End::Proxy
            if !context.client_had_left(attempt) && (retransmits > 0 || waited >= PATIENCE_NS) =>
        {
            EndedBy::Proxy
        }
        End::Proxy | End::PeerFin | End::PeerReset | End::Unreachable => return None,
    };
    let mut facts = vec![
        evidence::first_end(attempt),
        Fact::new("no-answer", "neither SYN-ACK nor RST nor ICMP error came"),
    ];
    facts.extend(evidence::retransmits(attempt));
    facts.extend(evidence::errno(attempt));
    if attempt.peer_local {
        // A full queue drops SYNs without a word, and it is looked at only now and then.
        facts.push(Fact::inferred(
            "listens-here",
            "the backend listens on this host, so either something between the two drops packets or its accept queue was full \
             (listen-queue-overflow) at a moment when nobody looked",
        ));
    }
    if ended_by == EndedBy::Proxy
        && waited < UNRESOLVED_NS
        && !attempt.exchange.remote.ip().is_loopback()
    {
        facts.push(Fact::inferred(
            "before-arp-gives-up",
            "the proxy gave up before the kernel would have: for about 3 s an address that nobody on the local link answers \
             for (connect-unreachable) looks the same",
        ));
    }
    let repeated = if retransmits > 0 {
        format!(" and {} more", words::times(retransmits.into()))
    } else {
        String::new()
    };
    Some(Finding {
        ended_by,
        how: How::Timeout,
        what: format!(
            "{} did not answer the SYN, sent once{repeated}, within {}",
            attempt.exchange.remote,
            words::duration(waited)
        ),
        delivery: NEVER_SENT.to_owned(),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Outcome;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, case, expect};
    use crate::event::ProxyKind;

    #[test]
    fn timeouts() {
        let by_proxy = ("connect-timeout", EndedBy::Proxy, How::Timeout);
        let up = AttemptBuilder::connecting;
        expect(504, up().closed(1000).with(|x| x.retransmits = 1), by_proxy);
        expect(504, up().closed(250), by_proxy);
        // A backend on this host listens: its queue may have been full.
        let local = judge(&case(
            ProxyKind::Nginx,
            504,
            vec![up().closed(1000).local_peer().build()],
        ));
        assert_eq!(
            (local.rule, local.confidence),
            ("connect-timeout", crate::case::Confidence::Weak)
        );
        expect(
            503,
            up().error(110, 127_000).closed(127_001),
            ("connect-timeout", EndedBy::Kernel, How::Timeout),
        );
    }

    #[test]
    fn not_a_timeout() {
        let unknown = ("unexplained", EndedBy::Proxy, How::Unknown);
        let up = AttemptBuilder::connecting;
        expect(502, up().closed(20), unknown);
        // A client that got the error had not left; one that got nothing may have.
        let mut facts = case(
            ProxyKind::Nginx,
            502,
            vec![up().closed(2000).client_left().build()],
        );
        assert_eq!(judge(&facts).rule, "connect-timeout");
        facts.outcome = Outcome::Dropped;
        assert_eq!(judge(&facts).rule, "unexplained");
    }
}
