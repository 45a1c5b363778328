//! One case in full: summary, timeline, verdict, evidence, what to change.

use anstyle::AnsiColor;

use super::page::Page;
use super::words::{
    client_got, confidence, count, date_time, duration, offset_ms, plural, safe, spaced,
};
use crate::report::{AttemptDoc, CaseDoc, EventDoc, RemedyDoc};

/// Most attempts shown: the first and the last ones tell.
const ATTEMPTS_MAX: usize = 6;
/// Most moments shown of an attempt.
const EVENTS_MAX: usize = 24;
/// Most lines of logs shown.
const LOG_LINES_MAX: usize = 4;
/// Bounds of untrusted text, in characters.
const LINE_MAX: usize = 2000;
const FIELD_MAX: usize = 200;
const TARGET_MAX: usize = 24;

/// Writes a case.
pub(super) fn case(case: &CaseDoc, page: &mut Page) {
    page.paragraph("", &safe(&case.verdict.summary, LINE_MAX));
    page.blank();
    page.paragraph("  ", &request_line(case));
    for (i, attempt) in case.attempts.iter().enumerate().take(ATTEMPTS_MAX) {
        page.paragraph("  ", &attempt_line(i, attempt, case.seen_from));
        timeline(&attempt.events, page);
    }
    let more = case.attempts.len().saturating_sub(ATTEMPTS_MAX);
    if more > 0 {
        let more = plural(more as u64, "more attempt");
        page.paragraph("  ", &format!("… and {more}"));
    }
    page.blank();
    verdict(case, page);
    for log in case.log.iter().chain(&case.log_more).take(LOG_LINES_MAX) {
        let source = log.source;
        page.paragraph(
            "  Log: ",
            &format!("({source}) {}", safe(&log.line, LINE_MAX)),
        );
    }
    if !case.verdict.remedies.is_empty() {
        page.blank();
        page.heading("  Change:");
        for remedy in &case.verdict.remedies {
            self::remedy(remedy, page);
        }
    }
}

fn request_line(case: &CaseDoc) -> String {
    let downstream = &case.downstream;
    let request = [&downstream.method, &downstream.path, &downstream.protocol];
    let request: Vec<String> = request
        .into_iter()
        .flatten()
        .map(|part| safe(part, FIELD_MAX))
        .collect();
    let request = match request.is_empty() {
        true => "A request whose head could not be read".to_owned(),
        false => request.join(" "),
    };
    let mut line = match downstream.client {
        Some(client) => format!("{request}, client {client}"),
        None => request,
    };
    if let Some(id) = &downstream.request_id {
        line = format!("{line}, request id {}", safe(id, FIELD_MAX));
    }
    let answer = match case.outcome {
        "dropped" => "gave no answer".to_owned(),
        outcome => format!("answered {}", client_got(outcome, case.status)),
    };
    format!(
        "{line}; {} pid {} {answer} ({} UTC, case {})",
        safe(&case.proxy.kind, FIELD_MAX),
        case.proxy.pid,
        date_time(&case.time),
        safe(&case.id, FIELD_MAX),
    )
}

fn attempt_line(index: usize, attempt: &AttemptDoc, seen_from: &str) -> String {
    let mut parts = vec![match (attempt.reused, attempt.exchange) {
        (true, Some(exchange)) => format!("reused connection, its exchange {exchange}"),
        (true, None) => "reused connection".into(),
        (false, _) => "fresh connection".into(),
    }];
    if attempt.adopted {
        parts.push("open before the capture".into());
    }
    if let Some(idle) = attempt.idle_before_us {
        parts.push(format!("idle {} before", duration(idle)));
    }
    if attempt.request_bytes > 0 {
        let unacked = match attempt.request_bytes_unacked {
            Some(0) => " (all acknowledged)".to_owned(),
            Some(n) => format!(" ({} never acknowledged)", count(n)),
            None => String::new(),
        };
        let sent = plural(attempt.request_bytes, "byte");
        parts.push(format!("sent {sent}{unacked}"));
        parts.push(format!(
            "received {}",
            plural(attempt.response_bytes, "byte")
        ));
    }
    if let Some(status) = attempt.status {
        parts.push(format!("status {status}"));
    }
    if attempt.retransmits > 0 {
        parts.push(plural(u64::from(attempt.retransmits), "retransmission"));
    }
    parts.push(ending(attempt.ended_by, attempt.how));
    let number = index + 1;
    let upstream = attempt.upstream;
    let parts = parts.join(", ");
    match (seen_from, attempt.local) {
        ("backend", Some(other)) => format!("{upstream} as {other} saw it: {parts}"),
        _ => format!("Attempt {number}, {upstream}: {parts}"),
    }
}

