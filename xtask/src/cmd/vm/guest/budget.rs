//! How many instructions the verifier looks at before it takes a program: its budget is a million
//! (`BPF_COMPLEXITY_LIMIT_INSNS`), and a program that takes much of it is one compiler away from
//! being refused.
//!
//! The number is in `bpf_prog_info` since 5.16 only; before that the verifier tells nobody but the
//! one who loads. So the real `why502` is watched while it loads its programs: its system call
//! `bpf(BPF_PROG_LOAD)` is given a buffer for the verifier's statistics (log level 4, since 5.2), and
//! the line `processed N insns` is read out of it.
//! <https://docs.kernel.org/bpf/verifier.html>, `print_verification_stats()` in kernel/bpf/verifier.c

#![expect(unsafe_code, reason = "ptrace has no safe interface")]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// `bpf_cmd`, in include/uapi/linux/bpf.h.
const BPF_PROG_LOAD: u64 = 5;

/// Statistics alone.
const BPF_LOG_STATS: u32 = 4;

/// Fields of `bpf_attr` for that command, as the kernel's ABI fixes them.
mod attr {
    /// `log_level`, `log_size`: 32 bits each; `log_buf`: 64.
    pub(super) const LOG: u64 = 24;
    pub(super) const LOG_BYTES: usize = 16;
    /// `prog_name`: 16 bytes, ended by a NUL.
    pub(super) const NAME: u64 = 48;
    /// The call is long enough to hold all of these.
    pub(super) const LONG_ENOUGH: u64 = 64;
}

/// Below the stack pointer, beyond the 128 bytes that a function may use there without moving it
/// (System V ABI for x86-64, 3.2.2).
const BELOW: u64 = 256;

/// A buffer that is too small fails the call before 6.4; the statistics are some lines.
const LOG_SIZE: u32 = 16 * 1024;

/// What is put back when the call is over.
struct Changed {
    attr: u64,
    log: [u8; attr::LOG_BYTES],
    buffer: u64,
    name: String,
}

/// Has the program stop for [`watch`] before it begins.
pub(super) fn trace(command: &mut Command) {
    // SAFETY: a plain system call between fork and exec.
    unsafe {
        command.pre_exec(|| ptrace(libc::PTRACE_TRACEME, 0, 0, 0).map(drop));
    }
}

/// Watches it to its end, or ends it; `found` gets the name and the number of each program that the
/// kernel took. Gives the exit code and whether the time was over.
pub(super) fn watch(
    child: &Child,
    limit: Duration,
    found: &mut dyn FnMut(String, u64),
) -> Result<(Option<i32>, bool)> {
    let main = i32::try_from(child.id()).context("not a process id")?;
    let mut changed: BTreeMap<i32, Changed> = BTreeMap::new();
    let mut begun = false;
    // Waited for without looking at the clock, since every system call stops it twice; so another
    // thread looks.
    let (over, told) = mpsc::channel::<()>();
    let timed_out = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&timed_out);
    std::thread::spawn(move || {
        if told.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            flag.store(true, Ordering::Relaxed);
            // SAFETY: a plain system call; the process is our child and not yet waited for.
            unsafe { libc::kill(main, libc::SIGKILL) };
        }
    });
    loop {
        let (thread, status) = wait()?;
        let mut pass_on = 0;
        match status {
            Ended::Gone(code) if thread == main => {
                drop(over);
                return Ok((code, timed_out.load(Ordering::Relaxed)));
            }
            Ended::Gone(_) => {
                changed.remove(&thread);
                continue;
            }
            Ended::Stopped(signal) if signal == libc::SIGTRAP | 0x80 => {
                if let Err(error) = at_call(thread, &mut changed, found) {
                    bail!("cannot look at a system call: {error:#}");
                }
            }
            // Its first stop is that after exec.
            Ended::Stopped(libc::SIGTRAP) if !begun && thread == main => {
                begun = true;
                let options = libc::PTRACE_O_TRACESYSGOOD
                    | libc::PTRACE_O_TRACECLONE
                    | libc::PTRACE_O_EXITKILL;
                ptrace(libc::PTRACE_SETOPTIONS, thread, 0, options as usize)?;
            }
            // New threads begin with a stop; a clone is told with a trap.
            Ended::Stopped(libc::SIGTRAP | libc::SIGSTOP) => {}
            Ended::Stopped(signal) => pass_on = signal,
        }
        // Fails if it was killed meanwhile, which the next wait tells.
        let _ = ptrace(libc::PTRACE_SYSCALL, thread, 0, pass_on as usize);
    }
}

/// At the beginning of a load the buffer is put in, at its end it is read.
fn at_call(
    thread: i32,
    changed: &mut BTreeMap<i32, Changed>,
    found: &mut dyn FnMut(String, u64),
) -> Result<()> {
    let Some(call) = syscall(thread)? else {
        return Ok(());
    };
    match call {
        Call::Entry {
            number,
            args: [command, attr, size],
            stack,
        } => {
            let load = number == libc::SYS_bpf && command == BPF_PROG_LOAD;
            if load && size >= attr::LONG_ENOUGH {
                let memory = memory(thread)?;
                let mut log = [0; attr::LOG_BYTES];
                memory.read_exact_at(&mut log, attr + attr::LOG)?;
                let mut name = [0; 16];
                memory.read_exact_at(&mut name, attr + attr::NAME)?;
                let buffer = (stack - BELOW - u64::from(LOG_SIZE)) & !15;
                memory.write_all_at(&[0; 64], buffer)?;
                memory.write_all_at(&request(buffer), attr + attr::LOG)?;
                let end = name.iter().position(|byte| *byte == 0);
                let name = String::from_utf8_lossy(&name[..end.unwrap_or(name.len())]);
                let name = name.into_owned();
                changed.insert(
                    thread,
                    Changed {
                        attr,
                        log,
                        buffer,
                        name,
                    },
                );
            }
        }
        Call::Exit { result } => {
            if let Some(load) = changed.remove(&thread) {
                let memory = memory(thread)?;
                memory.write_all_at(&load.log, load.attr + attr::LOG)?;
                let mut log = vec![0; 4096];
                let read = memory.read_at(&mut log, load.buffer)?;
                log.truncate(read);
                // The loader's own questions to the kernel have no name, or one that says so.
                let ours = !load.name.is_empty() && !load.name.starts_with("aya_");
                if let Some(instructions) = processed(&log)
                    && result >= 0
                    && ours
                {
                    found(load.name, instructions);
                }
            }
        }
    }
    Ok(())
}

