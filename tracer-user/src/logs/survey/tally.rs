//! Counts that the order of lines has no part in.

use hdrhistogram::Histogram;

use crate::latency::{Latency, of_histogram};
use crate::logs::entry::Durations;
use crate::logs::{Format, Stamp};

/// Durations above this are counted as this, µs: a day.
const LONGEST_US: u64 = 86_400_000_000;
/// Digits of a duration that count: the histogram then stays in the processor's cache.
const SIGNIFICANT_DIGITS: u8 = 2;
const STATUSES: usize = 1000;

/// Counts of one thread, or of all of them.
#[derive(Clone, Debug)]
pub struct Tally {
    /// All lines, but those that are too long.
    pub lines: u64,
    /// Lines without anything in them.
    pub blank: u64,
    /// Lines that say of no failure.
    pub healthy: u64,
    /// Lines of no form that was tried.
    pub unparsed: u64,
    /// Lines outside the time that was asked for.
    pub outside: u64,
    /// Lines without a time, where a time was asked for.
    pub without_time: u64,
    /// Failures with another status than was asked for.
    pub other_status: u64,
    /// Lines of each form, in the order in which the forms came up.
    pub formats: Vec<(Format, u64)>,
    /// Connecting to the backend, all lines.
    pub connect: Distribution,
    /// To the head of the backend's response, all lines.
    pub header: Distribution,
    /// The whole request, all lines.
    pub total: Distribution,
    /// The earliest line and the latest, ns since the epoch.
    pub span: Option<(i64, i64)>,
    statuses: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            lines: 0,
            blank: 0,
            healthy: 0,
            unparsed: 0,
            outside: 0,
            without_time: 0,
            other_status: 0,
            formats: Vec::new(),
            connect: Distribution::default(),
            header: Distribution::default(),
            total: Distribution::default(),
            span: None,
            statuses: vec![0; STATUSES],
        }
    }
}

impl Tally {
    /// Lines by the status that the client got.
    pub fn statuses(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = self.statuses.iter().zip(0_u16..);
        counts
            .filter(|(count, _)| **count > 0)
            .map(|(count, status)| (status, *count))
    }

    pub(super) fn line(&mut self, time: Option<Stamp>, status: Option<u16>, durations: &Durations) {
        if let Some(count) = status.and_then(|status| self.statuses.get_mut(usize::from(status))) {
            *count += 1;
        }
        if let Some(Stamp { unix_ns, .. }) = time {
            let (first, last) = self.span.unwrap_or((unix_ns, unix_ns));
            self.span = Some((first.min(unix_ns), last.max(unix_ns)));
        }
        self.connect.add(durations.connect_us);
        self.header.add(durations.header_us);
        self.total.add(durations.total_us);
    }

    /// Place of a form in [`Self::formats`].
    pub(super) fn place_of(&mut self, format: &Format) -> usize {
        match self.formats.iter().position(|(known, _)| known == format) {
            Some(place) => place,
            None => {
                self.formats.push((format.clone(), 0));
                self.formats.len() - 1
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.lines += other.lines;
        self.blank += other.blank;
        self.healthy += other.healthy;
        self.unparsed += other.unparsed;
        self.outside += other.outside;
        self.without_time += other.without_time;
        self.other_status += other.other_status;
        for (format, lines) in &other.formats {
            let place = self.place_of(format);
            if let Some((_, count)) = self.formats.get_mut(place) {
                *count += lines;
            }
        }
        // Which thread came upon a form first is chance.
        self.formats.sort_by(|a, b| {
            let names = a.0.name().cmp(b.0.name());
            b.1.cmp(&a.1).then(names)
        });
        self.connect.merge(&other.connect);
        self.header.merge(&other.header);
        self.total.merge(&other.total);
        self.span = match (self.span, other.span) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (one, another) => one.or(another),
        };
        for (count, more) in self.statuses.iter_mut().zip(&other.statuses) {
            *count += more;
        }
    }
}

/// A distribution of durations. The histogram is made when the first one comes.
#[derive(Clone, Debug, Default)]
pub struct Distribution(Option<Recorded>);

#[derive(Clone, Debug)]
struct Recorded {
    histogram: Histogram<u64>,
    min_us: u64,
    max_us: u64,
}

impl Distribution {
    pub(super) fn add(&mut self, us: Option<u64>) {
        let Some(us) = us else { return };
        if self.0.is_none() {
            let made = Histogram::new_with_bounds(1, LONGEST_US, SIGNIFICANT_DIGITS).ok();
            self.0 = made.map(|histogram| Recorded {
                histogram,
                min_us: us,
                max_us: us,
            });
        }
        if let Some(recorded) = &mut self.0 {
            recorded.histogram.saturating_record(us);
            recorded.min_us = recorded.min_us.min(us);
            recorded.max_us = recorded.max_us.max(us);
        }
    }

    fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (Some(mine), Some(others)) => {
                // Both have the same bounds, so that there is room for everything.
                let _infallible = mine.histogram.add(&others.histogram);
                mine.min_us = mine.min_us.min(others.min_us);
                mine.max_us = mine.max_us.max(others.max_us);
            }
            (mine @ None, Some(others)) => *mine = Some(others.clone()),
            (_, None) => {}
        }
    }

    /// Its figures; `None` if there was no duration.
    pub fn summary(&self) -> Option<Latency> {
        let recorded = self.0.as_ref()?;
        of_histogram(&recorded.histogram, recorded.min_us, recorded.max_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_tallies_are_as_one() {
        let (mut one, mut parts) = (Tally::default(), [Tally::default(), Tally::default()]);
        for n in 0..1000_u64 {
            let time = Some(Stamp {
                unix_ns: (n as i64 * 7919) % 1000,
                resolution_ns: 1,
            });
            let durations = Durations {
                connect_us: None,
                header_us: (n % 3 == 0).then_some(n * n),
                total_us: Some(n * 1_000_000_000),
            };
            let status = Some((n % 7 + 200) as u16);
            for tally in [&mut one, &mut parts[usize::from(n > 600)]] {
                tally.line(time, status, &durations);
                let place = tally.place_of(if n % 5 == 0 {
                    &Format::Gcp
                } else {
                    &Format::AwsAlb
                });
                tally.formats[place].1 += 1;
            }
        }
        let mut merged = Tally::default();
        parts.iter().for_each(|part| merged.merge(part));
        let mut only = Tally::default();
        only.merge(&one);
        for (a, b) in [(&merged.header, &only.header), (&merged.total, &only.total)] {
            assert_eq!(a.summary(), b.summary());
        }
        assert_eq!(merged.connect.summary(), None);
        assert_eq!(
            merged.total.summary().map(|l| l.max_us),
            Some(999_000_000_000)
        );
        assert_eq!(merged.formats, only.formats);
        assert_eq!(merged.formats[0], (Format::AwsAlb, 800));
        assert_eq!(merged.span, Some((0, 999)));
        assert!(merged.statuses().eq(one.statuses()));
    }
}
