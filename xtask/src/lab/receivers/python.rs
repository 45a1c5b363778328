//! Programs in Python that set-up fetched from PyPI.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::process::{bound, find_program};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

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

/// The documents of a YAML file.
pub fn yaml(file: &Path) -> Result<Vec<Value>> {
    let program = "import json, sys, yaml\n\
                   with open(sys.argv[1]) as file:\n    \
                   json.dump(list(yaml.safe_load_all(file)), sys.stdout)";
    let text = output(python()?.args(["-c", program]).arg(file))?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}

/// Errors unless every resource in a manifest fits the schema that Kubernetes publishes for it, and
/// has no field that the schema does not know.
pub fn check_manifest(file: &Path) -> Result<()> {
    let validate = ["-m", "kubernetes_validate", "--strict"];
    output(python()?.args(validate).arg(file)).map(drop)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.context("cannot run python3")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{}: {stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(stdout.into_owned())
}
