//! Prometheus, scraping what a test serves and asked through its API; and `promtool`, its judge of
//! texts and rules.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::http;
use super::service::Service;
use crate::lab::net::free_ports;
use crate::lab::process::{bound, find_program, wait_for};

/// Discovery runs every five seconds whatever the interval is, so a first scrape takes that long.
pub const FIRST_SCRAPE: Duration = Duration::from_secs(30);

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Labels, `__name__` among them.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// A running server; ended when dropped.
pub struct Prometheus {
    service: Service,
    addr: SocketAddr,
    job: &'static str,
}

impl Prometheus {
    /// Starts one that scrapes these addresses once a second as `job` and evaluates these files of
    /// rules. Waits until it answers, not until it has scraped. Errors hold its log.
    pub fn start(job: &'static str, targets: &[SocketAddr], rules: &[PathBuf]) -> Result<Self> {
        let program = find_program("prometheus").context("prometheus is not installed")?;
        let addr = free_ports(1)?[0];
        let directory = Service::directory()?;
        let config = directory.path().join("config.yml");
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        // JSON is YAML.
        let text = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": rules,
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": targets}]}],
        });
        fs::write(&config, text.to_string())?;
        let mut command = bound(&program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--web.listen-address={addr}"))
            .arg("--storage.tsdb.path=data")
            .arg("--enable-feature=exemplar-storage,native-histograms");
        let service = Service::start("prometheus", &mut command, directory, || {
            http::get(addr, "/-/ready").is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(Self { service, addr, job })
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until every target was scraped without an error. Errors: what a target's error was.
    pub fn wait_up(&self, patience: Duration) -> Result<()> {
        let mut last = Value::Null;
        let up = wait_for(patience, || {
            last = self.api("/api/v1/targets?state=active")?["activeTargets"].take();
            let all = last.as_array().filter(|all| !all.is_empty());
            let up = all.is_some_and(|all| all.iter().all(|target| target["health"] == "up"));
            Ok(up.then_some(()))
        })?;
        match up {
            Some(()) => Ok(()),
            None => bail!(
                "{}",
                self.service
                    .explain(&format!("has targets that are not up: {last}"))
            ),
        }
    }

    /// The series that an instant query returns now; a scalar is a series without labels. Errors:
    /// the query is wrong.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let data = self.api(&format!("/api/v1/query?query={}", http::escape(expression)))?;
        if data["resultType"] == "scalar" {
            let value = number(&data["result"]).context("a scalar without a value")?;
            return Ok(vec![Sample {
                labels: BTreeMap::new(),
                value,
            }]);
        }
        let series = data["result"].as_array().context("no list of series")?;
        series
            .iter()
            .map(|one| {
                Ok(Sample {
                    labels: serde_json::from_value(one["metric"].clone())?,
                    value: number(&one["value"])
                        .with_context(|| format!("a series without a number: {one}"))?,
                })
            })
            .collect()
    }

    /// The same, again and again until there is at least one series.
    pub fn wait_query(&self, expression: &str, patience: Duration) -> Result<Vec<Sample>> {
        let found = wait_for(patience, || {
            let series = self.query(expression)?;
            Ok((!series.is_empty()).then_some(series))
        })?;
        found.with_context(|| {
            self.service.explain(&format!(
                "has nothing for `{expression}` in job {} after {} s",
                self.job,
                patience.as_secs()
            ))
        })
    }

    /// Exemplars of a series in the last minutes: `data` of `/api/v1/query_exemplars`.
    pub fn exemplars(&self, expression: &str, start: f64, end: f64) -> Result<Value> {
        self.api(&format!(
            "/api/v1/query_exemplars?start={start}&end={end}&query={}",
            http::escape(expression)
        ))
    }

    /// `data` of an answer of the API. Errors: it says `error`.
    pub fn api(&self, path: &str) -> Result<Value> {
        let mut answer = http::get(self.addr, path)
            .with_context(|| self.service.explain("did not answer"))?
            .json()?;
        ensure!(
            answer["status"] == "success",
            "prometheus says of {path}: {}: {}",
            answer["errorType"].as_str().unwrap_or("?"),
            answer["error"].as_str().unwrap_or("?")
        );
        Ok(answer["data"].take())
    }
}

/// `[time, "value"]`.
fn number(pair: &Value) -> Option<f64> {
    pair.get(1)?.as_str()?.parse().ok()
}

/// Errors unless `promtool check metrics` has nothing to say about a text in the classic format.
pub fn check_metrics(text: &str) -> Result<()> {
    let mut child = promtool()?
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run promtool")?;
    let mut stdin = child.stdin.take().context("no pipe to promtool")?;
    // It reads all of it before it says anything.
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "promtool check metrics ({}): {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Runs promtool on a file, such as `["check", "rules"]`; what it says on standard output. Errors:
/// what it has against it.
pub fn promtool_on(words: &[&str], file: &Path) -> Result<String> {
    let output = promtool()?
        .args(words)
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .context("cannot run promtool")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "promtool {} {} ({}): {stdout}{}",
        words.join(" "),
        file.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(stdout.into_owned())
}

fn promtool() -> Result<Command> {
    find_program("promtool")
        .map(Command::new)
        .context("promtool is not installed (package prometheus)")
}
