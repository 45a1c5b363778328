//! Where something was measured.

use std::fs;

use serde::Serialize;

/// The machine, as far as it bears on figures.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Cores that may be used.
    pub cores: usize,
    /// As the processor calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Release of the kernel.
    pub kernel: String,
}

/// This machine.
pub(super) fn machine() -> Machine {
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let named = text.lines().find(|line| line.starts_with("model name"))?;
        Some(named.split_once(':')?.1.trim().to_owned())
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        cpu,
        kernel: kernel.trim().to_owned(),
    }
}
