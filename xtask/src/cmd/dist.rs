//! `cargo xtask dist`: packages.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use xtask::dist::{self, About, Glibc, OLDEST_GLIBC, Order, Outcome, Target};
use xtask::lab::demo::Format;
use xtask::paths;

use super::build::cargo;
use super::setup::{self, Purpose};
use crate::bpf_toolchain;
use crate::progress::{loud, say};

/// Options of `dist`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The machines to make packages for [default: this one]
    #[arg(long, value_delimiter = ',', value_enum)]
    target: Vec<Target>,
    /// The oldest glibc that the program must run with
    #[arg(long, value_name = "VERSION", default_value_t = OLDEST_GLIBC)]
    glibc: Glibc,
    /// Who answers for the packages
    #[arg(
        long,
        value_name = "NAME <MAIL>",
        default_value = "The why502 authors <packages@why502.invalid>"
    )]
    maintainer: String,
    /// Where they are put [default: target/packages]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The form of the list of what was made
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let about = About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        maintainer: args.maintainer.clone(),
        epoch: dist::epoch()?,
    };
    let host = Target::host();
    let mut targets = args.target.clone();
    if targets.is_empty() {
        targets.push(host.context("name a --target: no packages are made for this machine")?);
    }
    targets.sort_unstable();
    targets.dedup();
    let orders = match paths::named_why502() {
        // A program that is at hand is taken as it is.
        Some(named) => at_hand(named, &targets, args.glibc)?,
        None => build_all(&targets, host, &about, args.glibc)?,
    };
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| paths::target_dir().join("packages"));
    let outcome = dist::package(&about, &orders, &out, &|line| say(format!("dist: {line}")))?;
    print(args.format, &outcome)
}

fn at_hand(program: PathBuf, targets: &[Target], limit: Glibc) -> Result<Vec<Order>> {
    let &[target] = targets else {
        bail!("WHY502_BIN is one program, and so for one --target");
    };
    ensure!(
        Some(target) == Target::host(),
        "the program that WHY502_BIN names has to run on this machine"
    );
    Ok(vec![Order {
        target,
        speaker: program.clone(),
        program,
        limit,
    }])
}

fn build_all(
    targets: &[Target],
    host: Option<Target>,
    about: &About,
    limit: Glibc,
) -> Result<Vec<Order>> {
    setup::ensure(Purpose::Dist)?;
    if let Err(why) = bpf_toolchain::look().ready() {
        bail!("the kernel programs cannot be built: {why}; run `cargo xtask setup`");
    }
    let mut orders: Vec<Order> = Vec::new();
    for &target in targets {
        say(format!(
            "dist: building why502 for {} and glibc {limit}; a few minutes the first time",
            target.triple()
        ));
        build(target, about, limit)?;
        orders.push(Order {
            target,
            program: program(target),
            speaker: PathBuf::new(),
            limit,
        });
    }
    // The pages are the same for all machines.
    let speaker = match host.filter(|host| targets.contains(host)) {
        Some(host) => program(host),
        None => without_programs()?,
    };
    for order in &mut orders {
        order.speaker.clone_from(&speaker);
    }
    Ok(orders)
}

fn program(target: Target) -> PathBuf {
    let profile = paths::target_dir().join(target.triple()).join("dist");
    profile.join("why502")
}

/// Builds with zig as the linker and as the compiler of what is C: it brings the symbols of every
/// glibc, and so the program runs on systems older than this one.
fn build(target: Target, about: &About, limit: Glibc) -> Result<()> {
    let zigbuild = paths::zigbuild();
    let mut command = Command::new(zigbuild.join("bin/cargo-zigbuild"));
    command
        .current_dir(paths::root())
        .arg("zigbuild")
        .args(["--locked", "--profile", "dist"])
        .args(["--package", "tracer-user", "--bin", "why502"])
        .args(["--target", &format!("{}.{limit}", target.triple())])
        .env("CARGO_ZIGBUILD_ZIG_PATH", zigbuild.join("ziglang/zig"))
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags()?)
        .env("SOURCE_DATE_EPOCH", about.epoch.to_string())
        .env_remove("WHY502_BPF")
        .env_remove("AYA_BUILD_SKIP");
    let status = loud(&mut command)?;
    ensure!(
        status.success(),
        "why502 does not build for {} ({status}); where the standard library is missing, \
         `rustup target add {}` fetches it",
        target.triple(),
        target.triple()
    );
    Ok(())
}

/// Panics name files; they are to name the same ones wherever the program was built.
fn rust_flags() -> Result<String> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let cargo_home = cargo_home.context("neither CARGO_HOME nor HOME is set")?;
    let prefixes = [
        (paths::root(), "/why502"),
        (cargo_home.join("registry/src"), "/cargo"),
    ];
    let flags = prefixes.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    Ok(flags.join("\x1f"))
}

/// For the manual pages, when no program for this machine is made.
fn without_programs() -> Result<PathBuf> {
    say("dist: building why502 for this machine, for its manual pages");
    let status = loud(cargo().env("WHY502_BPF", "skip").args([
        "build",
        "--package",
        "tracer-user",
        "--bin",
        "why502",
    ]))?;
    ensure!(status.success(), "why502 does not build ({status})");
    Ok(paths::target_dir().join("debug/why502"))
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print(format: Format, outcome: &Outcome) -> Result<()> {
    match format {
        Format::Text => {
            for artefact in &outcome.artefacts {
                println!("{}  {}", artefact.sha256, artefact.path.display());
            }
        }
        Format::Json => println!("{}", serde_json::to_string(outcome)?),
    }
    Ok(())
}
