//! From what a guest did to a verdict on its kernel. Plain functions of what was heard.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::heard::{Heard, Ran, StepEnd};
use super::plan::{Kind, Plan};
use super::qemu::End;

/// The most instructions that the verifier may look at in one program: a quarter of what kernels
/// since 5.2 allow, so that another compiler or kernel does not bring it over the edge.
pub(super) const MOST_INSTRUCTIONS: u64 = 250_000;

/// The least share of right verdicts, as in the lab itself, percent.
const RIGHT: u64 = 98;

/// One kernel, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// How it is asked for.
    pub(super) line: String,
    /// What `uname -r` says in it, or the package's name for it if it never came up.
    pub(super) release: String,
    pub(super) passed: bool,
    /// What did not hold.
    pub(super) reasons: Vec<String>,
    /// Live tests that ran or should have.
    pub(super) tests: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    /// Of the program that the verifier worked on longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_insns: Option<u64>,
    /// The limit on it.
    pub(super) max_insns_limit: u64,
    /// By program.
    pub(super) insns: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lab: Option<Lab>,
    /// What `why502 doctor` says in it that depends on the kernel.
    pub(super) observes: Map<String, Value>,
    /// What `why502 doctor` says is missing, and what for.
    pub(super) limits: Vec<String>,
    /// The kernel's boot, as it counts itself, milliseconds.
    pub(super) boot_ms: u64,
    /// All of it, seconds.
    pub(super) seconds: u64,
}

/// What the lab counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Lab {
    pub(super) total: u64,
    pub(super) right: u64,
    pub(super) wrong: u64,
    pub(super) wrong_strong: u64,
    pub(super) unexplained: u64,
    pub(super) false_cases: u64,
    pub(super) control_exchanges: u64,
    /// Rows that were not all right: `E15 nginx: 3 of 4`.
    pub(super) not_right: Vec<String>,
}

/// The verdict.
pub(super) fn judge(
    line: &str,
    release: &str,
    plan: &Plan,
    heard: &Heard,
    end: &End,
    seconds: u64,
) -> Row {
    let mut reasons = Vec::new();
    match (end, heard.release.is_some(), heard.done) {
        (_, _, true) => {}
        (End::NeverUp, ..) => reasons.push("the kernel did not come up".to_owned()),
        (End::TooLong, ..) => reasons.push("the guest did not end in time".to_owned()),
        (End::Stopped, ..) => reasons.push("stopped".to_owned()),
        (End::Off(status), false, _) => {
            reasons.push(format!("QEMU ended before the kernel was up ({status})"));
        }
        (End::Off(_), true, _) => reasons.push("the guest ended before its tests did".to_owned()),
    }
    let doctor = step_json(plan, heard, Kind::Doctor);
    let limits = limits(doctor.as_ref());
    match &doctor {
        Some(doctor) if doctor["outlook"] == "impossible" => reasons.push(format!(
            "a capture does not work: {}",
            limits
                .first()
                .map_or("why502 doctor says so", String::as_str)
        )),
        Some(_) => {}
        None if heard.release.is_some() => {
            reasons.push(format!(
                "why502 doctor gave no JSON{}",
                because(plan, heard, Kind::Doctor)
            ));
        }
        None => {}
    }
    let limited = doctor
        .as_ref()
        .is_some_and(|doctor| doctor["outlook"] == "limited");

    let mut counts = [0_u64; 3];
    for step in plan.steps.iter().filter(|step| step.kind == Kind::Test) {
        let ran = heard.find(&step.name);
        counts[0] += 1;
        match test(ran) {
            // Why it came to no test is said already.
            _ if ran.is_none() && !heard.done => counts[2] += 1,
            Test::Passed => {}
            Test::Skipped => counts[2] += 1,
            Test::Failed(why) => {
                counts[1] += 1;
                reasons.push(format!("test {}: {why}", step.name));
            }
        }
    }
    let [tests, failed, skipped] = counts;
    // A kernel on which nothing was tried has not passed.
    if reasons.is_empty() && skipped > 0 {
        reasons.push(format!("{skipped} of {tests} tests were skipped"));
    }

    let insns = doctor.as_ref().map(instructions).unwrap_or_default();
    let max_insns = insns.values().copied().max();
    reasons.extend(over_budget(&insns, MOST_INSTRUCTIONS));
    if max_insns.is_none() && reasons.is_empty() {
        reasons.push(format!(
            "the verifier's work was not measured{}",
            because(plan, heard, Kind::Doctor)
        ));
    }

    let lab = step_json(plan, heard, Kind::Lab).map(|document| lab(&document));
    match &lab {
        Some(lab) => reasons.extend(lab_holds(lab, limited)),
        None if reasons.is_empty() && plan.steps.iter().any(|step| step.kind == Kind::Lab) => {
            reasons.push(format!(
                "the lab gave no result{}",
                because(plan, heard, Kind::Lab)
            ));
        }
        None => {}
    }

    Row {
        line: line.to_owned(),
        release: heard.release.clone().unwrap_or_else(|| release.to_owned()),
        passed: reasons.is_empty(),
        reasons,
        tests,
        failed,
        skipped,
        max_insns,
        max_insns_limit: MOST_INSTRUCTIONS,
        insns,
        lab,
        observes: doctor.map(observes).unwrap_or_default(),
        limits,
        boot_ms: heard.boot_ms,
        seconds,
    }
}

