//! Real receivers of what why502 exports: programs that others wrote, started for one test in a
//! directory of their own on free ports of 127.0.0.1, read back, and gone when dropped. What set-up
//! does for them: `cargo xtask setup --for test`.

pub mod answering;
pub mod collector;
pub mod compare;
pub mod http;
pub mod prometheus;
pub mod python;
pub mod recorder;
mod service;
pub mod strict;

use std::path::PathBuf;

use super::process::{find_program, is_program};
use super::ready;

/// What an OTLP document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Its name in configurations and paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// Where it is posted to: the path below the receiver's base URL
    /// (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>).
    pub fn path(self) -> String {
        format!("/v1/{}", self.name())
    }
}

/// A program that a test may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The OpenTelemetry Collector.
    Collector,
    /// `prometheus` and `promtool`.
    Prometheus,
    /// What set-up fetched from PyPI.
    PythonTools,
}

impl Need {
    /// What is missing; `None`: all there.
    fn missing(self) -> Option<String> {
        let file = |path: PathBuf, there: bool| (!there).then(|| path.display().to_string());
        match self {
            Self::Collector => {
                let path = crate::paths::collector();
                file(path.clone(), is_program(&path))
            }
            Self::Prometheus => ["prometheus", "promtool"]
                .into_iter()
                .find(|name| find_program(name).is_none())
                .map(|name| format!("the program {name}")),
            Self::PythonTools => {
                let path = crate::paths::python_tools();
                file(path.clone(), path.is_dir())
            }
        }
    }
}

/// May a test that needs these run? If not it says so, as [`ready::skip`] does.
///
/// # Panics
///
/// With `CI` in the environment and something missing.
pub fn or_skip(needs: &[Need]) -> bool {
    if !ready::wanted() {
        return false;
    }
    let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
    if missing.is_empty() {
        return true;
    }
    ready::skip(&format!(
        "{} (`cargo xtask setup --for test` says why)",
        missing.join(", ")
    ));
    false
}
