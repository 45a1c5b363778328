//! A server program of somebody else, its directory and its log.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::http;
use crate::lab::process::{Running, wait_for};

/// Time for a server to answer for the first time.
const START: Duration = Duration::from_secs(30);
/// How much of a log a failure shows, lines.
const TAIL: usize = 40;

/// A running server; ended when dropped, and its directory with it.
pub(super) struct Service {
    name: &'static str,
    // Dropped in this order: nothing writes into the directory that is removed.
    running: Running,
    directory: TempDir,
}

impl Service {
    /// A place for its files.
    pub(super) fn directory() -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix("why502-receiver-")
            .tempdir()
            .context("no temporary directory")
    }

    /// Starts it in `directory`, its output in a log there, and waits until `ready` says so.
    /// Errors hold the end of that log.
    pub(super) fn start(
        name: &'static str,
        command: &mut Command,
        directory: TempDir,
        mut ready: impl FnMut() -> bool,
    ) -> Result<Self> {
        let log = File::create(directory.path().join("log"))?;
        command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let running = Running::start(command)?;
        let mut service = Self {
            name,
            running,
            directory,
        };
        let answered = wait_for(START, || {
            if let Some(code) = service.running.exited()? {
                return Ok(Some(Err(format!("ended with code {code}"))));
            }
            Ok(ready().then_some(Ok(())))
        })?;
        match answered {
            Some(Ok(())) => Ok(service),
            Some(Err(why)) => bail!("{}", service.explain(&why)),
            None => bail!(
                "{}",
                service.explain(&format!("is not ready after {} s", START.as_secs()))
            ),
        }
    }

    /// Its directory.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What went wrong, with the end of its log.
    pub(super) fn explain(&self, what: &str) -> String {
        let log = fs::read(self.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        let tail: String = tail.iter().map(|line| format!("\n    | {line}")).collect();
        format!("{} {what}; its log:{tail}", self.name)
    }
}

/// Does anything come back from there? Any status will do.
pub(super) fn answers(addr: SocketAddr, path: &str) -> bool {
    http::get(addr, path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_tells_why() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such flag; exit 3"]);
        let directory = Service::directory().unwrap();
        let path = directory.path().to_path_buf();
        let error = Service::start("x", &mut command, directory, || false);
        let error = error.err().unwrap().to_string();
        assert_eq!(error, "x ended with code 3; its log:\n    | no such flag");
        assert!(!path.exists());
    }

    #[test]
    fn it_ends_with_its_owner() {
        let mut command = Command::new("sleep");
        let service = Service::start(
            "sleep",
            command.arg("60"),
            Service::directory().unwrap(),
            || true,
        );
        let service = service.unwrap();
        let (pid, path) = (service.pid(), service.path().to_path_buf());
        drop(service);
        assert_eq!(crate::lab::process::state(pid), None);
        assert!(!path.exists());
    }
}
