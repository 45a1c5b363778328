//! What tracing costs the proxy: requests per second with a tracer and without, in pairs, and the time
//! of its programs in the kernel, taken apart from those.

mod floor;
mod kernel;
mod latency;
mod must_hold;
mod scenario;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use self::kernel::Counting;
pub use self::latency::Latency;
pub use self::scenario::{SCENARIOS, Scenario};
pub use self::tools::Tool;
use self::tools::{AtWork, Targets};
use super::machine::{Machine, machine};
use super::median;
use super::site::Site;
use super::target::Target;
use super::usage::{self, Usage};
use super::wrk;
use crate::lab::process::raise_descriptors;

const CONNECTIONS: u32 = 50;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which scenarios.
    pub scenarios: Vec<Scenario>,
    /// Which tools, in all of them; none named: those that tell something there.
    pub tools: Vec<Tool>,
    /// Pairs of each.
    pub rounds: usize,
    /// Time of each half of a pair.
    pub slice: Duration,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Where it was measured.
    pub machine: Machine,
    /// Connections of clients that ask.
    pub connections: u32,
    /// Pairs of each row.
    pub rounds: usize,
    /// Seconds of each half of a pair.
    pub slice_seconds: u64,
    /// One for each scenario and tool.
    pub rows: Vec<Row>,
    /// Tools that could not be run, and why.
    pub missing: Vec<String>,
    /// What had to hold.
    pub targets: Vec<Target>,
    /// All of it did.
    pub held: bool,
}

/// A tool in a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The load.
    pub scenario: &'static str,
    /// The tracer, or `none`.
    pub tool: &'static str,
    /// Requests in a second, median.
    pub rps_median: f64,
    /// Requests in a second with it by those without, pair by pair: the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rps_ratio_median: Option<f64>,
    /// The smallest and the largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rps_ratio_spread: Option<[f64; 2]>,
    /// Time that proxy, backend and tracer spent on processors for one request, median, ns.
    pub cpu_ns_per_request: f64,
    /// The same in the quietest round, ns.
    pub cpu_ns_least: f64,
    /// How much more the quietest round took with it than the quietest of all without, ns: what a neighbour takes
    /// away comes on top of either, and never makes a request cheaper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ns_added_quiet: Option<f64>,
    /// How much more that was with it than without, pair by pair: the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ns_added_median: Option<f64>,
    /// The smallest and the largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ns_added_spread: Option<[f64; 2]>,
    /// Time of its programs for one request, all processes' calls counted, ns. Absent where it works
    /// without programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_ns_per_request: Option<f64>,
    /// The same by program.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kernel_programs: BTreeMap<String, Program>,
    /// How long requests took at half of the rate that went without a tracer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Time of its process on a processor by time that went by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_cpu_ratio: Option<f64>,
    /// Its resident memory, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
}

/// A program in the kernel.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Program {
    /// Calls for each request.
    pub calls_per_request: f64,
    /// Time of one call, ns.
    pub ns_per_call: f64,
}

/// Measures. `None`: it was told to stop.
///
/// # Errors
/// A proxy or a tool does not start, or a response is not a good one.
pub fn run(options: &Options, why502: &Path, stop: &AtomicBool) -> Result<Option<Outcome>> {
    let tools_in = |scenario: &Scenario| match options.tools.is_empty() {
        true => scenario.tools().collect(),
        false => options.tools.clone(),
    };
    let wanted: BTreeSet<Tool> = options.scenarios.iter().flat_map(tools_in).collect();
    let missing: Vec<String> = wanted.into_iter().filter_map(Tool::missing).collect();
    for why in &missing {
        eprintln!("bench: {why}");
    }
    let mut rows = Vec::new();
    for scenario in &options.scenarios {
        let mut tools = tools_in(scenario);
        tools.retain(|tool| tool.missing().is_none());
        let site = Site::start(scenario.proxy, scenario.body)?;
        let _idle = open(&site, scenario.idle)?;
        let measured = measure(options, *scenario, &site, &tools, why502, stop)?;
        let Some(measured) = measured else {
            return Ok(None);
        };
        rows.extend(measured);
    }
    let targets = must_hold::targets(&rows);
    Ok(Some(Outcome {
        machine: machine(),
        connections: CONNECTIONS,
        rounds: options.rounds,
        slice_seconds: options.slice.as_secs(),
        held: Target::all_held(&targets),
        rows,
        missing,
        targets,
    }))
}

