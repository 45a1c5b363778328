//! Error responses that no backend connection explains: what was going on around them.

use tracer_ebpf::{Cause, flags};

use super::failures::{Program, Route};
use super::matching::{self, Client};
use super::pending::Seq;
use super::{Correlator, is_unreadable};
use crate::diagnose::{Around, AttemptFacts};
use crate::event::{Exchange, ProxyKind};
use crate::http;

/// Proxies with resolvers of their own ask in the background: what they last heard counts this long.
const RESOLVED_NS: u64 = 60_000_000_000;

impl Correlator {
    /// Is it an error response without any backend connection that explains it, so far?
    pub(super) fn is_alone(&self, client: &Exchange) -> bool {
        let error = match client.cause {
            Cause::Status => true,
            Cause::Watched => self.is_watched(client),
            Cause::Ended | Cause::Sampled | Cause::Unheard => false,
        };
        if !error || client.link.is_some() || is_unreadable(client) || client.has(flags::UNSEEN) {
            return false;
        }
        let request = http::summarise(&client.request_head);
        let judged = matching::error_response(
            &self.pending,
            Client {
                exchange: client,
                request: request.as_ref(),
            },
        );
        judged.draft.is_some_and(|draft| {
            let mut seqs = draft.attempts.iter();
            !draft.claim && seqs.all(|seq| self.candidate(*seq, client.pid).is_none())
        })
    }

    /// A failure of that number that nothing but process and time tie to a client; `None` if it looks
    /// like a health check.
    pub(super) fn candidate(&self, seq: Seq, pid: u32) -> Option<&AttemptFacts> {
        let facts = &self.pending.get(seq)?.facts;
        let check = facts.phase().is_before_request()
            && match self.proxies.get(&pid) {
                Some(ProxyKind::Nginx) => false,
                // They connect on the thread that has the request, which ties the two.
                Some(ProxyKind::Haproxy | ProxyKind::Envoy) => true,
                Some(ProxyKind::Apache | ProxyKind::Other(_)) | None => self
                    .checks
                    .likely(facts.exchange.remote, facts.exchange.time_ns),
            };
        (!check).then_some(facts)
    }

    pub(super) fn program(&self, pid: u32) -> Program {
        match (self.instances.get(&pid), self.proxies.get(&pid)) {
            (Some(instance), _) => Program::Pid(*instance),
            (None, Some(kind)) => Program::Kind(kind.clone()),
            (None, None) => Program::Pid(pid),
        }
    }

    /// What is known of the proxy at the time of an error that no backend connection explains.
    pub(super) fn around(&self, client: &Exchange, route: &Route) -> Around {
        let moment = client.times.response_start.unwrap_or(client.time_ns);
        let start = client.times.request_start.unwrap_or(moment);
        let in_background = matches!(
            self.proxies.get(&client.pid),
            Some(ProxyKind::Haproxy | ProxyKind::Envoy)
        );
        let asked_from = if in_background {
            moment.saturating_sub(RESOLVED_NS)
        } else {
            start
        };
        Around {
            // A proxy chooses among its backends when the request comes.
            failures: self
                .failures
                .before(&self.program(client.pid), start, route),
            failures_elsewhere: self
                .failures
                .elsewhere(&self.program(client.pid), start, route),
            in_use: self
                .readings
                .in_use(client.pid, client.local.port(), moment),
            names: self.names.failures(client.pid, asked_from, moment),
            waited_ns: moment.checked_sub(start),
        }
    }
}
