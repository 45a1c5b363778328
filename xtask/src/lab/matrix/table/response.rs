//! Rows in which the request went out and no response head came, or too late, or half of one.

use super::{ALL, BASE, ERROR_OR_HIDDEN, UNCHECKED};
use crate::lab::matrix::plan::{Expect, Impossible, Kill, Make, Marks, Method, Row, Variant, Way};
use crate::lab::proxy::Kind;

pub(super) const FIN: Expect = Expect::Rule(&["fin-before-response"]);
pub(super) const RST: Expect = Expect::Rule(&["rst-before-response"]);
pub(super) const TIMEOUT: Expect = Expect::Rule(&["response-timeout"]);
const UNREAD: Expect = Expect::Rule(&["rst-before-response", "request-body-rejected"]);
const PARTIAL: Expect = Expect::Rule(&["partial-header"]);
pub(super) const RACE: Expect = Expect::Rule(&["keepalive-race"]);
/// A socket whose FIN got lost, one that a device on the way has forgotten, and one that a program
/// aborted answer the next request alike: with a reset out of nowhere. The proxy's host cannot know.
const BARE_RESET: Expect = Expect::Rule(&[
    "keepalive-race",
    "idle-drop-by-middlebox",
    "rst-before-response",
]);
const EXIT: Expect = Expect::Because(
    &["fin-before-response", "rst-before-response"],
    &["backend-process-exit", "backend-restart"],
);

pub(super) const FIN_MARKS: Marks = Marks {
    nginx: &["upstream prematurely closed connection…response header"],
    haproxy: &[" 502 …SH"],
    envoy: &["503…UC", "UC…503"],
    apache: &["AH01102"],
};

pub(super) const RST_MARKS: Marks = Marks {
    nginx: &["recv() failed (104:…response header"],
    haproxy: &[" 502 …SH"],
    envoy: &["503…UC", "UC…503"],
    apache: &["(104)…AH01102"],
};

pub(super) const TIMEOUT_MARKS: Marks = Marks {
    nginx: &["upstream timed out (110:…response header"],
    haproxy: &[" 504 …sH"],
    envoy: &["504…UT", "UT…504"],
    apache: &["(70007)…AH01102"],
};

/// On a kept connection HAProxy drops the request without a line, and Apache with nothing but an
/// access line, whatever ended it.
pub(super) const REUSED_MARKS: Marks = Marks {
    nginx: &["failed (104:", "failed (32:", "prematurely closed"],
    haproxy: &["", " 502 …SH"],
    envoy: &["503…UC", "UC…503"],
    apache: &["AH01102", "HTTP/1.1\" "],
};

const PARTIAL_MARKS: Marks = Marks {
    nginx: &[
        "prematurely closed…response header",
        "failed (104:…response header",
    ],
    haproxy: &[" 502 …SH"],
    envoy: &["UPE", "UC"],
    apache: &["AH10404", "AH01106"],
};

const REUSED: Variant = Variant {
    way: Way::Pooled,
    outcomes: ERROR_OR_HIDDEN,
    marks: REUSED_MARKS,
    ..BASE
};

