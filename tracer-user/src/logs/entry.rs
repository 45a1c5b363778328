//! One line of a log, understood.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use super::meaning::Meaning;
use super::stamp::Stamp;
use crate::event::ProxyKind;

/// Text of a line. What is no UTF-8 was replaced; nothing is escaped yet.
pub type Text<'a> = Cow<'a, str>;

/// The program or service that wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum System {
    /// NGINX and what is built on it.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy, and what is built on it (Istio, …).
    Envoy,
    /// Apache httpd.
    Apache,
    /// Caddy.
    Caddy,
    /// Traefik.
    Traefik,
    /// AWS Application Load Balancer.
    AwsAlb,
    /// AWS Network Load Balancer.
    AwsNlb,
    /// Azure Application Gateway.
    AzureAppGateway,
    /// Azure Front Door.
    AzureFrontDoor,
    /// Google Cloud Application Load Balancer.
    Gcp,
    /// NGINX or Apache httpd: the line does not tell which.
    Combined,
    /// F5 BIG-IP.
    BigIp,
}

impl System {
    /// Can a traced program of this kind have written its lines?
    pub fn is_of(self, kind: &ProxyKind) -> bool {
        match self {
            Self::Nginx => *kind == ProxyKind::Nginx,
            Self::Haproxy => *kind == ProxyKind::Haproxy,
            Self::Envoy => *kind == ProxyKind::Envoy,
            Self::Apache => *kind == ProxyKind::Apache,
            Self::Combined => matches!(
                kind,
                ProxyKind::Nginx | ProxyKind::Apache | ProxyKind::Other(_)
            ),
            Self::Caddy | Self::Traefik => matches!(kind, ProxyKind::Other(_)),
            // They are elsewhere.
            Self::AwsAlb
            | Self::AwsNlb
            | Self::AzureAppGateway
            | Self::AzureFrontDoor
            | Self::Gcp
            | Self::BigIp => false,
        }
    }

    /// The name in JSON and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Apache => "apache",
            Self::Caddy => "caddy",
            Self::Traefik => "traefik",
            Self::AwsAlb => "alb",
            Self::AwsNlb => "nlb",
            Self::AzureAppGateway => "app-gateway",
            Self::AzureFrontDoor => "front-door",
            Self::Gcp => "gcp",
            Self::Combined => "combined",
            Self::BigIp => "big-ip",
        }
    }

    /// The name for readers.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Nginx => "NGINX",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
            Self::Apache => "Apache httpd",
            Self::Caddy => "Caddy",
            Self::Traefik => "Traefik",
            Self::AwsAlb => "AWS Application Load Balancer",
            Self::AwsNlb => "AWS Network Load Balancer",
            Self::AzureAppGateway => "Azure Application Gateway",
            Self::AzureFrontDoor => "Azure Front Door",
            Self::Gcp => "Google Cloud Application Load Balancer",
            Self::Combined => "NGINX or Apache httpd (the line does not tell which)",
            Self::BigIp => "F5 BIG-IP",
        }
    }

    /// Is it one that somebody else runs, so that only its backends can be traced?
    pub const fn is_managed(self) -> bool {
        matches!(
            self,
            Self::AwsAlb
                | Self::AwsNlb
                | Self::AzureAppGateway
                | Self::AzureFrontDoor
                | Self::Gcp
                | Self::BigIp
        )
    }
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A request and what became of it.
    Access,
    /// Something that went wrong, mostly during a request.
    Error,
    /// A backend was found to be up or down.
    Health,
    /// A connection of a client, without a request.
    Connection,
}

/// An address whose port may not be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The address.
    pub ip: IpAddr,
    /// Its port.
    pub port: Option<u16>,
}

/// Durations that the system measured itself, µs. `None`: the phase was not completed, or is not logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// In the queue for a backend.
    pub queue_us: Option<u64>,
    /// Connecting to the backend, with its TLS handshake where there is one.
    pub connect_us: Option<u64>,
    /// From the request to the head of the backend's response. What it starts at differs by system.
    pub header_us: Option<u64>,
    /// The backend's whole response.
    pub response_us: Option<u64>,
    /// The whole request, as the client saw it.
    pub total_us: Option<u64>,
}

