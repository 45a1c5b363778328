//! The result, as one JSON object and as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::plan::{Impossible, View};
use super::tally::{Control, Count, Tally};
use crate::lab::proxy::Kind;

/// Everything that a run found out.
pub(super) struct Findings<'a> {
    pub(super) seed: u64,
    pub(super) kinds: &'a [Kind],
    pub(super) tally: &'a Tally,
    pub(super) impossible: &'a [Impossible],
    pub(super) controls: &'a [Control],
    /// Cases that belong to no trial and no control.
    pub(super) stray: u64,
    /// Records that a capture says it lost.
    pub(super) lost: u64,
    /// What was not right, each with what led to it.
    pub(super) notes: &'a [Value],
}

/// More of them would be the fault of one thing.
const NOTES_MAX: usize = 20;

impl Findings<'_> {
    fn exchanges(&self) -> u64 {
        self.controls.iter().map(|control| control.exchanges).sum()
    }

    pub(super) fn false_cases(&self) -> u64 {
        let cases = self.controls.iter().map(|control| control.false_cases);
        cases.sum::<u64>() + self.stray
    }
}

pub(super) fn json(findings: &Findings<'_>) -> Value {
    let rows = findings.tally.counts.iter().map(|(key, count)| {
        let mut row = numbers(count);
        row["id"] = key.id.into();
        row["proxy"] = key.kind.name().into();
        row["variant"] = key.variant.into();
        row["view"] = key.view.name().into();
        row["confusions"] = json!(count.confusions);
        row["log_agrees"] = count.log_agrees.into();
        row["log_checked"] = count.log_checked.into();
        row["log_joined"] = count.joins.joined.into();
        row["log_expected"] = count.joins.expected.into();
        row["log_wrong"] = count.joins.wrong.into();
        row["log_disagree"] = count.joins.disagree.into();
        if let Some(line) = &count.log_line {
            row["log_line"] = line.as_str().into();
        }
        if let Some(line) = &count.log_against {
            row["log_against"] = line.as_str().into();
        }
        row
    });
    let impossible = findings.impossible.iter().map(|one| {
        let mut row = json!({"id": one.id, "proxy": one.kind.name(), "reason": one.reason});
        if !one.variant.is_empty() {
            row["variant"] = one.variant.into();
        }
        row
    });
    let controls = findings.controls.iter().map(|control| {
        let mut object = json!({
            "name": control.name,
            "proxy": control.kind.name(),
            "exchanges": control.exchanges,
            "false_cases": control.false_cases,
        });
        if let Some(problem) = &control.problem {
            object["problem"] = problem.as_str().into();
        }
        object
    });
    let sum = findings.tally.sum();
    let mut totals = numbers(&sum);
    totals["log_expected"] = sum.joins.expected.into();
    totals["log_joined"] = sum.joins.joined.into();
    totals["log_wrong"] = sum.joins.wrong.into();
    totals["log_agree"] = sum.joins.agree.into();
    totals["log_disagree"] = sum.joins.disagree.into();
    totals["control_exchanges"] = findings.exchanges().into();
    totals["false_cases"] = findings.false_cases().into();
    totals["stray_cases"] = findings.stray.into();
    totals["lost_records"] = findings.lost.into();
    json!({
        "seed": findings.seed,
        "rows": rows.collect::<Vec<_>>(),
        "not_possible": impossible.collect::<Vec<_>>(),
        "controls": controls.collect::<Vec<_>>(),
        "not_right": findings.notes.iter().take(NOTES_MAX).collect::<Vec<_>>(),
        "totals": totals,
    })
}

fn numbers(count: &Count) -> Value {
    json!({
        "total": count.total,
        "right": count.right,
        "wrong": count.wrong,
        "wrong_strong": count.wrong_strong,
        "unexplained": count.unexplained,
        "missing": count.missing,
        "void": count.void,
    })
}

pub(super) fn text(findings: &Findings<'_>) -> String {
    let mut text = String::new();
    for view in [View::Local, View::Remote] {
        text += &matrix(findings, view);
    }
    text += &confusions(findings);
    text += &logs(findings);
    text += &list(
        "Cannot be shown",
        findings.impossible.iter().map(|one| match one.variant {
            "" => format!("{} {}: {}", one.id, one.kind.name(), one.reason),
            variant => format!("{} {variant} {}: {}", one.id, one.kind.name(), one.reason),
        }),
    );
    text += &list(
        "Controls (any case is a false alarm)",
        findings.controls.iter().map(|control| {
            format!(
                "{:<14} {:<8} {:>7} exchanges, {} false{}",
                control.name,
                control.kind.name(),
                control.exchanges,
                control.false_cases,
                match &control.problem {
                    Some(problem) => format!("; DID NOT GET ON: {problem}"),
                    None => String::new(),
                }
            )
        }),
    );
    let sum = findings.tally.sum();
    let share = match sum.total {
        0 => String::new(),
        total => format!(" ({:.1} %)", sum.right as f64 * 100.0 / total as f64),
    };
    let _ = write!(
        text,
        "Totals: {} right of {}{share}, {} wrong ({} of them strong), {} unexplained ({} without a case), \
         {} void\n        {} of {} failures with a log line have it in their case, {} wrong lines; {} say the same, {} \
         something else\n        \
         {} healthy exchanges, {} false cases ({} belong to nothing), {} records lost, seed {}\n",
        sum.right,
        sum.total,
        sum.wrong,
        sum.wrong_strong,
        sum.unexplained,
        sum.missing,
        sum.void,
        sum.joins.joined,
        sum.joins.expected,
        sum.joins.wrong,
        sum.joins.agree,
        sum.joins.disagree,
        findings.exchanges(),
        findings.false_cases(),
        findings.stray,
        findings.lost,
        findings.seed,
    );
    text
}

