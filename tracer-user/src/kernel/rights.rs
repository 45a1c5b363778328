//! May this process load and attach programs, and look into other processes?

use std::fs;
use std::path::Path;

use super::problem::Problem;

/// A capability that why502 uses (`include/uapi/linux/capability.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Read any directory: `/proc/PID/fd` of other users.
    DacReadSearch,
    /// Look into other users' processes: program, namespaces, open sockets.
    SysPtrace,
    /// Everything; stands in for `Bpf` and `Perfmon`.
    SysAdmin,
    /// Load programs that read kernel memory, attach tracepoints.
    Perfmon,
    /// Create maps and load programs.
    Bpf,
    /// Raw sockets.
    NetRaw,
}

impl Capability {
    /// All that matter here.
    pub const ALL: [Self; 6] = [
        Self::Bpf,
        Self::Perfmon,
        Self::SysAdmin,
        Self::SysPtrace,
        Self::DacReadSearch,
        Self::NetRaw,
    ];

    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
            Self::NetRaw => "CAP_NET_RAW",
        }
    }

    /// What it is used for.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::DacReadSearch => "list the sockets of other users' processes",
            Self::SysPtrace => "see the program and the namespaces of other users' processes",
            Self::SysAdmin => "stands in for CAP_BPF and CAP_PERFMON; kernels before 5.8 need it",
            Self::Perfmon => "attach to tracepoints and read kernel memory",
            Self::Bpf => "load the kernel programs",
            Self::NetRaw => "see ICMP errors about the traced connections",
        }
    }

    const fn bit(self) -> u64 {
        1 << match self {
            Self::DacReadSearch => 2,
            Self::SysPtrace => 19,
            Self::SysAdmin => 21,
            Self::Perfmon => 38,
            Self::Bpf => 39,
            Self::NetRaw => 13,
        }
    }
}

/// How far the kernel is locked down against its own root user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Not at all.
    None,
    /// The kernel's memory cannot be changed. Does not concern us.
    Integrity,
    /// Nor read: programs may not look into kernel memory.
    Confidentiality,
    /// The kernel does not say (no lockdown module, or securityfs is not mounted).
    Unknown,
}

impl Lockdown {
    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Integrity => "integrity",
            Self::Confidentiality => "confidentiality",
            Self::Unknown => "unknown",
        }
    }
}

/// What this process may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Effective capabilities, a bit each; `None` when the kernel does not tell.
    pub effective: Option<u64>,
    /// A seccomp filter is active (containers): it may refuse the `bpf` system call.
    pub seccomp_filter: bool,
    /// `/proc/sys/kernel/unprivileged_bpf_disabled`: 0 allowed, 1 or 2 not.
    pub unprivileged_bpf_disabled: Option<u8>,
    /// Kernel lockdown.
    pub lockdown: Lockdown,
    /// In the host's user namespace? Capabilities of another one do not reach the kernel.
    pub host_users: Option<bool>,
    /// In the host's PID namespace? The programs see the host's process ids.
    pub host_pids: Option<bool>,
}

/// Inode of the host's PID namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const HOST_PIDS: &str = "pid:[4026531836]";
/// Inode of the host's user namespace (`PROC_USER_INIT_INO`).
const HOST_USERS: &str = "user:[4026531837]";

impl Rights {
    /// Of this process, now.
    pub fn read() -> Self {
        Self::read_from(Path::new("/proc"), Path::new("/sys"))
    }

    fn read_from(proc: &Path, sys: &Path) -> Self {
        let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
        let namespace = |name, host| {
            let link = fs::read_link(proc.join("self/ns").join(name)).ok()?;
            Some(link.as_os_str() == host)
        };
        Self {
            effective: status_field(&status, "CapEff:")
                .and_then(|hex| u64::from_str_radix(hex, 16).ok()),
            seccomp_filter: status_field(&status, "Seccomp:") == Some("2"),
            unprivileged_bpf_disabled: fs::read_to_string(
                proc.join("sys/kernel/unprivileged_bpf_disabled"),
            )
            .ok()
            .and_then(|text| text.trim().parse().ok()),
            lockdown: fs::read_to_string(sys.join("kernel/security/lockdown"))
                .map_or(Lockdown::Unknown, |text| parse_lockdown(&text)),
            host_users: namespace("user", HOST_USERS),
            host_pids: namespace("pid", HOST_PIDS),
        }
    }

    /// Does this process have the capability? Unknown counts as no.
    pub fn has(&self, capability: Capability) -> bool {
        self.effective
            .is_some_and(|bits| bits & capability.bit() != 0)
    }

