//! What the running kernel offers. Found by looking, never by version number: distributions
//! backport.

pub mod btf;
pub mod reset_reasons;
pub mod sites;

use std::io;

use self::btf::{BtfError, TypeKind};
use self::sites::Sites;
use super::attach::Attached;
use super::hooks::{HOOKS, Hook, STANDBY, Site, describe};
use super::offsets::{Layout, Registers};
use super::problem::Problem;
use super::types::{BTF_PATH, TypeSource};

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

/// How a hook can be had, as far as looking tells. The loader tries, and goes on to the next way where
/// the kernel refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// By one of its ways.
    By {
        /// Which; 0 is the tracepoint itself.
        way: usize,
        /// Its places, in words.
        places: String,
    },
    /// Not at all.
    Nowhere,
    /// It cannot be told.
    Unknown,
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
    /// Was a file given that describes the types?
    pub btf_file: bool,
    /// Each of [`HOOKS`] and how it can be had.
    pub hooks: Vec<(&'static Hook, Found)>,
    /// How the programs get at a thread's saved registers, needed to read the first bytes of a message;
    /// `None` when it cannot be told.
    pub registers: Option<Registers>,
    /// The iterator over TCP sockets (since 5.8), needed to adopt connections that are open at the
    /// start.
    pub tcp_iterator: Option<bool>,
    /// Tracing can stand by, see [`STANDBY`].
    pub standby: Option<bool>,
    /// Names of the reasons for a reset, by number; empty if the kernel gives none.
    pub reset_reasons: Vec<(u32, String)>,
}

impl Features {
    /// Of the running kernel, whose types `source` describes.
    pub fn probe(source: &TypeSource) -> Self {
        let uname = rustix::system::uname();
        let mut features = Self::look(source);
        features.release = uname.release().to_string_lossy().into_owned();
        features.machine = uname.machine().to_string_lossy().into_owned();
        if features.reset_reasons.is_empty() {
            features.reset_reasons = reset_reasons::read_format()
                .map(|text| reset_reasons::parse_format(&text))
                .unwrap_or_default();
        }
        features
    }

