//! Connections of clients that are open, each of which has carried a request.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use serde::Serialize;

use super::super::site::{Room, Site};
use super::super::usage;
use super::clients::Clients;
use super::{Counted, Watched};
use crate::lab::process::raise_descriptors;
use crate::lab::proxy::Kind;

/// Connections of one process, at either end, where it may have so many descriptors.
const OF_ONE_PROCESS: usize = 16_000;
/// Descriptors that a process needs beside, and room for workers that the kernel gives more than their share.
const OTHERS: usize = 2_000;

/// What came out.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Many {
    /// Open at the end.
    pub connections: usize,
    /// Opened in a second, each with a request.
    pub opened_per_second: f64,
    /// Resident before, bytes.
    pub rss_bytes_before: u64,
    /// Resident with all of them, bytes.
    pub rss_bytes: u64,
    /// What the kernel holds for its tables and its ring buffer before, bytes.
    pub kernel_bytes_before: u64,
    /// And with all of them, bytes.
    pub kernel_bytes: u64,
    /// Time of the process on a processor by time that went by, while they were opened.
    pub user_cpu_ratio: f64,
    /// What the capture counted.
    pub counted: Counted,
}

pub(super) fn run(count: usize, why502: &Path, stop: &AtomicBool) -> Result<Option<Many>> {
    let most = raise_descriptors(OF_ONE_PROCESS + OTHERS).saturating_sub(OTHERS);
    let share = OF_ONE_PROCESS.min(most).max(1);
    let room = Room {
        workers: count.div_ceil(share),
        connections: share + OTHERS / 2,
    };
    let site = Site::start_for(Kind::Nginx, 3, room)?;
    let pid = site.proxy_pid().to_string();
    let args = ["--pid", &pid, "--format", "ndjson"];
    let watched = Watched::start(why502, &args)?;
    let kernel_bytes_before = usage::maps_bytes(watched.pid())?;
    let mut open: Vec<Clients> = Vec::new();
    let mut connections = 0;
    while connections < count {
        let some = share.min(count - connections);
        let mut clients = Clients::start(site.addr(), connections, some)?;
        let opened = clients.await_open();
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        opened?;
        open.push(clients);
        connections += some;
        eprintln!("bench: {connections} of {count} connections are open");
    }
    let kernel_bytes = usage::maps_bytes(watched.pid())?;
    let (cost, ended) = watched.end()?;
    Ok(Some(Many {
        connections,
        opened_per_second: connections as f64 / cost.took.as_secs_f64(),
        rss_bytes_before: cost.before.rss_bytes,
        rss_bytes: cost.after.rss_bytes,
        kernel_bytes_before,
        kernel_bytes,
        user_cpu_ratio: cost.cpu_ratio,
        counted: Counted::of(&ended)?,
    }))
}
