//! The places in the kernel that the programs attach to, and what stands in for those that a kernel
//! lacks: a table, read by the loader and by `doctor`.

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tracepoint, its arguments as the kernel passes them.
    RawTracepoint,
    /// The same, its arguments typed.
    BtfTracepoint,
    /// The beginning of a kernel function, by way of a trampoline.
    FEntry,
    /// The return of a kernel function, by way of a trampoline.
    FExit,
    /// The beginning of a kernel function, by way of a breakpoint.
    KProbe,
    /// The return of a kernel function, by way of a changed return address.
    KRetProbe,
}

impl Kind {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RawTracepoint => "raw_tracepoint",
            Self::BtfTracepoint => "btf_tracepoint",
            Self::FEntry => "fentry",
            Self::FExit => "fexit",
            Self::KProbe => "kprobe",
            Self::KRetProbe => "kretprobe",
        }
    }
}

/// One program at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// How it is attached.
    pub kind: Kind,
    /// The program.
    pub program: &'static str,
    /// The tracepoint, or the function.
    pub target: &'static str,
    /// Names of the function's parameters, as the program expects them; empty for a tracepoint, whose
    /// arguments are looked up one by one.
    pub parameters: &'static [&'static str],
    /// Does the way work without it, where the kernel has no such place?
    pub optional: bool,
}

/// What tells the programs of one kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The tracepoint's name.
    pub name: &'static str,
    /// Is a capture without it useless?
    pub required: bool,
    /// What is lost without it.
    pub without: &'static str,
    /// The tracepoint, and what can stand in for it; the first that works is used.
    pub ways: &'static [&'static [Site]],
}

const fn tracepoint(name: &'static str) -> Site {
    Site {
        kind: Kind::RawTracepoint,
        program: name,
        target: name,
        parameters: &[],
        optional: false,
    }
}

const fn function(kind: Kind, program: &'static str, function: &Function) -> Site {
    Site {
        kind,
        program,
        target: function.name,
        parameters: function.parameters,
        optional: false,
    }
}

const fn optional(site: Site) -> Site {
    Site {
        optional: true,
        ..site
    }
}

/// A kernel function that a program attaches to.
struct Function {
    name: &'static str,
    parameters: &'static [&'static str],
}

// The socket layer calls these for every socket of IPv4 and IPv6, whatever protocol is above (TCP, the
// kernel's TLS, UDP), and each byte passes one of them once.
// <https://github.com/torvalds/linux/blob/v5.10/net/ipv4/af_inet.c>,
// <https://github.com/torvalds/linux/blob/v5.10/net/ipv6/af_inet6.c>
const SEND: Function = Function {
    name: "inet_sendmsg",
    parameters: &["sock", "msg", "size"],
};
const SEND6: Function = Function {
    name: "inet6_sendmsg",
    ..SEND
};
/// `sendfile` and `splice` into a socket, of IPv6 too; gone with 6.5.
const SENDPAGE: Function = Function {
    name: "inet_sendpage",
    parameters: &["sock", "page", "offset", "size", "flags"],
};
const RECV: Function = Function {
    name: "inet_recvmsg",
    parameters: &["sock", "msg", "size", "flags"],
};
const RECV6: Function = Function {
    name: "inet6_recvmsg",
    ..RECV
};
const ERROR_REPORT: Function = Function {
    name: "sock_def_error_report",
    parameters: &["sk"],
};

