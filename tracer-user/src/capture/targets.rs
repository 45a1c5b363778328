//! The traced processes: found at the start, and followed while they come and go.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::discover::{Found, ScanError, Selection, listening_ports, netns, scan, socket_inodes};
use crate::event::{HostRole, ProcessEvent, ProxyKind, ProxyProcess};
use crate::kernel::loader::{LoadError, Tracer};

/// How long an exited process stays in the kernel's table: its sockets close after its exit is
/// reported.
const LINGER: Duration = Duration::from_secs(2);

/// What is traced, and what was.
pub(super) struct Targets {
    selection: Selection,
    role: HostRole,
    root: &'static Path,
    known: BTreeMap<u32, ProxyKind>,
    /// The first process of each one's instance.
    instances: BTreeMap<u32, u32>,
    leaving: Vec<(Instant, u32)>,
}

impl Targets {
    /// Nothing yet.
    pub(super) fn new(selection: Selection, role: HostRole) -> Self {
        Self {
            selection,
            role,
            root: Path::new("/proc"),
            known: BTreeMap::new(),
            instances: BTreeMap::new(),
            leaving: Vec::new(),
        }
    }

    /// Looks for processes that are not traced yet and traces them. Fails only if a process that
    /// was asked for by id does not exist.
    pub(super) fn look(&mut self, tracer: &mut Tracer) -> anyhow::Result<Vec<ProxyProcess>> {
        let found = scan(&self.selection, self.root)?;
        let new: Vec<Found> = found
            .into_iter()
            .filter(|process| !self.known.contains_key(&process.pid))
            .collect();
        self.trace(tracer, new)
    }

    /// As [`Targets::look`], later: processes asked for by id may have ended meanwhile.
    pub(super) fn look_again(&mut self, tracer: &mut Tracer) -> anyhow::Result<Vec<ProxyProcess>> {
        match self.look(tracer) {
            Err(error) if error.is::<ScanError>() => Ok(Vec::new()),
            other => other,
        }
    }

    /// Traces what this selects from now on; what it does not is let go. New ones come with the next
    /// look.
    pub(super) fn select(&mut self, selection: Selection, tracer: &mut Tracer) {
        self.selection = selection;
        // A process that was asked for by id may have ended: then nothing tells who is to go.
        let Ok(found) = scan(&self.selection, self.root) else {
            return;
        };
        let gone: Vec<u32> = self
            .known
            .keys()
            .filter(|pid| found.iter().all(|process| process.pid != **pid))
            .copied()
            .collect();
        for pid in gone {
            tracer.untrace(pid);
            self.known.remove(&pid);
            self.instances.remove(&pid);
        }
    }

    fn trace(&mut self, tracer: &mut Tracer, new: Vec<Found>) -> anyhow::Result<Vec<ProxyProcess>> {
        let pids: Vec<u32> = new.iter().map(|process| process.pid).collect();
        for listener in listening_ports(self.root, &pids) {
            tracer.listens_on(listener.addr.port(), self.role)?;
        }
        new.into_iter()
            .map(
                |Found {
                     pid, kind, ppid, ..
                 }| self.add(tracer, pid, kind, ppid),
            )
            .collect()
    }

    fn add(
        &mut self,
        tracer: &mut Tracer,
        pid: u32,
        kind: ProxyKind,
        parent: u32,
    ) -> anyhow::Result<ProxyProcess> {
        tracer.trace(pid, &kind, self.role)?;
        let of_parent = self.known.get(&parent) == Some(&kind);
        let of_parent = self.instances.get(&parent).filter(|_| of_parent);
        let instance = of_parent.copied().unwrap_or(pid);
        self.instances.insert(pid, instance);
        self.known.insert(pid, kind.clone());
        self.leaving.retain(|(_, leaving)| *leaving != pid);
        Ok(ProxyProcess {
            pid,
            kind,
            instance: Some(instance),
        })
    }

    /// Puts the connections that the traced processes hold into the kernel's table.
    pub(super) fn adopt(&self, tracer: &mut Tracer) -> Result<(), LoadError> {
        let pids: Vec<u32> = self.known.keys().copied().collect();
        let namespaces: Vec<File> = namespaces(self.root, &pids)
            .into_iter()
            .map(|(_, file)| file)
            .collect();
        tracer.adopt(&sockets(self.root, &pids), &namespaces)
    }

