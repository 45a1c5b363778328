//! Real proxies in front of a failing backend, each with its own directory, configuration and logs.

mod apache;
mod envoy;
mod haproxy;
mod lane;
mod nginx;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use super::log::RequestLog;
use super::net::free_ports;
use super::process::{Running, bound, children, find_program, is_program, send, state, wait_for};
use crate::paths;

pub use lane::{Lane, Speak, Special};

/// Time for a proxy to start or to write a log line.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// NGINX.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
    /// Apache httpd with mod_proxy.
    Apache,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nginx, Self::Haproxy, Self::Envoy, Self::Apache];

    /// The name `why502 --proxy` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Apache => "apache",
        }
    }

    /// Where the program is on this machine.
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::Nginx => find_program("nginx"),
            Self::Haproxy => find_program("haproxy"),
            Self::Apache => find_program("apache2"),
            Self::Envoy => {
                let named = std::env::var_os("WHY502_ENVOY").map(PathBuf::from);
                named
                    .into_iter()
                    .chain([paths::envoy()])
                    .find(|path| is_program(path))
                    .or_else(|| find_program("envoy"))
            }
        }
    }
}

/// A way through the proxy; each has a listening port of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    /// To the main backend, a new connection for each request.
    Fresh,
    /// To the main backend over kept connections, with the proxy's own rules of reuse.
    Pooled,
    /// The same, but a kept connection serves any client (HAProxy `http-reuse always`; the others
    /// do so anyway).
    Shared,
    /// To the main backend first and, if that fails, to the second.
    Retry,
    /// To a port that refuses first, then to the second backend.
    RetryRefused,
    /// To a port that refuses.
    Refused,
    /// To an address where SYNs vanish.
    BlackHole,
    /// To a group without a usable server.
    Nobody,
}

impl Route {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Fresh,
        Self::Pooled,
        Self::Shared,
        Self::Retry,
        Self::RetryRefused,
        Self::Refused,
        Self::BlackHole,
        Self::Nobody,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Pooled => "pooled",
            Self::Shared => "shared",
            Self::Retry => "retry",
            Self::RetryRefused => "retry_refused",
            Self::Refused => "refused",
            Self::BlackHole => "black_hole",
            Self::Nobody => "nobody",
        }
    }
}

/// Where the routes lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstreams {
    /// The backend that fails as told.
    pub main: SocketAddr,
    /// The one that a retry goes to.
    pub second: SocketAddr,
    /// A port that refuses.
    pub refused: SocketAddr,
    /// An address where SYNs vanish.
    pub black_hole: SocketAddr,
}

/// How the proxy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Worker processes or threads.
    pub workers: usize,
    /// Client connections that NGINX (each worker) and HAProxy take at most. Envoy has no limit of
    /// its own that matters here, and each of Apache's costs a thread.
    pub clients: usize,
    /// Time to connect, ms.
    pub connect_ms: u64,
    /// Time for the response, ms. Apache takes whole seconds and rounds up.
    pub response_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            clients: 4000,
            connect_ms: 300,
            response_ms: 500,
        }
    }
}

/// Everything a configuration is made from.
struct Spec<'a> {
    dir: &'a Path,
    /// Empty if it has lanes only.
    fronts: &'a BTreeMap<Route, SocketAddr>,
    upstreams: Upstreams,
    lanes: &'a [lane::Open],
    options: Options,
}

impl Spec<'_> {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

/// A running proxy. Dropping it ends it and removes its directory.
pub struct Proxy {
    kind: Kind,
    fronts: BTreeMap<Route, SocketAddr>,
    lanes: Vec<lane::Open>,
    running: Running,
    dir: TempDir,
}

