//! Time that BPF programs take in the kernel, from its own statistics.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};

use super::super::fdinfo;

/// What one program took so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) ns: u64,
    pub(super) calls: u64,
}

/// Programs by their ids, with their names.
pub(super) type Programs = BTreeMap<u32, (String, Taken)>;

/// The statistics are kept for as long as this is there; they cost time themselves.
pub(super) struct Counting {
    _fd: OwnedFd,
}

impl Counting {
    pub(super) fn start() -> Result<Self> {
        let fd =
            enable_stats(Stats::RunTime).context("the kernel keeps no statistics of programs")?;
        Ok(Self { _fd: fd })
    }
}

/// All programs that are loaded now.
pub(super) fn programs() -> Result<Programs> {
    let mut found = Programs::new();
    for info in loaded_programs() {
        // One that was unloaded in between is of no interest.
        let Ok(info) = info else { continue };
        let Ok(fd) = info.fd() else { continue };
        let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let name = info.name_as_str().unwrap_or("?").to_owned();
        found.insert(info.id(), (name, taken(&text)));
    }
    Ok(found)
}

fn taken(text: &str) -> Taken {
    let field = |name| fdinfo::number(text, name).unwrap_or(0);
    Taken {
        ns: field("run_time_ns:"),
        calls: field("run_cnt:"),
    }
}

/// What programs took in between that were not there at `first`, by name.
pub(super) fn between(
    first: &Programs,
    before: &Programs,
    after: &Programs,
) -> BTreeMap<String, Taken> {
    let mut sums: BTreeMap<String, Taken> = BTreeMap::new();
    for (id, (name, now)) in after {
        if first.contains_key(id) {
            continue;
        }
        let then = before.get(id).map(|(_, then)| *then).unwrap_or_default();
        let sum = sums.entry(name.clone()).or_default();
        sum.ns += now.ns.saturating_sub(then.ns);
        sum.calls += now.calls.saturating_sub(then.calls);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_new_ones_count() {
        let one = |id, name: &str, ns, calls| (id, (name.to_owned(), Taken { ns, calls }));
        let first = Programs::from([one(1, "old", 5, 1)]);
        let before = Programs::from([one(1, "old", 6, 2), one(2, "a", 10, 1)]);
        let after = Programs::from([
            one(1, "old", 99, 9),
            one(2, "a", 30, 3),
            one(3, "a", 7, 1),
            one(4, "b", 0, 0),
        ]);
        let found = between(&first, &before, &after);
        let a = Taken { ns: 27, calls: 3 };
        assert_eq!(
            found,
            BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), Taken::default())])
        );
    }

    #[test]
    fn as_the_kernel_shows_it() {
        let text = "pos:\t0\nprog_type:\t17\nrun_time_ns:\t1234\nrun_cnt:\t5\nverified_insns:\t8\n";
        assert_eq!(taken(text), Taken { ns: 1234, calls: 5 });
        assert_eq!(taken(""), Taken::default());
    }
}
