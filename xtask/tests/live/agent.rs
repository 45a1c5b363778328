//! The agent as a service would run it: started by its configuration, told by signals, judged by its
//! metrics, its snapshots and what `/proc` says of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use xtask::lab::client::Request;
use xtask::lab::net::free_ports;
use xtask::lab::process::{Running, bound, wait_for};
use xtask::lab::proxy::{Kind, Options, Route};
use xtask::lab::stand::{Behind, Stand};

use crate::{turn, why502};

const PATIENCE: Duration = Duration::from_secs(20);
/// Failures that are a burst.
const BURST: usize = 12;

struct Agent {
    running: Running,
    dir: tempfile::TempDir,
    metrics: SocketAddr,
    notified: UnixDatagram,
}

impl Agent {
    /// An agent for that process, when it says that it is ready.
    fn start(pid: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metrics = free_ports(1).unwrap()[0];
        let notified = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        notified.set_read_timeout(Some(PATIENCE)).unwrap();
        let config = config(dir.path(), metrics, &format!("pids = [{pid}]"));
        fs::write(dir.path().join("why502.toml"), config).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut command = bound(&why502());
        command
            .args(["agent", "--config"])
            .arg(dir.path().join("why502.toml"))
            .env("NOTIFY_SOCKET", dir.path().join("notify"))
            .env("WATCHDOG_USEC", "500000")
            .stdin(Stdio::null())
            .stderr(log);
        let running = Running::start(&mut command).unwrap();
        let agent = Self {
            running,
            dir,
            metrics,
            notified,
        };
        agent.hears("READY=1");
        agent
    }

