//! Backends of the traced proxies that live on this host: their half of each connection is traced too.
//!
//! Finding who listens on an address reads all of `/proc`, which may take long: a thread of its own does
//! it, and the event loop goes on.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::targets::{Targets, namespaces, sockets};
use crate::discover::{LocalListener, established_remotes, listening_ports, local_listener, netns};
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

/// What the thread is asked: who listens on the address, as reached from these namespaces?
struct Question {
    addr: SocketAddr,
    from: Vec<u64>,
}

/// Its answer.
pub(super) struct Answer {
    addr: SocketAddr,
    listener: LocalListener,
}

/// What was found.
pub(super) struct Locals {
    root: &'static Path,
    enabled: bool,
    questions: mpsc::Sender<Question>,
    answers: UnboundedReceiver<Answer>,
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
        let root = Path::new("/proc");
        let (questions, asked) = mpsc::channel();
        let (answer, answers) = unbounded_channel();
        if enabled {
            // Ends when the questions do. Without it no backend is found, which is no failure.
            let _ = std::thread::Builder::new()
                .name("local-backends".into())
                .spawn(move || seek(root, &asked, &answer));
        }
        Self {
            root,
            enabled,
            questions,
            answers,
            looked: BTreeSet::new(),
            pids: BTreeMap::new(),
            lost: BTreeMap::new(),
            namespaces: BTreeMap::new(),
        }
    }

    /// Looks for the backends that the proxies are connected to already.
    pub(super) fn look(&mut self, targets: &Targets) {
        if !self.enabled {
            return;
        }
        let pids = targets.pids();
        let ports: HashSet<u16> = listening_ports(self.root, &pids)
            .into_iter()
            .map(|listener| listener.addr.port())
            .collect();
        for pid in pids {
            let Some(from) = netns(self.root, pid) else {
                continue;
            };
            for addr in established_remotes(self.root, pid, &ports) {
                self.ask(addr, from);
            }
        }
    }

    /// A proxy connects to an address for the first time.
    pub(super) fn seen(&mut self, backend: SeenBackend) {
        if self.enabled {
            self.ask(backend.addr, u64::from(backend.netns));
        }
    }

    fn ask(&mut self, addr: SocketAddr, from: u64) {
        if self.looked.len() < ADDRESSES_MAX && self.looked.insert(addr) {
            // Fails only if the thread could not be started.
            let _ = self.questions.send(Question {
                addr,
                from: vec![from],
            });
        }
    }

    /// Waits for the next answer.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }

    /// Traces the processes of a backend that was found.
    pub(super) fn found(
        &mut self,
        tracer: &mut Tracer,
        targets: &Targets,
        answer: Answer,
    ) -> Result<Option<LocalBackend>, LoadError> {
        let Answer { addr, listener } = answer;
        // A proxy behind a proxy is traced as what it is.
        let pids: Vec<u32> = listener
            .pids
            .into_iter()
            .filter(|pid| !targets.has(*pid))
            .collect();
        if pids.is_empty() {
            return Ok(None);
        }
        self.lost.remove(&addr);
        tracer.listens_on(addr.port(), HostRole::Backend)?;
        for &pid in &pids {
            let kind = ProxyKind::Other(String::new());
            tracer.trace(pid, &kind, HostRole::Backend)?;
            self.pids.insert(pid, addr);
        }
        let place = self.namespaces.entry(listener.netns).or_default();
        place.0 = listener.thread;
        place.1.insert(addr);
        let files: Vec<_> = namespaces(self.root, &[listener.thread])
            .into_iter()
            .map(|(_, file)| file)
            .collect();
        // What is open and cannot be adopted is adopted when it is used next.
        let _ = tracer.adopt(&sockets(self.root, &pids), &files);
        Ok(Some(LocalBackend { addr, pids }))
    }

    /// Follows a process event. Gives the backend that has a process more.
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
            // The kernel traces whoever listens on a backend's port. It may be another service in
            // another network namespace: then its halves meet no attempt.
            ProcessEvent::Listen { pid, port } if !self.pids.contains_key(&pid) => {
                let addr = *self.lost.keys().find(|addr| addr.port() == port)?;
                self.lost.remove(&addr);
                self.pids.insert(pid, addr);
                Some(LocalBackend {
                    addr,
                    pids: vec![pid],
                })
            }
            ProcessEvent::Listen { .. }
            | ProcessEvent::Exec { .. }
            | ProcessEvent::OomVictim { .. } => None,
        }
    }

    /// Looks again for backends whose processes have ended: a restart. Less and less often.
    pub(super) fn look_again(&mut self, targets: &Targets, now: Instant) {
        let due = self.lost.iter_mut().filter(|(_, lost)| lost.next <= now);
        let mut from: Option<Vec<u64>> = None;
        for (&addr, lost) in due {
            let from = from.get_or_insert_with(|| {
                let namespaces = namespaces(self.root, &targets.pids());
                namespaces.into_iter().map(|(inode, _)| inode).collect()
            });
            // As above.
            let _ = self.questions.send(Question {
                addr,
                from: from.clone(),
            });
            lost.next = now + lost.pause;
            lost.pause = (lost.pause * 2).min(PAUSE_MAX);
        }
    }

    /// One thread of each network namespace with backends, and their addresses.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, &BTreeSet<SocketAddr>)> {
        self.namespaces
            .values()
            .map(|(thread, addrs)| (*thread, addrs))
    }
}

/// Answers questions until nobody is left to ask or to be told.
fn seek(root: &Path, asked: &mpsc::Receiver<Question>, answer: &UnboundedSender<Answer>) {
    while let Ok(Question { addr, from }) = asked.recv() {
        let found = from
            .into_iter()
            .find_map(|from| local_listener(root, addr, from));
        if let Some(listener) = found
            && answer.send(Answer { addr, listener }).is_err()
        {
            return;
        }
    }
}
