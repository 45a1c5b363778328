//! What the running kernel offers. Found by looking, never by version number: distributions
//! backport.

pub mod btf;
pub mod reset_reasons;

use std::fs;
use std::path::Path;

use self::btf::{TypeKind, walk};
use super::problem::Problem;

/// Where the kernel shows its type information.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// A place in the kernel that the programs attach to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The tracepoint's name.
    pub name: &'static str,
    /// Is a capture without it useless?
    pub required: bool,
    /// What is lost without it.
    pub without: &'static str,
}

const fn required(name: &'static str, without: &'static str) -> Hook {
    Hook {
        name,
        required: true,
        without,
    }
}

const fn optional(name: &'static str, without: &'static str) -> Hook {
    Hook {
        name,
        required: false,
        without,
    }
}

/// Every hook of the programs.
pub const HOOKS: &[Hook] = &[
    required(
        "sock_send_length",
        "requests to backends and responses to clients are not seen (the kernel has it since 6.3)",
    ),
    required(
        "sock_recv_length",
        "responses of backends and requests of clients are not seen (the kernel has it since 6.3)",
    ),
    required(
        "inet_sock_set_state",
        "connections are not seen to open and close",
    ),
    optional(
        "tcp_send_reset",
        "resets that this host sends are not seen, nor their reason",
    ),
    optional(
        "tcp_receive_reset",
        "a peer's reset is told from other errors only by the error code",
    ),
    optional("tcp_retransmit_skb", "retransmissions are not counted"),
    optional(
        "tcp_destroy_sock",
        "ended connections leave the table late, when it is full",
    ),
    optional(
        "inet_sk_error_report",
        "timeouts and unreachable networks are told only by the error code",
    ),
    optional(
        "sched_process_fork",
        "workers started during a capture are not traced",
    ),
    optional(
        "sched_process_exec",
        "a proxy started during a capture is not traced",
    ),
    optional(
        "sched_process_exit",
        "the end of a proxy's or a local backend's process is not seen",
    ),
    optional(
        "mark_victim",
        "a process that is killed for want of memory looks like any other that is killed",
    ),
];

/// The kernel's type information, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Btf {
    /// There, and read.
    Present,
    /// The kernel was built without it.
    Absent,
    /// There, but it cannot be read: why.
    Unreadable(String),
}

/// What the running kernel offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// `uname -r`.
    pub release: String,
    /// Machine architecture, `uname -m`.
    pub machine: String,
    /// Type information.
    pub btf: Btf,
    /// Each of [`HOOKS`] and whether it is there; `None` when it cannot be told.
    pub hooks: Vec<(Hook, Option<bool>)>,
    /// The helper that gives a thread's saved registers (since 5.15), needed to read the first bytes
    /// of a message.
    pub task_pt_regs: Option<bool>,
    /// The iterator over TCP sockets (since 5.8), needed to adopt connections that are open at the
    /// start.
    pub tcp_iterator: Option<bool>,
    /// Names of the reasons for a reset, by number; empty if the kernel gives none.
    pub reset_reasons: Vec<(u32, String)>,
}

impl Features {
    /// Of the running kernel.
    pub fn probe() -> Self {
        let uname = rustix::system::uname();
        let mut features = Self::look(Path::new(BTF_PATH));
        features.release = uname.release().to_string_lossy().into_owned();
        features.machine = uname.machine().to_string_lossy().into_owned();
        if features.reset_reasons.is_empty() {
            features.reset_reasons = reset_reasons::read_format()
                .map(|text| reset_reasons::parse_format(&text))
                .unwrap_or_default();
        }
        features
    }

