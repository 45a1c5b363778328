//! What `why502 agent` costs while all is well: NGINX with healthy requests at a fixed rate, the agent
//! with everything on that it has by default, and Prometheus's reader.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::load::{Load, WARM_UP};
use super::machine::{Machine, machine};
use super::median;
use super::site::Site;
use super::target::Target;
use super::usage::{self, Usage};
use crate::lab::agent::{Agent, Settings};
use crate::lab::proxy::Kind;

/// Most of one core that the agent may take, as a share.
pub const CPU_MAX: f64 = 0.01;
/// Most memory that it may have resident while all is well, bytes.
pub const RSS_MAX_BYTES: u64 = 40_000_000;
/// A machine that is too small for the load says nothing about it: this share of the rate must be there.
pub const RATE_MIN: f64 = 0.95;
/// Between two readings of its metrics, as a Prometheus would have it.
const SCRAPE: Duration = Duration::from_secs(5);
const CONNECTIONS: u64 = 50;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Requests in a second.
    pub per_second: u64,
    /// How long each round takes.
    pub duration: Duration,
    /// How often.
    pub rounds: usize,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Where it was measured.
    pub machine: Machine,
    /// Requests in a second that were wanted.
    pub requests_per_second_wanted: u64,
    /// Connections of clients, all kept open.
    pub connections: u64,
    /// One for each round.
    pub rounds: Vec<Round>,
    /// Median over the rounds: time on a processor by time that went by, 1.0 being one core.
    pub user_cpu_ratio: f64,
    /// Most resident memory that was seen in any round, bytes.
    pub rss_bytes: u64,
    /// Most resident memory of its whole life, loading the kernel programs included, bytes.
    pub peak_rss_bytes: u64,
    /// Records that were lost.
    pub lost_records: u64,
    /// Failures that it found, of which there were none.
    pub cases: u64,
    /// What had to hold.
    pub targets: Vec<Target>,
    /// All of it did.
    pub held: bool,
}

/// One stretch of load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Round {
    /// Requests that were answered in a second.
    pub requests_per_second: f64,
    /// Time on a processor by time that went by.
    pub user_cpu_ratio: f64,
    /// Resident memory at its end, bytes.
    pub rss_bytes: u64,
}

/// Measures. `None`: it was told to stop.
///
/// # Errors
/// Something that is needed is missing or does not start.
pub fn run(options: Options, why502: &Path, stop: &AtomicBool) -> Result<Option<Outcome>> {
    let site = Site::start(Kind::Nginx, 3)?;
    let settings = Settings {
        capture: format!("pids = [{}]", site.proxy_pid()),
        ..Settings::default()
    };
    let agent = Agent::start(why502, &settings)?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let Some(round) = round(options, &site, &agent, stop)? else {
            return Ok(None);
        };
        eprintln!(
            "bench: round {number} of {}: {:.0} requests/s, agent {:.3} % of a core, {:.1} MB",
            options.rounds,
            round.requests_per_second,
            round.user_cpu_ratio * 100.0,
            round.rss_bytes as f64 / 1e6,
        );
        rounds.push(round);
    }
    let page = agent.get("/metrics", "text/plain")?;
    let sum = |family: &str| sum(&page, family);
    let usage = usage::of(agent.running.pid())?;
    Ok(Some(outcome(
        options,
        rounds,
        usage,
        [sum("why502_losses_total"), sum("why502_cases_total")],
    )))
}

fn round(options: Options, site: &Site, agent: &Agent, stop: &AtomicBool) -> Result<Option<Round>> {
    let load = Load {
        per_second: options.per_second,
        connections: CONNECTIONS,
        duration: options.duration,
    };
    let loading = load.start(site.addr())?;
    std::thread::sleep(WARM_UP + Duration::from_millis(500));
    let (began, before) = (Instant::now(), usage::of(agent.running.pid())?);
    // It ends before the load does.
    let until = began + options.duration.saturating_sub(Duration::from_secs(1));
    let mut scraped = began;
    while Instant::now() < until {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
        if scraped.elapsed() >= SCRAPE {
            scraped = Instant::now();
            agent.get("/metrics", "application/openmetrics-text")?;
        }
    }
    let (took, after) = (began.elapsed(), usage::of(agent.running.pid())?);
    let done = loading.wait(options.duration + Duration::from_secs(20))?;
    ensure!(
        done.succeeded == done.requests,
        "{} of {} requests did not succeed",
        done.requests - done.succeeded,
        done.requests
    );
    Ok(Some(Round {
        requests_per_second: done.per_second,
        user_cpu_ratio: after.cpu_ratio_since(&before, took)?,
        rss_bytes: after.rss_bytes.max(before.rss_bytes),
    }))
}

