//! What the agent tells of itself: for Prometheus and for a health check.

use std::collections::BTreeMap;
use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::event::Losses;
use crate::export::{Family, Label, Point, Points};

/// Figures of the agent, kept current by its loop.
#[derive(Clone, Debug)]
pub(super) struct Vitals {
    pub(super) started_unix_s: f64,
    pub(super) uptime_s: f64,
    pub(super) traced: u64,
    /// By outcome.
    pub(super) cases: BTreeMap<&'static str, u64>,
    pub(super) losses: Losses,
    pub(super) lookback_bytes: u64,
    pub(super) lookback_limit_bytes: u64,
    pub(super) lookback_seconds: f64,
    pub(super) lookback_refused: u64,
    /// By reason and result.
    pub(super) snapshots: BTreeMap<(&'static str, &'static str), u64>,
    /// By result.
    pub(super) reloads: BTreeMap<&'static str, u64>,
    pub(super) clock_steps: u64,
    pub(super) sessions: u64,
    /// Requests and responses are looked at; else tracing stands by.
    pub(super) tracing: bool,
    /// Times that it ceased to.
    pub(super) wakes: u64,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            started_unix_s: 0.0,
            uptime_s: 0.0,
            traced: 0,
            cases: BTreeMap::new(),
            losses: Losses::new(),
            lookback_bytes: 0,
            lookback_limit_bytes: 0,
            lookback_seconds: 0.0,
            lookback_refused: 0,
            snapshots: BTreeMap::new(),
            reloads: BTreeMap::new(),
            clock_steps: 0,
            sessions: 0,
            tracing: true,
            wakes: 0,
        }
    }
}

impl Vitals {
    /// As metrics, with the memory and processor time of now.
    pub(super) fn families(&self) -> Vec<Family> {
        let memory = resident_bytes().map(|bytes| Point::new(Vec::new(), bytes as f64));
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        let version = vec![("version", env!("CARGO_PKG_VERSION").into())];
        let snapshots = self.snapshots.iter().map(|((reason, result), count)| {
            let labels = vec![("reason", (*reason).into()), ("result", (*result).into())];
            Point::new(labels, *count)
        });
        vec![
            Family::new(
                "why502.agent.info",
                "1",
                "The agent's version.",
                Points::Gauge(vec![Point::new(version, 1.0)]),
            ),
            Family::new(
                "process.start_time",
                "s",
                "When the agent started, in seconds since the epoch.",
                gauge(self.started_unix_s),
            ),
            Family::new(
                "why502.agent.uptime",
                "s",
                "Time since the agent started, by the monotonic clock.",
                gauge(self.uptime_s),
            ),
            Family::new(
                "process.resident_memory",
                "By",
                "Memory that the agent holds.",
                Points::Gauge(memory.into_iter().collect()),
            ),
            Family::new(
                "process.cpu",
                "s",
                "Processor time that the agent has used.",
                Points::Sum(vec![Point::new(Vec::new(), cpu)]),
            ),
            Family::new(
                "why502.agent.traced_processes",
                "{process}",
                "Proxy processes that are traced.",
                gauge(self.traced as f64),
            ),
            Family::new(
                "why502.agent.cases",
                "{case}",
                "Failures that were found.",
                counters("outcome", self.cases.iter().map(|(name, n)| (*name, *n))),
            ),
            Family::new(
                "why502.agent.records_lost",
                "{record}",
                "Records that were lost, by the place.",
                counters("kind", self.losses.iter().cloned()),
            ),
            Family::new(
                "why502.agent.lookback",
                "By",
                "Memory of the look-back.",
                gauge(self.lookback_bytes as f64),
            ),
            Family::new(
                "why502.agent.lookback_limit",
                "By",
                "Most memory that the look-back may take.",
                gauge(self.lookback_limit_bytes as f64),
            ),
            Family::new(
                "why502.agent.lookback",
                "s",
                "How far the look-back reaches.",
                gauge(self.lookback_seconds),
            ),
            Family::new(
                "why502.agent.lookback_refused",
                "{input}",
                "Inputs that were too large for the look-back.",
                counter(self.lookback_refused),
            ),
            Family::new(
                "why502.agent.snapshots",
                "{snapshot}",
                "Snapshots of the look-back.",
                Points::Counter(snapshots.collect()),
            ),
            Family::new(
                "why502.agent.reloads",
                "{reload}",
                "Times that the configuration was read again.",
                counters("result", self.reloads.iter().map(|(name, n)| (*name, *n))),
            ),
            Family::new(
                "why502.agent.clock_steps",
                "{step}",
                "Times that the wall clock was set.",
                counter(self.clock_steps),
            ),
            Family::new(
                "why502.agent.sessions",
                "{session}",
                "Times that tables were begun anew.",
                counter(self.sessions),
            ),
            Family::new(
                "why502.agent.tracing",
                "1",
                "1 while requests and responses are looked at, 0 while tracing stands by.",
                gauge(f64::from(u8::from(self.tracing))),
            ),
            Family::new(
                "why502.agent.wakes",
                "{wake}",
                "Times that a first sign of a failure was seen while tracing stood by.",
                counter(self.wakes),
            ),
        ]
    }

    /// For a health check: one JSON object.
    pub(super) fn health(&self) -> String {
        let health = serde_json::json!({
            "status": "ok",
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.uptime_s as u64,
            "traced_processes": self.traced,
            "tracing": self.tracing,
            "cases": self.cases.values().sum::<u64>(),
        });
        format!("{health}\n")
    }
}

fn gauge(value: f64) -> Points {
    Points::Gauge(vec![Point::new(Vec::new(), value)])
}

fn counter(count: u64) -> Points {
    Points::Counter(vec![Point::new(Vec::new(), count)])
}

/// One for each value of a label.
fn counters(label: &'static str, counts: impl Iterator<Item = (impl Into<Label>, u64)>) -> Points {
    let points = counts.map(|(value, count)| Point::new(vec![(label, value.into())], count));
    Points::Counter(points.collect())
}

/// The second number of `/proc/self/statm`, in pages.
pub(super) fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::prometheus::{Exposition, text};

    #[test]
    fn both_forms() {
        let mut vitals = Vitals::default();
        vitals.cases.insert("error-response", 7);
        vitals.losses = vec![("a\"b".into(), 2)];
        vitals.snapshots.insert(("burst", "written"), 1);
        let families = vitals.families();
        let classic = text(&families, Exposition::Classic);
        for line in [
            "# TYPE why502_agent_cases_total counter",
            "why502_agent_cases_total{outcome=\"error-response\"} 7",
            "why502_agent_records_lost_total{kind=\"a\\\"b\"} 2",
            "why502_agent_snapshots_total{reason=\"burst\",result=\"written\"} 1",
            "why502_agent_traced_processes 0",
            "why502_agent_lookback_limit_bytes 0",
            "why502_agent_lookback_seconds 0",
            "# TYPE process_cpu_seconds_total counter",
            "# TYPE process_resident_memory_bytes gauge",
            "process_start_time_seconds 0",
        ] {
            assert!(classic.lines().any(|l| l == line), "{line}\n{classic}");
        }
        let open = text(&families, Exposition::OpenMetrics);
        for line in [
            "# TYPE why502_agent_cases counter",
            "why502_agent_cases_total{outcome=\"error-response\"} 7",
        ] {
            assert!(open.lines().any(|l| l == line), "{line}\n{open}");
        }
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
