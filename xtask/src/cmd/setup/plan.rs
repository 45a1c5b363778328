//! What is missing, and how this machine can get it: a plain function of what was seen.

use super::Purpose;
use super::apt::major_minor;
use super::facts::{AptLists, Facts};
use super::step::{LINKER_VERSION, Line, Step, line};
use crate::bpf_toolchain::{OLDEST_RUSTC, Origin};

/// Debian's current Rust, which it keeps for building browsers, with the source of `core`.
pub(crate) const DEBIAN_RUST: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
/// Major versions of LLVM that `bpf-linker` can be built with, newest first.
pub(crate) const LLVM_VERSIONS: [u32; 3] = [23, 22, 21];

/// The packages for building `bpf-linker` with an LLVM.
pub(crate) fn llvm_packages(major: u32) -> [String; 4] {
    [
        format!("llvm-{major}-dev"),
        format!("libpolly-{major}-dev"),
        "zlib1g-dev".into(),
        "libzstd-dev".into(),
    ]
}

/// A program that something is run with.
pub(crate) struct Tool {
    /// The names it goes by.
    pub(crate) programs: &'static [&'static str],
    /// The Debian package.
    pub(crate) package: &'static str,
    /// From which purpose on it is needed.
    pub(crate) from: Purpose,
    /// The tests that use it say so and go on without it.
    pub(crate) optional: bool,
}

/// Makes the Debian that packages are tried in.
const DEBOOTSTRAP: &str = "debootstrap";

/// What the demo and the tests run.
pub(crate) const TOOLS: [Tool; 13] = [
    tool(&["nginx"], "nginx", Purpose::Demo),
    tool(&["haproxy"], "haproxy", Purpose::Test),
    tool(&["apache2", "httpd"], "apache2", Purpose::Test),
    Tool {
        optional: true,
        // Debian has it from 12 on, Ubuntu from 24.04.
        ..tool(&["caddy"], "caddy", Purpose::Test)
    },
    tool(&["ip"], "iproute2", Purpose::Test),
    tool(&["nft"], "nftables", Purpose::Test),
    tool(&["openssl"], "openssl", Purpose::Test),
    // Its library sets the clock for one process alone.
    tool(&["faketime"], "faketime", Purpose::Test),
    Tool {
        optional: true,
        ..tool(&["bpftool"], "bpftool", Purpose::Test)
    },
    Tool {
        optional: true,
        // For `bench`.
        ..tool(&["h2load"], "nghttp2-client", Purpose::Test)
    },
    Tool {
        optional: true,
        // promtool comes with it.
        ..tool(&["prometheus"], "prometheus", Purpose::Test)
    },
    Tool {
        optional: true,
        ..tool(&["debootstrap"], DEBOOTSTRAP, Purpose::Test)
    },
    Tool {
        optional: true,
        // With a provider, or Vagrant refuses to judge a Vagrantfile.
        ..tool(&["vagrant"], "vagrant-libvirt", Purpose::Test)
    },
];

const fn tool(programs: &'static [&'static str], package: &'static str, from: Purpose) -> Tool {
    Tool {
        programs,
        package,
        from,
        optional: false,
    }
}

/// What to do, in order, and what to say.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// What is there already, one line each.
    pub(crate) present: Vec<String>,
    /// What is not there and will not be, one line each.
    pub(crate) notes: Vec<String>,
    /// What is to be done.
    pub(crate) steps: Vec<Step>,
}

/// Makes the plan.
pub(crate) fn plan(facts: &Facts, purpose: Purpose) -> Plan {
    let mut plan = Plan::default();
    compiler(facts, &mut plan);
    linker(facts, &mut plan);
    tools(facts, purpose, &mut plan);
    if purpose >= Purpose::Test {
        envoy(facts, &mut plan);
        receivers(facts, &mut plan);
        debian(facts, &mut plan);
    }
    if purpose == Purpose::Dist {
        packaging(facts, &mut plan);
    }
    // Everything above was decided on lists that may be old, or absent on a new machine.
    let apt_may_help = plan.steps.iter().any(|step| match step {
        Step::Apt(_) | Step::NightlySource { .. } | Step::ByHand { .. } => true,
        Step::BuildLinker { llvm_present, .. } => !llvm_present,
        Step::AptUpdate
        | Step::FetchLinker
        | Step::Envoy
        | Step::Collector
        | Step::PythonTools
        | Step::Zigbuild
        | Step::Std(_)
        | Step::Debian => false,
    });
    if facts.apt == Some(AptLists::Old) && facts.root && apt_may_help {
        plan.steps.insert(0, Step::AptUpdate);
    }
    plan
}

