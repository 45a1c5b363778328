//! A response that the proxy would not have: it had bytes of it, and ended the matter itself.

use super::evidence::{self, Fact};
use super::facts::{AttemptFacts, End};
use super::{Context, Finding, words};
use crate::case::SeenFrom;
use crate::case::{EndedBy, How, Outcome};
use crate::event::MonoNs;

/// A proxy that dislikes what it read says so before it waits for anything. Much longer than that, and
/// a timer may be the reason.
const AT_ONCE_NS: u64 = 1_000_000_000;

/// How the proxy refused a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) ended_by: EndedBy,
    pub(super) how: How,
    /// From the last byte that it read to its close, or to its answer to the client, ns.
    pub(super) after_ns: u64,
}

impl Refusal {
    /// `the proxy closed 212 µs after the last byte it read`.
    pub(super) fn text(&self) -> String {
        let after = words::duration(self.after_ns);
        match (self.ended_by, self.how) {
            (EndedBy::Proxy, How::Reset) => {
                format!("the proxy reset the connection {after} after the last byte it read")
            }
            (EndedBy::Proxy, How::Fin) => {
                format!("the proxy closed the connection {after} after the last byte it read")
            }
            _ => format!("the proxy gave the response up {after} after the last byte it read"),
        }
    }

    /// The finding of a rule that knows what the proxy disliked: `fault` is the evidence of it.
    pub(super) fn finding(&self, attempt: &AttemptFacts, fault: Fact, what: String) -> Finding {
        let mut facts = vec![
            fault,
            Fact::new("refused", self.text()),
            evidence::first_end(attempt),
        ];
        facts.extend(evidence::our_reset(attempt));
        facts.extend(evidence::unread(attempt));
        Finding {
            ended_by: self.ended_by,
            how: self.how,
            what,
            delivery: evidence::delivery(attempt),
            facts,
        }
    }
}

/// Did the proxy end this exchange at once after it had read bytes of a response, while the client got
/// something else or less? Says nothing about why.
pub(super) fn refusal(context: &Context<'_>) -> Option<Refusal> {
    let attempt = context.attempt?;
    let x = &attempt.exchange;
    if context.case.seen_from == SeenFrom::Backend || x.response_bytes == 0 {
        return None;
    }
    if context.deciding
        && context.case.outcome == Outcome::ErrorResponse
        && x.status.is_some()
        && x.status == context.case.status
    {
        return None;
    }
    let first_end = attempt.first_end();
    if matches!(first_end, Some((End::KernelTimeout | End::Unreachable, _))) {
        return None;
    }
    let acted = x.times.closed.unwrap_or(x.time_ns);
    let after_ns = acted.saturating_sub(x.times.response_last?);
    if after_ns > AT_ONCE_NS || left_before(context, attempt, acted) {
        return None;
    }
    let (ended_by, how) = match (first_end, x.times.end_read) {
        (Some((End::PeerFin, _)), Some(_)) => (EndedBy::Backend, How::Fin),
        (Some((End::PeerReset, _)), Some(_)) => (EndedBy::Backend, How::Reset),
        // The backend's end may have arrived; the proxy never got to see it.
        _ if x.times.reset_sent.is_some() => (EndedBy::Proxy, How::Reset),
        _ if x.times.closed.is_some() => (EndedBy::Proxy, How::Fin),
        _ => (EndedBy::Proxy, How::Unknown),
    };
    Some(Refusal {
        ended_by,
        how,
        after_ns,
    })
}

/// The client had gone: then the proxy needs no reason of its own.
fn left_before(context: &Context<'_>, attempt: &AttemptFacts, acted: MonoNs) -> bool {
    let answered = context.deciding && context.case.outcome == Outcome::ErrorResponse;
    !answered
        && (attempt.client_had_left()
            || context
                .case
                .client_left_ns
                .is_some_and(|left| left <= acted))
}