/// One half of a pair.
#[derive(Clone, Copy)]
struct Half {
    /// Requests in a second.
    per_second: f64,
    /// Time on processors for each.
    cpu_ns: f64,
}

/// What one tool did over all rounds.
#[derive(Default)]
struct Measured {
    with: Vec<Half>,
    without: Vec<Half>,
    user_cpu: Vec<f64>,
    rss_bytes: u64,
    programs: Vec<BTreeMap<String, Program>>,
}

fn measure(
    options: &Options,
    scenario: Scenario,
    site: &Site,
    tools: &[Tool],
    why502: &Path,
    stop: &AtomicBool,
) -> Result<Option<Vec<Row>>> {
    let targets = Targets {
        proxy: site.proxy_pid(),
        worker: site.worker_pid(),
        addr: site.addr(),
        ports: [site.addr().port(), site.backend().port()],
    };
    let load = || wrk::run(site.addr(), CONNECTIONS, scenario.close, options.slice);
    let half = |tool: Option<u32>| half(site, tool, &load);
    // Until pools and caches are as they stay.
    load()?;
    let mut all: Vec<Measured> = tools.iter().map(|_| Measured::default()).collect();
    for round in 0..options.rounds {
        for (tool, measured) in tools.iter().zip(&mut all) {
            let mut without = None;
            // Whatever grows or falls over time hits both halves alike.
            let off_first = round % 2 == 0;
            if off_first {
                without = Some(half(None)?);
            }
            let loaded_before = kernel::programs()?;
            let work = AtWork::start(*tool, why502, &targets)?;
            let look = || work.pid().map(usage::of).transpose();
            let (began, before) = (Instant::now(), look()?);
            let with = half(work.pid())?;
            if let (Some(before), Some(after)) = (before, look()?) {
                measured.note(began, before, after)?;
            }
            if tool.has_programs() {
                measured.programs.push(programs(&loaded_before, &load)?);
            }
            drop(work);
            let without = match without {
                Some(without) => without,
                None => half(None)?,
            };
            measured.with.push(with);
            measured.without.push(without);
            eprintln!(
                "bench: {}, round {} of {}: {:<18} {:>6.0} of {:>6.0} requests/s ({:+.1} %), {:.1} of {:.1} us of \
                 processors for each ({:+.1} us)",
                scenario.name,
                round + 1,
                options.rounds,
                tool.name(),
                with.per_second,
                without.per_second,
                (with.per_second / without.per_second - 1.0) * 100.0,
                with.cpu_ns / 1e3,
                without.cpu_ns / 1e3,
                (with.cpu_ns - without.cpu_ns) / 1e3,
            );
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
    }
    let alone = || all.iter().flat_map(|measured| &measured.without);
    let mut rows = vec![Row {
        scenario: scenario.name,
        tool: "none",
        rps_median: median(alone().map(|half| half.per_second)),
        rps_ratio_median: None,
        rps_ratio_spread: None,
        cpu_ns_per_request: median(alone().map(|half| half.cpu_ns)),
        cpu_ns_least: least(alone()),
        cpu_ns_added_quiet: None,
        cpu_ns_added_median: None,
        cpu_ns_added_spread: None,
        kernel_ns_per_request: None,
        kernel_programs: BTreeMap::new(),
        latency: None,
        user_cpu_ratio: None,
        rss_bytes: None,
    }];
    for (tool, mut measured) in tools.iter().zip(all) {
        let programs = middle(std::mem::take(&mut measured.programs));
        eprintln!(
            "bench: {}: {:<18} {} of its programs for a request",
            scenario.name,
            tool.name(),
            match total(&programs) {
                Some(ns) => format!("{ns:.0} ns"),
                None => "no time".to_owned(),
            },
        );
        let latency = if scenario.latency && (tool.is_ours() || tool.sees_payload()) {
            let per_second = rows[0].rps_median * latency::RATE;
            latency::measure(options, *tool, why502, (site, &targets), per_second, stop)?
        } else {
            None
        };
        let quiet = rows[0].cpu_ns_least;
        rows.push(measured.row(scenario.name, tool.name(), quiet, programs, latency));
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
    }
    latency::share_spread(&mut rows);
    Ok(Some(rows))
}

/// Runs the load once. `tool`: the tracer's process.
fn half(site: &Site, tool: Option<u32>, load: &impl Fn() -> Result<wrk::Done>) -> Result<Half> {
    let on_processor = || -> Result<Duration> {
        let tool = tool.map(usage::on_processor).transpose()?;
        Ok(site.on_processor()? + tool.unwrap_or_default())
    };
    let before = on_processor()?;
    let done = load()?;
    let took = on_processor()?.saturating_sub(before);
    Ok(Half {
        per_second: done.per_second,
        cpu_ns: took.as_nanos() as f64 / done.requests as f64,
    })
}

/// Time of the programs that were loaded since, with the kernel's statistics on, which cost time themselves.
fn programs(
    loaded_before: &kernel::Programs,
    load: &impl Fn() -> Result<wrk::Done>,
) -> Result<BTreeMap<String, Program>> {
    let _counting = Counting::start()?;
    let before = kernel::programs()?;
    let done = load()?;
    let taken = kernel::between(loaded_before, &before, &kernel::programs()?);
    let called = taken.into_iter().filter(|(_, taken)| taken.calls > 0);
    let of_one = |taken: kernel::Taken| Program {
        calls_per_request: taken.calls as f64 / done.requests as f64,
        ns_per_call: taken.ns as f64 / taken.calls as f64,
    };
    Ok(called.map(|(name, taken)| (name, of_one(taken))).collect())
}

/// The run in the middle, by the time of all programs.
fn middle(mut runs: Vec<BTreeMap<String, Program>>) -> BTreeMap<String, Program> {
    let time = |run: &BTreeMap<String, Program>| total(run).unwrap_or(0.0);
    runs.sort_by(|a, b| time(a).total_cmp(&time(b)));
    let at = runs.len() / 2;
    runs.into_iter().nth(at).unwrap_or_default()
}

fn total(programs: &BTreeMap<String, Program>) -> Option<f64> {
    let each = programs
        .values()
        .map(|one| one.calls_per_request * one.ns_per_call);
    (!programs.is_empty()).then(|| each.sum())
}

impl Measured {
    fn note(&mut self, began: Instant, before: Usage, after: Usage) -> Result<()> {
        let ratio = after.cpu_ratio_since(&before, began.elapsed())?;
        self.user_cpu.push(ratio);
        self.rss_bytes = self.rss_bytes.max(after.rss_bytes);
        Ok(())
    }

    fn pairs(&self, of: impl Fn(&Half, &Half) -> f64) -> Vec<f64> {
        let pairs = self.with.iter().zip(&self.without);
        pairs.map(|(with, without)| of(with, without)).collect()
    }

    fn row(
        self,
        scenario: &'static str,
        tool: &'static str,
        quiet_without: f64,
        kernel_programs: BTreeMap<String, Program>,
        latency: Option<Latency>,
    ) -> Row {
        let ratio = |with: &Half, without: &Half| with.per_second / without.per_second;
        let added = |with: &Half, without: &Half| with.cpu_ns - without.cpu_ns;
        let (ratios, added) = (self.pairs(ratio), self.pairs(added));
        Row {
            scenario,
            tool,
            rps_median: median(self.with.iter().map(|half| half.per_second)),
            rps_ratio_median: Some(median(ratios.iter().copied())),
            rps_ratio_spread: Some(spread(&ratios)),
            cpu_ns_per_request: median(self.with.iter().map(|half| half.cpu_ns)),
            cpu_ns_least: least(self.with.iter()),
            cpu_ns_added_quiet: Some(least(self.with.iter()) - quiet_without),
            cpu_ns_added_median: Some(median(added.iter().copied())),
            cpu_ns_added_spread: Some(spread(&added)),
            kernel_ns_per_request: total(&kernel_programs),
            kernel_programs,
            latency,
            user_cpu_ratio: (self.rss_bytes > 0).then(|| median(self.user_cpu.into_iter())),
            rss_bytes: (self.rss_bytes > 0).then_some(self.rss_bytes),
        }
    }
}

/// Processor time of a request in the quietest of these, ns.
fn least<'a>(halves: impl Iterator<Item = &'a Half>) -> f64 {
    halves.map(|half| half.cpu_ns).fold(f64::INFINITY, f64::min)
}

