//! What happened to an attempt, in order.

use crate::case::TimelineEvent;
use crate::diagnose::{AttemptFacts, errno_symbol};
use crate::event::MonoNs;

/// The events of an attempt, sorted by time. Events of the same instant keep the order in which they
/// follow from each other.
pub(super) fn events(facts: &AttemptFacts) -> Vec<TimelineEvent> {
    let x = &facts.exchange;
    let t = &x.times;
    let start = facts.start_ns();
    let reused = x.reused();
    let mut line = Line {
        start,
        events: Vec::new(),
    };
    if reused {
        line.add(t.idle_since, "last_used", None, None);
    } else {
        line.add(t.opened, "syn_sent", None, None);
        line.add(t.established, "connected", None, None);
    }
    let names = if facts.tls.is_some() {
        ["tls_hello_sent", "tls_first_byte", "tls_last_byte"]
    } else {
        ["request_sent", "response_first_byte", "response_last_byte"]
    };
    let [sent, first_byte, last_byte] = names;
    let request = (x.request_bytes > 0 && facts.tls.is_none()).then_some(x.request_bytes);
    line.add(t.request_start, sent, request, None);
    if x.retransmits > 0 {
        let count = format!("1 of {}", x.retransmits);
        line.add(t.retransmit_first, "retransmit", None, Some(count));
        if x.retransmits > 1 {
            let count = format!("{0} of {0}", x.retransmits);
            line.add(t.retransmit_last, "retransmit", None, Some(count));
        }
    }
    if x.response_bytes > 0 {
        line.add(t.response_start, first_byte, None, None);
        line.add(t.response_last, last_byte, Some(x.response_bytes), None);
    }
    line.add(t.fin_received, "fin_received", None, None);
    line.add(
        after_send(facts, t.reset_received),
        "reset_received",
        None,
        facts.reset_received_reason.clone(),
    );
    let error = facts.errno().map(errno_symbol);
    line.add(after_send(facts, t.error), "error", None, error);
    match x.recv_errno {
        None => line.add(t.end_read, "eof_read", None, None),
        Some(errno) => line.add(t.end_read, "error_read", None, Some(errno_symbol(errno))),
    }
    line.add(t.closed, "closed_by_proxy", None, None);
    line.add(
        t.reset_sent,
        "reset_sent",
        None,
        facts.reset_sent_reason.clone(),
    );
    line.events.sort_by_key(|event| event.t_us);
    line.events
}

/// A send is noted when it returns. On loopback the reset that answers it arrives before that, but a
/// send that took bytes cannot have come after the reset.
fn after_send(facts: &AttemptFacts, at: Option<MonoNs>) -> Option<MonoNs> {
    let x = &facts.exchange;
    match x.times.request_start {
        Some(sent) if x.request_bytes > 0 => at.map(|at| at.max(sent)),
        _ => at,
    }
}

struct Line {
    start: MonoNs,
    events: Vec<TimelineEvent>,
}

impl Line {
    fn add(
        &mut self,
        at: Option<MonoNs>,
        event: &'static str,
        bytes: Option<u64>,
        detail: Option<String>,
    ) {
        let Some(at) = at else { return };
        // Rounded down to µs on both sides of the start, so the order stays.
        let t_us = at.cast_signed().saturating_sub(self.start.cast_signed());
        self.events.push(TimelineEvent {
            t_us: t_us.div_euclid(1000),
            event,
            bytes,
            detail,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, at};

    fn names(facts: &AttemptFacts) -> Vec<(&'static str, i64)> {
        events(facts)
            .into_iter()
            .map(|event| (event.event, event.t_us))
            .collect()
    }

    #[test]
    fn a_race_on_a_pooled_connection() {
        let facts = AttemptBuilder::reused(5000)
            .fin(-1)
            .reset(1)
            .with(|x| {
                x.times.end_read = Some(at(1));
                x.recv_errno = Some(104);
            })
            .closed(2)
            .build();
        assert_eq!(
            names(&facts),
            [
                ("last_used", -5_000_000),
                ("fin_received", -1000),
                ("request_sent", 0),
                ("reset_received", 1000),
                ("error_read", 1000),
                ("closed_by_proxy", 2000),
            ]
        );
        assert_eq!(events(&facts)[4].detail.as_deref(), Some("ECONNRESET"));
    }

    #[test]
    fn a_reset_does_not_come_before_the_send_it_answers() {
        let early = |bytes| {
            let facts = AttemptBuilder::reused(5000)
                .with(|x| {
                    x.request_bytes = bytes;
                    x.times.reset_received = x.times.request_start.map(|at| at - 10_000);
                })
                .build();
            names(&facts)
        };
        let [.., last] = early(67)[..] else { panic!() };
        assert_eq!(last, ("reset_received", 0));
        // The send failed: the reset was there first.
        assert!(early(0).contains(&("reset_received", -10)));
    }

    #[test]
    fn a_fresh_connection_counts_from_its_syn() {
        let facts = AttemptBuilder::sent()
            .received(200, 450)
            .fin(6)
            .closed(6)
            .build();
        assert_eq!(
            names(&facts),
            [
                ("syn_sent", 0),
                ("connected", 1000),
                ("request_sent", 1000),
                ("response_first_byte", 4000),
                ("response_last_byte", 6000),
                ("fin_received", 7000),
                ("closed_by_proxy", 7000),
            ]
        );
        assert_eq!(events(&facts)[2].bytes, Some(100));
    }
}
