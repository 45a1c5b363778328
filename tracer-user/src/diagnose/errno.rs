//! Names of the errors that a socket reports.

/// Broken pipe: a send on a connection that is gone.
pub(crate) const EPIPE: i32 = 32;
/// Network is unreachable.
pub(crate) const ENETUNREACH: i32 = 101;
/// Connection reset by peer.
pub(crate) const ECONNRESET: i32 = 104;
/// Connection timed out.
pub(crate) const ETIMEDOUT: i32 = 110;
/// Connection refused.
pub(crate) const ECONNREFUSED: i32 = 111;
/// No route to host.
pub(crate) const EHOSTUNREACH: i32 = 113;

/// Symbol and words of an errno that TCP sockets report (`include/uapi/asm-generic/errno*.h`; the
/// numbers are the same on every architecture this runs on).
fn known(errno: i32) -> Option<(&'static str, &'static str)> {
    Some(match errno {
        4 => ("EINTR", "interrupted"),
        9 => ("EBADF", "bad file descriptor"),
        11 => ("EAGAIN", "try again"),
        12 => ("ENOMEM", "out of memory"),
        13 => ("EACCES", "permission denied"),
        22 => ("EINVAL", "invalid argument"),
        EPIPE => ("EPIPE", "broken pipe"),
        71 => ("EPROTO", "protocol error"),
        90 => ("EMSGSIZE", "message too long"),
        98 => ("EADDRINUSE", "address in use"),
        99 => ("EADDRNOTAVAIL", "cannot assign requested address"),
        100 => ("ENETDOWN", "network is down"),
        ENETUNREACH => ("ENETUNREACH", "network is unreachable"),
        103 => ("ECONNABORTED", "connection aborted"),
        ECONNRESET => ("ECONNRESET", "connection reset by peer"),
        105 => ("ENOBUFS", "no buffer space"),
        107 => ("ENOTCONN", "not connected"),
        ETIMEDOUT => ("ETIMEDOUT", "connection timed out"),
        ECONNREFUSED => ("ECONNREFUSED", "connection refused"),
        112 => ("EHOSTDOWN", "host is down"),
        EHOSTUNREACH => ("EHOSTUNREACH", "no route to host"),
        _ => return None,
    })
}

/// The symbol of an errno, `errno 77` for one without a name here.
pub fn symbol(errno: i32) -> String {
    known(errno).map_or_else(|| format!("errno {errno}"), |(symbol, _)| symbol.to_owned())
}

/// Number, symbol and words: `111 ECONNREFUSED (connection refused)`.
pub fn describe(errno: i32) -> String {
    known(errno).map_or_else(
        || errno.to_string(),
        |(symbol, words)| format!("{errno} {symbol} ({words})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (errno, name, text) in [
            (111, "ECONNREFUSED", "111 ECONNREFUSED (connection refused)"),
            (
                104,
                "ECONNRESET",
                "104 ECONNRESET (connection reset by peer)",
            ),
            (4096, "errno 4096", "4096"),
        ] {
            assert_eq!(
                (symbol(errno).as_str(), describe(errno).as_str()),
                (name, text)
            );
        }
    }
}
