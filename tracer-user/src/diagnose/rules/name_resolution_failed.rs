//! The name of a backend had no address.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{Fact, NEVER_SENT};
use crate::diagnose::facts::{CaseFacts, NameFailure, NameSays};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};
use crate::dns::rcode_name;

pub(super) const RULE: Rule = Rule {
    id: "name-resolution-failed",
    title: "The backend's name could not be resolved",
    explanation: "The proxy answered without any connection to a backend, and a name that the same \
        process had asked for in that time (HAProxy and Envoy ask in the background: in the minute \
        before) was answered with an error, with no address, or not at all.",
    evidence: &[
        "an error response without any backend connection",
        "a DNS answer to the same process with a response code other than NOERROR, or without an IPv4 address; or no \
         answer for at least 1 s",
        "no good answer for that name since; and where it was asked for in the background, no failure of a backend before",
    ],
    confused_with: &[
        Confusion {
            with: "no-backend-available",
            difference: "there backends failed before",
        },
        Confusion {
            with: "connect-timeout",
            difference: "there the name was resolved and the address does not answer",
        },
    ],
    confirm: &[
        "dig NAME @SERVER with the name server that the proxy uses (nginx: resolver; HAProxy: nameserver; others: /etc/resolv.conf)",
        "nginx's error_log: \"could not be resolved\"; Apache: AH00898 \"DNS lookup failure\"; Go: \"no such host\"; Envoy: DF or UH",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "resolver 192.0.2.53 valid=30s; resolver_timeout 5s; server app.internal resolve; in an upstream with zone",
            why: "the group then keeps its addresses while the name server is away",
        },
        Advice {
            target: "haproxy",
            change: "resolvers … hold valid 10s, hold nx 30s; server … init-addr last,libc,none",
            why: "servers keep their last address for the hold times",
        },
        Advice {
            target: "envoy",
            change: "STRICT_DNS with dns_refresh_rate and dns_failure_refresh_rate",
            why: "failed look-ups are tried again sooner",
        },
        Advice {
            target: "apache",
            change: "ProxyPass … disablereuse=on only where addresses change; options timeout:1 attempts:2 in resolv.conf",
            why: "the system resolver waits 5 s and asks twice by default",
        },
        Advice {
            target: "network",
            change: "mend the name or the name server: the evidence names both what was asked and what was said",
            why: "NXDOMAIN means that the name is not there, SERVFAIL that its servers failed, silence that the way to the \
                name server is blocked",
        },
        Advice {
            target: "app-gateway",
            change: "restart it after a DNS change",
            why: "it keeps the addresses that it resolved at its start",
        },
        Advice {
            target: "front-door",
            change: "errorInfo DNSNameNotResolved, DNSFailure or DNSTimeout: the origin's host name",
            why: "it resolves the name in public DNS",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let case = context.alone()?;
    let newest = case.around.names.first()?;
    let background = in_background(case.request_start_ns, newest);
    // Which routes need a name that is looked up in the background is not known: failures of backends
    // may as well be the reason.
    if background && (!case.around.failures.is_empty() || waited_in_queue(case)) {
        return None;
    }
    let facts = case
        .around
        .names
        .iter()
        .map(|failure| Fact::new("name-not-resolved", sentence(failure)))
        .collect();
    let waited = case
        .around
        .waited_ns
        .map(|ns| format!(" within the {} that the client waited", words::duration(ns)))
        .filter(|_| !background)
        .unwrap_or_default();
    Some(Finding {
        ended_by: EndedBy::Unknown,
        how: How::NoConnection,
        what: format!(
            "{} made no connection to a backend; {}{waited}",
            case.proxy,
            sentence(newest)
        ),
        delivery: NEVER_SENT.to_owned(),
        facts,
    })
}

/// A proxy that has no server answers at once.
fn waited_in_queue(case: &CaseFacts) -> bool {
    case.around.waited_ns.is_some_and(|ns| ns >= 100_000_000)
}

/// Was the name looked up before the client's request came?
fn in_background(request_start_ns: Option<u64>, failure: &NameFailure) -> bool {
    request_start_ns.is_some_and(|start| failure.at_ns < start)
}

/// What came of a name.
pub(super) fn sentence(failure: &NameFailure) -> String {
    let name = &failure.name;
    match failure.says {
        NameSays::Error(rcode) => {
            format!("the name server answered {} for {name}", rcode_name(rcode))
        }
        NameSays::NoAddress => format!("the name server knows no IPv4 address for {name}"),
        NameSays::Nothing { queries } => format!(
            "no answer came for {name}, asked for {}",
            words::times(queries.into())
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{alone, at};
    use crate::event::ProxyKind;

    #[test]
    fn names_without_an_address() {
        for (says, words) in [
            (NameSays::Error(3), "answered NXDOMAIN for app.internal"),
            (NameSays::NoAddress, "no IPv4 address for app.internal"),
            (
                NameSays::Nothing { queries: 2 },
                "no answer came for app.internal, asked for 2 times",
            ),
        ] {
            let facts = alone(ProxyKind::Nginx, 502, |around| {
                around.names = vec![NameFailure {
                    name: "app.internal".into(),
                    says,
                    at_ns: at(0),
                }];
            });
            let verdict = judge(&facts);
            assert_eq!(verdict.rule, "name-resolution-failed");
            assert!(verdict.summary.contains(words), "{}", verdict.summary);
        }
        let facts = alone(ProxyKind::Nginx, 502, |_| {});
        assert_eq!(judge(&facts).rule, "unexplained");
    }
}
