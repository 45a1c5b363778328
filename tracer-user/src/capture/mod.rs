//! The `capture` command: loader, session and reports, wired together.

pub mod options;

use std::process::ExitCode;

use self::options::CaptureOptions;
use crate::kernel::preflight::Preflight;

/// Traces until something ends the capture, and reports.
pub fn run(_options: CaptureOptions) -> anyhow::Result<ExitCode> {
    let _limits = Preflight::look().check()?;
    anyhow::bail!("capture is not wired yet")
}
