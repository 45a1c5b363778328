//! A deeper cause: stands beside the rule that says how the connection ended.

use crate::diagnose::{Advice, Confusion, Rule, process_end};

pub(super) const RULE: Rule = Rule {
    id: process_end::EXIT,
    title: "The backend's process crashed or was killed",
    explanation: "A process of the backend ended in the same instant as the connection: by a signal, for want of memory, or with an exit code. The kernel closes all its sockets, which looks like a polite FIN from the proxy's end, or a reset where request bytes were unread. Until a new process listens, connections are refused.",
    evidence: &[
        "the backend runs on this host (or why502 runs on the backend's host with --role backend)",
        "the process that owned the connection, or the last one that listened, ended with a signal other than a stop, or with an exit code other than 0, just before the FIN, the RST or the refusal",
    ],
    confused_with: &[
        Confusion {
            with: "fin-before-response",
            difference: "that is what the network alone shows; this is the reason behind it",
        },
        Confusion {
            with: "backend-restart",
            difference: "there the process was asked to stop (SIGTERM, SIGHUP, SIGINT, SIGQUIT) or ended with exit code 0",
        },
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "coredumpctl list; journalctl -k | grep -i 'killed process'; the container's exit code (137 is SIGKILL, 139 is SIGSEGV); raise the memory limit or mend the crash",
            why: "every request in flight on that process is lost with it",
        },
        Advice {
            target: "nginx",
            change: "proxy_next_upstream error timeout; max_fails=1 fail_timeout=10s on the server",
            why: "the next requests go to another server until it is back",
        },
        Advice {
            target: "haproxy",
            change: "check inter 2s fall 2 on-marked-down shutdown-sessions; option redispatch",
            why: "as above",
        },
        Advice {
            target: "envoy",
            change: "outlier_detection on the cluster and a retry policy with connect-failure",
            why: "as above",
        },
        Advice {
            target: "apache",
            change: "a second BalancerMember and retry=5",
            why: "as above",
        },
    ],
    confirm: &[
        "coredumpctl list --since -1h; journalctl -k --since -1h | grep -iE 'segfault|killed process|oom'",
        "docker inspect --format '{{.State.ExitCode}} {{.State.OOMKilled}}' CONTAINER, or kubectl describe pod: Last State",
        "the service manager's log at that second: systemctl status UNIT",
    ],
    // Never asked alone: `judge` puts it behind another rule.
    decide: |_| None,
};
