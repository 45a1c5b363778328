//! Time to first byte against the time after which the proxy gives up.

use super::in_force::{InForce, micros};
use super::{Advice, Measured, SAMPLES_P99, SAMPLES_P999, Span, line, plural, round_seconds, time};
use crate::config::{Directive, Setting};
use crate::event::ProxyKind;
use crate::latency::Latency;

const KIND: &str = "response-timeout";
/// Answers that take less than this part of the limit are not what it cuts off.
const FAR_BELOW: u64 = 4;

pub(super) fn advise(
    proxy: &ProxyKind,
    measured: &Measured<'_>,
    in_force: &InForce<'_>,
) -> Option<Advice> {
    let directive = match proxy {
        ProxyKind::Nginx => Some(Directive::ProxyReadTimeout),
        ProxyKind::Haproxy => Some(Directive::TimeoutServer),
        ProxyKind::Envoy | ProxyKind::Apache | ProxyKind::Other(_) => None,
    };
    let answers = measured.ttfb.filter(|ttfb| ttfb.count >= SAMPLES_P99)?;
    let waits = measured.failures.response_waits;
    let advice = if waits.count > 0 {
        given_up(directive, answers, waits, in_force)
    } else {
        close_to_the_limit(directive?, answers, in_force)?
    };
    Some(advice.measured([
        ("answers", Some(answers.count)),
        ("answer_p99_us", Some(answers.p99_us)),
        (
            "answer_p999_us",
            (answers.count >= SAMPLES_P999).then_some(answers.p999_us),
        ),
        ("answer_max_us", Some(answers.max_us)),
        ("timeouts", (waits.count > 0).then_some(waits.count)),
        ("waited_min_us", (waits.count > 0).then_some(waits.min)),
        ("waited_max_us", (waits.count > 0).then_some(waits.max)),
    ]))
}

/// The value that a wait shows to be in force. A timer never fires early, and the request may have
/// taken a moment to send.
fn explains<'a>(waits: Span, values: &[&'a Setting]) -> Option<&'a Setting> {
    let fits = |wait: u64, limit: u64| {
        wait >= limit - limit / 20 && wait <= limit.saturating_add(limit / 10 + 100_000)
    };
    let mut fitting = values.iter().filter(|setting| {
        micros(&setting.value).is_some_and(|limit| fits(waits.min, limit) && fits(waits.max, limit))
    });
    match (fitting.next(), fitting.next()) {
        (Some(setting), None) => Some(setting),
        _ => None,
    }
}

fn given_up(
    directive: Option<Directive>,
    answers: &Latency,
    waits: Span,
    in_force: &InForce<'_>,
) -> Advice {
    let values = directive.map_or(Vec::new(), |directive| in_force.values(directive));
    let setting = explains(waits, &values);
    let limit = waits.min;
    let until = match waits.max - waits.min > waits.min / 20 {
        true => format!("{} to {}", time(waits.min), time(waits.max)),
        false => time(waits.min),
    };
    let mut text = format!(
        "{} given up on after {until}",
        match waits.count {
            1 => "1 request was".to_owned(),
            n => format!("{n} requests were"),
        }
    );
    match (setting, directive) {
        (Some(setting), Some(directive)) => {
            text += &format!(
                ": {} {} ({}){}.",
                directive.name(),
                setting.value,
                setting.source,
                in_force.doubt()
            );
        }
        (None, Some(directive)) => match in_force.sentence(directive) {
            Some(sentence) => {
                text += &format!(
                    ". That fits no value known here: {sentence}. Another limit, or a configuration \
                     that was changed and not loaded, is in force."
                );
            }
            None => text += ".",
        },
        (_, None) => text += ".",
    }
    text += &format!(" {}.", distribution(answers));
    let all = answers.count.saturating_add(waits.count);
    let mut change = None;
    if waits.count.saturating_mul(100) > all {
        text += " More than one request in a hundred reaches the limit: find out what the backend \
                 waits for; a longer timeout only makes people wait longer.";
    } else if answers.max_us.saturating_mul(FAR_BELOW) <= limit {
        text += " Even the slowest answer came far sooner: what was given up on would hardly have \
                 come. Leave the timeout, look at the backend.";
    } else if answers.p99_us.saturating_mul(2) >= limit {
        text += " The limit cuts off ordinary slow answers: raise it for this path, or make the \
                 path faster.";
        change = directive
            .filter(|_| setting.is_some())
            .map(|directive| line(directive, round_seconds(limit.saturating_mul(2))));
    } else {
        text += " The limit lies above nearly all answers: those that reach it are rare, and worth \
                 a look at the backend before the timeout is raised.";
    }
    Advice::new(KIND, text, directive)
        .with(setting)
        .change(change)
}

fn close_to_the_limit(
    directive: Directive,
    answers: &Latency,
    in_force: &InForce<'_>,
) -> Option<Advice> {
    if answers.count < SAMPLES_P999 {
        return None;
    }
    let setting = in_force
        .values(directive)
        .into_iter()
        .min_by_key(|setting| micros(&setting.value))?;
    let limit = micros(&setting.value)?;
    if answers.p999_us.saturating_mul(2) < limit {
        return None;
    }
    let text = format!(
        "{}; {}. One answer in a thousand takes more than half of it: a little more load, and they \
         become timeouts.",
        distribution(answers),
        in_force.sentence(directive)?
    );
    let seconds = round_seconds(answers.p999_us.saturating_mul(4));
    let change = line(directive, seconds);
    Some(
        Advice::new(KIND, text, Some(directive))
            .with(in_force.only(directive))
            .change(Some(change)),
    )
}

/// `4,000 answers: 99 % began within 1.2 s, …`
fn distribution(answers: &Latency) -> String {
    let mut text = format!(
        "Of {}, 99 % began within {}",
        plural(answers.count, "answer"),
        time(answers.p99_us)
    );
    if answers.count >= SAMPLES_P999 {
        text += &format!(", 99.9 % within {}", time(answers.p999_us));
    }
    format!("{text}, the slowest within {}", time(answers.max_us))
}
