//! Where the spans of a case stand: in the trace that the user has, or in one of their own.

use super::context::Context;
use super::ids::{self, SpanId, TraceId};
use super::span::Parent;
use crate::case::{Attempt, Case, SeenFrom};

/// Most attempts of a case that become spans.
pub(super) const ATTEMPTS_MAX: usize = 64;
/// Flags of a trace of our own: it is recorded.
const OWN: u8 = 1;

/// The place of one span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: Option<Parent>,
    pub(super) flags: u8,
    pub(super) links: Vec<Context>,
}

/// The places of all spans of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Of the failed request.
    pub(super) server: Place,
    /// Of the attempts, oldest first; none on a backend's host.
    pub(super) clients: Vec<Place>,
}

impl Places {
    /// By the `traceparent` of the request and of what the proxy made of it.
    pub(super) fn of(case: &Case, host: &str) -> Self {
        let request = case.downstream.request.as_ref();
        let downstream = request.and_then(|r| Context::parse(r.traceparent.as_deref()?));
        let sampled = |context: &Context| context.is_sampled();
        // A proxy that begins the trace itself: its own spans are in what it sent on.
        let begun = case.attempts.iter().rev().find_map(upstream);
        let above = match downstream {
            Some(context) => Some(context).filter(sampled),
            None => begun.filter(sampled),
        };
        let server = Place {
            trace: above.map_or_else(|| ids::trace_of(host, case), |context| context.trace),
            id: ids::server_span_of(host, case),
            parent: above.map(|context| Parent {
                id: context.parent,
                remote: true,
            }),
            flags: above.map_or(OWN, |context| context.flags),
            links: downstream
                .into_iter()
                .filter(|context| !context.is_sampled())
                .collect(),
        };
        let attempts = match case.seen_from {
            SeenFrom::Proxy => &case.attempts[..case.attempts.len().min(ATTEMPTS_MAX)],
            SeenFrom::Backend => &[],
        };
        let place = |(index, attempt)| {
            let id = ids::client_span_of(host, case, index);
            client(&server, id, downstream, upstream(attempt))
        };
        Self {
            clients: attempts.iter().enumerate().map(place).collect(),
            server,
        }
    }
}

fn upstream(attempt: &Attempt) -> Option<Context> {
    Context::parse(attempt.request.as_ref()?.traceparent.as_deref()?)
}

/// Below the proxy's own span where it makes some, else below ours.
fn client(
    server: &Place,
    id: SpanId,
    downstream: Option<Context>,
    upstream: Option<Context>,
) -> Place {
    let passed_on = |context: &Context| {
        downstream.is_some_and(|d| (d.trace, d.parent) == (context.trace, context.parent))
    };
    let own = upstream.filter(|context| context.is_sampled() && !passed_on(context));
    let (parent, flags, links) = match own {
        Some(context) if context.trace == server.trace => {
            let parent = Parent {
                id: context.parent,
                remote: true,
            };
            (parent, context.flags, Vec::new())
        }
        other => {
            let parent = Parent {
                id: server.id,
                remote: false,
            };
            (parent, server.flags, other.into_iter().collect())
        }
    };
    Place {
        trace: server.trace,
        id,
        parent: Some(parent),
        flags,
        links,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const OTHER: &str = "0af7651916cd43dd8448eb211c80319c";

    fn case(downstream: Option<String>, upstream: Option<String>) -> Case {
        let mut case = fixture::reuse_race();
        if let Some(request) = &mut case.downstream.request {
            request.traceparent = downstream;
        }
        if let Some(request) = &mut case.attempts[0].request {
            request.traceparent = upstream;
        }
        case
    }

    fn header(trace: &str, parent: u64, flags: u8) -> Option<String> {
        Some(format!("00-{trace}-{parent:016x}-{flags:02x}"))
    }

    /// Trace and parent of both spans, and the number of their links. `own`: of our own making.
    fn told(case: &Case) -> [(String, String, usize); 2] {
        let places = Places::of(case, "web1");
        let own = ids::trace_of("web1", case);
        let say = |place: &Place| {
            let trace = match place.trace {
                trace if trace == own => "own".to_owned(),
                trace => trace.to_string(),
            };
            let parent = match place.parent {
                None => "none".to_owned(),
                Some(parent) if parent.id == places.server.id => {
                    assert!(!parent.remote);
                    "server".to_owned()
                }
                Some(parent) => {
                    assert!(parent.remote);
                    parent.id.to_string().trim_start_matches('0').to_owned()
                }
            };
            (trace, parent, place.links.len())
        };
        [say(&places.server), say(&places.clients[0])]
    }

    #[test]
    fn where_spans_stand() {
        for (name, downstream, upstream, server, client) in [
            (
                "no trace at all",
                None,
                None,
                ("own", "none", 0),
                ("own", "server", 0),
            ),
            (
                "the header is passed on",
                header(TRACE, 1, 1),
                header(TRACE, 1, 1),
                (TRACE, "1", 0),
                (TRACE, "server", 0),
            ),
            (
                "the proxy makes spans of its own",
                header(TRACE, 1, 1),
                header(TRACE, 2, 1),
                (TRACE, "1", 0),
                (TRACE, "2", 0),
            ),
            (
                "the proxy begins the trace",
                None,
                header(TRACE, 2, 1),
                (TRACE, "2", 0),
                (TRACE, "2", 0),
            ),
            (
                "the proxy begins another trace",
                header(TRACE, 1, 1),
                header(OTHER, 2, 1),
                (TRACE, "1", 0),
                (TRACE, "server", 1),
            ),
            (
                "not sampled",
                header(TRACE, 1, 0),
                header(TRACE, 1, 0),
                ("own", "none", 1),
                ("own", "server", 0),
            ),
            (
                "not valid",
                header(&"0".repeat(32), 1, 1),
                None,
                ("own", "none", 0),
                ("own", "server", 0),
            ),
        ] {
            let told = told(&case(downstream, upstream));
            for (told, want) in told.iter().zip([server, client]) {
                assert_eq!((told.0.as_str(), told.1.as_str(), told.2), want, "{name}");
            }
        }
    }

    #[test]
    fn flags_are_those_of_the_caller() {
        let flags = |case: &Case| {
            let places = Places::of(case, "web1");
            (places.server.flags, places.clients[0].flags)
        };
        assert_eq!(flags(&case(header(TRACE, 1, 3), None)), (3, 3));
        assert_eq!(flags(&case(header(TRACE, 1, 0), None)), (1, 1));
        assert_eq!(flags(&case(None, None)), (1, 1));
    }

    #[test]
    fn many_attempts_and_a_backends_host() {
        let mut case = fixture::reuse_race();
        case.attempts = vec![case.attempts[0].clone(); 100];
        assert_eq!(Places::of(&case, "h").clients.len(), ATTEMPTS_MAX);
        case.seen_from = SeenFrom::Backend;
        assert_eq!(Places::of(&case, "h").clients, []);
    }
}
