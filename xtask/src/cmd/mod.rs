//! One file per command.

mod bench;
mod build;
mod demo;
mod dist;
mod lab;
mod setup;
mod stop;
mod test;
pub(crate) mod vm;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Subcommand;
use xtask::bench::scale::{self, CLIENTS_COMMAND};
use xtask::lab::matrix::{self, BACKEND_COMMAND};

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Install what building and testing need, or print the commands that would
    Setup(setup::Args),
    /// Set up, then build why502 with its kernel programs
    Build(build::Args),
    /// Set up and build, then trace a real NGINX in front of a backend that fails, and explain it
    Demo(demo::Args),
    /// Set up and build, then measure with real failures how often why502 is right; needs root
    Lab(lab::Args),
    /// The backend of a lab as a process of its own
    #[command(name = BACKEND_COMMAND, hide = true)]
    LabBackend {
        /// Where it listens
        addr: SocketAddr,
    },
    /// Clients of `bench scale` as a process of their own
    #[command(name = CLIENTS_COMMAND, hide = true)]
    BenchClients {
        /// Whom they ask
        addr: SocketAddr,
        /// The number of the first
        first: usize,
        /// How many there are
        count: usize,
    },
    /// Set up, then make packages: .deb, .rpm, a tarball, their ingredients and checksums
    Dist(dist::Args),
    /// Measure how fast why502 is, against what a person would use otherwise
    Bench(bench::Args),
    /// Set up, then check and test everything; as root also against real proxies
    Test(test::Args),
    /// Boot other kernels under QEMU, run live tests and the short lab in each, and compare
    Vm(vm::Args),
}

/// Runs one.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Setup(args) => setup::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::LabBackend { addr } => matrix::backend(addr),
        Command::BenchClients { addr, first, count } => scale::hold(addr, first, count),
        Command::Bench(args) => return bench::run(&args),
        Command::Lab(args) => return lab::run(&args),
        Command::Dist(args) => dist::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Vm(args) => return vm::run(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}
