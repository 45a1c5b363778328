//! What a running process costs: processor time and memory, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::fdinfo;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// Time on a processor, in user space and in the kernel, of all its threads.
    pub(super) cpu: Duration,
    /// Resident memory now, bytes.
    pub(super) rss_bytes: u64,
    /// Most resident memory so far, bytes.
    pub(super) peak_rss_bytes: u64,
}

impl Usage {
    /// Time on a processor since `before` by the time `took` that went by, 1.0 being one core. Errors: it
    /// went backwards, so the two are not of one process.
    pub(super) fn cpu_ratio_since(&self, before: &Self, took: Duration) -> Result<f64> {
        let cpu = self.cpu.checked_sub(before.cpu);
        let cpu = cpu.context("a process's processor time went backwards")?;
        Ok(cpu.as_secs_f64() / took.as_secs_f64())
    }
}

/// Looks at a process. Errors: there is none, or `/proc` has another form.
pub(super) fn of(pid: u32) -> Result<Usage> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let (stat, status) = (read("stat")?, read("status")?);
    Ok(Usage {
        cpu: cpu(&stat, rustix::param::clock_ticks_per_second())
            .with_context(|| format!("/proc/{pid}/stat has an unknown form"))?,
        rss_bytes: kilobytes(&status, "VmRSS:").context("no VmRSS")?,
        peak_rss_bytes: kilobytes(&status, "VmHWM:").context("no VmHWM")?,
    })
}

/// Time that a process has spent on a processor so far, all its threads, to the nanosecond: what the scheduler
/// counts, interrupts that came meanwhile included
/// (<https://docs.kernel.org/scheduler/sched-stats.html>). A thread that ended is not in it. Errors: no such
/// process, or a kernel without such counts.
pub(super) fn on_processor(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/task");
    let mut sum = Duration::ZERO;
    for entry in fs::read_dir(&path).with_context(|| format!("cannot read {path}"))? {
        let path = entry?.path().join("schedstat");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let unknown = || format!("{} has an unknown form", path.display());
        sum += scheduled(&text).with_context(unknown)?;
    }
    Ok(sum)
}

fn scheduled(schedstat: &str) -> Option<Duration> {
    let ns = schedstat.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(ns))
}

/// Memory of the kernel for the BPF maps that a process holds open, bytes; kernels before 6.4 tell what the maps
/// would hold when full. Errors: no such process.
pub(super) fn maps_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/fdinfo");
    let mut bytes = 0;
    for entry in fs::read_dir(&path).with_context(|| format!("cannot read {path}"))? {
        // One that was closed in between is of no interest.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        bytes += map_bytes(&text).unwrap_or(0);
    }
    Ok(bytes)
}

fn map_bytes(fdinfo: &str) -> Option<u64> {
    fdinfo::number(fdinfo, "map_type:")?;
    fdinfo::number(fdinfo, "memlock:")
}

/// `utime` and `stime`, fields 14 and 15 of proc_pid_stat(5), clock ticks.
fn cpu(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // The name in parentheses may itself hold parentheses and blanks.
    let behind = stat.rsplit_once(')')?.1;
    let mut fields = behind.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = user.checked_add(system)?;
    Some(Duration::from_secs_f64(
        ticks as f64 / ticks_per_second as f64,
    ))
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_behind_an_odd_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(cpu(stat, 100), Some(Duration::from_secs(3)));
        assert_eq!(cpu("7 (a", 100), None);
        assert_eq!(cpu("7 (a) S 1", 100), None);
        assert_eq!(
            kilobytes("VmPeak:\t 9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"),
            Some(12_288)
        );
        assert_eq!(kilobytes("VmRSS:\t12 MB", "VmRSS:"), None);
    }

    #[test]
    fn what_the_scheduler_counts() {
        assert_eq!(
            scheduled("181495008 9565256 343\n"),
            Some(Duration::from_nanos(181_495_008))
        );
        assert_eq!(scheduled(""), None);
        let before = on_processor(std::process::id()).unwrap();
        let mut n = 0u64;
        while on_processor(std::process::id()).unwrap() == before {
            n = std::hint::black_box(n + 1);
        }
        assert!(on_processor(u32::MAX).is_err());
    }

    #[test]
    fn maps_and_other_files() {
        let map = "pos:\t0\nmap_type:\t1\nkey_size:\t8\nmemlock:\t4096\n";
        assert_eq!(map_bytes(map), Some(4096));
        // A program.
        assert_eq!(map_bytes("prog_type:\t17\nmemlock:\t4096\n"), None);
    }

    #[test]
    fn of_this_process() {
        let before = of(std::process::id()).unwrap();
        assert!(before.rss_bytes > 100_000 && before.peak_rss_bytes >= before.rss_bytes);
        assert!(of(u32::MAX).is_err());
    }
}
