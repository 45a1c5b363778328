//! The files of `scripts/fleet/` do with the real programs what they say.
#![expect(
    clippy::unwrap_used,
    reason = "test helpers fail where they stand, like the tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::lab::net::free_ports;
use xtask::lab::process::find_program;
use xtask::lab::ready;
use xtask::lab::receivers::answering::{Always, Answering};
use xtask::lab::receivers::collector::{Behaviour, Collector, SMALLEST_TRACE};
use xtask::lab::receivers::compare::equal_after_defaults;
use xtask::lab::receivers::prometheus::{FIRST_SCRAPE, Prometheus, check_metrics, promtool_on};
use xtask::lab::receivers::python::{check_manifest, yaml};
use xtask::lab::receivers::{Need, Signal, or_skip};

const PATIENCE: Duration = Duration::from_secs(20);

fn fleet(name: &str) -> PathBuf {
    xtask::paths::root().join("scripts/fleet").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(fleet(name)).unwrap()
}

/// A metric as docs/fleet.md names it.
struct Metric {
    name: String,
    histogram: bool,
    labels: Vec<String>,
}

/// The table of metrics in docs/fleet.md.
fn documented() -> Vec<Metric> {
    let page = fs::read_to_string(xtask::paths::root().join("docs/fleet.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let metrics = rows.filter_map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let histogram = match cells[1..] {
            ["histogram", _] => true,
            ["counter" | "gauge", _] => false,
            _ => return None,
        };
        let labels = cells[2].split('`').skip(1).step_by(2);
        Some(Metric {
            name: cells[0].trim_end_matches('`').to_owned(),
            histogram,
            labels: labels.map(str::to_owned).collect(),
        })
    });
    metrics.collect()
}

/// What an agent shows after `step` steps, in the classic text format: every documented metric, each
/// label with a value that the field allows, every counter higher than the step before.
fn page(step: u64) -> String {
    let value = |label: &str| match label {
        "rule" => "keepalive-race",
        "proxy" => "nginx",
        "outcome" => "error-response",
        "side" => "backend",
        "reason" => "TCP_ABORT_ON_DATA",
        "kind" => "ring-buffer",
        "server_address" => "10.0.0.5",
        "server_port" => "8080",
        "version" => "0.1.0",
        "destination" => "collector:4318",
        "signal" => "traces",
        other => panic!("no value for the label {other}"),
    };
    let mut text = String::new();
    for metric in documented() {
        let name = &metric.name;
        // Every value of a label that the queries ask for by name.
        let variants: &[(&str, &str)] = match metric.name.as_str() {
            "why502_cases_total" | "why502_failures_total" => {
                &[("outcome", "error-response"), ("outcome", "masked")]
            }
            "why502_export_items_total" => &[("result", "delivered"), ("result", "dropped")],
            _ => &[("", "")],
        };
        let kind = match (metric.histogram, name.ends_with("_total")) {
            (true, _) => "histogram",
            (_, true) => "counter",
            _ => "gauge",
        };
        writeln!(text, "# HELP {name} For the test.\n# TYPE {name} {kind}").unwrap();
        for (varied, variant) in variants {
            let labels = metric.labels.iter().map(|label| {
                let value = if label == varied {
                    variant
                } else {
                    value(label)
                };
                format!("{label}=\"{value}\"")
            });
            let labels = labels.collect::<Vec<_>>().join(",");
            if metric.histogram {
                let bucket = |le: &str, count| {
                    let comma = if labels.is_empty() { "" } else { "," };
                    format!("{name}_bucket{{{labels}{comma}le=\"{le}\"}} {count}\n")
                };
                text += &bucket("0.005", step);
                text += &bucket("0.5", 3 * step);
                text += &bucket("+Inf", 4 * step);
                let braces = if labels.is_empty() {
                    String::new()
                } else {
                    format!("{{{labels}}}")
                };
                writeln!(
                    text,
                    "{name}_sum{braces} {step}\n{name}_count{braces} {}",
                    4 * step
                )
                .unwrap();
            } else {
                let count = if kind == "counter" { step } else { 1 };
                writeln!(text, "{name}{{{labels}}} {count}").unwrap();
            }
        }
    }
    text
}

fn serve(step: u64) -> Always {
    Always {
        status: 200,
        headers: vec!["Content-Type: text/plain; version=0.0.4".into()],
        body: page(step).into_bytes(),
    }
}

