//! The command `why502`.

use std::process::ExitCode;

fn main() -> ExitCode {
    why502::cli::main(std::env::args_os())
}