enum Test {
    Passed,
    Failed(String),
    Skipped,
}

fn test(ran: Option<&Ran>) -> Test {
    let Some(ran) = ran else {
        return Test::Failed("did not begin".to_owned());
    };
    match &ran.end {
        None => Test::Failed("did not end".to_owned()),
        Some(StepEnd::Skipped { .. }) => Test::Skipped,
        Some(StepEnd::Ended {
            timed_out: true, ..
        }) => Test::Failed("took too long".to_owned()),
        Some(StepEnd::Ended { code: Some(0), .. }) => {
            if ran.err.iter().any(|line| line.contains("*** SKIPPED")) {
                Test::Skipped
            } else if ran.out.contains("test result: ok. 1 passed") {
                Test::Passed
            } else {
                // Renamed since the plan was made.
                Test::Failed("no test of that name ran".to_owned())
            }
        }
        Some(StepEnd::Ended { code, .. }) => Test::Failed(match panicked(&ran.err) {
            Some(why) => why,
            None => format!("ended with {code:?}"),
        }),
    }
}

/// What an assertion said: the line behind `panicked at …`.
fn panicked(err: &[String]) -> Option<String> {
    let at = err.iter().position(|line| line.contains("panicked at"))?;
    let said = err.get(at + 1)?;
    Some(said.chars().take(300).collect())
}

fn step<'h>(plan: &Plan, heard: &'h Heard, kind: Kind) -> Option<&'h Ran> {
    let name = &plan.steps.iter().find(|step| step.kind == kind)?.name;
    heard.find(name)
}

fn step_json(plan: &Plan, heard: &Heard, kind: Kind) -> Option<Value> {
    let value: Value = serde_json::from_str(&step(plan, heard, kind)?.out).ok()?;
    value.is_object().then_some(value)
}

/// `: ` and the last that a step said, or nothing.
fn because(plan: &Plan, heard: &Heard, kind: Kind) -> String {
    let Some(ran) = step(plan, heard, kind) else {
        return String::new();
    };
    match (&ran.end, ran.err.iter().rev().find(|line| !line.is_empty())) {
        (Some(StepEnd::Skipped { why }), _) => format!(": {why}"),
        (
            Some(StepEnd::Ended {
                timed_out: true, ..
            }),
            _,
        ) => ": it took too long".to_owned(),
        (_, Some(said)) => format!(": {said}"),
        _ => String::new(),
    }
}

/// Programs that are too much work for the verifier.
fn over_budget(programs: &BTreeMap<String, u64>, limit: u64) -> Vec<String> {
    let over = programs.iter().filter(|(_, number)| **number > limit);
    over.map(|(name, number)| {
        format!("the verifier looks at {number} instructions of {name}; more than {limit} is too near to its own limit of 1000000")
    })
    .collect()
}

/// What the verifier looked at, by program, as the doctor tells.
fn instructions(doctor: &Value) -> BTreeMap<String, u64> {
    let programs = doctor["load"]["programs"].as_array();
    let one = |program: &Value| {
        let name = program["name"].as_str()?.to_owned();
        Some((name, program["verified_insns"].as_u64()?))
    };
    programs.into_iter().flatten().filter_map(one).collect()
}

