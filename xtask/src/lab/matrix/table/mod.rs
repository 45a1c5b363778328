//! The rows of the lab: every failure of the catalogue, the ways to make it, and what is true about
//! each. Rows that a proxy cannot show stand in [`IMPOSSIBLE`], with the reason.

mod body;
mod connect;
mod message;
mod path;
mod response;
mod tls;

use super::plan::{Expect, Impossible, Make, Marks, Method, Row, Variant, Way};
use crate::lab::proxy::Kind;

/// All rows.
pub(super) static ROWS: &[&[Row]] = &[
    connect::ROWS,
    response::ROWS,
    body::ROWS,
    path::ROWS,
    message::ROWS,
    tls::ROWS,
];

/// What cannot be shown.
pub(super) static IMPOSSIBLE: &[&[Impossible]] = &[
    connect::IMPOSSIBLE,
    response::IMPOSSIBLE,
    body::IMPOSSIBLE,
    path::IMPOSSIBLE,
    message::IMPOSSIBLE,
    tls::IMPOSSIBLE,
];

/// Is there such a row?
pub(super) fn knows(id: &str) -> bool {
    let rows = ROWS.iter().flat_map(|part| *part);
    let impossible = IMPOSSIBLE.iter().flat_map(|part| *part);
    rows.map(|row| row.id)
        .chain(impossible.map(|one| one.id))
        .any(|known| known.eq_ignore_ascii_case(id))
}

/// What most variants have in common: `Variant { name: …, ..BASE }`.
const BASE: Variant = Variant {
    name: "",
    proxies: ALL,
    way: Way::Fresh,
    make: Make::Ask {
        fault: "ok",
        after: (0, 1),
    },
    method: Method::Either,
    local: Expect::Nothing,
    remote: Expect::Nothing,
    outcomes: ERROR,
    marks: UNCHECKED,
    short: true,
};

/// Logs that are not looked at.
const UNCHECKED: Marks = Marks {
    nginx: &[],
    haproxy: &[],
    envoy: &[],
    apache: &[],
};

/// All four.
const ALL: &[Kind] = &Kind::ALL;

/// The client gets an error status.
const ERROR: &[&str] = &["error-response"];

/// It gets an error status, or nothing, or a retry hides it: what proxies do with a failure on a
/// kept connection differs, also by method.
const ERROR_OR_HIDDEN: &[&str] = &["error-response", "dropped", "masked"];

/// What cannot be shown with that proxy in that way.
const fn cannot(
    id: &'static str,
    variant: &'static str,
    kind: Kind,
    reason: &'static str,
) -> Impossible {
    Impossible {
        id,
        variant,
        kind,
        reason,
    }
}

/// A response that began is cut short.
const TRUNCATED: &[&str] = &["truncated"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::lab::matrix::plan::{Choice, Expect, View};

    #[test]
    fn every_trial_has_a_path_of_its_own() {
        let choice = Choice {
            repeat: 2,
            ..Choice::default()
        };
        let trials = choice.trials(ROWS);
        let keys: BTreeSet<String> = trials.iter().map(ToString::to_string).collect();
        assert_eq!(keys.len(), trials.len());
        for trial in trials {
            let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric());
            assert!(plain(trial.row.id) && plain(trial.variant.name), "{trial}");
        }
    }

    #[test]
    fn every_way_is_known() {
        let rows = ROWS.iter().flat_map(|part| *part);
        for variant in rows.flat_map(|row| row.variants) {
            assert!(Way::all().any(|way| way == variant.way), "{}", variant.name);
        }
    }

    #[test]
    fn every_variant_expects_something() {
        for variant in ROWS
            .iter()
            .flat_map(|part| *part)
            .flat_map(|row| row.variants)
        {
            for expect in [variant.local, variant.remote] {
                match expect {
                    Expect::Rule(rules) | Expect::Because(rules, _) => assert!(!rules.is_empty()),
                    // A client that leaves is reported only where that is asked for.
                    Expect::Nothing => assert!(
                        variant.outcomes.is_empty() || variant.counts_in(View::Left),
                        "{}",
                        variant.name
                    ),
                }
            }
        }
    }

    #[test]
    fn the_short_run_has_every_row() {
        let rows = || ROWS.iter().flat_map(|part| *part);
        for row in rows() {
            // Some stand in more than one table.
            let all = rows().filter(|one| one.id == row.id);
            let mut variants = all.flat_map(|one| one.variants);
            assert!(variants.any(|variant| variant.short), "{}", row.id);
        }
    }

    #[test]
    fn what_is_impossible_is_not_tried() {
        for impossible in IMPOSSIBLE.iter().flat_map(|part| *part) {
            let rows = ROWS.iter().flat_map(|part| *part);
            let same = rows.filter(|row| row.id == impossible.id);
            let same = same.flat_map(|row| row.variants);
            for variant in same.filter(|one| ["", one.name].contains(&impossible.variant)) {
                assert!(
                    !variant.proxies.contains(&impossible.kind),
                    "{impossible:?}"
                );
            }
        }
    }
}
