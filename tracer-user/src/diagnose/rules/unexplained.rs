//! The evidence does not reach.

use tracer_ebpf::flags;

use super::{name_resolution_failed, no_backend_available};
use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::{Around, AttemptFacts, CaseFacts, End, Phase, Progress};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, handshake, words};
use crate::http::Head;

pub(in crate::diagnose) const RULE: Rule = Rule {
    id: "unexplained",
    title: "What was seen does not explain it",
    explanation: "Either no backend connection was made for this request (no live upstream, all \
        servers marked down, a rule of the proxy itself), or what was seen of the connection fits none \
        of the known causes. What was seen is listed as evidence; nothing is guessed.",
    evidence: &["none: this is the answer when no other rule finds its evidence"],
    confused_with: &[Confusion {
        with: "application-502",
        difference: "there the backend's own response carries the status",
    }],
    confirm: &[
        "read the proxy's error log for this second and this request; why502 explain --line 'LINE' says what a line means",
        "capture again with --snaplen 1024, so that longer heads can be read",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "look in error_log for this request: \"no live upstreams\", \"too big header\", \"invalid header\"; \
                max_fails=0 for a group with a single server",
            why: "nginx says there why it answered without, or in spite of, a backend",
        },
        Advice {
            target: "haproxy",
            change: "look at the termination state in the log (<NOSRV>, sQ, PH) and at show servers state; show errors \
                for responses it did not accept",
            why: "the state says in which phase, and on whose side, it ended",
        },
        Advice {
            target: "envoy",
            change: "log %RESPONSE_FLAGS% and %RESPONSE_CODE_DETAILS% (UH, UO, NR, UPE, …)",
            why: "the flags tell an open circuit breaker, a missing route or a bad response apart",
        },
        Advice {
            target: "apache",
            change: "LogLevel proxy:debug for a while; balancer-manager for members in error (retry=)",
            why: "Apache answers 503 without a try while a member is in error",
        },
    ],
    decide: |context| Some(find(context)),
};

/// Lists what was seen.
pub(in crate::diagnose) fn find(context: &Context<'_>) -> Finding {
    match context.attempt {
        Some(attempt) => from_attempt(attempt),
        None => without_attempt(context.case),
    }
}

fn without_attempt(case: &CaseFacts) -> Finding {
    let (name, what) = if case.taken_up {
        (
            "no-failure-seen",
            "a backend connection took this request up, but no failure of it was seen",
        )
    } else {
        (
            "no-connection",
            "no backend connection was made for this request, and what was seen around it does not decide why: all backends marked \
             down (no-backend-available), a queue or limit (queue-timeout), a name without an address \
             (name-resolution-failed), no descriptors left (local-fd-exhausted), or a rule of the proxy itself",
        )
    };
    let mut facts = vec![Fact::new(name, what)];
    if !case.taken_up {
        facts.extend(around(&case.around));
    }
    Finding {
        ended_by: EndedBy::Unknown,
        how: How::NoConnection,
        what: what.to_owned(),
        delivery: String::new(),
        facts,
    }
}

/// What speaks for one or the other reason.
fn around(around: &Around) -> Vec<Fact> {
    let mut facts: Vec<Fact> = around
        .failures
        .iter()
        .map(no_backend_available::fact)
        .collect();
    facts.extend(around.names.iter().map(|failure| {
        Fact::new(
            "name-not-resolved",
            name_resolution_failed::sentence(failure),
        )
    }));
    if let Some(in_use) = around.in_use {
        facts.push(Fact::new(
            "connections",
            format!(
                "process {} had {} backend connections that waited for a response and {} free",
                in_use.pid, in_use.busy, in_use.idle
            ),
        ));
    }
    facts
}

fn from_attempt(attempt: &AttemptFacts) -> Finding {
    let x = &attempt.exchange;
    let first_end = attempt.first_end();
    let ended_by = match first_end {
        Some((End::PeerFin | End::PeerReset, _)) => EndedBy::Backend,
        Some((End::Proxy, _)) => EndedBy::Proxy,
        Some((End::KernelTimeout, _)) => EndedBy::Kernel,
        Some((End::Unreachable, _)) => EndedBy::Network,
        None => EndedBy::Unknown,
    };
    let how = match (attempt.phase(), first_end) {
        (Phase::Complete, _) => How::Completed,
        (_, Some((End::PeerFin, _))) => How::Fin,
        (_, Some((End::PeerReset, _))) => How::Reset,
        (_, Some((End::KernelTimeout, _))) => How::Timeout,
        (_, Some((End::Unreachable, _))) => How::Unreachable,
        // A proxy's close is no cause in itself.
        (_, Some((End::Proxy, _)) | None) => How::Unknown,
    };
    let state = match attempt.phase() {
        Phase::Connect => "before the connection was made".to_owned(),
        Phase::Handshake => format!(
            "within the TLS handshake, after {} from the backend",
            words::bytes(attempt.tls.as_ref().map_or(0, |tls| tls.received))
        ),
        Phase::Waiting => "before any byte of a response".to_owned(),
        Phase::Head => format!(
            "after {} of an incomplete response head",
            words::bytes(x.response_bytes)
        ),
        Phase::Body => format!("within the body, after {}", words::bytes(x.response_bytes)),
        Phase::Complete => "after a complete response".to_owned(),
        Phase::Unreadable => format!(
            "after {} of a response that cannot be read",
            words::bytes(x.response_bytes)
        ),
    };
    let who = match ended_by {
        EndedBy::Proxy => "the proxy ended the connection to",
        EndedBy::Backend => "the backend ended the connection to",
        EndedBy::Kernel | EndedBy::Network | EndedBy::Client | EndedBy::Unknown => {
            "the connection ended to"
        }
    };
    let mut facts = match &attempt.tls {
        Some(tls) => handshake::facts(attempt, tls),
        None => seen(attempt),
    };
    facts.insert(1, Fact::new("state-at-end", format!("it ended {state}")));
    Finding {
        ended_by,
        how,
        what: format!("{who} {} {state}, and that does not explain it", x.remote),
        delivery: evidence::delivery(attempt),
        facts,
    }
}