fn matrix(findings: &Findings<'_>, view: View) -> String {
    let mut cells: BTreeMap<(&str, Kind), Count> = BTreeMap::new();
    for (key, count) in &findings.tally.counts {
        if key.view.name() == view.name() {
            cells.entry((key.id, key.kind)).or_default().merge(count);
        }
    }
    if cells.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "{} (right/total; ! wrong, !! wrong and sure, ? unexplained, 0 no case, - not possible)\n      ",
        match view {
            View::Local | View::Left => "Backend on the same host",
            View::Remote => "Backend on another host",
        }
    );
    for kind in findings.kinds {
        let _ = write!(text, "{:<18}", kind.name());
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    let mut ids: Vec<&str> = cells.keys().map(|(id, _)| *id).collect();
    ids.dedup();
    for id in ids {
        let mut line = format!("{id:<6}");
        for kind in findings.kinds {
            let cell = match cells.get(&(id, *kind)) {
                Some(count) => cell(count),
                None => "-".to_owned(),
            };
            let _ = write!(line, "{cell:<18}");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text.push('\n');
    text
}

fn cell(count: &Count) -> String {
    let mut cell = format!("{}/{}", count.right, count.total);
    for (mark, number) in [
        ("!", count.wrong - count.wrong_strong),
        ("!!", count.wrong_strong),
        ("?", count.unexplained - count.missing),
        ("0:", count.missing),
    ] {
        if number > 0 {
            let _ = write!(cell, " {mark}{number}");
        }
    }
    cell
}

fn confusions(findings: &Findings<'_>) -> String {
    let lines = findings.tally.counts.iter().flat_map(|(key, count)| {
        count.confusions.iter().map(move |(said, number)| {
            format!(
                "{} {:<8} {:<12} {:<6} {number:>3} × {said}",
                key.id,
                key.kind.name(),
                key.variant,
                key.view.name()
            )
        })
    });
    list("Confusions", lines)
}

fn logs(findings: &Findings<'_>) -> String {
    let lines = findings.tally.counts.iter().filter_map(|(key, count)| {
        let against = count.log_against.as_ref()?;
        // The log does not depend on the view.
        (key.view != View::Remote || !has_local(findings)).then(|| {
            format!(
                "{} {} {}: {} of {} as expected; for example: {against}",
                key.id,
                key.kind.name(),
                key.variant,
                count.log_agrees,
                count.log_checked
            )
        })
    });
    list("The proxy's own log says something else", lines)
}

fn has_local(findings: &Findings<'_>) -> bool {
    let mut keys = findings.tally.counts.keys();
    keys.any(|key| key.view == View::Local)
}

fn list(title: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = lines.map(|line| format!("  {line}\n")).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("{title}\n{}\n", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::matrix::tally::Key;

    fn tally() -> Tally {
        let key = |kind, view| Key {
            id: "E17",
            kind,
            variant: "fresh",
            view,
        };
        let count = Count {
            total: 20,
            right: 17,
            wrong: 2,
            wrong_strong: 1,
            unexplained: 1,
            missing: 1,
            confusions: BTreeMap::from([
                ("keepalive-race".to_owned(), 2),
                ("no case".to_owned(), 1),
            ]),
            ..Count::default()
        };
        let right = Count {
            total: 20,
            right: 20,
            ..Count::default()
        };
        Tally {
            counts: BTreeMap::from([
                (key(Kind::Nginx, View::Local), count),
                (key(Kind::Envoy, View::Local), right),
            ]),
        }
    }

    fn with<T>(test: impl FnOnce(&Findings<'_>) -> T) -> T {
        let control = Control {
            name: "steady",
            kind: Kind::Nginx,
            exchanges: 500,
            false_cases: 2,
            problem: None,
        };
        let impossible = Impossible {
            id: "E17",
            variant: "",
            kind: Kind::Apache,
            reason: "a reason",
        };
        test(&Findings {
            seed: 7,
            kinds: &Kind::ALL,
            tally: &tally(),
            impossible: &[impossible],
            controls: &[control],
            stray: 1,
            notes: &[],
            lost: 0,
        })
    }

    #[test]
    fn the_object_has_what_is_promised() {
        let object = with(json);
        let row = &object["rows"][0];
        assert_eq!(row["id"], "E17");
        assert_eq!(row["proxy"], "nginx");
        assert_eq!(row["view"], "local");
        assert_eq!(row["confusions"]["keepalive-race"], 2);
        assert_eq!(object["not_possible"][0]["reason"], "a reason");
        assert_eq!(object["controls"][0]["exchanges"], 500);
        let totals = &object["totals"];
        assert_eq!(totals["total"], 40);
        assert_eq!(totals["right"], 37);
        assert_eq!(totals["wrong_strong"], 1);
        assert_eq!(totals["control_exchanges"], 500);
        assert_eq!(totals["false_cases"], 3);
    }

    #[test]
    fn the_text_shows_each_cell() {
        let text = with(text);
        for part in [
            "E17   17/20 !1 !!1 0:1  ",
            "20/20",
            "2 × keepalive-race",
            "E17 apache: a reason",
            "37 right of 40 (92.5 %)",
            "3 false cases",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
