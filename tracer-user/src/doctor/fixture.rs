//! Checkups made by hand.

use super::{Checkup, ProxyGroup};
use crate::event::ProxyKind;
use crate::kernel::features::{Btf, Features, HOOKS};
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
                hooks: HOOKS.iter().map(|&hook| (hook, Some(true))).collect(),
                task_pt_regs: Some(true),
                tcp_iterator: Some(true),
                reset_reasons: vec![(1, "NO_SOCKET".into())],
            },
        },
        trial: Some(Ok(())),
        proxies: vec![
            ProxyGroup {
                kind: ProxyKind::Nginx,
                master: 10,
                workers: vec![11, 12],
                executable: Some("/usr/sbin/nginx".into()),
                netns: Some(1),
                listening: vec!["0.0.0.0:80".parse().unwrap(), "[::]:80".parse().unwrap()],
                sockets_seen: true,
            },
            ProxyGroup {
                kind: ProxyKind::Envoy,
                master: 20,
                workers: vec![],
                executable: Some("/opt/e\u{1b}[31mvil/envoy".into()),
                netns: Some(77),
                listening: vec![],
                sockets_seen: true,
            },
        ],
        own_netns: Some(1),
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
    }
    checkup
}
