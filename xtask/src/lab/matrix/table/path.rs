//! Rows in which the path between proxy and backend is at fault.

use super::{BASE, TRUNCATED};
use crate::lab::matrix::plan::{Expect, Impossible, Make, Marks, Method, Row, Variant, Way};

const HOLE: Expect = Expect::Rule(&["mtu-black-hole"]);
const LOSS: Expect = Expect::Rule(&["packet-loss"]);
const RESET: Expect = Expect::Rule(&["path-reset"]);

const TIMEOUT_MARKS: Marks = Marks {
    nginx: &["upstream timed out (110:"],
    haproxy: &[" 504 …sH"],
    envoy: &["504…UT", "UT…504"],
    apache: &["(70007)…AH01102"],
};

const TOLD: Variant = Variant {
    way: Way::MtuTold,
    outcomes: &[],
    ..BASE
};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "E33",
        variants: &[
            Variant {
                name: "request",
                way: Way::MtuRequest,
                method: Method::Upload(20),
                local: HOLE,
                remote: HOLE,
                marks: TIMEOUT_MARKS,
                ..BASE
            },
            Variant {
                name: "response",
                way: Way::MtuResponse,
                // A whole number of segments and a smaller one, which arrives and shows the hole.
                make: Make::Ask {
                    fault: "ok?bytes=6200",
                    after: (0, 1),
                },
                local: HOLE,
                remote: HOLE,
                marks: TIMEOUT_MARKS,
                ..BASE
            },
            Variant {
                name: "body",
                way: Way::MtuResponse,
                // The head and a little of the body are small enough.
                make: Make::Ask {
                    fault: "drip?length=7000&sent=300&pause=60",
                    after: (0, 1),
                },
                method: Method::Get,
                local: HOLE,
                remote: HOLE,
                outcomes: TRUNCATED,
                ..BASE
            },
            Variant {
                name: "toldrequest",
                method: Method::Upload(20),
                ..TOLD
            },
            Variant {
                name: "toldresponse",
                make: Make::Ask {
                    fault: "ok?bytes=60000",
                    after: (0, 1),
                },
                ..TOLD
            },
        ],
    },
    Row {
        id: "E34",
        variants: &[
            Variant {
                name: "request",
                way: Way::LossyRequest,
                local: LOSS,
                remote: LOSS,
                marks: TIMEOUT_MARKS,
                ..BASE
            },
            Variant {
                name: "response",
                way: Way::LossyResponse,
                local: LOSS,
                // What another host sends and nobody gets leaves no trace here.
                remote: Expect::Rule(&["packet-loss", "response-timeout"]),
                marks: TIMEOUT_MARKS,
                ..BASE
            },
        ],
    },
    Row {
        id: "E35",
        variants: &[
            Variant {
                name: "request",
                way: Way::Reset,
                local: RESET,
                // Without the backend's half a reset is a reset.
                remote: Expect::Rule(&["path-reset", "rst-before-response"]),
                marks: Marks {
                    nginx: &["failed (104:"],
                    haproxy: &[" 502 …SH"],
                    envoy: &["UC"],
                    apache: &["(104)…AH01102"],
                },
                ..BASE
            },
            Variant {
                name: "body",
                make: Make::ResetInBody,
                method: Method::Get,
                local: RESET,
                remote: Expect::Rule(&["path-reset", "body-truncated-rst"]),
                outcomes: TRUNCATED,
                marks: Marks {
                    nginx: &["failed (104:…reading upstream"],
                    haproxy: &[" 200 …SD"],
                    envoy: &["UC", "UPE"],
                    apache: &["AH01110"],
                },
                ..BASE
            },
        ],
    },
];

pub(super) const IMPOSSIBLE: &[Impossible] = &[];