/// The smallest and the largest.
fn spread(values: &[f64]) -> [f64; 2] {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [least, most]
}

/// Opens connections that do nothing.
fn open(site: &Site, count: usize) -> Result<Vec<TcpStream>> {
    if count > 0 {
        raise_descriptors(count + 1000);
    }
    let connect = |n| {
        TcpStream::connect(site.addr())
            .with_context(|| format!("connection {n} of {count} was refused"))
    };
    (0..count).map(connect).collect()
}

impl Outcome {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:<22} {:<18} {:>10} {:>8} {:>15} {:>10} {:>8} {:>10} {:>16} {:>10} {:>8} {:>8}\n",
            "load",
            "tracer",
            "requests/s",
            "left",
            "spread",
            "CPU each",
            "quiet",
            "added",
            "spread",
            "in kernel",
            "its CPU",
            "memory"
        );
        for row in &self.rows {
            let percent = |value: Option<f64>| {
                value.map_or_else(String::new, |value| format!("{:.1} %", value * 100.0))
            };
            let spread = row
                .rps_ratio_spread
                .map_or_else(String::new, |[least, most]| {
                    format!("{:.1} – {:.1} %", least * 100.0, most * 100.0)
                });
            let us = |ns: f64| format!("{:.1} us", ns / 1e3);
            let quiet = row.cpu_ns_added_quiet.map_or_else(String::new, us);
            let added = row.cpu_ns_added_median.map_or_else(String::new, us);
            let added_spread = row
                .cpu_ns_added_spread
                .map_or_else(String::new, |[least, most]| {
                    format!("{:.1} – {}", least / 1e3, us(most))
                });
            let kernel = row.kernel_ns_per_request;
            let kernel = kernel.map_or_else(String::new, |ns| format!("{ns:.0} ns"));
            let memory = row.rss_bytes;
            let memory = memory.map_or_else(String::new, |b| format!("{} MB", b / 1_000_000));
            text += &format!(
                "{:<22} {:<18} {:>10.0} {:>8} {:>15} {:>10} {quiet:>8} {added:>10} {added_spread:>16} {:>10} {:>8} {:>8}\n",
                row.scenario,
                row.tool,
                row.rps_median,
                percent(row.rps_ratio_median),
                spread,
                us(row.cpu_ns_per_request),
                kernel,
                percent(row.user_cpu_ratio),
                memory,
            );
        }
        text += &latency::lines(&self.rows);
        text += &Target::lines(&self.targets);
        for why in &self.missing {
            text += &format!("not measured: {why}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_in_the_middle() {
        let run = |ns_per_call| {
            let program = Program {
                calls_per_request: 2.0,
                ns_per_call,
            };
            BTreeMap::from([("a".to_owned(), program)])
        };
        let found = middle(vec![run(9.0), run(1.0), run(4.0)]);
        assert_eq!(total(&found), Some(8.0));
        assert_eq!(total(&middle(Vec::new())), None);
        // A tracer without programs.
        assert_eq!(total(&middle(vec![BTreeMap::new(); 3])), None);
    }
}
