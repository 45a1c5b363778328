//! The result: JSON, a table for people, and the page docs/kernel-support.md. All of them are made of
//! the same rows.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value};

use super::judge::Row;

/// The JSON object.
#[derive(Serialize)]
pub(super) struct Document<'r> {
    pub(super) kernels: &'r [Row],
}

/// `6.1.0-50-cloud-amd64  passed  5 tests, lab 583 of 590, verifier 41000, 95 s`.
pub(super) fn verdict(row: &Row) -> String {
    let mut text = format!(
        "{}  {}  {} of {} tests",
        row.release,
        if row.passed { "passed" } else { "FAILED" },
        row.tests - row.failed - row.skipped,
        row.tests
    );
    if let Some(lab) = &row.lab {
        text += &format!(", lab {} of {} right", lab.right, lab.total);
    }
    if let Some(most) = row.max_insns {
        text += &format!(", verifier at most {most}");
    }
    text += &format!(", {} s", row.seconds);
    for reason in &row.reasons {
        text += &format!("\n    {reason}");
    }
    text
}

/// One verdict line for each kernel and the table.
pub(super) fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        text.push_str(&verdict(row));
        text.push('\n');
    }
    let table = table(rows);
    let width = |column: usize| {
        let cells = table.iter().map(|cells| cells[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..=rows.len()).map(width).collect();
    text.push('\n');
    for cells in &table {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            // Cannot fail: a string takes everything.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for row in rows.iter().filter(|row| !row.limits.is_empty()) {
        text.push_str(&format!("\n{} shows less:\n", row.release));
        for limit in &row.limits {
            text.push_str(&format!("  - {limit}\n"));
        }
    }
    text
}

/// Lines of cells, the first column names them.
fn table(rows: &[Row]) -> Vec<Vec<String>> {
    let line = |name: &str, cell: &dyn Fn(&Row) -> String| -> Vec<String> {
        std::iter::once(name.to_owned())
            .chain(rows.iter().map(cell))
            .collect()
    };
    let mut table = vec![
        line("kernel", &|row| row.release.clone()),
        line("verdict", &|row| {
            if row.passed { "passed" } else { "FAILED" }.to_owned()
        }),
        line("live tests", &|row| {
            format!("{} of {}", row.tests - row.failed - row.skipped, row.tests)
        }),
        line("lab: right", &|row| {
            row.lab.as_ref().map_or("-".to_owned(), |lab| {
                format!("{} of {}", lab.right, lab.total)
            })
        }),
        line("lab: unexplained", &|row| {
            row.lab
                .as_ref()
                .map_or("-".to_owned(), |lab| lab.unexplained.to_string())
        }),
        line("lab: wrong", &|row| {
            row.lab
                .as_ref()
                .map_or("-".to_owned(), |lab| lab.wrong.to_string())
        }),
    ];
    let flat: Vec<Vec<(String, String)>> = rows.iter().map(|row| flat(&row.observes)).collect();
    for name in names(&flat) {
        let cells = flat.iter().map(|all| {
            let found = all.iter().find(|(key, _)| *key == name);
            found.map_or("-".to_owned(), |(_, value)| value.clone())
        });
        table.push(std::iter::once(name.clone()).chain(cells).collect());
    }
    table.push(line("verifier: most instructions", &|row| {
        row.max_insns
            .map_or("-".to_owned(), |most| most.to_string())
    }));
    let programs: BTreeSet<&String> = rows.iter().flat_map(|row| row.insns.keys()).collect();
    for program in programs {
        table.push(line(&format!("verifier: {program}"), &|row| {
            row.insns
                .get(program)
                .map_or("-".to_owned(), ToString::to_string)
        }));
    }
    table
}

/// Keys in the order in which they came, each once.
fn names(flat: &[Vec<(String, String)>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (key, _) in flat.iter().flatten() {
        if !names.contains(key) {
            names.push(key.clone());
        }
    }
    names
}

/// `{"hooks":{"a":true},"reasons":["x"]}` → `hooks: a` `yes`, `reasons` `1`.
fn flat(observes: &Map<String, Value>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (key, value) in observes {
        let key = key.replace('_', " ");
        if let Value::Object(inner) = value {
            for (name, value) in inner {
                all.push((format!("{key}: {name}"), word(value)));
            }
        } else {
            all.push((key, word(value)));
        }
    }
    all
}

fn word(value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Null => "unknown".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.len().to_string(),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// How the page begins; a test looks for it.
const HEAD: &str = "\
# Kernel support

<!-- Written by `cargo xtask vm --document`; change xtask/src/cmd/vm/report.rs instead. -->

What `why502` sees on the kernels of Debian, measured: each is booted under QEMU, the programs are
loaded, live tests and the short fault lab run inside with real NGINX and HAProxy
([ARCHITECTURE.md](../ARCHITECTURE.md#the-kernel-matrix)).
Hooks and fields are looked up in the running kernel, never by its version, so a distribution that
backports shows more than its number says; `why502 doctor` tells for the machine at hand.
";

/// The page.
pub(super) fn page(rows: &[Row]) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## What each kernel shows\n\n");
    let table = table(rows);
    for (number, cells) in table.iter().enumerate() {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        page.push_str(&format!("| {} |\n", cells.join(" | ")));
        if number == 0 {
            page.push_str(&format!("|{}\n", " --- |".repeat(cells.len())));
        }
    }
    page.push_str(
        "\n`yes` and `no` say whether the kernel has it; numbers behind `verifier:` are the instructions that the \
         verifier looks at before it takes the program",
    );
    if let Some(row) = rows.first() {
        page.push_str(&format!(
            " (a run fails beyond {}; the kernel's own limit is 1,000,000)",
            row.max_insns_limit
        ));
    }
    page.push_str(".\n\n## What is missing where\n");
    for row in rows {
        page.push_str(&format!("\n### {}\n\n", row.release));
        if row.limits.is_empty() {
            page.push_str("Nothing.\n");
        }
        for limit in &row.limits {
            page.push_str(&format!("- {limit}\n"));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::judge::Lab;
    use super::*;

    fn row(release: &str, observes: Value, passed: bool) -> Row {
        let Value::Object(observes) = observes else {
            panic!("an object");
        };
        Row {
            line: "6.1".into(),
            release: release.into(),
            passed,
            reasons: if passed { vec![] } else { vec!["why".into()] },
            tests: 5,
            failed: u64::from(!passed),
            skipped: 0,
            max_insns: passed.then_some(77),
            max_insns_limit: 100,
            insns: BTreeMap::from([("p".to_owned(), 77)]),
            lab: passed.then(|| Lab {
                total: 10,
                right: 9,
                unexplained: 1,
                ..Lab::default()
            }),
            observes,
            limits: if passed {
                vec![]
            } else {
                vec!["no hook x".into()]
            },
            boot_ms: 1,
            seconds: 60,
        }
    }

    fn rows() -> [Row; 2] {
        [
            row(
                "6.1.0",
                json!({"hooks": {"a": true}, "reset_reasons": []}),
                false,
            ),
            row(
                "7.2.0",
                json!({"hooks": {"a": true, "b": false}, "reset_reasons": ["x", "y"], "new": "weaker"}),
                true,
            ),
        ]
    }

    #[test]
    fn the_contract_of_the_json() {
        let rows = rows();
        let document = serde_json::to_value(Document { kernels: &rows }).unwrap();
        let kernels = document["kernels"].as_array().unwrap();
        assert_eq!(kernels.len(), 2);
        let kernel = &kernels[1];
        assert_eq!(kernel["release"], "7.2.0");
        assert_eq!(kernel["passed"], true);
        assert_eq!(kernel["tests"], 5);
        assert_eq!(kernel["failed"], 0);
        assert_eq!(kernel["skipped"], 0);
        assert_eq!(kernel["max_insns"], 77);
        assert_eq!(kernel["observes"]["hooks"]["b"], false);
        assert_eq!(kernels[0].get("max_insns"), None);
    }

    #[test]
    fn the_table() {
        let text = text(&rows());
        let expected = "\
6.1.0  FAILED  4 of 5 tests, 60 s
    why
7.2.0  passed  5 of 5 tests, lab 9 of 10 right, verifier at most 77, 60 s

kernel                       6.1.0   7.2.0
verdict                      FAILED  passed
live tests                   4 of 5  5 of 5
lab: right                   -       9 of 10
lab: unexplained             -       1
lab: wrong                   -       0
hooks: a                     yes     yes
reset reasons                0       2
hooks: b                     -       no
new                          -       weaker
verifier: most instructions  -       77
verifier: p                  77      77

6.1.0 shows less:
  - no hook x
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_page_in_the_tree_is_a_generated_one() {
        let shape = |page: &str| -> Vec<String> {
            page.lines()
                .filter(|line| line.starts_with("## ") || line.starts_with("| --- |"))
                .map(|line| line.chars().take(9).collect())
                .collect()
        };
        let path = xtask::paths::root().join("docs/kernel-support.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let made = super::page(&rows());
        assert!(
            page.starts_with(HEAD),
            "{} is not what `cargo xtask vm --document` writes",
            path.display()
        );
        assert_eq!(shape(&page), shape(&made));
        for line in made
            .lines()
            .filter(|line| line.starts_with("| lab") || line.starts_with("| live"))
        {
            let name = line.split(" | ").next().unwrap();
            assert!(page.lines().any(|line| line.starts_with(name)), "{name}");
        }
        for needed in ["| kernel |", "| hooks: ", "| verifier: "] {
            assert!(page.contains(needed), "{needed}");
        }
    }
}
