//! What set-up sees on the machine. Everything here looks; nothing decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xtask::dist::Target;
use xtask::lab::process::{find_program, is_program};

use super::Purpose;
use super::apt;
use super::plan::{DEBIAN_RUST, LLVM_VERSIONS, TOOLS, complete, llvm_packages};
use super::step::{COLLECTOR_SOURCES, Step};
use crate::bpf_toolchain::{self, Found, OLDEST_RUSTC, parse_version};

/// A machine.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Do we run as root?
    pub(crate) root: bool,
    /// Is `apt-get` there, and has this run of set-up fetched its lists?
    pub(crate) apt: Option<AptLists>,
    /// Is `rustup` there?
    pub(crate) rustup: bool,
    /// Has rustup a nightly that is new enough?
    pub(crate) nightly: bool,
    /// Is `cargo binstall` there?
    pub(crate) binstall: bool,
    /// What the kernel programs are built with.
    pub(crate) bpf: Found,
    /// The major version of the LLVM inside that compiler.
    pub(crate) compiler_llvm: Option<u32>,
    /// Major versions of the LLVM libraries that are complete in `/usr/lib/llvm-N`.
    pub(crate) llvm: BTreeSet<u32>,
    /// Which of the programs in [`TOOLS`] are there.
    pub(crate) tools: BTreeMap<&'static str, PathBuf>,
    /// Has `python3` the module `pip`?
    pub(crate) pip: bool,
    /// Is the Envoy of `xtask/envoy.txt` unpacked?
    pub(crate) envoy: bool,
    /// Is the OpenTelemetry Collector there, built by the script that is here now?
    pub(crate) collector: bool,
    /// Are the packages of `xtask/python-tools.txt` unpacked?
    pub(crate) python_tools: bool,
    /// Are the packages of `xtask/zigbuild.txt` unpacked?
    pub(crate) zigbuild: bool,
    /// The machines of other kinds that Rust's standard library is missing for.
    pub(crate) missing_std: Vec<&'static str>,
    /// Is there a Debian to install packages in?
    pub(crate) debian: bool,
    /// Optional steps that were tried by this run and failed.
    pub(crate) given_up: Vec<Step>,
    /// Which version apt would install, for the packages a plan may ask for.
    pub(crate) candidates: BTreeMap<String, String>,
}

/// The state of apt's package lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AptLists {
    /// From some earlier day, or none at all.
    Old,
    /// Fetched by this run.
    Fresh,
}

impl Facts {
    /// Looks around; `done` and `given_up` are what this run of set-up did and could not do.
    pub(crate) fn look(purpose: Purpose, done: &[Step], given_up: &[Step]) -> Self {
        let bpf = bpf_toolchain::look();
        let compiler_llvm = bpf.compiler.as_ref().ok().and_then(|compiler| {
            let text = stdout(Command::new(&compiler.rustc).arg("-vV"))?;
            parse_llvm(&text)
        });
        let apt = find_program("apt-get").map(|_| match done.contains(&Step::AptUpdate) {
            true => AptLists::Fresh,
            false => AptLists::Old,
        });
        let tools = TOOLS.iter().filter_map(|tool| {
            let path = tool.programs.iter().find_map(|name| find_program(name))?;
            Some((tool.package, path))
        });
        let mut facts = Self {
            root: rustix::process::geteuid().is_root(),
            rustup: find_program("rustup").is_some(),
            // Starting rustup takes a while, and the answer matters only without a compiler.
            nightly: bpf.compiler.is_err() && has_nightly(),
            binstall: find_program("cargo-binstall").is_some(),
            bpf,
            compiler_llvm,
            llvm: LLVM_VERSIONS.into_iter().filter(|n| has_llvm(*n)).collect(),
            tools: tools.collect(),
            pip: matches!(purpose, Purpose::Build | Purpose::Demo) || has_pip(),
            envoy: unpacked("xtask/envoy.txt", &xtask::paths::envoy()),
            collector: has_collector(),
            python_tools: unpacked("xtask/python-tools.txt", &xtask::paths::python_tools()),
            zigbuild: unpacked("xtask/zigbuild.txt", &xtask::paths::zigbuild()),
            missing_std: match purpose {
                Purpose::Dist => missing_std(),
                _ => Vec::new(),
            },
            debian: xtask::paths::debian().is_dir(),
            given_up: given_up.to_vec(),
            candidates: BTreeMap::new(),
            apt,
        };
        // Half a second, and needless when everything is there.
        if facts.apt.is_some() && !complete(&facts, purpose) {
            facts.candidates = apt::candidates(&packages());
        }
        facts
    }
}

/// All packages whose availability a plan may depend on.
fn packages() -> Vec<String> {
    let fixed = DEBIAN_RUST.iter().map(ToString::to_string);
    let llvm = LLVM_VERSIONS.into_iter().flat_map(llvm_packages);
    let tools = TOOLS.iter().map(|tool| tool.package.to_owned());
    fixed.chain(llvm).chain(tools).collect()
}

fn has_llvm(major: u32) -> bool {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    // The first is in llvm-N-dev, the second in libpolly-N-dev.
    ["bin/llvm-config", "lib/libPolly.a"].iter().all(|file| prefix.join(file).exists())
        // zlib1g-dev and libzstd-dev, which LLVM's list of libraries names.
        && ["zlib.h", "zstd.h"].iter().all(|file| Path::new("/usr/include").join(file).exists())
}

fn has_nightly() -> bool {
    let version = stdout(Command::new("rustup").args(["run", "nightly", "rustc", "--version"]));
    version
        .and_then(|text| parse_version(&text))
        .is_some_and(|version| version >= OLDEST_RUSTC)
}

fn has_pip() -> bool {
    stdout(Command::new("python3").args(["-m", "pip", "--version"])).is_some()
}

/// Is `what` there, and made by the list that is in the repository now? Its copy lies in
/// `target/tools`.
fn unpacked(list: &str, what: &Path) -> bool {
    let list = xtask::paths::root().join(list);
    let copy = list
        .file_name()
        .map(|name| xtask::paths::tools().join(name));
    what.exists() && copy.is_some_and(|copy| same(&list, &copy))
}

fn missing_std() -> Vec<&'static str> {
    let missing = |target: &Target| {
        let mut rustc = Command::new("rustc");
        rustc.args(["--print", "target-libdir", "--target", target.triple()]);
        let directory = stdout(&mut rustc);
        !directory.is_some_and(|directory| Path::new(directory.trim()).is_dir())
    };
    let foreign = Target::ALL
        .into_iter()
        .filter(|target| Some(*target) != Target::host());
    foreign.filter(missing).map(Target::triple).collect()
}

fn has_collector() -> bool {
    let collector = xtask::paths::collector();
    let copy = |source: &str| {
        let name = Path::new(source).file_name();
        name.map(|name| collector.with_file_name(name))
    };
    is_program(&collector)
        && COLLECTOR_SOURCES.into_iter().all(|source| {
            copy(source).is_some_and(|copy| same(&xtask::paths::root().join(source), &copy))
        })
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((fs::read(one), fs::read(other)), (Ok(a), Ok(b)) if a == b)
}

/// `LLVM version: 22.1.8` in the output of `rustc -vV` → 22.
fn parse_llvm(text: &str) -> Option<u32> {
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

fn stdout(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_of_a_compiler() {
        for (text, expected) in [
            (
                "rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n",
                Some(22),
            ),
            ("LLVM version: 23", Some(23)),
            ("LLVM version: trunk", None),
            ("rustc 1.96.0", None),
            ("", None),
        ] {
            assert_eq!(parse_llvm(text), expected, "{text:?}");
        }
    }
}
