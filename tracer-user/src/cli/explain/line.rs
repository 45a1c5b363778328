//! `why502 explain --line`: what a line of a log says, what it means, and what can be behind it.

use std::io::{self, BufRead, Write};
use std::time::SystemTime;

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::lookup::{self, Known};
use super::wrap::{wrapped, wrapped_with};
use super::write_advice;
use crate::cli::error::UsageError;
use crate::diagnose::words::{bytes, duration};
use crate::diagnose::{Rule, rule};
use crate::logs::{
    Assume, Blame, Entry, Format, Kind, LogAttempt, Meaning, Peer, Stamp, System, detect,
};
use crate::printable::{printable, printable_bytes};

/// Longest line that is read from standard input, bytes.
const LINE_MAX: u64 = 256 << 10;
/// Longest text of a line that is shown, characters.
const TEXT_MAX: usize = 400;
/// Tries of one request that are shown.
const ATTEMPTS_MAX: usize = 8;
/// Causes of which all is said here. Of the others there is the title.
const CLOSE_MAX: usize = 4;
/// Ways to confirm, of each of them.
const CONFIRM_MAX: usize = 2;
/// Width of the names of what a line says.
const NAME_WIDTH: usize = 12;

/// The first line that is not empty, without its end; and is there more?
pub(super) fn read(input: impl BufRead) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut input = input.take(LINE_MAX);
    let mut line = Vec::new();
    while line.trim_ascii().is_empty() {
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        if read.context("cannot read standard input")? == 0 {
            break;
        }
    }
    let rest = input.fill_buf().context("cannot read standard input")?;
    let more = !rest.trim_ascii().is_empty();
    Ok((line, more))
}

/// Explains a line, or text that is none.
pub(super) fn write(
    line: &[u8],
    format: Option<&Format>,
    width: usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let line = line.trim_ascii_end();
    let found = format.cloned().or_else(|| detect(line));
    let parsed = found.map(|form| {
        let parsed = form.parse(line, &assume());
        (form, parsed)
    });
    let failed = match parsed {
        Some((form, Ok(entry))) => return Ok(explained(&form, &entry, width, out)?),
        Some((form, Err(error))) => Some(format!(
            "{} is no line of the form {}: {error}",
            printable_bytes(line, 60),
            form.name()
        )),
        None => None,
    };
    let known = lookup::find(&String::from_utf8_lossy(line));
    // A form that was asked for is not given up for a word that stands in the line.
    let asked = format.is_some();
    if asked || (known.codes.is_empty() && known.myths.is_empty()) {
        let what = failed.unwrap_or_else(|| {
            format!(
                "{} is no line of a log that is known here, and no code or message of one",
                printable_bytes(line, 60)
            )
        });
        return Err(UsageError::new(what, hint()).into());
    }
    Ok(looked_up(&known, width, out)?)
}

fn hint() -> String {
    let names: Vec<_> = Format::names().collect();
    format!(
        "the forms are {}; --format NAME takes a line as one of them, and also a log_format of NGINX",
        names.join(", ")
    )
}

/// Lines without a zone are of this host's time: it is the best guess there is.
fn assume() -> Assume {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
    Assume {
        zone: TimeZone::system(),
        now_unix_ns: now,
    }
}

fn looked_up(known: &Known, width: usize, out: &mut impl Write) -> io::Result<()> {
    let mut first = true;
    let mut gap = |out: &mut dyn Write| {
        let blank = !std::mem::take(&mut first);
        if blank { writeln!(out) } else { Ok(()) }
    };
    for myth in &known.myths {
        gap(out)?;
        wrapped(myth.claim, "Often said:    ", width, out)?;
        wrapped(myth.fact, "What holds:    ", width, out)?;
    }
    let alone = known.codes.len() == 1;
    for (system, meaning) in &known.codes {
        gap(out)?;
        writeln!(out, "{}: {}", system.title(), meaning.code)?;
        meant(Some(meaning), None, width, out)?;
        let causes = causes(meaning);
        listed(&causes, width, out)?;
        if alone {
            told_apart(&causes, width, out)?;
            changes(&causes, *system, width, out)?;
            further(&causes, *system, width, out)?;
        }
    }
    Ok(())
}

