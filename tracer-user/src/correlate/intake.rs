//! Reads an exchange record for what the rules need and lets the payload go.

mod tls;

use std::collections::HashMap;

use tracer_ebpf::{Cause, conn::CONCLUDED_REASONS, flags};

use crate::diagnose::{AttemptFacts, End, Phase, Progress, TlsAnswer};
use crate::event::Exchange;
use crate::http::{self, Completeness, ContentLength, Response};

/// Names of reset reasons by number.
pub(super) type Reasons = HashMap<u32, String>;

/// What an upstream record is to a client's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The exchange failed.
    Failed,
    /// It ended, and whether it was whole cannot be told. Never makes a case by itself.
    Unclear,
    /// The backend answered with a watched status.
    Answered,
    /// The response was complete, so its end harmed nobody.
    Complete,
    /// No request was sent on it, and the proxy itself closed it.
    Unused,
}

/// The names of reset reasons: those of the kernel, and those that its programs conclude.
pub(super) fn reasons(of_kernel: &[(u32, String)]) -> Reasons {
    let concluded = CONCLUDED_REASONS.map(|(number, name)| (number, name.to_owned()));
    concluded
        .into_iter()
        .chain(of_kernel.iter().cloned())
        .collect()
}

/// Does the kernel itself name reasons? Only then it also tells of resets that no socket sends.
fn kernel_names_some(reasons: &Reasons) -> bool {
    let is_concluded = |number: &u32| CONCLUDED_REASONS.iter().any(|(known, _)| known == number);
    reasons.keys().any(|number| !is_concluded(number))
}

/// Turns a record of a backend exchange into facts.
pub(super) fn read(mut exchange: Exchange, reasons: &Reasons) -> AttemptFacts {
    let asked = http::inspect_request(&exchange.request_head);
    let response = http::inspect_response(
        &exchange.response_head,
        exchange.response_bytes,
        exchange.has(flags::HEAD_REQUEST),
    );
    let tls_answer = tls::answer(&exchange);
    let progress = match progress_with(&exchange, tls_answer.as_ref()) {
        Progress::Opaque | Progress::Body { .. } if response.bad_chunk.is_some() => {
            Progress::BadChunks {
                received: exchange.response_bytes - head_len(&response),
            }
        }
        progress => progress,
    };
    let request = http::summarise(&exchange.request_head);
    let (handshake, wants_tls) = (tls::handshake(&exchange), tls::wants_tls(&exchange));
    let name = |number: Option<u32>| {
        let name = reasons.get(&number?)?;
        Some(name.trim_start_matches("SK_RST_REASON_").to_owned())
    };
    // Thousands of these may wait; the heads are the bulk of them.
    exchange.request_head = Vec::new();
    exchange.response_head = Vec::new();
    exchange.response_tail = Vec::new();
    AttemptFacts {
        reset_received_reason: name(exchange.reset_received_reason),
        reset_sent_reason: name(exchange.reset_sent_reason),
        exchange,
        progress,
        request,
        asked,
        response,
        reasons_known: kernel_names_some(reasons),
        icmp: Vec::new(),
        peer_local: false,
        peer: None,
        process_end: None,
        listen_queue: None,
        tls: handshake,
        tls_answer,
        wants_tls,
    }
}

fn head_len(response: &http::ResponseFacts) -> u64 {
    match response.head {
        http::Head::Whole { len } => len,
        http::Head::Absent | http::Head::Cut | http::Head::Beyond | http::Head::Malformed => 0,
    }
}

/// What such facts are to a client's outcome.
pub(super) fn kind(facts: &AttemptFacts) -> Kind {
    if facts.exchange.cause == Cause::Status {
        return Kind::Answered;
    }
    let proxy_first = !matches!(facts.first_end(), Some((end, _)) if end != End::Proxy);
    match facts.phase() {
        Phase::Waiting
            if facts.exchange.request_bytes == 0
                && !facts.exchange.has(flags::UNSEEN)
                && facts.exchange.send_errno.is_none()
                && proxy_first =>
        {
            Kind::Unused
        }
        // A health check may do no more than the handshake.
        Phase::Handshake if proxy_first && facts.exchange.link.is_none() && is_done(facts) => {
            Kind::Unused
        }
        Phase::Connect | Phase::Handshake | Phase::Waiting | Phase::Head => Kind::Failed,
        Phase::Body if proxy_first && matches!(facts.progress, Progress::UntilClose { .. }) => {
            Kind::Unclear
        }
        Phase::Body => Kind::Failed,
        // Few bytes may be no response at all: session tickets, a goodbye, a TLS alert.
        Phase::Unreadable if facts.wants_tls.is_some() || is_unanswered_over_tls(facts) => {
            Kind::Failed
        }
        Phase::Unreadable => Kind::Unclear,
        Phase::Complete => Kind::Complete,
    }
}

/// Did the proxy do its part of the TLS handshake?
fn is_done(facts: &AttemptFacts) -> bool {
    facts.tls.as_ref().is_some_and(|tls| tls.second_flight)
}

/// The backend ended a TLS connection when the client that it worked for had not got a byte.
fn is_unanswered_over_tls(facts: &AttemptFacts) -> bool {
    let x = &facts.exchange;
    x.has(flags::TLS)
        && x.link.is_some()
        && !x.has(flags::LINK_ANSWERED)
        && facts.backend_ended_first()
}

/// How much of its response an exchange has, on either side of the proxy.
pub(super) fn progress(exchange: &Exchange) -> Progress {
    progress_with(exchange, tls::answer(exchange).as_ref())
}

