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
}
