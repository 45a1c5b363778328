//! No source port was left for a connection.

use tracer_ebpf::flags;

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{Fact, NEVER_SENT};
use crate::diagnose::facts::{End, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

/// `connect` chooses the port within the call; even with a full table to search it takes less.
const AT_ONCE_NS: u64 = 20_000_000;

pub(super) const RULE: Rule = Rule {
    id: "local-port-exhausted",
    title: "The proxy's host had no source port left",
    explanation: "The proxy wanted to connect, and its own kernel found no free source port for this \
        destination (errno 99, EADDRNOTAVAIL). Connections that the proxy closes stay in TIME_WAIT for \
        60 s and hold their ports: without keep-alive to the backends some 28,000 new connections a \
        minute to one address and port are the most that the default range allows.",
    evidence: &[
        "the connection attempt began (SYN_SENT) and ended within 20 ms, in the proxy's own call",
        "no source port was ever assigned",
        "no RST, no error of the network, no retransmission",
    ],
    confused_with: &[
        Confusion {
            with: "connect-refused",
            difference: "there a SYN left the host and an RST came back",
        },
        Confusion {
            with: "local-fd-exhausted",
            difference: "there not even a socket could be made",
        },
        Confusion {
            with: "connect-unreachable",
            difference: "there no route was found, so the attempt did not begin",
        },
    ],
    confirm: &[
        "ss -tan state time-wait dst BACKEND:PORT | wc -l, against sysctl net.ipv4.ip_local_port_range",
        "the proxy's log: nginx \"(99: Cannot assign requested address)\", HAProxy \"no free ports\", Go \"cannot assign requested address\"",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "upstream … { keepalive 64; } with proxy_http_version 1.1; proxy_set_header Connection \"\";",
            why: "connections that are used again need no new ports; several proxy_bind addresses multiply them",
        },
        Advice {
            target: "haproxy",
            change: "http-reuse safe; source 0.0.0.0:10000-65000 or several source addresses",
            why: "HAProxy then chooses the ports by itself, and connections are used again",
        },
        Advice {
            target: "envoy",
            change: "upstream_bind_config with extra_source_addresses; max_requests_per_connection not 1",
            why: "each source address has its own ports",
        },
        Advice {
            target: "apache",
            change: "ProxyPass without disablereuse=on, SetEnv proxy-initial-not-pooled off",
            why: "connections that are used again need no new ports",
        },
        Advice {
            target: "network",
            change: "sysctl net.ipv4.ip_local_port_range=\"1024 65000\" and net.ipv4.tcp_tw_reuse=1 on the proxy's host",
            why: "more ports, and those in TIME_WAIT may be used again after a second",
        },
        Advice {
            target: "nlb",
            change: "PortAllocationErrorCount: fewer hairpins, or client IP preservation off",
            why: "the balancer itself ran out of ports",
        },
        Advice {
            target: "app-gateway",
            change: "outbound rules or a NAT gateway against SNAT exhaustion",
            why: "outbound ports are shared",
        },
        Advice {
            target: "big-ip",
            change: "a SNAT pool in place of automap; RST cause \"Unable to select local port\"",
            why: "each SNAT address has its own ports",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let x = &attempt.exchange;
    let (end, at) = attempt.first_end()?;
    let lasted = at.saturating_sub(attempt.start_ns());
    let fits = attempt.phase() == Phase::Connect
        && end == End::Proxy
        && !x.has(flags::NO_SYN)
        && x.local.port() == 0
        && x.remote.port() != 0
        && x.retransmits == 0
        && x.times.reset_received.is_none()
        && lasted <= AT_ONCE_NS
        && matches!(attempt.errno(), None | Some(EADDRNOTAVAIL));
    fits.then(|| Finding {
        ended_by: EndedBy::Kernel,
        how: How::NoConnection,
        what: format!(
            "the proxy's host had no source port left for a connection to {}",
            x.remote
        ),
        delivery: NEVER_SENT.to_owned(),
        facts: vec![Fact::new(
            "no-source-port",
            format!(
                "the attempt ended after {}, before a source port was assigned and a SYN sent",
                words::duration(lasted)
            ),
        )],
    })
}

const EADDRNOTAVAIL: i32 = 99;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, expect};

    #[test]
    fn no_port() {
        let up = || {
            AttemptBuilder::connecting()
                .with(|x| x.local.set_port(0))
                .closed(-1)
        };
        expect(
            502,
            up(),
            ("local-port-exhausted", EndedBy::Kernel, How::NoConnection),
        );
        // A port was there, the SYN was answered, or the attempt lasted.
        let unknown = ("unexplained", EndedBy::Proxy, How::Unknown);
        expect(502, AttemptBuilder::connecting().closed(-1), unknown);
        expect(
            502,
            up().reset(-1),
            ("connect-refused", EndedBy::Backend, How::Refused),
        );
        expect(502, up().closed(150), unknown);
    }
}
