//! Connections that carry one request each.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::super::site::Site;
use super::super::{usage, wrk};
use super::Counted;
use crate::lab::capture::{Capture, Output};
use crate::lab::proxy::Kind;

const CONNECTIONS: u32 = 50;

/// What came out.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Churn {
    /// Connections in a second.
    pub connections_per_second: f64,
    /// Time of the process on a processor by time that went by.
    pub user_cpu_ratio: f64,
    /// Resident at the end, bytes.
    pub rss_bytes: u64,
    /// What the capture counted.
    pub counted: Counted,
}

/// The backend alone is asked, and traced: a proxy in front would halve the rate.
pub(super) fn run(time: Duration, why502: &Path) -> Result<Churn> {
    let site = Site::start(Kind::Nginx, 3)?;
    let pid = site.backend_pid().to_string();
    let args = ["--role", "backend", "--pid", &pid, "--format", "ndjson"];
    let capture = Capture::start(why502, &args, Output::Collect)?;
    let (began, before) = (Instant::now(), usage::of(capture.pid())?);
    let done = wrk::run(site.backend(), CONNECTIONS, true, time)?;
    let (took, after) = (began.elapsed(), usage::of(capture.pid())?);
    let ended = capture.stop()?;
    ensure!(ended.code == 0, "why502 failed: {}", ended.stderr);
    Ok(Churn {
        connections_per_second: done.per_second,
        user_cpu_ratio: after.cpu.saturating_sub(before.cpu).as_secs_f64() / took.as_secs_f64(),
        rss_bytes: after.rss_bytes,
        counted: Counted::of(&ended)?,
    })
}
