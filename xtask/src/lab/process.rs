//! Child processes that end with their owner, and the signals to steer them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// Names how many times slower than real hardware this machine is, as a whole number. Set under
/// emulation (`cargo xtask vm`); whatever the lab and the tests wait for gets so much longer.
pub const SLOWNESS: &str = "WHY502_SLOW";

/// A time to wait on real hardware, made longer for the machine that this is.
pub fn patient(patience: Duration) -> Duration {
    patience * slowness()
}

/// How many times slower than real hardware this machine is said to be, at least 1.
pub fn slowness() -> u32 {
    let named = std::env::var(SLOWNESS).ok();
    factor(named.as_deref())
}

/// What the variable says; 1 for what makes no sense.
fn factor(named: Option<&str>) -> u32 {
    let factor = named.and_then(|text| text.parse().ok());
    factor.map_or(1, |factor: u32| factor.clamp(1, 100))
}

/// A child process; ended and waited for when dropped.
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child, for its pipes.
    pub const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its exit code if it has ended; a signal gives `-1`.
    pub fn exited(&mut self) -> Result<Option<i32>> {
        let status = self.child.try_wait()?;
        Ok(status.map(|status| status.code().unwrap_or(-1)))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send(self.pid(), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for its end; `None` if it does not come in time.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<i32>> {
        wait_for(patience, || self.exited())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Politely first: a master process takes its workers along.
        for (signal, patience) in [
            (Signal::TERM, Duration::from_secs(3)),
            (Signal::KILL, Duration::from_secs(3)),
        ] {
            if !matches!(self.exited(), Ok(None)) {
                return;
            }
            // Fails only if it ended in between.
            let _ = self.signal(signal);
            let _ = self.signal(Signal::CONT);
            if !matches!(self.wait(patience), Ok(None)) {
                return;
            }
        }
        eprintln!("lab: {} ({}) does not end", self.name, self.pid());
    }
}

/// A command that gets SIGTERM when the *thread* that starts it ends, however it ends, so that it
/// does not outlive us; as it is where `setpriv` (util-linux) is missing.
pub fn bound(program: &Path) -> Command {
    let Some(setpriv) = find_program("setpriv") else {
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

/// Takes that many descriptors for this process and for those that it starts, or as many as it may have.
/// Returns how many those are.
pub fn raise_descriptors(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = wanted as u64;
    if current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: maximum.map(|maximum| maximum.max(wanted)),
        };
        if setrlimit(Resource::Nofile, raised).is_err() {
            // Without the right to more, what the limit allows.
            let most = Rlimit {
                current: maximum,
                maximum,
            };
            let _ = setrlimit(Resource::Nofile, most);
        }
    }
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    })
}

/// Sends a signal to a process.
pub fn send(pid: u32, signal: Signal) -> Result<()> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = raw.context("not a process id")?;
    kill_process(pid, signal)?;
    Ok(())
}

/// The direct children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// One letter of `/proc/PID/stat`: `T` is stopped.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold parentheses and blanks.
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// A program by name: in `PATH` or in the directories that only root has there.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| is_program(candidate))
}

/// An executable file?
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Asks again and again until there is an answer or the time is over, which is longer on a machine
/// that is known to be slow.
pub fn wait_for<T>(
    patience: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + patient(patience);
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_child_is_gone() {
        let child = Running::start(Command::new("sleep").arg("60")).unwrap();
        let pid = child.pid();
        assert!(children(std::process::id()).contains(&pid));
        child.signal(Signal::STOP).unwrap();
        let stopped = wait_for(Duration::from_secs(1), || {
            Ok(state(pid).filter(|state| *state == 'T'))
        });
        assert_eq!(stopped.unwrap(), Some('T'));
        drop(child);
        assert_eq!(state(pid), None);
    }

    #[test]
    fn slow_machines_are_waited_for() {
        for (named, expected) in [
            (None, 1),
            (Some("4"), 4),
            (Some("0"), 1),
            (Some("1000"), 100),
            (Some("-1"), 1),
            (Some(""), 1),
            (Some("2.5"), 1),
        ] {
            assert_eq!(factor(named), expected, "{named:?}");
        }
    }

    #[test]
    fn programs_are_found_by_name_only_if_they_can_run() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-here").is_none());
        assert!(!is_program(Path::new("/etc/passwd")));
    }
}
