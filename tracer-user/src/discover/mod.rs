//! Finds proxies and their listening ports by reading `/proc`.
//!
//! Every function takes the place where `/proc` is mounted, so that tests can hand in a tree of their
//! own. Processes come and go while they are being read: one that vanishes midway is skipped, as if
//! it had ended a moment earlier.

mod cgroup;
mod classify;
mod listen;
mod local;
mod process;
mod tls;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use thiserror::Error;

use crate::event::ProxyKind;

pub use cgroup::{cgroup, container_id};
pub use classify::{KNOWN_KINDS, classify, kind_of_name};
pub use listen::{ListenRow, Listener, listening_ports, listening_rows, socket_inodes};
pub use local::{LocalListener, covers, established_remotes, local_listener};
pub use process::{exe_path, netns, program_name};
pub use tls::{TlsLibrary, tls_library};

/// Which processes to trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// By kind. [`Kinds::Auto`] beside a non-empty `pids` selects nothing more: who names processes
    /// means those.
    pub kinds: Kinds,
    /// By process id, with all descendants. A thread's id stands for its process.
    pub pids: Vec<u32>,
}

/// The kinds of program to trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kinds {
    /// Every proxy that is known by name.
    #[default]
    Auto,
    /// These. [`ProxyKind::Other`] matches the executable's file name or the command name.
    Only(Vec<ProxyKind>),
    /// Every process that listens on a TCP port which other hosts can reach.
    Listening,
}

impl Selection {
    /// What the process is, if its program is selected. Says nothing about `pids`.
    pub fn kind_of(&self, root: &Path, pid: u32) -> Option<ProxyKind> {
        match &self.kinds {
            Kinds::Auto if self.pids.is_empty() => classify(root, pid),
            Kinds::Auto => None,
            Kinds::Only(kinds) => classify::classify_as(root, pid, kinds),
            Kinds::Listening => listen::is_reachable(root, pid)
                .then(|| kind_of_any(root, pid))
                .flatten(),
        }
    }
}

/// A process to trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Process id, as `/proc` numbers it.
    pub pid: u32,
    /// What it is.
    pub kind: ProxyKind,
    /// Inode number of its network namespace; `None` when we may not look.
    pub netns: Option<u64>,
    /// Its parent.
    pub ppid: u32,
}

/// Why the processes could not be found.
#[derive(Debug, Error)]
pub enum ScanError {
    /// A process that was asked for by id does not exist.
    #[error(
        "there is no process {pid}: it has ended, or the number belongs to another PID namespace"
    )]
    Gone {
        /// The id.
        pid: u32,
    },
    /// `/proc` is not there.
    #[error("cannot list the processes in {}", path.display())]
    Unreadable {
        /// Where we looked.
        path: std::path::PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// All selected processes that are alive now, masters and workers alike, by ascending id.
pub fn scan(selection: &Selection, root: &Path) -> Result<Vec<Found>, ScanError> {
    let parents = parents_of_all(root)?;
    let wanted = with_descendants(&selection.pids, &parents, root)?;
    let mut found: Vec<Found> = parents
        .iter()
        .filter_map(|(&pid, &ppid)| {
            let kind = selection.kind_of(root, pid).or_else(|| {
                wanted
                    .contains(&pid)
                    .then(|| kind_of_any(root, pid))
                    .flatten()
            })?;
            Some(Found {
                pid,
                kind,
                netns: netns(root, pid),
                ppid,
            })
        })
        .collect();
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// A process that was asked for by id is traced whatever it is.
fn kind_of_any(root: &Path, pid: u32) -> Option<ProxyKind> {
    classify(root, pid).or_else(|| program_name(root, pid).map(ProxyKind::Other))
}

/// The parent of every living process.
fn parents_of_all(root: &Path) -> Result<HashMap<u32, u32>, ScanError> {
    let entries = std::fs::read_dir(root).map_err(|source| ScanError::Unreadable {
        path: root.to_path_buf(),
        source,
    })?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, process::living_parent(root, pid)?)))
        .collect())
}

