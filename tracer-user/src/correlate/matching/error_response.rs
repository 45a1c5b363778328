//! The client got a watched status.

use super::{
    CANDIDATES, Client, Draft, Entry, Judged, SCAN, SLACK_NS, is_unlinked, last_on_thread, linked,
    retries, same_request, seqs, tie, within_request,
};
use crate::case::{Confidence, Outcome};
use crate::correlate::intake::Kind;
use crate::correlate::pending::{Pending, Store};
use crate::event::{Exchange, MonoNs};

/// Finds the attempts behind an error response. There is always a case; the last attempt decides.
///
/// 1. the backend's own answer with the same status, if one is linked or was last on the thread;
/// 2. the later of the last linked failure and the failure that was last on the thread;
/// 3. a failure in the same process that names the same request itself;
/// 4. if no backend connection took the request up at all: failures of the same process in the
///    client's time that belong to nobody else, as candidates.
///
/// Earlier attempts are those linked to the request and over before the deciding one began.
pub(in crate::correlate) fn error_response(store: &Store, client: Client<'_>) -> Judged {
    let x = client.exchange;
    let linked = linked(store, x);
    let on_thread = on_thread(store, x);
    // An answer that only its thread ties to this client is none beside a failure that is tied by name.
    let by_name =
        |(_, entry): &Entry<'_>| entry.kind == Kind::Failed && super::how(entry).is_by_target();
    let others = on_thread.filter(|_| !linked.iter().any(by_name));
    let answer =
        linked.iter().rev().chain(&others).find(|(_, entry)| {
            entry.kind == Kind::Answered && entry.facts.exchange.status == x.status
        });
    let failure = last_failure(x, &linked, on_thread);
    // A complete response is no failure, but a proxy may have refused to pass it on.
    let whole = linked
        .iter()
        .rfind(|(_, entry)| entry.kind == Kind::Complete);
    let Some((seq, deciding)) = answer.copied().or(failure).or(whole.copied()) else {
        return without_link(store, client);
    };
    let rivals = if is_unlinked(deciding) && deciding.kind != Kind::Answered {
        rivals(store, x, (seq, deciding))
    } else {
        Vec::new()
    };
    if !rivals.is_empty() {
        return weak(rivals.into_iter().chain([(seq, deciding)]).collect());
    }
    let begin = deciding.facts.start_ns();
    let mut attempts: Vec<Entry<'_>> = linked
        .iter()
        .filter(|(other, entry)| {
            *other != seq && entry.kind != Kind::Complete && belongs(entry, begin)
        })
        .copied()
        .collect();
    if let Some((_, first)) = attempts.last().copied() {
        attempts.extend(
            retries(store, first)
                .into_iter()
                .filter(|(other, retry)| *other != seq && retry.facts.end_ns() <= begin),
        );
    }
    attempts.push((seq, deciding));
    Judged {
        unrelated: linked
            .iter()
            .filter(|(other, entry)| *other != seq && !belongs(entry, begin))
            .map(|(other, _)| *other)
            .collect(),
        draft: Some(Draft {
            tie: tie(client, deciding, answered_at_once(x, deciding)),
            ..draft(&attempts)
        }),
        ..Judged::default()
    }
}

/// The failure that decided: the last linked one, those with more than a guess behind them first;
/// or the one that was last on the thread, if it can be the retry of that.
fn last_failure<'a>(
    client: &Exchange,
    linked: &[Entry<'a>],
    on_thread: Option<Entry<'a>>,
) -> Option<Entry<'a>> {
    let sure = |entry: &Pending| super::how(entry).is_by_target() || last_on_thread(client, entry);
    let linked = linked
        .iter()
        .filter(|(_, entry)| entry.kind != Kind::Complete)
        .max_by_key(|(seq, entry)| (sure(entry), entry.facts.end_ns(), *seq))
        .copied();
    match (linked, on_thread) {
        // Begun while the linked one still ran: it is another client's.
        (Some((_, last)), Some((_, other)))
            if sure(last) && other.facts.start_ns() < last.facts.end_ns() =>
        {
            linked
        }
        (linked, on_thread) => on_thread.or(linked),
    }
}

/// A guessed link counts as an earlier attempt only if the next one began when it was over.
fn belongs(entry: &Pending, next_begin: MonoNs) -> bool {
    super::how(entry).is_by_target() || entry.facts.end_ns() <= next_begin
}

