//! QEMU: which one, how it is called, and how it is watched until it ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use xtask::lab::process::{Running, bound, find_program};

use super::plan::XTASK;
use super::store;
use crate::progress::say;

const PROGRAM: &str = "qemu-system-x86_64";

/// The oldest that is taken. Under 7.2 (Debian 12) `cmpxchg16b` with a segment prefix goes wrong, and
/// 6.12 panics at boot; without that instruction HAProxy does not start.
const OLDEST: u32 = 8;

/// The machine. A processor with few features is emulated faster than one with all: AVX and
/// five-level page tables cost a third of the boot.
const MACHINE: [&str; 6] = [
    "-machine",
    "q35,accel=tcg,hpet=off",
    "-cpu",
    "Nehalem",
    "-m",
    "2560",
];

/// The guest's clock counts its instructions, one a nanosecond, and leaps where it would idle. So a
/// guest does not feel that it is emulated on a busy host: what comes soon after something else on
/// hardware does so here, and verdicts that rest on that are the same. One processor is emulated so.
/// <https://www.qemu.org/docs/master/devel/tcg-icount.html>
const OWN_TIME: [&str; 4] = ["-icount", "shift=0,sleep=off", "-smp", "1"];

/// For a person, whose seconds are those of the host.
const OUR_TIME: [&str; 2] = ["-smp", "2"];

/// A QEMU that can be run.
pub(super) enum Qemu {
    /// Installed on this host.
    Host(PathBuf),
    /// Unpacked below a directory.
    Unpacked(PathBuf),
}

impl Qemu {
    /// The host's if it will do; else one from the cache, fetched if need be.
    pub(super) fn find(top: &Path) -> Result<Self> {
        let Some(program) = find_program(PROGRAM) else {
            return store::qemu(top).map(Self::Unpacked).context(format!(
                "there is no {PROGRAM} here (Debian: qemu-system-x86), and none can be had without installing it"
            ));
        };
        let output = Command::new(&program).arg("--version").output();
        let said = output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        if major(&said).is_some_and(|major| major >= OLDEST) {
            return Ok(Self::Host(program));
        }
        say(format!(
            "vm: {} is not used: version {OLDEST} or newer boots all of these kernels",
            program.display()
        ));
        store::qemu(top).map(Self::Unpacked)
    }

    /// The command without a machine. Ends when the thread that starts it does.
    fn command(&self) -> Command {
        match self {
            Self::Host(program) => bound(program),
            Self::Unpacked(root) => {
                // By its own loader, since it is linked against a newer C library than the host's.
                let libraries = [
                    "usr/lib/x86_64-linux-gnu",
                    "lib/x86_64-linux-gnu",
                    "usr/lib/x86_64-linux-gnu/pulseaudio",
                ]
                .map(|dir| root.join(dir).display().to_string());
                let mut command = bound(&root.join("usr/lib64/ld-linux-x86-64.so.2"));
                command
                    .arg("--library-path")
                    .arg(libraries.join(":"))
                    .arg(root.join("usr/bin").join(PROGRAM));
                for firmware in ["usr/share/qemu", "usr/share/seabios"] {
                    command.arg("-L").arg(root.join(firmware));
                }
                command
            }
        }
    }
}

/// `QEMU emulator version 7.2.19 (Debian …)` → 7.
fn major(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("version ")?;
    number.split('.').next()?.parse().ok()
}

/// What is booted.
pub(super) struct Boot<'a> {
    pub(super) image: &'a Path,
    pub(super) initramfs: &'a Path,
    /// Where the kernel's messages go.
    pub(super) console: &'a Path,
    /// How long the guest may be silent until it is up.
    pub(super) until_up: Duration,
    /// How long it may run.
    pub(super) in_all: Duration,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    /// QEMU ended by itself, which the guest brought about.
    Off(ExitStatus),
    /// It said nothing.
    NeverUp,
    /// It did not end in time.
    TooLong,
    /// Ctrl-C.
    Stopped,
}