/// One try to get an answer from a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogAttempt<'a> {
    /// The backend as it is named in the line.
    pub name: Option<Text<'a>>,
    /// Its address, where the line has one.
    pub addr: Option<SocketAddr>,
    /// Address of a backend whose port is not logged.
    pub ip: Option<IpAddr>,
    /// The proxy's end of the connection.
    pub local: Option<SocketAddr>,
    /// The proxy's port, where its address is not logged.
    pub local_port: Option<u16>,
    /// Status that the backend sent or the system put down for it.
    pub status: Option<u16>,
    /// Connecting, µs.
    pub connect_us: Option<u64>,
    /// To the head of the response, µs.
    pub header_us: Option<u64>,
    /// To the end of the response, µs.
    pub response_us: Option<u64>,
    /// Bytes sent to the backend.
    pub sent_bytes: Option<u64>,
    /// Bytes received from the backend.
    pub received_bytes: Option<u64>,
}

/// One line, understood. Whatever a line does not have is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    /// Who wrote it.
    pub system: System,
    /// What it is about.
    pub kind: Kind,
    /// When it was written, or the response was completed.
    pub time: Option<Stamp>,
    /// When the request arrived.
    pub started: Option<Stamp>,
    /// Status that the client got; `None` where nothing was sent (`-1`, `0` and the like).
    pub status: Option<u16>,
    /// The client.
    pub client: Option<Peer>,
    /// Method.
    pub method: Option<Text<'a>>,
    /// Request target as it is in the line, with its query.
    pub target: Option<Text<'a>>,
    /// `HTTP/1.1`.
    pub protocol: Option<Text<'a>>,
    /// Host that was asked for.
    pub host: Option<Text<'a>>,
    /// `x-request-id`, or what the system has in its place.
    pub request_id: Option<Text<'a>>,
    /// `traceparent`.
    pub traceparent: Option<Text<'a>>,
    /// Process that wrote the line.
    pub pid: Option<u32>,
    /// Its thread.
    pub tid: Option<u32>,
    /// The system's own number of the client connection.
    pub connection: Option<u64>,
    /// Tries, oldest first.
    pub attempts: Vec<LogAttempt<'a>>,
    /// Durations of the whole request; those of one try are in the try.
    pub timers: Timers,
    /// The system's own words for the failure, whole: message, termination code, detail field.
    pub says: Option<Text<'a>>,
    /// What the line means, if it says that something failed.
    pub meaning: Option<&'static Meaning>,
}

/// What is counted of a line that says of no failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skim {
    /// As in [`Entry`].
    pub(super) time: Option<Stamp>,
    /// As in [`Entry`].
    pub(super) status: Option<u16>,
    /// As [`Entry::durations`].
    pub(super) durations: Durations,
}

/// Durations whose distribution is shown, µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Durations {
    /// Connecting to the backend.
    pub(super) connect_us: Option<u64>,
    /// To the head of its response.
    pub(super) header_us: Option<u64>,
    /// The whole request.
    pub(super) total_us: Option<u64>,
}

impl<'a> Entry<'a> {
    /// Takes method, target and protocol from a request line.
    pub(super) fn set_request_line(&mut self, line: Text<'a>) {
        match line {
            Cow::Borrowed(line) => {
                let (method, target, protocol) = request_line(line);
                self.method = method.map(Cow::Borrowed);
                self.target = target.map(Cow::Borrowed);
                self.protocol = protocol.map(Cow::Borrowed);
            }
            Cow::Owned(line) => {
                let (method, target, protocol) = request_line(&line);
                self.method = method.map(|part| part.to_owned().into());
                self.target = target.map(|part| part.to_owned().into());
                self.protocol = protocol.map(|part| part.to_owned().into());
            }
        }
    }
}

impl Entry<'_> {
    /// Its durations. Of several tries, those of the last one.
    pub(super) fn durations(&self) -> Durations {
        let last = self.attempts.last();
        Durations {
            connect_us: self
                .timers
                .connect_us
                .or_else(|| last.and_then(|last| last.connect_us)),
            header_us: self
                .timers
                .header_us
                .or_else(|| last.and_then(|last| last.header_us)),
            total_us: self.timers.total_us,
        }
    }

    /// A line of which nothing is known yet but who wrote it and what it is about.
    pub fn new(system: System, kind: Kind) -> Self {
        Self {
            system,
            kind,
            time: None,
            started: None,
            status: None,
            client: None,
            method: None,
            target: None,
            protocol: None,
            host: None,
            request_id: None,
            traceparent: None,
            pid: None,
            tid: None,
            connection: None,
            attempts: Vec::new(),
            timers: Timers::default(),
            says: None,
            meaning: None,
        }
    }

    /// The path of the target, without scheme, host and query.
    pub fn path(&self) -> Option<&str> {
        self.target.as_deref().map(path_of)
    }

    /// The backend of the last try, as it is named in the line.
    pub fn upstream(&self) -> Option<String> {
        let last = self.attempts.last()?;
        let addr = last.addr.map(|addr| addr.to_string());
        let name = || last.name.as_deref().map(str::to_owned);
        addr.or_else(name)
            .or_else(|| last.ip.map(|ip| ip.to_string()))
    }

    /// Rules that may be behind the line, the likely ones first.
    pub fn classes(&self) -> &'static [&'static str] {
        self.meaning.map_or(&[], |meaning| meaning.classes)
    }
}