fn compiler(facts: &Facts, plan: &mut Plan) {
    let why = match &facts.bpf.compiler {
        Ok(compiler) => {
            let (origin, rustc) = (compiler.origin, compiler.rustc.display());
            plan.present
                .push(format!("compiler for BPF: {origin} ({rustc})"));
            return;
        }
        Err(why) => why,
    };
    let debian = facts
        .candidates
        .get(DEBIAN_RUST[0])
        .and_then(|version| major_minor(version));
    let debian = debian.is_some_and(|version| version >= OLDEST_RUSTC);
    plan.steps.push(if debian && (facts.root || !facts.rustup) {
        Step::Apt(DEBIAN_RUST.map(str::to_owned).to_vec())
    } else if facts.rustup {
        Step::NightlySource {
            nightly: facts.nightly,
        }
    } else {
        Step::ByHand {
            what: format!("{why}; install rustup (https://rustup.rs), then"),
            commands: Step::NightlySource { nightly: false }.lines(),
        }
    });
}

fn linker(facts: &Facts, plan: &mut Plan) {
    if let Some(linker) = &facts.bpf.linker {
        plan.present
            .push(format!("bpf-linker: {}", linker.display()));
        return;
    }
    if facts.binstall
        && facts
            .bpf
            .compiler
            .as_ref()
            .is_ok_and(|c| c.origin == Origin::RustupNightly)
    {
        plan.steps.push(Step::FetchLinker);
        return;
    }
    let on_offer = |major: &u32| {
        facts.llvm.contains(major) || facts.candidates.contains_key(&llvm_packages(*major)[0])
    };
    // Without a compiler its LLVM is not known; the newest on offer is a guess that is only printed.
    let wanted = facts
        .compiler_llvm
        .or_else(|| LLVM_VERSIONS.into_iter().find(on_offer));
    match wanted.filter(|major| LLVM_VERSIONS.contains(major) && on_offer(major)) {
        Some(llvm) => {
            let llvm_present = facts.llvm.contains(&llvm);
            if !llvm_present {
                plan.steps.push(Step::Apt(llvm_packages(llvm).to_vec()));
            }
            plan.steps.push(Step::BuildLinker { llvm, llvm_present });
        }
        None => plan.steps.push(Step::ByHand {
            what: "no LLVM to build bpf-linker with; fetch a built one".into(),
            commands: fetch_linker(),
        }),
    }
}

/// How `bpf-linker`'s own documentation has it fetched.
fn fetch_linker() -> Vec<Line> {
    vec![
        line("cargo install cargo-binstall --locked"),
        line(&format!(
            "cargo binstall --no-confirm bpf-linker@{LINKER_VERSION}"
        )),
    ]
}

fn tools(facts: &Facts, purpose: Purpose, plan: &mut Plan) {
    let mut wanted = Vec::new();
    for tool in TOOLS.iter().filter(|tool| tool.from <= purpose) {
        let name = tool.programs[0];
        if let Some(path) = facts.tools.get(tool.package) {
            plan.present.push(format!("{name}: {}", path.display()));
        } else if tool.optional && !facts.candidates.contains_key(tool.package) {
            plan.notes.push(format!(
                "{name} is not to be had here; its checks are skipped"
            ));
        } else {
            wanted.push((name, tool.package));
        }
    }
    if matches!(purpose, Purpose::Test | Purpose::Dist) && !facts.pip {
        wanted.push(("pip", "python3-pip"));
    }
    if wanted.is_empty() {
        return;
    }
    let (names, packages): (Vec<&str>, Vec<&str>) = wanted.into_iter().unzip();
    plan.steps.push(match facts.apt {
        Some(_) => Step::Apt(packages.into_iter().map(str::to_owned).collect()),
        None => Step::ByHand {
            what: format!("install with your package manager: {}", names.join(" ")),
            commands: Vec::new(),
        },
    });
}

fn envoy(facts: &Facts, plan: &mut Plan) {
    if facts.envoy {
        plan.present
            .push(format!("envoy: {}", xtask::paths::envoy().display()));
    } else {
        plan.steps.push(Step::Envoy);
    }
}