    /// What is missing, the worst first.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(self.missing_bpf());
        if self.host_users == Some(false) {
            problems.push(Problem::blocks(
                "this process lives in a user namespace of its own (a rootless container?): being root there gives no right to load kernel programs",
                "run why502 on the host itself, as root",
            ));
        }
        if self.host_pids == Some(false) {
            problems.push(Problem::blocks(
                "this process lives in a PID namespace of its own (a container?): the process ids that it sees are not the kernel's",
                "run why502 on the host, or start the container with the host's PID namespace (docker run --pid=host, Kubernetes hostPID: true)",
            ));
        }
        if self.lockdown == Lockdown::Confidentiality {
            problems.push(Problem::blocks(
                "the kernel is locked down (confidentiality): programs may not read kernel memory",
                "boot with lockdown=integrity or none, or with Secure Boot off if that is what locks it",
            ));
        }
        problems.extend(self.missing_sight());
        if self.seccomp_filter {
            problems.push(Problem::limits(
                "a seccomp filter is active (a container?): it may refuse the bpf system call",
                "if a capture fails with \"operation not permitted\", allow bpf in the profile (docker run --security-opt seccomp=unconfined)",
            ));
        }
        problems
    }

    fn missing_bpf(&self) -> Option<Problem> {
        if self.has(Capability::SysAdmin)
            || self.has(Capability::Bpf) && self.has(Capability::Perfmon)
        {
            return None;
        }
        let missing: Vec<&str> = [Capability::Bpf, Capability::Perfmon]
            .into_iter()
            .filter(|&capability| !self.has(capability))
            .map(Capability::name)
            .collect();
        Some(Problem::blocks(
            format!(
                "no right to load kernel programs: {} missing",
                missing.join(" and ")
            ),
            REMEDY,
        ))
    }

    fn missing_sight(&self) -> Option<Problem> {
        let missing: Vec<&str> = [Capability::SysPtrace, Capability::DacReadSearch]
            .into_iter()
            .filter(|&capability| !self.has(capability))
            .map(Capability::name)
            .collect();
        (!missing.is_empty()).then(|| {
            Problem::limits(
                format!(
                    "no right to look into other users' processes ({} missing): their program is told by the command name only, and their listening ports stay unknown",
                    missing.join(", ")
                ),
                REMEDY,
            )
        })
    }
}

const REMEDY: &str = "run with sudo, or once: sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep PATH_OF_WHY502";

fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// `none [integrity] confidentiality`: the brackets mark what is in force.
fn parse_lockdown(text: &str) -> Lockdown {
    let active = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|(active, _)| active);
    match active {
        Some("none") => Lockdown::None,
        Some("integrity") => Lockdown::Integrity,
        Some("confidentiality") => Lockdown::Confidentiality,
        _ => Lockdown::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::Severity;
    use super::*;

    fn rights(capabilities: &[Capability]) -> Rights {
        Rights {
            effective: Some(capabilities.iter().fold(0, |bits, c| bits | c.bit())),
            seccomp_filter: false,
            unprivileged_bpf_disabled: Some(2),
            lockdown: Lockdown::None,
            host_users: Some(true),
            host_pids: Some(true),
        }
    }

    fn blocked(rights: &Rights) -> Vec<String> {
        rights
            .problems()
            .into_iter()
            .filter(|problem| problem.severity == Severity::Blocks)
            .map(|problem| problem.what)
            .collect()
    }

    #[test]
    fn bpf_with_perfmon_or_admin_is_enough() {
        use Capability::*;
        let table: &[(&[Capability], &[&str])] = &[
            (&[Bpf, Perfmon], &[]),
            (&[SysAdmin], &[]),
            (
                &[Bpf],
                &["no right to load kernel programs: CAP_PERFMON missing"],
            ),
            (
                &[Perfmon, SysPtrace],
                &["no right to load kernel programs: CAP_BPF missing"],
            ),
            (
                &[],
                &["no right to load kernel programs: CAP_BPF and CAP_PERFMON missing"],
            ),
        ];
        for (capabilities, expected) in table {
            assert_eq!(
                &blocked(&rights(capabilities)),
                expected,
                "{capabilities:?}"
            );
        }
        assert!(rights(&Capability::ALL).problems().is_empty());
    }

    #[test]
    fn each_obstacle_has_its_line() {
        let all = rights(&Capability::ALL);
        let table = [
            (
                Rights {
                    lockdown: Lockdown::Confidentiality,
                    ..all.clone()
                },
                Severity::Blocks,
                "locked down",
            ),
            (
                Rights {
                    host_users: Some(false),
                    ..all.clone()
                },
                Severity::Blocks,
                "user namespace",
            ),
            (
                Rights {
                    host_pids: Some(false),
                    ..all.clone()
                },
                Severity::Blocks,
                "PID namespace",
            ),
            (
                Rights {
                    seccomp_filter: true,
                    ..all.clone()
                },
                Severity::Limits,
                "seccomp",
            ),
            (
                rights(&[Capability::SysAdmin, Capability::SysPtrace]),
                Severity::Limits,
                "CAP_DAC_READ_SEARCH missing",
            ),
        ];
        for (rights, severity, word) in table {
            let problems = rights.problems();
            assert_eq!(problems.len(), 1, "{word}: {problems:?}");
            assert_eq!(problems[0].severity, severity, "{word}");
            assert!(problems[0].what.contains(word), "{problems:?}");
            assert!(!problems[0].remedy.is_empty());
        }
    }

    #[test]
    fn an_unreadable_proc_means_no_rights() {
        let nowhere = Path::new("/nonexistent");
        let rights = Rights::read_from(nowhere, nowhere);
        assert_eq!(rights.effective, None);
        assert_eq!(rights.host_pids, None);
        assert_eq!(blocked(&rights).len(), 1);
    }

    #[test]
    fn lockdown_states() {
        let table = [
            ("[none] integrity confidentiality\n", Lockdown::None),
            ("none [integrity] confidentiality\n", Lockdown::Integrity),
            (
                "none integrity [confidentiality]\n",
                Lockdown::Confidentiality,
            ),
            ("none integrity confidentiality", Lockdown::Unknown),
            ("[", Lockdown::Unknown),
            ("", Lockdown::Unknown),
        ];
        for (text, expected) in table {
            assert_eq!(parse_lockdown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn this_machine_can_be_read() {
        assert!(Rights::read().effective.is_some());
    }
}
