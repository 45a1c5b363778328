//! Checkups made by hand.

use std::time::Duration;

use super::weight::MapRow;
use super::{Checkup, ProxyGroup, Weight};
use crate::config::{Log, LogKind, Logging, Source, Tie};
use crate::discover::TlsLibrary;
use crate::event::ProxyKind;
use crate::kernel::attach::Loaded;
use crate::kernel::features::{Btf, Features, Found};
use crate::kernel::hooks::{HOOKS, Hook, Kind, describe};
use crate::kernel::offsets::Registers;
use crate::kernel::preflight::{Preflight, Programs};
use crate::kernel::rights::{Lockdown, Rights};

/// A host on which everything works, with two proxies.
pub(super) fn healthy() -> Checkup {
    Checkup {
        host: "edge-1".into(),
        preflight: Preflight {
            programs: Programs::Built,
            rights: Rights {
                effective: Some(u64::MAX),
                seccomp_filter: false,
                unprivileged_bpf_disabled: Some(2),
                lockdown: Lockdown::None,
                host_users: Some(true),
                host_pids: Some(true),
            },
            features: Features {
                release: "6.12.1".into(),
                machine: "x86_64".into(),
                btf: Btf::Present,
                btf_file: false,
                hooks: HOOKS.iter().map(|hook| (hook, by(hook, 0))).collect(),
                registers: Some(Registers::Helper),
                tcp_iterator: Some(true),
                standby: Some(true),
                reset_reasons: vec![(1, "NO_SOCKET".into())],
            },
        },
        trial: Some(Ok(())),
        weight: None,
        proxies: vec![
            ProxyGroup {
                kind: ProxyKind::Nginx,
                master: 10,
                workers: vec![11, 12],
                executable: Some("/usr/sbin/nginx".into()),
                netns: Some(1),
                listening: vec!["0.0.0.0:80".parse().unwrap(), "[::]:80".parse().unwrap()],
                sockets_seen: true,
                tls: Some(TlsLibrary {
                    name: "OpenSSL",
                    version: Some("3.0.17".into()),
                    path: Some("/usr/lib/x86_64-linux-gnu/libcrypto.so.3".into()),
                }),
                cgroup: Some("/system.slice/nginx.service".into()),
                logging: Some(Logging {
                    file: "/etc/nginx/nginx.conf".into(),
                    logs: vec![
                        Log {
                            kind: LogKind::Access,
                            to: Some("/var/log/nginx/access.log".into()),
                            format: "combined".into(),
                            tie: Some(Tie::Time),
                            source: Source::File {
                                file: "/etc/nginx/nginx.conf".into(),
                                line: 41,
                            },
                        },
                        Log {
                            kind: LogKind::Error,
                            to: None,
                            format: "error".into(),
                            tie: None,
                            source: Source::Default,
                        },
                    ],
                    notes: vec!["/etc/nginx/x.conf was not read: no such file.".into()],
                }),
            },
            ProxyGroup {
                kind: ProxyKind::Envoy,
                master: 20,
                workers: vec![],
                executable: Some("/opt/e\u{1b}[31mvil/envoy".into()),
                netns: Some(77),
                listening: vec![],
                sockets_seen: true,
                tls: Some(TlsLibrary {
                    name: "BoringSSL",
                    version: None,
                    path: None,
                }),
                cgroup: Some(format!(
                    "/system.slice/docker-{}.scope",
                    "0123456789abcdef".repeat(4)
                )),
                logging: None,
            },
        ],
        own_netns: Some(1),
        own_cgroup: Some("/user.slice/session-1.scope".into()),
    }
}

/// The same host with the kernel of years ago, whose programs were loaded.
pub(super) fn older_kernel() -> Checkup {
    let mut checkup = healthy();
    let features = &mut checkup.preflight.features;
    features.reset_reasons.clear();
    features.registers = Some(Registers::Stack {
        task_stack: 32,
        at: 16216,
    });
    for (hook, found) in &mut features.hooks {
        if hook.ways.len() > 1 {
            *found = by(hook, 1);
        }
    }
    checkup.weight = Some(Ok(Weight {
        programs: vec![Loaded {
            program: "send_exit".into(),
            attached_to: vec![
                (Kind::FExit, "inet_sendmsg"),
                (Kind::FExit, "inet6_sendmsg"),
            ],
            verified_insns: Some(179_255),
            map_ids: vec![1],
        }],
        attached: Vec::new(),
        refused: vec!["mark_victim"],
        maps: vec![MapRow {
            name: "CONNS".into(),
            max_entries: 131_072,
            entry_bytes: 400,
        }],
        took: Duration::from_millis(1500),
    }));
    checkup
}

/// In this way, with all of its places.
fn by(hook: &Hook, way: usize) -> Found {
    Found::By {
        way,
        places: describe(hook.ways[way]),
    }
}

/// The same host, seen by somebody without rights.
pub(super) fn without_root() -> Checkup {
    let mut checkup = healthy();
    checkup.preflight.rights.effective = Some(0);
    checkup.trial = None;
    for proxy in &mut checkup.proxies {
        proxy.executable = None;
        proxy.netns = None;
        proxy.listening.clear();
        proxy.sockets_seen = false;
        proxy.logging = None;
        proxy.tls = None;
    }
    checkup
}
