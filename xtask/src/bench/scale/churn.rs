//! Connections that carry one request each.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::super::site::Site;
use super::super::wrk;
use super::{Counted, Watched};
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
    let watched = Watched::start(why502, &args)?;
    let done = wrk::run(site.backend(), CONNECTIONS, true, time)?;
    let (cost, ended) = watched.end()?;
    Ok(Churn {
        connections_per_second: done.per_second,
        user_cpu_ratio: cost.cpu_ratio,
        rss_bytes: cost.after.rss_bytes,
        counted: Counted::of(&ended)?,
    })
}
