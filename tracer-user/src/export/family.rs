//! A metric and its points, before they take the form of a receiver. What counts for itself (a sender,
//! an agent) can add families of its own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::distribution::Distribution;
use super::ids::{SpanId, TraceId};

/// One metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name with dots, without unit and without `_total`: `why502.cases`.
    pub name: &'static str,
    /// Unit by UCUM: `s`, `By`, `1`, or what is counted: `{case}`.
    pub unit: &'static str,
    /// What it says, one sentence.
    pub help: &'static str,
    /// Its points, and how to read them.
    pub points: Points,
}

impl Family {
    /// A metric without points yet.
    pub fn new(name: &'static str, unit: &'static str, help: &'static str, points: Points) -> Self {
        Self {
            name,
            unit,
            help,
            points,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.points {
            Points::Counter(points) => points.is_empty(),
            Points::Sum(points) | Points::Gauge(points) => points.is_empty(),
            Points::Histogram(_, points) => points.is_empty(),
        }
    }
}

/// Points of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Points {
    /// Counts that only grow.
    Counter(Vec<Point<u64>>),
    /// The same in fractions: seconds that were used.
    Sum(Vec<Point<f64>>),
    /// Values of now.
    Gauge(Vec<Point<f64>>),
    /// Durations, and the bounds in seconds by which a classic histogram tells them.
    Histogram(&'static [f64], Vec<Point<Distribution>>),
}

/// The value for one set of labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Point<T> {
    /// Names with dots, and their values; always in the same order within a family.
    pub labels: Vec<(&'static str, Label)>,
    /// The value.
    pub value: T,
    /// Examples of what was counted.
    pub exemplars: Vec<Exemplar>,
}

impl<T> Point<T> {
    /// A point without examples.
    pub fn new(labels: Vec<(&'static str, Label)>, value: T) -> Self {
        Self {
            labels,
            value,
            exemplars: Vec::new(),
        }
    }
}

/// The value of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Int(u16),
}

impl From<&'static str> for Label {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u16> for Label {
    fn from(number: u16) -> Self {
        Self::Int(number)
    }
}

/// One thing that was counted, and the span that tells of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Its value, in the unit of the metric.
    pub value: f64,
    /// When, ns since the epoch.
    pub unix_ns: u64,
    /// Its trace.
    pub trace: TraceId,
    /// Its span.
    pub span: SpanId,
}

/// The latest example in each bucket of a classic histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Examples(BTreeMap<usize, Exemplar>);

impl Examples {
    pub(super) fn add(&mut self, bounds: &[f64], exemplar: Exemplar) {
        let bucket = bounds.partition_point(|bound| *bound < exemplar.value);
        self.0.insert(bucket, exemplar);
    }

    pub(super) fn all(&self) -> Vec<Exemplar> {
        self.0.values().copied().collect()
    }
}
