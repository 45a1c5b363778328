//! The survey of log files for people: totals, what failed and what that means, when, where, how long
//! things took, and what could not be read.

use std::io::{self, Write};

use anstyle::AnsiColor;
use comfy_table::Row;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::document::{CountDoc, ExampleDoc, MeaningDoc, SummaryDoc};
use super::output::View;
use crate::logs::survey::Survey;
use crate::report::text::page::Page;
use crate::report::text::tables::{align_right, latency_row, put, table};
use crate::report::text::words::{count, plural, safe};

/// Rows of a table, unless said otherwise.
const ROWS: u64 = 10;
/// Characters of a line that is shown.
const LINE_CHARS: usize = 1_000;
/// Characters of a name in a table.
const NAME_CHARS: usize = 80;
/// Rules named for a meaning before the rest is counted.
const CLASSES_MAX: usize = 5;
/// Examples shown of each meaning.
const EXAMPLES_MAX: usize = 2;
/// Problems shown before the rest is counted.
const PROBLEMS_MAX: usize = 20;
/// Height of the picture over time, in lines.
const HEIGHT: u64 = 4;
/// Columns of the picture over time.
const COLUMNS: usize = 60;
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(super) fn write(
    survey: &Survey,
    summary: &SummaryDoc,
    view: &View,
    out: &mut impl Write,
) -> io::Result<()> {
    out.write_all(render(survey, summary, view).as_bytes())
}

fn render(survey: &Survey, summary: &SummaryDoc, view: &View) -> String {
    let mut page = Page::new(view.style);
    let rows = usize::try_from(view.limit.unwrap_or(ROWS)).unwrap_or(usize::MAX);
    totals(summary, &mut page);
    sources(survey, summary, &view.zone, &mut page);
    if summary.failures > 0 {
        over_time(survey, &view.zone, &mut page);
        names(
            ["STATUS", "(none sent)"],
            &summary.by_status,
            rows,
            &mut page,
        );
        names(["BACKEND", "(none)"], &summary.by_upstream, rows, &mut page);
        let several = "(none known, or several possible)";
        if !summary.by_class.named.is_empty() {
            names(
                ["ONLY POSSIBLE CAUSE", several],
                &summary.by_class,
                rows,
                &mut page,
            );
        }
        names(["PATH", "(none)"], &summary.by_path, rows, &mut page);
    }
    latencies(summary, &mut page);
    meanings(summary, rows, &view.zone, &mut page);
    what_next(summary, &mut page);
    not_read(summary, view.unparsed, &mut page);
    page.finish()
}

fn totals(summary: &SummaryDoc, page: &mut Page) {
    let lines = plural(summary.lines, "line");
    let files = plural(summary.files, "file");
    let mut line = match summary.failures {
        0 => format!("No failure in {lines} of {files}"),
        failures => format!("{} in {lines} of {files}", plural(failures, "failure")),
    };
    let mut blames: Vec<(&str, u64)> = Vec::new();
    for meaning in summary.by_meaning.iter().filter(|one| one.blame != CONTEXT) {
        match blames.iter_mut().find(|(blame, _)| *blame == meaning.blame) {
            Some((_, n)) => *n += meaning.count,
            None => blames.push((meaning.blame, meaning.count)),
        }
    }
    blames.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let parts: Vec<String> = blames
        .into_iter()
        .map(|(blame, n)| format!("{} {}", count(n), words_of(blame)))
        .collect();
    if !parts.is_empty() {
        line = format!("{line}: {}", parts.join(", "));
    }
    page.heading(&format!("{line}."));
}

const CONTEXT: &str = "context";

fn words_of(blame: &str) -> &'static str {
    match blame {
        "backend-connection" => "at the connection to a backend",
        "application" => "by the application itself",
        "client" => "by the client",
        "proxy" => "by the proxy itself",
        _ => "beside a request",
    }
}

/// Which forms, and when.
fn sources(survey: &Survey, summary: &SummaryDoc, zone: &TimeZone, page: &mut Page) {
    let mut parts: Vec<String> = summary
        .formats
        .iter()
        .map(|form| format!("{} ({})", form.format, plural(form.lines, "line")))
        .collect();
    if let Some((first, last)) = survey.tally.span {
        let (first, last) = (clock(first, zone), clock(last, zone));
        parts.push(format!("{first} – {last} {}", zone_name(zone)));
    }
    for (n, what) in [
        (summary.outside_time, "outside the time asked for"),
        (summary.without_time, "without a time"),
        (summary.other_status, "failed with another status"),
        (summary.context, "beside requests"),
    ] {
        if n > 0 {
            parts.push(format!("{} {what}", plural(n, "line")));
        }
    }
    if !parts.is_empty() {
        page.paragraph("", &parts.join(" · "));
    }
}

