//! The end of a backend's process as the deeper cause of another verdict.

use super::evidence::Fact;
use super::facts::{AttemptFacts, ProcessEnd};

/// Id of the rule for a process that crashed or was killed.
pub(super) const EXIT: &str = "backend-process-exit";
/// Id of the rule for one that was asked to stop.
pub(super) const RESTART: &str = "backend-restart";

// Numbers of signal(7).
const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGTERM: i32 = 15;

/// The deeper cause of an attempt's end, if its backend's process ended with it.
pub(super) fn cause(attempt: &AttemptFacts) -> Option<(&'static str, Fact)> {
    let end = attempt.process_end?;
    Some((rule(end), Fact::new("process-exit", words(end))))
}

/// Asked to stop, or ended of its own will without an error: a deploy. Anything else is a crash.
fn rule(end: ProcessEnd) -> &'static str {
    let stopped = matches!(end.signal, Some(SIGHUP | SIGINT | SIGQUIT | SIGTERM));
    if !end.oom && (stopped || end.code == Some(0)) {
        RESTART
    } else {
        EXIT
    }
}

fn words(end: ProcessEnd) -> String {
    let pid = end.pid;
    match (end.oom, end.signal, end.code) {
        (true, _, _) => format!(
            "the kernel killed its process {pid} for want of memory (OOM, {})",
            signal(end.signal.unwrap_or(9))
        ),
        (_, Some(number), _) => {
            format!("its process {pid} was ended by {}", signal(number))
        }
        (_, _, Some(0)) => format!("its process {pid} ended by itself with exit code 0"),
        (_, _, Some(code)) => format!("its process {pid} ended with exit code {code}"),
        _ => format!("its process {pid} ended"),
    }
}

/// Name of a signal that ends processes; the numbers are those of x86 and Arm.
fn signal(number: i32) -> String {
    let name = match number {
        SIGHUP => "SIGHUP",
        SIGINT => "SIGINT",
        SIGQUIT => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        SIGTERM => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_and_stops() {
        let end = |code, signal, oom| ProcessEnd {
            pid: 7,
            at_ns: 0,
            code,
            signal,
            oom,
        };
        for (end, id, text) in [
            (
                end(None, Some(11), false),
                EXIT,
                "its process 7 was ended by SIGSEGV",
            ),
            (
                end(None, Some(15), false),
                RESTART,
                "its process 7 was ended by SIGTERM",
            ),
            (
                end(None, Some(9), true),
                EXIT,
                "the kernel killed its process 7 for want of memory (OOM, SIGKILL)",
            ),
            (
                end(Some(0), None, false),
                RESTART,
                "its process 7 ended by itself with exit code 0",
            ),
            (
                end(Some(3), None, false),
                EXIT,
                "its process 7 ended with exit code 3",
            ),
            (
                end(None, Some(64), false),
                EXIT,
                "its process 7 was ended by signal 64",
            ),
        ] {
            assert_eq!((rule(end), words(end).as_str()), (id, text));
        }
    }
}