fn ending(ended_by: &str, how: &str) -> String {
    let how = match how {
        "completed" => return "completed".into(),
        "no-connection" => return "no connection was made".into(),
        "fin" => "with FIN",
        "reset" => "with RST",
        "refused" => "by refusing it",
        "timeout" => "by a timeout",
        "unreachable" => "as unreachable",
        _ => "",
    };
    let by = match ended_by {
        "unknown" => "",
        "network" => "by the network ",
        "client" => "because the client left ",
        "kernel" => "by the proxy's kernel ",
        "proxy" => "by the proxy ",
        _ => "by the backend ",
    };
    match (by, how) {
        ("", "") => "end not known".into(),
        (by, how) => format!("ended {by}{how}").trim_end().to_owned(),
    }
}

fn timeline(events: &[EventDoc], page: &mut Page) {
    let width = events
        .iter()
        .map(|event| offset_ms(event.t_us).len())
        .max()
        .unwrap_or(0);
    for event in events.iter().take(EVENTS_MAX) {
        let mut text = spaced(event.event);
        if let Some(bytes) = event.bytes {
            text = format!("{text}, {}", plural(bytes, "byte"));
        }
        if let Some(detail) = &event.detail {
            text = format!("{text} ({})", safe(detail, FIELD_MAX));
        }
        let offset = offset_ms(event.t_us);
        page.paragraph(&format!("    {offset:>width$} ms  "), &text);
    }
    let more = events.len().saturating_sub(EVENTS_MAX);
    if more > 0 {
        let more = plural(more as u64, "more moment");
        page.paragraph("    ", &format!("… and {more}"));
    }
}

fn verdict(case: &CaseDoc, page: &mut Page) {
    let verdict = &case.verdict;
    let colour = match verdict.confidence {
        "exact" | "strong" => AnsiColor::Green,
        "weak" => AnsiColor::Yellow,
        _ => AnsiColor::Magenta,
    };
    page.coloured(
        "  Verdict: ",
        &format!(
            "{}. Confidence {}.",
            verdict.rule,
            confidence(verdict.confidence, verdict.rule, case.seen_from)
        ),
        Some(colour),
    );
    for evidence in &verdict.evidence {
        let attempt = match evidence.attempt {
            Some(index) if case.attempts.len() > 1 => format!(" (attempt {})", index + 1),
            _ => String::new(),
        };
        let text = safe(&evidence.text, LINE_MAX);
        page.paragraph("    • ", &format!("{text}{attempt}"));
    }
    match verdict.agrees_with_log {
        Some(true) => page.paragraph("    • ", "the proxy's own log line says the same"),
        Some(false) => page.coloured(
            "    • ",
            "the proxy's own log line says something else",
            Some(AnsiColor::Red),
        ),
        None => {}
    }
}

fn remedy(remedy: &RemedyDoc, page: &mut Page) {
    let target = safe(&remedy.target, TARGET_MAX);
    let mut lead = format!("    {target}: ");
    // A change of several lines keeps them, to be pasted.
    for line in remedy.change.lines() {
        page.coloured(&lead, &safe(line, LINE_MAX), Some(AnsiColor::Green));
        lead = " ".repeat(lead.chars().count());
    }
    page.paragraph("      ", &safe(&remedy.why, LINE_MAX));
}
