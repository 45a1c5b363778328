//! OTLP metrics
//! (<https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/metrics/v1/metrics.proto>).

use serde::{Serialize, Serializer};

use super::json::{Names, Quoted, payload};
use crate::deliver::{Payload, Signal};
use crate::event::ProxyKind;
use crate::export::attributes::Attributes;
use crate::export::distribution::Distribution;
use crate::export::family::{Exemplar, Family, Label, Point, Points};
use crate::export::ids::{SpanId, TraceId};
use crate::export::resource::Origin;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;
/// Most data points of a document.
const POINTS_MAX: usize = 1024;

const NAMES: Names = Names {
    resources: "resourceMetrics",
    scopes: "scopeMetrics",
    items: "metrics",
};

/// From when to when counts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When counting began, ns since the epoch.
    pub start_unix_ns: u64,
    /// Now, ns since the epoch.
    pub now_unix_ns: u64,
}

/// The metrics, in documents of bounded size. `kind` is the kind of the proxies, if it is one.
pub fn metrics(
    families: &[Family],
    origin: &Origin,
    kind: Option<&ProxyKind>,
    span: Span,
) -> Vec<Payload> {
    let resource = origin.resource(kind, None);
    let mut payloads = Vec::new();
    let mut batch: Vec<Metric<'_>> = Vec::new();
    let mut points = 0;
    for metric in families.iter().flat_map(|family| Metric::of(family, span)) {
        if points + metric.points > POINTS_MAX {
            payloads.extend(document(&resource, &mut batch));
            points = 0;
        }
        points += metric.points;
        batch.push(metric);
    }
    payloads.extend(document(&resource, &mut batch));
    payloads
}

fn document(resource: &Attributes, batch: &mut Vec<Metric<'_>>) -> Option<Payload> {
    let metrics = std::mem::take(batch);
    let points = metrics.iter().map(|metric| metric.points as u64).sum();
    payload(
        Signal::Metrics,
        &NAMES,
        &[(resource.clone(), metrics)],
        points,
    )
}

#[derive(Serialize)]
struct Metric<'a> {
    name: &'a str,
    unit: &'a str,
    description: &'a str,
    #[serde(flatten)]
    data: Data<'a>,
    #[serde(skip)]
    points: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Data<'a> {
    #[serde(rename_all = "camelCase")]
    Sum {
        data_points: Vec<Number<'a>>,
        aggregation_temporality: u8,
        is_monotonic: bool,
    },
    #[serde(rename_all = "camelCase")]
    Gauge { data_points: Vec<Number<'a>> },
    #[serde(rename_all = "camelCase")]
    ExponentialHistogram {
        data_points: Vec<Exponential<'a>>,
        aggregation_temporality: u8,
    },
}

impl<'a> Metric<'a> {
    /// One for every [`POINTS_MAX`] points; none without a point.
    fn of(family: &'a Family, span: Span) -> Vec<Self> {
        let metric = |data, points| Self {
            name: family.name,
            unit: family.unit,
            description: family.help,
            data,
            points,
        };
        let sum = |data_points: Vec<Number<'a>>| {
            let points = data_points.len();
            let sum = Data::Sum {
                data_points,
                aggregation_temporality: CUMULATIVE,
                is_monotonic: true,
            };
            metric(sum, points)
        };
        match &family.points {
            Points::Counter(points) => {
                let counts =
                    |p: &'a [Point<u64>]| sum(p.iter().map(|p| Number::count(p, span)).collect());
                points.chunks(POINTS_MAX).map(counts).collect()
            }
            Points::Sum(points) => {
                let sums =
                    |p: &'a [Point<f64>]| sum(p.iter().map(|p| Number::sum(p, span)).collect());
                points.chunks(POINTS_MAX).map(sums).collect()
            }
            Points::Gauge(points) => {
                let gauge = |points: &'a [Point<f64>]| {
                    let data_points = points.iter().map(|p| Number::value(p, span)).collect();
                    metric(Data::Gauge { data_points }, points.len())
                };
                points.chunks(POINTS_MAX).map(gauge).collect()
            }
            Points::Histogram(_, points) => {
                let histogram = |points: &'a [Point<Distribution>]| {
                    let data_points = points.iter().map(|p| Exponential::of(p, span)).collect();
                    let histogram = Data::ExponentialHistogram {
                        data_points,
                        aggregation_temporality: CUMULATIVE,
                    };
                    metric(histogram, points.len())
                };
                points.chunks(POINTS_MAX).map(histogram).collect()
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Number<'a> {
    #[serde(skip_serializing_if = "Labels::is_empty")]
    attributes: Labels<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time_unix_nano: Option<Quoted<u64>>,
    time_unix_nano: Quoted<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_int: Option<Quoted<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_double: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exemplars: Vec<Example>,
}

