//! Times of log lines: in many forms, some without a zone or a year.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{Offset, TimeZone};

/// A moment as exact as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// ns since the Unix epoch.
    pub unix_ns: i64,
    /// The moment lies within `unix_ns .. unix_ns + resolution_ns`.
    pub resolution_ns: u64,
}

const SECOND: u64 = 1_000_000_000;
/// Digits of a fraction of a second that count.
const DIGITS_MAX: u32 = 9;
/// A log without years may be this much ahead of the moment at which it is read.
const AHEAD_NS: i64 = 86_400 * SECOND as i64;

/// What is taken for granted about times that lack something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assume {
    /// Zone of local times that do not name theirs.
    pub zone: TimeZone,
    /// Times without a year lie before this moment (or a day behind it), ns since the epoch.
    pub now_unix_ns: i64,
}

impl Assume {
    /// Times of a host whose local time is this many seconds east of UTC, read at this moment.
    pub fn offset(seconds: i32, now_unix_ns: i64) -> Self {
        let offset = Offset::from_seconds(seconds).unwrap_or(Offset::UTC);
        Self {
            zone: offset.to_time_zone(),
            now_unix_ns,
        }
    }
}

/// `2026-11-22T07:31:02.417305Z`, with any offset; without one it is UTC.
pub(super) fn rfc3339(text: &str) -> Option<Stamp> {
    if let Some(usual) = rfc3339_utc(text.as_bytes()) {
        return Some(usual);
    }
    let at = match text.parse::<Timestamp>() {
        Ok(at) => at,
        Err(_) => utc(text.parse::<DateTime>().ok()?)?,
    };
    stamp(at, fraction_digits(text))
}

/// `2026-11-22T07:31:02.417305Z`, exactly in this form: what nearly every line of an access log has,
/// read without a detour. `None` says only that the long way has to be taken.
pub(super) fn rfc3339_utc(text: &[u8]) -> Option<Stamp> {
    let (whole, fraction) = text.strip_suffix(b"Z")?.split_at_checked(19)?;
    let (b"-", b"-", b"T", b":", b":") = (
        &whole[4..5],
        &whole[7..8],
        &whole[10..11],
        &whole[13..14],
        &whole[16..17],
    ) else {
        return None;
    };
    let (year, month, day) = (
        digits(&whole[..4])?,
        digits(&whole[5..7])?,
        digits(&whole[8..10])?,
    );
    let (hour, minute, second) = (
        digits(&whole[11..13])?,
        digits(&whole[14..16])?,
        digits(&whole[17..19])?,
    );
    // Within these years ns fit; the last days of a month and leap seconds are left to those who know.
    if !(1700..2200).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=28).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let (fraction, kept) = match fraction {
        [] => (0, 0),
        [b'.', digits_behind @ ..] if (1..=9).contains(&digits_behind.len()) => {
            (digits(digits_behind)?, digits_behind.len() as u32)
        }
        _ => return None,
    };
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(Stamp {
        unix_ns: seconds * SECOND as i64 + fraction * 10_i64.pow(DIGITS_MAX - kept),
        resolution_ns: resolution(kept),
    })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // A year that begins in March has its leap day at the end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

/// `22/Nov/2026:07:22:27 +0000`.
pub(super) fn clf(text: &str) -> Option<Stamp> {
    let at = Timestamp::strptime("%d/%b/%Y:%H:%M:%S %z", text).ok()?;
    stamp(at, 0)
}

/// `2026/11/22 07:22:27`, local time.
pub(super) fn slashed(text: &str, assume: &Assume) -> Option<Stamp> {
    stamp(local(civil("%Y/%m/%d %H:%M:%S", text)?, assume)?, 0)
}

/// `22/Nov/2026:07:25:35.809`, local time.
pub(super) fn clf_local(text: &str, assume: &Assume) -> Option<Stamp> {
    let at = civil("%d/%b/%Y:%H:%M:%S%.f", text)?;
    stamp(local(at, assume)?, fraction_digits(text))
}