/// What of the doctor's words depends on the kernel. Generic, so that what it learns to say later
/// shows up without a change here: lists of things with a name become maps, the rest stays.
fn observes(doctor: Value) -> Map<String, Value> {
    // About the host, or shown elsewhere.
    const NOT_OF_THE_KERNEL: [&str; 12] = [
        "schema",
        "version",
        "host",
        "problems",
        "programs",
        "trial_load",
        "load",
        "sizes",
        "own_cgroup",
        "own_container",
        "rights",
        "proxies",
    ];
    let Value::Object(doctor) = doctor else {
        return Map::new();
    };
    let mut observes = Map::new();
    for (key, value) in doctor {
        if NOT_OF_THE_KERNEL.contains(&key.as_str()) {
            continue;
        }
        let value = match value {
            Value::Array(list) => named(list),
            Value::Object(mut kernel) if key == "kernel" => {
                kernel.remove("release");
                kernel.remove("machine");
                for (key, part) in kernel {
                    // `{"ok": true}`.
                    let value = part.get("ok").cloned().unwrap_or(part);
                    observes.insert(key, value);
                }
                continue;
            }
            value => value,
        };
        observes.insert(key, value);
    }
    observes
}

/// `[{"name":"x","found":true}]` → `{"x":true}`; a list without names as it is.
fn named(list: Vec<Value>) -> Value {
    const SAYS: [&str; 6] = ["found", "available", "standing", "state", "status", "level"];
    let entry = |value: &Value| -> Option<(String, Value)> {
        let name = ["name", "id", "rule"]
            .into_iter()
            .find_map(|key| value.get(key)?.as_str())?;
        // Better than that it is not there.
        if let Some(other) = value.get("replaced_by").and_then(Value::as_str) {
            return Some((name.to_owned(), Value::from(format!("by {other}"))));
        }
        let said = SAYS.into_iter().find_map(|key| value.get(key));
        Some((name.to_owned(), said.cloned().unwrap_or(Value::Null)))
    };
    let entries: Option<Map<String, Value>> = list.iter().map(entry).collect();
    match entries {
        Some(entries) if !entries.is_empty() => Value::Object(entries),
        _ => Value::Array(list),
    }
}

/// What is missing, in the doctor's words.
fn limits(doctor: Option<&Value>) -> Vec<String> {
    let problems = doctor.and_then(|doctor| doctor["problems"].as_array());
    let problems = problems.into_iter().flatten();
    problems
        .filter_map(|problem| problem["what"].as_str().map(str::to_owned))
        .collect()
}

fn lab(document: &Value) -> Lab {
    let totals = &document["totals"];
    let number = |key: &str| totals[key].as_u64().unwrap_or(0);
    let rows = document["rows"].as_array().into_iter().flatten();
    let not_right = rows.filter_map(|row| {
        let (right, total) = (row["right"].as_u64()?, row["total"].as_u64()?);
        let text = |key: &str| row[key].as_str().unwrap_or("");
        let view = row["view"].as_str().map(|view| format!(" {view}"));
        (right < total).then(|| {
            format!(
                "{} {} {}{}: {right} of {total}, wrong {}, unexplained {}",
                text("id"),
                text("proxy"),
                text("variant"),
                view.unwrap_or_default(),
                row["wrong"].as_u64().unwrap_or(0),
                row["unexplained"].as_u64().unwrap_or(0),
            )
        })
    });
    Lab {
        total: number("total"),
        right: number("right"),
        wrong: number("wrong"),
        wrong_strong: number("wrong_strong"),
        unexplained: number("unexplained"),
        false_cases: number("false_cases"),
        control_exchanges: number("control_exchanges"),
        not_right: not_right.collect(),
    }
}