fn with_descendants(
    pids: &[u32],
    parents: &HashMap<u32, u32>,
    root: &Path,
) -> Result<HashSet<u32>, ScanError> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (&child, &parent) in parents {
        children.entry(parent).or_default().push(child);
    }
    let mut wanted = HashSet::new();
    for &pid in pids {
        let leader = process::thread_group(root, pid)
            .filter(|leader| parents.contains_key(leader))
            .ok_or(ScanError::Gone { pid })?;
        let mut stack = vec![leader];
        while let Some(next) = stack.pop() {
            if wanted.insert(next) {
                stack.extend(children.get(&next).into_iter().flatten());
            }
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::process::fake::Proc;
    use super::*;

    fn selection(kinds: Kinds, pids: &[u32]) -> Selection {
        Selection {
            kinds,
            pids: pids.to_vec(),
        }
    }

    /// An NGINX with a worker, a HAProxy, a shell with an application under it, a kernel thread.
    fn host() -> Proc {
        let proc = Proc::new();
        proc.process(10, 1, "nginx", Some("/usr/sbin/nginx"));
        proc.process(11, 10, "nginx", Some("/usr/sbin/nginx (deleted)"));
        proc.process(20, 1, "haproxy", Some("/usr/sbin/haproxy"));
        proc.process(30, 1, "bash", Some("/usr/bin/bash"));
        proc.process(31, 30, "gunicorn", Some("/usr/bin/python3.11"));
        proc.process(32, 31, "gunicorn", Some("/usr/bin/python3.11"));
        proc.process(2, 0, "kthreadd", None);
        proc
    }

    #[test]
    fn selections_find_the_processes_they_name() {
        let other = |name: &str| ProxyKind::Other(name.into());
        let table = [
            (
                selection(Kinds::Auto, &[]),
                vec![
                    (10, ProxyKind::Nginx),
                    (11, ProxyKind::Nginx),
                    (20, ProxyKind::Haproxy),
                ],
            ),
            (
                selection(Kinds::Only(vec![ProxyKind::Haproxy]), &[]),
                vec![(20, ProxyKind::Haproxy)],
            ),
            (
                selection(Kinds::Only(vec![other("gunicorn")]), &[]),
                vec![(31, other("gunicorn")), (32, other("gunicorn"))],
            ),
            (
                selection(Kinds::Only(vec![other("python3.11")]), &[]),
                vec![(31, other("python3.11")), (32, other("python3.11"))],
            ),
            (
                selection(Kinds::Auto, &[31]),
                vec![(31, other("python3.11")), (32, other("python3.11"))],
            ),
            (
                selection(Kinds::Only(vec![ProxyKind::Haproxy]), &[10]),
                vec![
                    (10, ProxyKind::Nginx),
                    (11, ProxyKind::Nginx),
                    (20, ProxyKind::Haproxy),
                ],
            ),
            (selection(Kinds::Only(vec![ProxyKind::Envoy]), &[]), vec![]),
        ];
        let proc = host();
        for (selection, expected) in table {
            let found: Vec<_> = scan(&selection, proc.root())
                .unwrap()
                .into_iter()
                .map(|process| (process.pid, process.kind))
                .collect();
            assert_eq!(found, expected, "{selection:?}");
        }
    }

    #[test]
    fn parent_and_namespace_are_reported() {
        let proc = host();
        proc.netns(11, 4_026_531_840);
        let found = scan(&Selection::default(), proc.root()).unwrap();
        let worker = found.iter().find(|process| process.pid == 11).unwrap();
        assert_eq!((worker.ppid, worker.netns), (10, Some(4_026_531_840)));
        assert_eq!(found[0].netns, None, "no permission is not namespace 0");
    }

    #[test]
    fn a_thread_stands_for_its_process() {
        let proc = host();
        proc.thread(35, 31);
        let found = scan(&selection(Kinds::Auto, &[35]), proc.root()).unwrap();
        assert_eq!(
            found.iter().map(|process| process.pid).collect::<Vec<_>>(),
            [31, 32]
        );
    }

    #[test]
    fn a_process_that_is_gone_is_named() {
        let proc = host();
        proc.zombie(40, 1, "nginx");
        for pid in [40, 4_000_000] {
            let error = scan(&selection(Kinds::Auto, &[pid]), proc.root()).unwrap_err();
            assert!(error.to_string().contains(&pid.to_string()), "{error}");
        }
        let found = scan(&Selection::default(), proc.root()).unwrap();
        assert!(found.iter().all(|process| process.pid != 40), "zombie");
    }

    #[test]
    fn no_proc_is_an_error() {
        let error = scan(&Selection::default(), Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(error, ScanError::Unreadable { .. }));
    }

    #[test]
    fn this_process_is_found_in_the_real_proc() {
        let me = std::process::id();
        let found = scan(&selection(Kinds::Auto, &[me]), Path::new("/proc")).unwrap();
        let this = found.iter().find(|process| process.pid == me).unwrap();
        assert!(this.netns.is_some_and(|inode| inode > 0));
        assert!(matches!(&this.kind, ProxyKind::Other(name) if name.starts_with("why502")));
    }
}