/// What exports are sent to in the tests.
fn receivers(facts: &Facts, plan: &mut Plan) {
    let wanted = [
        (
            "OpenTelemetry Collector",
            facts.collector.then(xtask::paths::collector),
            Step::Collector,
        ),
        (
            "tools from PyPI",
            facts.python_tools.then(xtask::paths::python_tools),
            Step::PythonTools,
        ),
    ];
    for (name, found, step) in wanted {
        if let Some(path) = found {
            plan.present.push(format!("{name}: {}", path.display()));
        } else if step == Step::Collector && facts.apt.is_none() {
            plan.notes.push(format!(
                "{name} is not to be had here (it is built from Debian's packages); its tests are skipped"
            ));
        } else if facts.given_up.contains(&step) {
            plan.notes.push(format!(
                "{name}: could not be set up (see above); its tests are skipped"
            ));
        } else {
            plan.steps.push(step);
        }
    }
}

/// What packages are installed in by their test. Only root can make it, and only root needs it.
fn debian(facts: &Facts, plan: &mut Plan) {
    if facts.debian {
        let path = xtask::paths::debian();
        plan.present
            .push(format!("Debian to try packages in: {}", path.display()));
    } else if facts.given_up.contains(&Step::Debian) {
        plan.notes.push(
            "Debian to try packages in: could not be made (see above); its test is skipped".into(),
        );
    } else if facts.root && facts.tools.contains_key(DEBOOTSTRAP) {
        plan.steps.push(Step::Debian);
    }
}

/// What packages are built with.
fn packaging(facts: &Facts, plan: &mut Plan) {
    match facts.zigbuild {
        true => plan.present.push(format!(
            "linker for packages: {}",
            xtask::paths::zigbuild().display()
        )),
        false => plan.steps.push(Step::Zigbuild),
    }
    for triple in &facts.missing_std {
        let step = Step::Std(triple);
        if facts.rustup && !facts.given_up.contains(&step) {
            plan.steps.push(step);
        } else {
            plan.notes.push(format!(
                "Rust's standard library for {triple} is not to be had here; no packages for it"
            ));
        }
    }
}

