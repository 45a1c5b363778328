//! What to change before the next failure: what was measured at a backend, held against the values
//! in force at the proxy.
//!
//! Plain functions. Nothing is advised without a measurement, nor on fewer samples than its constant
//! says; where the configuration leaves open which value is in force, all are named and none is
//! taken for granted.

mod connect;
mod failures;
mod head;
mod idle;
mod in_force;
mod remedy;
mod response;

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use failures::{Failures, Span};
pub use in_force::{InForce, Settings};
pub use remedy::now;

use crate::config::{Directive, Setting};
use crate::event::ProxyKind;
use crate::latency::Latency;

/// A 99th percentile needs at least this many samples: with fewer it is just the largest.
const SAMPLES_P99: u64 = 100;
/// Likewise for the 99.9th.
const SAMPLES_P999: u64 = 1000;

/// What was measured at one backend.
#[derive(Clone, Debug)]
pub struct Measured<'a> {
    /// The backend.
    pub upstream: SocketAddr,
    /// SYN to established.
    pub connect: Option<&'a Latency>,
    /// First request byte to first response byte.
    pub ttfb: Option<&'a Latency>,
    /// Longest idle time after which the proxy used a connection again, µs.
    pub idle_reused_max_us: Option<u64>,
    /// Shortest idle time after which the backend closed a connection, µs.
    pub idle_closed_min_us: Option<u64>,
    /// How often it closed an idle one.
    pub idle_closed: u64,
    /// What failed exchanges tell.
    pub failures: Failures,
}

/// A change that the measurements ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Name for scripts, in kebab case.
    pub kind: &'static str,
    /// What was measured, what is in force, what follows.
    pub text: String,
    /// What to write instead, ready to paste; `None` where the proxy is not the place to change.
    pub change: Option<String>,
    /// The directive that it is about.
    pub setting: Option<Directive>,
    /// Its value, if one is known to be in force.
    pub value: Option<String>,
    /// Where that stands: `file:line`, or `default`.
    pub source: Option<String>,
    /// The numbers, units in the names.
    pub measured: BTreeMap<&'static str, u64>,
}

/// Everything that one kind of proxy could do better with one backend.
pub fn advise(proxy: &ProxyKind, measured: &Measured<'_>, in_force: &InForce<'_>) -> Vec<Advice> {
    [
        response::advise(proxy, measured, in_force),
        idle::advise(proxy, measured, in_force),
        head::advise(proxy, measured, in_force),
        connect::advise(proxy, measured, in_force),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Advice {
    fn new(kind: &'static str, text: String, setting: Option<Directive>) -> Self {
        Self {
            kind,
            text,
            change: None,
            setting,
            value: None,
            source: None,
            measured: BTreeMap::new(),
        }
    }

    fn with(mut self, in_force: Option<&Setting>) -> Self {
        if let Some(setting) = in_force {
            self.value = Some(setting.value.to_string());
            self.source = Some(setting.source.to_string());
        }
        self
    }

    fn change(mut self, change: Option<String>) -> Self {
        self.change = change;
        self
    }

    fn measured<const N: usize>(mut self, numbers: [(&'static str, Option<u64>); N]) -> Self {
        let known = numbers
            .into_iter()
            .filter_map(|(name, number)| Some((name, number?)));
        self.measured.extend(known);
        self
    }
}

/// The line to write, as the proxy whose directive it is wants it.
fn line(directive: Directive, seconds: u64) -> String {
    let end = match directive.proxy() {
        ProxyKind::Nginx => ";",
        _ => "",
    };
    format!("{} {seconds}s{end}", directive.name())
}

/// A duration in words.
fn time(us: u64) -> String {
    crate::diagnose::words::duration(us.saturating_mul(1000))
}

/// `3 answers`, `1 answer`.
fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

/// The next duration that a person would choose, s.
fn round_seconds(us: u64) -> u64 {
    const CHOICES: [u64; 14] = [1, 2, 3, 5, 10, 15, 20, 30, 60, 90, 120, 180, 300, 600];
    let seconds = us.div_ceil(1_000_000);
    CHOICES
        .into_iter()
        .find(|choice| *choice >= seconds)
        .unwrap_or_else(|| seconds.next_multiple_of(600))
}

#[cfg(test)]
mod tests;
