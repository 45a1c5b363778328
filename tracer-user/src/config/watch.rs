//! Finds and reads the configurations of traced processes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::root::Root;
use super::setting::ProxyConfig;
use super::{haproxy, locate, nginx, note};
use crate::discover::exe_path;
use crate::event::{ProxyKind, ProxyProcess};

/// Most configurations; more proxies than that on one host share files.
const CONFIGS_MAX: usize = 64;
/// How far up the tree of processes the file is looked for.
const ANCESTORS_MAX: usize = 4;

/// What makes a configuration the same one when it is read again.
type Key = (ProxyKind, (u64, u64), PathBuf);

/// The configurations that are known.
#[derive(Debug)]
pub struct Configs {
    /// Where `/proc` is mounted.
    proc: &'static Path,
    known: BTreeMap<Key, ProxyConfig>,
    given: Vec<ProxyConfig>,
}

impl Configs {
    /// None yet.
    pub fn new(proc: &'static Path) -> Self {
        Self {
            proc,
            known: BTreeMap::new(),
            given: Vec::new(),
        }
    }

    /// Reads the configurations of these processes (a reload starts new ones, so it is seen). All
    /// configurations that are known now, if that is other than before. Never fails: what cannot be
    /// read is said in the notes.
    pub fn look(&mut self, processes: &[ProxyProcess]) -> Option<Vec<ProxyConfig>> {
        let mut done: Vec<Key> = Vec::new();
        for process in processes {
            let Some(place) = self.place(process) else {
                continue;
            };
            let key = (process.kind.clone(), place.identity, place.files[0].clone());
            let room = self.known.len() < CONFIGS_MAX || self.known.contains_key(&key);
            if !done.contains(&key) && room {
                self.known.insert(key.clone(), read(&process.kind, &place));
                done.push(key);
            }
        }
        let all: Vec<ProxyConfig> = self.known.values().cloned().collect();
        if all == self.given {
            return None;
        }
        self.given.clone_from(&all);
        Some(all)
    }

    fn place(&self, process: &ProxyProcess) -> Option<Place> {
        let mut pid = process.pid;
        let files = match process.kind {
            ProxyKind::Nginx => {
                let (conf, prefix) = loop {
                    match locate::nginx(&self.arguments(pid)?) {
                        locate::Nginx::Server { conf, prefix } => break (conf, prefix),
                        locate::Nginx::Worker => pid = self.parent(pid).filter(|pid| *pid > 0)?,
                        locate::Nginx::Other => return None,
                    }
                };
                let exe = exe_path(self.proc, pid);
                let cwd = self.cwd(pid);
                locate::nginx_files(conf.as_deref(), prefix.as_deref(), exe.as_deref(), &cwd)
            }
            ProxyKind::Haproxy => locate::haproxy(&self.arguments(pid)?, &self.cwd(pid))?,
            ProxyKind::Envoy | ProxyKind::Apache | ProxyKind::Other(_) => return None,
        };
        self.find(pid, process.kind == ProxyKind::Nginx, files)
    }

    /// The root in which the files are. HAProxy locks itself into an empty directory once it has
    /// read them; then a parent with the same mounts still has them.
    fn find(&self, pid: u32, one_of: bool, mut files: Vec<PathBuf>) -> Option<Place> {
        let mounts = |pid: u32| fs::read_link(self.dir(pid).join("ns/mnt")).ok();
        let own = mounts(pid);
        let mut next = Some(pid);
        let mut first = None;
        for _ in 0..ANCESTORS_MAX {
            let Some(pid) = next.filter(|pid| *pid > 0 && mounts(*pid) == own) else {
                break;
            };
            if let Ok(root) = Root::open(&self.dir(pid).join("root"))
                && let Ok(identity) = root.identity()
            {
                let found = files.iter().position(|file| {
                    root.is_dir(file) || root.read(file, super::BYTES_MAX).is_ok()
                });
                if let Some(found) = found {
                    if one_of {
                        files = vec![files.swap_remove(found)];
                    }
                    return Some(Place {
                        root,
                        identity,
                        files,
                    });
                }
                first.get_or_insert((root, identity));
            }
            next = self.parent(pid);
        }
        // Nothing can be read; that is to be said.
        let (root, identity) = first?;
        Some(Place {
            root,
            identity,
            files,
        })
    }

    fn dir(&self, pid: u32) -> PathBuf {
        self.proc.join(pid.to_string())
    }

    fn arguments(&self, pid: u32) -> Option<Vec<String>> {
        let bytes = fs::read(self.dir(pid).join("cmdline")).ok()?;
        let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        let arguments = text.split(|byte| *byte == 0);
        Some(
            arguments
                .map(|argument| String::from_utf8_lossy(argument).into_owned())
                .collect(),
        )
    }

    fn cwd(&self, pid: u32) -> PathBuf {
        fs::read_link(self.dir(pid).join("cwd")).unwrap_or_else(|_| PathBuf::from("/"))
    }

    fn parent(&self, pid: u32) -> Option<u32> {
        let status = fs::read_to_string(self.dir(pid).join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse().ok()
    }
}

/// Where a configuration is.
struct Place {
    root: Root,
    identity: (u64, u64),
    /// Never empty. NGINX: the file; HAProxy: all files, in order.
    files: Vec<PathBuf>,
}

fn read(kind: &ProxyKind, place: &Place) -> ProxyConfig {
    let file = place.files[0].to_string_lossy().into_owned();
    let read = || -> io::Result<_> {
        Ok(match kind {
            ProxyKind::Haproxy => haproxy::upstreams(haproxy::load(&place.root, &place.files)?),
            _ => {
                let page = rustix::param::page_size() as u64;
                nginx::upstreams(nginx::load(&place.root, &place.files[0])?, page)
            }
        })
    };
    let (upstreams, notes) = read().unwrap_or_else(|error| {
        let mut notes = Vec::new();
        let text = format!("{file} was not read: {error}.");
        note(&mut notes, text);
        (Vec::new(), notes)
    });
    ProxyConfig {
        proxy: kind.clone(),
        file,
        upstreams,
        notes,
    }
}