/// A panel or variable, and its query.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let mut queries = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            queries.push((
                title.to_owned(),
                target["expr"].as_str().unwrap().to_owned(),
            ));
        }
    }
    queries
}

/// Words of an expression that look like names of metrics of ours.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("why502_") || word.starts_with("http_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn queries_and_alerts_use_documented_names_only() {
    let mut known = BTreeSet::new();
    for metric in documented() {
        for suffix in ["_bucket", "_sum", "_count"]
            .iter()
            .filter(|_| metric.histogram)
        {
            known.insert(format!("{}{suffix}", metric.name));
        }
        if !metric.histogram {
            known.insert(metric.name);
        }
    }
    assert_eq!(known.len(), 7 + 2 * 3);
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    let queries = queries(&dashboard);
    assert!(queries.len() > 15);
    for (title, query) in queries {
        let unknown: Vec<_> = metrics_in(&query).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{title}: {unknown:?}");
    }
    for line in read("alerts.yml").lines().filter(|line| line.contains('(')) {
        let unknown: Vec<_> = metrics_in(line).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{line}: {unknown:?}");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_imports() {
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    // https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/view-dashboard-json-model/
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert!(dashboard["uid"].as_str().unwrap().len() <= 40);
    assert!(
        dashboard.get("id").is_none(),
        "an id is of one installation"
    );
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeMap::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: its id is another's"
        );
        let kind = panel["type"].as_str().unwrap();
        assert!(
            ["timeseries", "stat", "table"].contains(&kind),
            "{title}: {kind}"
        );
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{title}: out of the grid");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            if let Some(other) = cells.insert(cell, title) {
                panic!("{title} lies over {other}");
            }
        }
        let mut letters = BTreeSet::new();
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(letters.insert(target["refId"].as_str().unwrap()), "{title}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: BTreeSet<&str> = variables
        .iter()
        .map(|v| v["name"].as_str().unwrap())
        .collect();
    for (title, query) in queries(&dashboard) {
        for word in query.split('$').skip(1) {
            let end = word
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(word.len());
            let built_in = ["__rate_interval", "__range"].contains(&&word[..end]);
            assert!(
                built_in || names.contains(&word[..end]),
                "{title}: ${}",
                &word[..end]
            );
        }
    }
}

