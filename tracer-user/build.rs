//! Builds the kernel programs and leaves the object at `OUT_DIR/tracer.o`.
//!
//! On a machine that cannot build for BPF, or when told not to (`WHY502_BPF=skip`), the object is
//! empty and `WHY502_BPF_STATE` says why, so that everything but a capture still works. It is
//! `built` otherwise. Where the tools are present and the build fails, the build fails.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use bpf_toolchain::{Compiler, Found, Origin};

mod bpf_toolchain;

/// Turns the kernel programs off: `skip`.
const SWITCH: &str = "WHY502_BPF";
/// The switch that packages built on aya share.
const AYA_SWITCH: &str = "AYA_BUILD_SKIP";

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match prepare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not returned from `main`, which would print line breaks as `\n`.
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> Result<(), Error> {
    for name in [SWITCH, AYA_SWITCH] {
        tell(&format!("rerun-if-env-changed={name}"));
    }
    for path in [
        "build.rs",
        "bpf_toolchain.rs",
        "../Cargo.toml",
        "../Cargo.lock",
    ] {
        tell(&format!("rerun-if-changed={path}"));
    }
    tell("rerun-if-changed=../tracer-ebpf");

    let out = PathBuf::from(variable("OUT_DIR")?);
    let object = out.join("tracer.o");
    let state = match skip()? {
        Some(why) => {
            fs::write(&object, [])?;
            why
        }
        None => build_or_say_why(&out, &object)?,
    };
    tell(&format!("rustc-env=WHY502_BPF_STATE={state}"));
    Ok(())
}

/// The reason for not building at all, if somebody gave one.
fn skip() -> Result<Option<String>, Error> {
    match env::var(SWITCH).as_deref() {
        Ok("skip") => return Ok(Some(format!("the build was told {SWITCH}=skip"))),
        Ok("") | Err(_) => {}
        Ok(other) => return Err(format!("{SWITCH}={other}: the only value is `skip`").into()),
    }
    Ok(match env::var(AYA_SWITCH).as_deref() {
        Ok("1" | "true") => Some(format!("the build was told {AYA_SWITCH}=1")),
        _ => None,
    })
}

fn build_or_say_why(out: &Path, object: &Path) -> Result<String, Error> {
    let found = bpf_toolchain::look();
    match found.ready() {
        Ok((compiler, linker)) => {
            for tool in [compiler.rustc.as_path(), linker] {
                tell(&format!("rerun-if-changed={}", tool.display()));
            }
            build(compiler, linker, out, object)?;
            Ok("built".into())
        }
        Err(why) => {
            watch_for_tools(&found);
            tell(&format!("warning=kernel programs left out: {why}"));
            fs::write(object, [])?;
            Ok(why)
        }
    }
}

/// Makes cargo run us again when somebody installs what is missing. Only files that exist are named:
/// cargo takes one that does not exist for a change every time.
fn watch_for_tools(found: &Found) {
    tell("rerun-if-env-changed=PATH");
    let mut watched = Vec::new();
    if found.linker.is_none() {
        watched.extend(bpf_toolchain::cargo_bin());
    }
    if found.compiler.is_err() {
        watched.push("/var/lib/dpkg/status".into());
        watched.push("/var/lib/rpm".into());
        let rustup = env::var_os("RUSTUP_HOME").map(PathBuf::from);
        let rustup = rustup.or_else(|| env::home_dir().map(|home| home.join(".rustup")));
        if let Some(rustup) = rustup {
            let toolchains = fs::read_dir(rustup.join("toolchains"));
            // rustup keeps the list of a toolchain's components in this file.
            watched.extend(
                toolchains
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path().join("lib/rustlib/components")),
            );
        }
    }
    for path in watched.iter().filter(|path| path.exists()) {
        tell(&format!("rerun-if-changed={}", path.display()));
    }
}

