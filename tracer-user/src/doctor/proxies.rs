//! Processes of one proxy, put together: a master and its workers.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::{Configs, Logging};
use crate::discover::{self, Found, TlsLibrary};
use crate::event::{ProxyKind, ProxyProcess};

/// One running proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyGroup {
    /// What it is.
    pub kind: ProxyKind,
    /// The process that the others descend from.
    pub master: u32,
    /// The others, ascending.
    pub workers: Vec<u32>,
    /// Path of the executable in its own mount namespace; `None` when we may not look.
    pub executable: Option<PathBuf>,
    /// Inode of its network namespace; `None` when we may not look.
    pub netns: Option<u64>,
    /// Addresses that any of its processes listens on.
    pub listening: Vec<SocketAddr>,
    /// Could the sockets of any of them be listed? If not, `listening` says nothing.
    pub sockets_seen: bool,
    /// The TLS library that it uses; `None` where none was found, or we may not look.
    pub tls: Option<TlsLibrary>,
    /// Path of its control group; `None` when we may not look.
    pub cgroup: Option<String>,
    /// Where it logs to; `None` when its configuration is not read, or we may not look.
    pub logging: Option<Logging>,
}

/// Groups by the topmost ancestor of the same kind, in order of kind and process id.
pub(super) fn group(found: &[Found], proc: &Path) -> Vec<ProxyGroup> {
    let by_pid: HashMap<u32, &Found> = found.iter().map(|found| (found.pid, found)).collect();
    let mut groups: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in found {
        let top = top_ancestor(process, &by_pid);
        groups.entry(top).or_default().push(process.pid);
    }
    let mut groups: Vec<ProxyGroup> = groups
        .into_iter()
        .filter_map(|(master, pids)| {
            let top = by_pid.get(&master)?;
            let listening: BTreeSet<SocketAddr> = discover::listening_ports(proc, &pids)
                .into_iter()
                .map(|listener| listener.addr)
                .collect();
            // A worker may be open to us where its master is not: it runs as another user.
            let executable = pids.iter().find_map(|&pid| discover::exe_path(proc, pid));
            let netns = pids.iter().find_map(|pid| by_pid.get(pid)?.netns);
            let tls = pids
                .iter()
                .find_map(|&pid| discover::tls_library(proc, pid));
            let cgroup = discover::cgroup(proc, master);
            let sockets_seen = pids.iter().any(|&pid| can_list_sockets(proc, pid));
            // A worker may be open to us here too; each of them leads to the same file.
            let configs = Configs::new(proc);
            let logging = pids.iter().find_map(|&pid| {
                configs.logging(&ProxyProcess {
                    instance: None,
                    pid,
                    kind: top.kind.clone(),
                })
            });
            let mut workers = pids;
            workers.retain(|&pid| pid != master);
            workers.sort_unstable();
            Some(ProxyGroup {
                kind: top.kind.clone(),
                master,
                workers,
                executable,
                netns,
                listening: listening.into_iter().collect(),
                sockets_seen,
                tls,
                cgroup,
                logging,
            })
        })
        .collect();
    groups.sort_by(|a, b| (&a.kind, a.master).cmp(&(&b.kind, b.master)));
    groups
}

fn can_list_sockets(proc: &Path, pid: u32) -> bool {
    std::fs::read_dir(proc.join(pid.to_string()).join("fd")).is_ok()
}

/// Ends because each step goes to another process of the list at most once.
fn top_ancestor(process: &Found, by_pid: &HashMap<u32, &Found>) -> u32 {
    let mut top = process;
    for _ in 0..by_pid.len() {
        match by_pid.get(&top.ppid) {
            Some(parent) if parent.kind == process.kind && parent.pid != top.pid => top = parent,
            _ => break,
        }
    }
    top.pid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pid: u32, ppid: u32, kind: ProxyKind) -> Found {
        Found {
            pid,
            kind,
            netns: Some(1),
            ppid,
        }
    }

    #[test]
    fn masters_and_workers() {
        use ProxyKind::*;
        let processes = [
            found(12, 10, Nginx),
            found(10, 1, Nginx),
            found(11, 10, Nginx),
            found(40, 1, Nginx),
            found(21, 20, Haproxy),
            found(20, 1, Haproxy),
            // Apache under a HAProxy is not its worker.
            found(30, 20, Apache),
            found(31, 30, Apache),
            found(32, 31, Apache),
        ];
        let groups: Vec<_> = group(&processes, Path::new("/nonexistent"))
            .into_iter()
            .map(|group| (group.kind, group.master, group.workers, group.sockets_seen))
            .collect();
        assert_eq!(
            groups,
            [
                (Nginx, 10, vec![11, 12], false),
                (Nginx, 40, vec![], false),
                (Haproxy, 20, vec![21], false),
                (Apache, 30, vec![31, 32], false),
            ]
        );
    }

    #[test]
    fn a_circle_of_parents_ends() {
        // Cannot be, unless a process id was reused between two reads.
        let processes = [found(1, 2, ProxyKind::Nginx), found(2, 1, ProxyKind::Nginx)];
        let groups = group(&processes, Path::new("/nonexistent"));
        let members: usize = groups.iter().map(|group| 1 + group.workers.len()).sum();
        assert!(members >= 1 && groups.len() <= 2, "{groups:?}");
    }
}
