//! The packages, made of the program that was built, do on a fresh system what they promise.
#![expect(
    clippy::unwrap_used,
    reason = "test helpers fail where they stand, like the tests"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use xtask::dist::{self, About, Glibc, Order, Outcome, Target, needs};
use xtask::lab::debian::Debian;
use xtask::lab::process::find_program;
use xtask::lab::ready;

/// The glibc of the Debian that set-up makes.
const DEBIAN_GLIBC: Glibc = Glibc::new(2, 36);

const EPOCH: u64 = 1_795_389_557;

fn why502() -> PathBuf {
    xtask::paths::tested_why502()
}

fn package(version: &str, epoch: u64, out: &Path) -> Outcome {
    let about = About {
        version: version.into(),
        maintainer: "The why502 authors <packages@why502.invalid>".into(),
        epoch,
    };
    let program = why502();
    let needed = needs(&fs::read(&program).unwrap()).unwrap().glibc();
    let order = Order {
        target: Target::host().unwrap(),
        speaker: program.clone(),
        program,
        // The packages are tried, not handed out: what this machine links is good enough.
        limit: needed.unwrap_or(DEBIAN_GLIBC),
    };
    dist::package(&about, &[order], out, &|_| {}).unwrap()
}

fn artefact(outcome: &Outcome, kind: &str) -> PathBuf {
    let mut artefacts = outcome.artefacts.iter();
    artefacts.find(|one| one.kind == kind).unwrap().path.clone()
}

/// One test, since compression takes its time and what is packed serves for both halves.
#[test]
fn packages_are_the_same_twice_and_a_fresh_debian_takes_them_and_gives_them_back() {
    if !ready::wanted() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let outcome = package("1.2.3", EPOCH, dir.path());
    the_same_program_gives_the_same_packages(&outcome);
    a_fresh_debian_takes_the_package_and_gives_it_back(&outcome);
}

fn the_same_program_gives_the_same_packages(outcome: &Outcome) {
    let one = artefact(outcome, "checksums");
    let one = one.parent().unwrap();
    let two = tempfile::tempdir().unwrap();
    let kinds: BTreeSet<&str> = outcome.artefacts.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, ["checksums", "deb", "rpm", "sbom", "tarball"].into());
    package("1.2.3", EPOCH, two.path());
    let sums = |dir: &Path| fs::read_to_string(dir.join("SHA256SUMS")).unwrap();
    assert_eq!(sums(one), sums(two.path()));
    assert_eq!(sums(one).lines().count(), 4);
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(two.path())
        .status();
    assert!(checked.unwrap().success());

    // No licence wants less than its text; what the SBOM lists is what the notices name.
    let bom = fs::read_to_string(artefact(outcome, "sbom")).unwrap();
    let bom: Value = serde_json::from_str(&bom).unwrap();
    let components = bom["components"].as_array().unwrap();
    for name in [
        "aya",
        "aya-ebpf",
        "tokio",
        "ring",
        "rust-std",
        "tracer-ebpf",
    ] {
        assert!(components.iter().any(|one| one["name"] == name), "{name}");
    }
    for name in ["xtask", "proptest", "syn"] {
        assert!(components.iter().all(|one| one["name"] != name), "{name}");
    }
}

/// Every path of a system but those where the package manager itself writes down what it did.
fn paths(debian: &Debian) -> BTreeSet<String> {
    let text = debian.must(&["find", "/", "-xdev"]).unwrap();
    let own = ["/var/lib/dpkg", "/var/log/dpkg.log", "/root/", "/var/cache"];
    let lines = text
        .lines()
        .filter(|line| !own.iter().any(|own| line.starts_with(own)));
    lines.map(str::to_owned).collect()
}

