//! Rows in which the backend had the request and no response head came, or too late.

use super::{ALL, ERROR, ERROR_OR_HIDDEN};
use crate::lab::matrix::plan::{Expect, Impossible, Make, Marks, Method, Row, Variant, Way};

const FIN: Expect = Expect::Rule(&["fin-before-response"]);
const RST: Expect = Expect::Rule(&["rst-before-response"]);

const FIN_MARKS: Marks = Marks {
    nginx: &["upstream prematurely closed connection…response header"],
    haproxy: &[" 502 … SH"],
    envoy: &["503…UC", "UC…503"],
    apache: &["AH01102"],
};

const RST_MARKS: Marks = Marks {
    nginx: &["recv() failed (104:…response header"],
    haproxy: &[" 502 … SH"],
    envoy: &["503…UC", "UC…503"],
    apache: &["(104)…AH01102"],
};

const TIMEOUT: Expect = Expect::Rule(&["response-timeout"]);

const TIMEOUT_MARKS: Marks = Marks {
    nginx: &["upstream timed out (110:…response header"],
    haproxy: &[" 504 … sH"],
    envoy: &["504…UT", "UT…504"],
    apache: &["(70007)…AH01102"],
};

/// On a kept connection HAProxy and Apache drop the request without a word, as for a race.
const FIN_REUSED_MARKS: Marks = Marks {
    haproxy: &["", " 502 … SH"],
    apache: &["AH01102", " 502 … \"-\"", "GET", "POST"],
    ..FIN_MARKS
};

const RST_REUSED_MARKS: Marks = Marks {
    haproxy: &["", " 502 … SH"],
    apache: &["(104)…AH01102", "GET", "POST"],
    ..RST_MARKS
};

/// A socket that was closed and whose FIN got lost looks from the proxy's host like one that a
/// device on the way has forgotten: a reset out of nowhere.
const RACE_LOST_FIN: Expect = Expect::Rule(&["keepalive-race", "idle-drop-by-middlebox"]);
const RACE: Expect = Expect::Rule(&["keepalive-race"]);

const RACE_MARKS: Marks = Marks {
    nginx: &["failed (104:", "failed (32:", "prematurely closed"],
    haproxy: &["", " 502 … SH"],
    envoy: &["503…UC", "UC…503"],
    apache: &["\" 502 ", "AH01102", "\" - "],
};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "E15",
        variants: &[Variant {
            name: "lostfin",
            proxies: ALL,
            way: Way::Pooled,
            make: Make::LostFin { idle: (0, 1500) },
            method: Method::Either,
            local: RACE,
            remote: RACE_LOST_FIN,
            outcomes: ERROR_OR_HIDDEN,
            marks: RACE_MARKS,
            short: true,
        }],
    },
    Row {
        id: "E17",
        variants: &[
            Variant {
                name: "fresh",
                proxies: ALL,
                way: Way::Fresh,
                make: Make::Ask {
                    fault: "fin",
                    after: (0, 120),
                },
                method: Method::Either,
                local: FIN,
                remote: FIN,
                outcomes: ERROR,
                marks: FIN_MARKS,
                short: true,
            },
            Variant {
                name: "reused",
                proxies: ALL,
                way: Way::Pooled,
                make: Make::Reused {
                    fault: "fin",
                    after: (0, 120),
                },
                method: Method::Either,
                local: FIN,
                remote: FIN,
                outcomes: ERROR_OR_HIDDEN,
                marks: FIN_REUSED_MARKS,
                short: true,
            },
        ],
    },
    Row {
        id: "E18",
        variants: &[
            Variant {
                name: "fresh",
                proxies: ALL,
                way: Way::Fresh,
                make: Make::Ask {
                    fault: "rst",
                    after: (0, 120),
                },
                method: Method::Either,
                local: RST,
                remote: RST,
                outcomes: ERROR,
                marks: RST_MARKS,
                short: true,
            },
            Variant {
                name: "reused",
                proxies: ALL,
                way: Way::Pooled,
                make: Make::Reused {
                    fault: "rst",
                    after: (0, 120),
                },
                method: Method::Either,
                local: RST,
                remote: RST,
                outcomes: ERROR_OR_HIDDEN,
                marks: RST_REUSED_MARKS,
                short: true,
            },
        ],
    },
    Row {
        id: "E20",
        variants: &[
            Variant {
                name: "fresh",
                proxies: ALL,
                way: Way::Fresh,
                make: Make::Ask {
                    fault: "hang",
                    after: (0, 1),
                },
                method: Method::Get,
                local: TIMEOUT,
                remote: TIMEOUT,
                outcomes: ERROR,
                marks: TIMEOUT_MARKS,
                short: true,
            },
            Variant {
                name: "reused",
                proxies: ALL,
                way: Way::Pooled,
                make: Make::Reused {
                    fault: "hang",
                    after: (0, 1),
                },
                method: Method::Post,
                local: TIMEOUT,
                remote: TIMEOUT,
                outcomes: ERROR,
                marks: TIMEOUT_MARKS,
                short: false,
            },
        ],
    },
];

pub(super) const IMPOSSIBLE: &[Impossible] = &[];
