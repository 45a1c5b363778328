//! Network namespaces that have no name and leave no trace: each exists as long as this process
//! holds its descriptor and a thread in it, so that even `kill -9` removes it with all it holds.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace of our own and a thread that lives in it.
pub struct Namespace {
    fd: OwnedFd,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Makes one, with its loopback up. Needs `CAP_SYS_ADMIN`.
    pub fn new(name: &str) -> Result<Self> {
        let (jobs, queue) = channel();
        let (made, answer) = channel();
        let thread = std::thread::Builder::new()
            .name(format!("lab-net-{name}"))
            .spawn(move || {
                let namespace = unshare();
                let go_on = namespace.is_ok();
                // The maker waits for it.
                if made.send(namespace).is_ok() && go_on {
                    work(&queue);
                }
            })?;
        let fd = answer
            .recv()
            .context("the thread of the namespace ended")?
            .context("cannot make a network namespace")?;
        let namespace = Self {
            fd,
            jobs: Some(jobs),
            thread: Some(thread),
        };
        namespace.ip("link set lo up\n")?;
        Ok(namespace)
    }

    /// A path by which other processes reach it while we live.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// Moves the calling thread into it, for good.
    pub fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot enter a network namespace")
    }

    /// Has its own thread do something. Child processes that are started there, and sockets and
    /// threads made there, belong to the namespace; and the thread lives as long as the namespace,
    /// so children that end with their parent thread do not end early.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, answer) = channel();
        let jobs = self.jobs.as_ref().context("the namespace is closing")?;
        let job: Job = Box::new(move || {
            // Nobody waits only when the caller has panicked.
            let _ = done.send(job());
        });
        if jobs.send(job).is_err() {
            bail!("the thread of the namespace ended");
        }
        answer.recv().context("the thread of the namespace ended")?
    }

    /// Runs lines of `ip` in it.
    pub fn ip(&self, script: &str) -> Result<()> {
        self.feed("ip", &["-batch", "-"], script)
    }

    /// Runs lines of `nft` in it.
    pub fn nft(&self, script: &str) -> Result<()> {
        self.feed("nft", &["-f", "-"], script)
    }

    /// Sets a value below `/proc/sys/net`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        let value = value.to_owned();
        self.run(move || {
            std::fs::write(&path, &value).with_context(|| format!("cannot write {value} to {path}"))
        })
    }

    fn feed(
        &self,
        program: &'static str,
        args: &'static [&'static str],
        script: &str,
    ) -> Result<()> {
        let script = script.to_owned();
        self.run(move || feed(program, args, &script))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Without a sender the thread's queue ends.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the only safe way to unshare is a deprecated name for the same call"
)]
fn unshare() -> Result<OwnedFd> {
    // SAFETY: the call is unsafe for `FILES` alone, where a thread loses the descriptors of others.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

fn work(queue: &Receiver<Job>) {
    for job in queue {
        job();
    }
}

fn feed(program: &str, args: &[&str], script: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{program} refused `{}`: {}",
        script.trim(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
