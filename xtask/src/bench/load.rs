//! Requests at a fixed rate, made by `h2load` of nghttp2.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::lab::process::{Running, bound, find_program};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Requests in a second, over all connections.
    pub(super) per_second: u64,
    /// Connections, each with one request at a time.
    pub(super) connections: u64,
    /// For how long, behind a second of warming up.
    pub(super) duration: Duration,
}

/// Time in which requests are made and not counted.
pub(super) const WARM_UP: Duration = Duration::from_secs(1);

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Done {
    /// Requests that were answered.
    pub(super) requests: u64,
    /// Of these, with a status of 2xx.
    pub(super) succeeded: u64,
    /// Answered requests in a second.
    pub(super) per_second: f64,
}

/// The load on its way; ended when dropped.
pub(super) struct Loading {
    running: Running,
}

impl Load {
    /// Begins to ask.
    pub(super) fn start(&self, addr: SocketAddr) -> Result<Loading> {
        let program =
            find_program("h2load").context("h2load is not installed (package nghttp2-client)")?;
        let each = self.per_second.div_ceil(self.connections.max(1));
        let mut command: Command = bound(&program);
        command
            .args(["--h1", "--threads=1"])
            .arg(format!("--clients={}", self.connections))
            .arg(format!("--rps={each}"))
            .arg(format!("--duration={}", self.duration.as_secs()))
            .arg(format!("--warm-up-time={}", WARM_UP.as_secs()))
            .arg(format!("http://{addr}/"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Ok(Loading {
            running: Running::start(&mut command)?,
        })
    }
}

impl Loading {
    /// Waits for its end. Errors: it failed, or wrote what is not known.
    pub(super) fn wait(mut self, patience: Duration) -> Result<Done> {
        // What it writes fits into the pipe.
        let Some(code) = self.running.wait(patience)? else {
            bail!("h2load does not end");
        };
        let mut text = String::new();
        if let Some(mut out) = self.running.child().stdout.take() {
            std::io::Read::read_to_string(&mut out, &mut text)?;
        }
        ensure!(code == 0, "h2load failed ({code}):\n{text}");
        parse(&text).with_context(|| format!("h2load wrote what is not known:\n{text}"))
    }
}

fn parse(text: &str) -> Option<Done> {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let number_before = |line: &str, unit: &str| {
        let part = line
            .split(',')
            .find_map(|part| part.trim().strip_suffix(unit))?;
        part.trim().parse::<f64>().ok()
    };
    let requests = line("requests: ")?;
    Some(Done {
        requests: number_before(requests, "done")? as u64,
        succeeded: number_before(line("status codes: ")?, "2xx")? as u64,
        per_second: number_before(line("finished in ")?, "req/s")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says() {
        let text = "Stopped all clients for thread #0\n\nfinished in 9.00s, 14475.88 req/s, 2.07MB/s\n\
                    requests: 115807 total, 115807 started, 115806 done, 115805 succeeded, 1 failed, 0 errored, 0 timeout\n\
                    status codes: 115804 2xx, 0 3xx, 0 4xx, 1 5xx\n";
        let done = Done {
            requests: 115_806,
            succeeded: 115_804,
            per_second: 14_475.88,
        };
        assert_eq!(parse(text), Some(done));
        assert_eq!(parse("finished in 9.00s"), None);
        assert_eq!(parse(""), None);
    }
}
