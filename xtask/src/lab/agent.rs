//! `why502 agent` as a service manager would run it: by a configuration, in a directory of its own,
//! told by signals, judged by what it notifies, by its metrics and by its log.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use super::net::free_ports;
use super::process::{Running, bound, find_program, wait_for};

/// Longest that anything about it may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What its configuration says beside the places of its files.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Lines of `[capture]`.
    pub capture: String,
    /// Lines of `[snapshot]`.
    pub snapshot: String,
    /// Further sections. `@` stands for its directory.
    pub more: String,
    /// A disk of that size, kB, at `@/disk`, where only the agent sees it.
    pub small_disk_kb: Option<u32>,
    /// Variables of its environment. `@` stands for its directory.
    pub environment: Vec<(&'static str, String)>,
}

/// A running agent; ended when dropped.
pub struct Agent {
    program: PathBuf,
    /// Its process.
    pub running: Running,
    metrics: SocketAddr,
    notified: UnixDatagram,
    // Last, so that nothing writes into what is removed.
    dir: TempDir,
}

impl Agent {
    /// Starts one in a new directory; gives it when it says that it is ready.
    pub fn start(program: &Path, settings: &Settings) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("why502-agent-").tempdir()?;
        Self::start_in(dir, program, settings)
    }

    /// The same where another was before.
    pub fn start_in(dir: TempDir, program: &Path, settings: &Settings) -> Result<Self> {
        let metrics = free_ports(1)?[0];
        let socket = dir.path().join("notify");
        // Of the one before.
        let _ = fs::remove_file(&socket);
        let notified = UnixDatagram::bind(&socket)?;
        notified.set_read_timeout(Some(PATIENCE))?;
        write_config(dir.path(), metrics, settings)?;
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(dir.path().join("log"))?;
        let mut command = match settings.small_disk_kb {
            None => bound(program),
            Some(size) => on_small_disk(program, &dir.path().join("disk"), size)?,
        };
        let place = dir.path().display().to_string();
        for (name, value) in &settings.environment {
            command.env(name, value.replace('@', &place));
        }
        command
            .args(["agent", "--config"])
            .arg(config_in(dir.path()))
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", "500000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let agent = Self {
            program: program.to_path_buf(),
            running: Running::start(&mut command)?,
            metrics,
            notified,
            dir,
        };
        agent.hears("READY=1")?;
        Ok(agent)
    }

    /// Ends it with no chance to put anything away; gives what it leaves behind.
    pub fn kill(self) -> Result<TempDir> {
        let Self {
            mut running, dir, ..
        } = self;
        running.signal(Signal::KILL)?;
        running.wait(PATIENCE)?.context("SIGKILL did not end it")?;
        Ok(dir)
    }

    /// Its directory: `snapshots/`, and whatever the settings put there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until it has told the service manager that.
    pub fn hears(&self, word: &str) -> Result<()> {
        loop {
            let mut buffer = [0; 512];
            let got = self
                .notified
                .recv(&mut buffer)
                .with_context(|| format!("no {word}\n{}", self.log()))?;
            if String::from_utf8_lossy(&buffer[..got]).contains(word) {
                return Ok(());
            }
        }
    }

    /// What it has written to standard error, or what is wrong with that.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.dir().join("log"));
        log.unwrap_or_else(|error| error.to_string())
    }

    /// Waits until its log has that.
    pub fn says(&self, word: &str) -> Result<()> {
        let said = wait_for(PATIENCE, || Ok(self.log().contains(word).then_some(())))?;
        said.with_context(|| format!("not said: {word}\n{}", self.log()))
    }

    /// Gives it another configuration and tells it to read that.
    pub fn reconfigure(&self, settings: &Settings) -> Result<()> {
        write_config(self.dir(), self.metrics, settings)?;
        self.running.signal(Signal::HUP)
    }

    /// A page of its HTTP server, head and body.
    pub fn get(&self, path: &str, accept: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.metrics)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// A sample of its metrics, by name and labels. `None`: there is none.
    pub fn metric(&self, name: &str) -> Result<Option<f64>> {
        let page = self.get("/metrics", "text/plain")?;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.and_then(|value| value.parse().ok()))
    }

    /// Waits until a sample has that value.
    pub fn counts(&self, name: &str, value: f64) -> Result<()> {
        let there = wait_for(PATIENCE, || {
            Ok((self.metric(name)? == Some(value)).then_some(()))
        })?;
        if there.is_some() {
            return Ok(());
        }
        let page = self.get("/metrics", "text/plain")?;
        bail!("{name} is not {value}\n{page}\n{}", self.log())
    }

    /// The files in its directory for snapshots, by name.
    pub fn snapshots(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir().join("snapshots"));
        let entries = entries.into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    /// Runs why502 with its configuration.
    pub fn ask(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .arg("--config")
            .arg(config_in(self.dir()));
        Ok(command.output()?)
    }
}

/// The program in a mount namespace of its own, with a file system in memory at `disk`. The process
/// is that of the program in the end.
fn on_small_disk(program: &Path, disk: &Path, kb: u32) -> Result<Command> {
    fs::create_dir_all(disk)?;
    let unshare = find_program("unshare").context("unshare is not installed (util-linux)")?;
    let mut command = bound(&unshare);
    command
        .args(["--mount", "--propagation", "private", "--", "sh", "-ec"])
        .arg("mount -t tmpfs -o \"mode=0700,size=${2}k\" why502-lab \"$1\"; shift 2; exec \"$@\"")
        .arg("sh")
        .arg(disk)
        .arg(kb.to_string())
        .arg(program);
    Ok(command)
}

fn config_in(dir: &Path) -> PathBuf {
    dir.join("why502.toml")
}

fn write_config(dir: &Path, metrics: SocketAddr, settings: &Settings) -> Result<()> {
    let Settings {
        capture,
        snapshot,
        more,
        ..
    } = settings;
    let dir_text = dir.display().to_string();
    let more = more.replace('@', &dir_text);
    // The spool wants a directory that nobody else may enter.
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(dir.join("spool"))?;
    let text = format!(
        "runtime_directory = \"{dir_text}/run\"\n[capture]\n{capture}\n[snapshot]\n\
         directory = \"{dir_text}/snapshots\"\n{snapshot}\n[metrics]\n\
         listen = \"{metrics}\"\n[log_output]\nformat = \"json\"\n{more}\n"
    );
    fs::write(config_in(dir), text)?;
    Ok(())
}
