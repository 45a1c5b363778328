//! Numbers, times and names in words.

use crate::printable::printable;

/// A count with its thousands set apart: `1,234,567`.
pub(in crate::report) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 request`, `2 requests`.
pub(in crate::report) fn plural(n: u64, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(n))
}

/// A duration of three digits or so: `180 µs`, `1.24 ms`, `4.999 s`.
pub(in crate::report) fn duration(us: u64) -> String {
    let (value, unit) = match us {
        0..1_000 => return format!("{us} µs"),
        1_000..1_000_000 => (us as f64 / 1e3, "ms"),
        _ => (us as f64 / 1e6, "s"),
    };
    match value {
        0.0..10.0 => format!("{value:.2} {unit}"),
        10.0..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// Milliseconds with sign and µs, for timelines: `+0.311`, `-4999.000`.
pub(super) fn offset_ms(us: i64) -> String {
    let sign = if us < 0 { '-' } else { '+' };
    let us = us.unsigned_abs();
    format!("{sign}{}.{:03}", us / 1000, us % 1000)
}

/// `2026-11-22 13:14:34` of an RFC 3339 time.
pub(super) fn date_time(time: &str) -> String {
    let date = time.get(..10).unwrap_or(time);
    format!("{date} {}", time.get(11..19).unwrap_or_default())
}

/// `13:14:34.120`, with the date if it is not the one of `reference`.
pub(super) fn clock_time(time: &str, reference: Option<&str>) -> String {
    let clock = time.get(11..23).unwrap_or(time);
    match reference {
        Some(reference) if reference.get(..10) != time.get(..10) => {
            format!("{} {clock}", time.get(..10).unwrap_or_default())
        }
        _ => clock.to_owned(),
    }
}

/// What the client got, in words.
pub(super) fn client_got(outcome: &str, status: Option<u16>) -> String {
    let status = status.map(|status| status.to_string());
    match (outcome, status) {
        ("truncated", Some(status)) => format!("{status}, cut short"),
        ("truncated", None) => "a cut response".into(),
        ("dropped", _) => "no answer".into(),
        ("masked", Some(status)) => format!("{status}, failure hidden"),
        ("masked", None) => "failure hidden".into(),
        (_, Some(status)) => status,
        (_, None) => "-".into(),
    }
}

/// A confidence, and what it means.
pub(super) fn confidence(name: &str, rule: &str, seen_from: &str) -> &'static str {
    match (name, rule) {
        ("strong", _) if seen_from == "backend" => "strong: it was seen on this very connection",
        ("weak", _) if seen_from == "backend" => {
            "weak: a timeout at the other end, or its own client that left, look alike from here"
        }
        ("exact", _) => "exact: the same request id was seen on both sides",
        ("strong", _) => {
            "strong: failure and answer follow each other on the same thread, or the log names both"
        }
        ("weak", _) => {
            "weak: same process and about the same time; another failure may be the cause"
        }
        (_, "application-502") => {
            "none: the backend itself sent this status, the network has no part in it"
        }
        _ => "none: the evidence does not reach a cause",
    }
}

/// A name in snake case as words, TCP's abbreviations in capitals.
pub(super) fn spaced(name: &str) -> String {
    let word = |word: &str| match word {
        "syn" | "fin" | "rst" | "eof" | "icmp" => word.to_ascii_uppercase(),
        _ => word.to_owned(),
    };
    name.split('_').map(word).collect::<Vec<_>>().join(" ")
}

/// Untrusted text, made harmless.
pub(in crate::report) fn safe(text: &str, max_chars: usize) -> String {
    printable(text, max_chars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (n, want) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(n), want);
        }
        assert_eq!(plural(1, "case"), "1 case");
        assert_eq!(plural(0, "case"), "0 cases");
        for (us, want) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.00 ms"),
            (12_345, "12.3 ms"),
            (999_499, "999 ms"),
            (4_999_000, "5.00 s"),
            (75_000_000, "75.0 s"),
            (u64::from(u32::MAX), "4295 s"),
        ] {
            assert_eq!(duration(us), want, "{us}");
        }
        for (us, want) in [
            (0, "+0.000"),
            (311, "+0.311"),
            (-4_999_000, "-4999.000"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(offset_ms(us), want);
        }
    }

    #[test]
    fn names() {
        for (name, want) in [
            ("request_sent", "request sent"),
            ("fin_received", "FIN received"),
            ("pending_expired", "pending expired"),
        ] {
            assert_eq!(spaced(name), want);
        }
    }

    #[test]
    fn times() {
        let time = "2026-11-22T13:14:34.120456Z";
        assert_eq!(date_time(time), "2026-11-22 13:14:34");
        assert_eq!(clock_time(time, Some(time)), "13:14:34.120");
        let yesterday = "2026-11-21T23:59:59.000000Z";
        assert_eq!(clock_time(time, Some(yesterday)), "2026-11-22 13:14:34.120");
    }

    #[test]
    fn what_the_client_got() {
        for (outcome, status, want) in [
            ("error-response", Some(502), "502"),
            ("truncated", Some(200), "200, cut short"),
            ("dropped", None, "no answer"),
            ("masked", Some(200), "200, failure hidden"),
        ] {
            assert_eq!(client_got(outcome, status), want);
        }
    }
}
