//! Parsers of single option values. What they refuse, they explain.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::capture::options::{FailOn, LogOption};
use crate::case::Outcome;
use crate::deliver::{Endpoint, Signal, Url};
use crate::diagnose::rule;
use crate::logs::Format;

/// `30s`, `5m`, `1h 30m`; not zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; give a number with its unit: 30s, 5m, 1h 30m"))?;
    if duration.is_zero() {
        return Err("a capture of no length sees nothing".into());
    }
    Ok(duration)
}

/// The name of a program: a file name, not a path.
pub(crate) fn proxy_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the name is empty".into());
    }
    if text.contains('/') {
        return Err("give the program's file name, without its directory".into());
    }
    Ok(text.to_owned())
}

/// A file, and perhaps the form of its lines behind a `=`. Both may hold a `=` of their own.
pub(super) fn log(text: &str) -> Result<LogOption, String> {
    if text.is_empty() {
        return Err("the path is empty".into());
    }
    let borders = text.match_indices('=').map(|(at, _)| at);
    for border in borders.filter(|at| *at > 0) {
        if let Ok(format) = text[border + 1..].parse::<Format>() {
            return Ok(LogOption {
                path: text[..border].into(),
                format: Some(format),
            });
        }
    }
    let tail = text.rsplit_once('=').map(|(_, tail)| tail);
    let is_name =
        |tail: &str| !tail.is_empty() && tail.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if let Some(tail) = tail.filter(|tail| is_name(tail)) {
        let names: Vec<&str> = Format::names().collect();
        return Err(format!(
            "there is no log format {tail}; there are {}, or a log_format of NGINX in quotes",
            names.join(", ")
        ));
    }
    let path = text.into();
    Ok(LogOption { path, format: None })
}

/// The outcomes by their names in the contract.
pub(super) fn outcome() -> impl TypedValueParser<Value = Outcome> {
    PossibleValuesParser::new(Outcome::ALL.map(Outcome::name)).try_map(|name| {
        Outcome::from_name(&name).ok_or_else(|| format!("no outcome is called {name}"))
    })
}

/// The base URL of an OTLP receiver.
pub(super) fn otlp_url(text: &str) -> Result<String, String> {
    url(text, Signal::Traces)
}

/// The URL of a Zipkin server.
pub(super) fn zipkin_url(text: &str) -> Result<String, String> {
    url(text, Signal::Zipkin)
}

fn url(text: &str, signal: Signal) -> Result<String, String> {
    let url = Url::new(&Endpoint::Base(text.to_owned()), signal);
    url.map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

/// The name of a form of log line, or a `log_format` of NGINX.
pub(super) fn log_format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|error| {
        let names: Vec<_> = Format::names().collect();
        format!(
            "{error}; the forms are {}, and a log_format of NGINX, which has a $ in it",
            names.join(", ")
        )
    })
}

/// `1/100`, `0.01` or `100`: every hundredth.
pub(crate) fn sample_every(text: &str) -> Result<u32, String> {
    let share = |share: f64| {
        if !(share > 0.0 && share <= 1.0) {
            return Err("a share lies above 0 and goes up to 1".to_owned());
        }
        let every = (1.0 / share).round();
        if every > f64::from(u32::MAX) {
            return Err("the share is too small: nothing would be recorded".to_owned());
        }
        Ok(every as u32)
    };
    let number = |text: &str| -> Result<f64, String> {
        text.trim()
            .parse()
            .map_err(|_| "give 1/100, 0.01, or 100 for one in 100".to_owned())
    };
    if let Some((part, whole)) = text.split_once('/') {
        return share(number(part)? / number(whole)?);
    }
    match text.trim().parse::<u32>() {
        Ok(0) => Err("one in 0 is no share".into()),
        Ok(every) => Ok(every),
        Err(_) => share(number(text)?),
    }
}

/// `case`, or rule ids with commas between them.
pub(super) fn fail_on(text: &str) -> Result<FailOn, String> {
    if text == "case" {
        return Ok(FailOn::AnyCase);
    }
    let rules: Vec<String> = text.split(',').map(str::to_owned).collect();
    if let Some(unknown) = rules.iter().find(|id| rule(id).is_none()) {
        return Err(format!(
            "{unknown:?} is no rule: give `case`, or rules that `why502 explain` lists"
        ));
    }
    Ok(FailOn::Rules(rules))
}

/// A power of two from one page to 1 GiB: the kernel takes nothing else.
pub(super) fn ring_bytes(text: &str) -> Result<u32, String> {
    let bytes: u32 = text.parse().map_err(|error| format!("{error}"))?;
    if !bytes.is_power_of_two() || !(4096..=1 << 30).contains(&bytes) {
        return Err("must be a power of two from 4096 to 1073741824".into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table = [
            ("30s", Some(30)),
            ("5m", Some(300)),
            ("1h", Some(3600)),
            ("1h 30m", Some(5400)),
            ("30", None),
            ("0s", None),
            ("-5s", None),
            ("soon", None),
            ("", None),
        ];
        for (text, seconds) in table {
            assert_eq!(
                duration(text).ok(),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
    }

    #[test]
    fn sample_rates() {
        let table = [
            ("1/100", Some(100)),
            ("0.01", Some(100)),
            ("100", Some(100)),
            ("1", Some(1)),
            ("1.0", Some(1)),
            ("1/1", Some(1)),
            ("3/10", Some(3)),
            ("0.5", Some(2)),
            ("0", None),
            ("0.0", None),
            ("0/5", None),
            ("5/0", None),
            ("2/1", None),
            ("1.5", None),
            ("-1", None),
            ("1e-300", None),
            ("nan", None),
            ("often", None),
            ("", None),
            ("/", None),
        ];
        for (text, every) in table {
            assert_eq!(sample_every(text).ok(), every, "{text}");
        }
    }

    #[test]
    fn what_makes_it_fail() {
        assert_eq!(fail_on("case"), Ok(FailOn::AnyCase));
        assert_eq!(
            fail_on("keepalive-race,connect-refused"),
            Ok(FailOn::Rules(vec![
                "keepalive-race".into(),
                "connect-refused".into()
            ]))
        );
        for bad in ["", ",", "Case", "a b", "keepalive-race,", "no-such-rule"] {
            assert!(fail_on(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ring_sizes() {
        for (text, good) in [
            ("4096", true),
            ("8388608", true),
            ("1073741824", true),
            ("2048", false),
            ("5000", false),
            ("0", false),
            ("4294967296", false),
            ("8M", false),
        ] {
            assert_eq!(ring_bytes(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn program_names() {
        assert!(proxy_name("gunicorn: master").is_ok());
        assert!(proxy_name("").is_err());
        assert!(proxy_name("/usr/sbin/nginx").is_err());
    }
}
