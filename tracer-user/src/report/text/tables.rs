//! The table of groups, the table of latencies, and what follows from them.

use anstyle::AnsiColor;
use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets,
};

use super::page::Page;
use super::words::{client_got, clock_time, count, duration, plural, safe};
use crate::report::{BackendDoc, Document, GroupDoc, LatencyDoc};

/// Most lines of the table of groups.
const GROUPS_MAX: usize = 40;
/// Most backends in the table of latencies.
const BACKENDS_MAX: usize = 20;
/// Most backends with advice.
const ADVICE_MAX: usize = 10;
/// Bound of a text, in characters.
const TEXT_MAX: usize = 2000;

/// Groups, largest first.
pub(super) fn groups(document: &Document, page: &mut Page) {
    let mut table = table(
        page,
        &["COUNT", "RULE", "BACKEND", "CLIENT GOT", "FIRST – LAST"],
    );
    align_right(&mut table, 0..1);
    for group in document.groups.iter().take(GROUPS_MAX) {
        let outcome = group.outcome.unwrap_or("various");
        table.add_row(Row::from(vec![
            count(group.count),
            group.rule.to_owned(),
            group.upstream.map_or("-".into(), |a| a.to_string()),
            match group.outcome {
                Some(_) => client_got(outcome, group.status),
                None => outcome.to_owned(),
            },
            span(group, document.started.as_deref()),
        ]));
    }
    page.blank();
    put(&table, page);
    let more = document.groups.len().saturating_sub(GROUPS_MAX);
    if more > 0 {
        let more = plural(more as u64, "smaller group");
        page.paragraph("", &format!("… and {more}; `--format json` has them all."));
    }
}

fn span(group: &GroupDoc, started: Option<&str>) -> String {
    let first = clock_time(&group.first, started);
    if group.count == 1 {
        return first;
    }
    let last = clock_time(&group.last, Some(&group.first));
    format!("{first} – {last}")
}

/// Latencies per backend: those with most cases first, then those with most requests.
pub(super) fn backends(document: &Document, page: &mut Page) {
    let mut backends: Vec<&BackendDoc> = document
        .backends
        .iter()
        .filter(|b| b.connect.is_some() || b.ttfb.is_some() || b.response.is_some())
        .collect();
    if backends.is_empty() {
        return;
    }
    backends.sort_by_key(|backend| std::cmp::Reverse(weight(backend)));
    let mut table = table(
        page,
        &["BACKEND", "LATENCY", "COUNT", "P50", "P90", "P99", "MAX"],
    );
    align_right(&mut table, 2..7);
    for backend in backends.iter().take(BACKENDS_MAX) {
        let mut name = backend.upstream.to_string();
        for (what, latency) in [
            ("connect", &backend.connect),
            ("first byte", &backend.ttfb),
            ("whole response", &backend.response),
        ] {
            if let Some(latency) = latency {
                table.add_row(latency_row(std::mem::take(&mut name), what, latency));
            }
        }
    }
    page.blank();
    page.heading("Latency per backend");
    put(&table, page);
    let more = backends.len().saturating_sub(BACKENDS_MAX);
    if more > 0 {
        let more = plural(more as u64, "more backend");
        page.paragraph("", &format!("… and {more}; `--format json` has them all."));
    }
}

/// What to change, per backend: those with most cases first.
pub(super) fn advice(document: &Document, page: &mut Page) {
    let mut backends: Vec<&BackendDoc> = document
        .backends
        .iter()
        .filter(|backend| !backend.advice.is_empty())
        .collect();
    if backends.is_empty() {
        return;
    }
    backends.sort_by_key(|backend| std::cmp::Reverse(weight(backend)));
    page.blank();
    page.heading("Advice from what was measured");
    for backend in backends.iter().take(ADVICE_MAX) {
        page.paragraph("  ", &backend.upstream.to_string());
        for advice in &backend.advice {
            page.paragraph("    • ", &safe(&advice.text, TEXT_MAX));
            if let Some(change) = &advice.change {
                let change = safe(change, TEXT_MAX);
                page.coloured("      ", &change, Some(AnsiColor::Green));
            }
        }
    }
    let more = backends.len().saturating_sub(ADVICE_MAX);
    if more > 0 {
        let more = plural(more as u64, "more backend");
        page.paragraph("", &format!("… and {more}; `--format json` has them all."));
    }
}

/// Cases, then requests.
fn weight(backend: &BackendDoc) -> (u64, Option<u64>) {
    (backend.outcomes.values().sum(), backend.exchanges)
}

pub(in crate::report) fn latency_row(backend: String, what: &str, latency: &LatencyDoc) -> Row {
    Row::from(vec![
        backend,
        what.to_owned(),
        count(latency.count),
        duration(latency.p50_us),
        duration(latency.p90_us),
        duration(latency.p99_us),
        duration(latency.max_us),
    ])
}

pub(in crate::report) fn table(page: &Page, header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(page.width()).unwrap_or(u16::MAX))
        .set_header(header.to_vec());
    table
}

pub(in crate::report) fn align_right(table: &mut Table, columns: std::ops::Range<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(6)));
        }
    }
}

pub(in crate::report) fn put(table: &Table, page: &mut Page) {
    for line in table.lines() {
        page.line(&line);
    }
}
