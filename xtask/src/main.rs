//! `cargo xtask`: set-up, build, test and demo of why502.
//!
//! Results go to standard output; everything said to a person goes to standard error.

use std::process::ExitCode;

use clap::Parser;

#[path = "../../tracer-user/bpf_toolchain.rs"]
mod bpf_toolchain;
mod cmd;
mod progress;

/// Development commands of why502.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: cmd::Command,
}

fn main() -> ExitCode {
    // In a guest of `cargo xtask vm` the kernel starts us as its first process.
    if cmd::vm::guest::is_guest() {
        return cmd::vm::guest::main();
    }
    match cmd::run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}
