//! A deeper cause: stands beside the rule that says how the connection ended.

use crate::diagnose::{Advice, Confusion, Rule, process_end};

pub(super) const RULE: Rule = Rule {
    id: process_end::RESTART,
    title: "The backend was stopped or restarted with requests in flight",
    explanation: "A process of the backend was asked to stop, or ended by itself with exit code 0, and took its connections with it before the requests on them were answered: a deploy, a reload, a recycled worker.",
    evidence: &[
        "the backend runs on this host (or why502 runs on the backend's host with --role backend)",
        "the process that owned the connection, or the last one that listened, ended by SIGTERM, SIGHUP, SIGINT or SIGQUIT, or with exit code 0, just before the FIN, the RST or the refusal",
    ],
    confused_with: &[Confusion {
        with: "backend-process-exit",
        difference: "there a crash, a kill, or an exit code other than 0 ended it",
    }],
    remedies: &[
        Advice {
            target: "backend",
            change: "on SIGTERM: stop listening, finish what is under way, close idle connections, then exit; give it as long as the longest request takes (systemd TimeoutStopSec, Kubernetes terminationGracePeriodSeconds with a preStop sleep)",
            why: "requests that were taken are answered before the process goes",
        },
        Advice {
            target: "nginx",
            change: "proxy_next_upstream error timeout; remove the server before it is stopped (down, and reload)",
            why: "no new request reaches a server that is about to stop",
        },
        Advice {
            target: "haproxy",
            change: "set server be/app state drain before the stop",
            why: "as above",
        },
        Advice {
            target: "envoy",
            change: "health check failure or EDS draining before the stop; retry policy with connect-failure",
            why: "as above",
        },
        Advice {
            target: "apache",
            change: "balancer-manager: drain the member before the stop",
            why: "as above",
        },
    ],
    confirm: &[
        "journalctl -u UNIT: Stopping, Stopped and Started at that second",
        "kubectl get events: Killing; the deploy log",
        "ss -ltnp 'sport = :PORT': the process id and its age (ps -o lstart= -p PID)",
    ],
    // Never asked alone: `judge` puts it behind another rule.
    decide: |_| None,
};
