//! What closes a report: losses, notes, and words for a session without cases.

use anstyle::AnsiColor;

use super::page::Page;
use super::words::{count, plural, safe, spaced};
use crate::report::Document;

/// Most notes and losses shown.
const LINES_MAX: usize = 100;
/// Most characters of a note.
const NOTE_MAX: usize = 2000;
/// Most processes named when nothing was found.
const PROCESSES_MAX: usize = 10;

/// What became of the lines of each log.
pub(super) fn logs(document: &Document, page: &mut Page) {
    if document.logs.is_empty() {
        return;
    }
    page.blank();
    page.heading("Logs");
    for log in &document.logs {
        let mut line = format!(
            "{}: {}, {} of a failure; {} joined to a case",
            safe(&log.path, NOTE_MAX),
            plural(log.lines, "line"),
            count(log.failures),
            count(log.joined),
        );
        for (n, what) in [
            (log.known, "more about the same cases"),
            (
                log.not_the_backend,
                "of the client's or the proxy's own making",
            ),
            (log.unwatched, "with a status that is not watched"),
            (log.without_cause, "without a cause that was seen"),
        ] {
            if n > 0 {
                line = format!("{line}, {} {what}", count(n));
            }
        }
        if let (Some(skew), Some(pairs)) = (log.clock_skew_us, log.clock_skew_pairs) {
            let pairs = plural(pairs as u64, "pair");
            line = format!(
                "{line}; its clock minus ours: {:.3} s ({pairs})",
                skew as f64 / 1e6
            );
        }
        page.paragraph("  ", &format!("{line}."));
        for example in &log.examples {
            let text = safe(&example.line, NOTE_MAX);
            page.paragraph(
                "    no cause seen: ",
                &format!("line {}: {text}", example.line_number),
            );
        }
    }
}

/// Says what was watched, how much was seen, and what to try.
pub(super) fn nothing_found(document: &Document, page: &mut Page) {
    let watched = &document.watched;
    let statuses: Vec<String> = watched.statuses.iter().map(u16::to_string).collect();
    let mut sentence = format!("Watched: {}", watched.outcomes.join(", "));
    if !statuses.is_empty() {
        sentence = format!("{sentence}; error statuses {}", statuses.join(", "));
    }
    page.blank();
    page.paragraph("", &format!("{sentence}."));
    page.paragraph("", &processes(document));
    page.blank();
    page.heading("What to try");
    for advice in advice(document) {
        page.paragraph("  • ", advice);
    }
}

fn processes(document: &Document) -> String {
    let processes = &document.watched.processes;
    if processes.is_empty() {
        return "No process was traced.".into();
    }
    let mut names: Vec<String> = processes
        .iter()
        .take(PROCESSES_MAX)
        .map(|process| format!("{} {}", safe(&process.kind, 64), process.pid))
        .collect();
    let more = processes.len().saturating_sub(PROCESSES_MAX);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    format!("Traced processes: {}.", names.join(", "))
}

fn advice(document: &Document) -> Vec<&'static str> {
    let seen = document.totals.exchanges.is_some_and(|n| n > 0);
    if document.watched.processes.is_empty() {
        vec![
            "Name the proxy: `--proxy NAME` or `--pid PID`. `why502 doctor` lists the ones it finds.",
        ]
    } else if seen {
        vec![
            "Capture for longer (`--duration 10m`), or while the failures happen.",
            "Watch other statuses: `--status 500,502,503,504`.",
            "See every exchange: `--all`.",
        ]
    } else {
        vec![
            "No request to a backend was seen: send one through the proxy while capturing.",
            "Is this the process that serves it? `why502 doctor` lists proxies and their ports.",
        ]
    }
}

/// What was lost, in plain words.
pub(super) fn losses(document: &Document, page: &mut Page) {
    let lost = document.losses.iter().filter(|(_, n)| **n > 0);
    let lost: Vec<_> = lost.take(LINES_MAX).collect();
    page.blank();
    if lost.is_empty() {
        page.paragraph("Losses: ", "nothing was lost.");
        return;
    }
    page.heading("Losses");
    for (name, n) in lost {
        let text = match loss_in_words(name) {
            Some((noun, what)) => format!("{} {what}.", plural(*n, noun)),
            None => format!("{}: {}.", safe(name, 64), count(*n)),
        };
        page.coloured("  • ", &text, Some(AnsiColor::Yellow));
    }
}

/// Noun and rest of the sentence for each counter of [`tracer_ebpf::loss`].
fn loss_in_words(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "ring_upstream" => (
            "record",
            "of backend exchanges did not fit the ring buffer: causes may be missing",
        ),
        "ring_downstream" => (
            "record",
            "of client exchanges did not fit the ring buffer: failed responses may be missing",
        ),
        "ring_process" => (
            "process event",
            "did not fit the ring buffer: a new worker may have been overlooked",
        ),
        "conn_table" => (
            "connection",
            "not followed, because the connection table was full",
        ),
        "backend_table" => (
            "time",
            "an address was not counted below, because the backend table was full",
        ),
        "user_read" => (
            "buffer",
            "of a proxy could not be read (sendfile, splice, io_uring): their first bytes are \
             not known",
        ),
        "process_table" => ("process", "not traced, because the process table was full"),
        "hook_skipped" => (
            "call",
            "of a hook was left out by the kernel, whose program was at work on that processor already: what \
             it would have told may be missing",
        ),
        _ => return None,
    })
}

/// What was seen and is no case of its own.
pub(super) fn also_seen(document: &Document, page: &mut Page) {
    let seen: Vec<String> = document
        .counters
        .iter()
        .filter(|(name, n)| **n > 0 && *name != "cases")
        .map(|(name, n)| format!("{} {}", count(*n), spaced(name)))
        .collect();
    if !seen.is_empty() {
        page.paragraph("Also seen: ", &format!("{}.", seen.join(", ")));
    }
}

/// Limits and events of this capture.
pub(super) fn notes(document: &Document, page: &mut Page) {
    if document.notes.is_empty() {
        return;
    }
    page.blank();
    page.heading("Notes");
    for note in document.notes.iter().take(LINES_MAX) {
        page.paragraph("  • ", &safe(note, NOTE_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_of_the_kernel_has_words() {
        let names = [
            "ring_upstream",
            "ring_downstream",
            "ring_process",
            "conn_table",
            "hook_skipped",
            "backend_table",
            "user_read",
            "process_table",
        ];
        // Two counters are not used, and the kernel has one of its own.
        assert_eq!(names.len() + 1, tracer_ebpf::loss::COUNT as usize);
        assert!(names.iter().all(|name| loss_in_words(name).is_some()));
        assert_eq!(loss_in_words("unheard_of"), None);
    }
}
