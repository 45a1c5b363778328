//! Metrics as Prometheus reads them: its text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>) and OpenMetrics 1.0 with exemplars
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). Names are those that OpenTelemetry's rules
//! make of ours
//! (<https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>).

use std::fmt::{self, Write};

use super::family::{Exemplar, Family, Label, Point, Points};

/// Form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Text format 0.0.4.
    Classic,
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
}

impl Exposition {
    /// The header of a response in this form.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The form that the `Accept` header of a request asks for: OpenMetrics where it is named and not
    /// refused (`q=0`), and nothing that is classic is liked better.
    pub fn of_accept(accept: &str) -> Self {
        let mut best = [0.0_f64; 2];
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok());
            let slot = match kind.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => &mut best[0],
                "text/plain" => &mut best[1],
                _ => continue,
            };
            *slot = slot.max(quality.unwrap_or(1.0));
        }
        let [open, classic] = best;
        if open > 0.0 && open >= classic {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }
}

/// The metrics as text. Families without points are left out.
pub fn text(families: &[Family], form: Exposition) -> String {
    let mut out = String::new();
    // Writing to memory cannot fail.
    let _infallible = write_all(&mut out, families, form);
    out
}

fn write_all(out: &mut String, families: &[Family], form: Exposition) -> fmt::Result {
    for family in families.iter().filter(|family| !family.is_empty()) {
        write_family(out, family, form)?;
    }
    if form == Exposition::OpenMetrics {
        out.push_str("# EOF\n");
    }
    Ok(())
}

fn write_family(out: &mut String, family: &Family, form: Exposition) -> fmt::Result {
    let (base, unit) = base_and_unit(family);
    let open = form == Exposition::OpenMetrics;
    let is_counter = matches!(family.points, Points::Counter(_) | Points::Sum(_));
    let total = format!("{base}_total");
    // In OpenMetrics a counter's family is named without the suffix of its sample.
    let named = if is_counter && !open { &total } else { &base };
    let kind = match family.points {
        Points::Counter(_) | Points::Sum(_) => "counter",
        Points::Gauge(_) => "gauge",
        Points::Histogram(..) => "histogram",
    };
    writeln!(out, "# HELP {named} {}", escaped(family.help, open))?;
    writeln!(out, "# TYPE {named} {kind}")?;
    if let Some(unit) = unit.filter(|_| open) {
        writeln!(out, "# UNIT {named} {unit}")?;
    }
    match &family.points {
        Points::Counter(points) => counter(out, &total, points, open)?,
        Points::Sum(points) => counter(out, &total, points, open)?,
        Points::Gauge(points) => {
            for point in points {
                let value = point.value;
                writeln!(out, "{base}{} {value}", labels(&point.labels, None))?;
            }
        }
        Points::Histogram(bounds, points) => {
            for point in points {
                histogram(out, &base, bounds, point, open)?;
            }
        }
    }
    Ok(())
}

fn counter(
    out: &mut String,
    total: &str,
    points: &[Point<impl fmt::Display>],
    open: bool,
) -> fmt::Result {
    for point in points {
        let value = &point.value;
        write!(out, "{total}{} {value}", labels(&point.labels, None))?;
        end(out, point.exemplars.last().filter(|_| open))?;
    }
    Ok(())
}

fn histogram(
    out: &mut String,
    base: &str,
    bounds: &[f64],
    point: &Point<super::Distribution>,
    open: bool,
) -> fmt::Result {
    let counts = point.value.up_to(bounds);
    let count = point.value.count();
    let mut above = f64::NEG_INFINITY;
    let infinite = (f64::INFINITY, count);
    for (bound, count) in bounds.iter().copied().zip(counts).chain([infinite]) {
        let le = if bound.is_infinite() {
            "+Inf".to_owned()
        } else {
            // OpenMetrics wants a float: 1.0, not 1.
            format!("{bound:?}")
        };
        write!(
            out,
            "{base}_bucket{} {count}",
            labels(&point.labels, Some(&le))
        )?;
        let within = |e: &&Exemplar| e.value > above && e.value <= bound;
        end(out, point.exemplars.iter().find(within).filter(|_| open))?;
        above = bound;
    }
    let own = labels(&point.labels, None);
    writeln!(out, "{base}_sum{own} {}", point.value.sum())?;
    writeln!(out, "{base}_count{own} {count}")
}

