//! Rows in which the response began.

use super::{BASE, TRUNCATED};
use crate::lab::matrix::plan::{Expect, Impossible, Make, Marks, Row, Variant};

const FIN: Expect = Expect::Rule(&["body-truncated-fin"]);
const RST: Expect = Expect::Rule(&["body-truncated-rst"]);

const FIN_MARKS: Marks = Marks {
    nginx: &["prematurely closed…reading upstream"],
    haproxy: &[" 200 …SD"],
    envoy: &["UC", "UPE"],
    apache: &["AH01110"],
};

const RST_MARKS: Marks = Marks {
    nginx: &["failed (104:…reading upstream"],
    haproxy: &[" 200 …SD"],
    envoy: &["UC", "UPE"],
    apache: &["AH01110"],
};

const CUT: Variant = Variant {
    outcomes: TRUNCATED,
    ..BASE
};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "E29",
        variants: &[
            Variant {
                name: "fin",
                make: Make::Ask {
                    fault: "body-fin",
                    after: (0, 1),
                },
                local: FIN,
                remote: FIN,
                marks: FIN_MARKS,
                ..CUT
            },
            Variant {
                name: "reset",
                make: Make::Ask {
                    fault: "body-rst",
                    after: (10, 80),
                },
                local: RST,
                remote: RST,
                marks: RST_MARKS,
                ..CUT
            },
            Variant {
                name: "large",
                make: Make::Ask {
                    fault: "body-fin?length=900000&sent=500000",
                    after: (0, 1),
                },
                local: FIN,
                remote: FIN,
                marks: FIN_MARKS,
                short: false,
                ..CUT
            },
            Variant {
                name: "chunked",
                make: Make::Ask {
                    fault: "chunked-fin",
                    after: (0, 1),
                },
                local: FIN,
                remote: FIN,
                marks: FIN_MARKS,
                ..CUT
            },
            Variant {
                name: "chunkedreset",
                make: Make::Ask {
                    fault: "chunked-rst",
                    after: (10, 80),
                },
                local: RST,
                remote: RST,
                marks: RST_MARKS,
                short: false,
                ..CUT
            },
        ],
    },
    Row {
        id: "E30",
        variants: &[Variant {
            name: "stalled",
            make: Make::Ask {
                fault: "body-stall",
                after: (0, 1),
            },
            local: Expect::Rule(&["body-stalled"]),
            remote: Expect::Rule(&["body-stalled"]),
            marks: Marks {
                nginx: &["upstream timed out (110:…reading upstream"],
                haproxy: &[" 200 …sD"],
                envoy: &["UT", "SI"],
                apache: &["(70007)…AH01110"],
            },
            ..CUT
        }],
    },
];

pub(super) const IMPOSSIBLE: &[Impossible] = &[];
