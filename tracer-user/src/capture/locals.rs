//! Backends of the traced proxies that live on this host: their half of each connection is traced too.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::targets::{Targets, namespaces, sockets};
use crate::discover::{established_remotes, listening_ports, local_listener, netns};
use crate::event::{HostRole, LocalBackend, ProcessEvent, ProxyKind, SeenBackend};
use crate::kernel::loader::{LoadError, Tracer};

/// Most addresses that are looked for.
const ADDRESSES_MAX: usize = 1024;

/// Time between two looks for a backend that has gone; it doubles up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A backend one of whose processes has ended.
struct Lost {
    next: Instant,
    pause: Duration,
}

/// What was found.
pub(super) struct Locals {
    root: &'static Path,
    enabled: bool,
    /// Addresses that were looked for.
    looked: BTreeSet<SocketAddr>,
    /// Processes and an address of theirs.
    pids: BTreeMap<u32, SocketAddr>,
    lost: BTreeMap<SocketAddr, Lost>,
    /// One thread of each network namespace, with the addresses of the backends in it.
    namespaces: BTreeMap<u64, (u32, BTreeSet<SocketAddr>)>,
}

impl Locals {
    /// Nothing yet.
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            root: Path::new("/proc"),
            enabled,
            looked: BTreeSet::new(),
            pids: BTreeMap::new(),
            lost: BTreeMap::new(),
            namespaces: BTreeMap::new(),
        }
    }

    /// The backends that the proxies are connected to already.
    pub(super) fn look(
        &mut self,
        tracer: &mut Tracer,
        targets: &Targets,
    ) -> Result<Vec<LocalBackend>, LoadError> {
        if !self.enabled {
            return Ok(Vec::new());
        }
        let pids = targets.pids();
        let ports: HashSet<u16> = listening_ports(self.root, &pids)
            .into_iter()
            .map(|listener| listener.addr.port())
            .collect();
        let mut found = Vec::new();
        for pid in pids {
            let Some(from) = netns(self.root, pid) else {
                continue;
            };
            for addr in established_remotes(self.root, pid, &ports) {
                found.extend(self.find(tracer, targets, addr, from)?);
            }
        }
        Ok(found)
    }

    /// A proxy connects to an address for the first time.
    pub(super) fn seen(
        &mut self,
        tracer: &mut Tracer,
        targets: &Targets,
        backend: SeenBackend,
    ) -> Result<Option<LocalBackend>, LoadError> {
        if !self.enabled {
            return Ok(None);
        }
        self.find(tracer, targets, backend.addr, u64::from(backend.netns))
    }

    fn find(
        &mut self,
        tracer: &mut Tracer,
        targets: &Targets,
        addr: SocketAddr,
        from: u64,
    ) -> Result<Option<LocalBackend>, LoadError> {
        if self.looked.len() >= ADDRESSES_MAX || !self.looked.insert(addr) {
            return Ok(None);
        }
        let Some(found) = local_listener(self.root, addr, from) else {
            return Ok(None);
        };
        // A proxy behind a proxy is traced as what it is.
        let pids: Vec<u32> = found
            .pids
            .into_iter()
            .filter(|pid| !targets.has(*pid))
            .collect();
        if pids.is_empty() {
            return Ok(None);
        }
        tracer.listens_on(addr.port(), HostRole::Backend)?;
        for &pid in &pids {
            self.add(tracer, pid, addr)?;
        }
        let place = self.namespaces.entry(found.netns).or_default();
        place.0 = found.thread;
        place.1.insert(addr);
        let files: Vec<_> = namespaces(self.root, &[found.thread])
            .into_iter()
            .map(|(_, file)| file)
            .collect();
        // What is open and cannot be adopted is adopted when it is used next.
        let _ = tracer.adopt(&sockets(self.root, &pids), &files);
        Ok(Some(LocalBackend { addr, pids }))
    }

    fn add(&mut self, tracer: &mut Tracer, pid: u32, addr: SocketAddr) -> Result<(), LoadError> {
        let kind = ProxyKind::Other(String::new());
        tracer.trace(pid, &kind, HostRole::Backend)?;
        self.pids.insert(pid, addr);
        Ok(())
    }

    /// Follows a process event. Gives the backend whose processes changed.
    pub(super) fn follow(&mut self, event: ProcessEvent, now: Instant) -> Option<LocalBackend> {
        match event {
            // The kernel traces the child already.
            ProcessEvent::Fork { pid, parent } => {
                let addr = *self.pids.get(&parent)?;
                self.pids.insert(pid, addr);
                Some(LocalBackend {
                    addr,
                    pids: vec![pid],
                })
            }
            ProcessEvent::Exit { pid, .. } => {
                let addr = self.pids.remove(&pid)?;
                self.lost.entry(addr).or_insert(Lost {
                    next: now,
                    pause: PAUSE_MIN,
                });
                None
            }
            ProcessEvent::Exec { .. }
            | ProcessEvent::Listen { .. }
            | ProcessEvent::OomVictim { .. } => None,
        }
    }

    /// Looks again for backends whose processes have ended: a restart. Less and less often.
    pub(super) fn look_again(
        &mut self,
        tracer: &mut Tracer,
        targets: &Targets,
        now: Instant,
    ) -> Result<Vec<LocalBackend>, LoadError> {
        let due: Vec<SocketAddr> = self
            .lost
            .iter()
            .filter(|(_, lost)| lost.next <= now)
            .map(|(addr, _)| *addr)
            .collect();
        let mut found = Vec::new();
        for addr in due {
            for (from, _) in namespaces(self.root, &targets.pids()) {
                self.looked.remove(&addr);
                let backend = self.find(tracer, targets, addr, from)?;
                if backend.is_some() {
                    self.lost.remove(&addr);
                    found.extend(backend);
                    break;
                }
            }
            if let Some(lost) = self.lost.get_mut(&addr) {
                lost.next = now + lost.pause;
                lost.pause = (lost.pause * 2).min(PAUSE_MAX);
            }
        }
        Ok(found)
    }

    /// One thread of each network namespace with backends, and their addresses.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, &BTreeSet<SocketAddr>)> {
        self.namespaces
            .values()
            .map(|(thread, addrs)| (*thread, addrs))
    }
}
