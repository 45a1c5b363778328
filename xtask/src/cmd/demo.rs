//! `cargo xtask demo`: set up, build, and show a real NGINX's 502s explained.

use xtask::lab::demo::{self, Format};

use super::build;
use super::setup::{self, Purpose};

/// Options of `demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    setup::ensure(Purpose::Demo)?;
    demo::run(args.format, &build::why502(true)?)
}
