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

/// How far a gap may lie from a default, ns. Servers check their timers in steps, and the
/// connection's last byte is up to a round trip older than the server's idea of it.
const TOLERANCE_NS: u64 = 500_000_000;

/// The default that an idle gap lies near: seconds and who has it.
pub(crate) fn near_default(idle_ns: u64) -> Option<(u64, &'static str)> {
    DEFAULTS
        .into_iter()
        .find(|(s, _)| idle_ns.abs_diff(s * 1_000_000_000) <= TOLERANCE_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps() {
        for (ms, want) in [
            (1_400, None),
            (1_600, Some(2)),
            (4_999, Some(5)),
            (5_499, Some(5)),
            (5_501, None),
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
