//! Cases on a backend's host, where the client is a proxy or balancer.

use tracer_ebpf::{Cause, flags};

use super::intake::{self, Kind};
use super::matching::Draft;
use super::{Correlator, locals, mirror};
use crate::case::{Case, Confidence, Outcome};
use crate::event::Exchange;

/// Shortest time after which a proxy or balancer is taken to have given up on a backend.
const PATIENCE_NS: u64 = 1_000_000_000;

impl Correlator {
    /// A backend's own record is a case by itself: what its client made of it is in the log of the
    /// proxy or balancer.
    pub(super) fn backend_case(&mut self, exchange: &Exchange) -> Option<Case> {
        if exchange.has(flags::OPAQUE | flags::TLS) {
            self.counters.unreadable_clients += 1;
            return None;
        }
        let mut facts = intake::read(mirror::mirrored(exchange), &self.reasons);
        facts.exchange.cause = exchange.cause;
        if !matches!(intake::kind(&facts), Kind::Failed | Kind::Answered) {
            self.counters.complete_upstreams += 1;
            return None;
        }
        facts.peer = Some(locals::peer_half(exchange, &self.reasons));
        self.locals.attach_process_end(&mut facts);
        let backend_first = facts.backend_ended_first() || exchange.cause == Cause::Status;
        // No timeout of a proxy is that short: its own client left.
        let soon = facts.waited_ns().is_none_or(|ns| ns < PATIENCE_NS);
        if !backend_first && soon {
            self.counters.client_aborts += 1;
            return None;
        }
        let draft = Draft {
            outcome: match exchange.cause {
                Cause::Status => Outcome::ErrorResponse,
                _ if facts.exchange.response_bytes == 0 => Outcome::Dropped,
                _ => Outcome::Truncated,
            },
            attempts: Vec::new(),
            claim: false,
            // Who closes first because of a timeout and who because his own client left looks alike.
            tie: if backend_first {
                Confidence::Strong
            } else {
                Confidence::Weak
            },
            client_left_ns: None,
            hidden_by: None,
        };
        let request = facts.request.clone();
        self.case(exchange, request, &draft, vec![facts])
    }
}