#[test]
fn every_query_of_the_dashboard_returns_data() {
    if !or_skip(&[Need::Prometheus]) {
        return;
    }
    check_metrics(&page(1)).unwrap();
    let agent = Answering::start(serve(1)).unwrap();
    let prometheus = Prometheus::start("why502", &[agent.addr()], &[fleet("alerts.yml")]).unwrap();
    prometheus.wait_up(FIRST_SCRAPE).unwrap();
    // Four more scrapes, each with higher counters.
    for step in 2..=5 {
        agent.answer(serve(step));
        let before = agent.asked().len();
        let deadline = Instant::now() + PATIENCE;
        while agent.asked().len() == before {
            assert!(
                Instant::now() < deadline,
                "prometheus has stopped to scrape"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    for (title, query) in queries(&dashboard) {
        let query = query
            .replace("$__rate_interval", "30s")
            .replace("$__range", "30s")
            .replace("$instance", ".*")
            .replace("$rule", ".*");
        let series = prometheus.wait_query(&query, PATIENCE).unwrap();
        assert!(
            series.iter().all(|one| one.value.is_finite()),
            "{title}: {series:?}"
        );
        // The one thing that must be nothing here.
        let positive = series.iter().any(|one| one.value > 0.0);
        assert_eq!(positive, title != "Agents down", "{title}: {series:?}");
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(definition) = variable["definition"].as_str() else {
            continue;
        };
        let inner = definition
            .strip_prefix("label_values(")
            .unwrap()
            .strip_suffix(')')
            .unwrap();
        let (metric, label) = inner.split_once(", ").unwrap();
        let series = prometheus.wait_query(metric, PATIENCE).unwrap();
        assert!(
            series.iter().all(|one| one.labels.contains_key(label)),
            "{definition}"
        );
    }
    // The alerts are evaluated here, too, and this agent has lost and dropped something.
    let firing = prometheus.wait_query(
        "ALERTS{alertname=~\"Why502Losses|Why502ExportDrops\",alertstate=\"firing\"}",
        PATIENCE,
    );
    assert!(!firing.unwrap().is_empty());
    let groups = prometheus.api("/api/v1/rules").unwrap()["groups"].take();
    let rules = groups
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    for rule in rules {
        assert_eq!(
            rule["health"], "ok",
            "{}: {}",
            rule["name"], rule["lastError"]
        );
    }
}

#[test]
fn prometheus_takes_the_alerts_and_their_tests_pass() {
    if !or_skip(&[Need::Prometheus]) {
        return;
    }
    promtool_on(&["check", "rules"], &fleet("alerts.yml")).unwrap();
    promtool_on(&["check", "config"], &fleet("prometheus.yml")).unwrap();
    promtool_on(&["test", "rules"], &fleet("alerts-test.yml")).unwrap();
}

#[test]
fn every_alert_has_a_test_in_which_it_comes() {
    if !or_skip(&[Need::PythonTools]) {
        return;
    }
    let alerts = &yaml(&fleet("alerts.yml")).unwrap()[0];
    let tests = &yaml(&fleet("alerts-test.yml")).unwrap()[0];
    let list = |value: &Value| value.as_array().unwrap().clone();
    let rules = list(&alerts["groups"])
        .into_iter()
        .flat_map(|group| list(&group["rules"]));
    let names: BTreeSet<String> = rules
        .map(|rule| rule["alert"].as_str().unwrap().into())
        .collect();
    let cases = list(&tests["tests"])
        .into_iter()
        .flat_map(|test| list(&test["alert_rule_test"]));
    let cases = cases.filter(|case| !list(&case["exp_alerts"]).is_empty());
    let tested: BTreeSet<String> = cases
        .map(|case| case["alertname"].as_str().unwrap().into())
        .collect();
    assert_eq!(names, tested);
}

#[test]
fn the_collector_fans_out() {
    if !or_skip(&[Need::Collector]) {
        return;
    }
    let own = Collector::start(Behaviour::Keep).unwrap();
    let vendor = Collector::start(Behaviour::Keep).unwrap();
    let ports = free_ports(2).unwrap();
    let mut environment = vec![
        ("LISTEN", ports[0].to_string()),
        ("TELEMETRY_PORT", ports[1].port().to_string()),
        ("VENDOR_URL", vendor.url()),
        ("VENDOR_TOKEN", "secret".into()),
    ];
    for (name, signal) in ["TRACES_URL", "METRICS_URL", "LOGS_URL"]
        .into_iter()
        .zip(Signal::ALL)
    {
        environment.push((name, format!("{}{}", own.url(), signal.path())));
    }
    let files = [fleet("otelcol.yaml"), fleet("otelcol-vendor.yaml")];
    let fleet = Collector::with_files(&files, &environment, ports[0]).unwrap();
    let trace: Value = serde_json::from_str(SMALLEST_TRACE).unwrap();
    let log = serde_json::json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"timeUnixNano": "1795331412770692759", "body": {"stringValue": "502"}},
    ]}]}]});
    for (signal, document) in [(Signal::Traces, trace), (Signal::Logs, log)] {
        let answer = fleet.post(signal, document.to_string().as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        for to in [&own, &vendor] {
            let documents = to.wait_documents(signal, 1, PATIENCE).unwrap();
            equal_after_defaults(&document, &documents[0]).unwrap();
        }
    }
    drop(fleet);
    // Without the vendor it starts as well.
    Collector::with_files(&files[..1], &environment, ports[0]).unwrap();
}

