//! Where things lie in this workspace.

use std::env;
use std::path::{Path, PathBuf};

/// The top of the workspace.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Where cargo builds: `target/`, or where `CARGO_TARGET_DIR` points.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => root().join(dir),
        _ => root().join("target"),
    }
}

/// The release binary that `cargo xtask build --release` leaves.
pub fn why502() -> PathBuf {
    target_dir().join("release/why502")
}

/// The program that the environment names (`WHY502_BIN`) in place of one that would be built.
pub fn named_why502() -> Option<PathBuf> {
    env::var_os("WHY502_BIN").map(PathBuf::from)
}

/// The program under test: the named one, else the release binary.
pub fn tested_why502() -> PathBuf {
    named_why502().unwrap_or_else(why502)
}

/// Programs that set-up fetched for the tests. Always below `target/`, so that several target
/// directories share them.
pub fn tools() -> PathBuf {
    root().join("target/tools")
}

/// The Envoy that set-up fetched.
pub fn envoy() -> PathBuf {
    tools().join("envoy")
}

/// The OpenTelemetry Collector that set-up built.
pub fn collector() -> PathBuf {
    tools().join("otelcol/otelcol-test")
}

/// The Python packages that set-up fetched; to be named in `PYTHONPATH`.
pub fn python_tools() -> PathBuf {
    tools().join("python-tools")
}

/// The linker for packages that set-up fetched.
pub fn zigbuild() -> PathBuf {
    tools().join("zigbuild")
}

/// The Debian that set-up made, in which the test of the package installs it.
pub fn debian() -> PathBuf {
    tools().join("debian")
}
