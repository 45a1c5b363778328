//! Why a connection to a server could not be made: `SC` alone stands for a refusal, a bad certificate
//! and a missing local port alike, and only `bc_err` and `ssl_bc_err` tell them apart.

use crate::logs::meaning::{Meaning, meanings};

use super::extra::ServerError;

meanings! {
    ANY Backend
    "SC"
    "No connection to the server came up: it refused, could not be reached, or the TLS handshake or \
     its certificate failed. HAProxy writes the same for all of them unless the log-format has bc_err \
     and ssl_bc_err."
    [
        "connect-refused", "connect-unreachable", "tls-verify-failed", "tls-peer-closed",
        "tls-reset", "tls-alert-from-backend", "tls-to-plaintext", "local-port-exhausted",
        "local-fd-exhausted", "protocol-version-mismatch",
    ];

    NOT_TLS Backend
    "SC bc_err -"
    "No connection to the server came up, and HAProxy kept no error of it: the server refused. A \
     failed TLS handshake would have left one."
    ["connect-refused", "connect-unreachable", "local-port-exhausted"];

    REFUSED Backend
    "SC bc_err 46"
    "The server's host refused the connection: nothing listens on that port, or a firewall answers \
     for it."
    ["connect-refused"];

    RESET Backend
    "SC bc_err 47"
    "The connection was reset while it was being made, or in its TLS handshake."
    ["tls-reset", "connect-refused", "listen-queue-overflow"];

    UNREACHABLE Backend
    "SC bc_err 48"
    "There was no way to the server: no route, no neighbour, or a router or firewall said so."
    ["connect-unreachable"];

    SOCKET Backend
    "SC General socket error"
    "The kernel reported an error on the connection at once: mostly a server that cannot be reached, \
     or one that refused. A failure of TLS looks different."
    ["connect-unreachable", "connect-refused", "path-reset"];

    PORTS Backend
    "no free ports"
    "HAProxy found no local port for another connection to this server. The server was never asked."
    ["local-port-exhausted"];

    SOCKETS Backend
    "SC Too many sockets"
    "HAProxy, or the system it runs on, has no more file descriptors. The server was never asked."
    ["local-fd-exhausted"];

    VERIFY Backend
    "SC certificate verify failed"
    "HAProxy did not accept the server's certificate: unknown authority, expired, or a name that \
     does not fit. The server itself was ready to serve."
    ["tls-verify-failed"];

    ALERT Backend
    "SC … alert …"
    "The server ended the TLS handshake with an alert, which names what it did not like: the \
     protocol version, the ciphers, the name, or a missing client certificate."
    ["tls-alert-from-backend"];

    PLAINTEXT Backend
    "SC wrong version number"
    "What the server answered to the TLS hello is no TLS: the port speaks plain text, or another \
     protocol."
    ["tls-to-plaintext"];

    TLS_CUT Backend
    "SC SSL handshake failure, no SSL error"
    "The server closed or reset the connection in the TLS handshake, without an alert. HAProxy does \
     not say which of the two it was."
    ["tls-peer-closed", "tls-reset", "tls-to-plaintext"];

    TLS_CLOSED Backend
    "SC Connection closed during SSL handshake"
    "The server closed the connection in the TLS handshake, without an alert."
    ["tls-peer-closed"];

    TLS_RESET Backend
    "SC Connection error during SSL handshake"
    "The connection was reset in the TLS handshake."
    ["tls-reset", "path-reset"];

    pub(super) TLS_TIMEOUT Backend
    "Timeout during SSL handshake"
    "The connection came up, but its TLS handshake was not done within the timeout."
    ["tls-handshake-timeout"];

    TLS_OTHER Backend
    "SC SSL handshake failure"
    "The TLS handshake with the server failed; what OpenSSL says of it is in the line."
    [
        "tls-alert-from-backend", "tls-verify-failed", "tls-peer-closed", "tls-reset",
        "tls-to-plaintext",
    ];
}

/// Parts of `ssl_bc_err_str`: <https://docs.openssl.org/3.0/man3/ERR_error_string/>.
const TLS: &[(&str, &Meaning)] = &[
    ("certificate verify failed", &VERIFY),
    ("unexpected eof", &TLS_CLOSED),
    // Before the next ones: the alert "unknown ca" is one all the same.
    ("alert", &ALERT),
    ("wrong version number", &PLAINTEXT),
    ("http request", &PLAINTEXT),
    ("unknown protocol", &PLAINTEXT),
    ("packet length too long", &PLAINTEXT),
];

