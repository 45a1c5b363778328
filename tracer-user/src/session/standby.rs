//! How long tracing stood by, and what it was woken by: those failures have no case, and the report says so.

use std::time::Duration;

use crate::event::{MonoNs, Sign, Standby};

/// What is known of a failure that woke it.
const LED_TO_IT: &str = "What led to such a failure went unseen: it is among the cases only where the socket of a \
    failed connection tells of it, and inferred.";

/// Times in which only the first sign of a failure was looked for.
#[derive(Debug, Default)]
pub(super) struct StoodBy {
    /// Of those that are over, ns.
    total_ns: u64,
    since: Option<MonoNs>,
    wakes: u64,
    last: Option<Sign>,
}

impl StoodBy {
    pub(super) fn input(&mut self, standby: &Standby) {
        match (standby.woken_by, self.since) {
            (None, None) => self.since = Some(standby.time_ns),
            (None, Some(_)) => {}
            (Some(sign), since) => {
                self.total_ns += since.map_or(0, |since| standby.time_ns.saturating_sub(since));
                self.since = None;
                self.wakes += 1;
                self.last = Some(sign);
            }
        }
    }

    /// What the report says of it; `None`: tracing never stood by.
    pub(super) fn note(&self, now: MonoNs) -> Option<String> {
        let open = self.since.map_or(0, |since| now.saturating_sub(since));
        let total = self.total_ns + open;
        if total == 0 && self.wakes == 0 {
            return None;
        }
        let time = humantime::format_duration(Duration::from_millis(total / 1_000_000));
        let signs = match (self.wakes, self.last) {
            (1, Some(sign)) => format!("It was woken once: {sign}. {LED_TO_IT}"),
            (wakes, Some(sign)) if wakes > 1 => {
                format!("It was woken {wakes} times, last because {sign}. {LED_TO_IT}")
            }
            _ => "No sign of a failure was seen.".to_owned(),
        };
        Some(format!(
            "For {time} tracing stood by: requests and responses of that time are not counted. {signs}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn stands_by(at_s: u64) -> Standby {
        Standby {
            time_ns: at_s * SECOND,
            woken_by: None,
        }
    }

    fn woken(at_s: u64) -> Standby {
        Standby {
            time_ns: at_s * SECOND,
            woken_by: Some(Sign::Response {
                status: 502,
                client: ([192, 0, 2, 7], 51544).into(),
            }),
        }
    }

    #[test]
    fn never() {
        assert_eq!(StoodBy::default().note(SECOND), None);
    }

    #[test]
    fn all_the_time() {
        let mut stood_by = StoodBy::default();
        stood_by.input(&stands_by(10));
        // Said again where a session begins anew.
        stood_by.input(&stands_by(11));
        let note = stood_by.note(40 * SECOND).unwrap();
        assert_eq!(
            note,
            "For 30s tracing stood by: requests and responses of that time are not counted. No sign of a failure \
             was seen."
        );
    }

    #[test]
    fn until_a_sign() {
        let mut stood_by = StoodBy::default();
        stood_by.input(&stands_by(10));
        stood_by.input(&woken(15));
        let note = stood_by.note(40 * SECOND).unwrap();
        assert!(note.starts_with("For 5s tracing stood by"), "{note}");
        assert!(
            note.contains("woken once: 192.0.2.7:51544 got a 502. What led"),
            "{note}"
        );
        stood_by.input(&stands_by(50));
        stood_by.input(&woken(52));
        let note = stood_by.note(60 * SECOND).unwrap();
        assert!(note.starts_with("For 7s"), "{note}");
        assert!(note.contains("woken 2 times"), "{note}");
    }
}
