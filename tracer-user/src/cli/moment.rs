//! Moments as people type them.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::error::UsageError;
use crate::printable::printable;

/// RFC 3339; `2026-11-22`, `2026-11-22 07:31` and `2026-11-22 07:31:02` in `zone`; `07:31`, the last
/// such moment; `2h` or `2h ago`. Gives ns since the epoch.
pub(super) fn parse(text: &str, zone: &TimeZone, now_unix_ns: i64) -> Result<i64, UsageError> {
    let unknown = || {
        UsageError::new(
            format!("{} is no time", printable(text, 60)),
            "give 2026-11-22T07:31:02Z, '2026-11-22 07:31', 2026-11-22, 07:31, or 2h (two hours ago)",
        )
    };
    let now = Timestamp::from_nanosecond(now_unix_ns.into()).map_err(|_| unknown())?;
    let at = moment(text.trim(), zone, now).ok_or_else(unknown)?;
    i64::try_from(at.as_nanosecond()).map_err(|_| unknown())
}

fn moment(text: &str, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    let local = |at: DateTime| zone.to_ambiguous_timestamp(at).compatible().ok();
    for form in [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M",
    ] {
        if let Ok(at) = DateTime::strptime(form, text) {
            return local(at);
        }
    }
    if let Ok(date) = Date::strptime("%Y-%m-%d", text) {
        return local(date.at(0, 0, 0, 0));
    }
    for form in ["%H:%M", "%H:%M:%S"] {
        if let Ok(time) = Time::strptime(form, text) {
            return last_such(time, zone, now);
        }
    }
    let ago = text.strip_suffix("ago").map_or(text, str::trim_end);
    let ago = humantime::parse_duration(ago).ok()?;
    now.checked_sub(ago).ok()
}

fn last_such(time: Time, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let today = zone.to_datetime(now).date();
    let on = |date: Date| {
        let at = zone.to_ambiguous_timestamp(date.to_datetime(time));
        at.compatible().ok()
    };
    on(today)
        .filter(|at| *at <= now)
        .or_else(|| on(today.checked_sub(1.day()).ok()?))
}

/// `+01:00`, `-0530`, `UTC`, or a name such as `Europe/Berlin`.
pub(super) fn zone(text: &str) -> Result<TimeZone, String> {
    if matches!(text, "Z" | "UTC" | "utc") {
        return Ok(TimeZone::UTC);
    }
    for form in ["%:z", "%z"] {
        let parsed = jiff::fmt::strtime::parse(form, text).ok();
        if let Some(offset) = parsed.and_then(|parsed| parsed.offset()) {
            return Ok(offset.to_time_zone());
        }
    }
    TimeZone::get(text).map_err(|_| {
        "give an offset such as +01:00, UTC, or a name such as Europe/Berlin".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let berlin = zone("+01:00").unwrap();
        // 2026-11-22T07:22:27Z, 08:22:27 there.
        let now = 1_795_332_147;
        for (text, seconds) in [
            ("2026-11-22T07:22:27Z", Some(now)),
            ("2026-11-22T08:22:27+01:00", Some(now)),
            ("2026-11-22 08:22:27", Some(now)),
            ("2026-11-22T08:22:27", Some(now)),
            ("2026-11-22 08:22", Some(now - 27)),
            ("2026-11-22", Some(now - 8 * 3600 - 22 * 60 - 27)),
            ("08:22", Some(now - 27)),
            ("08:22:27", Some(now)),
            ("08:23", Some(now + 33 - 86_400)),
            ("2h", Some(now - 7200)),
            ("1h 30m ago", Some(now - 5400)),
            ("15minago", Some(now - 900)),
            ("2026-13-01", None),
            ("25:00", None),
            ("tomorrow", None),
            ("", None),
            ("-2h", None),
            ("9999999999999999h", None),
            ("99999999999h", None),
        ] {
            let found = parse(text, &berlin, now * 1_000_000_000).ok();
            assert_eq!(found, seconds.map(|s| s * 1_000_000_000), "{text}");
        }
    }

    #[test]
    fn zones() {
        for (text, seconds) in [
            ("+01:00", Some(3600)),
            ("-0530", Some(-19_800)),
            ("UTC", Some(0)),
            ("Mars/Phobos", None),
            ("1", None),
            ("", None),
        ] {
            let found = zone(text).ok();
            let found = found.and_then(|zone| zone.to_fixed_offset().ok());
            assert_eq!(found.map(|offset| offset.seconds()), seconds, "{text}");
        }
        if let Ok(berlin) = zone("Europe/Berlin") {
            assert_eq!(berlin.iana_name(), Some("Europe/Berlin"));
        }
    }
}
