//! Durations and sizes as the two proxies write them.

/// An NGINX duration, ms: `60`, `90s`, `1h30m`, `500ms`; a bare number is seconds. Units come in
/// falling order, as in `ngx_parse_time` (<https://nginx.org/en/docs/syntax.html>).
pub(super) fn nginx_ms(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("y", 365 * 86_400_000),
        ("M", 30 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = None;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let unit_len = after
            .bytes()
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        let (unit, after) = after.split_at(unit_len);
        let (place, scale) = match unit {
            "" if after.is_empty() && smallest.is_none_or(|place| place < 6) => (6, 1_000),
            _ => {
                let place = UNITS.iter().position(|(name, _)| *name == unit)?;
                if smallest.is_some_and(|smallest| place <= smallest) {
                    return None;
                }
                (place, UNITS[place].1)
            }
        };
        smallest = Some(place);
        total = total.checked_add(number.checked_mul(scale)?)?;
        rest = after.trim_start_matches(' ');
    }
    smallest.map(|_| total)
}

/// An NGINX size, bytes: `4096`, `4k`, `1M`.
pub(super) fn nginx_bytes(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text)?;
    let scale = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        _ => return None,
    };
    number.checked_mul(scale)
}

/// A HAProxy duration, ms: `5s`, `500ms`, `1500us`; a bare number is ms
/// (<https://docs.haproxy.org/2.8/configuration.html#2.5>). Parts of a ms are rounded up.
pub(super) fn haproxy_ms(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text)?;
    match unit {
        "us" => Some(number.div_ceil(1000)),
        "" | "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    }
}

/// A HAProxy size, bytes: `16384`, `16k`.
pub(super) fn haproxy_bytes(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text)?;
    let scale = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        _ => return None,
    };
    number.checked_mul(scale)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_durations() {
        for (text, want) in [
            ("60", Some(60_000)),
            ("60s", Some(60_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("1h30m", Some(5_400_000)),
            ("1h 30m", Some(5_400_000)),
            ("1M", Some(2_592_000_000)),
            ("1m30", Some(90_000)),
            ("1s500ms", Some(1_500)),
            ("1s1m", None),
            ("1s1s", None),
            ("", None),
            ("s", None),
            ("-1", None),
            ("$t", None),
            ("1.5s", None),
            ("99999999999999999999", None),
            ("99999999999999y", None),
        ] {
            assert_eq!(nginx_ms(text), want, "{text}");
        }
    }

    #[test]
    fn haproxy_durations() {
        for (text, want) in [
            ("5000", Some(5_000)),
            ("5s", Some(5_000)),
            ("100us", Some(1)),
            ("1d", Some(86_400_000)),
            ("0", Some(0)),
            ("5x", None),
            ("", None),
        ] {
            assert_eq!(haproxy_ms(text), want, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("4096", Some(4096)),
            ("4k", Some(4096)),
            ("1M", Some(1 << 20)),
            ("4kb", None),
            ("k", None),
            ("18446744073709551615m", None),
        ] {
            assert_eq!(nginx_bytes(text), want, "{text}");
            assert_eq!(haproxy_bytes(text), want, "{text}");
        }
    }
}
