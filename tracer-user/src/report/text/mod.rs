//! The text report, for a person at three in the morning: totals, then the groups, largest first,
//! then one example each, latencies, losses and notes.

mod ending;
mod example;
pub(in crate::report) mod page;
pub(in crate::report) mod tables;
pub(in crate::report) mod words;

use std::cmp::Reverse;
use std::io::{self, Write};

use super::{CaseDoc, Document, GroupDoc};
use crate::case::Confidence;
use page::Page;
use words::{count, plural};

/// Most groups that get an example; the table lists more, the JSON all.
const EXAMPLES_MAX: usize = 10;

/// How text is set. The caller decides: it knows the terminal and `NO_COLOR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Use ANSI colours.
    pub colour: bool,
    /// Columns.
    pub width: usize,
}

impl Style {
    /// Without colour, 100 columns: for files and pipes.
    pub const PLAIN: Self = Self {
        colour: false,
        width: 100,
    };
}

/// Writes the report.
pub(super) fn write(document: &Document, style: Style, out: &mut impl Write) -> io::Result<()> {
    out.write_all(render(document, style).as_bytes())
}

/// A case in one line, to show while a capture runs.
pub fn case_line(case: &CaseDoc) -> String {
    let attempt = case.attempts.last();
    let upstream = attempt.map_or("no backend".into(), |a| a.upstream.to_string());
    words::safe(
        &format!(
            "{}  {}  {}  {}: {}",
            words::clock_time(&case.time, None),
            words::client_got(case.outcome, case.status),
            upstream,
            case.verdict.rule,
            case.verdict.summary,
        ),
        300,
    )
}

fn render(document: &Document, style: Style) -> String {
    let mut page = Page::new(style);
    totals(document, &mut page);
    session(document, &mut page);
    if document.groups.is_empty() {
        ending::nothing_found(document, &mut page);
    } else {
        tables::groups(document, &mut page);
        examples(document, &mut page);
    }
    tables::backends(document, &mut page);
    tables::advice(document, &mut page);
    ending::logs(document, &mut page);
    ending::losses(document, &mut page);
    ending::also_seen(document, &mut page);
    ending::notes(document, &mut page);
    page.finish()
}

fn totals(document: &Document, page: &mut Page) {
    let totals = &document.totals;
    let mut line = match totals.cases {
        0 => "No failure was seen".to_owned(),
        cases => format!(
            "{} in {}",
            plural(cases, "failure"),
            plural(document.groups.len() as u64, "group")
        ),
    };
    let mut outcomes: Vec<_> = totals.outcomes.iter().collect();
    outcomes.sort_by_key(|(_, n)| Reverse(**n));
    let parts: Vec<String> = outcomes
        .into_iter()
        .map(|(outcome, n)| format!("{} {outcome}", count(*n)))
        .collect();
    if !parts.is_empty() {
        line = format!("{line}: {}", parts.join(", "));
    }
    if let Some(exchanges) = totals.exchanges {
        let backends = document.backends.len() as u64;
        line = format!(
            "{line}; {} to {} seen",
            plural(exchanges, "request"),
            plural(backends, "backend")
        );
    }
    page.heading(&format!("{line}."));
}

/// Where and when.
fn session(document: &Document, page: &mut Page) {
    let mut parts = Vec::new();
    if let Some(host) = &document.host {
        parts.push(words::safe(host, 64));
    }
    if let Some(kernel) = &document.kernel {
        parts.push(format!("kernel {}", words::safe(kernel, 64)));
    }
    if let (Some(started), Some(ended)) = (&document.started, &document.ended) {
        let (from, to) = (words::date_time(started), words::date_time(ended));
        parts.push(format!("{from} – {to} UTC"));
    }
    if !parts.is_empty() {
        page.paragraph("", &parts.join(" · "));
    }
}

