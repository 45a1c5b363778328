//! The built program and the files that are shipped for the agent.

#![expect(clippy::unwrap_used, reason = "a failing test may panic anywhere")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn shipped(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("scripts/agent").join(name)
}

fn why502(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_why502"))
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn check_says_what_would_be_used_or_what_is_wrong() {
    let config = shipped("why502.toml");
    let good = why502(&["agent", "--check", "--config", config.to_str().unwrap()]);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(text(&good.stdout).contains("listen = \"127.0.0.1:9502\""));

    let dir = tempfile::tempdir().unwrap();
    let headers = dir.path().join("headers");
    fs::write(&headers, "authorization: Bearer sesame").unwrap();
    let config = dir.path().join("a.toml");
    let with = |text: String| {
        fs::write(&config, text).unwrap();
        why502(&["agent", "--check", "--config", config.to_str().unwrap()])
    };
    let export = format!(
        "[export.otlp]\nendpoint = \"https://collector.example\"\nheaders_file = {:?}\n",
        headers.display()
    );
    let good = with(export.clone());
    let said = text(&good.stdout) + &text(&good.stderr);
    assert!(
        said.contains("headers_file") && !said.contains("sesame"),
        "{said}"
    );

    let bad = with(format!(
        "{export}compresion = \"gzip\"\n[lookback]\nminutes = 5000\n"
    ));
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    assert!(bad.stdout.is_empty(), "{bad:?}");
    let said = text(&bad.stderr);
    for word in [
        "line 4, column 1: [export.otlp] has no key compresion; did you mean compression?",
        "line 6, column 11: minutes of [lookback] has to be a whole number from 1 to 1440 (minutes)",
    ] {
        assert!(said.contains(word), "{said}");
    }
    let missing = why502(&["agent", "--config", "/nonexistent/why502.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("cannot open /nonexistent/why502.toml"));
}

#[test]
fn a_snapshot_without_an_agent_says_so() {
    let asked = why502(&["snapshot", "--socket", "/nonexistent/agent.sock"]);
    assert_eq!(asked.status.code(), Some(2));
    let said = text(&asked.stderr);
    assert!(
        said.contains("no agent answers at /nonexistent/agent.sock"),
        "{said}"
    );
}

#[test]
fn the_unit_is_accepted_by_systemd() {
    let found = Command::new("systemd-analyze").arg("--version").output();
    if found.is_err() {
        let strict = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(
            !strict,
            "systemd-analyze is missing (apt-get install systemd)"
        );
        eprintln!("SKIPPED: systemd-analyze is missing, the unit was not verified");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string(shipped("why502.service")).unwrap();
    // The program has to be there.
    let unit = unit.replace("/usr/local/bin/why502", env!("CARGO_BIN_EXE_why502"));
    let verify = |text: &str| {
        let path = dir.path().join("why502.service");
        fs::write(&path, text).unwrap();
        Command::new("systemd-analyze")
            .arg("verify")
            .arg(&path)
            .output()
            .unwrap()
    };
    let verified = verify(&unit);
    assert!(verified.status.success(), "{verified:?}");
    assert_eq!(text(&verified.stderr), "");
    // It would notice.
    let wrong = verify(&unit.replace("ProtectSystem=strict", "ProtectSystm=strict"));
    assert!(text(&wrong.stderr).contains("ProtectSystm"), "{wrong:?}");
}