/// What does not hold. On a kernel of which the doctor says that it shows less, a failure may stay
/// unexplained; a wrong verdict is wrong everywhere.
fn lab_holds(lab: &Lab, limited: bool) -> Vec<String> {
    let mut reasons = Vec::new();
    if lab.total == 0 {
        reasons.push("the lab judged nothing".to_owned());
    }
    if lab.wrong_strong > 0 {
        reasons.push(format!(
            "the lab: {} verdicts were wrong and sure",
            lab.wrong_strong
        ));
    }
    if lab.false_cases > 0 {
        reasons.push(format!("the lab: {} false alarms", lab.false_cases));
    }
    let allowed = lab.right + if limited { lab.unexplained } else { 0 };
    if allowed * 100 < lab.total * RIGHT {
        reasons.push(format!(
            "the lab: {} of {} verdicts were right, {} wrong, {} unexplained",
            lab.right, lab.total, lab.wrong, lab.unexplained
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::plan::Step;
    use super::*;

    fn plan() -> Plan {
        let step = |name: &str, kind| Step {
            name: name.to_owned(),
            kind,
            command: Vec::new(),
            limit: 1,
        };
        Plan {
            environment: Vec::new(),
            steps: vec![
                step("doctor", Kind::Doctor),
                step("one", Kind::Test),
                step("lab", Kind::Lab),
            ],
            shell: false,
        }
    }

    /// A guest in which all was well, with one thing changed.
    fn heard(change: impl FnOnce(&mut Heard)) -> Heard {
        let ended = || {
            Some(StepEnd::Ended {
                code: Some(0),
                ms: 1,
                timed_out: false,
            })
        };
        let ran = |name: &str, out: &str| Ran {
            name: name.to_owned(),
            out: out.to_owned(),
            err: Vec::new(),
            end: ended(),
        };
        let doctor = json!({
            "outlook": "works", "schema": "s", "host": "guest", "task_pt_regs": true,
            "kernel": {"release": "6.1.0", "machine": "x86_64", "btf": {"ok": true}},
            "hooks": [{"name": "inet_sock_set_state", "found": true, "required": true}],
            "reset_reasons": ["A", "B"], "problems": [], "load": load(5000),
        });
        let lab = json!({
            "rows": [{"id": "E15", "proxy": "nginx", "variant": "crossing", "total": 4, "right": 3, "wrong": 1, "unexplained": 0}],
            "totals": {"total": 100, "right": 99, "wrong": 1, "wrong_strong": 0, "unexplained": 0, "false_cases": 0, "control_exchanges": 9},
        });
        let mut heard = Heard {
            release: Some("6.1.0".to_owned()),
            boot_ms: 3000,
            notes: Vec::new(),
            steps: vec![
                ran("doctor", &doctor.to_string()),
                ran(
                    "one",
                    "test one ... ok\n\ntest result: ok. 1 passed; 0 failed",
                ),
                ran("lab", &lab.to_string()),
            ],
            done: true,
        };
        change(&mut heard);
        heard
    }

    fn doctor(heard: &mut Heard, outlook: &str, problem: &str) {
        heard.steps[0].out =
            json!({"outlook": outlook, "problems": [{"what": problem}], "load": load(5000)})
                .to_string();
    }

    fn load(instructions: u64) -> Value {
        json!({"programs": [{"name": "inet_sock_set_state", "verified_insns": instructions}]})
    }

    fn loaded(heard: &mut Heard, load: Value) {
        heard.steps[0].out = json!({"outlook": "works", "problems": [], "load": load}).to_string();
    }

    fn totals(heard: &mut Heard, right: u64, wrong: u64, sure: u64, unexplained: u64, alarms: u64) {
        let total = right + wrong + unexplained;
        heard.steps[2].out =
            json!({"rows": [], "totals": {"total": total, "right": right, "wrong": wrong,
            "wrong_strong": sure, "unexplained": unexplained, "false_cases": alarms}})
            .to_string();
    }

    fn off() -> End {
        End::Off(std::process::ExitStatus::default())
    }

    fn verdict(change: impl FnOnce(&mut Heard), end: &End) -> Row {
        judge(
            "6.1",
            "6.1.0-50-cloud-amd64",
            &plan(),
            &heard(change),
            end,
            9,
        )
    }

    #[test]
    fn all_well() {
        let row = verdict(|_| {}, &off());
        assert_eq!(row.reasons, [""; 0]);
        assert!(row.passed);
        assert_eq!((row.tests, row.failed, row.skipped), (1, 0, 0));
        assert_eq!(row.max_insns, Some(5000));
        assert_eq!(row.insns["inet_sock_set_state"], 5000);
        assert_eq!(row.release, "6.1.0");
        let observes = json!({
            "outlook": "works", "task_pt_regs": true, "btf": true,
            "hooks": {"inet_sock_set_state": true}, "reset_reasons": ["A", "B"],
        });
        assert_eq!(Value::Object(row.observes), observes);
        let lab = row.lab.unwrap();
        assert_eq!((lab.right, lab.total), (99, 100));
        assert_eq!(
            lab.not_right,
            ["E15 nginx crossing: 3 of 4, wrong 1, unexplained 0"]
        );
    }

    #[test]
    fn what_fails_a_kernel() {
        type Change = fn(&mut Heard);
        let cases: [(&str, Change, &str); 15] = [
            (
                "over budget",
                |h| loaded(h, load(250_001)),
                "250001 instructions of inet_sock_set_state",
            ),
            (
                "not measured",
                |h| loaded(h, json!({"programs": []})),
                "was not measured",
            ),
            (
                "failed test",
                |h| {
                    h.steps[1].end = Some(StepEnd::Ended {
                        code: Some(101),
                        ms: 1,
                        timed_out: false,
                    });
                    h.steps[1].err =
                        vec!["thread 'x' panicked at y.rs:1:2:".into(), "no case".into()];
                },
                "test one: no case",
            ),
            (
                "renamed test",
                |h| h.steps[1].out.clear(),
                "no test of that name ran",
            ),
            (
                "skipped test",
                |h| h.steps[1].err.push("*** SKIPPED, NOTHING".into()),
                "1 of 1 tests were skipped",
            ),
            (
                "slow test",
                |h| {
                    h.steps[1].end = Some(StepEnd::Ended {
                        code: None,
                        ms: 1,
                        timed_out: true,
                    });
                },
                "test one: took too long",
            ),
            (
                "torn test",
                |h| h.steps[1].end = None,
                "test one: did not end",
            ),
            (
                "no doctor",
                |h| {
                    h.steps[0].out = "{".into();
                    h.steps[0].err.push("oh no".into());
                },
                "gave no JSON: oh no",
            ),
            (
                "no lab",
                |h| {
                    h.steps[2].out.clear();
                    h.steps[2].err.push("no nft".into());
                },
                "the lab gave no result: no nft",
            ),
            (
                "a kernel without BPF",
                |h| {
                    doctor(h, "impossible", "this kernel has no BPF");
                    for step in &mut h.steps[1..] {
                        step.end = Some(StepEnd::Skipped { why: "x".into() });
                    }
                },
                "a capture does not work: this kernel has no BPF",
            ),
            (
                "wrong and sure",
                |h| totals(h, 99, 1, 1, 0, 0),
                "1 verdicts were wrong and sure",
            ),
            (
                "false alarm",
                |h| totals(h, 100, 0, 0, 0, 2),
                "2 false alarms",
            ),
            (
                "much unexplained",
                |h| totals(h, 90, 0, 0, 10, 0),
                "90 of 100 verdicts were right",
            ),
            (
                "much wrong, limited",
                |h| {
                    doctor(h, "limited", "x");
                    totals(h, 50, 3, 0, 47, 0);
                },
                "50 of 100 verdicts were right, 3 wrong",
            ),
            ("empty lab", |h| totals(h, 0, 0, 0, 0, 0), "judged nothing"),
        ];
        for (name, change, expected) in cases {
            let row = verdict(change, &off());
            assert!(!row.passed, "{name}");
            assert!(
                row.reasons[0].contains(expected),
                "{name}: {:?}",
                row.reasons
            );
        }
    }

    #[test]
    fn a_kernel_that_shows_less_may_leave_failures_unexplained() {
        let row = verdict(
            |h| {
                doctor(h, "limited", "no helper bpf_task_pt_regs");
                totals(h, 60, 0, 0, 40, 0);
            },
            &off(),
        );
        assert_eq!(row.reasons, [""; 0]);
        assert_eq!(row.limits, ["no helper bpf_task_pt_regs"]);
    }

    #[test]
    fn guests_that_do_not_end_well() {
        let gone = |h: &mut Heard| h.done = false;
        let silent = |h: &mut Heard| *h = Heard::default();
        for (end, change, expected) in [
            (
                End::NeverUp,
                silent as fn(&mut Heard),
                "the kernel did not come up",
            ),
            (End::TooLong, gone, "did not end in time"),
            (End::Stopped, gone, "stopped"),
            (off(), silent, "QEMU ended before the kernel was up"),
            (off(), gone, "the guest ended before its tests did"),
        ] {
            let row = verdict(change, &end);
            assert!(!row.passed);
            assert!(row.reasons[0].contains(expected), "{:?}", row.reasons);
        }
        assert_eq!(
            verdict(silent, &End::NeverUp).release,
            "6.1.0-50-cloud-amd64"
        );
    }

    #[test]
    fn lists_without_names_stay() {
        for (list, expected) in [
            (json!([]), json!([])),
            (json!(["A"]), json!(["A"])),
            (
                json!([{"name": "x", "available": "weaker", "why": "y"}]),
                json!({"x": "weaker"}),
            ),
            (
                json!([{"rule": "r", "standing": "off"}, {"name": "x"}]),
                json!({"r": "off", "x": null}),
            ),
            (
                json!([{"name": "x", "found": false, "replaced_by": "fexit/y"}]),
                json!({"x": "by fexit/y"}),
            ),
        ] {
            let Value::Array(list) = list else { continue };
            assert_eq!(named(list), expected);
        }
    }
}
