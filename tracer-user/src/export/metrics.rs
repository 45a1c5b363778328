//! Counts and durations of an agent or a recording: fed by cases and by the kernel's counters, read as
//! [`Family`]s. Memory and the number of time series are bounded: what finds no room of its own is
//! counted under `other`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::attributes::LABEL_MAX;
use super::distribution::{CONNECT_BOUNDS, Distribution, REQUEST_BOUNDS};
use super::family::{Examples, Exemplar, Family, Label, Point, Points};
use super::place::{Place, Places};
use super::resource::{Origin, VERSION};
use super::spans;
use crate::case::{Attempt, Case, Outcome, SeenFrom};
use crate::event::{BackendSnapshot, Losses};
use crate::printable::printable;
use crate::session::blamed_attempt;

/// Most backends that have series of their own.
const BACKENDS_MAX: usize = 256;
/// Most combinations of rule, backend and outcome.
const FAILURES_MAX: usize = 2048;
/// Most kinds of proxies, reasons of resets and kinds of losses, each.
const NAMES_MAX: usize = 64;
/// What finds no room.
const OTHER: &str = "other";

/// A backend, or with `None` all those that found no room.
type Backend = Option<SocketAddr>;

/// Counts since it was made.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    backends: BTreeSet<SocketAddr>,
    cases: BTreeMap<(String, Outcome), u64>,
    failures: BTreeMap<(&'static str, Backend, Outcome), Counted>,
    resets: BTreeMap<(&'static str, String), u64>,
    retransmits: BTreeMap<Backend, u64>,
    losses: BTreeMap<String, u64>,
    measured: BTreeMap<Backend, Measured>,
    last_backends: BTreeMap<SocketAddr, BackendSnapshot>,
    last_losses: BTreeMap<String, u64>,
}

/// A count and its latest example.
#[derive(Clone, Debug, Default)]
struct Counted {
    count: u64,
    example: Option<Exemplar>,
}

/// What the kernel counted of a backend.
#[derive(Clone, Debug, Default)]
struct Measured {
    connects: u64,
    exchanges: u64,
    connect: Distribution,
    first_byte: Distribution,
    total: Distribution,
    connect_examples: Examples,
    total_examples: Examples,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a case and its attempts.
    pub fn case(&mut self, case: &Case, origin: &Origin) {
        let places = Places::of(case, &origin.host);
        let kind = name_of(
            &mut self.cases.keys().map(|(k, _)| k),
            case.proxy.kind.name(),
        );
        add(self.cases.entry((kind, case.outcome)).or_default(), 1);

        let blamed = blamed_attempt(case).and_then(|index| case.attempts.get(index));
        let backend = blamed.and_then(|attempt| self.backend(attempt.upstream));
        let mut key = (case.verdict.rule, backend, case.outcome);
        if self.failures.len() >= FAILURES_MAX && !self.failures.contains_key(&key) {
            key.1 = None;
        }
        let counted = self.failures.entry(key).or_default();
        add(&mut counted.count, 1);
        counted.example = Some(exemplar(1.0, case.time_ns, &places.server, origin));

        for (index, attempt) in case.attempts.iter().enumerate() {
            // On a backend's host the one attempt has no span of its own.
            let place = match case.seen_from {
                SeenFrom::Proxy => places.clients.get(index),
                SeenFrom::Backend => Some(&places.server),
            };
            self.attempt(attempt, place, origin);
        }
    }

    fn attempt(&mut self, attempt: &Attempt, place: Option<&Place>, origin: &Origin) {
        for event in &attempt.events {
            let side = match event.event {
                "reset_received" => "backend",
                "reset_sent" => "proxy",
                _ => continue,
            };
            let reason = event.detail.as_deref().unwrap_or("unknown");
            let reason = name_of(&mut self.resets.keys().map(|(_, r)| r), reason);
            add(self.resets.entry((side, reason)).or_default(), 1);
        }
        let backend = self.backend(attempt.upstream);
        if attempt.retransmits > 0 {
            let count = self.retransmits.entry(backend).or_default();
            add(count, attempt.retransmits.into());
        }
        // Examples are of what the kernel counted too.
        let (Some(place), Some(measured)) = (place, self.measured.get_mut(&backend)) else {
            return;
        };
        let moment = |name: &str| {
            let found = attempt.events.iter().find(|event| event.event == name);
            found.map(|event| event.t_us)
        };
        let seconds = |us: u64| us as f64 / 1e6;
        let ends = moment("request_sent").zip(moment("response_last_byte"));
        if let Some(us) = ends.and_then(|(from, to)| u64::try_from(to.checked_sub(from)?).ok()) {
            let at = spans::at(attempt, moment("response_last_byte").unwrap_or(0));
            let example = exemplar(seconds(us), at, place, origin);
            measured.total_examples.add(&REQUEST_BOUNDS, example);
        }
        if let Some(us) = attempt.connect_us {
            let at = spans::at(attempt, moment("connected").unwrap_or(0));
            let example = exemplar(seconds(us), at, place, origin);
            measured.connect_examples.add(&CONNECT_BOUNDS, example);
        }
    }

    /// Takes the state of the kernel's counters, which count on through all sessions. Their
    /// 32-bit buckets may wrap around: take it often enough (a bucket would need 2³² requests).
    pub fn backends(&mut self, now: &[BackendSnapshot]) {
        let before = std::mem::take(&mut self.last_backends);
        for snapshot in now {
            let backend = self.backend(snapshot.upstream);
            let measured = self.measured.entry(backend).or_default();
            let before = before.get(&snapshot.upstream);
            // Counters that went back began anew.
            let before = before
                .filter(|b| b.connects <= snapshot.connects && b.exchanges <= snapshot.exchanges);
            let grown = |of: fn(&BackendSnapshot) -> u64| of(snapshot) - before.map_or(0, of);
            add(&mut measured.connects, grown(|b| b.connects));
            add(&mut measured.exchanges, grown(|b| b.exchanges));
            grow(
                &mut measured.connect,
                &snapshot.connect,
                before.map(|b| &b.connect),
            );
            grow(
                &mut measured.first_byte,
                &snapshot.ttfb,
                before.map(|b| &b.ttfb),
            );
            grow(
                &mut measured.total,
                &snapshot.total,
                before.map(|b| &b.total),
            );
        }
        let kept = now
            .iter()
            .map(|snapshot| (snapshot.upstream, snapshot.clone()));
        self.last_backends = kept.collect();
    }

    /// Takes the state of the loss counters, which count from the start of a session.
    pub fn losses(&mut self, now: &Losses) {
        for (kind, count) in now {
            let name = name_of(&mut self.losses.keys(), kind);
            let before = self.last_losses.get(kind).copied().unwrap_or(0);
            let grown = count.checked_sub(before).unwrap_or(*count);
            add(self.losses.entry(name).or_default(), grown);
        }
        self.last_losses = now.iter().cloned().collect();
    }

    /// A new session begins: its losses begin at zero. The kernel's counters of backends go on.
    pub fn session_began(&mut self) {
        self.last_losses.clear();
    }

    /// The backend, if there is room for series of its own.
    fn backend(&mut self, upstream: SocketAddr) -> Backend {
        let room = self.backends.len() < BACKENDS_MAX;
        if room {
            self.backends.insert(upstream);
        }
        self.backends.contains(&upstream).then_some(upstream)
    }

    /// Everything that was counted, always in the same order. A counter of which nothing can be said
    /// yet is there without points.
    pub fn families(&self) -> Vec<Family> {
        let mut families = vec![
            Family::new(
                "why502.cases",
                "{case}",
                "Failed responses, and failures that a retry hid.",
                Points::Counter(self.case_points()),
            ),
            Family::new(
                "why502.failures",
                "{case}",
                "Cases by their cause and the backend whose connection failed.",
                Points::Counter(self.failure_points()),
            ),
            Family::new(
                "why502.resets",
                "{reset}",
                "TCP resets within failed exchanges, by the side that sent them.",
                Points::Counter(self.reset_points()),
            ),
            Family::new(
                "why502.retransmits",
                "{segment}",
                "Retransmitted segments within failed exchanges.",
                Points::Counter(by_backend(&self.retransmits, |count| *count)),
            ),
            Family::new(
                "why502.losses",
                "{record}",
                "Records that were lost or not kept: what was counted elsewhere is then too low.",
                Points::Counter(self.loss_points()),
            ),
        ];
        families.extend(self.measured_families());
        let version = vec![("version", VERSION.into())];
        families.push(Family::new(
            "why502.build.info",
            "1",
            "Always 1; the version of why502.",
            Points::Gauge(vec![Point::new(version, 1.0)]),
        ));
        families
    }

    fn measured_families(&self) -> [Family; 5] {
        let measured = &self.measured;
        [
            Family::new(
                "why502.connects",
                "{connection}",
                "Attempts to connect to a backend.",
                Points::Counter(by_backend(measured, |m| m.connects)),
            ),
            Family::new(
                "why502.exchanges",
                "{request}",
                "Requests to which a backend began to respond.",
                Points::Counter(by_backend(measured, |m| m.exchanges)),
            ),
            Family::new(
                "http.client.request.duration",
                "s",
                "First byte of a request sent to a backend to last byte of its response.",
                durations(measured, &REQUEST_BOUNDS, |m| {
                    (&m.total, m.total_examples.all())
                }),
            ),
            Family::new(
                "why502.first_byte.duration",
                "s",
                "First byte of a request sent to a backend to first byte of its response.",
                durations(measured, &REQUEST_BOUNDS, |m| (&m.first_byte, Vec::new())),
            ),
            Family::new(
                "why502.connect.duration",
                "s",
                "SYN sent to a backend to connection established.",
                durations(measured, &CONNECT_BOUNDS, |m| {
                    (&m.connect, m.connect_examples.all())
                }),
            ),
        ]
    }

    fn case_points(&self) -> Vec<Point<u64>> {
        let point = |((proxy, outcome), count): (&(String, Outcome), &u64)| {
            let labels = vec![
                ("outcome", outcome.name().into()),
                ("proxy", proxy.clone().into()),
            ];
            Point::new(labels, *count)
        };
        self.cases.iter().map(point).collect()
    }

    fn failure_points(&self) -> Vec<Point<u64>> {
        let point = |(key, counted): (&(&'static str, Backend, Outcome), &Counted)| {
            let (rule, backend, outcome) = key;
            let mut labels = vec![("rule", (*rule).into()), ("outcome", outcome.name().into())];
            labels.extend(backend_labels(*backend));
            Point {
                labels,
                value: counted.count,
                exemplars: counted.example.into_iter().collect(),
            }
        };
        self.failures.iter().map(point).collect()
    }

    fn reset_points(&self) -> Vec<Point<u64>> {
        let point = |((side, reason), count): (&(&'static str, String), &u64)| {
            let labels = vec![("side", (*side).into()), ("reason", reason.clone().into())];
            Point::new(labels, *count)
        };
        self.resets.iter().map(point).collect()
    }

    fn loss_points(&self) -> Vec<Point<u64>> {
        let point = |(kind, count): (&String, &u64)| {
            Point::new(vec![("kind", kind.clone().into())], *count)
        };
        self.losses.iter().map(point).collect()
    }
}

fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

/// The name as it is shown, or `other` when there are too many different ones.
fn name_of(known: &mut dyn Iterator<Item = &String>, name: &str) -> String {
    let name = printable(name, LABEL_MAX);
    let mut names = BTreeSet::new();
    for known in known {
        names.insert(known);
    }
    if names.contains(&name) || names.len() < NAMES_MAX {
        name
    } else {
        OTHER.to_owned()
    }
}

/// Adds what buckets have grown by.
fn grow(distribution: &mut Distribution, now: &[(u16, u32)], before: Option<&Vec<(u16, u32)>>) {
    let before: BTreeMap<u16, u32> = before.into_iter().flatten().copied().collect();
    for (bucket, count) in now {
        let before = before.get(bucket).copied().unwrap_or(0);
        distribution.add(*bucket, count.wrapping_sub(before).into());
    }
}

fn exemplar(value: f64, at: u64, place: &Place, origin: &Origin) -> Exemplar {
    Exemplar {
        value,
        unix_ns: origin.unix(at),
        trace: place.trace,
        span: place.id,
    }
}

fn backend_labels(backend: Backend) -> [(&'static str, Label); 2] {
    let (address, port) = match backend {
        Some(addr) => (addr.ip().to_string().into(), addr.port().into()),
        None => (OTHER.into(), 0.into()),
    };
    [("server.address", address), ("server.port", port)]
}

fn by_backend<T>(values: &BTreeMap<Backend, T>, of: impl Fn(&T) -> u64) -> Vec<Point<u64>> {
    let point =
        |(backend, value): (&Backend, &T)| Point::new(backend_labels(*backend).into(), of(value));
    values.iter().map(point).collect()
}

fn durations(
    measured: &BTreeMap<Backend, Measured>,
    bounds: &'static [f64],
    of: impl Fn(&Measured) -> (&Distribution, Vec<Exemplar>),
) -> Points {
    let point = |(backend, measured): (&Backend, &Measured)| {
        let (distribution, exemplars) = of(measured);
        Point {
            labels: backend_labels(*backend).into(),
            value: distribution.clone(),
            exemplars,
        }
    };
    Points::Histogram(bounds, measured.iter().map(point).collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{cases, origin, snapshot};
    use super::*;
    use crate::case::TimelineEvent;
    use crate::report::fixture;

    fn counter(metrics: &Metrics, name: &str) -> Vec<(String, u64)> {
        let families = metrics.families();
        let family = families.into_iter().find(|f| f.name == name).unwrap();
        let Points::Counter(points) = family.points else {
            panic!()
        };
        let text = |label: &Label| match label {
            Label::Text(text) => text.to_string(),
            Label::Int(number) => number.to_string(),
        };
        let labels =
            |p: &Point<u64>| -> Vec<String> { p.labels.iter().map(|(_, l)| text(l)).collect() };
        points
            .iter()
            .map(|p| (labels(p).join(" "), p.value))
            .collect()
    }

    fn said(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|(l, n)| ((*l).to_owned(), *n)).collect()
    }

    #[test]
    fn cases_are_counted_by_what_matters() {
        let mut metrics = Metrics::new();
        for case in &cases()[..4] {
            metrics.case(case, &origin());
        }
        metrics.case(&fixture::reuse_race(), &origin());
        assert_eq!(
            counter(&metrics, "why502.cases"),
            said(&[
                ("error-response nginx", 2),
                ("dropped nginx", 1),
                ("masked nginx", 2)
            ])
        );
        assert_eq!(
            counter(&metrics, "why502.failures"),
            said(&[
                ("connect-refused masked 2001:db8::5 8080", 2),
                ("keepalive-race dropped other 0", 1),
                ("keepalive-race error-response 10.0.0.5 8080", 2),
            ])
        );
        let resets = counter(&metrics, "why502.resets");
        assert_eq!(
            resets,
            said(&[
                ("backend ECONNREFUSED", 2),
                ("backend TCP_ABORT_ON_DATA", 2)
            ])
        );
    }

    #[test]
    fn retransmissions_and_losses() {
        let mut metrics = Metrics::new();
        let mut case = fixture::reuse_race();
        case.attempts[0].retransmits = 3;
        metrics.case(&case, &origin());
        metrics.case(&case, &origin());
        assert_eq!(
            counter(&metrics, "why502.retransmits"),
            said(&[("10.0.0.5 8080", 6)])
        );
        for (count, sum) in [(3, 3), (5, 5), (2, 7), (2, 7)] {
            metrics.losses(&vec![("ring".into(), count)]);
            assert_eq!(counter(&metrics, "why502.losses"), said(&[("ring", sum)]));
        }
        metrics.session_began();
        metrics.losses(&vec![("ring".into(), 2)]);
        assert_eq!(counter(&metrics, "why502.losses"), said(&[("ring", 9)]));
    }

    fn total(metrics: &Metrics) -> Distribution {
        metrics.measured[&Some("10.0.0.5:8080".parse().unwrap())]
            .total
            .clone()
    }

    #[test]
    fn the_kernels_counters_may_wrap_and_begin_anew() {
        let mut metrics = Metrics::new();
        let mut state = snapshot("10.0.0.5:8080", 10);
        state.total = vec![(7, u32::MAX - 1)];
        metrics.backends(&[state.clone()]);
        assert_eq!(total(&metrics).count(), u64::from(u32::MAX) - 1);
        state.exchanges = 12;
        state.total = vec![(7, 1), (8, 4)];
        metrics.backends(&[state.clone()]);
        assert_eq!(total(&metrics).count(), u64::from(u32::MAX) + 2 + 4);
        // The same state again adds nothing, in a new session neither; a smaller one is of new counters.
        metrics.backends(&[state.clone()]);
        metrics.session_began();
        metrics.backends(&[state.clone()]);
        assert_eq!(total(&metrics).count(), u64::from(u32::MAX) + 6);
        state.exchanges = 5;
        metrics.backends(&[state.clone()]);
        assert_eq!(total(&metrics).count(), u64::from(u32::MAX) + 11);
        assert_eq!(
            counter(&metrics, "why502.exchanges"),
            said(&[("10.0.0.5 8080", 17)])
        );
    }

    #[test]
    fn series_are_bounded() {
        let mut metrics = Metrics::new();
        let mut case = fixture::reuse_race();
        for port in 1..=600 {
            case.attempts[0].upstream.set_port(port);
            case.attempts[0].retransmits = 1;
            case.proxy.kind = crate::event::ProxyKind::Other(format!("p{port}"));
            case.attempts[0].events = vec![TimelineEvent {
                t_us: 0,
                event: "reset_received",
                bytes: None,
                detail: Some(format!("R{port}")),
            }];
            metrics.case(&case, &origin());
            metrics.backends(&[snapshot(&format!("10.0.0.5:{port}"), 1)]);
            metrics.losses(&vec![(format!("l{port}"), 1)]);
        }
        for (name, series) in [
            ("why502.cases", NAMES_MAX + 1),
            ("why502.failures", BACKENDS_MAX + 1),
            ("why502.resets", NAMES_MAX + 1),
            ("why502.retransmits", BACKENDS_MAX + 1),
            ("why502.exchanges", BACKENDS_MAX + 1),
            ("why502.losses", NAMES_MAX + 1),
        ] {
            let points = counter(&metrics, name);
            assert_eq!(points.len(), series, "{name}");
            let sum: u64 = points.iter().map(|(_, count)| count).sum();
            assert_eq!(sum, 600, "{name}");
            assert!(
                points.iter().any(|(labels, _)| labels.contains(OTHER)),
                "{name}"
            );
        }
    }

    #[test]
    fn examples_point_to_spans() {
        let mut metrics = Metrics::new();
        metrics.backends(&[snapshot("10.0.0.6:8080", 50)]);
        let case = super::super::testing::truncated();
        metrics.case(&case, &origin());
        let spans = spans::of(&case, &origin());
        let families = metrics.families();
        let family = |name: &str| &families.iter().find(|f| f.name == name).unwrap().points;
        let Points::Counter(points) = family("why502.failures") else {
            panic!()
        };
        let [example] = points[0].exemplars[..] else {
            panic!()
        };
        assert_eq!((example.trace, example.span), (spans[0].trace, spans[0].id));
        assert_eq!((example.value, example.unix_ns), (1.0, spans[0].end));
        for (name, value) in [
            ("http.client.request.duration", 0.0061),
            ("why502.connect.duration", 0.00018),
        ] {
            let Points::Histogram(_, points) = family(name) else {
                panic!()
            };
            let [example] = points[0].exemplars[..] else {
                panic!("{name}")
            };
            assert_eq!(
                (example.value, example.span),
                (value, spans[1].id),
                "{name}"
            );
        }
    }
}
