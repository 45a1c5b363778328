//! What is measured: why502, and what people use instead.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::floor::Floor;
use crate::lab::client::{Client, Request};
use crate::lab::process::{Running, bound, find_program, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);
/// Time for a tracer to look around once, among 10,000 open connections, too.
const SETTLES: Duration = Duration::from_millis(500);

/// A tracer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// Empty programs on the hooks that why502 has for sends, receives and states: what any tracer
    /// there costs.
    Floor,
    /// `why502 capture`.
    Why502,
    /// `why502 capture --role proxy`: without the backend's half, as where backends are elsewhere.
    Why502Proxy,
    /// `why502 capture --standby`: only the first sign of a failure is looked for.
    Why502Standby,
    /// `why502 capture --all`: healthy exchanges are sent to user space, too.
    Why502All,
    /// bpftrace: bytes and errors of each socket of the proxy, from the same tracepoints.
    BpftraceSock,
    /// bpftrace: the same from system calls.
    BpftraceSyscalls,
    /// libbpf-tools' `tcplife`: one line for each connection that ends.
    Tcplife,
    /// libbpf-tools' `tcpstates`: one line for each change of state.
    Tcpstates,
    /// `tcpdump` with 128 bytes of each packet.
    Tcpdump,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Floor,
        Self::Why502,
        Self::Why502Proxy,
        Self::Why502Standby,
        Self::Why502All,
        Self::BpftraceSock,
        Self::BpftraceSyscalls,
        Self::Tcplife,
        Self::Tcpstates,
        Self::Tcpdump,
    ];

    /// As in the results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Why502 => "why502",
            Self::Why502Proxy => "why502-proxy",
            Self::Why502Standby => "why502-standby",
            Self::Why502All => "why502-all",
            Self::BpftraceSock => "bpftrace-sock",
            Self::BpftraceSyscalls => "bpftrace-syscalls",
            Self::Tcplife => "tcplife",
            Self::Tcpstates => "tcpstates",
            Self::Tcpdump => "tcpdump",
        }
    }

    /// Is it why502?
    pub const fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Why502 | Self::Why502Proxy | Self::Why502Standby | Self::Why502All
        )
    }

    /// Are there programs in the kernel that are its own?
    pub(super) const fn has_programs(self) -> bool {
        !matches!(self, Self::Tcpdump)
    }

    /// Does it see each send and receive, as why502 does?
    pub const fn sees_payload(self) -> bool {
        matches!(
            self,
            Self::BpftraceSock | Self::BpftraceSyscalls | Self::Tcpdump
        )
    }

    /// The program that it is, and the package that has it.
    const fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Floor
            | Self::Why502
            | Self::Why502Proxy
            | Self::Why502Standby
            | Self::Why502All => None,
            Self::BpftraceSock | Self::BpftraceSyscalls => Some(("bpftrace", "bpftrace")),
            Self::Tcplife => Some(("tcplife", "libbpf-tools")),
            Self::Tcpstates => Some(("tcpstates", "libbpf-tools")),
            Self::Tcpdump => Some(("tcpdump", "tcpdump")),
        }
    }

    /// What is missing to run it; `None`: nothing.
    pub(super) fn missing(self) -> Option<String> {
        let (program, package) = self.program()?;
        let missing = find_program(program).is_none();
        missing.then(|| format!("{program} is not installed (package {package})"))
    }
}

/// Whom a tool looks at.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    /// The proxy's main process.
    pub(super) proxy: u32,
    /// The process of it that serves.
    pub(super) worker: u32,
    /// Where it takes requests.
    pub(super) addr: SocketAddr,
    /// Where its clients and its backend are.
    pub(super) ports: [u16; 2],
}

/// A tool at work; ended when dropped.
pub(super) enum AtWork {
    /// Attached by us.
    Floor(#[expect(dead_code, reason = "held until it is dropped")] Floor),
    /// A process.
    Process {
        /// It.
        running: Running,
        /// Its output; last, so that nothing writes into what is removed.
        _dir: tempfile::TempDir,
    },
}

impl AtWork {
    /// Starts it and waits until its programs are attached, it has met the proxy's backend, and all that
    /// this makes it do once is done: none of that is a cost of each request.
    pub(super) fn start(tool: Tool, why502: &Path, targets: &Targets) -> Result<Self> {
        let begun = match tool {
            Tool::Floor => Self::Floor(Floor::start()?),
            _ => Self::process(tool, why502, targets)?,
        };
        Client::connect(targets.addr)?.send(&Request::get("/"))?;
        std::thread::sleep(SETTLES);
        Ok(begun)
    }

    fn process(tool: Tool, why502: &Path, targets: &Targets) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("why502-tool-").tempdir()?;
        let said = dir.path().join("said");
        let (program, args, attached) = command(tool, why502, targets)?;
        let log = File::create(&said)?;
        let mut command = with_tracefs(&program)?;
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(if attached.on_stdout {
                Stdio::from(log.try_clone()?)
            } else {
                Stdio::null()
            })
            .stderr(log);
        let mut running = Running::start(&mut command)?;
        let ready = wait_for(PATIENCE, || {
            let mut text = String::new();
            File::open(&said)?.read_to_string(&mut text)?;
            if let Some(code) = running.exited()? {
                bail!("{} ended with code {code}: {text}", tool.name());
            }
            Ok(text.contains(attached.word).then_some(()))
        })?;
        ready.with_context(|| format!("{} does not begin", tool.name()))?;
        // Some say so while they attach.
        std::thread::sleep(attached.and);
        Ok(Self::Process { running, _dir: dir })
    }