/// `Sun Nov 22 07:27:42.570753 2026`, local time.
pub(super) fn asctime(text: &str, assume: &Assume) -> Option<Stamp> {
    // The weekday says nothing that the date does not.
    let (_, date) = text.split_once(' ')?;
    let at = civil("%b %d %H:%M:%S%.f %Y", date)?;
    stamp(local(at, assume)?, fraction_digits(date))
}

/// `Nov 22 07:25:36`, local time without a year: the last such moment.
pub(super) fn syslog(text: &str, assume: &Assume) -> Option<Stamp> {
    let now = Timestamp::from_nanosecond(assume.now_unix_ns.into()).ok()?;
    let year = now.to_zoned(assume.zone.clone()).year();
    // 29 February exists in one year of four.
    (0..8).find_map(|back| {
        let dated = format!("{} {text}", year.checked_add(1)? - back);
        let at = local(civil("%Y %b %d %H:%M:%S", &dated)?, assume)?;
        let at = stamp(at, 0)?;
        (at.unix_ns <= assume.now_unix_ns.saturating_add(AHEAD_NS)).then_some(at)
    })
}

/// Seconds since the epoch with a fraction: `1795332147.389`.
pub(super) fn epoch(text: &str) -> Option<Stamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = &fraction[..fraction.len().min(DIGITS_MAX as usize)];
    let mut ns: i64 = if kept.is_empty() {
        0
    } else {
        kept.parse().ok()?
    };
    ns *= 10_i64.pow(DIGITS_MAX - kept.len() as u32);
    let unix_ns = whole.checked_mul(SECOND as i64)?.checked_add(ns)?;
    Some(Stamp {
        unix_ns,
        resolution_ns: resolution(kept.len() as u32),
    })
}

/// A time that is no leap second and has no zone.
fn civil(format: &str, text: &str) -> Option<DateTime> {
    let parsed: BrokenDownTime = strtime::parse(format, text).ok()?;
    parsed.to_datetime().ok()
}

fn local(at: DateTime, assume: &Assume) -> Option<Timestamp> {
    assume.zone.to_ambiguous_timestamp(at).compatible().ok()
}

fn utc(at: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(at).ok()
}

fn stamp(at: Timestamp, digits: u32) -> Option<Stamp> {
    Some(Stamp {
        unix_ns: i64::try_from(at.as_nanosecond()).ok()?,
        resolution_ns: resolution(digits),
    })
}

/// Of so many digits behind the point.
fn resolution(digits: u32) -> u64 {
    SECOND / 10_u64.pow(digits.min(DIGITS_MAX))
}