/// One example of each group, largest group first.
fn examples(document: &Document, page: &mut Page) {
    let total = document.groups.len();
    let with_example = document.groups.iter().enumerate().filter_map(|(i, group)| {
        let case = example_of(document, group)?;
        Some((i, group, case))
    });
    for (i, group, case) in with_example.take(EXAMPLES_MAX) {
        page.blank();
        page.rule(&format!(
            "{} of {total}: {}, {}",
            i + 1,
            group.rule,
            plural(group.count, "time")
        ));
        example::case(case, page);
    }
    if total > EXAMPLES_MAX {
        page.blank();
        page.paragraph(
            "",
            &format!(
                "Examples of the {EXAMPLES_MAX} largest groups are shown; `--format json` has more."
            ),
        );
    }
}

/// The surest of the group's examples, of equally sure ones the first: what tells least may come first, such as
/// the failure that woke tracing.
fn example_of<'a>(document: &'a Document, group: &GroupDoc) -> Option<&'a CaseDoc> {
    let cases = group
        .examples
        .iter()
        .filter_map(|id| document.cases.iter().find(|case| case.id == *id));
    cases.min_by_key(|case| Reverse(sureness(case)))
}

fn sureness(case: &CaseDoc) -> Option<Confidence> {
    const ALL: [Confidence; 4] = [
        Confidence::None,
        Confidence::Weak,
        Confidence::Strong,
        Confidence::Exact,
    ];
    ALL.into_iter()
        .find(|confidence| confidence.name() == case.verdict.confidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    /// The whole report stands beside this file, so that a change shows in review. Set
    /// `WHY502_BLESS=1` to write it anew.
    #[test]
    fn the_report_of_a_rich_session() {
        check("rich.txt", &render(&fixture::document(), Style::PLAIN));
    }

    #[test]
    fn the_report_of_a_session_without_cases() {
        check(
            "quiet.txt",
            &render(&fixture::quiet_document(), Style::PLAIN),
        );
        check(
            "empty.txt",
            &render(&fixture::empty_document(), Style::PLAIN),
        );
    }

    fn check(name: &str, got: &str) {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/report");
        let path = std::path::Path::new(dir).join(name);
        if std::env::var_os("WHY502_BLESS").is_some() {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(&path, got).unwrap();
        }
        let want = std::fs::read_to_string(&path).unwrap();
        assert!(got == want, "{name} differs; the report is now:\n{got}");
    }

    #[test]
    fn lines_fit_and_nothing_acts_on_the_terminal() {
        for width in [60, 80, 100] {
            let style = Style {
                colour: false,
                width,
            };
            for document in [fixture::hostile_document(), fixture::document()] {
                for line in render(&document, style).lines() {
                    assert!(line.chars().count() <= width, "{width}: {line}");
                    assert!(!line.chars().any(char::is_control), "{line:?}");
                    assert_eq!(line, line.trim_end());
                }
            }
        }
    }

    #[test]
    fn colour_only_when_asked_and_never_changes_the_words() {
        let style = Style {
            colour: true,
            ..Style::PLAIN
        };
        let coloured = render(&fixture::document(), style);
        assert!(coloured.contains("\x1b["));
        let mut bare = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            bare.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        bare.push_str(rest);
        assert_eq!(bare, render(&fixture::document(), Style::PLAIN));
    }

    #[test]
    fn of_a_group_the_surest_case_is_shown() {
        let mut document = fixture::document();
        let group = document.groups[0].clone();
        let sure = example_of(&document, &group).unwrap().clone();
        let mut weak = sure.clone();
        weak.id = "weak".to_owned();
        weak.verdict.confidence = Confidence::Weak.name();
        document.cases.insert(0, weak);
        document.groups[0].examples.insert(0, "weak".to_owned());
        let shown = |document: &Document| {
            let case = example_of(document, &document.groups[0]).unwrap();
            case.id.clone()
        };
        assert_eq!(shown(&document), sure.id);
        // The first of equals.
        document.cases[0].verdict.confidence = sure.verdict.confidence;
        assert_eq!(shown(&document), "weak");
    }

    #[test]
    fn a_case_in_a_line() {
        let document = fixture::hostile_document();
        let line = case_line(&document.cases[0]);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.contains("keepalive-race"), "{line}");
    }
}
