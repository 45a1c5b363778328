//! Rows in which no connection comes about.

use super::{BASE, UNCHECKED};
use crate::lab::matrix::plan::{Expect, Impossible, Make, Marks, Method, Row, Variant, Way};
use crate::lab::proxy::Kind;

const REFUSED: Expect = Expect::Rule(&["connect-refused"]);
const TIMEOUT: Expect = Expect::Rule(&["connect-timeout"]);
const UNREACHABLE: Expect = Expect::Rule(&["connect-unreachable"]);

const TIMEOUT_MARKS: Marks = Marks {
    nginx: &["upstream timed out (110:…connecting to upstream"],
    haproxy: &[" 503 …sC"],
    envoy: &["503…UF", "UF…503"],
    apache: &["(70007)…AH00957", "(110)…AH00957"],
};

const UNREACHABLE_MARKS: Marks = Marks {
    nginx: &["(113:"],
    haproxy: &[" 503 …SC"],
    envoy: &["503…UF", "UF…503"],
    apache: &["(113)…AH00957"],
};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "E01",
        variants: &[Variant {
            name: "closed",
            way: Way::Refused,
            local: REFUSED,
            remote: REFUSED,
            marks: Marks {
                nginx: &["connect() failed (111:"],
                haproxy: &[" 503 …SC"],
                envoy: &["503…UF", "UF…503"],
                apache: &["(111)…AH00957"],
            },
            ..BASE
        }],
    },
    Row {
        id: "E02",
        variants: &[Variant {
            name: "dropped",
            way: Way::BlackHole,
            local: TIMEOUT,
            remote: TIMEOUT,
            marks: TIMEOUT_MARKS,
            ..BASE
        }],
    },
    Row {
        id: "E03",
        variants: &[
            Variant {
                name: "icmp",
                way: Way::Unreachable,
                local: UNREACHABLE,
                remote: UNREACHABLE,
                marks: UNREACHABLE_MARKS,
                ..BASE
            },
            Variant {
                name: "arp",
                way: Way::Nobody,
                local: UNREACHABLE,
                remote: UNREACHABLE,
                marks: UNREACHABLE_MARKS,
                ..BASE
            },
        ],
    },
    Row {
        id: "E04",
        variants: &[
            Variant {
                name: "ports",
                way: Way::Narrow,
                make: Make::PortsTaken,
                local: Expect::Rule(&["local-port-exhausted"]),
                remote: Expect::Rule(&["local-port-exhausted"]),
                marks: Marks {
                    nginx: &["(99:"],
                    haproxy: &[" 503 …SC"],
                    envoy: &["UF"],
                    apache: &["(99)…AH00957"],
                },
                ..BASE
            },
            Variant {
                name: "descriptors",
                // Envoy ends itself when it gets no descriptor; Apache's workers belong to another
                // user, whose limits only CAP_SYS_RESOURCE may change.
                proxies: &[Kind::Nginx, Kind::Haproxy],
                way: Way::Narrow,
                make: Make::DescriptorsTaken,
                local: Expect::Rule(&["local-fd-exhausted"]),
                remote: Expect::Rule(&["local-fd-exhausted"]),
                marks: Marks {
                    nginx: &["(24:"],
                    haproxy: &[" 503 …SC", " 503 …RC"],
                    envoy: &[],
                    apache: &["(24)"],
                },
                ..BASE
            },
        ],
    },
    Row {
        id: "E06",
        variants: &[Variant {
            name: "down",
            way: Way::Down,
            make: Make::Again,
            local: Expect::Rule(&["no-backend-available"]),
            remote: Expect::Rule(&["no-backend-available"]),
            marks: Marks {
                nginx: &["no live upstreams"],
                haproxy: &["<NOSRV>… 503 …SC"],
                envoy: &["UH"],
                apache: &["AH01170", "AH01167"],
            },
            ..BASE
        }],
    },
    Row {
        id: "E07",
        variants: &[Variant {
            name: "nxdomain",
            way: Way::Unnamed,
            local: Expect::Rule(&["name-resolution-failed"]),
            remote: Expect::Rule(&["name-resolution-failed"]),
            marks: Marks {
                nginx: &["could not be resolved"],
                haproxy: &["<NOSRV>… 503 …SC"],
                envoy: &["UH", "DF"],
                apache: &["DNS lookup failure"],
            },
            ..BASE
        }],
    },
    Row {
        id: "E08",
        variants: &[Variant {
            name: "full",
            way: Way::Crowded,
            make: Make::Crowd,
            method: Method::Get,
            local: Expect::Rule(&["queue-timeout"]),
            remote: Expect::Rule(&["queue-timeout"]),
            marks: Marks {
                nginx: &["no live upstreams"],
                haproxy: &[" 503 …sQ"],
                envoy: &["UO"],
                // It says nothing but the status.
                apache: &["\" 503 "],
            },
            ..BASE
        }],
    },
    Row {
        id: "E05",
        variants: &[Variant {
            name: "full",
            way: Way::Queue,
            local: Expect::Rule(&["listen-queue-overflow"]),
            // The queue of another host cannot be seen.
            remote: TIMEOUT,
            marks: Marks {
                apache: UNCHECKED.apache,
                ..TIMEOUT_MARKS
            },
            ..BASE
        }],
    },
];

pub(super) const IMPOSSIBLE: &[Impossible] = &[];
