//! Checkups made by hand.

use super::{Checkup, ProxyGroup};
use crate::config::{Log, LogKind, Logging, Source, Tie};
use crate::event::ProxyKind;
use crate::kernel::features::{Btf, Features, Found};
use crate::kernel::hooks::{HOOKS, Hook, describe};
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
                logging: None,
            },
        ],
        own_netns: Some(1),
    }
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
    }
    checkup
}