fn explained(
    form: &Format,
    entry: &Entry<'_>,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let title = format!(
        "{}: {} (read as {})",
        entry.system.title(),
        kind(entry.kind),
        form.name()
    );
    wrapped_with(&title, "", "  ", width, out)?;
    writeln!(out, "\nWhat the line says")?;
    said(entry, width, out)?;
    meant(entry.meaning, entry.status, width, out)?;
    let causes = entry.meaning.map(causes).unwrap_or_default();
    listed(&causes, width, out)?;
    told_apart(&causes, width, out)?;
    changes(&causes, entry.system, width, out)?;
    further(&causes, entry.system, width, out)
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Access => "a request",
        Kind::Error => "an error",
        Kind::Health => "the health of a backend",
        Kind::Connection => "a connection of a client",
    }
}

/// Field by field, as far as the line has them. The query of a target is not shown, as in reports.
fn said(entry: &Entry<'_>, width: usize, out: &mut impl Write) -> io::Result<()> {
    let mut field = |name: &str, text: Option<String>| match text {
        Some(text) if !text.is_empty() => {
            let indent = " ".repeat(NAME_WIDTH + 3);
            let lead = format!("  {name:<NAME_WIDTH$} ");
            wrapped_with(&text, &lead, &indent, width, out)
        }
        _ => Ok(()),
    };
    let shown = |text: &str| printable(text, TEXT_MAX);
    field("time", entry.time.map(moment))?;
    let started = entry.started.filter(|_| entry.started != entry.time);
    field("started", started.map(moment))?;
    field("client", entry.client.map(address))?;
    let request = [
        entry.method.as_deref(),
        entry.path(),
        entry.protocol.as_deref(),
    ];
    let request: Vec<String> = request.into_iter().flatten().map(shown).collect();
    field("request", Some(request.join(" ")))?;
    field("host", entry.host.as_deref().map(shown))?;
    field("request id", entry.request_id.as_deref().map(shown))?;
    field("traceparent", entry.traceparent.as_deref().map(shown))?;
    let status = entry.status.map(|status| format!("{status} to the client"));
    let none = (entry.kind == Kind::Access && status.is_none())
        .then(|| "none: the client got no status, or the line does not say it".to_owned());
    field("status", status.or(none))?;
    for (number, attempt) in entry.attempts.iter().take(ATTEMPTS_MAX).enumerate() {
        let name = match entry.attempts.len() {
            1 => "backend".to_owned(),
            _ => format!("try {}", number + 1),
        };
        field(&name, Some(tried(attempt)))?;
    }
    let more = entry.attempts.len().saturating_sub(ATTEMPTS_MAX);
    field("", (more > 0).then(|| format!("and {more} more")))?;
    let timers = [
        ("queued", entry.timers.queue_us),
        ("connecting", entry.timers.connect_us),
        ("to the head of the response", entry.timers.header_us),
        ("the backend's whole response", entry.timers.response_us),
        ("in all", entry.timers.total_us),
    ];
    field("took", Some(durations(&timers)))?;
    field("process", entry.pid.map(|pid| pid.to_string()))?;
    field("says", entry.says.as_deref().map(shown))
}