/// Columns of blocks, one for each part of the time.
fn over_time(survey: &Survey, zone: &TimeZone, page: &mut Page) {
    let shown = survey.over_time.at_most(COLUMNS.min(page.width()));
    let buckets: Vec<(i64, u64)> = shown.buckets().collect();
    let most = buckets.iter().map(|(_, n)| *n).max().unwrap_or(0);
    let (Some((first, _)), Some((last, _))) = (buckets.first(), buckets.last()) else {
        return;
    };
    page.blank();
    page.heading(&format!(
        "Failures over time, each column {}, the highest {}",
        width_words(shown.width_s()),
        count(most)
    ));
    for row in (0..HEIGHT).rev() {
        let line: String = buckets
            .iter()
            .map(|(_, n)| {
                // Whatever there is shows, however little.
                let eighths = (n * HEIGHT * 8).div_ceil(most.max(1));
                let here = eighths.saturating_sub(row * 8).min(8);
                EIGHTHS[usize::try_from(here).unwrap_or(0)]
            })
            .collect();
        page.line(&line);
    }
    let [first, last] = [*first, *last].map(|s| clock(s.saturating_mul(1_000_000_000), zone));
    let gap = buckets
        .len()
        .saturating_sub(first.chars().count() + last.chars().count())
        .max(3);
    match buckets.len() {
        1 => page.line(&first),
        _ => page.line(&format!("{first}{}{last}", " ".repeat(gap))),
    }
    if shown.unknown() > 0 {
        let without = plural(shown.unknown(), "failure");
        page.paragraph("", &format!("{without} without a time."));
    }
}

fn width_words(seconds: i64) -> String {
    for (unit, name) in [
        (604_800, "week"),
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
    ] {
        if seconds % unit == 0 {
            return plural((seconds / unit).unsigned_abs(), name);
        }
    }
    plural(seconds.unsigned_abs(), "second")
}

fn names([what, unknown]: [&str; 2], counts: &CountDoc, rows: usize, page: &mut Page) {
    let mut table = table(page, &["COUNT", what]);
    align_right(&mut table, 0..1);
    let mut row = |n: u64, name: String| {
        table.add_row(Row::from(vec![count(n), name]));
    };
    for named in counts.named.iter().take(rows) {
        row(named.count, safe(&named.name, NAME_CHARS));
    }
    let left = counts.named.iter().skip(rows).map(|named| named.count);
    let other = left.sum::<u64>() + counts.other;
    if other > 0 {
        row(other, "(others)".into());
    }
    if counts.unknown > 0 {
        row(counts.unknown, unknown.into());
    }
    page.blank();
    put(&table, page);
}

fn latencies(summary: &SummaryDoc, page: &mut Page) {
    let timers = [
        ("connect", &summary.connect),
        ("response head", &summary.header),
        ("whole request", &summary.total),
    ];
    if timers.iter().all(|(_, latency)| latency.is_none()) {
        return;
    }
    let mut table = table(page, &["", "", "COUNT", "P50", "P90", "P99", "MAX"]);
    align_right(&mut table, 2..7);
    for (what, latency) in timers {
        if let Some(latency) = latency {
            table.add_row(latency_row(String::new(), what, latency));
        }
    }
    page.blank();
    page.heading("Durations by the logs' own timers, healthy lines included");
    put(&table, page);
}

/// Each meaning with its text, causes and examples, the most frequent first.
fn meanings(summary: &SummaryDoc, rows: usize, zone: &TimeZone, page: &mut Page) {
    let all = &summary.by_meaning;
    for (at, meaning) in all.iter().enumerate().take(rows) {
        page.blank();
        page.rule(&format!(
            "{} of {}: {} {}, {}",
            at + 1,
            all.len(),
            meaning.system,
            safe(meaning.code, NAME_CHARS),
            plural(meaning.count, "time"),
        ));
        one_meaning(meaning, zone, page);
    }
    let more = all.len().saturating_sub(rows);
    if more > 0 {
        page.blank();
        let more = plural(more as u64, "rarer meaning");
        page.paragraph("", &format!("… and {more}; `--limit` shows more."));
    }
}