/// Every hook of the programs.
pub const HOOKS: &[Hook] = &[
    Hook {
        name: "sock_send_length",
        required: true,
        without: "requests to backends and responses to clients are not seen",
        ways: &[
            &[
                tracepoint("sock_send_length"),
                // In 6.3 and 6.4 the tracepoint does not see what sendfile moves.
                optional(function(Kind::FExit, "sendpage_exit", &SENDPAGE)),
            ],
            &[
                function(Kind::FExit, "send_exit", &SEND),
                optional(function(Kind::FExit, "send_exit", &SEND6)),
                optional(function(Kind::FExit, "sendpage_exit", &SENDPAGE)),
            ],
            &[
                function(Kind::KProbe, "send_enter", &SEND),
                function(Kind::KRetProbe, "send_return", &SEND),
                optional(function(Kind::KProbe, "send_enter", &SEND6)),
                optional(function(Kind::KRetProbe, "send_return", &SEND6)),
                optional(function(Kind::KProbe, "send_enter", &SENDPAGE)),
                optional(function(Kind::KRetProbe, "send_return", &SENDPAGE)),
            ],
        ],
    },
    Hook {
        name: "sock_recv_length",
        required: true,
        without: "responses of backends and requests of clients are not seen",
        ways: &[
            &[tracepoint("sock_recv_length")],
            &[
                function(Kind::FExit, "recv_exit", &RECV),
                optional(function(Kind::FExit, "recv_exit", &RECV6)),
            ],
            &[
                function(Kind::KProbe, "recv_enter", &RECV),
                function(Kind::KRetProbe, "recv_return", &RECV),
                optional(function(Kind::KProbe, "recv_enter", &RECV6)),
                optional(function(Kind::KRetProbe, "recv_return", &RECV6)),
            ],
        ],
    },
    Hook {
        name: "inet_sock_set_state",
        required: true,
        without: "connections are not seen to open and close",
        ways: &[&[tracepoint("inet_sock_set_state")]],
    },
    Hook {
        name: "tcp_send_reset",
        required: false,
        without: "resets that this host sends are not seen, nor their reason",
        ways: &[&[tracepoint("tcp_send_reset")]],
    },
    Hook {
        name: "tcp_receive_reset",
        required: false,
        without: "a peer's reset is told from other errors only by the error code",
        ways: &[&[tracepoint("tcp_receive_reset")]],
    },
    Hook {
        name: "tcp_retransmit_skb",
        required: false,
        without: "retransmissions are not counted",
        ways: &[&[tracepoint("tcp_retransmit_skb")]],
    },
    Hook {
        name: "tcp_destroy_sock",
        required: false,
        without: "ended connections leave the table late, when it is full",
        ways: &[&[tracepoint("tcp_destroy_sock")]],
    },
    Hook {
        name: "inet_sk_error_report",
        required: false,
        without: "timeouts and unreachable networks are told only by the error code",
        ways: &[
            &[tracepoint("inet_sk_error_report")],
            &[function(Kind::FEntry, "error_report_entry", &ERROR_REPORT)],
            &[function(Kind::KProbe, "error_report_enter", &ERROR_REPORT)],
        ],
    },
    Hook {
        name: "sched_process_fork",
        required: false,
        without: "workers started during a capture are not traced",
        ways: &[&[tracepoint("sched_process_fork")]],
    },
    Hook {
        name: "sched_process_exec",
        required: false,
        without: "a proxy started during a capture is not traced",
        ways: &[&[tracepoint("sched_process_exec")]],
    },
    Hook {
        name: "sched_process_exit",
        required: false,
        without: "the end of a proxy's or a local backend's process is not seen",
        ways: &[&[tracepoint("sched_process_exit")]],
    },
    Hook {
        name: "mark_victim",
        required: false,
        without: "a process that is killed for want of memory looks like any other that is killed",
        ways: &[&[tracepoint("mark_victim")]],
    },
];

/// What stands in for [`PAYLOAD`] while tracing stands by. Not among [`HOOKS`]: it is there only then.
pub const STANDBY: Hook = Hook {
    name: "sock_send_length",
    required: true,
    without: "tracing cannot stand by",
    ways: &[&[Site {
        kind: Kind::BtfTracepoint,
        program: "standby_send",
        ..tracepoint("sock_send_length")
    }]],
};

/// Those of [`HOOKS`] that tell of payload: without them healthy traffic costs next to nothing.
pub const PAYLOAD: [&str; 2] = ["sock_send_length", "sock_recv_length"];

/// The places of a way, in words: `fexit inet_sendmsg, inet6_sendmsg`.
pub fn describe<'a>(sites: impl IntoIterator<Item = &'a Site>) -> String {
    let mut text = String::new();
    let mut last = None;
    for site in sites {
        let kind = match site.kind {
            Kind::RawTracepoint | Kind::BtfTracepoint => "tracepoint",
            // One of a pair.
            Kind::KRetProbe => continue,
            kind => kind.name(),
        };
        if last != Some(kind) {
            let separator = if text.is_empty() { "" } else { "; " };
            text.push_str(separator);
            text.push_str(kind);
            text.push(' ');
        } else {
            text.push_str(", ");
        }
        text.push_str(site.target);
        last = Some(kind);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_way_is_the_tracepoint_of_that_name() {
        for hook in HOOKS {
            let first = hook.ways[0][0];
            assert_eq!(first.kind, Kind::RawTracepoint);
            assert_eq!((first.program, first.target), (hook.name, hook.name));
        }
    }

    #[test]
    fn a_way_needs_one_place_at_least() {
        for way in HOOKS.iter().flat_map(|hook| hook.ways) {
            assert!(way.iter().any(|site| !site.optional), "{way:?}");
        }
    }

    #[test]
    fn in_words() {
        let words: Vec<String> = HOOKS[0].ways.iter().map(|way| describe(*way)).collect();
        assert_eq!(
            words,
            [
                "tracepoint sock_send_length; fexit inet_sendpage",
                "fexit inet_sendmsg, inet6_sendmsg, inet_sendpage",
                "kprobe inet_sendmsg, inet6_sendmsg, inet_sendpage",
            ]
        );
    }
}
