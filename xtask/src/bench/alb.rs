//! An access log of an Application Load Balancer that never was, the same each time.

use std::fmt::Write as _;
use std::io::{self, Write};

/// 2026-11-22T00:00:00Z, ms since the epoch.
const MIDNIGHT_MS: u64 = 1_795_305_600_000;
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1",
    "curl/8.5.0",
    "python-requests/2.32.3",
    "okhttp/4.12.0",
];
const PLACES: [&str; 8] = [
    "/",
    "/cart",
    "/api/v1/items/",
    "/api/v1/users/",
    "/search?q=",
    "/static/js/app.",
    "/checkout/confirm?order=",
    "/images/products/",
];

/// Lines of the log, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Log {
    chance: Chance,
    now_ms: u64,
}

/// Splitmix64: <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

impl Log {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            chance: Chance(seed),
            now_ms: MIDNIGHT_MS,
        }
    }

    /// Writes at least so many bytes; gives how many, and how many lines have the status 502.
    pub(super) fn write(&mut self, bytes: u64, out: &mut impl Write) -> io::Result<(u64, u64)> {
        let (mut written, mut bad_gateways) = (0, 0);
        let mut line = String::new();
        while written < bytes {
            line.clear();
            bad_gateways += u64::from(self.line(&mut line));
            out.write_all(line.as_bytes())?;
            written += line.len() as u64;
        }
        Ok((written, bad_gateways))
    }

    /// Is it a 502?
    fn line(&mut self, line: &mut String) -> bool {
        let chance = &mut self.chance;
        self.now_ms += chance.below(40);
        let (status, target_status) = match chance.below(10_000) {
            0..20 => ("502", "-"),
            20..25 => ("502", "502"),
            25..35 => ("504", "-"),
            35..40 => ("503", "-"),
            40..50 => ("460", "-"),
            50..400 => ("404", "404"),
            400..900 => ("304", "304"),
            900..1_000 => ("301", "301"),
            1_000..1_050 => ("400", "400"),
            _ => ("200", "200"),
        };
        let target = format!("192.0.2.{}:8080", 20 + chance.below(12));
        let times = match (status, target_status) {
            ("503", _) => "-1 -1 -1".to_owned(),
            (_, "-") => "0.000 -1 -1".to_owned(),
            // Most are fast, some are slow.
            _ => {
                let magnitude = chance.below(14);
                let slow = chance.below(1 << magnitude);
                format!("0.000 {}.{:03} 0.000", slow / 1000, slow % 1000)
            }
        };
        let target = if status == "503" {
            "-"
        } else {
            target.as_str()
        };
        let time = time(self.now_ms, chance.below(1_000));
        let created = time_of(self.now_ms - chance.below(300));
        let method = ["GET", "GET", "GET", "POST", "PUT"][chance.below(5) as usize];
        let place = PLACES[chance.below(8) as usize];
        let agent = AGENTS[chance.below(6) as usize];
        let (id, trace) = (chance.below(1 << 20), chance.next());
        let _infallible = writeln!(
            line,
            "https {time} app/shop/50dc6c495c0c9188 203.0.113.{}:{} {target} {times} {status} \
             {target_status} {} {} \"{method} https://shop.example.com:443{place}{id} HTTP/1.1\" \
             \"{agent}\" TLS_AES_128_GCM_SHA256 TLSv1.3 \
             arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/shop/73e2d6bc24d8a067 \
             \"Root=1-{:08x}-{trace:016x}{:08x}\" \"shop.example.com\" \
             \"arn:aws:acm:eu-west-1:123456789012:certificate/12345678-1234-1234-1234-123456789012\" \
             0 {created} \"forward\" \"-\" \"-\" \"{target}\" \"{target_status}\" \"-\" \"-\" \
             TID_{:016x}{:016x}",
            chance.below(254) + 1,
            1024 + chance.below(60_000),
            200 + chance.below(2_000),
            chance.below(40_000),
            self.now_ms / 1000,
            chance.below(1 << 32),
            chance.next(),
            chance.next(),
        );
        status == "502"
    }
}

fn time(unix_ms: u64, us: u64) -> String {
    let whole = time_of(unix_ms);
    format!("{}{us:03}Z", whole.trim_end_matches("000Z"))
}

/// `2026-11-22T07:31:02.417000Z`; the log never gets to the next month.
fn time_of(unix_ms: u64) -> String {
    let since = unix_ms.saturating_sub(MIDNIGHT_MS);
    let (seconds, ms) = (since / 1000, since % 1000);
    let (day, hour) = (22 + seconds / 86_400, seconds / 3600 % 24);
    let (minute, second) = (seconds / 60 % 60, seconds % 60);
    format!("2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}000Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_log() {
        let log = |seed| {
            let mut out = Vec::new();
            let counted = Log::new(seed).write(2_000_000, &mut out).unwrap();
            (counted, String::from_utf8(out).unwrap())
        };
        let (first, again) = (log(7), log(7));
        assert_eq!(first, again);
        assert_ne!(first.1, log(8).1);
        let ((bytes, bad_gateways), text) = first;
        assert_eq!(bytes, text.len() as u64);
        let nine = |line: &str| line.split(' ').nth(8).map(str::to_owned);
        let found = text
            .lines()
            .filter(|line| nine(line).as_deref() == Some("502"));
        assert_eq!(found.count() as u64, bad_gateways);
        assert!(bad_gateways > 0);
        let time = |line: &str| line.split(' ').nth(1).map(str::len);
        assert!(
            text.lines().all(|line| time(line) == Some(27)),
            "{text:.600}"
        );
    }
}
