//! The values that are kept, as plain data. They travel in recordings: no other text of a
//! configuration does.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::event::ProxyKind;

/// The configuration of one proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyConfig {
    /// Whose it is.
    pub proxy: ProxyKind,
    /// Its main file (HAProxy may have several: the first), as the proxy itself names it.
    pub file: String,
    /// Settings by upstream.
    pub upstreams: Vec<UpstreamConfig>,
    /// What could not be read.
    pub notes: Vec<String>,
}

/// What is in force for some backends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UpstreamConfig {
    /// The place in the configuration, for people: `upstream api`, `backend be_api`.
    pub group: String,
    /// The backends.
    pub targets: Vec<Target>,
    /// At most one for each directive, in the order of [`Directive`]. A directive that is missing
    /// has no value, or none that could be read.
    pub settings: Vec<Setting>,
}

/// Which backends a configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// This one.
    Address(SocketAddr),
    /// This address, on a port that the file does not tell.
    Ip(IpAddr),
    /// Some address on this port: the file has a host name.
    Port(u16),
    /// Any: the file has a variable.
    Any,
}

impl Target {
    /// Is that the backend, or may it be?
    pub fn matches(self, upstream: SocketAddr) -> Match {
        let certain = match self {
            Self::Address(address) => address == upstream,
            Self::Ip(ip) => ip == upstream.ip(),
            Self::Port(port) if port == upstream.port() => return Match::Maybe,
            Self::Any => return Match::Maybe,
            Self::Port(_) => false,
        };
        if certain { Match::Yes } else { Match::No }
    }
}

/// Does a configured target stand for a backend?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// It does not.
    No,
    /// The file cannot tell: a host name or a variable.
    Maybe,
    /// It does, by address.
    Yes,
}

/// One value in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// Of what.
    pub directive: Directive,
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nowhere: the proxy's documented default.
    Default,
    /// A line of a file.
    File {
        /// Path, as the proxy names it.
        file: String,
        /// Line, from 1.
        line: u32,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{file}:{line}"),
        }
    }
}

/// A value, without the text it was written as.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A duration, ms.
    Millis(u64),
    /// A size, bytes.
    Bytes(u64),
    /// A number.
    Count(u64),
    /// So many buffers of so many bytes.
    Buffers(u64, u64),
    /// No limit.
    Unlimited,
    /// Keywords that the proxy's documentation lists.
    Words(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Millis(ms) if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            Self::Millis(ms) => write!(f, "{ms}ms"),
            Self::Bytes(bytes) => f.write_str(&size(*bytes)),
            Self::Count(count) => write!(f, "{count}"),
            Self::Buffers(count, bytes) => write!(f, "{count} {}", size(*bytes)),
            Self::Unlimited => f.write_str("unlimited"),
            Self::Words(words) => f.write_str(&words.join(" ")),
        }
    }
}

/// `4k`, `1000`.
fn size(bytes: u64) -> String {
    if bytes > 0 && bytes.is_multiple_of(1024) {
        format!("{}k", bytes / 1024)
    } else {
        bytes.to_string()
    }
}

macro_rules! directives {
    ($($variant:ident $name:literal $proxy:ident $doc:literal;)*) => {
        /// What a value is of.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        pub enum Directive {
            $(
                #[doc = $doc]
                #[serde(rename = $name)]
                $variant,
            )*
        }

        impl Directive {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name that it has in the configuration.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Whose directive it is.
            pub const fn proxy(self) -> ProxyKind {
                match self {
                    $(Self::$variant => ProxyKind::$proxy,)*
                }
            }
        }
    };
}

directives! {
    ProxyConnectTimeout "proxy_connect_timeout" Nginx "Time to connect.";
    ProxyReadTimeout "proxy_read_timeout" Nginx "Time between two reads.";
    ProxySendTimeout "proxy_send_timeout" Nginx "Time between two writes.";
    ProxyBufferSize "proxy_buffer_size" Nginx "The response head must fit.";
    ProxyBuffers "proxy_buffers" Nginx "Buffers of one response.";
    ProxyNextUpstream "proxy_next_upstream" Nginx "When another server is asked.";
    ProxyHttpVersion "proxy_http_version" Nginx "Version of the request.";
    ConnectionHeader "proxy_set_header Connection" Nginx "`Connection` of the request.";
    Keepalive "keepalive" Nginx "Idle connections that a worker keeps.";
    KeepaliveTimeout "keepalive_timeout" Nginx "How long it keeps one.";
    KeepaliveRequests "keepalive_requests" Nginx "Requests on one connection.";
    MaxFails "max_fails" Nginx "Failures after which a server is left out.";
    FailTimeout "fail_timeout" Nginx "For how long, and within which time.";
    TimeoutConnect "timeout connect" Haproxy "Time to connect.";
    TimeoutServer "timeout server" Haproxy "Silence of the server.";
    TimeoutQueue "timeout queue" Haproxy "Time in the queue.";
    TimeoutTunnel "timeout tunnel" Haproxy "Silence of a tunnel.";
    PoolPurgeDelay "pool-purge-delay" Haproxy "Half of the idle connections go at every such time.";
    PoolMaxConn "pool-max-conn" Haproxy "Idle connections that are kept.";
    Maxconn "maxconn" Haproxy "Connections to the server.";
    Retries "retries" Haproxy "Tries after the first.";
    RetryOn "retry-on" Haproxy "When there is another try.";
    HttpReuse "http-reuse" Haproxy "Whose idle connections a request may use.";
    Redispatch "option redispatch" Haproxy "May another server be tried?";
    Bufsize "tune.bufsize" Haproxy "Size of a buffer.";
    Maxrewrite "tune.maxrewrite" Haproxy "Part of it that a head must leave free.";
    Maxhdr "tune.http.maxhdr" Haproxy "Header fields in a head.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_words() {
        for (value, want) in [
            (Value::Millis(60_000), "60s"),
            (Value::Millis(1_500), "1500ms"),
            (Value::Millis(0), "0s"),
            (Value::Bytes(4096), "4k"),
            (Value::Bytes(1000), "1000"),
            (Value::Buffers(8, 4096), "8 4k"),
            (
                Value::Words(vec!["error".into(), "timeout".into()]),
                "error timeout",
            ),
        ] {
            assert_eq!(value.to_string(), want);
        }
    }

    #[test]
    fn directives_read_back_by_name() {
        for directive in Directive::ALL {
            let text = serde_json::to_string(directive).unwrap();
            assert_eq!(text, format!("\"{}\"", directive.name()));
            let back: Directive = serde_json::from_str(&text).unwrap();
            assert_eq!(back, *directive);
        }
    }
}
