//! Where a process stands among the control groups, and which container that is.

use std::path::Path;

/// Length of the ids that container runtimes give.
const ID_LEN: usize = 64;

/// Path of the process in the unified hierarchy (cgroup v2), else in the first of the old ones; `None`
/// when we may not look.
pub fn cgroup(proc: &Path, pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(proc.join(pid.to_string()).join("cgroup")).ok()?;
    path_of(&text)
}

/// Lines `0::/path`, or `4:memory:/path`.
fn path_of(text: &str) -> Option<String> {
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let unified = text.lines().find(|line| line.starts_with("0::"));
    // Where both are there, the old ones tell and the new one is empty.
    let unified = unified.and_then(path).filter(|path| path != "/");
    unified.or_else(|| text.lines().find_map(path))
}

/// The container's id in the path of a control group: Docker, containerd, CRI-O, Podman, Kubernetes.
pub fn container_id(cgroup: &str) -> Option<&str> {
    cgroup.split('/').rev().find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit(['-', ':']).next()?;
        (id.len() == ID_LEN && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_containers() {
        let id = "0123456789abcdef".repeat(4);
        let table = [
            ("0::/system.slice/nginx.service\n".to_owned(), false),
            (format!("0::/system.slice/docker-{id}.scope\n"), true),
            (
                format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
                true,
            ),
            (format!("12:memory:/docker/{id}\n0::/\n"), true),
            (
                format!("0::/machine.slice/libpod-{id}.scope/container"),
                true,
            ),
            ("0::/".to_owned(), false),
        ];
        for (text, contained) in table {
            let path = path_of(&text).unwrap();
            assert!(path.starts_with('/'), "{path}");
            assert_eq!(
                container_id(&path),
                contained.then_some(id.as_str()),
                "{text}"
            );
        }
        assert_eq!(path_of(""), None);
    }
}
