//! The client got a watched status while tracing stood by: neither its request nor what the proxy made of it
//! was seen.

use tracer_ebpf::LinkHow;

use super::{Client, Draft, Entry, Judged, NEXT_ACTION_NS, SCAN, how, let_go_ns, seqs};
use crate::case::{Confidence, Outcome};
use crate::correlate::intake::Kind;
use crate::correlate::pending::Store;
use crate::event::MonoNs;

/// A proxy lets go of a connection that failed just before or behind its answer to the client.
const AT_ONCE_NS: MonoNs = 20_000_000;

/// Finds the failure behind it by thread and time, or nothing.
///
/// 1. only failures of the same thread count that it let go of within 20 ms of the response;
/// 2. more than one must be tries of one request, each begun when the thread let go of the one before: of others
///    nothing tells which was this client's.
pub(in crate::correlate) fn unseen(store: &Store, client: Client<'_>) -> Judged {
    let x = client.exchange;
    let response = x.times.response_start.unwrap_or(x.time_ns);
    let mut found: Vec<Entry<'_>> = store
        .of_process(x.pid)
        .take(SCAN)
        .filter(|(_, entry)| {
            entry.kind == Kind::Failed
                && how(entry) == LinkHow::None
                && entry.facts.exchange.tid == x.tid
                && let_go_ns(entry).abs_diff(response) <= AT_ONCE_NS
        })
        .collect();
    found.sort_by_key(|(seq, entry)| (entry.facts.end_ns(), *seq));
    let follows = |first: &Entry<'_>, next: &Entry<'_>| {
        let after = next.1.facts.start_ns().checked_sub(let_go_ns(first.1));
        after.is_some_and(|ns| ns <= NEXT_ACTION_NS)
    };
    let one_request = found.windows(2).all(|two| follows(&two[0], &two[1]));
    if found.is_empty() || !one_request {
        return Judged::default();
    }
    Judged {
        draft: Some(Draft {
            outcome: Outcome::ErrorResponse,
            attempts: seqs(&found),
            claim: true,
            tie: Confidence::Weak,
            client_left_ns: None,
            hidden_by: None,
        }),
        ..Judged::default()
    }
}
