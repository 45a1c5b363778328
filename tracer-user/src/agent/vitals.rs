//! What the agent tells of itself: for Prometheus and for a health check.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::event::Losses;

/// Text forms of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Prometheus's classic text, version 0.0.4.
    Classic,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Form {
    /// The form that the reader asks for.
    pub(super) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Figures of the agent, kept current by its loop.
#[derive(Clone, Debug, Default)]
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
}

impl Vitals {
    /// As one page of metrics, without the end mark of OpenMetrics.
    pub(super) fn render(&self, form: Form) -> String {
        let mut page = Page {
            form,
            text: String::new(),
        };
        let version = label("version", env!("CARGO_PKG_VERSION"));
        page.gauge(
            "why502_agent_info",
            "The agent's version.",
            &[(version, 1.0)],
        );
        page.gauge(
            "process_start_time_seconds",
            "When the agent started, in seconds since the epoch.",
            &plain(self.started_unix_s),
        );
        page.gauge(
            "why502_agent_uptime_seconds",
            "Time since the agent started, by the monotonic clock.",
            &plain(self.uptime_s),
        );
        if let Some(bytes) = resident_bytes() {
            let help = "Memory that the agent holds.";
            page.gauge("process_resident_memory_bytes", help, &plain(bytes as f64));
        }
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        page.counter(
            "process_cpu_seconds",
            "Processor time that the agent has used.",
            &plain(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9),
        );
        page.gauge(
            "why502_agent_traced_processes",
            "Proxy processes that are traced.",
            &plain(self.traced as f64),
        );
        page.counter(
            "why502_agent_cases",
            "Failures that were found.",
            &labelled("outcome", self.cases.iter().map(|(name, n)| (*name, *n))),
        );
        page.counter(
            "why502_agent_records_lost",
            "Records that were lost, by the place.",
            &labelled(
                "kind",
                self.losses.iter().map(|(name, n)| (name.as_str(), *n)),
            ),
        );
        page.gauge(
            "why502_agent_lookback_bytes",
            "Memory of the look-back.",
            &plain(self.lookback_bytes as f64),
        );
        page.gauge(
            "why502_agent_lookback_limit_bytes",
            "Most memory that the look-back may take.",
            &plain(self.lookback_limit_bytes as f64),
        );
        page.gauge(
            "why502_agent_lookback_seconds",
            "How far the look-back reaches.",
            &plain(self.lookback_seconds),
        );
        page.counter(
            "why502_agent_lookback_refused",
            "Inputs that were too large for the look-back.",
            &plain(self.lookback_refused as f64),
        );
        let snapshots = self.snapshots.iter().map(|((reason, result), n)| {
            let labels = format!("{},{}", label("reason", reason), label("result", result));
            (labels, *n as f64)
        });
        page.counter(
            "why502_agent_snapshots",
            "Snapshots of the look-back.",
            &snapshots.collect::<Vec<_>>(),
        );
        page.counter(
            "why502_agent_reloads",
            "Times that the configuration was read again.",
            &labelled("result", self.reloads.iter().map(|(name, n)| (*name, *n))),
        );
        page.counter(
            "why502_agent_clock_steps",
            "Times that the wall clock was set.",
            &plain(self.clock_steps as f64),
        );
        page.counter(
            "why502_agent_sessions",
            "Times that tables were begun anew.",
            &plain(self.sessions as f64),
        );
        page.text
    }

    /// For a health check: one JSON object.
    pub(super) fn health(&self) -> String {
        let health = serde_json::json!({
            "status": "ok",
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.uptime_s as u64,
            "traced_processes": self.traced,
            "cases": self.cases.values().sum::<u64>(),
        });
        format!("{health}\n")
    }
}

struct Page {
    form: Form,
    text: String,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, samples: &[(String, f64)]) {
        self.family(name, "", "gauge", help, samples);
    }

    /// `name` without `_total`.
    fn counter(&mut self, name: &str, help: &str, samples: &[(String, f64)]) {
        self.family(name, "_total", "counter", help, samples);
    }

    fn family(&mut self, name: &str, end: &str, kind: &str, help: &str, samples: &[(String, f64)]) {
        // OpenMetrics names the family without the end that its samples have.
        let family = match self.form {
            Form::Classic => format!("{name}{end}"),
            Form::OpenMetrics => name.to_owned(),
        };
        let out = &mut self.text;
        let _ = writeln!(out, "# HELP {family} {help}\n# TYPE {family} {kind}");
        for (labels, value) in samples {
            let _ = match labels.as_str() {
                "" => writeln!(out, "{name}{end} {value}"),
                labels => writeln!(out, "{name}{end}{{{labels}}} {value}"),
            };
        }
    }
}

fn plain(value: f64) -> Vec<(String, f64)> {
    vec![(String::new(), value)]
}

fn labelled<'n>(name: &str, values: impl Iterator<Item = (&'n str, u64)>) -> Vec<(String, f64)> {
    values
        .map(|(value, count)| (label(name, value), count as f64))
        .collect()
}

fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{name}=\"{}\"", value.replace('\n', "\\n"))
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

    #[test]
    fn both_forms() {
        let mut vitals = Vitals::default();
        vitals.cases.insert("error-response", 7);
        vitals.losses = vec![("a\"b".into(), 2)];
        vitals.snapshots.insert(("burst", "written"), 1);
        let classic = vitals.render(Form::Classic);
        for line in [
            "# TYPE why502_agent_cases_total counter",
            "why502_agent_cases_total{outcome=\"error-response\"} 7",
            "why502_agent_records_lost_total{kind=\"a\\\"b\"} 2",
            "why502_agent_snapshots_total{reason=\"burst\",result=\"written\"} 1",
            "why502_agent_traced_processes 0",
        ] {
            assert!(classic.lines().any(|l| l == line), "{line}\n{classic}");
        }
        let open = vitals.render(Form::OpenMetrics);
        for line in [
            "# TYPE why502_agent_cases counter",
            "why502_agent_cases_total{outcome=\"error-response\"} 7",
        ] {
            assert!(open.lines().any(|l| l == line), "{line}\n{open}");
        }
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn the_reader_chooses() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Form::accepted(prometheus), Form::OpenMetrics);
        assert_eq!(Form::accepted("*/*"), Form::Classic);
        assert_eq!(Form::accepted(""), Form::Classic);
    }
}