/// The same where it is known what came over TLS.
fn progress_with(exchange: &Exchange, tls_answer: Option<&TlsAnswer>) -> Progress {
    if exchange.response_bytes == 0 {
        return Progress::Nothing;
    }
    if tls_answer.is_some_and(|answer| answer.other == 0) {
        return Progress::Nothing;
    }
    if exchange.has(flags::OPAQUE | flags::TLS | flags::TUNNEL) || exchange.response_head.is_empty()
    {
        return Progress::Opaque;
    }
    let request = http::request_head(&exchange.request_head);
    let head_request = exchange.has(flags::HEAD_REQUEST).then_some(&b"HEAD"[..]);
    let response = Response {
        method: head_request.or(request.method),
        first: &exchange.response_head,
        received: exchange.response_bytes,
        last: &exchange.response_tail,
    };
    match http::body_progress(response) {
        Completeness::Complete => Progress::Complete,
        // What lies unread in the proxy's socket has been sent, too.
        Completeness::Incomplete {
            declared: Some(declared),
            received,
        } if received.saturating_add(exchange.socket.unread.unwrap_or(0).into()) >= declared => {
            Progress::Complete
        }
        Completeness::Incomplete { declared, received } => Progress::Body { declared, received },
        Completeness::NoHead => Progress::NoHead,
        Completeness::Unknown => until_close(exchange).unwrap_or(Progress::Opaque),
    }
}

/// A complete head without any framing: the close ends the body (RFC 9112, 6.3, last item).
fn until_close(exchange: &Exchange) -> Option<Progress> {
    let (head, _) = http::final_response_head(&exchange.response_head);
    let http::End::Complete { head_len } = head.end else {
        return None;
    };
    let unframed =
        head.headers.chunked().is_none() && head.headers.content_length() == ContentLength::Absent;
    unframed.then(|| Progress::UntilClose {
        received: exchange.response_bytes.saturating_sub(head_len as u64),
    })
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::Role;

    use tracer_ebpf::conn::REASON_CLOSED;

    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, exchange};

    #[test]
    fn progress_of_responses() {
        let sized = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
        for (head, extra, flag, want) in [
            ("", 0, 0, Progress::Nothing),
            ("", 40, 0, Progress::Opaque),
            ("\x15\x03\x03", 4, 0, Progress::Opaque),
            (sized, 0, flags::TLS, Progress::Opaque),
            ("HTTP/1.1 200", 0, 0, Progress::NoHead),
            (sized, 10, 0, Progress::Complete),
            (sized, 0, flags::HEAD_REQUEST, Progress::Complete),
            (
                sized,
                4,
                0,
                Progress::Body {
                    declared: Some(10),
                    received: 4,
                },
            ),
            (
                "HTTP/1.0 200 OK\r\n\r\n",
                4,
                0,
                Progress::UntilClose { received: 4 },
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
                4,
                0,
                Progress::Opaque,
            ),
        ] {
            let mut x = exchange(Role::Connecting, 1);
            x.request_head = b"GET / HTTP/1.1\r\n\r\n".to_vec();
            x.response_head = head.as_bytes().to_vec();
            x.response_bytes = head.len() as u64 + extra;
            x.flags = flag;
            assert_eq!(progress(&x), want, "{head:?} {extra}");
        }
    }

    #[test]
    fn kinds() {
        let unused = || {
            AttemptBuilder::sent().with(|x| {
                x.request_bytes = 0;
                x.times.request_start = None;
            })
        };
        let body = Progress::UntilClose { received: 9 };
        for (attempt, want) in [
            (AttemptBuilder::connecting().reset(0), Kind::Failed),
            (AttemptBuilder::sent().closed(9), Kind::Failed),
            (unused().closed(9), Kind::Unused),
            (unused().fin(9), Kind::Failed),
            (
                unused().with(|x| x.send_errno = Some(32)).closed(9),
                Kind::Failed,
            ),
            (AttemptBuilder::sent().progress(body).fin(9), Kind::Complete),
            (AttemptBuilder::sent().progress(body).reset(9), Kind::Failed),
            (
                AttemptBuilder::sent().progress(body).closed(9),
                Kind::Unclear,
            ),
            (
                AttemptBuilder::sent().progress(Progress::Opaque).fin(9),
                Kind::Unclear,
            ),
            (
                AttemptBuilder::sent().with(|x| x.cause = Cause::Status),
                Kind::Answered,
            ),
        ] {
            let facts = attempt.build();
            assert_eq!(kind(&facts), want, "{facts:?}");
        }
    }

    #[test]
    fn a_concluded_reason_is_none_that_the_kernel_names() {
        for (of_kernel, known) in [(vec![], false), (vec![(7, "NO_SOCKET".into())], true)] {
            let facts = read(exchange(Role::Connecting, 1), &reasons(&of_kernel));
            assert_eq!(facts.reasons_known, known, "{of_kernel:?}");
        }
    }

    #[test]
    fn reasons_get_their_names() {
        let reasons = reasons(&[
            (6, "SK_RST_REASON_TCP_STATE".into()),
            (7, "NO_SOCKET".into()),
        ]);
        let mut x = exchange(Role::Connecting, 1);
        x.reset_received_reason = Some(6);
        x.reset_sent_reason = Some(99);
        let facts = read(x.clone(), &reasons);
        assert_eq!(facts.reset_received_reason.as_deref(), Some("TCP_STATE"));
        assert_eq!(facts.reset_sent_reason, None);
        x.reset_received_reason = Some(REASON_CLOSED);
        let facts = read(x, &reasons);
        assert_eq!(
            facts.reset_received_reason.as_deref(),
            Some("TCP_ABORT_ON_DATA")
        );
    }
}