/// Boots and hands on each line that the guest sends; when it returns, QEMU is gone.
pub(super) fn run(
    qemu: &Qemu,
    boot: &Boot<'_>,
    stop: &AtomicBool,
    mut line: impl FnMut(&str),
) -> Result<End> {
    let mut command = qemu.command();
    command
        .args(MACHINE)
        .args(OWN_TIME)
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-serial"])
        .arg(format!("file:{}", escaped(boot.console)))
        .args(["-chardev", "stdio,id=results,signal=off"])
        .args(["-serial", "chardev:results"])
        .args(kernel(boot, ""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = Running::start(&mut command)?;
    let stdout = running.child().stdout.take().context("no output")?;
    let stderr = running.child().stderr.take().context("no output")?;
    let (lines, received) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            // Nobody listens any more only when the guest is being ended.
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let complaints = std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            say(format!("vm: qemu: {line}"));
        }
    });
    let started = Instant::now();
    let mut up = false;
    let end = loop {
        match received.recv_timeout(Duration::from_millis(100)) {
            Ok(bytes) => {
                up = true;
                line(String::from_utf8_lossy(&bytes).trim_end_matches('\r'));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                // It may live on for a moment with its output closed.
                running.wait(Duration::from_secs(5))?;
                break match running.child().try_wait()? {
                    Some(status) => End::Off(status),
                    None => End::TooLong,
                };
            }
        }
        if stop.load(Ordering::Relaxed) {
            break End::Stopped;
        }
        let elapsed = started.elapsed();
        if !up && elapsed > boot.until_up {
            break End::NeverUp;
        }
        if elapsed > boot.in_all {
            break End::TooLong;
        }
    };
    drop(running);
    drop(received);
    for thread in [reader, complaints] {
        // They end with the pipes, and have nothing to say.
        let _ = thread.join();
    }
    Ok(end)
}

/// Boots with the guest's first terminal as ours, until it is switched off.
pub(super) fn shell(qemu: &Qemu, boot: &Boot<'_>) -> Result<()> {
    let mut command = qemu.command();
    command
        .args(MACHINE)
        .args(OUR_TIME)
        .args(["-nodefaults", "-no-reboot", "-display", "none"])
        .args(["-serial", "mon:stdio"])
        .args(["-serial", "null"])
        .args(kernel(boot, " quiet"));
    let mut running = Running::start(&mut command)?;
    running.child().wait()?;
    Ok(())
}

/// What every boot needs. `panic=-1` with `-no-reboot`: a panic ends QEMU. Mitigations and the check
/// of the timer cost time under emulation, and the check fails on a busy host.
fn kernel(boot: &Boot<'_>, more: &str) -> Vec<String> {
    [
        "-kernel",
        &boot.image.display().to_string(),
        "-initrd",
        &boot.initramfs.display().to_string(),
        "-append",
        &format!(
            "console=ttyS0 loglevel=5 panic=-1 mitigations=off no_timer_check rdinit={XTASK}{more}"
        ),
    ]
    .map(str::to_owned)
    .into()
}

/// A comma in a path would begin QEMU's next option.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The last lines of the console.
pub(super) fn tail(console: &Path, lines: usize) -> Vec<String> {
    let bytes = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<String> = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect())
        .filter(|line: &String| !line.trim().is_empty())
        .collect();
    all[all.len().saturating_sub(lines)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (said, expected) in [
            (
                "QEMU emulator version 7.2.19 (Debian 1:7.2+dfsg-7)\nCopyright",
                Some(7),
            ),
            ("QEMU emulator version 10.0.13 (Debian 1:10)", Some(10)),
            ("QEMU emulator version x", None),
            ("", None),
        ] {
            assert_eq!(major(said), expected, "{said}");
        }
    }

    /// A program in QEMU's place: what it is called with does not matter to it.
    fn fake(dir: &Path, script: &str) -> Qemu {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.join("qemu");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Qemu::Host(path)
    }

    fn try_it(script: &str, stop: bool) -> (End, Vec<String>, Duration) {
        let dir = tempfile::tempdir().unwrap();
        let qemu = fake(dir.path(), script);
        let boot = Boot {
            image: Path::new("image"),
            initramfs: Path::new("initramfs"),
            console: Path::new("console"),
            until_up: Duration::from_millis(600),
            in_all: Duration::from_millis(1200),
        };
        let mut lines = Vec::new();
        let started = Instant::now();
        let end = run(&qemu, &boot, &AtomicBool::new(stop), |line| {
            lines.push(line.to_owned());
        });
        (end.unwrap(), lines, started.elapsed())
    }

    #[test]
    fn every_end_of_a_guest_is_told_and_nothing_stays() {
        let (end, lines, _) = try_it("printf 'one\\r\\ntwo'", false);
        assert!(
            matches!(end, End::Off(status) if status.success()),
            "{end:?}"
        );
        assert_eq!(lines, ["one", "two"]);
        for (script, stop, expected) in [
            ("exec sleep 60", false, "NeverUp"),
            ("echo up; exec sleep 60", false, "TooLong"),
            ("exec sleep 60", true, "Stopped"),
        ] {
            let (end, _, took) = try_it(script, stop);
            assert_eq!(format!("{end:?}"), expected, "{script}");
            assert!(took < Duration::from_secs(10), "{script}: {took:?}");
        }
    }

    #[test]
    fn the_end_of_a_console() {
        let dir = tempfile::tempdir().unwrap();
        let console = dir.path().join("console");
        fs::write(&console, "one\r\n\r\ntwo\u{1b}[m\r\nthree\r\n").unwrap();
        assert_eq!(tail(&console, 2), ["two[m", "three"]);
        assert_eq!(tail(&dir.path().join("none"), 2), [""; 0]);
    }
}