    /// Waits until it has told the service manager that.
    fn hears(&self, word: &str) {
        loop {
            let mut buffer = [0; 512];
            let got = self.notified.recv(&mut buffer);
            let got = got.unwrap_or_else(|error| panic!("no {word}: {error}\n{}", self.log()));
            if String::from_utf8_lossy(&buffer[..got]).contains(word) {
                return;
            }
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn says(&self, word: &str) {
        let said = wait_for(PATIENCE, || Ok(self.log().contains(word).then_some(())));
        assert!(said.unwrap().is_some(), "not said: {word}\n{}", self.log());
    }

    fn reconfigure(&self, capture: &str) {
        let config = config(self.dir.path(), self.metrics, capture);
        fs::write(self.dir.path().join("why502.toml"), config).unwrap();
        self.running.signal(Signal::HUP).unwrap();
    }

    fn get(&self, path: &str, accept: &str) -> String {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A sample of its metrics, by name and labels.
    fn metric(&self, name: &str) -> Option<f64> {
        let page = self.get("/metrics", "text/plain");
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }

    fn counts(&self, name: &str, value: f64) {
        let there = wait_for(PATIENCE, || {
            Ok((self.metric(name) == Some(value)).then_some(()))
        });
        let page = || self.get("/metrics", "text/plain");
        assert!(
            there.unwrap().is_some(),
            "{name} is not {value}\n{}",
            page()
        );
    }

    fn snapshots(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path().join("snapshots"));
        let entries = entries.into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    fn ask(&self, args: &[&str]) -> Output {
        let config = self.dir.path().join("why502.toml");
        let mut command = Command::new(why502());
        command.args(args).arg("--config").arg(config);
        command.output().unwrap()
    }
}

fn config(dir: &Path, metrics: SocketAddr, capture: &str) -> String {
    let dir = dir.display();
    format!(
        "runtime_directory = \"{dir}/run\"\n[capture]\n{capture}\n[snapshot]\n\
         directory = \"{dir}/snapshots\"\nburst_failures = {BURST}\n[metrics]\n\
         listen = \"{metrics}\"\n[log_output]\nformat = \"json\"\n"
    )
}

fn report(recording: &Path) -> Value {
    let mut command = Command::new(why502());
    command
        .arg("report")
        .arg(recording)
        .args(["--format", "json"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Paths and rules of a report's cases.
fn told(report: &Value) -> Vec<(String, String)> {
    let cases = report["cases"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    cases
        .map(|case| {
            (
                text(&case["downstream"]["path"]),
                text(&case["verdict"]["rule"]),
            )
        })
        .collect()
}

/// Capabilities and `NoNewPrivs` of all its threads.
fn rights(pid: u32) -> Vec<(u64, u64, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .map(|status| {
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap().trim().to_owned()
            };
            let bits = |name| u64::from_str_radix(&field(name), 16).unwrap();
            (bits("CapEff:"), bits("CapPrm:"), field("NoNewPrivs:"))
        })
        .collect()
}

#[test]
fn a_day_in_the_life_of_an_agent() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let behind = Behind::without_filter().unwrap();
    let stand = Stand::with(Kind::Nginx, Options::default(), behind).unwrap();
    let mut agent = Agent::start(stand.proxy.pid());
    let cases = "why502_agent_cases_total{outcome=\"error-response\"}";

    // It has what it needs, and no more.
    const PTRACE_AND_READ: u64 = 1 << 19 | 1 << 2;
    const BPF: u64 = 1 << 39;
    const ADMIN: u64 = 1 << 21;
    for (effective, permitted, no_new) in rights(agent.running.pid()) {
        assert_eq!(effective & !(BPF | ADMIN), PTRACE_AND_READ, "{effective:x}");
        assert_eq!(permitted, effective);
        assert_eq!(no_new, "1");
    }
    agent.says("CAP_SYS_PTRACE");

    // Failures are counted, and a snapshot has them.
    for n in 0..3 {
        let path = format!("/fin/{n}");
        stand.ask(Route::Fresh, &Request::get(&path)).unwrap();
        stand.ask(Route::Pooled, &Request::get("/ok")).unwrap();
    }
    agent.counts(cases, 3.0);
    let output = agent.ask(&["snapshot"]);
    assert!(output.status.success(), "{output:?}\n{}", agent.log());
    let path = String::from_utf8(output.stdout).unwrap();
    let first = report(Path::new(path.trim()));
    let expected: Vec<(String, String)> = (0..3)
        .map(|n| (format!("/fin/{n}"), "fin-before-response".to_owned()))
        .collect();
    assert_eq!(told(&first), expected, "{first:#}");
    let counted = first["backends"].as_array().unwrap().iter();
    let counted: u64 = counted.filter_map(|one| one["exchanges"].as_u64()).sum();
    assert_eq!(counted, 3, "answered: {:#}", first["backends"]);
    let mode = fs::metadata(path.trim())
        .map(|meta| std::os::unix::fs::PermissionsExt::mode(&meta.permissions()));
    assert_eq!(mode.unwrap() & 0o777, 0o600);

    // A second agent is told who is first.
    let second = agent.ask(&["agent"]);
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    let pid = agent.running.pid();
    assert!(said.contains(&format!("process {pid} holds")), "{said}");

    // A bad configuration changes nothing and is told with its place.
    agent.reconfigure("snaplenn = 5");
    agent.hears("RELOADING=1");
    agent.hears("READY=1");
    agent.says("line 3, column 1: [capture] has no key snaplenn; did you mean snaplen?");
    // A good one is adopted: nothing that is traced now has this name.
    agent.reconfigure("proxies = [\"no-such-proxy\"]\nsnaplen = 256");
    agent.says("snaplen of [capture] is changed by a restart only");
    agent.counts("why502_agent_reloads_total{result=\"ok\"}", 1.0);
    stand
        .ask(Route::Fresh, &Request::get("/fin/unseen"))
        .unwrap();
    agent.reconfigure(&format!("pids = [{}]", stand.proxy.pid()));
    agent.counts("why502_agent_reloads_total{result=\"ok\"}", 2.0);

    // Many failures at once make a snapshot by themselves; a signal makes one, too.
    for n in 0..BURST {
        let path = format!("/rst/{n}");
        stand.ask(Route::Fresh, &Request::get(&path)).unwrap();
    }
    agent.counts(
        "why502_agent_snapshots_total{reason=\"burst\",result=\"written\"}",
        1.0,
    );
    agent.counts(cases, 3.0 + BURST as f64);
    agent.running.signal(Signal::USR1).unwrap();
    agent.counts(
        "why502_agent_snapshots_total{reason=\"signal\",result=\"written\"}",
        1.0,
    );
    let snapshots = agent.snapshots();
    assert_eq!(snapshots.len(), 3, "{snapshots:?}");
    let last = report(&snapshots[2]);
    let rules = told(&last);
    assert_eq!(rules.len(), 3 + BURST, "{last:#}");
    assert_eq!(rules[..3], expected);
    assert!(
        rules[3..]
            .iter()
            .all(|(_, rule)| rule == "rst-before-response"),
        "{rules:?}"
    );

    // Where no snapshot can be written it says so and goes on.
    let folder = agent.dir.path().join("snapshots");
    fs::rename(&folder, folder.with_extension("old")).unwrap();
    fs::write(&folder, "no directory").unwrap();
    let output = agent.ask(&["snapshot"]);
    assert_eq!(output.status.code(), Some(2));
    agent.says("no snapshot could be written");
    assert!(agent.get("/healthz", "*/*").contains("\"status\":\"ok\""));
    assert!(
        agent
            .get("/metrics", "application/openmetrics-text")
            .ends_with("# EOF\n")
    );

    agent.hears("WATCHDOG=1");
    agent.running.signal(Signal::TERM).unwrap();
    agent.hears("STOPPING=1");
    let code = agent.running.wait(PATIENCE).unwrap();
    assert_eq!(code, Some(0), "{}", agent.log());
    assert!(!agent.dir.path().join("run/agent.sock").exists());
    // Every line of its log is JSON.
    for line in agent.log().lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
