//! No way to the backend.

use std::net::IpAddr;

use tracer_ebpf::flags;

use crate::case::{EndedBy, How};
use crate::diagnose::errno::{self, EHOSTUNREACH, ENETUNREACH};
use crate::diagnose::evidence::{self, Fact, NEVER_SENT};
use crate::diagnose::facts::{AttemptFacts, Phase};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule};
use crate::event::IcmpSays;

pub(super) const RULE: Rule = Rule {
    id: "connect-unreachable",
    title: "There is no way to the backend",
    explanation: "The network said that the backend cannot be reached: an ICMP error came back, the \
        backend's address was not found on the local link, or this host has no route to it.",
    evidence: &[
        "the connection never reached ESTABLISHED",
        "the socket reported errno 113 (no route to host) or 101 (network is unreachable); or the kernel refused the \
         attempt before a SYN was sent",
    ],
    confused_with: &[
        Confusion {
            with: "connect-timeout",
            difference: "there nothing comes back, not even an ICMP error",
        },
        Confusion {
            with: "connect-refused",
            difference: "there the backend's host itself answers with an RST",
        },
    ],
    confirm: &[
        "on this host: ip route get BACKEND; ip neigh show BACKEND (FAILED means that nobody answered ARP)",
        "tcpdump -ni any 'icmp or icmp6' while a request is made: the ICMP error names the device that sent it",
    ],
    remedies: &[
        Advice {
            target: "network",
            change: "ip route get ADDRESS and ip neigh on this host; reject rules on the way (they answer with ICMP)",
            why: "at once means a missing route or a reject rule, about 3 s means that nobody answered ARP",
        },
        Advice {
            target: "nginx",
            change: "take the dead server out of the upstream group, or add another with proxy_next_upstream error timeout;",
            why: "nothing was sent, so the next server may get the request",
        },
        Advice {
            target: "haproxy",
            change: "server … check, option redispatch",
            why: "health checks find it before requests do",
        },
        Advice {
            target: "envoy",
            change: "active health_checks on the cluster; retry_on: connect-failure",
            why: "health checks find it before requests do",
        },
        Advice {
            target: "apache",
            change: "a second BalancerMember with its own hcmethod= health check (mod_proxy_hcheck)",
            why: "health checks find it before requests do",
        },
        Advice {
            target: "alb",
            change: "check subnet routes and network ACLs between balancer and target",
            why: "502 with target status -",
        },
        Advice {
            target: "app-gateway",
            change: "check user-defined routes and peering of the backend's subnet",
            why: "502",
        },
        Advice {
            target: "big-ip",
            change: "RST cause \"No route to host\": check self IPs and routes",
            why: "there is no way to the pool member",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    if attempt.phase() != Phase::Connect {
        return None;
    }
    let x = &attempt.exchange;
    if x.has(flags::NO_SYN) {
        return Some(before_the_syn());
    }
    let errno = [attempt.errno(), x.socket.soft_error]
        .into_iter()
        .flatten()
        .find(|errno| matches!(*errno, EHOSTUNREACH | ENETUNREACH));
    let Some(errno) = errno else {
        return by_icmp(attempt);
    };
    Some(Finding {
        ended_by: EndedBy::Network,
        how: How::Unreachable,
        what: format!("{} cannot be reached: {}", x.remote, errno::describe(errno)),
        delivery: NEVER_SENT.to_owned(),
        facts: vec![
            evidence::first_end(attempt),
            Fact::new(
                "errno",
                format!("the socket reported {}", errno::describe(errno)),
            ),
        ],
    })
}

/// Where the error comes back within `connect`, it is handed over by the call and is gone from the
/// socket: the ICMP message itself tells.
fn by_icmp(attempt: &AttemptFacts) -> Option<Finding> {
    let (error, code) = attempt.icmp.iter().find_map(|error| match error.says {
        IcmpSays::Unreachable { code } => Some((error, code)),
        IcmpSays::TooBig { .. } => None,
    })?;
    let x = &attempt.exchange;
    // A reset says more than what somebody on the way says.
    if x.times.reset_received.is_some() {
        return None;
    }
    let says = format!(
        "{} answered the SYN with ICMP \"destination unreachable\", code {code}{}",
        error.from,
        code_words(error.from, code)
    );
    Some(Finding {
        ended_by: EndedBy::Network,
        how: How::Unreachable,
        what: format!("{} cannot be reached: {says}", x.remote),
        delivery: NEVER_SENT.to_owned(),
        facts: vec![evidence::first_end(attempt), Fact::new("icmp", says)],
    })
}

/// Meaning of a code of ICMP type 3 (RFC 792, RFC 1812, 5.2.7.1) or of ICMPv6 type 1 (RFC 4443, 3.1).
fn code_words(from: IpAddr, code: u8) -> &'static str {
    match (from.is_ipv4(), code) {
        (true, 0) => " (network)",
        (true, 1) => " (host)",
        (true, 3) => " (port)",
        (true, 9 | 10 | 13) => " (prohibited by an administrator: a firewall rejects it)",
        (false, 0) => " (no route)",
        (false, 1) => " (prohibited by an administrator: a firewall rejects it)",
        (false, 3) => " (address)",
        (false, 4) => " (port)",
        _ => "",
    }
}

/// The kernel refused the attempt at once: no segment left the host, and no address is kept.
fn before_the_syn() -> Finding {
    Finding {
        ended_by: EndedBy::Kernel,
        how: How::Unreachable,
        what: "the proxy's own kernel refused a connection attempt before it sent anything, so the address is not known"
            .to_owned(),
        delivery: NEVER_SENT.to_owned(),
        facts: vec![Fact::new(
            "no-syn",
            "a TCP socket was given up without a SYN: no route (errno 101 or 113), a prohibiting or blackhole route (13 or \
             22), a source address that this host does not have (99), or a security policy (1); the proxy's log has the \
             number",
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, expect};

    #[test]
    fn unreachable() {
        let unreachable = ("connect-unreachable", EndedBy::Network, How::Unreachable);
        let up = AttemptBuilder::connecting;
        expect(502, up().error(113, 3000).closed(3000), unreachable);
        expect(503, up().error(101, 0).closed(0), unreachable);
        expect(
            502,
            up().closed(0).icmp(IcmpSays::Unreachable { code: 1 }),
            unreachable,
        );
        expect(
            502,
            up().closed(0).with(|x| {
                x.flags |= flags::NO_SYN;
                x.local.set_port(0);
                x.remote.set_port(0);
            }),
            ("connect-unreachable", EndedBy::Kernel, How::Unreachable),
        );
        // The process held the socket when the ICMP error came.
        expect(
            504,
            up().closed(3000).with(|x| x.socket.soft_error = Some(113)),
            unreachable,
        );
    }
}