/// Parts of `bc_err_str`.
const CONNECTION: &[(&str, &Meaning)] = &[
    ("SSL certificate different", &VERIFY),
    ("Connection closed during SSL handshake", &TLS_CLOSED),
    ("Connection error during SSL handshake", &TLS_RESET),
    ("Timeout during SSL handshake", &TLS_TIMEOUT),
    ("source ports", &PORTS),
    ("Source port range exhausted", &PORTS),
    ("source address", &PORTS),
    ("Too many sockets", &SOCKETS),
    ("maxconn", &SOCKETS),
    ("General socket error", &SOCKET),
    ("ECONNREFUSED", &REFUSED),
    ("ECONNRESET", &RESET),
    ("UNREACH", &UNREACHABLE),
];

/// What `SC` means with what the line says of the server's connection.
pub(super) fn meaning(error: &ServerError<'_>) -> &'static Meaning {
    let by_text = |text: Option<&[u8]>, table: &[(&str, &'static Meaning)]| {
        let text = text?;
        let holds = |part: &str| memchr::memmem::find(text, part.as_bytes()).is_some();
        table
            .iter()
            .find(|(part, _)| holds(part))
            .map(|(_, meaning)| *meaning)
    };
    if let Some(meaning) = by_text(error.tls, TLS).or_else(|| by_text(error.connection, CONNECTION))
    {
        return meaning;
    }
    // https://docs.haproxy.org/3.2/configuration.html#7.3.3-bc_err
    match error.code {
        None if !error.logged => &ANY,
        None => &NOT_TLS,
        Some(1..=3) => &SOCKETS,
        Some(6) => &SOCKET,
        Some(7..=10) => &PORTS,
        Some(34) if error.tls.is_none() => &TLS_CUT,
        Some(24..=38 | 43) => &TLS_OTHER,
        Some(46) => &REFUSED,
        Some(47) => &RESET,
        Some(48) => &UNREACHABLE,
        Some(_) => &ANY,
    }
}

/// What `Connect() failed for backend …: reason.` means.
pub(super) fn by_reason(reason: &[u8]) -> &'static Meaning {
    let holds = |part: &str| memchr::memmem::find(reason, part.as_bytes()).is_some();
    if holds("port") || holds("address") {
        &PORTS
    } else {
        &ANY
    }
}

/// File descriptors are used up.
pub(super) fn sockets() -> &'static Meaning {
    &SOCKETS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::haproxy::extra::Extra;

    #[test]
    fn what_stands_behind_a_failed_connect() {
        for (fields, expected, first) in [
            ("", &ANY, "connect-refused"),
            ("be=-/- sslbe=-/-", &NOT_TLS, "connect-refused"),
            (
                r#"be=6/"General socket error" sslbe=-/-"#,
                &SOCKET,
                "connect-unreachable",
            ),
            (
                r#"be=34/"SSL handshake failure" sslbe=0A000086/"error:0A000086:SSL routines::certificate verify failed""#,
                &VERIFY,
                "tls-verify-failed",
            ),
            (
                r#"be=34/"SSL handshake failure" sslbe=0A00042E/"error:0A00042E:SSL routines::tlsv1 alert protocol version""#,
                &ALERT,
                "tls-alert-from-backend",
            ),
            (
                r#"be=43/"SSL fatal error" sslbe=0A00045C/"error:0A00045C:SSL routines::tlsv13 alert certificate required""#,
                &ALERT,
                "tls-alert-from-backend",
            ),
            (
                r#"be=34/"SSL handshake failure" sslbe=0A00010B/"error:0A00010B:SSL routines::wrong version number""#,
                &PLAINTEXT,
                "tls-to-plaintext",
            ),
            (
                r#"be=34/"SSL handshake failure" sslbe=0000000000000000/-"#,
                &TLS_CUT,
                "tls-peer-closed",
            ),
            (
                r#"be=34/"SSL handshake failure" sslbe=0A000126/"error:0A000126:SSL routines::unexpected eof while reading""#,
                &TLS_CLOSED,
                "tls-peer-closed",
            ),
            (
                r#"be=25/"Connection error during SSL handshake" sslbe=-/-"#,
                &TLS_RESET,
                "tls-reset",
            ),
            (
                r#"be=33/"Server presented an SSL certificate different from the expected one" sslbe=-/-"#,
                &VERIFY,
                "tls-verify-failed",
            ),
            (
                r#"be=9/"Out of local source ports on the system" sslbe=-/-"#,
                &PORTS,
                "local-port-exhausted",
            ),
            (
                r#"be=2/"Too many sockets on the process""#,
                &SOCKETS,
                "local-fd-exhausted",
            ),
            ("be=46/ECONNREFUSED", &REFUSED, "connect-refused"),
            ("be=48/x", &UNREACHABLE, "connect-unreachable"),
            ("be=99/x", &ANY, "connect-refused"),
        ] {
            let mut extra = Extra::default();
            extra.read_pairs(fields.as_bytes());
            let found = meaning(&extra.error);
            assert_eq!(found, expected, "{fields}");
            assert_eq!(found.classes.first(), Some(&first), "{fields}");
        }
    }
}