/// `log_level`, `log_size` and `log_buf` as they lie in memory.
fn request(buffer: u64) -> [u8; attr::LOG_BYTES] {
    let mut bytes = [0; attr::LOG_BYTES];
    bytes[..4].copy_from_slice(&BPF_LOG_STATS.to_ne_bytes());
    bytes[4..8].copy_from_slice(&LOG_SIZE.to_ne_bytes());
    bytes[8..].copy_from_slice(&buffer.to_ne_bytes());
    bytes
}

/// The number in `processed 1234 insns (limit 1000000) max_states_per_insn 4 …`.
fn processed(log: &[u8]) -> Option<u64> {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let log = String::from_utf8_lossy(&log[..end]);
    let rest = log.lines().find_map(|line| line.strip_prefix("processed "));
    rest?.split(' ').next()?.parse().ok()
}

/// The memory of a thread that stands still.
fn memory(thread: i32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/{thread}/mem"))
}

enum Call {
    Entry {
        number: i64,
        args: [u64; 3],
        stack: u64,
    },
    Exit {
        result: i64,
    },
}

/// The system call that a thread stands at.
fn syscall(thread: i32) -> Result<Option<Call>> {
    // SAFETY: all zeros are a value of this structure of integers.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::ptrace_syscall_info>();
    let at = ptr::from_mut(&mut info);
    ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, at as usize)?;
    Ok(match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: `op` says which part of the union the kernel filled in.
            let entry = unsafe { info.u.entry };
            let [command, attr, size, ..] = entry.args;
            Some(Call::Entry {
                number: i64::try_from(entry.nr).unwrap_or(-1),
                args: [command, attr, size],
                stack: info.stack_pointer,
            })
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            // SAFETY: as above.
            let exit = unsafe { info.u.exit };
            Some(Call::Exit { result: exit.sval })
        }
        _ => None,
    })
}

enum Ended {
    /// With this exit code, or by a signal.
    Gone(Option<i32>),
    Stopped(i32),
}

/// What happened next to a thread of a traced process.
fn wait() -> Result<(i32, Ended)> {
    let mut status = 0;
    // Only children of this thread, which is the tracer: others may wait for theirs.
    // SAFETY: the pointer is to an integer of ours.
    let thread = unsafe {
        libc::waitpid(
            -1,
            &raw mut status,
            libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG,
        )
    };
    if thread < 0 {
        return Err(io::Error::last_os_error()).context("cannot wait for a traced process");
    }
    Ok((
        thread,
        if libc::WIFSTOPPED(status) {
            Ended::Stopped(libc::WSTOPSIG(status))
        } else {
            let exited = libc::WIFEXITED(status);
            Ended::Gone(exited.then(|| libc::WEXITSTATUS(status)))
        },
    ))
}

fn ptrace(request: libc::c_uint, thread: i32, addr: usize, data: usize) -> io::Result<i64> {
    // SAFETY: none of the requests that are made here writes to memory of ours, but for
    // `PTRACE_GET_SYSCALL_INFO`, whose caller hands over a structure and its size.
    let result = unsafe { libc::ptrace(request, thread, addr, data) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics() {
        for (log, expected) in [
            (
                &b"processed 1234 insns (limit 1000000) max_states_per_insn 4 total_states 83\n\0junk"[..],
                Some(1234),
            ),
            (
                b"verification time 71 usec\nstack depth 24+0\nprocessed 9 insns (limit 1000000)\n",
                Some(9),
            ),
            (b"\0processed 9 insns", None),
            (b"processed x insns", None),
            (b"", None),
        ] {
            assert_eq!(processed(log), expected);
        }
    }

    #[test]
    fn the_log_fields_of_a_call() {
        let bytes = request(0x7fff_0000_1234_5670);
        assert_eq!(bytes[..8], [4, 0, 0, 0, 0, 0x40, 0, 0]);
        assert_eq!(bytes[8..], [0x70, 0x56, 0x34, 0x12, 0, 0, 0xff, 0x7f]);
    }

    #[test]
    fn a_program_is_watched_to_its_end() {
        let mut command = Command::new("sh");
        trace(command.args(["-c", "exit 3"]));
        let child = match command.spawn() {
            Ok(child) => child,
            // A container may forbid it.
            Err(_) => return,
        };
        let none = &mut |name, _| panic!("{name}");
        let ended = watch(&child, Duration::from_secs(20), none).unwrap();
        assert_eq!(ended, (Some(3), false));

        let mut command = Command::new("sleep");
        trace(command.arg("60"));
        #[expect(clippy::zombie_processes, reason = "waited for by number")]
        let child = command.spawn().unwrap();
        let ended = watch(&child, Duration::from_millis(300), none).unwrap();
        assert_eq!(ended, (None, true));
    }
}