    /// Its process, if it is one.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Floor(_) => None,
            Self::Process { running, .. } => Some(running.pid()),
        }
    }
}

/// The program where tracefs is mounted, as bpftrace needs it: in a mount namespace of its own, so that
/// nothing changes outside. The process is that of the program in the end.
fn with_tracefs(program: &Path) -> Result<Command> {
    let unshare = find_program("unshare").context("unshare is not installed (util-linux)")?;
    let script = "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing; \
                  mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug; \
                  exec \"$@\"";
    let mut command = bound(&unshare);
    command
        .args(["--mount", "--propagation", "private", "--"])
        .args(["sh", "-c", script, "sh"])
        .arg(program);
    Ok(command)
}

/// How a tool tells that it has begun.
struct Attached {
    word: &'static str,
    on_stdout: bool,
    /// It needs this long behind its word.
    and: Duration,
}

fn command(
    tool: Tool,
    why502: &Path,
    targets: &Targets,
) -> Result<(PathBuf, Vec<String>, Attached)> {
    let owned = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let pid = targets.proxy.to_string();
    let ours = Attached {
        word: "attached in",
        on_stdout: false,
        and: Duration::ZERO,
    };
    // It says "Attaching 5 probes..." first.
    let bpftrace = Attached {
        word: "Attaching",
        on_stdout: true,
        and: Duration::from_millis(1500),
    };
    // What it says first comes late into a file.
    let silent = Attached {
        word: "",
        on_stdout: true,
        and: Duration::from_millis(1500),
    };
    let tcpdump = Attached {
        word: "listening on",
        on_stdout: false,
        and: Duration::from_millis(200),
    };
    let capture = ["capture", "--pid", &pid, "--format", "ndjson"];
    let (args, attached) = match tool {
        Tool::Why502 => (owned(&capture), ours),
        Tool::Why502Proxy => (
            [owned(&capture), owned(&["--role", "proxy"])].concat(),
            ours,
        ),
        Tool::Why502Standby => (
            [owned(&capture), owned(&["--standby", "1h"])].concat(),
            ours,
        ),
        Tool::Why502All => ([owned(&capture), owned(&["--all"])].concat(), ours),
        // Not a process.
        Tool::Floor => (Vec::new(), ours),
        Tool::BpftraceSock => (vec!["-e".to_owned(), sock(targets.worker)], bpftrace),
        Tool::BpftraceSyscalls => (vec!["-e".to_owned(), syscalls(targets.worker)], bpftrace),
        Tool::Tcplife => (Vec::new(), silent),
        Tool::Tcpstates => (Vec::new(), silent),
        Tool::Tcpdump => {
            let [client, backend] = targets.ports;
            let filter = format!("tcp port {client} or tcp port {backend}");
            let options = ["-i", "lo", "-n", "-s", "128", "-w", "/dev/null"];
            ([owned(&options), vec![filter]].concat(), tcpdump)
        }
    };
    let program = match tool.program() {
        None => why502.to_path_buf(),
        Some((name, _)) => find_program(name).with_context(|| format!("{name} is gone"))?,
    };
    Ok((program, args, attached))
}

/// What a person would write to see which socket got what, and when last.
fn sock(pid: u32) -> String {
    format!(
        "tracepoint:sock:sock_send_length /pid == {pid}/ \
         {{ @sent[args->sk] = sum(args->ret); @at[args->sk] = nsecs; }} \
         tracepoint:sock:sock_recv_length /pid == {pid}/ \
         {{ @received[args->sk] = sum(args->ret); @at[args->sk] = nsecs; }} \
         tracepoint:sock:inet_sock_set_state {{ @state[args->skaddr] = args->newstate; }} \
         tracepoint:tcp:tcp_destroy_sock {{ delete(@sent[args->skaddr]); \
         delete(@received[args->skaddr]); delete(@at[args->skaddr]); delete(@state[args->skaddr]); }}"
    )
}

fn syscalls(pid: u32) -> String {
    let calls = [
        "recvfrom", "sendto", "writev", "readv", "read", "write", "sendmsg", "recvmsg",
    ];
    let mut text = String::new();
    for call in calls {
        text += &format!(
            "tracepoint:syscalls:sys_enter_{call} /pid == {pid}/ {{ @fd[tid] = args->fd; }} \
             tracepoint:syscalls:sys_exit_{call} /pid == {pid} && @fd[tid]/ \
             {{ @bytes[@fd[tid]] = sum(args->ret); @at[@fd[tid]] = nsecs; delete(@fd[tid]); }} "
        );
    }
    text + "tracepoint:sock:inet_sock_set_state { @state[args->skaddr] = args->newstate; }"
}