fn draft(attempts: &[Entry<'_>]) -> Draft {
    Draft {
        outcome: Outcome::ErrorResponse,
        attempts: seqs(attempts),
        claim: true,
        tie: Confidence::Weak,
        client_left_ns: None,
        hidden_by: None,
    }
}

fn response_ns(client: &Exchange) -> MonoNs {
    client.times.response_start.unwrap_or(client.time_ns)
}

/// Was the attempt over, or answered, between the client's request and its response?
fn in_window(client: &Exchange, entry: &Pending) -> bool {
    let over = match entry.kind {
        Kind::Answered => entry.facts.exchange.times.response_start,
        _ => None,
    };
    let over = over.unwrap_or_else(|| entry.facts.end_ns());
    let start = client.times.request_start.unwrap_or(0);
    over >= start && over <= response_ns(client).saturating_add(SLACK_NS)
}

/// A proxy answers at once for what has just happened on the same thread. What happened there a while before
/// may be another client's, and this one's own timer ran out meanwhile.
fn answered_at_once(client: &Exchange, entry: &Pending) -> bool {
    const AT_ONCE_NS: MonoNs = 100_000_000;
    last_on_thread(client, entry)
        && client
            .thread_last_upstream
            .is_some_and(|(_, last)| response_ns(client).saturating_sub(last) <= AT_ONCE_NS)
}

/// The unlinked entry that the thread dealt with last before it wrote the response.
fn on_thread<'a>(store: &'a Store, client: &Exchange) -> Option<Entry<'a>> {
    let (conn, _) = client.thread_last_upstream?;
    store
        .on_conn(conn)
        .filter(|(_, entry)| {
            is_unlinked(entry)
                && last_on_thread(client, entry)
                && entry.kind != Kind::Complete
                && in_window(client, entry)
        })
        .last()
}

/// Other unlinked failures of the same thread so close to the response that one event loop turn may
/// have read them all before it wrote any response: then order alone proves nothing. Attempts of
/// which the deciding one is the retry are no rivals.
fn rivals<'a>(store: &'a Store, client: &Exchange, (deciding, entry): Entry<'a>) -> Vec<Entry<'a>> {
    let response = response_ns(client);
    let conn = entry.facts.exchange.conn;
    let begin = entry.facts.start_ns();
    let leads_to = |first: &Pending| {
        first.facts.end_ns() <= begin
            && retries(store, first)
                .iter()
                .any(|(seq, _)| *seq == deciding)
    };
    let mut rivals = candidates(store, client, |entry| {
        let x = &entry.facts.exchange;
        x.tid == client.tid
            && x.conn != conn
            && entry.facts.end_ns().saturating_add(SLACK_NS) >= response
            && !leads_to(entry)
    });
    rivals.truncate(CANDIDATES - 1);
    rivals
}

/// Unlinked failures of the process in the client's time, oldest first.
fn candidates<'a>(
    store: &'a Store,
    client: &Exchange,
    also: impl Fn(&Pending) -> bool,
) -> Vec<Entry<'a>> {
    let mut found: Vec<Entry<'a>> = store
        .of_process(client.pid)
        .take(SCAN)
        .filter(|(_, entry)| {
            entry.kind == Kind::Failed
                && is_unlinked(entry)
                && in_window(client, entry)
                && also(entry)
        })
        .take(CANDIDATES)
        .collect();
    found.sort_by_key(|(seq, entry)| (entry.facts.end_ns(), *seq));
    found
}

fn without_link(store: &Store, client: Client<'_>) -> Judged {
    let x = client.exchange;
    let named = store.of_process(x.pid).take(SCAN).find(|(_, entry)| {
        is_unlinked(entry)
            && within_request(x, entry)
            && same_request(client.request, entry.facts.request.as_ref())
    });
    if let Some(entry) = named {
        return Judged {
            draft: Some(Draft {
                tie: Confidence::Exact,
                ..draft(&[entry])
            }),
            ..Judged::default()
        };
    }
    // What took the request up is known and did not fail: the failures around it are others'.
    if x.link.is_some() {
        return weak(Vec::new());
    }
    weak(candidates(store, x, |_| true))
}

fn weak(candidates: Vec<Entry<'_>>) -> Judged {
    Judged {
        draft: Some(Draft {
            claim: false,
            ..draft(&candidates)
        }),
        ..Judged::default()
    }
}
