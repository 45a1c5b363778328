//! `cargo xtask vm` where it cannot work.

use std::process::Command;

#[test]
fn without_qemu_and_without_a_way_to_fetch_one() {
    if std::env::consts::ARCH != "x86_64" {
        eprintln!("SKIPPED: the guests are for x86-64");
        return;
    }
    let nothing = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["vm", "--kernel", "6.1"])
        .env("PATH", nothing.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for words in [
        "there is no qemu-system-x86_64 here (Debian: qemu-system-x86)",
        "apt-get is not installed",
        "Run this on Debian or Ubuntu",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
}
