//! Tells a proxy by the name of its program.

use std::path::Path;

use super::process;
use crate::event::ProxyKind;

/// File names of the executables, as distributions and the projects themselves install them.
/// Exact names only: `nginx-prometheus-exporter` is not a proxy.
const PROGRAMS: &[(&str, ProxyKind)] = &[
    ("nginx", ProxyKind::Nginx),
    ("nginx-debug", ProxyKind::Nginx),
    // The old binary's name while NGINX is upgraded on the fly.
    ("nginx.old", ProxyKind::Nginx),
    ("openresty", ProxyKind::Nginx),
    ("angie", ProxyKind::Nginx),
    ("angie-debug", ProxyKind::Nginx),
    ("tengine", ProxyKind::Nginx),
    ("haproxy", ProxyKind::Haproxy),
    ("envoy", ProxyKind::Envoy),
    ("apache2", ProxyKind::Apache),
    ("httpd", ProxyKind::Apache),
    // Red Hat's name for the event build, before 2.4 made the MPM a module.
    ("httpd.event", ProxyKind::Apache),
    ("httpd.worker", ProxyKind::Apache),
];

/// The kinds that are known by name, in the order of [`ProxyKind`].
pub const KNOWN_KINDS: [ProxyKind; 4] = [
    ProxyKind::Nginx,
    ProxyKind::Haproxy,
    ProxyKind::Envoy,
    ProxyKind::Apache,
];

/// The kind that a name on the command line means: `apache2` is Apache, `openresty` an NGINX, an
/// unknown name a program of that name.
pub fn kind_of_name(name: &str) -> ProxyKind {
    known(name).unwrap_or_else(|| match name {
        "apache" => ProxyKind::Apache,
        _ => ProxyKind::Other(name.to_owned()),
    })
}

/// What the process is, if it is a known proxy; `None` also when it has vanished.
pub fn classify(root: &Path, pid: u32) -> Option<ProxyKind> {
    known(&process::program_name(root, pid)?)
}

/// The first of `kinds` that the process is.
pub(super) fn classify_as(root: &Path, pid: u32, kinds: &[ProxyKind]) -> Option<ProxyKind> {
    let program = process::program_name(root, pid)?;
    let kind = known(&program);
    kinds
        .iter()
        .find(|wanted| match wanted {
            // An interpreter's file name says little; the command name may be the service's.
            ProxyKind::Other(name) => {
                *name == program || process::comm(root, pid).is_some_and(|comm| comm == *name)
            }
            wanted => kind.as_ref() == Some(*wanted),
        })
        .cloned()
}

fn known(program: &str) -> Option<ProxyKind> {
    PROGRAMS
        .iter()
        .find(|(name, _)| *name == program)
        .map(|(_, kind)| kind.clone())
}

#[cfg(test)]
mod tests {
    use super::super::process::fake::Proc;
    use super::*;

    #[test]
    fn programs_are_told_by_file_name_then_by_command_name() {
        let table: &[(&str, Option<&str>, Option<ProxyKind>)] = &[
            ("nginx", Some("/usr/sbin/nginx"), Some(ProxyKind::Nginx)),
            ("nginx", Some("/opt/nginx.old"), Some(ProxyKind::Nginx)),
            (
                "nginx",
                Some("/usr/local/openresty/nginx/sbin/nginx (deleted)"),
                Some(ProxyKind::Nginx),
            ),
            (
                "envoy",
                Some("/usr/local/bin/envoy"),
                Some(ProxyKind::Envoy),
            ),
            ("pilot-agent", Some("/usr/local/bin/pilot-agent"), None),
            // The main thread may rename itself: the file name decides.
            ("main", Some("/bin/envoy"), Some(ProxyKind::Envoy)),
            (
                "apache2",
                Some("/usr/sbin/apache2"),
                Some(ProxyKind::Apache),
            ),
            ("httpd", Some("/usr/sbin/httpd"), Some(ProxyKind::Apache)),
            // busybox httpd is no Apache, and the file name can be read.
            ("httpd", Some("/bin/busybox"), None),
            // Without the right to read the link, the command name has to do.
            ("haproxy", None, Some(ProxyKind::Haproxy)),
            (
                "nginx-prometheu",
                Some("/usr/bin/nginx-prometheus-exporter"),
                None,
            ),
            ("bash", None, None),
        ];
        for (comm, exe, expected) in table {
            let proc = Proc::new();
            proc.process(7, 1, comm, *exe);
            assert_eq!(&classify(proc.root(), 7), expected, "{comm} {exe:?}");
        }
        assert_eq!(classify(Proc::new().root(), 7), None, "vanished");
    }

    #[test]
    fn names_given_by_the_user() {
        let table = [
            ("nginx", ProxyKind::Nginx),
            ("openresty", ProxyKind::Nginx),
            ("apache", ProxyKind::Apache),
            ("httpd", ProxyKind::Apache),
            ("traefik", ProxyKind::Other("traefik".into())),
        ];
        for (name, kind) in table {
            assert_eq!(kind_of_name(name), kind);
        }
    }
}
