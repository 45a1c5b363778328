//! Was the tracer right about a trial? A plain function of its cases.

use serde_json::Value;

use super::plan::{Expect, Variant, View};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    /// A case says something else.
    Wrong {
        /// In a word.
        said: String,
        /// And says so with confidence `strong` or `exact`.
        strong: bool,
    },
    /// A case says that it does not know.
    Unexplained,
    /// There is no case.
    Missing,
}

/// Compares the cases of one trial's request with the truth.
pub(super) fn judge(variant: &Variant, view: View, cases: &[&Value]) -> Verdict {
    let expect = variant.expect(view);
    let case = match (expect, cases) {
        (Expect::Nothing, []) => return Verdict::Right,
        (Expect::Nothing, [case, ..]) => {
            return Verdict::Wrong {
                said: format!("{}, and nothing failed", rule(case)),
                strong: is_strong(case),
            };
        }
        (_, []) => return Verdict::Missing,
        (_, [case]) => *case,
        (_, [first, ..]) => {
            return Verdict::Wrong {
                said: format!("{} cases, {} the first", cases.len(), rule(first)),
                strong: cases.iter().any(|case| is_strong(case)),
            };
        }
    };
    let wrong = |said: String| Verdict::Wrong {
        said,
        strong: is_strong(case),
    };
    let said = rule(case);
    let because = case["verdict"]["because"].as_str();
    let accepted = match expect {
        Expect::Rule(rules) => rules.contains(&said),
        Expect::Because(rules, causes) => {
            if rules.contains(&said) && !because.is_some_and(|because| causes.contains(&because)) {
                return wrong(format!("{said}, not because of {}", causes.join(" or ")));
            }
            causes.contains(&said) || rules.contains(&said)
        }
        Expect::Nothing => false,
    };
    let outcome = case["outcome"].as_str().unwrap_or("no outcome");
    match said {
        _ if accepted && variant.outcomes.contains(&outcome) => Verdict::Right,
        "unexplained" => Verdict::Unexplained,
        _ if accepted => wrong(format!("{said}, {outcome}")),
        _ => wrong(said.to_owned()),
    }
}

fn rule(case: &Value) -> &str {
    case["verdict"]["rule"].as_str().unwrap_or("no rule")
}

fn is_strong(case: &Value) -> bool {
    matches!(
        case["verdict"]["confidence"].as_str(),
        Some("strong" | "exact")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lab::matrix::plan::{Make, Marks, Method, Way};

    const FIN: Variant = Variant {
        name: "x",
        proxies: &[],
        way: Way::Fresh,
        make: Make::Ask {
            fault: "fin",
            after: (0, 1),
        },
        method: Method::Get,
        local: Expect::Because(&["fin-before-response"], &["backend-process-exit"]),
        remote: Expect::Rule(&["fin-before-response"]),
        outcomes: &["error-response"],
        marks: Marks {
            nginx: &[],
            haproxy: &[],
            envoy: &[],
            apache: &[],
        },
        short: true,
    };

    fn case(rule: &str, confidence: &str, outcome: &str, because: Option<&str>) -> Value {
        let mut case = json!({
            "outcome": outcome,
            "verdict": {"rule": rule, "confidence": confidence},
        });
        if let Some(because) = because {
            case["verdict"]["because"] = because.into();
        }
        case
    }

    fn wrong(said: &str, strong: bool) -> Verdict {
        Verdict::Wrong {
            said: said.into(),
            strong,
        }
    }

    #[test]
    fn verdicts() {
        let exit = Some("backend-process-exit");
        let fin = |because| case("fin-before-response", "strong", "error-response", because);
        let table = [
            (View::Remote, vec![fin(None)], Verdict::Right),
            (View::Remote, vec![], Verdict::Missing),
            (View::Local, vec![fin(exit)], Verdict::Right),
            (
                View::Local,
                vec![fin(None)],
                wrong(
                    "fin-before-response, not because of backend-process-exit",
                    true,
                ),
            ),
            (
                View::Local,
                vec![case("backend-process-exit", "weak", "error-response", None)],
                Verdict::Right,
            ),
            (
                View::Remote,
                vec![case("keepalive-race", "weak", "error-response", None)],
                wrong("keepalive-race", false),
            ),
            (
                View::Remote,
                vec![case("unexplained", "none", "error-response", None)],
                Verdict::Unexplained,
            ),
            (
                View::Remote,
                vec![case("fin-before-response", "exact", "dropped", None)],
                wrong("fin-before-response, dropped", true),
            ),
            (
                View::Remote,
                vec![fin(None), fin(None)],
                wrong("2 cases, fin-before-response the first", true),
            ),
        ];
        for (view, cases, expected) in table {
            let cases: Vec<&Value> = cases.iter().collect();
            assert_eq!(judge(&FIN, view, &cases), expected, "{cases:?}");
        }
    }

    #[test]
    fn where_nothing_fails_any_case_is_wrong() {
        let healthy = Variant {
            local: Expect::Nothing,
            remote: Expect::Nothing,
            outcomes: &[],
            ..FIN
        };
        assert_eq!(judge(&healthy, View::Local, &[]), Verdict::Right);
        let case = case("mtu-black-hole", "weak", "masked", None);
        assert_eq!(
            judge(&healthy, View::Local, &[&case]),
            wrong("mtu-black-hole, and nothing failed", false)
        );
    }
}
