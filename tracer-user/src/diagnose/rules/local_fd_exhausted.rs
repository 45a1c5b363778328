//! The proxy had no file descriptor left for a connection.

use tracer_ebpf::flags;

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{Fact, NEVER_SENT};
use crate::diagnose::facts::AttemptFacts;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule};

/// This many descriptors come and go between the failure and the look at the process.
const NEAR: u64 = 16;

pub(super) const RULE: Rule = Rule {
    id: "local-fd-exhausted",
    title: "The proxy had no file descriptor left",
    explanation: "The proxy could not make a socket for a connection to a backend, because its process \
        has as many files and sockets open as it may have: socket() fails with errno 24 (EMFILE). Each \
        proxied request needs two descriptors.",
    evidence: &[
        "socket() made a TCP socket and took it back within the call: it does so for want of a descriptor only",
        "or: an error response without any backend connection, while the process had (almost) as many \
         descriptors open as its limit (RLIMIT_NOFILE) allows",
    ],
    confused_with: &[
        Confusion {
            with: "local-port-exhausted",
            difference: "there the socket was made and no port was left",
        },
        Confusion {
            with: "queue-timeout",
            difference: "there a limit of the proxy's configuration is reached, not one of the kernel",
        },
    ],
    confirm: &[
        "ls /proc/PID/fd | wc -l, against \"Max open files\" in /proc/PID/limits",
        "the proxy's log: nginx \"(24: Too many open files)\", HAProxy termination state RC, Go \"too many open files\"",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "worker_rlimit_nofile 65536; worker_connections 16384;",
            why: "each proxied request takes two descriptors of its worker",
        },
        Advice {
            target: "haproxy",
            change: "maxconn below half of ulimit-n; leave ulimit-n unset, so that it follows from maxconn",
            why: "HAProxy then queues clients in place of failing them",
        },
        Advice {
            target: "envoy",
            change: "LimitNOFILE=1048576 in its unit; overload manager with downstream connection limits",
            why: "Envoy sets no limit of its own",
        },
        Advice {
            target: "apache",
            change: "LimitNOFILE= in its unit above ServerLimit × ThreadsPerChild × 2",
            why: "each proxied request takes two descriptors of its child process",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let (who, fact) = match context.attempt {
        Some(attempt) => (EndedBy::Kernel, refused(attempt)?),
        None => (EndedBy::Proxy, near_the_limit(context)?),
    };
    Some(Finding {
        ended_by: who,
        how: How::NoConnection,
        what: "the proxy had no file descriptor left for a connection to a backend".to_owned(),
        delivery: NEVER_SENT.to_owned(),
        facts: vec![fact],
    })
}

/// The kernel made a socket and took it back within the same call.
fn refused(attempt: &AttemptFacts) -> Option<Fact> {
    attempt.exchange.has(flags::NO_DESCRIPTOR).then(|| {
        Fact::new(
            "no-descriptor",
            "socket() found no descriptor for a new TCP socket (errno 24, or 23 where the whole host has none left)",
        )
    })
}

fn near_the_limit(context: &Context<'_>) -> Option<Fact> {
    let in_use = context.alone()?.around.in_use?;
    let (open, limit) = (in_use.descriptors?, in_use.descriptor_limit?);
    (open.saturating_add(NEAR) >= limit && open >= limit / 2).then(|| {
        Fact::new(
            "descriptors",
            format!(
                "process {} had {open} of {limit} descriptors open",
                in_use.pid
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::judge;
    use crate::diagnose::testing::{AttemptBuilder, alone, expect, in_use};
    use crate::event::ProxyKind;

    #[test]
    fn socket_failed() {
        let up = |more| {
            AttemptBuilder::connecting().closed(-1).with(|x| {
                x.flags |= flags::NO_SYN | more;
                x.local.set_port(0);
                x.remote.set_port(0);
            })
        };
        expect(
            502,
            up(flags::NO_DESCRIPTOR),
            ("local-fd-exhausted", EndedBy::Kernel, How::NoConnection),
        );
        expect(
            502,
            up(0),
            ("connect-unreachable", EndedBy::Kernel, How::Unreachable),
        );
    }

    #[test]
    fn near_the_limit_of_the_process() {
        for (open, want) in [
            (1024, "local-fd-exhausted"),
            (1010, "local-fd-exhausted"),
            (900, "unexplained"),
        ] {
            let facts = alone(ProxyKind::Haproxy, 503, |around| {
                around.in_use = Some(in_use(0, 0, open));
            });
            assert_eq!(judge(&facts).rule, want, "{open}");
        }
    }
}
