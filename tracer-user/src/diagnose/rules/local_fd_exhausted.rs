//! The proxy had no file descriptor left for a connection.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{Fact, NEVER_SENT};
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule};

/// This many descriptors come and go between the failure and the look at the process.
const NEAR: u64 = 16;

pub(super) const RULE: Rule = Rule {
    id: "local-fd-exhausted",
    title: "The proxy had no file descriptor left",
    explanation: "The proxy answered with an error without any connection to a backend while its \
        process had as many files and sockets open as it may have: socket() fails with errno 24 \
        (EMFILE). Each proxied request needs two descriptors.",
    evidence: &[
        "an error response without any backend connection",
        "the process had (almost) as many descriptors open as its limit (RLIMIT_NOFILE) allows",
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
    let around = &context.alone()?.around;
    let in_use = around.in_use?;
    let (open, limit) = (in_use.descriptors?, in_use.descriptor_limit?);
    if open.saturating_add(NEAR) < limit || open < limit / 2 {
        return None;
    }
    let text = format!(
        "process {} had {open} of {limit} descriptors open",
        in_use.pid
    );
    Some(Finding {
        ended_by: EndedBy::Proxy,
        how: How::NoConnection,
        what: format!("the proxy made no connection to a backend and {text}"),
        delivery: NEVER_SENT.to_owned(),
        facts: vec![Fact::new("descriptors", text)],
    })
}

#[cfg(test)]
mod tests {
    use crate::diagnose::judge;
    use crate::diagnose::testing::{alone, in_use};
    use crate::event::ProxyKind;

    #[test]
    fn near_the_limit() {
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
