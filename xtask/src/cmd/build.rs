//! `cargo xtask build`: why502 with its kernel programs.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use xtask::paths;

use super::setup::{self, Purpose};
use crate::bpf_toolchain;
use crate::progress::{loud, say};

/// Options of `build`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Optimise; the result is target/release/why502
    #[arg(long)]
    release: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    setup::ensure(Purpose::Build)?;
    why502(args.release).map(drop)
}

/// Builds the binary on a machine that is set up, and says where it is.
pub(crate) fn why502(release: bool) -> anyhow::Result<PathBuf> {
    if let Err(why) = bpf_toolchain::look().ready() {
        bail!("the kernel programs cannot be built: {why}; run `cargo xtask setup`");
    }
    let mut command = cargo();
    command.args(["build", "--package", "tracer-user", "--bin", "why502"]);
    if release {
        command.arg("--release");
    }
    let status = loud(&mut command)?;
    if !status.success() {
        bail!("why502 does not build ({status})");
    }
    let profile = if release { "release" } else { "debug" };
    let binary = paths::target_dir().join(profile).join("why502");
    let size = binary
        .metadata()
        .with_context(|| binary.display().to_string())?
        .len();
    say(format!(
        "built {} ({} MB)",
        binary.display(),
        size / 1_000_000
    ));
    Ok(binary)
}

/// Builds the release binary without its kernel programs: everything but `capture` works.
pub(crate) fn without_programs() -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command
        .env("WHY502_BPF", "skip")
        .args(["build", "--release", "--package", "tracer-user"])
        .args(["--bin", "why502"]);
    let status = loud(&mut command)?;
    if !status.success() {
        bail!("why502 does not build ({status})");
    }
    Ok(paths::why502())
}

/// The cargo that runs us, at the top of the workspace, with the kernel programs on.
pub(crate) fn cargo() -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(paths::root())
        .env_remove("WHY502_BPF")
        .env_remove("AYA_BUILD_SKIP");
    // What `cargo run` tells us about ourselves. Build scripts that ask for it (ring's) would build
    // anew each time that they are run from here and from a shell in turn.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
