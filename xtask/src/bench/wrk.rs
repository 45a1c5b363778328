//! As many requests as go: `wrk`, closed loop.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::lab::process::{bound, find_program};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Done {
    /// Responses.
    pub(super) requests: u64,
    /// Responses in a second.
    pub(super) per_second: f64,
}

/// Asks over that many connections for that long. Errors: not every response was a good one.
pub(super) fn run(addr: SocketAddr, connections: u32, close: bool, time: Duration) -> Result<Done> {
    let text = text(addr, connections, close, time)?;
    ensure!(
        !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "not every response was a good one:\n{text}"
    );
    parse(&text).with_context(|| format!("wrk wrote what is not known:\n{text}"))
}

/// Asks what cannot be answered. Errors: a response was a good one.
pub(super) fn run_failing(addr: SocketAddr, connections: u32, time: Duration) -> Result<Done> {
    let text = text(addr, connections, false, time)?;
    let done = parse(&text).with_context(|| format!("wrk wrote what is not known:\n{text}"))?;
    ensure!(
        failed(&text) == Some(done.requests) && !text.contains("Socket errors"),
        "not every response was an error:\n{text}"
    );
    Ok(done)
}

fn failed(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Non-2xx or 3xx responses:"))?;
    line.trim().parse().ok()
}

fn text(addr: SocketAddr, connections: u32, close: bool, time: Duration) -> Result<String> {
    let program = find_program("wrk").context("wrk is not installed (package wrk)")?;
    let mut command = bound(&program);
    command
        .args(["--threads", "1", "--connections", &connections.to_string()])
        .arg("--duration")
        .arg(format!("{}s", time.as_secs().max(1)));
    if close {
        command.args(["--header", "Connection: close"]);
    }
    command.arg(format!("http://{addr}/")).stdin(Stdio::null());
    let output = command.output().context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {text}");
    Ok(text.into_owned())
}

fn parse(text: &str) -> Option<Done> {
    let total = text.lines().find(|line| line.contains(" requests in "))?;
    let rate = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:"))?;
    Some(Done {
        requests: total.trim().split(' ').next()?.parse().ok()?,
        per_second: rate.trim().parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says() {
        let text = "Running 8s test @ http://127.0.0.1:18080/\n  1 threads and 50 connections\n  \
                    143477 requests in 8.03s, 20.52MB read\nRequests/sec:  17863.32\n\
                    Transfer/sec:      2.56MB\n";
        let done = Done {
            requests: 143_477,
            per_second: 17_863.32,
        };
        assert_eq!(parse(text), Some(done));
        assert_eq!(parse("Requests/sec: 1"), None);
        assert_eq!(failed(text), None);
        assert_eq!(failed("  Non-2xx or 3xx responses: 12\n"), Some(12));
    }
}
