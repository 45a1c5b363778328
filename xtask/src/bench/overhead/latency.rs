//! How long requests take at a fixed rate, with a tracer and without.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use serde::Serialize;

use super::super::median;
use super::super::open_loop::{self, Latencies, Plan};
use super::super::site::Site;
use super::super::target::Target;
use super::tools::{AtWork, Targets};
use super::{CONNECTIONS, Options, Row, Tool};

/// Share of the requests per second that go at saturation.
pub(super) const RATE: f64 = 0.5;

/// Latencies in pairs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Medians over the rounds, with the tracer.
    pub with: Latencies,
    /// The same without.
    pub without: Latencies,
    /// The smallest and the largest 99th percentile of the load without any tracer, us.
    pub p99_us_spread_without: [f64; 2],
}

/// `None`: it was told to stop.
pub(super) fn measure(
    options: &Options,
    tool: Tool,
    why502: &Path,
    (site, targets): (&Site, &Targets),
    per_second: f64,
    stop: &AtomicBool,
) -> Result<Option<Latency>> {
    let plan = Plan {
        per_second,
        connections: CONNECTIONS,
        duration: options.slice,
    };
    let load = || open_loop::run(site.addr(), plan);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let off_first = round % 2 == 0;
        if off_first {
            without.push(load()?);
        }
        let work = AtWork::start(tool, why502, targets)?;
        with.push(load()?);
        drop(work);
        if !off_first {
            without.push(load()?);
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
    }
    let found = Latency {
        with: middle(&with, per_second),
        without: middle(&without, per_second),
        p99_us_spread_without: spread(&without),
    };
    eprintln!(
        "bench: {:<18} 99 of 100 requests within {:.0} us, without within {:.0} us, at {per_second:.0}/s",
        tool.name(),
        found.with.p99_us,
        found.without.p99_us,
    );
    Ok(Some(found))
}

fn middle(rounds: &[Latencies], per_second: f64) -> Latencies {
    let of = |pick: fn(&Latencies) -> f64| median(rounds.iter().map(pick));
    Latencies {
        per_second,
        p50_us: of(|one| one.p50_us),
        p99_us: of(|one| one.p99_us),
        p999_us: of(|one| one.p999_us),
    }
}

fn spread(rounds: &[Latencies]) -> [f64; 2] {
    let each = || rounds.iter().map(|one| one.p99_us);
    [
        each().fold(f64::INFINITY, f64::min),
        each().fold(0.0, f64::max),
    ]
}

/// Of a load the rounds without a tracer are alike, whichever tracer they stand beside: their spread is that of
/// all of them.
pub(super) fn share_spread(rows: &mut [Row]) {
    let found = || rows.iter().filter_map(|row| row.latency);
    let spreads = found().map(|one| one.p99_us_spread_without);
    let Some(all) = spreads.reduce(|[a, b], [c, d]| [a.min(c), b.max(d)]) else {
        return;
    };
    for latency in rows.iter_mut().filter_map(|row| row.latency.as_mut()) {
        latency.p99_us_spread_without = all;
    }
}

/// What has to hold of ours.
pub(super) fn target(ours: &Row) -> Option<Target> {
    let found = ours.latency?;
    let [least, most] = found.p99_us_spread_without;
    Some(Target {
        what: format!(
            "{}: {}: at {:.0} requests/s 99 of 100 take at most {:.0} us; without it {least:.0} to {most:.0} us",
            ours.scenario, ours.tool, found.with.per_second, found.with.p99_us,
        ),
        held: found.with.p99_us <= most,
    })
}

/// For people.
pub(super) fn lines(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let found = row.latency?;
        let [least, most] = found.p99_us_spread_without;
        Some(format!(
            "{} at {:.0} requests/s, {}: p50 {:.0} us (without {:.0}), p99 {:.0} us (without {:.0}, from \
             {least:.0} to {most:.0})\n",
            row.scenario,
            found.with.per_second,
            row.tool,
            found.with.p50_us,
            found.without.p50_us,
            found.with.p99_us,
            found.without.p99_us,
        ))
    };
    rows.iter().filter_map(line).collect()
}