/// Ends a line, with an exemplar if there is one.
fn end(out: &mut String, exemplar: Option<&Exemplar>) -> fmt::Result {
    if let Some(exemplar) = exemplar {
        let Exemplar {
            value,
            unix_ns,
            trace,
            span,
        } = exemplar;
        let (s, ms) = (unix_ns / 1_000_000_000, unix_ns / 1_000_000 % 1000);
        let ids = format!("trace_id=\"{trace}\",span_id=\"{span}\"");
        write!(out, " # {{{ids}}} {value} {s}.{ms:03}")?;
    }
    out.push('\n');
    Ok(())
}

/// `http_client_request_duration_seconds` and its unit.
fn base_and_unit(family: &Family) -> (String, Option<&'static str>) {
    let name = underscored(family.name);
    let unit = match family.unit {
        "s" => "seconds",
        "By" => "bytes",
        _ => return (name, None),
    };
    (format!("{name}_{unit}"), Some(unit))
}

fn underscored(name: &str) -> String {
    name.replace('.', "_")
}

fn labels(labels: &[(&'static str, Label)], le: Option<&str>) -> String {
    let own = labels.iter().map(|(name, label)| {
        let value = match label {
            Label::Text(text) => escaped(text, true),
            Label::Int(number) => number.to_string(),
        };
        format!("{}=\"{value}\"", underscored(name))
    });
    let le = le.map(|le| format!("le=\"{le}\""));
    let all: Vec<String> = own.chain(le).collect();
    if all.is_empty() {
        return String::new();
    }
    format!("{{{}}}", all.join(","))
}

/// Backslash, line feed and, in values of labels and all texts of OpenMetrics, quotes.
fn escaped(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::super::testing::{cases, golden_text, origin, snapshot, truncated};
    use super::*;
    use crate::export::Metrics;

    fn families() -> Vec<Family> {
        let mut metrics = Metrics::new();
        metrics.backends(&[
            snapshot("10.0.0.6:8080", 50),
            snapshot("[2001:db8::5]:80", 3),
        ]);
        for case in cases().iter().chain([&truncated()]) {
            metrics.case(case, &origin());
        }
        metrics.losses(&vec![("ring \"a\"\\\n".into(), 3)]);
        metrics.families()
    }

    #[test]
    fn texts_as_they_are() {
        golden_text("metrics.prom", &text(&families(), Exposition::Classic));
        golden_text(
            "metrics.openmetrics",
            &text(&families(), Exposition::OpenMetrics),
        );
    }

    #[test]
    fn every_line_has_the_grammar_of_its_form() {
        for form in [Exposition::Classic, Exposition::OpenMetrics] {
            let text = text(&families(), form);
            let open = form == Exposition::OpenMetrics;
            assert_eq!(text.ends_with("# EOF\n"), open);
            assert_eq!(text.contains(" # {trace_id=\""), open);
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let sample = line.split(" # ").next().unwrap();
                let (series, value) = sample.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
                let name = series.split('{').next().unwrap();
                assert!(
                    name.bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
                );
            }
        }
    }

    #[test]
    fn a_histogram_adds_up() {
        let text = text(&families(), Exposition::Classic);
        let value = |series: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(series)).unwrap();
            line.rsplit_once(' ').unwrap().1.parse().unwrap()
        };
        let of = "{server_address=\"10.0.0.6\",server_port=\"8080\"";
        let name = "http_client_request_duration_seconds";
        let bucket = |le: &str| value(&format!("{name}_bucket{of},le=\"{le}\""));
        assert_eq!((bucket("0.005"), bucket("1.0")), (41.0, 41.0));
        assert_eq!((bucket("2.5"), bucket("+Inf")), (49.0, 49.0));
        assert_eq!(value(&format!("{name}_count{of}")), 49.0);
        let sum = value(&format!("{name}_sum{of}"));
        let truth = 40.0 * 0.0025 + 8.0 * 1.5;
        assert!((sum - truth).abs() < truth / 32.0, "{sum}");
    }

    #[test]
    fn the_form_that_is_asked_for() {
        use Exposition::{Classic, OpenMetrics};
        for (accept, want) in [
            ("", Classic),
            ("*/*", Classic),
            ("text/plain", Classic),
            ("application/openmetrics-text", OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf;q=1,application/openmetrics-text;q=0.4,text/plain;q=0.6",
                Classic,
            ),
            ("application/openmetrics-text;q=0", Classic),
            ("application/json, \u{202e};;q=x,,", Classic),
        ] {
            assert_eq!(Exposition::of_accept(accept), want, "{accept}");
        }
    }

    /// The classic text under Prometheus' own lint, where `promtool` is installed.
    #[test]
    fn promtool_has_nothing_to_say() {
        let child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("promtool is not installed: the lint was not run");
            return;
        };
        let text = text(&families(), Exposition::Classic);
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
}
