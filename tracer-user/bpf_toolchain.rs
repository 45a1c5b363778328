//! What this machine has for building the kernel programs.
//!
//! Two things are needed. A Rust compiler that comes with the source of `core`, because no prebuilt
//! `core` exists for BPF; and `bpf-linker`. Two kinds of compiler qualify:
//!
//! - the rustup toolchain `nightly` with its component `rust-src`;
//! - the distribution's own compiler in `/usr/bin` with its source package, which is a stable one
//!   and needs `RUSTC_BOOTSTRAP=1` before it takes `-Z build-std`.
//!
//! Which of them is there is looked up, never configured. This file is shared: the build script of
//! `tracer-user` builds with what it finds, and `cargo xtask setup` installs what it does not find.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest compiler that takes the programs: `rust-version` of the workspace.
pub(crate) const OLDEST_RUSTC: (u32, u32) = (1, 95);

/// A compiler that can build for BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// Where it came from.
    pub(crate) origin: Origin,
    /// Its `cargo`.
    pub(crate) cargo: PathBuf,
    /// Its `rustc`.
    pub(crate) rustc: PathBuf,
}

/// Where a compiler came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The rustup toolchain `nightly`.
    RustupNightly,
    /// The distribution's packages.
    Distribution,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RustupNightly => "rustup's nightly",
            Self::Distribution => "the distribution's Rust",
        })
    }
}

/// A compiler that was looked at, and what was seen.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The compiler, which may not be there.
    pub(crate) compiler: Compiler,
    /// What `rustc --version` printed; `None` when there is none or it does not start.
    pub(crate) version: Option<String>,
    /// Is there a `cargo` beside it?
    pub(crate) has_cargo: bool,
    /// Does the source of `core` lie in its sysroot?
    pub(crate) has_source: bool,
}

impl Candidate {
    /// `Ok` when it can build for BPF, otherwise what is wrong with it, as the end of a sentence
    /// that begins with its origin.
    fn verdict(&self) -> Result<(), String> {
        let (major, minor) = OLDEST_RUSTC;
        let Some(version) = &self.version else {
            return Err("is not installed".into());
        };
        match parse_version(version) {
            None => Err(format!("has a version we cannot read ({version:?})")),
            Some(found) if found < OLDEST_RUSTC => Err(format!(
                "is {}.{}, and {major}.{minor} or newer is needed",
                found.0, found.1
            )),
            Some(_) if !self.has_cargo => Err("has no cargo beside its rustc".into()),
            Some(_) if !self.has_source => {
                Err("has no source of `core` (rust-src) beside it".into())
            }
            Some(_) => Ok(()),
        }
    }
}

/// What was found on a machine.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The first compiler that can build for BPF, or why none can, as a clause.
    pub(crate) compiler: Result<Compiler, String>,
    /// Where `bpf-linker` is.
    pub(crate) linker: Option<PathBuf>,
}

impl Found {
    /// Both of what is needed, or one sentence that says what is missing.
    pub(crate) fn ready(&self) -> Result<(&Compiler, &Path), String> {
        let no_linker = "bpf-linker is not installed";
        match (&self.compiler, &self.linker) {
            (Ok(compiler), Some(linker)) => Ok((compiler, linker)),
            (Ok(_), None) => Err(no_linker.into()),
            (Err(why), Some(_)) => Err(why.clone()),
            (Err(why), None) => Err(format!("{why}, and {no_linker}")),
        }
    }
}

/// Picks the first candidate that will do.
pub(crate) fn choose(candidates: &[Candidate]) -> Result<Compiler, String> {
    let mut objections = Vec::new();
    for candidate in candidates {
        match candidate.verdict() {
            Ok(()) => return Ok(candidate.compiler.clone()),
            Err(why) => objections.push(format!("{} {why}", candidate.compiler.origin)),
        }
    }
    Err(format!(
        "no Rust compiler can build for BPF: {}",
        objections.join(", ")
    ))
}

/// Looks at this machine.
pub(crate) fn look() -> Found {
    let mut candidates = Vec::new();
    let nightly = first_line("rustup", &["run", "nightly", "rustc", "--print", "sysroot"]);
    let nightly = nightly.map_or_else(|| PathBuf::from("/nonexistent"), PathBuf::from);
    candidates.push(candidate(Origin::RustupNightly, &nightly));
    candidates.push(candidate(Origin::Distribution, Path::new("/usr")));
    Found {
        compiler: choose(&candidates),
        linker: find_linker(&linker_directories()),
    }
}

fn candidate(origin: Origin, sysroot: &Path) -> Candidate {
    let compiler = Compiler {
        origin,
        cargo: sysroot.join("bin/cargo"),
        rustc: sysroot.join("bin/rustc"),
    };
    Candidate {
        version: first_line(&compiler.rustc, &["--version"]),
        has_cargo: compiler.cargo.is_file(),
        has_source: sysroot
            .join("lib/rustlib/src/rust/library/core/Cargo.toml")
            .is_file(),
        compiler,
    }
}

/// Where `bpf-linker` is looked for: the search path, then where `cargo install` puts it, since that
/// is not on the search path of root everywhere.
pub(crate) fn linker_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    directories.extend(cargo_bin());
    directories
}

