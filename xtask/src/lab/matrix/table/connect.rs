//! Rows in which no connection comes about.

use super::{BASE, UNCHECKED};
use crate::lab::matrix::plan::{Expect, Impossible, Marks, Row, Variant, Way};

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