    /// The traced processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.known.keys().copied().collect()
    }

    /// Is this one of them?
    pub(super) fn has(&self, pid: u32) -> bool {
        self.known.contains_key(&pid)
    }

    /// Follows a process event. Gives the processes that are traced from now on.
    pub(super) fn follow(
        &mut self,
        tracer: &mut Tracer,
        event: ProcessEvent,
        now: Instant,
    ) -> anyhow::Result<Vec<ProxyProcess>> {
        match event {
            // The kernel traces the child already.
            ProcessEvent::Fork { pid, parent } => match self.known.get(&parent).cloned() {
                Some(kind) => Ok(vec![self.add(tracer, pid, kind, parent)?]),
                None => Ok(Vec::new()),
            },
            ProcessEvent::Exec { pid } => self.exec(tracer, pid),
            ProcessEvent::Exit { pid, .. } if !self.has(pid) => Ok(Vec::new()),
            ProcessEvent::Exit { pid, .. } => {
                self.leaving.push((now + LINGER, pid));
                Ok(Vec::new())
            }
            ProcessEvent::OomVictim { .. } => Ok(Vec::new()),
            ProcessEvent::Listen { pid, port } => {
                if self.has(pid) {
                    tracer.listens_on(port, self.role)?;
                }
                Ok(Vec::new())
            }
        }
    }

    /// A new program: is it a proxy? A child of a proxy that became something else is none.
    fn exec(&mut self, tracer: &mut Tracer, pid: u32) -> anyhow::Result<Vec<ProxyProcess>> {
        match self.selection.kind_of(self.root, pid) {
            Some(kind) if self.known.get(&pid) == Some(&kind) => Ok(Vec::new()),
            Some(kind) => {
                let mut new = vec![self.add(tracer, pid, kind, 0)?];
                // It may listen and have workers already, if we are late.
                for listener in listening_ports(self.root, &[pid]) {
                    tracer.listens_on(listener.addr.port(), self.role)?;
                }
                new.extend(self.look_again(tracer)?);
                Ok(new)
            }
            None if self.selection.pids.is_empty() => {
                if self.known.remove(&pid).is_some() {
                    tracer.untrace(pid);
                }
                Ok(Vec::new())
            }
            // Chosen by id, with its descendants, whatever they run.
            None => Ok(Vec::new()),
        }
    }

    /// Forgets processes that are gone.
    pub(super) fn prune(&mut self, tracer: &mut Tracer, now: Instant) {
        let root = self.root;
        let known = &mut self.known;
        let instances = &mut self.instances;
        self.leaving.retain(|(at, pid)| {
            if *at > now {
                return true;
            }
            if !root.join(pid.to_string()).exists() {
                tracer.untrace(*pid);
                known.remove(pid);
                instances.remove(pid);
            }
            false
        });
    }

    /// How many processes of each kind are traced.
    pub(super) fn summary(&self) -> String {
        let mut counts: BTreeMap<&ProxyKind, usize> = BTreeMap::new();
        for kind in self.known.values() {
            *counts.entry(kind).or_default() += 1;
        }
        counts
            .iter()
            .map(|(kind, count)| {
                let plural = if *count == 1 { "" } else { "es" };
                format!("{kind} ({count} process{plural})")
            })
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Is nothing traced?
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// Inode numbers of the sockets that these processes hold, and who does.
pub(super) fn sockets(root: &Path, pids: &[u32]) -> Vec<(u64, u32)> {
    pids.iter()
        .flat_map(|&pid| {
            socket_inodes(root, pid)
                .into_iter()
                .map(move |inode| (inode, pid))
        })
        .collect()
}

/// The network namespaces that these processes live in, each once, with a file that stands for it.
pub(super) fn namespaces(root: &Path, pids: &[u32]) -> Vec<(u64, File)> {
    let mut found: Vec<(u64, File)> = Vec::new();
    for &pid in pids {
        let Some(inode) = netns(root, pid) else {
            continue;
        };
        if found.iter().any(|(seen, _)| *seen == inode) {
            continue;
        }
        if let Ok(file) = File::open(root.join(pid.to_string()).join("ns/net")) {
            found.push((inode, file));
        }
    }
    found
}
