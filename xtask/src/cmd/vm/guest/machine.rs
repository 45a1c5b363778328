//! What an init has to do before anything else runs: file systems, modules, the loopback.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, mount};
use rustix::system::RebootCommand;

use super::super::plan::MODULES;

/// The port that the host reads.
const RESULTS: &str = "/dev/ttyS1";

/// What is mounted where, and whether a guest without it makes sense.
const MOUNTS: [(&str, &str, &str, bool); 10] = [
    ("proc", "/proc", "proc", true),
    ("sysfs", "/sys", "sysfs", true),
    ("devtmpfs", "/dev", "devtmpfs", true),
    ("devpts", "/dev/pts", "devpts", false),
    ("tmpfs", "/dev/shm", "tmpfs", false),
    ("tmpfs", "/tmp", "tmpfs", true),
    ("tmpfs", "/run", "tmpfs", true),
    ("tracefs", "/sys/kernel/tracing", "tracefs", false),
    ("bpf", "/sys/fs/bpf", "bpf", false),
    ("cgroup2", "/sys/fs/cgroup", "cgroup2", false),
];

pub(super) fn mount_all() -> Result<()> {
    for (source, target, kind, needed) in MOUNTS {
        // Fails where the file system above has the directory already.
        let _ = fs::create_dir(target);
        let done = mount(source, target, kind, MountFlags::empty(), None);
        match done {
            Ok(()) => {}
            Err(error) if needed => {
                return Err(error).with_context(|| format!("cannot mount {kind} on {target}"));
            }
            Err(error) => eprintln!("init: cannot mount {kind} on {target}: {error}"),
        }
    }
    Ok(())
}

pub(super) fn results() -> Result<File> {
    let port = OpenOptions::new().write(true).open(RESULTS);
    port.with_context(|| format!("cannot open {RESULTS}"))
}

/// Of the guest's first process, which has no other thread yet.
#[expect(unsafe_code, reason = "the environment is shared by all threads")]
pub(super) fn set_environment(variables: &[(String, String)]) {
    for (name, value) in variables {
        // SAFETY: no other thread exists that could read it meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
}

/// `uname -r`, and milliseconds since the kernel began.
pub(super) fn release_and_uptime() -> Result<(String, u64)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let uptime = fs::read_to_string("/proc/uptime")?;
    let seconds: f64 = uptime
        .split(' ')
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .context("/proc/uptime holds no number")?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time of some seconds, never below zero"
    )]
    let ms = (seconds * 1000.0) as u64;
    Ok((release.trim().to_owned(), ms))
}

/// Modules and network; gives what went wrong, which the tests may or may not feel.
pub(super) fn prepare() -> Vec<String> {
    let mut problems = Vec::new();
    let order = fs::read_to_string(MODULES).unwrap_or_default();
    for name in order.lines() {
        if let Err(error) = load(name) {
            problems.push(format!("cannot load the module {name}: {error:#}"));
        }
    }
    let lo = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .output();
    match lo {
        Ok(output) if output.status.success() => {}
        Ok(output) => problems.push(format!(
            "the loopback stays down: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => problems.push(format!("cannot run ip: {error}")),
    }
    problems
}

fn load(name: &str) -> Result<()> {
    let file = File::open(format!("/modules/{name}.ko"))?;
    match rustix::system::finit_module(&file, &CString::default(), 0) {
        // Built in or loaded already.
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A shell on the console, as leader of a session of its own so that Ctrl-C reaches what it runs.
pub(super) fn shell() -> Result<()> {
    let shell = ["/usr/bin/bash", "/usr/bin/sh"]
        .into_iter()
        .find(|shell| Path::new(shell).exists())
        .context("this guest has no shell")?;
    let open = || OpenOptions::new().read(true).write(true).open("/dev/ttyS0");
    println_console();
    let mut command = Command::new(shell);
    command
        .arg("-i")
        .current_dir("/root")
        .stdin(Stdio::from(open()?))
        .stdout(Stdio::from(open()?))
        .stderr(Stdio::from(open()?));
    #[expect(unsafe_code, reason = "something is done between fork and exec")]
    // SAFETY: both are plain system calls, which may be made there.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        });
    }
    command.spawn()?.wait()?;
    Ok(())
}

fn println_console() {
    eprintln!(
        "\nA guest of `cargo xtask vm`: why502, nginx and haproxy are here, nothing is kept.\n\
         `exit` switches it off.\n"
    );
}

/// Does not return unless the kernel refuses.
pub(super) fn off() {
    rustix::fs::sync();
    let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) else {
        return;
    };
    eprintln!("init: cannot switch off: {error}");
}
