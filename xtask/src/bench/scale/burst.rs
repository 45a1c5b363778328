//! A backend that is gone: each request is a failure.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use serde::Serialize;

use super::super::site::Site;
use super::super::{median, wrk};
use super::{Counted, Watched};
use crate::lab::capture::Ended;
use crate::lab::proxy::Kind;

/// Connections of clients that ask.
pub(super) const CONNECTIONS: u32 = 50;

/// What came out.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Burst {
    /// Responses 502 that clients got.
    pub failures: u64,
    /// In a second.
    pub failures_per_second: f64,
    /// For how long.
    pub seconds: f64,
    /// Time of the process on a processor by time that went by.
    pub user_cpu_ratio: f64,
    /// Most resident memory, bytes.
    pub peak_rss_bytes: u64,
    /// From a failure's end to its line in the output: half of those that are written one by one, ms.
    pub delay_ms_median: f64,
    /// The longest, ms.
    pub delay_ms_most: f64,
    /// What the capture counted.
    pub counted: Counted,
}

pub(super) fn run(time: Duration, why502: &Path) -> Result<Burst> {
    let mut site = Site::start(Kind::Nginx, 3)?;
    site.end_backend();
    let pid = site.proxy_pid().to_string();
    let args = ["--pid", &pid, "--format", "ndjson"];
    let watched = Watched::start(why502, &args)?;
    let (clock, wall) = (Instant::now(), SystemTime::now());
    let done = wrk::run_failing(site.addr(), CONNECTIONS, time)?;
    let (cost, ended) = watched.end()?;
    let delays = delays(&ended, clock, wall);
    Ok(Burst {
        failures: done.requests,
        failures_per_second: done.per_second,
        seconds: cost.took.as_secs_f64(),
        user_cpu_ratio: cost.cpu_ratio,
        peak_rss_bytes: cost.after.peak_rss_bytes,
        delay_ms_median: median(delays.iter().copied()),
        delay_ms_most: delays.iter().copied().fold(0.0, f64::max),
        counted: Counted::of(&ended)?,
    })
}

/// From the time of each case to that at which its line was read, ms.
fn delays(ended: &Ended, clock: Instant, wall: SystemTime) -> Vec<f64> {
    let cases = ended.of_type("case").into_iter();
    let delay = |(read, case): (Instant, serde_json::Value)| {
        let at = humantime::parse_rfc3339(case["time"].as_str()?).ok()?;
        let at = clock + at.duration_since(wall).ok()?;
        Some(read.saturating_duration_since(at).as_secs_f64() * 1e3)
    };
    cases.filter_map(delay).collect()
}