fn tried(attempt: &LogAttempt<'_>) -> String {
    let mut parts = Vec::new();
    let addr = attempt.addr.map(|addr| addr.to_string());
    let ip = attempt.ip.map(|ip| format!("{ip} (port not logged)"));
    let addr = addr.or(ip);
    let name = attempt
        .name
        .as_deref()
        .map(|name| printable(name, TEXT_MAX));
    let same = |addr: &String| {
        name.as_ref()
            .is_some_and(|name| name == addr || addr.split(' ').next() == Some(name))
    };
    match (&name, addr) {
        (_, Some(addr)) if same(&addr) => parts.push(addr),
        (Some(name), Some(addr)) => parts.push(format!("{name} at {addr}")),
        (Some(name), None) => parts.push(name.clone()),
        (None, Some(addr)) => parts.push(addr),
        (None, None) => parts.push("not named".to_owned()),
    }
    let local = attempt.local.map(|local| format!("from {local}"));
    let port = attempt.local_port.map(|port| format!("from port {port}"));
    parts.extend(local.or(port));
    parts.extend(attempt.status.map(|status| format!("status {status}")));
    let timers = [
        ("connecting", attempt.connect_us),
        ("to the head of the response", attempt.header_us),
        ("the whole response", attempt.response_us),
    ];
    parts.extend(Some(durations(&timers)).filter(|text| !text.is_empty()));
    parts.extend(
        attempt
            .sent_bytes
            .map(|count| format!("{} sent to it", bytes(count))),
    );
    parts.extend(
        attempt
            .received_bytes
            .map(|count| format!("{} received", bytes(count))),
    );
    parts.join(", ")
}

fn durations(timers: &[(&str, Option<u64>)]) -> String {
    let parts: Vec<String> = timers
        .iter()
        .filter_map(|(name, us)| {
            let ns = us.as_ref()?.saturating_mul(1000);
            Some(format!("{name} {}", duration(ns)))
        })
        .collect();
    parts.join(", ")
}

fn address(peer: Peer) -> String {
    match peer.port {
        Some(port) => std::net::SocketAddr::from((peer.ip, port)).to_string(),
        None => peer.ip.to_string(),
    }
}

/// UTC, as exact as the log has it.
fn moment(stamp: Stamp) -> String {
    let at = Timestamp::from_nanosecond(stamp.unix_ns.into()).unwrap_or_default();
    match stamp.resolution_ns {
        1_000_000_000.. => format!("{at:.0}"),
        1_000_000.. => format!("{at:.3}"),
        _ => format!("{at:.6}"),
    }
}

fn meant(
    meaning: Option<&Meaning>,
    status: Option<u16>,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "\nWhat it means")?;
    let Some(meaning) = meaning else {
        let text = match status {
            Some(500..) => "An error, and the line does not say why.",
            _ => "The line tells of no failure.",
        };
        return wrapped(text, "  ", width, out);
    };
    wrapped(meaning.text, "  ", width, out)?;
    let lies = match meaning.blame {
        Blame::Backend => "It lies between the proxy and the backend.",
        Blame::Application => "It lies in the backend's application.",
        Blame::Client => "It lies with the client.",
        Blame::Proxy => "It lies in the proxy or balancer itself.",
        Blame::Context => "No request need have failed: it is a hint for other lines.",
    };
    wrapped(lies, "  ", width, out)
}

fn causes(meaning: &Meaning) -> Vec<&'static Rule> {
    meaning.classes.iter().filter_map(|id| rule(id)).collect()
}

