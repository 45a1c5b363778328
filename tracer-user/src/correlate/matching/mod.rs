//! Finds the backend exchanges behind what a client got.
//!
//! Every function here only looks: it names entries of the [`Store`] and leaves taking them out to
//! the caller.

mod ended;
mod error_response;
mod masked;
mod unseen;

pub(super) use ended::ended;
pub(super) use error_response::error_response;
pub(super) use masked::masked;
pub(super) use unseen::unseen;

use tracer_ebpf::{LinkHow, flags};

use super::identity::same_request;
use super::intake::Kind;
use super::pending::{Pending, Seq, Store};
use crate::case::{Confidence, Outcome, RequestSummary};
use crate::diagnose::HiddenBy;
use crate::event::{Exchange, Link, MonoNs};

/// Records of both sides are stamped by different hooks; this much disorder is taken for none.
const SLACK_NS: u64 = 5_000_000;
/// A retry that begins this soon after the proxy let go of the last attempt, on the same thread, is its
/// next action.
const NEXT_ACTION_NS: u64 = 1_000_000;
/// Most candidates that a weak tie lists.
const CANDIDATES: usize = 8;
/// Most waiting entries of a process that are looked at for one response.
const SCAN: usize = 256;

/// A client's record and what its request says.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) request: Option<&'a RequestSummary>,
}

/// What a client's record comes to.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// A case.
    pub(super) draft: Option<Draft>,
    /// Failures that were linked to this request by a guess that proved wrong.
    pub(super) unrelated: Vec<Seq>,
    /// Failures behind an error status that is not watched.
    pub(super) unwatched: Vec<Seq>,
    /// The client left first.
    pub(super) client_abort: bool,
    /// The client's connection ended early and no backend connection failed for it.
    pub(super) ended_without_failure: bool,
}

/// A case before it is judged.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) outcome: Outcome,
    /// Oldest first; the last one decides.
    pub(super) attempts: Vec<Seq>,
    /// The attempts belong to this case alone (not so for mere candidates).
    pub(super) claim: bool,
    pub(super) tie: Confidence,
    pub(super) client_left_ns: Option<MonoNs>,
    pub(super) hidden_by: Option<HiddenBy>,
}

type Entry<'a> = (Seq, &'a Pending);

/// Entries linked to the client's exchange, oldest first.
fn linked<'a>(store: &'a Store, client: &Exchange) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = store
        .linked_to(client.conn, client.exchange)
        .filter(|(_, entry)| within_request(client, entry))
        .collect();
    entries.sort_by_key(|(seq, entry)| (entry.facts.end_ns(), *seq));
    entries
}

/// Did the attempt run during the client's request? (Links without an exchange number may be to an
/// earlier one.)
fn within_request(client: &Exchange, entry: &Pending) -> bool {
    client
        .times
        .request_start
        .is_none_or(|start| entry.facts.end_ns().saturating_add(SLACK_NS) >= start)
}

fn how(entry: &Pending) -> LinkHow {
    entry
        .facts
        .exchange
        .link
        .map_or(LinkHow::None, |link| link.how)
}

/// May it have worked for any client whose request was seen?
fn is_unlinked(entry: &Pending) -> bool {
    how(entry) == LinkHow::None && !entry.facts.exchange.has(flags::UNSEEN)
}

/// Is this the exchange that `link` points at?
fn is_target(link: &Link, entry: &Pending) -> bool {
    let x = &entry.facts.exchange;
    link.conn == x.conn && (link.exchange == 0 || x.exchange == 0 || link.exchange == x.exchange)
}

/// Did another backend exchange take the request up after this one was over? A proxy may look for
/// the next connection before it lets go of the last; behind a guess that is not granted.
fn retried(client: &Exchange, entry: &Pending) -> bool {
    let slack = match how(entry) {
        LinkHow::SameTarget => SLACK_NS,
        LinkHow::EqualTarget | LinkHow::LastRead | LinkHow::None => 0,
    };
    client.link.is_some_and(|link| {
        !is_target(&link, entry) && link.at_ns.saturating_add(slack) >= entry.facts.end_ns()
    })
}

/// Was it the last backend connection that the client's thread had to do with?
fn last_on_thread(client: &Exchange, entry: &Pending) -> bool {
    let x = &entry.facts.exchange;
    x.tid == client.tid
        && client
            .thread_last_upstream
            .is_some_and(|(conn, _)| conn == x.conn)
}

/// The tie that link or thread order give, and `exact` where both sides name the same request.
fn tie(client: Client<'_>, entry: &Pending, strong: bool) -> Confidence {
    if same_request(client.request, entry.facts.request.as_ref()) {
        return Confidence::Exact;
    }
    match how(entry) {
        LinkHow::SameTarget => Confidence::Strong,
        // A request like it may be the one, and the program takes them in an order of its own.
        LinkHow::EqualTarget => Confidence::Weak,
        LinkHow::LastRead | LinkHow::None if strong => Confidence::Strong,
        LinkHow::LastRead | LinkHow::None => Confidence::Weak,
    }
}

/// Unlinked failures that follow from `first`, each begun by the same thread right after it let go of
/// the one before. (The kernel half ties only the first connect of a request.)
fn retries<'a>(store: &'a Store, first: &Pending) -> Vec<Entry<'a>> {
    let (pid, tid) = (first.facts.exchange.pid, first.facts.exchange.tid);
    let mut found: Vec<Entry<'a>> = Vec::new();
    let mut let_go = let_go_ns(first);
    while found.len() < CANDIDATES {
        let next = store
            .of_process(pid)
            .take(SCAN)
            .filter(|(seq, entry)| {
                let after = entry.facts.start_ns().checked_sub(let_go);
                entry.kind == Kind::Failed
                    && is_unlinked(entry)
                    && entry.facts.exchange.tid == tid
                    && after.is_some_and(|ns| ns <= NEXT_ACTION_NS)
                    && found.iter().all(|(other, _)| other != seq)
            })
            .min_by_key(|(seq, entry)| (entry.facts.start_ns(), *seq));
        let Some((seq, entry)) = next else { break };
        let_go = let_go_ns(entry);
        found.push((seq, entry));
    }
    found
}

/// When the proxy was done with an attempt.
fn let_go_ns(entry: &Pending) -> MonoNs {
    let closed = entry.facts.exchange.times.closed;
    closed.unwrap_or_else(|| entry.facts.end_ns())
}

fn seqs(entries: &[Entry<'_>]) -> Vec<Seq> {
    entries.iter().map(|(seq, _)| *seq).collect()
}