/// Runs the second cargo. It has its own target directory, since the first one holds the lock of
/// the usual one.
fn build(compiler: &Compiler, linker: &Path, out: &Path, object: &Path) -> Result<(), Error> {
    let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    let target_dir = out.join("bpf");
    let mut cargo = cargo(compiler);
    cargo
        .args(["build", "--package", "tracer-ebpf", "--bin", "tracer"])
        .args(["--features", "programs", "--release"])
        .args(["-Z", "build-std=core", "--target", target])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(compiler)?)
        .env("PATH", path_with(linker)?);
    run(&mut cargo)?;
    let built = target_dir.join(target).join("release/tracer");
    fs::copy(&built, object).map_err(|e| format!("{}: {e}", built.display()))?;
    Ok(())
}

/// The cargo of `compiler`, set up so that it uses its own `rustc` and accepts `-Z` options, whatever
/// the cargo that runs us has put into the environment.
fn cargo(compiler: &Compiler) -> Command {
    let mut command = Command::new(&compiler.cargo);
    command.env("RUSTC", &compiler.rustc);
    // Set by `cargo clippy`; it would run the wrong compiler's clippy.
    command.env_remove("RUSTC_WORKSPACE_WRAPPER");
    if compiler.origin == Origin::Distribution {
        command.env("RUSTC_BOOTSTRAP", "1");
        // The outer cargo puts its own toolchain's libraries there.
        command.env_remove("LD_LIBRARY_PATH");
    }
    command
}

/// The flags that every crate of the programs is compiled with, parted as cargo wants it.
fn rust_flags(compiler: &Compiler) -> Result<String, Error> {
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let mut flags = vec![
        // Whose registers the programs read.
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        // BTF is made from the debug information.
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
    ];
    // Which names files; they are to be the same ones wherever it was built.
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let cargo_home = bpf_toolchain::cargo_bin().and_then(|bin| Some(bin.parent()?.to_path_buf()));
    let sysroot = compiler.rustc.ancestors().nth(2);
    let prefixes = [
        (manifest.parent().map(PathBuf::from), "/why502"),
        (cargo_home.map(|home| home.join("registry/src")), "/cargo"),
        (sysroot.map(|dir| dir.join("lib/rustlib/src/rust")), "/rust"),
    ];
    for (from, to) in prefixes {
        if let Some(from) = from {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        }
    }
    Ok(flags.join("\x1f"))
}

fn path_with(linker: &Path) -> Result<std::ffi::OsString, Error> {
    let mut directories: Vec<PathBuf> = linker.parent().map(PathBuf::from).into_iter().collect();
    if let Some(path) = env::var_os("PATH") {
        directories.extend(env::split_paths(&path));
    }
    Ok(env::join_paths(directories)?)
}

/// Runs cargo. Its own progress is dropped on success, the compiler's warnings are passed on.
fn run(cargo: &mut Command) -> Result<(), Error> {
    let output = cargo.output().map_err(|e| format!("{cargo:?}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!(
            "the kernel programs do not build (`{SWITCH}=skip` leaves them out)\n{cargo:?}\n{text}"
        )
        .into());
    }
    for line in text.lines().filter(|line| !is_progress(line)) {
        tell(&format!("warning={line}"));
    }
    Ok(())
}

/// `   Compiling core v0.0.0`: a capital letter before column 13, the word ending there.
fn is_progress(line: &str) -> bool {
    let (Some(verb), Some(b' ')) = (line.get(..12), line.as_bytes().get(12)) else {
        return line.is_empty();
    };
    let verb = verb.trim_start();
    verb.starts_with(|c: char| c.is_ascii_uppercase()) && verb.chars().all(char::is_alphabetic)
}

fn variable(name: &str) -> Result<String, Error> {
    env::var(name).map_err(|e| format!("{name}: {e}").into())
}

/// Gives an instruction to cargo.
fn tell(instruction: &str) {
    println!("cargo::{instruction}");
}
