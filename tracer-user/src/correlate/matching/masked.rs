//! The client got a good answer although a backend exchange had failed.

use tracer_ebpf::LinkHow;

use super::{
    Client, Draft, Entry, Judged, SLACK_NS, how, is_target, linked, retried, retries, seqs, tie,
};
use crate::case::Outcome;
use crate::correlate::intake::Kind;
use crate::correlate::pending::{Pending, Store};
use crate::diagnose::{HiddenBy, Phase};
use crate::event::Exchange;

/// Judges a client's response that began with a status that is not watched.
///
/// 1. a failure counts as hidden by a retry if another backend exchange took the request up after
///    the failure was over;
/// 2. without a retry, a failed exchange with the same method and target was hidden by the proxy
///    itself (cache, fallback page) if the client got less than 500;
/// 3. with 500 or more and no retry, the proxy answered with an error that nobody asked about;
/// 4. a failure that was linked by a guess and had no retry is none of this request's: a health
///    check, say;
/// 5. a failure of the very exchange that is answering the client is left for the end of the
///    client's response: it may be cut.
///
/// An interim answer (1xx) says nothing yet.
pub(in crate::correlate) fn masked(store: &Store, client: Client<'_>) -> Judged {
    let x = client.exchange;
    let mut judged = Judged::default();
    let Some(status) = x.status.filter(|status| !matches!(status, 100 | 102..=199)) else {
        return judged;
    };
    let (mut by_retry, mut by_proxy): (Vec<Entry<'_>>, Vec<Entry<'_>>) = (Vec::new(), Vec::new());
    for (seq, entry) in linked(store, x) {
        if matches!(entry.kind, Kind::Unclear | Kind::Complete) {
            continue;
        }
        let unanswered = matches!(
            entry.facts.phase(),
            Phase::Connect | Phase::Handshake | Phase::Waiting | Phase::Head
        );
        if retried(x, entry) {
            by_retry.push((seq, entry));
        } else if !unanswered || entry.kind != Kind::Failed {
            // Its response is what the client is getting.
        } else if x.link.is_some_and(|link| !is_target(&link, entry)) {
            // Another exchange was answering already when this one failed (a mirrored request).
            judged.unrelated.push(seq);
        } else if status >= 500 {
            judged.unwatched.push(seq);
        } else if how(entry) != LinkHow::SameTarget {
            judged.unrelated.push(seq);
        } else {
            by_proxy.push((seq, entry));
        }
    }
    let (mut attempts, hidden_by) = if by_retry.is_empty() {
        (by_proxy, HiddenBy::Proxy)
    } else {
        (by_retry, HiddenBy::Retry)
    };
    if let Some((_, last)) = attempts.last().copied() {
        attempts.extend(
            retries(store, last)
                .into_iter()
                .filter(|(_, retry)| retried(x, retry)),
        );
    }
    if let Some((_, last)) = attempts.last() {
        judged.draft = Some(Draft {
            outcome: Outcome::Masked,
            attempts: seqs(&attempts),
            claim: true,
            tie: tie(client, last, retried_at_once(x, last)),
            client_left_ns: None,
            hidden_by: Some(hidden_by),
        });
    }
    judged
}

/// Was sending the request elsewhere the thread's next action? (The handshake of a fresh connection
/// lies between the two.)
fn retried_at_once(client: &Exchange, entry: &Pending) -> bool {
    let over = super::let_go_ns(entry);
    client.tid == entry.facts.exchange.tid
        && retried(client, entry)
        && client
            .link
            .is_some_and(|link| link.at_ns.saturating_sub(over) <= SLACK_NS)
}
