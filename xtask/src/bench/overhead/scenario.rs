//! Under which load it is measured.

use super::Tool;
use crate::lab::proxy::Kind;

/// A proxy, and what its clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// As in the results.
    pub name: &'static str,
    /// The proxy.
    pub proxy: Kind,
    /// Bytes of each response's body.
    pub body: usize,
    /// Connections of clients carry one request each.
    pub close: bool,
    /// Connections of clients that are open beside and do nothing.
    pub idle: usize,
    /// Latencies at a fixed rate are measured, too.
    pub latency: bool,
}

impl Scenario {
    /// The tools that tell something here.
    pub(super) fn tools(&self) -> impl Iterator<Item = Tool> {
        Tool::ALL.into_iter().filter(|tool| match tool {
            // They see connections come and go, and nothing in between.
            Tool::Tcplife | Tool::Tcpstates => self.close,
            // What it sends to user space is the same for each request.
            Tool::Why502All => self.latency,
            _ => true,
        })
    }
}

const fn small(name: &'static str, proxy: Kind) -> Scenario {
    Scenario {
        name,
        proxy,
        body: 3,
        close: false,
        idle: 0,
        latency: false,
    }
}

/// All of them. The first is the hardest for a tracer: nothing but calls.
pub const SCENARIOS: [Scenario; 6] = [
    Scenario {
        latency: true,
        ..small("nginx-small", Kind::Nginx)
    },
    Scenario {
        close: true,
        ..small("nginx-small-close", Kind::Nginx)
    },
    Scenario {
        body: 100_000,
        ..small("nginx-100k", Kind::Nginx)
    },
    Scenario {
        idle: 10_000,
        ..small("nginx-small-10k-open", Kind::Nginx)
    },
    small("haproxy-small", Kind::Haproxy),
    small("envoy-small", Kind::Envoy),
];
