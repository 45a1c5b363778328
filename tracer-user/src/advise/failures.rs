//! What failed exchanges tell about limits, gathered over all cases of a session.

use std::collections::BTreeSet;

use crate::case::{Attempt, Case, EndedBy, How};
use crate::event::ProxyKind;

/// Most kinds of proxy remembered for one backend.
const PROXIES_MAX: usize = 8;

/// Smallest and largest of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// How many.
    pub count: u64,
    /// The smallest; 0 without any.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

impl Span {
    fn add(&mut self, number: u64) {
        self.min = if self.count == 0 {
            number
        } else {
            self.min.min(number)
        };
        self.max = self.max.max(number);
        self.count += 1;
    }
}

/// Numbers of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// The proxies that met them.
    pub proxies: BTreeSet<ProxyKind>,
    /// How long the proxy waited for a response before it gave up, µs.
    pub response_waits: Span,
    /// How long it waited for a connection, µs.
    pub connect_waits: Span,
    /// How long connections had been idle that the backend closed under a request, µs.
    pub race_idle: Span,
    /// Bytes that had been read of response heads that were too large.
    pub large_heads: Span,
}

impl Failures {
    /// Adds one attempt of a case. `deciding`: it is the one that the verdict is about.
    pub fn add(&mut self, case: &Case, attempt: &Attempt, deciding: bool) {
        if self.proxies.len() < PROXIES_MAX {
            self.proxies.insert(case.proxy.kind.clone());
        }
        if attempt.ended_by == EndedBy::Proxy
            && attempt.how == How::Timeout
            && attempt.response_bytes == 0
            && let Some(duration) = attempt.duration_us
        {
            match request_sent_us(attempt) {
                Some(sent) => self.response_waits.add(duration.saturating_sub(sent)),
                None if attempt.request_bytes == 0 && !attempt.reused => {
                    self.connect_waits.add(duration);
                }
                None => {}
            }
        }
        if !deciding {
            return;
        }
        match case.verdict.rule {
            "keepalive-race" => {
                if let Some(idle) = attempt.idle_before_us {
                    self.race_idle.add(idle);
                }
            }
            "header-too-large" => self.large_heads.add(attempt.response_bytes),
            _ => {}
        }
    }
}

/// When the request was sent, µs after the attempt's first moment.
fn request_sent_us(attempt: &Attempt) -> Option<u64> {
    let sent = attempt
        .events
        .iter()
        .find(|moment| moment.event == "request_sent")?;
    u64::try_from(sent.t_us).ok()
}
