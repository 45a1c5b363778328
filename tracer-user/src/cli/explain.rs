//! `why502 explain`: prints the rules as they are defined in [`crate::diagnose`], and what a log line
//! says.

mod line;
mod log_format;
mod lookup;
mod wrap;

use std::ffi::OsStr;
use std::io::{self, Write};

use self::wrap::{wrapped, wrapped_with};
use super::args::ExplainArgs;
use super::error::UsageError;
use crate::diagnose::page::{self, Body};
use crate::diagnose::{Advice, Rule, rule, rules};
use crate::printable::printable;

/// Width of the longest of [`crate::diagnose::TARGETS`].
const TARGET_WIDTH: usize = 11;

/// What stands in the place of a rule's id for log configurations.
const LOG_FORMAT: &str = "log-format";

/// What was asked for.
pub(super) fn command(
    args: &ExplainArgs,
    width: usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match args.line.as_deref() {
        Some(line) if line == OsStr::new("-") => {
            let (line, more) = line::read(io::stdin().lock())?;
            line::write(&line, args.format.as_ref(), width, out)?;
            if more {
                writeln!(out, "\nOnly the first line was looked at.")?;
            }
            Ok(())
        }
        Some(line) => line::write(line.as_encoded_bytes(), args.format.as_ref(), width, out),
        None => match (args.rule.as_deref(), args.proxy) {
            (Some(LOG_FORMAT), Some(of)) => Ok(log_format::write(of, out)?),
            (Some(LOG_FORMAT), None) => Err(UsageError::new(
                "log-format of which proxy?",
                "why502 explain log-format nginx, haproxy, envoy or apache",
            )
            .into()),
            (_, Some(_)) => Err(UsageError::new(
                "a rule is explained for all proxies at once",
                "leave the second word out, or ask for log-format",
            )
            .into()),
            (rule, None) => write(rule, width, out),
        },
    }
}

/// The list of rules, or everything about one.
fn write(id: Option<&str>, width: usize, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(id) = id else {
        return Ok(list(out)?);
    };
    let rule = rule(id).ok_or_else(|| unknown(id))?;
    Ok(one(rule, width, out)?)
}

/// Names the rules, because the list is short and the id was likely a slip.
pub(super) fn unknown(id: &str) -> UsageError {
    let ids: Vec<&str> = rules().iter().map(|rule| rule.id).collect();
    UsageError::new(
        format!("there is no rule {}", printable(id, 60)),
        format!("the rules are {}", ids.join(", ")),
    )
}

fn list(out: &mut impl Write) -> io::Result<()> {
    let longest = rules().iter().map(|rule| rule.id.len()).max().unwrap_or(0);
    for rule in rules() {
        writeln!(out, "{:<longest$}  {}", rule.id, rule.title)?;
    }
    writeln!(out, "\nMore about one: why502 explain {}", rules()[0].id)
}

fn one(rule: &'static Rule, width: usize, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", rule.id)?;
    wrapped(rule.title, "", width, out)?;
    writeln!(out)?;
    for section in page::sections(rule) {
        writeln!(out, "{}", section.heading)?;
        write_body(&section.body, width, out)?;
        writeln!(out)?;
    }
    Ok(())
}

fn write_body(body: &Body, width: usize, out: &mut impl Write) -> io::Result<()> {
    match body {
        Body::Text(text) => wrapped(text, "  ", width, out),
        Body::Points(points) => points
            .iter()
            .try_for_each(|point| wrapped(point, "  - ", width, out)),
        Body::Neighbours(neighbours) => {
            for (with, difference) in neighbours {
                wrapped_with(difference, &format!("  {with}: "), "      ", width, out)?;
            }
            Ok(())
        }
        Body::Changes(changes) => {
            for advice in changes {
                write_advice(advice, "  ", width, out)?;
            }
            Ok(())
        }
    }
}

fn write_advice(
    advice: &Advice,
    margin: &str,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let lead = format!("{margin}{:<TARGET_WIDTH$} ", advice.target);
    let indent = " ".repeat(lead.len());
    wrapped(advice.change, &lead, width, out)?;
    wrapped_with(advice.why, &format!("{indent}Why: "), &indent, width, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(id: Option<&str>, width: usize) -> String {
        let mut out = Vec::new();
        write(id, width, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_list_names_every_rule() {
        let list = text(None, 100);
        for rule in rules() {
            assert!(list.lines().any(|line| line.starts_with(rule.id)), "{list}");
        }
    }

    #[test]
    fn a_rule_is_printed_whole_and_within_the_width() {
        for rule in rules() {
            let page = text(Some(rule.id), 80);
            let flat = page.split_whitespace().collect::<Vec<_>>().join(" ");
            let parts = [rule.title, rule.explanation]
                .into_iter()
                .chain(rule.evidence.iter().chain(rule.confirm).copied())
                .chain(rule.remedies.iter().flat_map(|a| [a.change, a.why]))
                .chain(rule.confused_with.iter().map(|c| c.difference));
            for part in parts {
                let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(flat.contains(&part), "{}: {part}\n{page}", rule.id);
            }
            assert!(
                page.lines().all(|line| line.chars().count() <= 80),
                "{page}"
            );
        }
    }

    #[test]
    fn an_unknown_rule_is_refused_with_the_list() {
        let error = write(Some("nope\u{1b}"), 80, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "there is no rule nope\\x1b");
    }
}