fn a_fresh_debian_takes_the_package_and_gives_it_back(outcome: &Outcome) {
    if !ready::or_skip(&[]) {
        return;
    }
    if !Debian::is_there() {
        ready::skip("a Debian to install in (`cargo xtask setup --for test` makes it)");
        return;
    }
    let needed = needs(&fs::read(why502()).unwrap()).unwrap().glibc();
    if needed.is_some_and(|needed| needed > DEBIAN_GLIBC) {
        ready::skip(
            "a program for the glibc of Debian 12 (WHY502_BIN may name the one of `cargo xtask dist`)",
        );
        return;
    }
    let new = tempfile::tempdir().unwrap();
    let debian = Debian::new().unwrap();
    let first = artefact(outcome, "deb");
    let second = artefact(&package("1.2.4", EPOCH + 1, new.path()), "deb");
    let (first, second) = (
        debian.bring(&first).unwrap(),
        debian.bring(&second).unwrap(),
    );
    let before = paths(&debian);

    let said = debian.must(&["dpkg", "-i", &first]).unwrap();
    assert!(
        !said.contains("warning") && !said.contains("rror"),
        "{said}"
    );
    let state = debian.must(&[
        "dpkg-query",
        "-W",
        "-f",
        "${db:Status-Abbrev} ${Version}",
        "why502",
    ]);
    assert_eq!(state.unwrap(), "ii  1.2.3-1");
    // All files are as their sums say.
    assert_eq!(debian.must(&["dpkg", "--verify", "why502"]).unwrap(), "");

    // It runs, and the kernel shows it there what it shows outside.
    let version = debian.must(&["why502", "--version"]).unwrap();
    assert_eq!(version, format!("why502 {}\n", env!("CARGO_PKG_VERSION")));
    let doctor = debian
        .run(&["why502", "doctor", "--format", "json"])
        .unwrap();
    assert!(doctor.status.success(), "{doctor:?}");
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(doctor["problems"], Value::Array(Vec::new()), "{doctor}");
    debian
        .must(&[
            "why502",
            "agent",
            "--check",
            "--config",
            "/etc/why502/why502.toml",
        ])
        .unwrap();

    // The pages and scripts that the program prints are there.
    for path in [
        "/usr/share/man/man1/why502.1.gz",
        "/usr/share/man/man1/why502-capture.1.gz",
        "/usr/share/bash-completion/completions/why502",
        "/usr/share/doc/why502/agent.md",
        "/usr/share/doc/why502/copyright",
        "/usr/share/doc/why502/THIRD-PARTY-NOTICES.gz",
    ] {
        debian.must(&["test", "-s", path]).unwrap();
    }
    let page = debian
        .must(&["gzip", "-dc", "/usr/share/man/man1/why502-agent.1.gz"])
        .unwrap();
    assert!(page.starts_with(".ie") && page.contains("agent"), "{page}");
    unit_is_accepted(&debian);

    // Off until somebody turns it on; then it stays on, and the configuration what it was made.
    let wanted = "/etc/systemd/system/multi-user.target.wants/why502.service";
    debian.must(&["test", "!", "-e", wanted]).unwrap();
    // What `systemctl enable` does; there is no systemd in so small a system.
    let enable = "mkdir -p ${0%/*} && ln -s /usr/lib/systemd/system/why502.service $0";
    debian.must(&["sh", "-c", enable, wanted]).unwrap();
    debian
        .must(&["sh", "-c", "echo '# ours' >>/etc/why502/why502.toml"])
        .unwrap();
    debian.must(&["dpkg", "-i", &second]).unwrap();
    debian.must(&["test", "-L", wanted]).unwrap();
    debian
        .must(&["grep", "-qx", "# ours", "/etc/why502/why502.toml"])
        .unwrap();
    let mode = debian.must(&["stat", "-c", "%a %U", "/etc/why502/why502.toml"]);
    assert_eq!(mode.unwrap(), "600 root\n");

    // Removed, the configuration is left; purged, nothing.
    let state = "mkdir -p /var/lib/why502/snapshots /var/log/why502; \
                 echo x >/var/lib/why502/snapshots/a.w502";
    debian.must(&["sh", "-c", state]).unwrap();
    debian.must(&["dpkg", "-r", "why502"]).unwrap();
    debian
        .must(&["test", "!", "-e", "/usr/bin/why502"])
        .unwrap();
    debian
        .must(&["test", "-e", "/var/lib/why502/snapshots/a.w502"])
        .unwrap();
    debian
        .must(&["grep", "-qx", "# ours", "/etc/why502/why502.toml"])
        .unwrap();
    debian.must(&["dpkg", "-P", "why502"]).unwrap();
    let after = paths(&debian);
    let left: Vec<&String> = after.difference(&before).collect();
    let lost: Vec<&String> = before.difference(&after).collect();
    // Made by systemd's helper for every unit that was ever enabled.
    let allowed = [
        "/etc/systemd/system/multi-user.target.wants",
        "/var/lib/systemd/deb-systemd-helper",
    ];
    let left: Vec<_> = left
        .into_iter()
        .filter(|path| !allowed.iter().any(|allowed| path.starts_with(allowed)))
        .collect();
    assert!(
        left.is_empty() && lost.is_empty(),
        "left {left:?}, lost {lost:?}"
    );
    assert!(after.iter().all(|path| !path.contains("why502")));
}

/// Judged by this machine's systemd, with the program where it is on this machine.
fn unit_is_accepted(debian: &Debian) {
    let unit = debian
        .must(&["cat", "/usr/lib/systemd/system/why502.service"])
        .unwrap();
    assert!(unit.starts_with("[Unit]"), "{unit}");
    assert!(unit.contains("\nExecStart=/usr/bin/why502 agent"), "{unit}");
    let Some(analyze) = find_program("systemd-analyze") else {
        ready::skip("systemd-analyze, to judge the unit");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("why502.service");
    let here = unit.replace("/usr/bin/why502", why502().to_str().unwrap());
    fs::write(&path, here).unwrap();
    let verified = Command::new(analyze)
        .arg("verify")
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
}
