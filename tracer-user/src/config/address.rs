//! Backend addresses as configurations write them. Names are not looked up: an answer of today's
//! DNS says nothing about the connection that failed.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::setting::Target;

/// `10.0.0.5`, `10.0.0.5:8080`, `[::1]:80`, `app:8080`, `unix:/run/app.sock`, as NGINX reads them.
/// `None` for what is no TCP address.
pub(super) fn nginx(text: &str, default_port: u16) -> Option<Target> {
    if text.is_empty() || text.starts_with("unix:") {
        return None;
    }
    if text.contains('$') {
        return Some(Target::Any);
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (ip, rest) = inner.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if rest.is_empty() => default_port,
            None => return None,
        };
        return Some(address(IpAddr::V6(ip.parse().ok()?), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, default_port),
    };
    Some(host_and_port(host, port))
}

/// As HAProxy reads the address of a `server` line: a prefix for the family, the port behind the
/// last colon (<https://docs.haproxy.org/2.8/configuration.html#11>). `variable`: the text holds
/// one.
pub(super) fn haproxy(text: &str, variable: bool) -> Option<Target> {
    if variable {
        return Some(Target::Any);
    }
    let text = match text.split_once('@') {
        Some(("ipv4" | "ipv6" | "tcp" | "tcp4" | "tcp6", rest)) => rest,
        Some(_) => return None,
        None => text,
    };
    if text.is_empty() || text.starts_with('/') {
        return None;
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let offset = port.is_none_or(|port| port.is_empty() || port.starts_with(['+', '-']));
    if offset {
        // The port of the client's connection, or that port and an offset.
        return Some(match host.parse() {
            Ok(ip) => Target::Ip(ip_of(ip)),
            Err(_) => Target::Any,
        });
    }
    let port = port?.parse().ok()?;
    // `*` and the empty address: the address that the client spoke to.
    if matches!(host, "" | "*" | "0.0.0.0" | "::") {
        return Some(Target::Port(port));
    }
    Some(host_and_port(host, port))
}

fn host_and_port(host: &str, port: u16) -> Target {
    match host.parse::<IpAddr>() {
        Ok(ip) => address(ip, port),
        Err(_) => Target::Port(port),
    }
}

fn address(ip: IpAddr, port: u16) -> Target {
    Target::Address(SocketAddr::new(ip_of(ip), port))
}

fn ip_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) if v6 == Ipv6Addr::LOCALHOST => ip,
        ip => crate::event::canonical(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<Target> {
        Some(Target::Address(text.parse().unwrap()))
    }

    #[test]
    fn nginx_addresses() {
        for (text, want) in [
            ("10.0.0.5:8080", at("10.0.0.5:8080")),
            ("10.0.0.5", at("10.0.0.5:80")),
            ("[::1]:81", at("[::1]:81")),
            ("[2001:db8::1]", at("[2001:db8::1]:80")),
            ("[::ffff:10.0.0.5]:80", at("10.0.0.5:80")),
            ("app", Some(Target::Port(80))),
            ("app:8080", Some(Target::Port(8080))),
            ("$backend", Some(Target::Any)),
            ("app:$port", Some(Target::Any)),
            ("unix:/run/x.sock", None),
            ("app:http", None),
            ("app:99999", None),
            ("[::1", None),
            ("[::1]x", None),
            ("", None),
        ] {
            assert_eq!(nginx(text, 80), want, "{text}");
        }
    }

    #[test]
    fn haproxy_addresses() {
        for (text, want) in [
            ("10.0.0.5:8080", at("10.0.0.5:8080")),
            ("ipv4@10.0.0.5:8080", at("10.0.0.5:8080")),
            ("[::1]:81", at("[::1]:81")),
            ("2001:db8::1:81", at("[2001:db8::1]:81")),
            ("app.internal:8080", Some(Target::Port(8080))),
            ("10.0.0.5", Some(Target::Ip("10.0.0.5".parse().unwrap()))),
            (
                "10.0.0.5:+1000",
                Some(Target::Ip("10.0.0.5".parse().unwrap())),
            ),
            ("app", Some(Target::Any)),
            ("*:80", Some(Target::Port(80))),
            ("unix@/run/x.sock", None),
            ("fd@3", None),
            ("/run/x.sock", None),
            ("app:http", None),
            ("", None),
        ] {
            assert_eq!(haproxy(text, false), want, "{text}");
        }
        assert_eq!(haproxy("10.0.0.5:", true), Some(Target::Any));
    }
}
