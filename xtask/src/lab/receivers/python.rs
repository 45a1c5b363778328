//! Programs in Python that set-up fetched from PyPI.

use std::process::Command;

use crate::lab::process::{bound, find_program};
use anyhow::{Context as _, Result};

/// `python3` with those packages in reach; for `-c` and `-m`. Ends with the thread that starts it.
pub fn python() -> Result<Command> {
    let python = find_program("python3").context("python3 is not installed")?;
    let mut command = bound(&python);
    command
        .env("PYTHONPATH", crate::paths::python_tools())
        // Nothing is left in the packages' directory.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}