/// The agent's container in the manifest.
fn agent() -> (Value, Value) {
    let manifest = yaml(&fleet("daemonset.yaml")).unwrap();
    let set = manifest
        .iter()
        .find(|one| one["kind"] == "DaemonSet")
        .unwrap();
    let pod = set["spec"]["template"]["spec"].clone();
    let containers = pod["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    (containers[0].clone(), pod)
}

#[test]
fn the_manifest_fits_the_schema_and_asks_for_little() {
    if !or_skip(&[Need::PythonTools]) {
        return;
    }
    check_manifest(&fleet("daemonset.yaml")).unwrap();
    let (agent, pod) = agent();
    let security = &agent["securityContext"];
    assert_eq!(security["privileged"], false);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    let added = security["capabilities"]["add"].as_array().unwrap();
    assert!(
        added.iter().all(|one| one != "SYS_ADMIN" && one != "ALL"),
        "{added:?}"
    );
    assert_eq!(
        (&pod["hostPID"], &pod["hostNetwork"]),
        (&Value::Bool(true), &Value::Bool(true))
    );
    for mount in agent["volumeMounts"].as_array().unwrap() {
        assert!(
            mount["readOnly"] == true || ["state", "run"].iter().any(|name| mount["name"] == *name),
            "{mount}"
        );
    }
    // A field that does not exist, and one of the wrong kind, are noticed.
    let good = read("daemonset.yaml");
    for (from, to) in [
        ("hostPID: true", "hostPid: true"),
        ("hostPID: true", "hostPID: 3"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), good.replace(from, to)).unwrap();
        assert!(check_manifest(file.path()).is_err(), "{to}");
    }
}

/// No tools: the manifest is read as lines.
#[test]
fn a_container_by_itself_has_the_rights_of_the_manifest() {
    let page = fs::read_to_string(xtask::paths::root().join("docs/container.md")).unwrap();
    let words = |prefix: &str| -> BTreeSet<String> {
        let found = page
            .split_whitespace()
            .filter_map(|word| word.strip_prefix(prefix));
        found.map(str::to_owned).collect()
    };
    let manifest = read("daemonset.yaml");
    let capabilities = manifest
        .lines()
        .skip_while(|line| line.trim() != "add:")
        .skip(1);
    let capabilities = capabilities.map_while(|line| line.trim().strip_prefix("- "));
    let capabilities = capabilities.filter_map(|line| line.split_whitespace().next());
    let capabilities: BTreeSet<String> = capabilities.map(str::to_owned).collect();
    assert!(!capabilities.is_empty());
    assert_eq!(words("--cap-add="), capabilities);
    for (yes, option) in [
        ("hostPID: true", "--pid=host"),
        ("hostNetwork: true", "--network=host"),
        ("readOnlyRootFilesystem: true", "--read-only"),
        ("drop: [ALL]", "--cap-drop=ALL"),
    ] {
        assert!(manifest.contains(yes) && page.contains(option), "{option}");
    }
    for path in ["/sys/kernel/btf", "/sys/kernel/tracing"] {
        assert!(manifest.contains(&format!("path: {path},")), "{path}");
        assert!(page.contains(&format!("-v {path}:{path}:ro")), "{path}");
    }
}

#[test]
fn the_manifests_capabilities_are_enough() {
    if !or_skip(&[Need::PythonTools]) || !ready::or_skip(&[]) {
        return;
    }
    let why502 = xtask::paths::tested_why502();
    let (agent, _) = agent();
    let added = agent["securityContext"]["capabilities"]["add"]
        .as_array()
        .unwrap();
    let names = added
        .iter()
        .map(|name| name.as_str().unwrap().to_ascii_lowercase());
    let names: Vec<String> = names.collect();
    let run = |names: &[String], words: &[&str]| {
        let bounding: String = names.iter().map(|name| format!(",+{name}")).collect();
        let output = Command::new(find_program("setpriv").unwrap())
            .args(["--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"])
            .arg(format!("--bounding-set=-all{bounding}"))
            .arg("--")
            .arg(&why502)
            .args(words)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), text, output.stdout)
    };
    let (worked, text, _) = run(&names, &["capture", "--duration", "1s", "--format", "json"]);
    assert!(worked, "{text}");
    let (worked, text, stdout) = run(&names, &["doctor", "--format", "json"]);
    assert!(worked, "{text}");
    let checkup: Value = serde_json::from_slice(&stdout).unwrap();
    let problems = checkup["problems"].to_string();
    assert!(!problems.contains("CAP_"), "{problems}");
    // And none is there for nothing: the doctor names a use of each.
    let known = checkup["rights"]["capabilities"].as_array().unwrap();
    let known = known.iter().map(|one| one["name"].as_str().unwrap());
    let known: BTreeSet<String> = known.map(|name| name.to_ascii_lowercase()).collect();
    let mut named: BTreeSet<String> = names.iter().map(|name| format!("cap_{name}")).collect();
    // What kernels before 5.8 need in the place of two of them.
    named.insert("cap_sys_admin".into());
    assert_eq!(named, known);
}
