//! Which servers close an idle connection after how long.

/// Defaults of well-known servers: seconds, who has it.
///
/// Source: each server's documentation. A gap near one of them is a hint, never proof.
const DEFAULTS: [(u64, &str); 10] = [
    (2, "gunicorn (--keep-alive)"),
    (
        5,
        "Node.js (server.keepAliveTimeout), uvicorn (--timeout-keep-alive), Apache httpd (KeepAliveTimeout), actix-web (keep_alive)",
    ),
    (
        15,
        "a keep-alive of 15 s, common in shipped Apache httpd configurations",
    ),
    (
        20,
        "Tomcat as shipped (keepAliveTimeout), Puma before 7 (persistent_timeout)",
    ),
    (30, "Jetty (idleTimeout)"),
    (
        60,
        "Tomcat without a connectionTimeout, WildFly (no-request-timeout)",
    ),
    (
        65,
        "newer Node.js (server.keepAliveTimeout), Puma 7 (persistent_timeout)",
    ),
    (75, "nginx (keepalive_timeout), aiohttp (keepalive_timeout)"),
    (120, "IIS (connection timeout), waitress (channel_timeout)"),
    (130, "Kestrel (Limits.KeepAliveTimeout)"),
];

/// A server does not close before its timeout, but the last byte that we saw may be a little younger
/// than its idea of it.
const BEFORE_NS: u64 = 100_000_000;
/// Servers check their timers in steps of up to a second.
const AFTER_NS: u64 = 1_000_000_000;

/// The default that an idle gap fits: seconds and who has it.
pub(crate) fn near_default(idle_ns: u64) -> Option<(u64, &'static str)> {
    DEFAULTS.into_iter().find(|(s, _)| {
        let timeout = s * 1_000_000_000;
        (timeout - BEFORE_NS..=timeout + AFTER_NS).contains(&idle_ns)
    })
}

/// Idle timeouts of middleboxes: seconds, who has it.
///
/// Source: each vendor's documentation (Azure Load Balancer 240 s; F5 BIG-IP and many firewalls 300 s;
/// AWS NLB, NAT gateway and Gateway Load Balancer 350 s; Google Cloud 600 s; common for firewalls:
/// 900 s and an hour).
const MIDDLEBOXES: [(u64, &str); 6] = [
    (240, "Azure Load Balancer"),
    (300, "F5 BIG-IP and many firewalls"),
    (350, "AWS NLB and NAT gateway"),
    (600, "Google Cloud firewalls and balancers"),
    (900, "some firewalls"),
    (3600, "many stateful firewalls"),
];
/// The next request comes this soon after a middlebox has forgotten the connection, or it may be
/// chance.
const MIDDLEBOX_AFTER_NS: u64 = 5_000_000_000;

/// The middlebox timeout that an idle gap has just passed: seconds and who has it.
pub(crate) fn near_middlebox(idle_ns: u64) -> Option<(u64, &'static str)> {
    MIDDLEBOXES.into_iter().find(|(s, _)| {
        let timeout = s * 1_000_000_000;
        (timeout..=timeout + MIDDLEBOX_AFTER_NS).contains(&idle_ns)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps() {
        for (ms, want) in [
            (1_527, None),
            (1_950, Some(2)),
            (4_999, Some(5)),
            (5_900, Some(5)),
            (6_100, None),
            (75_010, Some(75)),
            (500_000, None),
        ] {
            assert_eq!(
                near_default(ms * 1_000_000).map(|(s, _)| s),
                want,
                "{ms} ms"
            );
        }
    }

    #[test]
    fn middleboxes() {
        for (s, want) in [(239, None), (241, Some(240)), (246, None), (352, Some(350))] {
            assert_eq!(near_middlebox(s * 1_000_000_000).map(|(s, _)| s), want);
        }
    }
}
