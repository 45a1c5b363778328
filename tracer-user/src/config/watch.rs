//! Finds and reads the configurations of traced processes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::logging::Logging;
use super::root::Root;
use super::setting::ProxyConfig;
use super::{haproxy, locate, name_of, nginx, note};
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
    proc: PathBuf,
    known: BTreeMap<Key, ProxyConfig>,
    given: Vec<ProxyConfig>,
}

impl Configs {
    /// None yet. `proc`: where `/proc` is mounted.
    pub fn new(proc: impl Into<PathBuf>) -> Self {
        Self {
            proc: proc.into(),
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

    /// Where this proxy logs to. `None` if it is of a kind whose configuration is not read, or no
    /// server.
    pub fn logging(&self, process: &ProxyProcess) -> Option<Logging> {
        let place = self.place(process)?;
        let file = name_of(&place.files[0]);
        let read = || -> io::Result<_> {
            Ok(match process.kind {
                ProxyKind::Haproxy => {
                    let loaded = haproxy::load(&place.root, &place.files)?;
                    (haproxy::logs(&loaded), loaded.notes)
                }
                _ => {
                    let loaded = nginx::load(&place.root, &place.files[0])?;
                    (nginx::logs(&loaded), loaded.notes)
                }
            })
        };
        let (logs, notes) = read().unwrap_or_else(|error| {
            let text = format!("{file} was not read: {error}.");
            (Vec::new(), vec![text])
        });
        Some(Logging { file, logs, notes })
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
                let exe = exe_path(&self.proc, pid);
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
    let file = name_of(&place.files[0]);
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A `/proc` of plain files, and directories that processes have as their root.
    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// `root` names a directory of this host; `mounts` tells mount namespaces apart.
        fn process(&self, pid: u32, parent: u32, cmdline: &str, root: &str, mounts: u32) {
            let dir = self.0.path().join("proc").join(pid.to_string());
            self.file(&format!("proc/{pid}/cmdline"), cmdline);
            self.file(
                &format!("proc/{pid}/status"),
                &format!("Name:\tx\nPPid:\t{parent}\n"),
            );
            fs::create_dir_all(dir.join("ns")).unwrap();
            symlink(format!("mnt:[{mounts}]"), dir.join("ns/mnt")).unwrap();
            symlink("/srv", dir.join("cwd")).unwrap();
            let root = self.0.path().join(root);
            fs::create_dir_all(&root).unwrap();
            symlink(root, dir.join("root")).unwrap();
        }

        fn configs(&self) -> Configs {
            Configs::new(self.0.path().join("proc"))
        }
    }

    fn process(pid: u32, kind: ProxyKind) -> ProxyProcess {
        ProxyProcess {
            pid,
            kind,
            instance: None,
        }
    }

    fn read_timeout(config: &ProxyConfig) -> Option<String> {
        let setting = config.upstreams.first()?.settings.iter().find(|setting| {
            matches!(
                setting.directive.name(),
                "proxy_read_timeout" | "timeout server"
            )
        })?;
        Some(format!("{} {}", setting.value, setting.source))
    }

    fn nginx_conf(timeout: &str) -> String {
        format!(
            "http {{ proxy_read_timeout {timeout};\n\
             server {{ location / {{ proxy_pass http://10.0.0.5; }} }} }}"
        )
    }

    #[test]
    fn a_container_a_worker_and_a_reload() {
        let host = Host::new();
        host.process(
            10,
            1,
            "nginx: master process nginx -g daemon off;",
            "box",
            7,
        );
        host.process(11, 10, "nginx: worker process\0", "box", 7);
        host.file("box/etc/nginx/nginx.conf", &nginx_conf("7s"));
        let mut configs = host.configs();
        let both = [process(10, ProxyKind::Nginx), process(11, ProxyKind::Nginx)];
        let got = configs.look(&both).unwrap();
        assert_eq!(got.len(), 1, "{got:?}");
        assert_eq!(got[0].file, "/etc/nginx/nginx.conf");
        assert_eq!(read_timeout(&got[0]).unwrap(), "7s /etc/nginx/nginx.conf:1");

        assert_eq!(configs.look(&both), None, "nothing new");
        host.file("box/etc/nginx/nginx.conf", &nginx_conf("9s"));
        assert_eq!(configs.look(&[]), None, "no reload");
        let got = configs.look(&both[1..]).unwrap();
        assert_eq!(got.len(), 1, "the old values are gone");
        assert_eq!(read_timeout(&got[0]).unwrap(), "9s /etc/nginx/nginx.conf:1");
    }

    #[test]
    fn logs_of_a_worker() {
        let host = Host::new();
        host.process(10, 1, "nginx: master process nginx", "box", 7);
        host.process(11, 10, "nginx: worker process\0", "box", 7);
        host.file("box/etc/nginx/nginx.conf", "http { access_log /a.log; }");
        let configs = host.configs();
        let logging = configs.logging(&process(11, ProxyKind::Nginx)).unwrap();
        assert_eq!(logging.file, "/etc/nginx/nginx.conf");
        assert_eq!(logging.logs[0].to.as_deref(), Some("/a.log"));
        assert_eq!(configs.logging(&process(10, ProxyKind::Envoy)), None);
        fs::remove_file(host.0.path().join("box/etc/nginx/nginx.conf")).unwrap();
        let logging = configs.logging(&process(11, ProxyKind::Nginx)).unwrap();
        assert!(
            logging.logs.is_empty() && logging.notes.len() == 1,
            "{logging:?}"
        );
    }

    #[test]
    fn haproxy_in_its_empty_directory() {
        let host = Host::new();
        let line = "haproxy\0-Ws\0-f\0/etc/haproxy/haproxy.cfg\0";
        host.process(20, 1, line, "all", 7);
        host.process(21, 20, line, "all/var/lib/haproxy", 7);
        let text = "listen a\n timeout server 4s\n server x 10.0.0.5:80\n";
        host.file("all/etc/haproxy/haproxy.cfg", text);
        let mut configs = host.configs();
        let both = [20, 21].map(|pid| process(pid, ProxyKind::Haproxy));
        let got = configs.look(&both).unwrap();
        assert_eq!(got.len(), 1, "{got:?}");
        assert_eq!(
            read_timeout(&got[0]).unwrap(),
            "4s /etc/haproxy/haproxy.cfg:2"
        );
    }

    /// A parent outside the container has another `/etc`.
    #[test]
    fn other_mounts_are_not_searched() {
        let host = Host::new();
        host.process(30, 1, "shim\0", "all", 7);
        host.process(31, 30, "haproxy\0", "box/empty", 8);
        host.file(
            "all/etc/haproxy/haproxy.cfg",
            "listen a\n server x 10.0.0.5:80\n",
        );
        let got = host
            .configs()
            .look(&[process(31, ProxyKind::Haproxy)])
            .unwrap();
        assert!(got[0].upstreams.is_empty(), "{got:?}");
        assert!(
            got[0].notes[0].contains("/etc/haproxy/haproxy.cfg was not read"),
            "{got:?}"
        );
    }

    #[test]
    fn what_is_no_server_or_gone_has_none() {
        let host = Host::new();
        host.process(40, 1, "nginx\0-t\0-c\0/x.conf\0", "all", 7);
        host.process(41, 1, "nginx: worker process", "all", 7);
        host.file("all/x.conf", &nginx_conf("7s"));
        let mut configs = host.configs();
        for pid in [40, 41, 42] {
            assert_eq!(
                configs.look(&[process(pid, ProxyKind::Nginx)]),
                None,
                "{pid}"
            );
        }
        assert_eq!(configs.look(&[process(40, ProxyKind::Envoy)]), None);
    }
}