impl<'a> Number<'a> {
    fn count(point: &'a Point<u64>, span: Span) -> Self {
        Self {
            attributes: Labels(&point.labels),
            start_time_unix_nano: Some(Quoted(span.start_unix_ns)),
            time_unix_nano: Quoted(span.now_unix_ns),
            // Its type is signed.
            as_int: Some(Quoted(point.value.min(i64::MAX.cast_unsigned()))),
            as_double: None,
            exemplars: examples(&point.exemplars),
        }
    }

    fn sum(point: &'a Point<f64>, span: Span) -> Self {
        Self {
            start_time_unix_nano: Some(Quoted(span.start_unix_ns)),
            ..Self::value(point, span)
        }
    }

    fn value(point: &'a Point<f64>, span: Span) -> Self {
        Self {
            attributes: Labels(&point.labels),
            start_time_unix_nano: None,
            time_unix_nano: Quoted(span.now_unix_ns),
            as_int: None,
            // What is no number would be written as null.
            as_double: Some(if point.value.is_finite() {
                point.value
            } else {
                0.0
            }),
            exemplars: examples(&point.exemplars),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exponential<'a> {
    attributes: Labels<'a>,
    start_time_unix_nano: Quoted<u64>,
    time_unix_nano: Quoted<u64>,
    count: Quoted<u64>,
    sum: f64,
    scale: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    zero_count: Option<Quoted<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    positive: Option<Buckets>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exemplars: Vec<Example>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Buckets {
    offset: i32,
    bucket_counts: Vec<Quoted<u64>>,
}

impl<'a> Exponential<'a> {
    fn of(point: &'a Point<Distribution>, span: Span) -> Self {
        let histogram = point.value.exponential();
        let counts: Vec<_> = histogram.counts.into_iter().map(Quoted).collect();
        Self {
            attributes: Labels(&point.labels),
            start_time_unix_nano: Quoted(span.start_unix_ns),
            time_unix_nano: Quoted(span.now_unix_ns),
            count: Quoted(point.value.count()),
            sum: point.value.sum(),
            scale: histogram.scale,
            zero_count: (histogram.zero > 0).then_some(Quoted(histogram.zero)),
            positive: (!counts.is_empty()).then_some(Buckets {
                offset: histogram.offset,
                bucket_counts: counts,
            }),
            exemplars: examples(&point.exemplars),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Example {
    time_unix_nano: Quoted<u64>,
    as_double: f64,
    trace_id: Quoted<TraceId>,
    span_id: Quoted<SpanId>,
}

fn examples(exemplars: &[Exemplar]) -> Vec<Example> {
    let example = |exemplar: &Exemplar| Example {
        time_unix_nano: Quoted(exemplar.unix_ns),
        as_double: exemplar.value,
        trace_id: Quoted(exemplar.trace),
        span_id: Quoted(exemplar.span),
    };
    exemplars.iter().map(example).collect()
}

struct Labels<'a>(&'a [(&'static str, Label)]);

impl Labels<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(key, label)| Pair {
            key,
            value: match label {
                Label::Text(text) => LabelValue::StringValue(text),
                Label::Int(number) => LabelValue::IntValue(Quoted(*number)),
            },
        }))
    }
}

#[derive(Serialize)]
struct Pair<'a> {
    key: &'static str,
    value: LabelValue<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum LabelValue<'a> {
    StringValue(&'a str),
    IntValue(Quoted<u16>),
}