    fn look(source: &TypeSource) -> Self {
        let found = match source.read() {
            Ok(bytes) => Self::of_btf(&bytes, source.is_kernels())
                .unwrap_or_else(|error| Self::blind(Btf::Unreadable(error.to_string()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && source.is_kernels() => {
                Self::blind(Btf::Absent)
            }
            Err(error) => Self::blind(Btf::Unreadable(error.to_string())),
        };
        Self {
            btf_file: !source.is_kernels(),
            ..found
        }
    }

    /// Nothing can be told.
    fn blind(btf: Btf) -> Self {
        Self {
            release: String::new(),
            machine: String::new(),
            btf,
            btf_file: false,
            hooks: HOOKS.iter().map(|hook| (hook, Found::Unknown)).collect(),
            registers: None,
            tcp_iterator: None,
            standby: None,
            reset_reasons: Vec::new(),
        }
    }

    fn of_btf(bytes: &[u8], typed: bool) -> Result<Self, BtfError> {
        let layout = Layout::read(bytes)?;
        let sites = Sites::of(layout.types(), typed);
        let mut tcp_iterator = false;
        let mut reasons = Vec::new();
        for ty in layout.types() {
            match ty.kind {
                TypeKind::Func => tcp_iterator |= ty.name == b"bpf_iter_tcp",
                TypeKind::Enum if ty.name == reset_reasons::ENUM => {
                    reasons = reset_reasons::from_constants(ty.constants());
                }
                TypeKind::Typedef | TypeKind::Enum | TypeKind::Other => {}
            }
        }
        Ok(Self {
            hooks: HOOKS
                .iter()
                .map(|hook| (hook, found(&sites, hook)))
                .collect(),
            registers: Some(Registers::of(&layout, typed)),
            tcp_iterator: Some(tcp_iterator && typed),
            standby: Some(sites.ways(&STANDBY).next().is_some()),
            reset_reasons: reasons,
            ..Self::blind(Btf::Present)
        })
    }

    /// Trying tells more than looking: these are attached, and those hooks the kernel refused.
    pub fn tried(&mut self, attached: &[Attached], refused: &[&str]) {
        for (hook, found) in &mut self.hooks {
            let sites: Vec<&'static Site> = attached
                .iter()
                .filter(|one| one.hook.name == hook.name)
                .map(|one| one.site)
                .collect();
            // Ways share places: one is taken if nothing is attached elsewhere, and all that it needs is.
            let is_taken = |way: &&'static [Site]| {
                way.iter()
                    .all(|site| site.optional || sites.contains(&site))
                    && sites.iter().all(|site| way.contains(site))
            };
            if let Some(way) = hook.ways.iter().position(is_taken) {
                let places = describe(sites);
                *found = Found::By { way, places };
            } else if refused.contains(&hook.name) {
                *found = Found::Nowhere;
            }
        }
    }

    /// Is the hook there, or something in its place? `None` when it cannot be told.
    pub fn has(&self, name: &str) -> Option<bool> {
        self.hooks
            .iter()
            .find(|(hook, _)| hook.name == name)
            .and_then(|(_, found)| match found {
                Found::By { .. } => Some(true),
                Found::Nowhere => Some(false),
                Found::Unknown => None,
            })
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
                    "give a BTF file of this very kernel build with --btf FILE (BTFHub has them for distributions, pahole -J makes one from the kernel's debug information), or use a kernel built with CONFIG_DEBUG_INFO_BTF=y (all current distribution kernels are)",
                )];
            }
            Btf::Unreadable(why) if self.btf_file => {
                return vec![Problem::blocks(
                    format!("the file of --btf cannot be used: {why}"),
                    "give the bare type information of this very kernel build, unpacked (BTFHub's files are packed with xz)",
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
            .filter(|(_, found)| *found == Found::Nowhere)
            .map(|(hook, _)| {
                let nothing = if hook.ways.len() > 1 {
                    ", and nothing that can stand in for it"
                } else {
                    ""
                };
                let what = format!("no tracepoint {}{nothing}: {}", hook.name, hook.without);
                let remedy = if hook.ways.len() > 1 {
                    "use a newer kernel, or one built with CONFIG_KPROBES=y"
                } else {
                    "use a newer kernel"
                };
                if hook.required {
                    Problem::blocks(what, remedy)
                } else {
                    Problem::limits(what, remedy)
                }
            })
            .collect();
        if self.registers == Some(Registers::Unknown) {
            problems.push(Problem::limits(
                "a thread's saved registers cannot be found (no helper bpf_task_pt_regs): the first bytes of requests and responses cannot be read, so no status is known",
                "use kernel 5.15 or newer",
            ));
        }
        if self.tcp_iterator == Some(false) {
            problems.push(Problem::limits(
                "no iterator over TCP sockets: connections that are open before the start are known from their next use on",
                "use a newer kernel, or give the capture some time to see new connections",
            ));
        }
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        problems
    }
}

/// The best way to have a hook.
fn found(sites: &Sites, hook: &Hook) -> Found {
    match sites.ways(hook).next() {
        Some((way, sites)) => Found::By {
            way,
            places: describe(sites),
        },
        None => Found::Nowhere,
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
        let bytes = btf::fake::btf(
            &typedefs,
            functions,
            ("sk_rst_reason", &[("SK_RST_REASON_NO_SOCKET", 1)]),
        );
        Features::of_btf(&bytes, true).unwrap()
    }

    #[test]
    fn what_was_tried_counts() {
        let mut features = features(&[], FUNCTIONS);
        let hook = &HOOKS[0];
        let attached: Vec<Attached> = hook.ways[2]
            .iter()
            .map(|site| Attached { hook, site })
            .collect();
        features.tried(&attached, &["mark_victim"]);
        let found = |name: &str| {
            let mut hooks = features.hooks.iter();
            hooks.find(|(hook, _)| hook.name == name).unwrap().1.clone()
        };
        let places = "kprobe inet_sendmsg, inet6_sendmsg, inet_sendpage".to_owned();
        assert_eq!(found(hook.name), Found::By { way: 2, places });
        assert_eq!(found("mark_victim"), Found::Nowhere);
        assert!(matches!(
            found("tcp_destroy_sock"),
            Found::By { way: 0, .. }
        ));
    }

    /// Ways share places, and those that are optional may be wanting.
    #[test]
    fn the_way_that_was_taken() {
        let mut features = features(&[], FUNCTIONS);
        for hook in HOOKS {
            for (expected, way) in hook.ways.iter().enumerate() {
                for all in [true, false] {
                    let attached: Vec<Attached> = way
                        .iter()
                        .filter(|site| all || !site.optional)
                        .map(|site| Attached { hook, site })
                        .collect();
                    features.tried(&attached, &[]);
                    let mut found = features.hooks.iter();
                    let (_, found) = found.find(|(one, _)| one.name == hook.name).unwrap();
                    assert!(
                        matches!(found, Found::By { way, .. } if *way == expected),
                        "{attached:?}: {found:?}"
                    );
                }
            }
        }
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
            (&[], &["bpf_iter_tcp"], Severity::Limits, "registers"),
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
        let absent = Features::blind(Btf::Absent);
        let garbage = TypeSource::File(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into());
        let garbage = Features::look(&garbage);
        assert!(matches!(garbage.btf, Btf::Unreadable(_)));
        let missing = Features::look(&TypeSource::File("/nonexistent/btf".into()));
        assert!(matches!(missing.btf, Btf::Unreadable(_)));
        for (features, word) in [(absent, "--btf"), (garbage, "unpacked"), (missing, "build")] {
            assert!(
                features
                    .hooks
                    .iter()
                    .all(|(_, found)| *found == Found::Unknown)
            );
            let problems = features.problems();
            assert_eq!(problems.len(), 1);
            assert_eq!(problems[0].severity, Severity::Blocks);
            assert!(problems[0].remedy.contains(word), "{problems:?}");
        }
    }

    #[test]
    fn the_running_kernel_answers_quickly() {
        let before = std::time::Instant::now();
        let features = Features::probe(&TypeSource::Kernel);
        assert!(!features.release.is_empty());
        // Five megabytes of type information; unoptimised builds on loaded machines have their time.
        assert!(before.elapsed() < std::time::Duration::from_secs(2));
        if features.btf == Btf::Present {
            // In every kernel that has type information (5.2) and tracepoints.
            assert_eq!(features.has("inet_sock_set_state"), Some(true));
        }
    }
}