fn outcome(options: Options, rounds: Vec<Round>, usage: Usage, counted: [u64; 2]) -> Outcome {
    let [lost_records, cases] = counted;
    let user_cpu_ratio = median(rounds.iter().map(|round| round.user_cpu_ratio));
    let rate = median(rounds.iter().map(|round| round.requests_per_second));
    let rss_bytes = rounds.iter().map(|round| round.rss_bytes).max();
    let rss_bytes = rss_bytes.unwrap_or(usage.rss_bytes);
    let targets = vec![
        Target {
            what: format!(
                "{rate:.0} requests/s were made of {} wanted; with less than {:.0} % of them the rest \
                 says little",
                options.per_second,
                RATE_MIN * 100.0
            ),
            held: rate >= options.per_second as f64 * RATE_MIN,
        },
        Target {
            what: format!(
                "the agent takes {:.3} % of a core, less than {:.0} % is wanted",
                user_cpu_ratio * 100.0,
                CPU_MAX * 100.0
            ),
            held: user_cpu_ratio < CPU_MAX,
        },
        Target {
            what: format!(
                "it has {:.1} MB resident, less than {} MB is wanted",
                rss_bytes as f64 / 1e6,
                RSS_MAX_BYTES / 1_000_000
            ),
            held: rss_bytes < RSS_MAX_BYTES,
        },
        Target {
            what: format!("{cases} failures were found where there are none"),
            held: cases == 0,
        },
        Target {
            what: format!("{lost_records} records were lost"),
            held: lost_records == 0,
        },
    ];
    Outcome {
        machine: machine(),
        requests_per_second_wanted: options.per_second,
        connections: CONNECTIONS,
        user_cpu_ratio,
        rss_bytes,
        peak_rss_bytes: usage.peak_rss_bytes,
        lost_records,
        cases,
        held: Target::all_held(&targets),
        rounds,
        targets,
    }
}

/// The sum of a family's samples in the classic text form.
fn sum(page: &str, family: &str) -> u64 {
    let samples = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(family)?;
        let labelled = rest.starts_with(['{', ' ']);
        let value = rest.rsplit_once(' ')?.1.parse::<f64>().ok()?;
        labelled.then_some(value)
    });
    samples.sum::<f64>() as u64
}

impl Outcome {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = Target::lines(&self.targets);
        text.push_str(&format!(
            "most memory ever, with the loading of the kernel programs: {:.1} MB\n",
            self.peak_rss_bytes as f64 / 1e6
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_hold() {
        let options = Options {
            per_second: 100,
            duration: Duration::from_secs(1),
            rounds: 3,
        };
        let held = |rate: f64, cpu: f64, rss_bytes, counted| {
            let round = |requests_per_second, user_cpu_ratio| Round {
                requests_per_second,
                user_cpu_ratio,
                rss_bytes,
            };
            let rounds = vec![round(rate, 0.9), round(rate, cpu), round(rate, 0.0)];
            let usage = Usage {
                cpu: Duration::ZERO,
                rss_bytes,
                peak_rss_bytes: u64::MAX,
            };
            let outcome = outcome(options, rounds, usage, counted);
            assert_eq!(outcome.held, outcome.targets.iter().all(|t| t.held));
            let held = outcome.targets.iter().map(|target| target.held);
            held.collect::<Vec<bool>>()
        };
        assert_eq!(held(100.0, 0.009, 39_000_000, [0, 0]), [true; 5]);
        assert_eq!(held(94.0, 0.01, 40_000_000, [1, 1]), [false; 5]);
    }

    #[test]
    fn samples_of_a_family() {
        let page = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"b c\"} 3\na_total_more 9\n\
                    b_total 4\n";
        assert_eq!(sum(page, "a_total"), 5);
        assert_eq!(sum(page, "b_total"), 4);
        assert_eq!(sum(page, "c_total"), 0);
    }
}