    fn look(btf_path: &Path) -> Self {
        match fs::read(btf_path) {
            Ok(bytes) => Self::of_btf(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::blind(Btf::Absent),
            Err(error) => Self::blind(Btf::Unreadable(error.to_string())),
        }
    }

    /// Nothing can be told.
    fn blind(btf: Btf) -> Self {
        Self {
            release: String::new(),
            machine: String::new(),
            btf,
            hooks: HOOKS.iter().map(|&hook| (hook, None)).collect(),
            task_pt_regs: None,
            tcp_iterator: None,
            reset_reasons: Vec::new(),
        }
    }

    fn of_btf(bytes: &[u8]) -> Self {
        let mut found = vec![false; HOOKS.len()];
        let (mut task_pt_regs, mut tcp_iterator) = (false, false);
        let mut reasons = Vec::new();
        let walked = walk(bytes, |ty| match ty.kind {
            // The kernel defines such a type for every tracepoint (include/trace/bpf_probe.h).
            TypeKind::Typedef => {
                if let Some(name) = ty.name.strip_prefix(b"btf_trace_")
                    && let Some(at) = HOOKS.iter().position(|hook| hook.name.as_bytes() == name)
                {
                    found[at] = true;
                }
            }
            TypeKind::Func => {
                task_pt_regs |= ty.name == b"bpf_task_pt_regs";
                tcp_iterator |= ty.name == b"bpf_iter_tcp";
            }
            TypeKind::Enum if ty.name == reset_reasons::ENUM => {
                reasons = reset_reasons::from_constants(ty.constants());
            }
            TypeKind::Enum | TypeKind::Other => {}
        });
        if let Err(error) = walked {
            return Self::blind(Btf::Unreadable(error.to_string()));
        }
        Self {
            hooks: HOOKS
                .iter()
                .zip(found)
                .map(|(&hook, found)| (hook, Some(found)))
                .collect(),
            task_pt_regs: Some(task_pt_regs),
            tcp_iterator: Some(tcp_iterator),
            reset_reasons: reasons,
            ..Self::blind(Btf::Present)
        }
    }

    /// What is missing, the worst first.
    pub fn problems(&self) -> Vec<Problem> {
        match &self.btf {
            Btf::Present => {}
            Btf::Absent => {
                return vec![Problem::blocks(
                    format!(
                        "this kernel has no type information ({BTF_PATH}): where its structures keep what we read is unknown, and it is never guessed"
                    ),
                    "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (all current distribution kernels are)",
                )];
            }
            Btf::Unreadable(why) => {
                return vec![Problem::blocks(
                    format!("the kernel's type information ({BTF_PATH}) cannot be read: {why}"),
                    "check that /sys is mounted and readable, and report the kernel release if it is",
                )];
            }
        }
        let mut problems: Vec<Problem> = self
            .hooks
            .iter()
            .filter(|(_, found)| *found == Some(false))
            .map(|(hook, _)| {
                let what = format!("no tracepoint {}: {}", hook.name, hook.without);
                let remedy = "use a newer kernel";
                if hook.required {
                    Problem::blocks(what, remedy)
                } else {
                    Problem::limits(what, remedy)
                }
            })
            .collect();
        if self.task_pt_regs == Some(false) {
            problems.push(Problem::limits(
                "no helper bpf_task_pt_regs: the first bytes of requests and responses cannot be read, so no status is known",
                "use kernel 5.15 or newer",
            ));
        }
        if self.tcp_iterator == Some(false) {
            problems.push(Problem::limits(
                "no iterator over TCP sockets: connections that are open before the start are not known",
                "use a newer kernel, or give the capture some time to see new connections",
            ));
        }
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::Severity;
    use super::*;

    const FUNCTIONS: &[&str] = &["bpf_task_pt_regs", "bpf_iter_tcp"];

    fn typedefs(without: &[&str]) -> Vec<String> {
        HOOKS
            .iter()
            .filter(|hook| !without.contains(&hook.name))
            .map(|hook| format!("btf_trace_{}", hook.name))
            .collect()
    }

    fn features(without: &[&str], functions: &[&str]) -> Features {
        let typedefs = typedefs(without);
        let typedefs: Vec<&str> = typedefs.iter().map(String::as_str).collect();
        Features::of_btf(&btf::fake::btf(
            &typedefs,
            functions,
            ("sk_rst_reason", &[("SK_RST_REASON_NO_SOCKET", 1)]),
        ))
    }

    #[test]
    fn a_complete_kernel_has_no_problems() {
        let features = features(&[], FUNCTIONS);
        assert_eq!(features.problems(), []);
        assert_eq!(features.reset_reasons, [(1, "NO_SOCKET".to_owned())]);
    }

    #[test]
    fn what_is_missing_and_how_bad_it_is() {
        let table: &[(&[&str], &[&str], Severity, &str)] = &[
            (
                &["sock_send_length"],
                FUNCTIONS,
                Severity::Blocks,
                "sock_send_length",
            ),
            (
                &["tcp_retransmit_skb"],
                FUNCTIONS,
                Severity::Limits,
                "retransmissions",
            ),
            (&[], &["bpf_iter_tcp"], Severity::Limits, "bpf_task_pt_regs"),
            (&[], &["bpf_task_pt_regs"], Severity::Limits, "iterator"),
        ];
        for (without, functions, severity, word) in table {
            let problems = features(without, functions).problems();
            assert_eq!(problems.len(), 1, "{word}: {problems:?}");
            assert_eq!(problems[0].severity, *severity, "{word}");
            assert!(problems[0].what.contains(word), "{problems:?}");
        }
    }

    #[test]
    fn the_worst_comes_first() {
        let problems = features(&["tcp_send_reset", "sock_recv_length"], &[]).problems();
        assert_eq!(problems[0].severity, Severity::Blocks);
        assert_eq!(problems.last().unwrap().severity, Severity::Limits);
    }

    #[test]
    fn no_type_information_is_said_and_nothing_is_guessed() {
        let absent = Features::look(Path::new("/nonexistent/btf"));
        assert_eq!(absent.btf, Btf::Absent);
        assert!(absent.hooks.iter().all(|(_, found)| found.is_none()));
        let garbage = Features::of_btf(b"garbage");
        assert!(matches!(garbage.btf, Btf::Unreadable(_)));
        for features in [absent, garbage] {
            let problems = features.problems();
            assert_eq!(problems.len(), 1);
            assert_eq!(problems[0].severity, Severity::Blocks);
        }
    }

    #[test]
    fn the_running_kernel_answers_quickly() {
        let before = std::time::Instant::now();
        let features = Features::probe();
        assert!(!features.release.is_empty());
        // Five megabytes of type information; unoptimised builds on loaded machines have their time.
        assert!(before.elapsed() < std::time::Duration::from_secs(2));
        if features.btf == Btf::Present {
            // In every kernel that has type information (5.2) and tracepoints.
            assert!(
                features
                    .hooks
                    .iter()
                    .any(|(hook, found)| hook.name == "inet_sock_set_state"
                        && *found == Some(true))
            );
        }
    }
}