/// Digits behind the first point.
fn fraction_digits(text: &str) -> u32 {
    let Some((_, rest)) = text.split_once('.') else {
        return 0;
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    u32::try_from(digits).unwrap_or(DIGITS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T07:22:27Z.
    const MORNING: i64 = 1_795_332_147;
    const NS: i64 = SECOND as i64;

    fn at(seconds: i64, fraction_ns: i64, resolution_ns: u64) -> Option<Stamp> {
        let unix_ns = seconds * NS + fraction_ns;
        Some(Stamp {
            unix_ns,
            resolution_ns,
        })
    }

    fn read_at(now: i64) -> Assume {
        Assume::offset(0, now * NS)
    }

    #[test]
    fn one_moment_in_many_forms() {
        let utc = read_at(MORNING);
        let berlin = Assume::offset(3600, MORNING * NS);
        for (found, expected) in [
            (rfc3339("2026-11-22T07:22:27Z"), at(MORNING, 0, SECOND)),
            (rfc3339("2026-11-22T07:22:27"), at(MORNING, 0, SECOND)),
            (rfc3339("2026-11-22T08:22:27+01:00"), at(MORNING, 0, SECOND)),
            (
                rfc3339("2026-11-22T07:22:27.417305Z"),
                at(MORNING, 417_305_000, 1_000),
            ),
            (
                rfc3339("2026-11-22T07:22:27.4173050Z"),
                at(MORNING, 417_305_000, 100),
            ),
            (clf("22/Nov/2026:07:22:27 +0000"), at(MORNING, 0, SECOND)),
            (clf("22/Nov/2026:02:22:27 -0500"), at(MORNING, 0, SECOND)),
            (slashed("2026/11/22 07:22:27", &utc), at(MORNING, 0, SECOND)),
            (
                slashed("2026/11/22 08:22:27", &berlin),
                at(MORNING, 0, SECOND),
            ),
            (
                clf_local("22/Nov/2026:08:22:27.809", &berlin),
                at(MORNING, 809_000_000, 1_000_000),
            ),
            (
                asctime("Sun Nov 22 07:22:27.570753 2026", &utc),
                at(MORNING, 570_753_000, 1_000),
            ),
            (syslog("Nov 22 07:22:27", &utc), at(MORNING, 0, SECOND)),
            (epoch("1795332147.389"), at(MORNING, 389_000_000, 1_000_000)),
            (epoch("1795332147.2507703"), at(MORNING, 250_770_300, 100)),
            (epoch("1795332147"), at(MORNING, 0, SECOND)),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_time_without_a_year_is_the_last_such_moment() {
        let january = read_at(MORNING + 50 * 86_400);
        assert_eq!(syslog("Nov 22 07:22:27", &january), at(MORNING, 0, SECOND));
        let an_hour_behind = read_at(MORNING - 3600);
        assert_eq!(
            syslog("Nov 22 07:22:27", &an_hour_behind),
            at(MORNING, 0, SECOND)
        );
        let long_before = read_at(MORNING - 90 * 86_400);
        assert_eq!(
            syslog("Nov 22 07:22:27", &long_before),
            at(MORNING - 365 * 86_400, 0, SECOND)
        );
        assert!(syslog("Feb 29 01:00:00", &january).is_some());
        assert_eq!(
            syslog("Nov  2 07:22:27", &january).map(|at| at.unix_ns / NS % 86_400),
            Some(26_547)
        );
    }

    #[test]
    fn the_short_way_comes_to_the_same() {
        let mut taken = 0;
        for year in [
            1699, 1700, 1900, 1969, 1970, 2000, 2024, 2026, 2100, 2199, 2200,
        ] {
            for month in 0..14 {
                for day in [0, 1, 15, 28, 29, 30, 31, 32] {
                    for rest in [
                        "00:00:00Z",
                        "23:59:59.999999Z",
                        "24:00:00Z",
                        "07:31:60Z",
                        "07:31:02.4Z",
                        "07:31:02.123456789Z",
                        "07:31:02.",
                        "07:31:02.Z",
                        "07:31:02+01:00",
                        "7:31:02Z",
                        "07-31:02Z",
                    ] {
                        let text = format!("{year:04}-{month:02}-{day:02}T{rest}");
                        let Some(short) = rfc3339_utc(text.as_bytes()) else {
                            continue;
                        };
                        taken += 1;
                        let long = text.parse::<Timestamp>().ok();
                        let long = long.and_then(|at| stamp(at, fraction_digits(&text)));
                        assert_eq!(Some(short), long, "{text}");
                    }
                }
            }
        }
        assert!(taken > 1000, "{taken}");
    }

    #[test]
    fn what_is_no_time_is_none() {
        let utc = read_at(MORNING);
        for text in [
            "",
            "-",
            "2026-13-01T00:00:00Z",
            "99/Foo/2026:00:00:00 +0000",
            "\u{1b}",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
            assert_eq!(clf(text), None, "{text}");
            assert_eq!(slashed(text, &utc), None, "{text}");
            assert_eq!(clf_local(text, &utc), None, "{text}");
            assert_eq!(asctime(text, &utc), None, "{text}");
            assert_eq!(syslog(text, &utc), None, "{text}");
            assert_eq!(epoch(text), None, "{text}");
        }
        assert_eq!(epoch("99999999999999999999.1"), None);
        assert_eq!(epoch("1.-5"), None);
    }
}