impl Proxy {
    /// Starts it with all routes and waits until all its ports answer.
    pub fn start(kind: Kind, upstreams: Upstreams, options: Options) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("why502-lab-{}-", kind.name()))
            .tempdir()?;
        let fronts = Route::ALL.into_iter().zip(free_ports(Route::ALL.len())?);
        Self::launch(kind, dir, upstreams, fronts.collect(), Vec::new(), options)
    }

    /// Starts it with these lanes instead, its files below `parent`.
    pub fn start_lanes(
        kind: Kind,
        lanes: Vec<Lane>,
        options: Options,
        parent: &Path,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("{}-", kind.name()))
            .tempdir_in(parent)?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let upstreams = Upstreams {
            main: nowhere,
            second: nowhere,
            refused: nowhere,
            black_hole: nowhere,
        };
        let ports = free_ports(lanes.len())?;
        let lanes = lanes.into_iter().zip(ports);
        let lanes = lanes.map(|(lane, front)| lane::Open { lane, front });
        Self::launch(
            kind,
            dir,
            upstreams,
            BTreeMap::new(),
            lanes.collect(),
            options,
        )
    }

    fn launch(
        kind: Kind,
        dir: TempDir,
        upstreams: Upstreams,
        fronts: BTreeMap<Route, SocketAddr>,
        lanes: Vec<lane::Open>,
        options: Options,
    ) -> Result<Self> {
        let program = kind
            .program()
            .with_context(|| format!("{} is not installed", kind.name()))?;
        let spec = Spec {
            dir: dir.path(),
            fronts: &fronts,
            upstreams,
            lanes: &lanes,
            options,
        };
        let (file, text) = match kind {
            Kind::Nginx => ("nginx.conf", nginx::config(&spec)),
            Kind::Haproxy => ("haproxy.cfg", haproxy::config(&spec)),
            Kind::Envoy => ("envoy.json", envoy::config(&spec)),
            Kind::Apache => ("apache.conf", apache::config(&spec)),
        };
        let config = dir.path().join(file);
        fs::write(&config, text)?;
        let mut command = bound(&program);
        match kind {
            Kind::Nginx => command.arg("-p").arg(dir.path()).arg("-c").arg(&config),
            Kind::Haproxy => command.arg("-db").arg("-f").arg(&config),
            Kind::Envoy => command
                .args(["--disable-hot-restart", "--log-level", "warn"])
                .args(["--file-flush-interval-msec", "20"])
                .arg("--concurrency")
                .arg(options.workers.to_string())
                .arg("-c")
                .arg(&config),
            Kind::Apache => command.args(["-D", "FOREGROUND", "-f"]).arg(&config),
        };
        command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(File::create(dir.path().join("stdout.log"))?)
            .stderr(File::create(dir.path().join("stderr.log"))?);
        let mut proxy = Self {
            kind,
            running: Running::start(&mut command)?,
            fronts,
            lanes,
            dir,
        };
        proxy.wait_ready()?;
        Ok(proxy)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let lanes = self.lanes.iter().map(|open| open.front);
        let fronts: Vec<_> = self.fronts.values().copied().chain(lanes).collect();
        let running = &mut self.running;
        let ready = wait_for(PATIENCE, || {
            if let Some(code) = running.exited()? {
                bail!("it ended with code {code}");
            }
            let answers = |to: &SocketAddr| {
                TcpStream::connect_timeout(to, Duration::from_millis(200)).is_ok()
            };
            Ok(fronts.iter().all(answers).then_some(()))
        });
        match ready {
            Ok(Some(())) => Ok(()),
            Ok(None) => bail!(
                "{} does not listen: {}",
                self.kind.name(),
                self.complaints()
            ),
            Err(error) => Err(error.context(format!(
                "{} does not start: {}",
                self.kind.name(),
                self.complaints()
            ))),
        }
    }

    /// What the program said on its standard error and in its error log.
    fn complaints(&self) -> String {
        ["stderr.log", "error.log", "stdout.log"]
            .map(|name| self.file(name))
            .join("\n")
    }

    /// Which program this is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Where that route listens.
    pub fn front(&self, route: Route) -> SocketAddr {
        self.fronts[&route]
    }

    /// Where that lane listens.
    pub fn lane(&self, name: &str) -> Option<SocketAddr> {
        let open = self.lanes.iter().find(|open| open.lane.name == name)?;
        Some(open.front)
    }

    /// Where it listens for its lanes.
    pub fn lane_fronts(&self) -> impl Iterator<Item = SocketAddr> {
        self.lanes.iter().map(|open| open.front)
    }

    /// Process id of the (master) process.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The processes that handle connections.
    pub fn workers(&self) -> Vec<u32> {
        match self.kind {
            Kind::Nginx | Kind::Apache => children(self.pid()),
            Kind::Haproxy | Kind::Envoy => vec![self.pid()],
        }
    }

    /// Stops all workers where they are, until the guard is dropped. What happens on their sockets
    /// meanwhile is seen by them at once afterwards, in the order in which it happened.
    pub fn pause(&self) -> Result<Paused> {
        let pids = self.workers();
        for pid in &pids {
            send(*pid, Signal::STOP)?;
        }
        let stopped = wait_for(PATIENCE, || {
            Ok(pids
                .iter()
                .all(|pid| state(*pid) == Some('T'))
                .then_some(()))
        })?;
        ensure!(stopped.is_some(), "the workers do not stop");
        Ok(Paused { pids })
    }

    /// Sends the master process a signal (NGINX: `HUP` loads the configuration again).
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// What the proxy logged about one request, found by its path and (Apache) its client address.
    /// Waits up to `patience` for the access line, which comes last.
    pub fn log_of(&self, path: &str, client: SocketAddr, patience: Duration) -> Result<RequestLog> {
        let read = || self.logs(|_| true).of(path, client);
        let found = wait_for(patience, || {
            Ok(Some(read()).filter(|log| log.access.is_some()))
        })?;
        Ok(found.unwrap_or_else(read))
    }

    /// Its logs in the forms that it comes with (or that are recommended): what `--log` can follow.
    pub fn log_files(&self) -> Vec<PathBuf> {
        let names: &[&str] = match self.kind {
            Kind::Haproxy => &["stdout.log"],
            Kind::Envoy => &["access.log"],
            Kind::Nginx => &["error.log", "access.log"],
            // The lab's access log of Apache has a form of its own.
            Kind::Apache => &["error.log"],
        };
        names
            .iter()
            .map(|name| self.dir.path().join(name))
            .collect()
    }

    /// The lines of its access log as they are now.
    pub fn access_lines(&self) -> Vec<String> {
        let logs = self.logs(|_| true);
        logs.access.lines().map(str::to_owned).collect()
    }

    /// The logs as they are now, without the access lines in which `keep` finds nothing of interest:
    /// for whoever looks up many requests at once.
    pub fn logs(&self, keep: impl Fn(&str) -> bool) -> Logs {
        let (access, error) = match self.kind {
            Kind::Haproxy => ("stdout.log", None),
            Kind::Envoy => ("access.log", None),
            Kind::Nginx | Kind::Apache => ("access.log", Some("error.log")),
        };
        let access = self.file(access);
        let kept = access.lines().filter(|line| keep(line));
        Logs {
            kind: self.kind,
            access: kept.map(|line| format!("{line}\n")).collect(),
            error: error.map(|name| self.file(name)).unwrap_or_default(),
        }
    }

    fn file(&self, name: &str) -> String {
        let bytes = fs::read(self.dir.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The directory with configuration and logs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// What a proxy has logged up to some moment.
pub struct Logs {
    kind: Kind,
    access: String,
    error: String,
}

impl Logs {
    /// The lines of one request, found by its path and (Apache) its client address.
    pub fn of(&self, path: &str, client: SocketAddr) -> RequestLog {
        match self.kind {
            Kind::Nginx => nginx::log_of(&self.error, &self.access, path),
            Kind::Haproxy => haproxy::log_of(&self.access, path),
            Kind::Envoy => envoy::log_of(&self.access, path),
            Kind::Apache => apache::log_of(&self.error, &self.access, path, client),
        }
    }
}

/// Workers that stand still until this is dropped.
pub struct Paused {
    pids: Vec<u32>,
}

impl Drop for Paused {
    fn drop(&mut self) {
        for pid in &self.pids {
            // Fails only for a worker that was ended meanwhile.
            let _ = send(*pid, Signal::CONT);
        }
    }
}

/// Lines of `text` that hold `key` followed by something that ends a path.
fn lines_with<'t>(text: &'t str, key: &str) -> impl Iterator<Item = &'t str> {
    text.lines().filter(move |line| {
        line.match_indices(key).any(|(at, _)| {
            let next = line[at + key.len()..].chars().next();
            !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-' || c == '/')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_not_found_inside_a_longer_one() {
        let text = "GET /fin/1 HTTP\nGET /fin/12 HTTP\nGET /fin/1?a\n/fin/1/x\nx /fin/1\" y\n";
        let found: Vec<_> = lines_with(text, "/fin/1").collect();
        assert_eq!(found, ["GET /fin/1 HTTP", "GET /fin/1?a", "x /fin/1\" y"]);
    }
}