fn listed(causes: &[&'static Rule], width: usize, out: &mut impl Write) -> io::Result<()> {
    let Some(longest) = causes.iter().map(|rule| rule.id.len()).max() else {
        return Ok(());
    };
    match causes {
        [_] => writeln!(out, "\nThe cause")?,
        _ => writeln!(out, "\nPossible causes, the likely ones first")?,
    }
    for rule in causes {
        wrapped(
            rule.title,
            &format!("  {:<longest$}  ", rule.id),
            width,
            out,
        )?;
    }
    Ok(())
}

/// What separates the likely causes from the other possible ones, each pair once.
fn told_apart(causes: &[&'static Rule], width: usize, out: &mut impl Write) -> io::Result<()> {
    let likely = causes.get(..CLOSE_MAX).unwrap_or(causes);
    let possible = |id: &str| causes.iter().any(|rule| rule.id == id);
    let mut said: Vec<(&str, &str)> = Vec::new();
    let mut heading = true;
    for rule in likely {
        let mut named = false;
        for other in rule.confused_with {
            if !possible(other.with) || said.contains(&(other.with, rule.id)) {
                continue;
            }
            if std::mem::take(&mut heading) {
                writeln!(out, "\nHow to tell them apart")?;
            }
            if !std::mem::replace(&mut named, true) {
                writeln!(out, "  {}, and not", rule.id)?;
            }
            let lead = format!("    {}: ", other.with);
            wrapped_with(other.difference, &lead, "        ", width, out)?;
            said.push((rule.id, other.with));
        }
    }
    let confirmed: Vec<_> = likely
        .iter()
        .filter(|rule| !rule.confirm.is_empty())
        .collect();
    if !confirmed.is_empty() {
        writeln!(out, "\nHow to confirm it by hand")?;
    }
    for rule in confirmed {
        writeln!(out, "  {}", rule.id)?;
        for step in rule.confirm.iter().take(CONFIRM_MAX) {
            wrapped(step, "    - ", width, out)?;
        }
    }
    Ok(())
}

/// What to change in that system, its backends and the network, for the likely causes.
fn changes(
    causes: &[&'static Rule],
    system: System,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let concerns = |target: &str| {
        matches!(target, "backend" | "network")
            || target == system.name()
            || (system == System::Combined && matches!(target, "nginx" | "apache"))
    };
    let mut heading = true;
    for rule in causes.get(..CLOSE_MAX).unwrap_or(causes) {
        let advice: Vec<_> = rule
            .remedies
            .iter()
            .filter(|a| concerns(a.target))
            .collect();
        if advice.is_empty() {
            continue;
        }
        if std::mem::take(&mut heading) {
            writeln!(out, "\nWhat to change")?;
        }
        writeln!(out, "  {}", rule.id)?;
        for advice in advice {
            write_advice(advice, "    ", width, out)?;
        }
    }
    Ok(())
}

fn further(
    causes: &[&'static Rule],
    system: System,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(first) = causes.first() else {
        return Ok(());
    };
    let capture = match system.is_managed() {
        true => "why502 capture --role backend, on the backend's host,",
        false => "why502 capture, on the proxy's host,",
    };
    let text = format!(
        "More about one: why502 explain {}. Which of them it was, {capture} says of the next one.",
        first.id
    );
    let text = match causes {
        [_] => format!("More: why502 explain {}.", first.id),
        _ => text,
    };
    writeln!(out)?;
    wrapped(&text, "", width, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = include_str!("../../logs/samples/azure-app-gateway.log");
    const ALB: &str = include_str!("../../logs/samples/aws-alb.log");
    const GCP: &str = include_str!("../../logs/samples/gcp.log");

    fn text(line: &str, format: Option<&str>, width: usize) -> anyhow::Result<String> {
        let format = format.map(|name| name.parse().unwrap());
        let mut out = Vec::new();
        write(line.as_bytes(), format.as_ref(), width, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn flat(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_line_of_a_gateway() {
        let line = GATEWAY.lines().next().unwrap();
        let page = text(line, None, 80).unwrap();
        let whole = flat(&page);
        for part in [
            "Azure Application Gateway: a request (read as azure-app-gateway)",
            "time 2026-11-22T07:31:02Z",
            "client 203.0.113.5:51544",
            "request GET /cart HTTP/1.1",
            "backend 192.0.2.20:8080, from port 21564, status 502, the whole response 28 ms",
            "says ERRORINFO_UPSTREAM_CLOSED_CONNECTION",
            "What it means",
            "keepalive-race",
            "fin-before-response: there the request was acknowledged before the FIN",
            "What to change keepalive-race backend raise the",
            "app-gateway keep the backend's idle timeout above 75 s",
            "why502 capture --role backend",
        ] {
            assert!(whole.contains(part), "{part}\n{page}");
        }
        assert!(!whole.contains("alb "), "advice for another system\n{page}");
        assert!(
            page.lines()
                .all(|line| line.chars().count() <= 80 || !line.contains(' ')),
            "{page}"
        );
    }

    #[test]
    fn every_possible_cause_has_its_title() {
        let page = text(ALB.lines().next().unwrap(), None, 100).unwrap();
        let whole = flat(&page);
        let meaning = detect(ALB.as_bytes())
            .unwrap()
            .parse(ALB.lines().next().unwrap().as_bytes(), &assume())
            .unwrap()
            .meaning
            .unwrap();
        for rule in causes(meaning) {
            assert!(whole.contains(&flat(rule.title)), "{}\n{page}", rule.id);
        }
        assert_eq!(whole.matches("Possible causes").count(), 1);
    }

    #[test]
    fn the_query_is_not_shown_and_nothing_acts_on_the_terminal() {
        let line = ALB
            .lines()
            .next()
            .unwrap()
            .replace("/cart", "/ca\u{1b}[2Jrt?token=secret")
            .replace("Root=1", "Ro\u{202e}ot=1");
        let page = text(&line, None, 100).unwrap();
        assert!(
            page.contains("/ca\\x1b[2Jrt") && page.contains("Ro\\u{202e}ot"),
            "{page}"
        );
        assert!(
            !page.contains("secret") && !page.contains('\u{1b}'),
            "{page}"
        );
        for line in ["\u{1b}]0;x\u{7}", "{\"\u{1b}"] {
            let error = text(line, None, 80).unwrap_err().to_string();
            assert!(
                error.contains("\\x1b") && !error.contains('\u{1b}'),
                "{error}"
            );
        }
    }

    #[test]
    fn no_failure_and_the_application() {
        let healthy = ALB
            .lines()
            .nth(2)
            .unwrap()
            .replace(" 502 502 ", " 200 200 ");
        let page = text(&healthy, None, 80).unwrap();
        assert!(
            page.contains("tells of no failure") && !page.contains("causes"),
            "{page}"
        );
        let own = text(GCP.lines().nth(5).unwrap(), None, 80).unwrap();
        assert!(own.contains("The cause\n  application-502"), "{own}");
        assert!(
            own.contains("More: why502 explain application-502."),
            "{own}"
        );
    }

    #[test]
    fn codes_and_statements() {
        let page = text("ERRORINFO_UPSTREAM_NO_LIVE", None, 80).unwrap();
        assert!(
            page.starts_with("Azure Application Gateway: ERRORINFO_UPSTREAM_NO_LIVE"),
            "{page}"
        );
        assert!(
            page.contains("no-backend-available") && page.contains("What to change"),
            "{page}"
        );
        let page = text("ALB validates target certificates", None, 80).unwrap();
        assert!(
            page.contains("Often said:") && flat(&page).contains("It does not"),
            "{page}"
        );
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (line, format, says) in [
            (
                "hello",
                None,
                "hello is no line of a log that is known here",
            ),
            ("", None, "is no line of a log that is known here"),
            (
                "hello",
                Some("aws-alb"),
                "hello is no line of the form aws-alb: at byte 0: expected",
            ),
            (
                "backend_timeout",
                Some("gcp"),
                "no line of the form gcp: at byte 0",
            ),
            (
                "http x app/x",
                None,
                "no line of the form aws-alb: at byte 5: expected a time",
            ),
        ] {
            let error = text(line, format, 80).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            let usage: &UsageError = error.downcast_ref().unwrap();
            assert!(format!("{usage:?}").contains("nginx-error, "), "{usage:?}");
        }
    }

    #[test]
    fn standard_input() {
        let read = |text: &str| {
            let (line, more) = read(text.as_bytes()).unwrap();
            (String::from_utf8(line).unwrap(), more)
        };
        assert_eq!(read("\n\na line\n"), ("a line\n".into(), false));
        assert_eq!(read("one\n\ntwo\n"), ("one\n".into(), true));
        assert_eq!(read(""), (String::new(), false));
        let endless = "x".repeat(1 << 20);
        assert_eq!(read(&endless).0.len() as u64, LINE_MAX);
    }
}