fn seen(attempt: &AttemptFacts) -> Vec<Fact> {
    let mut facts = vec![evidence::first_end(attempt)];
    facts.extend(hidden_by_tls(attempt));
    facts.extend(stall(attempt));
    facts.extend(bare_reset(attempt));
    facts.extend(long_head(attempt));
    facts.extend(evidence::unread(attempt));
    facts.extend(evidence::acknowledged(attempt));
    facts.extend(evidence::reset_reason(attempt));
    facts.extend(evidence::retransmits(attempt));
    facts.extend(evidence::errno(attempt));
    facts
}

/// Encrypted bytes may be a response, or session tickets and a goodbye.
fn hidden_by_tls(attempt: &AttemptFacts) -> Option<Fact> {
    let x = &attempt.exchange;
    (x.has(flags::TLS) && attempt.phase() == Phase::Unreadable).then(|| {
        Fact::new(
            "hidden-by-tls",
            format!(
                "TLS hides what the {} were: the backend's own answer (application-502), part of one (partial-header, \
                 body-truncated-fin), or none at all, such as session tickets and a goodbye (fin-before-response, \
                 rst-before-response)",
                words::bytes(x.response_bytes)
            ),
        )
    })
}

/// A reset after a long idle gap, which several causes leave.
fn bare_reset(attempt: &AttemptFacts) -> Option<Fact> {
    let idle = attempt.bare_reset_after_ns()?;
    Some(Fact::new(
        "candidates-of-the-reset",
        format!(
            "after {} of idleness a reset answered the request, without a FIN before it: rst-before-response (the backend's program aborted), idle-drop-by-middlebox (a device on the way had forgotten the connection: the backend's host still has it, and sent no reset) or keepalive-race (the backend was just closing: its host counts TcpExtTCPAbortOnClose or TcpExtTCPAbortOnData); why502 on the backend's host tells them apart",
            words::duration(idle)
        ),
    ))
}

/// A head that goes on behind the kept bytes.
fn long_head(attempt: &AttemptFacts) -> Option<Fact> {
    (attempt.response.head == Head::Beyond).then(|| {
        Fact::new(
            "candidates-of-the-head",
            format!(
                "the response head is longer than the {} that were kept: header-too-large if the proxy's limit is near {}, otherwise malformed-response or partial-header behind them; capture with a larger --snaplen (up to 1024)",
                words::bytes(attempt.response.kept),
                words::bytes(attempt.exchange.response_bytes)
            ),
        )
    })
}

/// Silence of the backend before the proxy closed within the body.
fn stall(attempt: &AttemptFacts) -> Option<Fact> {
    let (Progress::Body { .. } | Progress::BadChunks { .. } | Progress::UntilClose { .. }) =
        attempt.progress
    else {
        return None;
    };
    let silent = attempt
        .first_end()?
        .1
        .checked_sub(attempt.exchange.times.response_last?)?;
    Some(Fact::new(
        "silence",
        format!(
            "the last body byte came {} before the end",
            words::duration(silent)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use crate::case::Confidence;
    use crate::diagnose::testing::{AttemptBuilder, case};
    use crate::diagnose::{Progress, judge};
    use crate::event::ProxyKind;

    #[test]
    fn without_attempts() {
        let mut facts = case(ProxyKind::Nginx, 502, vec![]);
        for (taken_up, want) in [(false, "no-connection"), (true, "no-failure-seen")] {
            facts.taken_up = taken_up;
            let verdict = judge(&facts);
            assert_eq!(
                (verdict.rule, verdict.confidence),
                ("unexplained", Confidence::None)
            );
            assert_eq!(verdict.evidence[0].fact, want);
        }
    }

    #[test]
    fn lists_what_was_seen() {
        let attempt = AttemptBuilder::sent()
            .received(200, 450)
            .progress(Progress::Body {
                declared: Some(1000),
                received: 400,
            })
            .closed(55)
            .build();
        let verdict = judge(&case(ProxyKind::Nginx, 502, vec![attempt]));
        let facts: Vec<_> = verdict
            .evidence
            .iter()
            .map(|e| (e.fact, e.text.as_str()))
            .collect();
        assert!(facts.contains(&("silence", "the last body byte came 50 ms before the end")));
        assert!(facts.contains(&("state-at-end", "it ended within the body, after 450 bytes")));
    }
}