/// The path of a request target, in origin or absolute form, without its query.
pub fn path_of(target: &str) -> &str {
    let rest = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    match rest.split_once('?') {
        Some(("", _)) => "/",
        Some((path, _)) => path,
        None => rest,
    }
}

/// The host of a target in absolute form, without its port.
pub(super) fn host_of(target: &str) -> Option<&str> {
    let (_, rest) = target.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

/// Method, target and protocol of a request line; what is not there is `None`.
pub(super) fn request_line(line: &str) -> (Option<&str>, Option<&str>, Option<&str>) {
    let known = |part: &str| !part.is_empty() && part != "-";
    let Some((method, rest)) = line.split_once(' ') else {
        // One word is no request line that anybody could name a method or a path of.
        return (None, None, None);
    };
    let (target, protocol) = match rest.rsplit_once(' ') {
        Some((target, protocol)) if protocol.starts_with("HTTP/") => (target, Some(protocol)),
        _ => (rest, None),
    };
    (
        Some(method).filter(|part| known(part)),
        Some(target).filter(|part| known(part)),
        protocol,
    )
}

/// `address:port`, `[address]:port` or an address alone.
pub(super) fn peer(text: &str) -> Option<Peer> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        let (ip, port) = (addr.ip(), Some(addr.port()));
        return Some(Peer { ip, port });
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Some(Peer { ip, port: None });
    }
    // An IPv6 address and a port, without brackets.
    let (ip, port) = text.rsplit_once(':')?;
    let (ip, port) = (ip.parse().ok()?, Some(port.parse().ok()?));
    Some(Peer { ip, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_targets() {
        for (target, path) in [
            ("/cart?a=b", "/cart"),
            ("/cart", "/cart"),
            ("http://shop.example.com:80/cart?x=http://y/z", "/cart"),
            ("https://shop.example.com", "/"),
            ("https://shop.example.com?x", "/"),
            ("/go?to=http://x/y", "/go"),
            ("/a://b/c", "/a://b/c"),
            ("*", "*"),
            ("?", "/"),
            ("", ""),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }

    #[test]
    fn hosts_of_targets() {
        for (target, host) in [
            ("http://shop.example.com:80/cart", Some("shop.example.com")),
            ("https://shop.example.com?x=/y", Some("shop.example.com")),
            ("https://[2001:db8::1]:443/", Some("2001:db8::1")),
            ("https:///x", None),
            ("/cart", None),
        ] {
            assert_eq!(host_of(target), host, "{target}");
        }
    }

    #[test]
    fn request_lines() {
        for (line, parts) in [
            (
                "GET /a b HTTP/1.1",
                (Some("GET"), Some("/a b"), Some("HTTP/1.1")),
            ),
            ("GET /", (Some("GET"), Some("/"), None)),
            ("-", (None, None, None)),
            ("- - -", (None, Some("- -"), None)),
            ("\u{16}\u{3}\u{1}", (None, None, None)),
            ("", (None, None, None)),
        ] {
            assert_eq!(request_line(line), parts, "{line}");
        }
    }

    #[test]
    fn peers() {
        let known = |text: &str| peer(text).map(|peer| (peer.ip.to_string(), peer.port));
        let ip = |ip: &str, port| Some((ip.to_owned(), port));
        assert_eq!(known("203.0.113.5:51544"), ip("203.0.113.5", Some(51544)));
        assert_eq!(known("203.0.113.5"), ip("203.0.113.5", None));
        assert_eq!(known("[2001:db8::1]:443"), ip("2001:db8::1", Some(443)));
        assert_eq!(known("[2001:db8::1]"), ip("2001:db8::1", None));
        assert_eq!(
            known("2001:db8:0:0:0:0:0:1:443"),
            ip("2001:db8::1", Some(443))
        );
        for none in ["-", "", ":", "unix:", "203.0.113.5:", "203.0.113.5:99999"] {
            assert_eq!(known(none), None, "{none}");
        }
    }
}
