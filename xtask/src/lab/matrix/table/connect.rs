//! Rows in which no connection comes about.

use super::{ALL, ERROR};
use crate::lab::matrix::plan::{Expect, Impossible, Make, Marks, Method, Row, Variant, Way};

const REFUSED: Expect = Expect::Rule(&["connect-refused"]);

pub(super) const ROWS: &[Row] = &[Row {
    id: "E01",
    variants: &[Variant {
        name: "closed",
        proxies: ALL,
        way: Way::Refused,
        make: Make::Ask {
            fault: "ok",
            after: (0, 1),
        },
        method: Method::Either,
        local: REFUSED,
        remote: REFUSED,
        outcomes: ERROR,
        marks: Marks {
            nginx: &["connect() failed (111:"],
            haproxy: &[" 503 … SC"],
            envoy: &["503…UF", "UF…503"],
            apache: &["(111)…AH00957"],
        },
        short: true,
    }],
}];

pub(super) const IMPOSSIBLE: &[Impossible] = &[];
