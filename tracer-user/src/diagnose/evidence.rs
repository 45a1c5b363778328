//! Statements that verdicts rest on.

use tracer_ebpf::{LinkHow, flags};

use super::errno;
use super::facts::{AttemptFacts, CaseFacts, End};
use super::words;
use crate::case::Evidence;
use crate::event::MonoNs;

/// A fact in words, under a name for scripts.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    name: &'static str,
    text: String,
    inferred: bool,
}

impl Fact {
    pub(super) fn new(name: &'static str, text: impl Into<String>) -> Self {
        Self {
            name,
            text: text.into(),
            inferred: false,
        }
    }

    /// A statement that was concluded and not seen: a verdict that rests on it is weak at most.
    pub(super) fn inferred(name: &'static str, text: impl Into<String>) -> Self {
        Self {
            inferred: true,
            ..Self::new(name, text)
        }
    }

    pub(super) fn is_inferred(&self) -> bool {
        self.inferred
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn of_attempt(self, attempt: Option<usize>) -> Evidence {
        Evidence {
            fact: self.name,
            text: self.text,
            attempt,
        }
    }
}

/// When the backend ended a connection that had brought no byte of a response.
pub(super) fn without_response(attempt: &AttemptFacts, at: MonoNs) -> String {
    let start = attempt.exchange.times.request_start;
    // Written before the end, though its send returned after it.
    let sent_before = attempt.at_peer_end().is_some_and(|end| end.written > 0);
    let waited = start.and_then(|start| match at.checked_sub(start) {
        None if sent_before => Some(0),
        waited => waited,
    });
    match waited {
        Some(ns) => format!(
            "{} after the request, without a byte of a response",
            words::duration(ns)
        ),
        None => "before the proxy had sent the request".to_owned(),
    }
}

/// Who ended the connection first, and when after the request (or the SYN).
pub(super) fn first_end(attempt: &AttemptFacts) -> Fact {
    let Some((end, at)) = attempt.first_end() else {
        return Fact::new("first-end", "no end of the connection was seen");
    };
    let who = match end {
        End::PeerFin => "the backend's FIN came first",
        End::PeerReset => "the backend's RST came first",
        End::KernelTimeout => "the proxy's kernel gave up after unanswered retransmissions",
        End::Unreachable => "an unreachable error came first",
        End::Proxy => "the proxy closed first",
    };
    let times = &attempt.exchange.times;
    let (since, origin) = match times.request_start {
        Some(start) if attempt.tls.is_some() => (start, "the ClientHello"),
        Some(start) => (start, "the first request byte"),
        None => (attempt.start_ns(), "the SYN"),
    };
    let when = match at.checked_sub(since) {
        Some(after) => format!("{} after {origin}", words::duration(after)),
        None => format!("{} before {origin}", words::duration(since - at)),
    };
    Fact::new("first-end", format!("{who}, {when}"))
}

/// How much of the request was acknowledged.
pub(super) fn acknowledged(attempt: &AttemptFacts) -> Option<Fact> {
    if attempt.phase().is_before_request() {
        return None;
    }
    let total = attempt.exchange.request_bytes;
    let acked = total - attempt.request_unacked()?;
    Some(Fact::new(
        "request-acknowledged",
        format!(
            "{acked} of {} of the request acknowledged",
            words::bytes(total)
        ),
    ))
}

/// The connection carried exchanges before.
pub(super) fn reused(attempt: &AttemptFacts) -> Option<Fact> {
    if !attempt.exchange.reused() {
        return None;
    }
    let number = attempt.exchange.exchange;
    let text = if attempt.exchange.has(flags::UNSEEN) {
        "the connection had brought responses before".to_owned()
    } else if number > 1 {
        format!("request number {number} on this connection since the capture saw it")
    } else {
        "the connection carried requests before the capture began".to_owned()
    };
    Some(Fact::new("reused-connection", text))
}

/// Nothing of the exchange was seen.
pub(super) fn unseen(attempt: &AttemptFacts) -> Option<Fact> {
    attempt.exchange.has(flags::UNSEEN).then(|| {
        Fact::inferred(
            "unseen-exchange",
            "tracing stood by, so neither request nor response was seen: by the counters of its socket the \
             connection sent something that nothing came back for (over TLS, that may have been its handshake)",
        )
    })
}

/// The client's request was like others.
pub(super) fn equal(attempt: &AttemptFacts) -> Option<Fact> {
    let link = attempt.exchange.link?;
    (link.how == LinkHow::EqualTarget).then(|| {
        Fact::new(
            "equal-requests",
            "others with the same method and target waited at the same time: that this connection worked for this \
             client is a guess among them",
        )
    })
}

/// Errno that the socket gave.
pub(super) fn errno(attempt: &AttemptFacts) -> Option<Fact> {
    let errno = attempt.errno()?;
    Some(Fact::new(
        "errno",
        format!("the socket reported {}", errno::describe(errno)),
    ))
}

/// Why the backend's kernel sent its reset.
pub(super) fn reset_reason(attempt: &AttemptFacts) -> Option<Fact> {
    let name = attempt.reset_received_reason.as_deref()?;
    let meaning = match name {
        "NO_SOCKET" => "no socket was there any more",
        "TCP_ABORT_ON_DATA" => "data came for a socket that the backend had already closed",
        "TCP_TIMEWAIT_SOCKET" => "the connection was already in TIME_WAIT there",
        "TCP_ABORT_ON_CLOSE" => "the backend closed without having read everything",
        "TCP_STATE" => "the backend's program aborted the connection",
        "TCP_ABORT_ON_LINGER" => "the backend's program closed with linger 0",
        "TCP_ABORT_ON_MEMORY" => "the backend's host was short of socket memory",
        "TCP_KEEPALIVE_TIMEOUT" => "the backend's keep-alive probes went unanswered",
        _ => "as the backend's kernel names it",
    };
    Some(Fact::new(
        "reset-reason",
        format!("reset reason {name}: {meaning}"),
    ))
}

/// Request bytes that lay unread at the backend when its side ended.
pub(super) fn request_unread(attempt: &AttemptFacts) -> Option<Fact> {
    let half = attempt.peer.as_ref().filter(|half| !half.late_request)?;
    // What was answered had been read, by a thread that was not seen.
    if !half.request_read && attempt.exchange.response_bytes == 0 {
        let unread = half.unread.filter(|bytes| *bytes > 0);
        let unread = unread.unwrap_or(u32::try_from(attempt.exchange.request_bytes).ok()?);
        return Some(Fact::new(
            "request-unread",
            format!(
                "no thread of the backend ever read the request ({} lay in its socket): nobody accepted the connection, or every worker was busy",
                words::bytes(unread.into())
            ),
        ));
    }
    let unread = half.unread.filter(|bytes| *bytes > 0)?;
    Some(Fact::new(
        "request-unread",
        format!(
            "the backend (process {}) ended the connection with {} of the request unread",
            half.pid,
            words::bytes(unread.into())
        ),
    ))
}

/// Which timer of the proxy's kernel ended the connection (errno 110).
pub(super) fn kernel_timer(attempt: &AttemptFacts) -> Option<Fact> {
    let (End::KernelTimeout, _) = attempt.first_end()? else {
        return None;
    };
    let socket = &attempt.exchange.socket;
    let text = match (socket.user_timeout_ms, socket.unacked) {
        (Some(ms), Some(unacked)) if ms > 0 && unacked > 0 => format!(
            "{} stayed unacknowledged for longer than TCP_USER_TIMEOUT ({ms} ms)",
            words::bytes(unacked.into())
        ),
        (_, Some(unacked)) if unacked > 0 => format!(
            "{} stayed unacknowledged through all retransmissions (net.ipv4.tcp_retries2)",
            words::bytes(unacked.into())
        ),
        (Some(ms), Some(0)) if ms > 0 => format!(
            "nothing was unacknowledged: keep-alive probes went unanswered (TCP_USER_TIMEOUT {ms} ms)"
        ),
        (_, Some(_)) => {
            "nothing was unacknowledged: keep-alive probes of the proxy's kernel went unanswered"
                .to_owned()
        }
        (_, None) => return None,
    };
    Some(Fact::new("kernel-timer", text))
}

/// The segment that was sent again and again.
pub(super) fn resent(attempt: &AttemptFacts) -> Option<Fact> {
    let segment = attempt.exchange.retransmitted?;
    Some(Fact::new(
        "retransmitted-segment",
        format!(
            "a segment of {} was retransmitted {} without an acknowledgement",
            words::bytes(segment.len.into()),
            words::times(segment.times.into())
        ),
    ))
}

/// Why our own kernel sent a reset.
pub(super) fn our_reset(attempt: &AttemptFacts) -> Option<Fact> {
    attempt.exchange.times.reset_sent?;
    let text = match attempt.reset_sent_reason.as_deref() {
        Some("TCP_ABORT_ON_CLOSE") => {
            "the proxy's kernel sent a reset (TCP_ABORT_ON_CLOSE): the proxy closed with bytes unread"
                .to_owned()
        }
        Some("TCP_ABORT_ON_DATA") => {
            "the proxy's kernel sent a reset (TCP_ABORT_ON_DATA): more came after the proxy had closed"
                .to_owned()
        }
        Some(name) => format!("the proxy's kernel sent a reset ({name})"),
        None => "the proxy's kernel sent a reset".to_owned(),
    };
    Some(Fact::new("reset-sent", text))
}

/// The backend's host sent a piece of the response again and again, and it was not acknowledged.
pub(super) fn unheard(attempt: &AttemptFacts) -> Option<Fact> {
    let segment = attempt.peer.as_ref()?.unheard?;
    Some(Fact::new(
        "response-unheard",
        format!(
            "the backend answered: its host sent the same {} of the response again {}, and they were never acknowledged",
            words::bytes(segment.len.into()),
            words::times(segment.times.into())
        ),
    ))
}

/// What came over TLS that is no part of a response.
pub(super) fn tls_answer(attempt: &AttemptFacts) -> Option<Fact> {
    let answer = attempt.tls_answer.filter(|answer| answer.other == 0)?;
    let what = match (answer.tickets, answer.goodbye) {
        (0, _) => "a record of the size of an alert: the backend's goodbye, or its refusal of a client certificate, which TLS 1.3 \
                   sends only now"
            .to_owned(),
        (tickets, goodbye) => format!(
            "{} of session tickets{}",
            words::bytes(tickets),
            if goodbye { " and a goodbye" } else { "" }
        ),
    };
    let text = format!(
        "by the sizes of the TLS records, the {} that came were {what}, no part of a response",
        words::bytes(attempt.exchange.response_bytes)
    );
    Some(if answer.tickets_inferred {
        Fact::inferred(
            "tls-answer",
            format!("{text} (inferred: one record, at once after the handshake)"),
        )
    } else {
        Fact::new("tls-answer", text)
    })
}

/// Response bytes that were never read.
pub(super) fn unread(attempt: &AttemptFacts) -> Option<Fact> {
    let unread = attempt.exchange.socket.unread.filter(|bytes| *bytes > 0)?;
    Some(Fact::new(
        "response-unread",
        format!(
            "{} had arrived and were never read",
            words::bytes(unread.into())
        ),
    ))
}

/// Retransmissions during the exchange.
pub(super) fn retransmits(attempt: &AttemptFacts) -> Option<Fact> {
    let count = attempt.exchange.retransmits;
    (count > 0).then(|| {
        Fact::new(
            "retransmits",
            format!(
                "the proxy's host retransmitted {}",
                words::times(count.into())
            ),
        )
    })
}

/// An attempt before the deciding one.
pub(super) fn earlier_attempt(index: usize, rule: &str, what: &str) -> Fact {
    Fact::new(
        "earlier-attempt",
        format!("attempt {} failed before: {rule}: {what}", index + 1),
    )
}

/// Several failures fit and none is tied to the response.
pub(super) fn candidates(case: &CaseFacts) -> Fact {
    Fact::new(
        "candidates",
        format!(
            "{} failed backend connections of the same process fit the time; the verdict is about the last of them",
            case.attempts.len()
        ),
    )
}

/// Was the request delivered, and so: is a retry safe?
pub(super) fn delivery(attempt: &AttemptFacts) -> String {
    let total = attempt.exchange.request_bytes;
    let unknown = attempt.exchange.has(flags::UNSEEN) && total == 0;
    if !unknown && (total == 0 || attempt.phase().is_before_request()) {
        return NEVER_SENT.to_owned();
    }
    match attempt.request_unacked() {
        Some(0) => format!(
            "all {} of the request were acknowledged, so the application may have acted on it and only an idempotent request may be retried",
            words::bytes(total)
        ),
        Some(unacked) if unacked == total => {
            format!(
                "none of the {} of the request was acknowledged",
                words::bytes(total)
            )
        }
        Some(unacked) => format!(
            "{} of {} of the request were acknowledged, so only an idempotent request may be retried",
            total - unacked,
            words::bytes(total)
        ),
        None => "whether the request arrived is not known".to_owned(),
    }
}

/// The same where nothing was sent.
pub(super) const NEVER_SENT: &str = "the request was never sent, so a retry is safe";
