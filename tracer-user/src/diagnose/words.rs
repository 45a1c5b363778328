//! Numbers in words.

/// A duration for a reader: three or four digits and a unit.
pub(crate) fn duration(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1000),
        1_000_000..10_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        10_000_000..1_000_000_000 => format!("{:.0} ms", ns as f64 / 1e6),
        1_000_000_000..100_000_000_000 => format!("{:.3} s", ns as f64 / 1e9),
        _ => format!("{:.0} s", ns as f64 / 1e9),
    }
}

/// `1 byte`, `412 bytes`.
pub(crate) fn bytes(count: u64) -> String {
    plural(count, "byte")
}

/// `1 time`, `3 times`.
pub(crate) fn times(count: u64) -> String {
    plural(count, "time")
}

fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (ns, text) in [
            (311_000, "311 µs"),
            (1_240_000, "1.24 ms"),
            (212_000_000, "212 ms"),
            (4_999_000_000, "4.999 s"),
            (120_000_000_000, "120 s"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }

    #[test]
    fn counts() {
        assert_eq!(bytes(1), "1 byte");
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(times(3), "3 times");
    }
}
