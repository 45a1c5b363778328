//! One attempt as the reports show it.

use tracer_ebpf::flags;

use super::timeline;
use crate::case::Attempt;
use crate::diagnose::{self, CaseFacts, Progress};
use crate::event::MonoNs;

/// Builds the attempts of a case.
pub(super) fn build_all(case: &CaseFacts) -> Vec<Attempt> {
    (0..case.attempts.len())
        .map(|index| build(case, index))
        .collect()
}

fn build(case: &CaseFacts, index: usize) -> Attempt {
    let facts = &case.attempts[index];
    let x = &facts.exchange;
    let t = &x.times;
    let start = facts.start_ns();
    let end = [t.fin_received, t.reset_received, t.error, t.closed]
        .into_iter()
        .flatten()
        .max();
    let (ended_by, how) = diagnose::ending(case, index);
    let reused = x.reused();
    // What a TLS handshake moves is neither request nor response.
    let requested = facts.tls.is_none();
    Attempt {
        upstream: x.remote,
        local: (x.local.port() != 0).then_some(x.local),
        reused,
        adopted: x.has(flags::ADOPTED),
        exchange: (x.exchange > 0 && requested && !x.has(flags::UNSEEN)).then_some(x.exchange),
        request: facts.request.clone(),
        start_ns: start,
        connect_us: if reused {
            None
        } else {
            between_us(t.opened, t.established)
        },
        ttfb_us: requested
            .then(|| between_us(t.request_start, t.response_start))
            .flatten(),
        duration_us: between_us(Some(start), end),
        request_bytes: if requested { x.request_bytes } else { 0 },
        request_bytes_unacked: facts.request_unacked().filter(|_| requested),
        response_bytes: if requested { x.response_bytes } else { 0 },
        response_bytes_unread: x.socket.unread.map(u64::from),
        content_length: match facts.progress {
            Progress::Body { declared, .. } => declared,
            _ => None,
        },
        status: x.status,
        ended_by,
        how,
        idle_before_us: facts.idle_before_ns().map(|ns| ns / 1000),
        srtt_us: x.socket.srtt_us.map(u64::from),
        retransmits: x.retransmits,
        reset_reason: facts.reset_received_reason.clone(),
        errno: facts.errno(),
        events: timeline::events(facts),
    }
}

/// Time between two moments, µs; `None` unless both are known and in order.
pub(super) fn between_us(from: Option<MonoNs>, to: Option<MonoNs>) -> Option<u64> {
    Some(to?.checked_sub(from?)? / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{EndedBy, How};
    use crate::diagnose::testing::{AttemptBuilder, case};
    use crate::event::ProxyKind;

    #[test]
    fn a_reused_connection_has_no_connect_time() {
        let facts = AttemptBuilder::reused(5000)
            .fin(1)
            .unacked(100)
            .reset(2)
            .closed(2)
            .build();
        let attempts = build_all(&case(ProxyKind::Nginx, 502, vec![facts]));
        let attempt = &attempts[0];
        assert!(attempt.reused && attempt.exchange == Some(7));
        assert_eq!(attempt.connect_us, None);
        assert_eq!(attempt.idle_before_us, Some(5_000_000));
        assert_eq!(attempt.request_bytes_unacked, Some(100));
        assert_eq!(
            (attempt.ended_by, attempt.how),
            (EndedBy::Backend, How::Reset)
        );
        assert_eq!(attempt.duration_us, Some(2000));
    }

    #[test]
    fn a_tls_handshake_is_no_exchange() {
        let facts = AttemptBuilder::handshake(|tls| tls.received = 7)
            .fin(3)
            .closed(3);
        let attempts = build_all(&case(ProxyKind::Nginx, 502, vec![facts.build()]));
        let attempt = &attempts[0];
        assert_eq!((attempt.exchange, attempt.request_bytes), (None, 0));
        assert_eq!((attempt.response_bytes, attempt.ttfb_us), (0, None));
        assert_eq!(attempt.connect_us, Some(1000));
        assert!(attempt.events.iter().any(|e| e.event == "tls_hello_sent"));
    }

    #[test]
    fn a_failed_connect_has_no_exchange() {
        let facts = AttemptBuilder::connecting().reset(0).closed(0).build();
        let attempts = build_all(&case(ProxyKind::Nginx, 502, vec![facts]));
        let attempt = &attempts[0];
        assert_eq!((attempt.exchange, attempt.connect_us), (None, None));
        assert_eq!(
            (attempt.ended_by, attempt.how),
            (EndedBy::Backend, How::Refused)
        );
        assert_eq!(attempt.request_bytes_unacked, None);
    }
}
