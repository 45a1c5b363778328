//! Failures that only a log tells of: the client's side cannot be read on the wire.

use super::attempt::between_us;
use super::identity::same_request;
use super::intake::Kind;
use super::matching::Draft;
use super::pending::{Pending, Seq};
use super::{Correlator, Got};
use crate::case::{Case, Confidence, Downstream, Outcome, RequestSummary, SeenFrom};
use crate::diagnose::{Around, Phase};
use crate::join::{SightedAttempt, Sighting};

/// Waiting failures that are looked at for one line.
const SCAN: usize = 4096;
/// Candidates that a weak tie lists.
const CANDIDATES: usize = 8;

impl Correlator {
    /// The case of a failed response of which a log tells and no client's record. `None` if no backend
    /// connection that failed at that time fits, or the outcome is not asked for.
    ///
    /// 1. the failed exchange must be to the backend that the line names, by a program of the kind
    ///    that wrote it, within the time of the request;
    /// 2. of several that fit, those with the same request id or trace, which makes it `exact`; else those
    ///    with the same path, else those of the process that wrote the line;
    /// 3. the only one that is left is `strong`; if more are, all are listed, `weak`.
    pub(crate) fn logged(&mut self, line: &Sighting, slack_ns: u64) -> Option<Case> {
        let named = line.attempts.iter().rfind(|tried| tried.names_backend())?;
        let mut fits: Vec<(Seq, Same)> = self
            .pending
            .newest()
            .take(SCAN)
            .filter_map(|(seq, entry)| Some((seq, self.fits(line, named, entry, slack_ns)?)))
            .collect();
        let most = fits.iter().map(|(_, same)| *same).max()?;
        fits.retain(|(_, same)| *same == most);
        let exact = most == Same::Id;
        let own = |seq: Seq| {
            let entry = self.pending.get(seq);
            entry.is_some_and(|entry| {
                let x = &entry.facts.exchange;
                line.tid.map_or(line.pid == Some(x.pid), |tid| tid == x.tid)
            })
        };
        if fits.iter().any(|(seq, _)| own(*seq)) {
            fits.retain(|(seq, _)| own(*seq));
        }
        // A retry of one request fails on one connection after the other.
        let tries = line.attempts.iter().filter(|a| a.names_backend()).count();
        let certain = fits.len() <= tries.max(1);
        fits.truncate(CANDIDATES);
        let mut seqs: Vec<Seq> = fits.into_iter().map(|(seq, _)| seq).collect();
        seqs.sort_unstable();
        let last = self.pending.get(*seqs.last()?)?;
        let draft = Draft {
            outcome: outcome(line, last),
            attempts: seqs.clone(),
            claim: certain,
            tie: match (certain, exact) {
                (true, true) => Confidence::Exact,
                (true, false) => Confidence::Strong,
                (false, _) => Confidence::Weak,
            },
            client_left_ns: None,
            hidden_by: None,
        };
        let x = &last.facts.exchange;
        let (pid, tid) = (x.pid, x.tid);
        let got = Got {
            id: format!("{}-{}-log", x.conn, x.exchange),
            time_ns: line
                .to
                .saturating_sub(line.resolution_ns)
                .max(last.facts.end_ns()),
            status: line.status,
            seen_from: SeenFrom::Proxy,
            pid,
            tid,
            request_start_ns: line.total_us.map(|_| line.from),
            taken_up: true,
            upgrade: None,
            around: Around::default(),
            downstream: Downstream {
                client: line.client_addr(),
                local: None,
                request: request(line),
                start_ns: line.total_us.map(|_| line.from),
                response_bytes: None,
                ttfb_us: between_us(line.total_us.map(|_| line.from), Some(line.at)),
            },
        };
        let attempts = seqs.iter().filter_map(|seq| {
            if draft.claim {
                self.pending.remove(*seq).map(|entry| entry.facts)
            } else {
                self.pending.get(*seq).map(|entry| entry.facts.clone())
            }
        });
        let attempts = attempts.collect();
        self.judged(got, &draft, draft.tie, attempts)
    }

    /// Can the line tell of this failure? What both say of the request.
    fn fits(
        &self,
        line: &Sighting,
        named: &SightedAttempt,
        entry: &Pending,
        slack_ns: u64,
    ) -> Option<Same> {
        let x = &entry.facts.exchange;
        let failed = match entry.kind {
            Kind::Failed => true,
            Kind::Answered => line.status.is_none() || x.status == line.status,
            Kind::Unclear => entry.facts.backend_ended_first(),
            Kind::Complete | Kind::Unused => false,
        };
        let other_end = x.local.port() != 0
            && (named.local.is_some() || named.local_port.is_some())
            && !named.is_from(x.local);
        let end = entry.facts.end_ns();
        let in_time =
            line.from <= end.saturating_add(slack_ns) && end <= line.to.saturating_add(slack_ns);
        if !failed || other_end || !in_time || !named.is_to(x.remote) || !self.wrote(line, x.pid) {
            return None;
        }
        let (Some(asked), Some(logged)) = (&entry.facts.request, request(line)) else {
            return Some(Same::Time);
        };
        if same_request(Some(&logged), Some(asked)) {
            return Some(Same::Id);
        }
        // A proxy may rewrite the path on its way to the backend, but not the method.
        let other =
            !logged.method.is_empty() && !asked.method.is_empty() && logged.method != asked.method;
        let same = if logged.path == asked.path {
            Same::Path
        } else {
            Same::Time
        };
        (!other).then_some(same)
    }

    /// Is the process of the kind that writes such lines?
    fn wrote(&self, line: &Sighting, pid: u32) -> bool {
        let kind = self.proxies.get(&pid);
        kind.is_none_or(|kind| line.system.is_of(kind))
    }
}

/// What a line and a failed exchange have in common beside the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Same {
    Time,
    Path,
    Id,
}

/// What the client got, by the line and by how far the response had come.
fn outcome(line: &Sighting, last: &Pending) -> Outcome {
    let in_body = last.facts.phase() == Phase::Body;
    match line.status {
        Some(500..) => Outcome::ErrorResponse,
        Some(_) if in_body => Outcome::Truncated,
        Some(_) => Outcome::Masked,
        None if in_body => Outcome::Truncated,
        None => Outcome::ErrorResponse,
    }
}

fn request(line: &Sighting) -> Option<RequestSummary> {
    line.path.as_ref()?;
    Some(RequestSummary {
        method: line.method.clone().unwrap_or_default(),
        path: line.path.clone().unwrap_or_default(),
        protocol: line.protocol.clone().unwrap_or_default(),
        host: line.host.clone(),
        request_id: line.request_id.clone(),
        traceparent: line.traceparent.clone(),
    })
}