fn one_meaning(meaning: &MeaningDoc, zone: &TimeZone, page: &mut Page) {
    page.paragraph("", meaning.meaning);
    if let (Some(first), Some(last)) = (&meaning.first, &meaning.last) {
        let [first, last] = [first, last].map(|time| reclock(time, zone));
        let span = if first == last {
            first
        } else {
            format!("{first} – {last}")
        };
        page.paragraph("  When:   ", &span);
    }
    let shown = meaning.classes_possible.len().min(CLASSES_MAX);
    let (named, more) = meaning.classes_possible.split_at(shown);
    let more = match more.len() {
        0 => String::new(),
        n => format!(", and {n} more"),
    };
    match named {
        [] => {}
        [only] => page.coloured("  Cause:  ", only, Some(AnsiColor::Green)),
        several => {
            let several = format!("{}{more}", several.join(", "));
            page.coloured("  Likely: ", &several, Some(AnsiColor::Green));
        }
    }
    for shown in meaning.examples.iter().take(EXAMPLES_MAX) {
        example(shown, page);
    }
}

fn example(example: &ExampleDoc, page: &mut Page) {
    let place = format!(
        "{}:{}",
        safe(&example.file, NAME_CHARS),
        example.line_number
    );
    page.paragraph("  • ", &place);
    if let (Some(offset), Some(expected)) = (example.offset, example.expected) {
        page.paragraph("    ", &format!("at byte {offset}: expected {expected}"));
    }
    page.paragraph("    ", &safe(&example.line, LINE_CHARS));
}

fn what_next(summary: &SummaryDoc, page: &mut Page) {
    let open =
        |one: &&MeaningDoc| one.blame == "backend-connection" && one.classes_possible.len() > 1;
    let Some(meaning) = summary.by_meaning.iter().find(open) else {
        return;
    };
    let Some(rule) = meaning.classes_possible.first() else {
        return;
    };
    page.blank();
    page.paragraph(
        "",
        &format!(
            "Which of several causes it was, a log does not tell: `why502 capture` on the proxy's host, \
             or with --role backend on a backend's, sees the connections. `why502 explain {rule}` tells \
             of one cause."
        ),
    );
}

/// Nothing is left out without a word.
fn not_read(summary: &SummaryDoc, examples: bool, page: &mut Page) {
    let mut words = Vec::new();
    for problem in summary.problems.iter().take(PROBLEMS_MAX) {
        words.push(format!(
            "{}: {}",
            safe(&problem.file, 200),
            safe(&problem.what, 300)
        ));
    }
    let more =
        summary.problems.len().saturating_sub(PROBLEMS_MAX) as u64 + summary.problems_left_out;
    if more > 0 {
        words.push(format!("{} like that.", plural(more, "more file")));
    }
    let (unparsed, too_long) = (&summary.unparsed, &summary.too_long);
    if unparsed.count > 0 {
        let hint = if examples {
            ""
        } else {
            " `--unparsed` shows the first."
        };
        let lines = plural(unparsed.count, "line");
        words.push(format!(
            "{lines} of no form that is known, or damaged.{hint}"
        ));
    }
    if too_long.count > 0 {
        let (lines, bytes) = (plural(too_long.count, "line"), count(too_long.bytes));
        words.push(format!(
            "{lines} too long to be read, {bytes} bytes together."
        ));
    }
    if words.is_empty() {
        return;
    }
    page.blank();
    page.heading("Not read");
    for word in words {
        page.coloured("  • ", &word, Some(AnsiColor::Yellow));
    }
    if examples {
        for unread in unparsed.examples.iter().chain(&too_long.examples) {
            example(unread, page);
        }
        let more = unparsed
            .count
            .saturating_sub(unparsed.examples.len() as u64);
        if more > 0 {
            page.paragraph("  … and ", &plural(more, "more line"));
        }
    }
}

/// `2026-11-22 07:31:02` in a zone.
fn clock(unix_ns: i64, zone: &TimeZone) -> String {
    let at = Timestamp::from_nanosecond(unix_ns.into()).unwrap_or_default();
    let local = zone.to_datetime(at);
    local.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn reclock(time: &str, zone: &TimeZone) -> String {
    match time.parse::<Timestamp>() {
        Ok(at) => clock(i64::try_from(at.as_nanosecond()).unwrap_or_default(), zone),
        Err(_) => time.to_owned(),
    }
}

/// `Europe/Berlin`, `+01:00`, `UTC`.
fn zone_name(zone: &TimeZone) -> String {
    if *zone == TimeZone::UTC || zone.iana_name() == Some("Etc/UTC") {
        return "UTC".into();
    }
    match (zone.iana_name(), zone.to_fixed_offset()) {
        (Some(name), _) => safe(name, 40),
        (None, Ok(offset)) => offset.to_string(),
        (None, Err(_)) => "local time".into(),
    }
}
