//! Addresses as BIG-IP writes them.

use std::net::{IpAddr, SocketAddr};

/// `192.0.2.10:443`, `192.0.2.10%1:443` in a route domain, and `2001:db8::1.443` for IPv6.
pub(super) fn socket(text: &str) -> Option<SocketAddr> {
    // An address of version 4 has points, so the last of them divides only where colons are in front.
    let (ip, port) = match text.rsplit_once('.') {
        Some((ip, port)) if ip.contains(':') && !port.contains(':') => (ip, port),
        _ => text.rsplit_once(':')?,
    };
    Some(SocketAddr::new(self::ip(ip)?, port.parse().ok()?))
}

/// An address, with or without a route domain.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    let bare = text.split('%').next()?;
    bare.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, addr) in [
            ("192.0.2.10:443", Some("192.0.2.10:443")),
            ("192.0.2.10%1:443", Some("192.0.2.10:443")),
            ("2001:db8::1.443", Some("[2001:db8::1]:443")),
            ("2001:db8::1%2.443", Some("[2001:db8::1]:443")),
            ("::ffff:192.0.2.1.80", Some("[::ffff:192.0.2.1]:80")),
            ("[2001:db8::1]:443", Some("[2001:db8::1]:443")),
            ("192.0.2.10", None),
            ("any.0", None),
            ("", None),
        ] {
            assert_eq!(
                socket(text),
                addr.map(|addr| addr.parse().unwrap()),
                "{text}"
            );
        }
    }
}
