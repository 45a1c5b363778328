//! Counting: from verdicts to the numbers of the report.

use std::collections::BTreeMap;

use super::joined::Joins;
use super::judge::Verdict;
use super::plan::{Trial, View};
use crate::lab::log::RequestLog;
use crate::lab::proxy::Kind;

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) id: &'static str,
    pub(super) kind: Kind,
    pub(super) variant: &'static str,
    pub(super) view: View,
}

/// The numbers of one key, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) total: u64,
    pub(super) right: u64,
    pub(super) wrong: u64,
    pub(super) wrong_strong: u64,
    /// Including those without any case.
    pub(super) unexplained: u64,
    pub(super) missing: u64,
    /// The failure could not be made; not in `total`.
    pub(super) void: u64,
    pub(super) confusions: BTreeMap<String, u64>,
    /// Logs that show one of the marks.
    pub(super) log_agrees: u64,
    pub(super) log_checked: u64,
    pub(super) log_line: Option<String>,
    /// A log that shows none.
    pub(super) log_against: Option<String>,
    /// Lines in the cases.
    pub(super) joins: Joins,
}

impl Count {
    fn add(&mut self, verdict: &Verdict) {
        self.total += 1;
        let said = match verdict {
            Verdict::Right => {
                self.right += 1;
                return;
            }
            Verdict::Wrong { said, strong } => {
                self.wrong += 1;
                self.wrong_strong += u64::from(*strong);
                said.as_str()
            }
            Verdict::Unexplained => {
                self.unexplained += 1;
                "unexplained"
            }
            Verdict::Missing => {
                self.unexplained += 1;
                self.missing += 1;
                "no case"
            }
        };
        *self.confusions.entry(said.to_owned()).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.right += other.right;
        self.wrong += other.wrong;
        self.wrong_strong += other.wrong_strong;
        self.unexplained += other.unexplained;
        self.missing += other.missing;
        self.void += other.void;
        self.log_agrees += other.log_agrees;
        self.log_checked += other.log_checked;
        self.joins.expected += other.joins.expected;
        self.joins.joined += other.joins.joined;
        self.joins.wrong += other.joins.wrong;
        self.joins.agree += other.joins.agree;
        self.joins.disagree += other.joins.disagree;
        for (said, count) in &other.confusions {
            *self.confusions.entry(said.clone()).or_default() += count;
        }
    }
}

/// All counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: BTreeMap<Key, Count>,
}

impl Tally {
    fn of(&mut self, trial: &Trial, view: View) -> &mut Count {
        let key = Key {
            id: trial.row.id,
            kind: trial.kind,
            variant: trial.variant.name,
            view,
        };
        self.counts.entry(key).or_default()
    }

    pub(super) fn add(&mut self, trial: &Trial, view: View, verdict: &Verdict) {
        self.of(trial, view).add(verdict);
    }

    pub(super) fn void(&mut self, trial: &Trial, view: View) {
        self.of(trial, view).void += 1;
    }

    /// Counts the lines in a trial's cases.
    pub(super) fn joined(&mut self, trial: &Trial, view: View, joins: &Joins) {
        let count = Count {
            joins: *joins,
            ..Count::default()
        };
        self.of(trial, view).merge(&count);
    }

    /// Compares the proxy's own lines with the marks.
    pub(super) fn log(&mut self, trial: &Trial, view: View, log: &RequestLog) {
        let marks = trial.variant.marks.of(trial.kind);
        if marks.is_empty() {
            return;
        }
        let count = self.of(trial, view);
        count.log_checked += 1;
        let lines: Vec<&str> = log
            .errors
            .iter()
            .chain(&log.access)
            .map(String::as_str)
            .collect();
        let example = lines.first().copied().unwrap_or("no line").to_owned();
        if marks.iter().any(|mark| shows(&lines, mark)) {
            count.log_agrees += 1;
            count.log_line.get_or_insert(example);
        } else {
            count.log_against.get_or_insert(example);
        }
    }

    pub(super) fn sum(&self) -> Count {
        let mut sum = Count::default();
        for count in self.counts.values() {
            sum.merge(count);
        }
        sum
    }
}

/// Does one of the lines hold the parts of the mark in their order?
fn shows(lines: &[&str], mark: &str) -> bool {
    if mark.is_empty() {
        return lines.is_empty();
    }
    lines.iter().any(|line| {
        let mut rest = *line;
        mark.split('…').all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    })
}

/// What happened while nothing failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) exchanges: u64,
    pub(super) false_cases: u64,
    /// Why it did not get on: something failed that should not.
    pub(super) problem: Option<String>,
}

/// Did it all hold?
pub(super) fn held(tally: &Tally, false_cases: u64) -> bool {
    let sum = tally.sum();
    // In whole numbers: right / total >= 98 / 100.
    let judged = sum.right * 100 >= sum.total * 98 && sum.wrong_strong == 0 && false_cases == 0;
    let joined = sum.joins.joined * 100 >= sum.joins.expected * 99 && sum.joins.wrong == 0;
    judged && joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_order_and_in_one_line() {
        let haproxy = "127.0.0.1:1 [t] fe be/a 0/0/-1/-1/1002 503 217 - - SC-- 1/1 \"GET /x\"";
        for (lines, mark, expected) in [
            (vec![haproxy], " 503 …SC", true),
            (vec![haproxy], "SC… 503 ", false),
            (vec![haproxy], "SH", false),
            (vec!["503", "SC"], "503…SC", false),
            (vec!["a", haproxy], "SC--", true),
            (vec![], "", true),
            (vec![haproxy], "", false),
            (vec![], "SC", false),
        ] {
            assert_eq!(shows(&lines, mark), expected, "{lines:?} {mark}");
        }
    }

    #[test]
    fn counts_add_up() {
        let mut count = Count::default();
        let wrong = |said: &str, strong| Verdict::Wrong {
            said: said.into(),
            strong,
        };
        for verdict in [
            Verdict::Right,
            wrong("a", true),
            wrong("a", false),
            Verdict::Unexplained,
            Verdict::Missing,
        ] {
            count.add(&verdict);
        }
        assert_eq!(count.total, count.right + count.wrong + count.unexplained);
        assert_eq!((count.wrong, count.wrong_strong), (2, 1));
        assert_eq!((count.unexplained, count.missing), (2, 1));
        assert_eq!(count.confusions["a"], 2);
        let mut twice = count.clone();
        twice.merge(&count);
        assert_eq!((twice.total, twice.confusions["no case"]), (10, 2));
    }

    #[test]
    fn what_holds() {
        let key = Key {
            id: "E01",
            kind: Kind::Nginx,
            variant: "x",
            view: View::Local,
        };
        for (right, total, wrong_strong, false_cases, expected) in [
            (98, 100, 0, 0, true),
            (97, 100, 0, 0, false),
            (100, 100, 1, 0, false),
            (100, 100, 0, 1, false),
            (0, 0, 0, 0, true),
        ] {
            let count = Count {
                right,
                total,
                wrong_strong,
                ..Count::default()
            };
            let tally = Tally {
                counts: BTreeMap::from([(key.clone(), count)]),
            };
            assert_eq!(held(&tally, false_cases), expected, "{right} {total}");
        }
    }
}
