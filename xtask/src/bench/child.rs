//! Programs that are measured: how long, how much memory, what they said.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// What one run cost.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) elapsed: Duration,
    /// Most memory that any of the programs had resident; an upper bound.
    pub(super) rss_bytes: u64,
    /// What the last one wrote to standard output.
    pub(super) out: Vec<u8>,
}

/// Runs programs, each with the output of the one before it as its input.
pub(super) fn pipeline(mut commands: Vec<Command>) -> anyhow::Result<Run> {
    let started = Instant::now();
    let mut running: Vec<Child> = Vec::new();
    for command in &mut commands {
        let before = running.last_mut().and_then(|child| child.stdout.take());
        let child = command
            .stdin(before.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        running.push(child);
    }
    let mut out = Vec::new();
    let last = running.last_mut().and_then(|child| child.stdout.take());
    last.context("nothing to run")?.read_to_end(&mut out)?;
    let mut rss_bytes = 0;
    for (child, command) in running.iter().zip(&commands) {
        rss_bytes = rss_bytes.max(wait(child).with_context(|| format!("{command:?}"))?);
    }
    Ok(Run {
        elapsed: started.elapsed(),
        rss_bytes,
        out,
    })
}

/// Waits for a program and gives its largest resident memory, bytes: an upper bound, since the kernel
/// counts what it had before it became that program, which is what we have.
fn wait(child: &Child) -> anyhow::Result<u64> {
    let pid = libc::pid_t::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: all bytes zero are a valid `rusage`, which holds nothing but numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live variables of the types that wait4(2) wants. The child is ours
    // and is waited for nowhere else, so that its id cannot have been given to another process.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    ensure!(
        waited == pid,
        "lost the child process: {}",
        std::io::Error::last_os_error()
    );
    ensure!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        "it failed (status {status})"
    );
    Ok(u64::try_from(usage.ru_maxrss)? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_pipeline_is_measured() {
        let run = pipeline(vec![shell("sleep 0.05; echo one two"), shell("wc -w")]).unwrap();
        assert_eq!(String::from_utf8_lossy(&run.out).trim(), "2");
        assert!(run.elapsed >= Duration::from_millis(50), "{run:?}");
        assert!((100_000..1 << 30).contains(&run.rss_bytes), "{run:?}");
        assert!(pipeline(vec![shell("exit 3")]).is_err());
        assert!(pipeline(Vec::new()).is_err());
    }
}