/// Where `cargo install` puts programs.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    home.map(|home| home.join("bin"))
}

/// The first `bpf-linker` in `directories`.
pub(crate) fn find_linker(directories: &[PathBuf]) -> Option<PathBuf> {
    let mut paths = directories.iter().map(|dir| dir.join("bpf-linker"));
    paths.find(|path| path.is_file())
}

/// `rustc 1.96.0 (ac68faa20 2026-05-25)` → `(1, 96)`.
pub(crate) fn parse_version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.strip_prefix("rustc ")?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

/// The first line that a command prints, `None` when it cannot be started or fails.
fn first_line(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(origin: Origin, version: Option<&str>, has_cargo: bool, has_source: bool) -> Candidate {
        Candidate {
            compiler: Compiler {
                origin,
                cargo: PathBuf::from("cargo"),
                rustc: PathBuf::from("rustc"),
            },
            version: version.map(str::to_owned),
            has_cargo,
            has_source,
        }
    }

    #[test]
    fn versions() {
        for (line, expected) in [
            ("rustc 1.96.0 (ac68faa20 2026-05-25)", Some((1, 96))),
            ("rustc 1.97.0-nightly (e50aa6fba 2026-05-19)", Some((1, 97))),
            ("rustc 2.0.0", Some((2, 0))),
            ("rustc 1", None),
            ("rustc", None),
            ("", None),
            ("clang version 19.1", None),
            ("rustc 1.x.0", None),
            ("rustc 1.99999999999.0", None),
        ] {
            assert_eq!(parse_version(line), expected, "{line:?}");
        }
    }

    #[test]
    fn which_compiler() {
        use Origin::{Distribution, RustupNightly};
        let good = Some("rustc 1.96.0 (x)");
        let old = Some("rustc 1.63.0");
        let cases: [(&str, [Candidate; 2], Result<Origin, &str>); 6] = [
            (
                "both: the first wins",
                [
                    seen(RustupNightly, good, true, true),
                    seen(Distribution, good, true, true),
                ],
                Ok(RustupNightly),
            ),
            (
                "nightly without source",
                [
                    seen(RustupNightly, good, true, false),
                    seen(Distribution, good, true, true),
                ],
                Ok(Distribution),
            ),
            (
                "neither there",
                [
                    seen(RustupNightly, None, false, false),
                    seen(Distribution, None, false, false),
                ],
                Err(
                    "no Rust compiler can build for BPF: rustup's nightly is not installed, \
                     the distribution's Rust is not installed",
                ),
            ),
            (
                "too old",
                [
                    seen(RustupNightly, None, false, false),
                    seen(Distribution, old, true, true),
                ],
                Err(
                    "no Rust compiler can build for BPF: rustup's nightly is not installed, \
                     the distribution's Rust is 1.63, and 1.95 or newer is needed",
                ),
            ),
            (
                "no source, no cargo",
                [
                    seen(RustupNightly, good, true, false),
                    seen(Distribution, good, false, true),
                ],
                Err(
                    "no Rust compiler can build for BPF: rustup's nightly has no source of \
                     `core` (rust-src) beside it, the distribution's Rust has no cargo beside \
                     its rustc",
                ),
            ),
            (
                "unreadable version",
                [
                    seen(RustupNightly, Some("?"), true, true),
                    seen(Distribution, None, true, true),
                ],
                Err(
                    "no Rust compiler can build for BPF: rustup's nightly has a version we \
                     cannot read (\"?\"), the distribution's Rust is not installed",
                ),
            ),
        ];
        for (name, candidates, expected) in cases {
            let chosen = choose(&candidates).map(|compiler| compiler.origin);
            assert_eq!(chosen, expected.map_err(str::to_owned), "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_one_sentence() {
        let compiler = seen(Origin::Distribution, None, true, true).compiler;
        let linker = PathBuf::from("/x/bpf-linker");
        let found = |compiler: Result<Compiler, String>, linker: Option<PathBuf>| {
            let found = Found { compiler, linker };
            found.ready().map(|_| ()).map_err(|why| why.clone())
        };
        let none = || Err("no compiler".to_owned());
        assert_eq!(found(Ok(compiler.clone()), Some(linker.clone())), Ok(()));
        assert_eq!(
            found(Ok(compiler), None),
            Err("bpf-linker is not installed".into())
        );
        assert_eq!(found(none(), Some(linker)), Err("no compiler".into()));
        assert_eq!(
            found(none(), None),
            Err("no compiler, and bpf-linker is not installed".into())
        );
    }

    #[test]
    fn a_linker_is_a_file_in_the_first_directory_that_has_one() {
        let root = env::temp_dir().join(format!("why502-linker-{}", std::process::id()));
        let (a, b, c) = (root.join("a"), root.join("b"), root.join("c"));
        // A directory of that name is no linker.
        std::fs::create_dir_all(a.join("bpf-linker")).unwrap();
        for dir in [&b, &c] {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(dir.join("bpf-linker"), "").unwrap();
        }
        assert_eq!(find_linker(&[]), None);
        assert_eq!(find_linker(std::slice::from_ref(&a)), None);
        assert_eq!(find_linker(&[a, b.clone(), c]), Some(b.join("bpf-linker")));
        std::fs::remove_dir_all(root).unwrap();
    }
}
