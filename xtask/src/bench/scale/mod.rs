//! What becomes of why502 when there is much: many connections that are open, many that come and go, many
//! failures at once.

mod burst;
mod churn;
mod clients;
mod many;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value;

pub use self::burst::Burst;
pub use self::churn::Churn;
pub use self::clients::{CLIENTS_COMMAND, hold};
pub use self::many::Many;
use super::machine::{Machine, machine};
use super::target::Target;
use super::usage::{self, Usage};
use crate::lab::capture::{Capture, Ended, Output};

/// Most memory that the process may have resident with all those connections, bytes.
pub const RSS_MAX_BYTES: u64 = 40_000_000;
/// Most of one core that it may take while all is well, as a share.
pub const CPU_MAX: f64 = 0.01;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections that are open at a time.
    pub connections: usize,
    /// Time of the other two.
    pub time: Duration,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Where it was measured.
    pub machine: Machine,
    /// Many connections that are open.
    pub many: Many,
    /// Many connections that come and go.
    pub churn: Churn,
    /// Many failures.
    pub burst: Burst,
    /// What had to hold.
    pub targets: Vec<Target>,
    /// All of it did.
    pub held: bool,
}

/// What a capture counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Failures.
    pub cases: u64,
    /// Records and table entries that were lost, of all kinds.
    pub lost: u64,
}

impl Counted {
    fn of(ended: &Ended) -> Result<Self> {
        let footers = ended.of_type("footer");
        let (_, footer) = footers.first().context("the capture wrote no footer")?;
        let losses = ended.of_type("loss").into_iter();
        let losses: Vec<Value> = losses.map(|(_, loss)| loss).collect();
        for loss in &losses {
            eprintln!("bench: lost: {loss}");
        }
        Ok(Self {
            cases: footer["totals"]["cases"].as_u64().context("no total")?,
            lost: losses
                .iter()
                .filter_map(|loss| loss["count"].as_u64())
                .sum(),
        })
    }
}

/// A capture under a load.
struct Watched {
    capture: Capture,
    began: Instant,
    before: Usage,
}

/// What its process took meanwhile.
struct Cost {
    took: Duration,
    cpu_ratio: f64,
    before: Usage,
    after: Usage,
}

impl Watched {
    fn start(why502: &Path, args: &[&str]) -> Result<Self> {
        let capture = Capture::start(why502, args, Output::Collect)?;
        Ok(Self {
            before: usage::of(capture.pid())?,
            began: Instant::now(),
            capture,
        })
    }

    fn pid(&self) -> u32 {
        self.capture.pid()
    }

    /// Ends it. Errors: it failed.
    fn end(self) -> Result<(Cost, Ended)> {
        let took = self.began.elapsed();
        let after = usage::of(self.capture.pid())?;
        let cost = Cost {
            took,
            cpu_ratio: after.cpu_ratio_since(&self.before, took)?,
            before: self.before,
            after,
        };
        let ended = self.capture.stop()?;
        ensure!(ended.code == 0, "why502 failed: {}", ended.stderr);
        Ok((cost, ended))
    }
}

/// Measures. `None`: it was told to stop.
///
/// # Errors
/// Something that is needed is missing or does not start.
pub fn run(options: Options, why502: &Path, stop: &AtomicBool) -> Result<Option<Outcome>> {
    let told = || stop.load(Ordering::Relaxed);
    eprintln!("bench: connections that are open");
    let Some(many) = many::run(options.connections, why502, stop)? else {
        return Ok(None);
    };
    eprintln!("bench: connections that come and go");
    let churn = churn::run(options.time, why502)?;
    if told() {
        return Ok(None);
    }
    eprintln!("bench: failures");
    let burst = burst::run(options.time, why502)?;
    let targets = targets(&many, &churn, &burst);
    Ok(Some(Outcome {
        machine: machine(),
        held: Target::all_held(&targets),
        many,
        churn,
        burst,
        targets,
    }))
}

/// No capture counts a failure or a loss while all is well.
fn nothing_counted(load: &str, counted: Counted) -> Target {
    Target {
        what: format!(
            "{load}: {} failures that were none, {} records lost",
            counted.cases, counted.lost
        ),
        held: counted == Counted::default(),
    }
}

fn targets(many: &Many, churn: &Churn, burst: &Burst) -> Vec<Target> {
    let target = |held, what| Target { what, held };
    vec![
        target(
            many.rss_bytes < RSS_MAX_BYTES,
            format!(
                "{:.1} MB resident with {} connections, less than {} MB is wanted",
                many.rss_bytes as f64 / 1e6,
                many.connections,
                RSS_MAX_BYTES / 1_000_000
            ),
        ),
        nothing_counted(&format!("{} connections", many.connections), many.counted),
        target(
            churn.user_cpu_ratio <= CPU_MAX,
            format!(
                "{:.2} % of a core while {:.0} connections come and go in a second, at most {:.0} % is wanted",
                churn.user_cpu_ratio * 100.0,
                churn.connections_per_second,
                CPU_MAX * 100.0
            ),
        ),
        nothing_counted(
            &format!("{:.0} connections a second", churn.connections_per_second),
            churn.counted,
        ),
        target(
            // The client does not count what was under way when it ended.
            (burst.failures..=burst.failures + u64::from(burst::CONNECTIONS))
                .contains(&burst.counted.cases)
                || burst.counted.lost > 0 && burst.counted.cases < burst.failures,
            format!(
                "{:.0} failures a second: of {} {} have a case, and {} records are counted as lost",
                burst.failures_per_second, burst.failures, burst.counted.cases, burst.counted.lost
            ),
        ),
    ]
}

impl Outcome {
    /// For people.
    pub fn text(&self) -> String {
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let (many, churn, burst) = (&self.many, &self.churn, &self.burst);
        let mut text = format!(
            "{} connections open: {} resident ({} before), {} in the kernel ({} before), {:.2} % of a core while they \
             are opened at {:.0}/s\n",
            many.connections,
            megabytes(many.rss_bytes),
            megabytes(many.rss_bytes_before),
            megabytes(many.kernel_bytes),
            megabytes(many.kernel_bytes_before),
            many.user_cpu_ratio * 100.0,
            many.opened_per_second,
        );
        text += &format!(
            "{:.0} connections a second: {:.2} % of a core, {} resident\n",
            churn.connections_per_second,
            churn.user_cpu_ratio * 100.0,
            megabytes(churn.rss_bytes),
        );
        text += &format!(
            "{:.0} failures a second for {:.1} s: {:.0} % of a core, at most {} resident, a case stands in the output \
             {:.0} ms behind its end (half of them; {:.0} ms at most)\n",
            burst.failures_per_second,
            burst.seconds,
            burst.user_cpu_ratio * 100.0,
            megabytes(burst.peak_rss_bytes),
            burst.delay_ms_median,
            burst.delay_ms_most,
        );
        text + &Target::lines(&self.targets)
    }
}