/// Is there nothing to plan? Optional tools count.
pub(crate) fn complete(facts: &Facts, purpose: Purpose) -> bool {
    let tools = TOOLS.iter().filter(|tool| tool.from <= purpose);
    facts.bpf.ready().is_ok()
        && tools
            .map(|tool| tool.package)
            .all(|package| facts.tools.contains_key(package))
        && match purpose {
            Purpose::Build | Purpose::Demo => true,
            Purpose::Dist => facts.pip,
            Purpose::Test => facts.pip && facts.envoy,
        }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::bpf_toolchain::{Compiler, Found};

    /// A Debian machine as root that has everything.
    fn machine() -> Facts {
        let compiler = Compiler {
            origin: Origin::Distribution,
            cargo: "/usr/bin/cargo".into(),
            rustc: "/usr/bin/rustc".into(),
        };
        Facts {
            root: true,
            apt: Some(AptLists::Fresh),
            rustup: true,
            nightly: true,
            binstall: false,
            bpf: Found {
                compiler: Ok(compiler),
                linker: Some("/root/.cargo/bin/bpf-linker".into()),
            },
            compiler_llvm: Some(22),
            llvm: [22].into(),
            tools: TOOLS
                .iter()
                .map(|tool| (tool.package, PathBuf::from("/usr/sbin/x")))
                .collect(),
            pip: true,
            envoy: true,
            collector: true,
            python_tools: true,
            zigbuild: true,
            missing_std: Vec::new(),
            debian: true,
            given_up: Vec::new(),
            candidates: [
                ("rustc-web", "1.96.0+dfsg1"),
                ("llvm-22-dev", "1:22.1.8"),
                ("bpftool", "7.1.0"),
                ("nghttp2-client", "1.52.0"),
                ("prometheus", "2.42.0"),
                ("debootstrap", "1.0.128"),
                ("caddy", "2.6.2"),
                ("vagrant-libvirt", "0.11.2"),
            ]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into(),
        }
    }

    fn without_compiler(facts: &mut Facts) {
        facts.bpf.compiler = Err("no compiler".into());
        facts.compiler_llvm = None;
    }

    fn steps(change: impl Fn(&mut Facts), purpose: Purpose) -> Vec<String> {
        let mut facts = machine();
        change(&mut facts);
        plan(&facts, purpose)
            .steps
            .iter()
            .map(Step::to_string)
            .collect()
    }

    #[test]
    fn nothing_to_do() {
        let facts = machine();
        for purpose in [Purpose::Dist, Purpose::Build, Purpose::Demo, Purpose::Test] {
            let plan = plan(&facts, purpose);
            assert!(plan.steps.is_empty() && plan.notes.is_empty(), "{plan:?}");
            assert!(complete(&facts, purpose));
        }
        let present = plan(&facts, Purpose::Test).present;
        assert_eq!(
            present[0],
            "compiler for BPF: the distribution's Rust (/usr/bin/rustc)"
        );
        assert_eq!(present.len(), 2 + TOOLS.len() + 4);
    }

    #[test]
    fn ways_to_a_compiler() {
        type Change = fn(&mut Facts);
        let nightly = "fetch the source of `core` for rustup's nightly";
        let debian = "install rustc-web cargo-web rust-web-src";
        let by_hand = "no compiler; install rustup (https://rustup.rs), then";
        let cases: [(&str, Change, &[&str]); 7] = [
            ("root on Debian", |_| (), &[debian]),
            (
                "lists are old",
                |f| f.apt = Some(AptLists::Old),
                &["fetch the lists of packages", debian],
            ),
            ("user on Debian with rustup", |f| f.root = false, &[nightly]),
            (
                "user on Debian without rustup",
                |f| (f.root, f.rustup) = (false, false),
                &[debian],
            ),
            (
                "Debian's is too old",
                |f| f.candidates.extend([("rustc-web".into(), "1.85.0".into())]),
                &[nightly],
            ),
            (
                "other distribution with rustup",
                |f| (f.apt, f.candidates) = (None, Default::default()),
                &[nightly],
            ),
            (
                "other distribution without rustup",
                |f| (f.apt, f.candidates, f.rustup) = (None, Default::default(), false),
                &[by_hand],
            ),
        ];
        for (name, change, expected) in cases {
            let found = steps(
                |facts| {
                    without_compiler(facts);
                    change(facts);
                },
                Purpose::Build,
            );
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn ways_to_a_linker() {
        type Change = fn(&mut Facts);
        let build = "build bpf-linker 0.13.0 with LLVM 22 (a minute or two)";
        let llvm = "install llvm-22-dev libpolly-22-dev zlib1g-dev libzstd-dev";
        let by_hand = "no LLVM to build bpf-linker with; fetch a built one";
        let fetch = "fetch bpf-linker 0.13.0";
        let cases: [(&str, Change, &[&str]); 7] = [
            ("LLVM is there", |_| (), &[build]),
            ("LLVM can be installed", |f| f.llvm.clear(), &[llvm, build]),
            (
                "lists are old",
                |f| {
                    f.apt = Some(AptLists::Old);
                    f.llvm.clear();
                },
                &["fetch the lists of packages", llvm, build],
            ),
            ("the wrong LLVM", |f| f.compiler_llvm = Some(23), &[by_hand]),
            (
                "an LLVM bpf-linker does not know",
                |f| {
                    f.compiler_llvm = Some(24);
                    f.llvm.insert(24);
                },
                &[by_hand],
            ),
            (
                "binstall, for a compiler from rustup",
                |f| {
                    f.binstall = true;
                    if let Ok(compiler) = &mut f.bpf.compiler {
                        compiler.origin = Origin::RustupNightly;
                    }
                },
                &[fetch],
            ),
            (
                "binstall, but Debian's compiler",
                |f| f.binstall = true,
                &[build],
            ),
        ];
        for (name, change, expected) in cases {
            let found = steps(
                |facts| {
                    facts.bpf.linker = None;
                    change(facts);
                },
                Purpose::Build,
            );
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn tools_by_purpose() {
        let bare = |facts: &mut Facts| {
            facts.tools.clear();
            facts.pip = false;
            facts.envoy = false;
        };
        assert!(steps(bare, Purpose::Build).is_empty());
        assert_eq!(steps(bare, Purpose::Demo), ["install nginx"]);
        assert_eq!(
            steps(bare, Purpose::Test),
            [
                "install nginx haproxy apache2 caddy iproute2 nftables openssl faketime bpftool nghttp2-client prometheus debootstrap vagrant-libvirt python3-pip",
                "fetch Envoy into target/tools (110 MB)",
            ]
        );
        let other = |facts: &mut Facts| {
            facts.tools.clear();
            (facts.apt, facts.candidates) = (None, Default::default());
        };
        assert_eq!(
            steps(other, Purpose::Demo),
            ["install with your package manager: nginx"]
        );
    }

    #[test]
    fn receivers_are_built_where_they_can_be() {
        type Change = fn(&mut Facts);
        let build = "build the OpenTelemetry Collector from Debian's packages into target/tools (three minutes, 3 GB for that time)";
        let fetch = "fetch ddapm-test-agent and kubernetes-validate into target/tools (190 MB)";
        let no_debian = "OpenTelemetry Collector is not to be had here (it is built from Debian's packages); its tests are skipped";
        let failed =
            "OpenTelemetry Collector: could not be set up (see above); its tests are skipped";
        let cases: [(&str, Change, &[&str], &[&str]); 4] = [
            ("Debian as root", |_| (), &[build, fetch], &[]),
            ("Debian as user", |f| f.root = false, &[build, fetch], &[]),
            (
                "other distribution",
                |f| f.apt = None,
                &[fetch],
                &[no_debian],
            ),
            (
                "the build failed",
                |f| f.given_up = vec![Step::Collector],
                &[fetch],
                &[failed],
            ),
        ];
        for (name, change, steps, notes) in cases {
            let mut facts = machine();
            (facts.collector, facts.python_tools) = (false, false);
            change(&mut facts);
            let plan = plan(&facts, Purpose::Test);
            let planned: Vec<String> = plan.steps.iter().map(Step::to_string).collect();
            assert_eq!(planned, steps, "{name}");
            assert_eq!(plan.notes, notes, "{name}");
            assert!(
                plan.steps.iter().all(|step| step.may_run(facts.root)),
                "{name}"
            );
        }
        let mut facts = machine();
        (facts.collector, facts.python_tools) = (false, false);
        assert!(plan(&facts, Purpose::Demo).steps.is_empty());
    }

    #[test]
    fn packages_need_a_linker_and_their_test_a_debian() {
        type Change = fn(&mut Facts);
        let arm = "aarch64-unknown-linux-gnu";
        let fetch = "fetch zig and cargo-zigbuild into target/tools (100 MB, 420 MB unpacked)";
        let std = "fetch Rust's standard library for aarch64-unknown-linux-gnu";
        let make = "make a minimal Debian (bookworm) in target/tools (a minute, 210 MB)";
        let cases: [(Purpose, Change, &[&str], usize); 8] = [
            (Purpose::Dist, |f| f.zigbuild = false, &[fetch], 0),
            (Purpose::Build, |f| f.zigbuild = false, &[], 0),
            (
                Purpose::Dist,
                |f| f.missing_std = vec!["aarch64-unknown-linux-gnu"],
                &[std],
                0,
            ),
            (
                Purpose::Dist,
                |f| {
                    f.missing_std = vec!["aarch64-unknown-linux-gnu"];
                    f.rustup = false;
                },
                &[],
                1,
            ),
            (
                Purpose::Dist,
                |f| {
                    f.missing_std = vec!["aarch64-unknown-linux-gnu"];
                    f.given_up = vec![Step::Std("aarch64-unknown-linux-gnu")];
                },
                &[],
                1,
            ),
            (Purpose::Test, |f| f.debian = false, &[make], 0),
            (
                Purpose::Test,
                |f| (f.debian, f.root) = (false, false),
                &[],
                0,
            ),
            (
                Purpose::Test,
                |f| {
                    f.debian = false;
                    f.given_up = vec![Step::Debian];
                },
                &[],
                1,
            ),
        ];
        for (i, (purpose, change, expected, notes)) in cases.into_iter().enumerate() {
            assert_eq!(steps(change, purpose), expected, "case {i}");
            let mut facts = machine();
            change(&mut facts);
            assert_eq!(plan(&facts, purpose).notes.len(), notes, "case {i}");
        }
        assert!(Step::Std(arm).optional() && !Step::Zigbuild.optional());
    }

    #[test]
    fn an_optional_tool_that_is_not_on_offer_is_noted() {
        let mut facts = machine();
        facts.tools.remove("vagrant-libvirt");
        facts.candidates.remove("vagrant-libvirt");
        let plan = plan(&facts, Purpose::Test);
        assert!(plan.steps.is_empty());
        assert_eq!(
            plan.notes,
            ["vagrant is not to be had here; its checks are skipped"]
        );
        assert!(!complete(&facts, Purpose::Test));
    }
}