const DIES: Variant = Variant {
    way: Way::Mortal,
    local: EXIT,
    remote: FIN,
    marks: FIN_MARKS,
    ..BASE
};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "E15",
        variants: &[
            Variant {
                name: "lostfin",
                make: Make::LostFin { idle: (0, 1500) },
                local: RACE,
                remote: BARE_RESET,
                ..REUSED
            },
            Variant {
                name: "crossing",
                make: Make::Race,
                // A GET may be sent again, and then nobody could tell that they had met.
                method: Method::Post,
                local: RACE,
                // When the request comes just before the close there is no FIN: the close makes a
                // reset of it, as a program would that aborts.
                remote: Expect::Rule(&["keepalive-race", "rst-before-response"]),
                ..REUSED
            },
        ],
    },
    Row {
        id: "E16",
        variants: &[
            Variant {
                name: "reset",
                make: Make::IdleReset { idle: (1100, 2500) },
                local: Expect::Rule(&["idle-drop-by-middlebox"]),
                remote: BARE_RESET,
                ..REUSED
            },
            Variant {
                name: "silent",
                make: Make::IdleLoss { idle: (1100, 2500) },
                local: Expect::Rule(&["idle-drop-by-middlebox"]),
                // Two seconds of silence are no long gap, and the backend's half is not seen.
                remote: Expect::Rule(&["idle-drop-by-middlebox", "packet-loss"]),
                marks: TIMEOUT_MARKS,
                ..REUSED
            },
        ],
    },
    Row {
        id: "E17",
        variants: &[
            Variant {
                name: "fresh",
                make: Make::Ask {
                    fault: "fin",
                    after: (0, 120),
                },
                local: FIN,
                remote: FIN,
                marks: FIN_MARKS,
                ..BASE
            },
            Variant {
                name: "reused",
                make: Make::Reused {
                    fault: "fin",
                    after: (0, 120),
                },
                local: FIN,
                remote: FIN,
                ..REUSED
            },
        ],
    },
    Row {
        id: "E18",
        variants: &[
            Variant {
                name: "fresh",
                make: Make::Ask {
                    fault: "rst",
                    after: (0, 120),
                },
                local: RST,
                remote: RST,
                marks: RST_MARKS,
                ..BASE
            },
            Variant {
                name: "reused",
                make: Make::Reused {
                    fault: "rst",
                    after: (0, 120),
                },
                local: RST,
                remote: RST,
                ..REUSED
            },
            Variant {
                name: "unread",
                make: Make::Ask {
                    fault: "unread",
                    after: (5, 100),
                },
                method: Method::Upload(20),
                // The body lies in the backend's kernel when it closes: an abortive end, and a
                // body that was not taken. Both are true.
                local: UNREAD,
                remote: UNREAD,
                marks: RST_MARKS,
                ..BASE
            },
        ],
    },
    Row {
        id: "E19",
        variants: &[
            Variant {
                name: "segv",
                make: Make::Ask {
                    fault: "die?how=segv",
                    after: (0, 60),
                },
                ..DIES
            },
            Variant {
                name: "abort",
                make: Make::Ask {
                    fault: "die?how=abort",
                    after: (0, 60),
                },
                short: false,
                ..DIES
            },
            Variant {
                name: "exit",
                make: Make::Ask {
                    fault: "die?how=exit",
                    after: (0, 60),
                },
                short: false,
                ..DIES
            },
            Variant {
                name: "killed",
                make: Make::Kill {
                    signal: Kill::Kill,
                    after: (20, 200),
                },
                ..DIES
            },
            Variant {
                name: "restart",
                make: Make::Kill {
                    signal: Kill::Term,
                    after: (20, 200),
                },
                short: false,
                ..DIES
            },
            Variant {
                name: "body",
                make: Make::Ask {
                    fault: "die-body?how=segv",
                    after: (5, 60),
                },
                local: Expect::Because(
                    &["body-truncated-fin", "body-truncated-rst"],
                    &["backend-process-exit", "backend-restart"],
                ),
                remote: Expect::Rule(&["body-truncated-fin"]),
                outcomes: &["truncated"],
                marks: UNCHECKED,
                ..DIES
            },
        ],
    },
    Row {
        id: "E20",
        variants: &[
            Variant {
                name: "fresh",
                make: Make::Ask {
                    fault: "hang",
                    after: (0, 1),
                },
                local: TIMEOUT,
                remote: TIMEOUT,
                marks: TIMEOUT_MARKS,
                ..BASE
            },
            Variant {
                name: "reused",
                way: Way::Pooled,
                make: Make::Reused {
                    fault: "hang",
                    after: (0, 1),
                },
                local: TIMEOUT,
                remote: TIMEOUT,
                marks: TIMEOUT_MARKS,
                short: false,
                ..BASE
            },
        ],
    },
    Row {
        id: "E21",
        variants: &[Variant {
            name: "closes",
            make: Make::Ask {
                fault: "unread",
                after: (20, 150),
            },
            method: Method::Upload(16 << 10),
            local: Expect::Rule(&["request-body-rejected"]),
            remote: Expect::Rule(&["request-body-rejected"]),
            // HAProxy goes without a word while the client is still sending.
            outcomes: &["error-response", "dropped"],
            marks: Marks {
                nginx: &["failed (104:", "failed (32:"],
                haproxy: &["SH", "SD"],
                envoy: &["UC"],
                apache: &["AH01097", "AH01084", "AH01102"],
            },
            ..BASE
        }],
    },
    Row {
        id: "E22",
        variants: &[Variant {
            name: "continue",
            proxies: &[Kind::Haproxy, Kind::Envoy, Kind::Apache],
            make: Make::Ask {
                fault: "100-fin",
                after: (0, 1),
            },
            local: Expect::Rule(&["informational-only-response"]),
            remote: Expect::Rule(&["informational-only-response"]),
            marks: Marks {
                nginx: &[],
                haproxy: &[" 502 …SH"],
                envoy: &["UPE", "UC"],
                apache: &["AH01102", "AH01106", "AH10404"],
            },
            ..BASE
        }],
    },
    Row {
        id: "E23",
        variants: &[
            Variant {
                name: "fin",
                make: Make::Ask {
                    fault: "partial-header",
                    after: (0, 1),
                },
                local: PARTIAL,
                remote: PARTIAL,
                marks: PARTIAL_MARKS,
                ..BASE
            },
            Variant {
                name: "reset",
                make: Make::Ask {
                    fault: "partial-header-rst",
                    after: (10, 80),
                },
                local: PARTIAL,
                remote: PARTIAL,
                marks: PARTIAL_MARKS,
                ..BASE
            },
        ],
    },
    Row {
        id: "E36",
        variants: &[
            Variant {
                name: "a502",
                make: Make::Ask {
                    fault: "502",
                    after: (0, 1),
                },
                local: Expect::Rule(&["application-502"]),
                remote: Expect::Rule(&["application-502"]),
                marks: Marks {
                    nginx: &["\"status\":\"502\"…\"upstream_status\":\"502\""],
                    haproxy: &[" 502 …----", " 502 …--"],
                    envoy: &["via_upstream"],
                    apache: &[" 502 "],
                },
                ..BASE
            },
            Variant {
                name: "a503kept",
                way: Way::Pooled,
                make: Make::Reused {
                    fault: "503",
                    after: (0, 1),
                },
                local: Expect::Rule(&["application-502"]),
                remote: Expect::Rule(&["application-502"]),
                marks: Marks {
                    nginx: &["\"status\":\"503\"…\"upstream_status\":\"503\""],
                    haproxy: &[" 503 …--"],
                    envoy: &["via_upstream"],
                    apache: &[" 503 "],
                },
                ..BASE
            },
        ],
    },
    Row {
        id: "E37",
        variants: &[
            Variant {
                name: "fin",
                // HAProxy and Apache take a FIN for a client that has only finished sending, and
                // send the response.
                proxies: &[Kind::Nginx, Kind::Envoy],
                make: Make::Leave {
                    reset: false,
                    after: (20, 300),
                },
                outcomes: LEFT,
                ..BASE
            },
            Variant {
                name: "reset",
                proxies: ALL,
                make: Make::Leave {
                    reset: true,
                    after: (20, 300),
                },
                outcomes: LEFT,
                ..BASE
            },
        ],
    },
];

/// There is nobody to get anything.
const LEFT: &[&str] = &["dropped", "truncated", "error-response"];

pub(super) const IMPOSSIBLE: &[Impossible] = &[Impossible {
    id: "E22",
    variant: "",
    kind: Kind::Nginx,
    reason: "before 1.29 it takes an interim response for the final one and passes it on",
}];
