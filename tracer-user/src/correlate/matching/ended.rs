//! The client's connection ended with its exchange unfinished.

use tracer_ebpf::LinkHow;

use super::{Client, Draft, Entry, Judged, how, is_target, last_on_thread, linked, seqs, tie};
use crate::case::{Confidence, Outcome};
use crate::correlate::intake::{self, Kind};
use crate::correlate::pending::{Pending, Store};
use crate::diagnose::{Phase, Progress};
use crate::event::{Exchange, MonoNs};

/// A proxy that drops or cuts a client for a failure does so within this time.
const CONSEQUENCE_NS: u64 = 1_000_000_000;

/// Judges the end of a client's connection.
///
/// 1. a response that came whole, or began with a watched status (that was a case already), is no
///    new case;
/// 2. with a response under way, only a backend exchange that broke off within its body can have
///    cut it; without one, any failed exchange of this request can have dropped it;
/// 3. if the client's FIN or RST came before that failure, or without any, the client left;
/// 4. without a failure and with the client still there, the proxy had reasons of its own.
pub(in crate::correlate) fn ended(store: &Store, client: Client<'_>, watched: &[u16]) -> Judged {
    let x = client.exchange;
    let linked = linked(store, x);
    let progress = intake::progress(x);
    let told = x.response_bytes > 0 && x.status.is_some_and(|status| watched.contains(&status));
    if told || progress == Progress::Complete {
        return Judged {
            unrelated: seqs(&linked),
            ..Judged::default()
        };
    }
    let (causes, others): (Vec<Entry<'_>>, Vec<Entry<'_>>) = linked
        .into_iter()
        .partition(|(_, entry)| can_have_caused(x, progress, entry));
    let left = client_left(x);
    let failed_ns = causes.last().map(|(_, last)| {
        let first_end = last.facts.first_end();
        first_end.map_or(last.facts.exchange.time_ns, |(_, at)| at)
    });
    let client_abort = left.is_some_and(|left| failed_ns.is_none_or(|failed| left <= failed));
    if client_abort {
        let attempts: Vec<Entry<'_>> = causes.into_iter().chain(others).collect();
        return Judged {
            client_abort,
            draft: Some(Draft {
                outcome: outcome(x),
                attempts: seqs(&attempts),
                claim: true,
                tie: Confidence::Strong,
                client_left_ns: left,
                hidden_by: None,
            }),
            ..Judged::default()
        };
    }
    let unrelated = seqs(&others);
    let Some((_, last)) = causes.last() else {
        return Judged {
            unrelated,
            ended_without_failure: true,
            ..Judged::default()
        };
    };
    let serving = x.link.is_some_and(|link| is_target(&link, last));
    Judged {
        draft: Some(Draft {
            outcome: outcome(x),
            attempts: seqs(&causes),
            claim: true,
            tie: tie(client, last, serving || last_on_thread(x, last)),
            client_left_ns: None,
            hidden_by: None,
        }),
        unrelated,
        ..Judged::default()
    }
}

fn outcome(client: &Exchange) -> Outcome {
    if client.response_bytes == 0 {
        Outcome::Dropped
    } else {
        Outcome::Truncated
    }
}

/// When the client left, if it did so before the proxy closed.
fn client_left(client: &Exchange) -> Option<MonoNs> {
    let times = &client.times;
    let left = [times.fin_received, times.reset_received]
        .into_iter()
        .flatten()
        .min()?;
    times
        .closed
        .is_none_or(|closed| left <= closed)
        .then_some(left)
}

fn can_have_caused(client: &Exchange, progress: Progress, entry: &Pending) -> bool {
    let phase = entry.facts.phase();
    // A proxy answers a failed connect with an error. One that is tied by a guess and met silence was
    // a health check, or another request's.
    let guessed_connect = phase == Phase::Connect && how(entry) != LinkHow::SameTarget;
    let fits = if client.response_bytes == 0 {
        entry.kind == Kind::Failed && !guessed_connect
    } else {
        // A backend response that cannot be read counts if the client's own shows the cut.
        match entry.kind {
            Kind::Failed => phase == Phase::Body,
            Kind::Unclear => {
                (entry.facts.backend_ended_first() || entry.facts.stalled_ns().is_some())
                    && matches!(progress, Progress::Body { .. })
            }
            // A proxy may have refused what came behind its end.
            Kind::Complete => {
                entry.facts.response.surplus > 0 && matches!(progress, Progress::Body { .. })
            }
            Kind::Answered | Kind::Unused => false,
        }
    };
    fits && (how(entry) == LinkHow::SameTarget || followed(client, entry))
}

/// Behind a link that is only a guess, no other exchange may be serving the client, and the client's
/// end must follow the failure at once.
fn followed(client: &Exchange, entry: &Pending) -> bool {
    match client.link {
        // Buffered data may keep a slow client busy for long after the failure.
        Some(link) if is_target(&link, entry) => true,
        Some(link) if client.response_bytes > 0 && link.at_ns >= entry.facts.start_ns() => false,
        Some(_) | None => {
            let end = client.times.closed.unwrap_or(client.time_ns);
            end.saturating_sub(entry.facts.end_ns()) <= CONSEQUENCE_NS
        }
    }
}
