//! The fault lab: every failure of the catalogue, made with every proxy that can show it, many times
//! and several at once, and counted how often `why502` names the cause. Healthy traffic runs beside
//! it, and any case about that is a false alarm.

mod controls;
mod door;
mod joined;
mod judge;
mod plan;
mod report;
mod seed;
mod table;
mod tally;
mod trial;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use self::judge::{Verdict, judge};
use self::plan::{Choice, Place, Trial, View};
use self::seed::Seed;
use self::tally::Tally;
use self::trial::Done;
use self::world::World;
use super::backend::Backend;
use super::capture::{Capture, Ended, Output};
use super::process::{find_program, slowness};
use super::proxy::{Kind, Logs};
use super::scratch;

/// The hidden command that runs [`backend`].
pub const BACKEND_COMMAND: &str = "lab-backend";

/// What stands for the healthy traffic where rows are chosen.
const CONTROLS: &str = "controls";

/// Requests that each proxy works on at a time.
const AT_ONCE: usize = 6;

/// How often a failure that did not come about is tried again.
const ATTEMPTS: usize = 3;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only these rows (`E15`); empty for all.
    pub only: Vec<String>,
    /// Only these proxies; empty for all.
    pub kinds: Vec<Kind>,
    /// How often each variant is tried with each proxy; chosen by the kind of run if not given.
    pub repeat: Option<u32>,
    /// Fewer variants, fewer repeats, less healthy traffic.
    pub short: bool,
    /// See the backends' half too?
    pub local: bool,
    /// See the proxies' half alone?
    pub remote: bool,
    /// Where chance begins.
    pub seed: u64,
}

/// What came out.
pub struct Outcome {
    /// The JSON object.
    pub json: Value,
    /// The same for people.
    pub text: String,
    /// Did all of it hold?
    pub held: bool,
}

/// Is a backend on that address until the process ends, which a request may bring about.
pub fn backend(addr: SocketAddr) -> Result<()> {
    let _backend = Backend::bind_mortal(addr)?;
    loop {
        std::thread::park();
    }
}

/// What this machine lacks to run it.
pub fn missing(kinds: &[Kind]) -> Vec<String> {
    let kinds: &[Kind] = if kinds.is_empty() { &Kind::ALL } else { kinds };
    let mut missing = super::ready::missing(kinds);
    for program in ["ip", "nft", "openssl", "setpriv"] {
        if find_program(program).is_none() {
            missing.push(format!("the program {program}"));
        }
    }
    missing
}

/// Runs it. `None`: it was told to stop. To be called before any other thread is started.
pub fn run(options: &Options, why502: &Path, stop: &Stop) -> Result<Option<Outcome>> {
    let choice = Choice {
        only: options.only.clone(),
        kinds: options.kinds.clone(),
        short: options.short,
        repeat: options.repeat.unwrap_or(if options.short { 2 } else { 20 }),
    };
    for id in &options.only {
        let known = table::knows(id) || id == CONTROLS;
        ensure!(known, "the lab has no row {id}");
    }
    let trials = choice.trials(table::ROWS);
    ensure!(
        !trials.is_empty() || choice.wants_controls(),
        "these proxies cannot show these rows: see the table in docs/lab.md"
    );
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| choice.wants(*kind))
        .collect();
    let left = trials
        .iter()
        .any(|trial| trial.variant.counts_in(View::Left));
    let views: Vec<View> = [
        (View::Local, options.local),
        (View::Remote, options.remote),
        (View::Left, options.local && left),
    ]
    .into_iter()
    .filter_map(|(view, wanted)| wanted.then_some(view))
    .collect();

    let started = Instant::now();
    let directory = scratch::private_directory()?;
    eprintln!(
        "lab: {} trials with {}, seed {}",
        trials.len(),
        kinds
            .iter()
            .map(|kind| kind.name())
            .collect::<Vec<_>>()
            .join(", "),
        options.seed
    );
    // For proxies that ask whom the system asks.
    scratch::use_name_server(world::NAME_SERVER, &directory)?;
    stop.watch()?;
    let world = World::start(&kinds, &directory)?;
    let mut captures = Vec::new();
    for view in views {
        let args = args(&world, view);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        captures.push((view, Capture::start(why502, &args, Output::Collect)?));
    }
    let ready = started.elapsed().as_secs();
    eprintln!("lab: everything runs and is traced after {ready} s");
    world.introduce()?;
    std::thread::sleep(Duration::from_secs(1));
    let done = perform_all(&world, trials, options.seed, stop)?;
    let controls = run_controls(&world, &choice, &kinds, options.seed, stop)?;
    if stop.told() {
        return Ok(None);
    }
    // The last failures are reported within a second; proxies write their logs within one.
    std::thread::sleep(Duration::from_millis(1500));
    let mut ends = Vec::new();
    for (view, capture) in captures {
        let ended = capture.stop()?;
        ensure!(
            ended.code == 0,
            "why502 ended with code {}: {}",
            ended.code,
            ended.stderr
        );
        ends.push((view, ended));
    }
    let logs = world.logs();
    drop(world);
    let outcome = conclude(options, &choice, &kinds, &done, controls, &ends, &logs)?;
    Ok(Some(outcome))
}

/// A control that ran.
struct Ran {
    hostile: bool,
    result: tally::Control,
}

/// The traffic in which nothing fails: with all proxies side by side.
fn run_controls(
    world: &World,
    choice: &Choice,
    kinds: &[Kind],
    seed: u64,
    stop: &Stop,
) -> Result<Vec<Ran>> {
    if !choice.wants_controls() {
        return Ok(Vec::new());
    }
    let size = if choice.short { 400 } else { 22_000 };
    let told = || stop.told();
    let done = Mutex::new(Vec::new());
    let of_kind = |kind: Kind| -> Result<()> {
        world.enter()?;
        let all = controls::CONTROLS.iter();
        for (number, control) in all.enumerate().filter(|(_, one)| one.kinds.contains(&kind)) {
            if stop.told() {
                break;
            }
            let seed = Seed::new(seed).split(number as u64 ^ 0xC0);
            let started = Instant::now();
            let (exchanges, result) = control.run(world, kind, size, seed, &told);
            let took = started.elapsed();
            if took > Duration::from_secs(20) {
                let (name, kind) = (control.name, kind.name());
                eprintln!("lab: {name} with {kind} took {} s", took.as_secs());
            }
            let ran = Ran {
                hostile: control.hostile,
                result: tally::Control {
                    name: control.name,
                    kind,
                    exchanges,
                    false_cases: 0,
                    problem: result.err().map(|error| format!("{error:#}")),
                },
            };
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(ran);
        }
        Ok(())
    };
    let total = controls::CONTROLS.iter().map(|control| {
        let mine = kinds.iter().filter(|kind| control.kinds.contains(kind));
        mine.count()
    });
    let progress = Progress::new("kinds of healthy traffic", total.sum());
    std::thread::scope(|scope| {
        let workers: Vec<_> = kinds
            .iter()
            .map(|kind| scope.spawn(|| of_kind(*kind)))
            .collect();
        let count = || done.lock().unwrap_or_else(PoisonError::into_inner).len();
        await_all(workers, progress, count)
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Does a case belong to a request that a trial needed to fail, or to hold others up? So it does to one
/// that was to warm a backend up and met it while it came back: that client really got an error.
fn is_helper(case: &Value) -> bool {
    let last = path_of(case).rsplit('/').next();
    let failed = case["outcome"] == "error-response";
    last.is_some_and(|last| last.starts_with("H-") || failed && last.starts_with("W-"))
}

fn path_of(case: &Value) -> &str {
    case["downstream"]["path"].as_str().unwrap_or("")
}

/// Is it the path of an attempt of one of these trials, or of a request that belongs to one?
fn is_attempt(path: &str, trials: &[String]) -> bool {
    let last = path.rsplit('/').next().unwrap_or(path);
    // What makes a connection warm can meet its close, too.
    let last = last.strip_prefix("W-").unwrap_or(last);
    let mut rests = trials
        .iter()
        .filter_map(|name| last.strip_prefix(name.as_str()));
    rests.any(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The control to whose traffic a case belongs.
fn control_of<'c>(controls: &'c mut [Ran], case: &Value) -> Option<&'c mut Ran> {
    let path = case["downstream"]["path"].as_str()?;
    let last = path.rsplit('/').next()?;
    let kind = case["proxy"]["kind"].as_str()?;
    controls.iter_mut().find(|control| {
        control.result.kind.name() == kind
            && last.starts_with(&controls::prefix(control.result.name))
    })
}

/// How the tracer is called.
fn args(world: &World, view: View) -> Vec<String> {
    let status = match view {
        // Backends answer 400 to plain text on a TLS port, and 400 or 426 to a WebSocket.
        View::Local | View::Remote => "400,426,500,502,503,504",
        View::Left => "499",
    };
    let mut args: Vec<String> = ["--role", "auto", "--status", status, "--format", "ndjson"]
        .map(str::to_owned)
        .into();
    if view == View::Remote {
        // As if each backend were on another host.
        args.push("--remote-view".to_owned());
    }
    for proxy in world.proxies() {
        args.extend(["--pid".to_owned(), proxy.pid().to_string()]);
        for file in proxy.log_files() {
            args.extend(["--log".to_owned(), file.display().to_string()]);
        }
    }
    args
}

/// Told to stop?
pub struct Stop {
    told: &'static AtomicBool,
    watch: fn(&'static AtomicBool) -> Result<()>,
}

impl Stop {
    /// `watch` begins to wait for the signal, and sets the flag when it comes.
    pub const fn new(
        told: &'static AtomicBool,
        watch: fn(&'static AtomicBool) -> Result<()>,
    ) -> Self {
        Self { told, watch }
    }

    fn watch(&self) -> Result<()> {
        (self.watch)(self.told)
    }

    fn told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }
}

/// Performs all trials, those of different proxies side by side and several of each at a time.
fn perform_all(world: &World, trials: Vec<Trial>, seed: u64, stop: &Stop) -> Result<Vec<Done>> {
    let total = trials.len();
    let mut queues: BTreeMap<Kind, Vec<(usize, Trial)>> = BTreeMap::new();
    for (number, trial) in trials.into_iter().enumerate() {
        queues.entry(trial.kind).or_default().push((number, trial));
    }
    let chance = Seed::new(seed);
    for queue in queues.values_mut() {
        chance.split(u64::MAX).shuffle(queue);
    }
    let queues: BTreeMap<Kind, Mutex<Vec<(usize, Trial)>>> = queues
        .into_iter()
        .map(|(kind, queue)| (kind, Mutex::new(queue)))
        .collect();
    let done = Mutex::new(Vec::with_capacity(total));
    let count = AtomicUsize::new(0);
    let work = |queue: &Mutex<Vec<(usize, Trial)>>| -> Result<()> {
        world.enter()?;
        while !stop.told() {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((number, trial)) = next else {
                break;
            };
            let mut seed = chance.split(number as u64);
            let mut result = trial::perform(world, trial, 0, &mut seed);
            for number in 1..ATTEMPTS {
                if result.void.is_none() || stop.told() {
                    break;
                }
                result = trial::perform(world, trial, number, &mut seed);
            }
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(result);
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    // On a slow machine six would crowd each other out of the times that tell failures apart.
    let slowness = usize::try_from(slowness()).unwrap_or(usize::MAX);
    let at_once = (AT_ONCE / slowness).max(1);
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for queue in queues.values() {
            for _ in 0..at_once {
                workers.push(scope.spawn(|| work(queue)));
            }
        }
        let progress = Progress::new("trials", total);
        await_all(workers, progress, || count.load(Ordering::Relaxed))
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Shows how many are done until all workers have ended; gives the error of the first that had one.
fn await_all(
    workers: Vec<ScopedJoinHandle<'_, Result<()>>>,
    mut progress: Progress,
    done: impl Fn() -> usize,
) -> Result<()> {
    while workers.iter().any(|worker| !worker.is_finished()) {
        progress.show(done());
        std::thread::sleep(Duration::from_millis(100));
    }
    progress.end();
    for worker in workers {
        match worker.join() {
            Ok(result) => result?,
            Err(_) => bail!("a worker of the lab panicked"),
        }
    }
    Ok(())
}

/// Compares, counts, and writes down what was not right.
fn conclude(
    options: &Options,
    choice: &Choice,
    kinds: &[Kind],
    done: &[Done],
    mut controls: Vec<Ran>,
    ends: &[(View, Ended)],
    logs: &BTreeMap<(Kind, Place), Logs>,
) -> Result<Outcome> {
    let mut tally = Tally::default();
    // What an attempt left that did not come about, or was made again, is not judged either: some of
    // its requests really failed, in another way than the one wanted.
    let again = done.iter();
    let again = again.filter(|one| one.void.is_some() || one.path.contains(trial::AGAIN));
    let retried: Vec<String> = again.map(|one| one.trial.to_string()).collect();
    let mut stray = 0;
    let mut lost = 0;
    let mut notes: Vec<Value> = Vec::new();
    let saved = saved_to()?;
    for (view, ended) in ends {
        let file = format!("{view:?}.ndjson").to_ascii_lowercase();
        fs::write(saved.join(file), ended.stdout())?;
        for (_, loss) in ended.of_type("loss") {
            lost += loss["count"].as_u64().unwrap_or(0);
        }
        let all = ended.cases();
        let mut cases: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for case in &all {
            cases.entry(path_of(case)).or_default().push(case);
        }
        for one in done {
            if !one.trial.variant.counts_in(*view) {
                continue;
            }
            let mine = cases.remove(one.path.as_str()).unwrap_or_default();
            if one.void.is_some() {
                tally.void(&one.trial, *view);
            } else {
                let verdict = judge(one.trial.variant, *view, &mine);
                tally.add(&one.trial, *view, &verdict);
                let place = (one.trial.kind, one.trial.variant.way.place());
                let log = one.client.zip(logs.get(&place));
                let log = log.map(|(client, logs)| logs.of(&one.path, client));
                let mut badly_joined = false;
                if let Some(log) = &log {
                    tally.log(&one.trial, *view, log);
                    let joins = joined::compare(one.trial.kind, &mine, log);
                    tally.joined(&one.trial, *view, &joins);
                    badly_joined = !joins.is_good();
                }
                if verdict == Verdict::Right && !badly_joined {
                    continue;
                }
                let log = log.unwrap_or_default();
                let note = json!({
                    "trial": one.trial.to_string(), "view": view.name(),
                    "verdict": format!("{verdict:?}"), "expected": format!("{:?}", one.trial.variant.expect(*view)),
                    "client": one.met, "log": log.errors.iter().chain(&log.access).collect::<Vec<_>>(),
                    "cases": mine,
                });
                notes.push(note);
                continue;
            }
            notes
                .push(json!({"trial": one.trial.to_string(), "void": one.void, "client": one.met}));
        }
        if *view == View::Left {
            // It reports every failure that is not an answer, and the others judge those.
            continue;
        }
        for case in cases.into_values().flatten() {
            if is_helper(case) || is_attempt(path_of(case), &retried) {
                continue;
            }
            if let Some(control) = control_of(&mut controls, case) {
                if control.hostile {
                    continue;
                }
                control.result.false_cases += 1;
            } else {
                stray += 1;
            }
            notes.push(json!({"false": true, "view": view.name(), "case": case}));
        }
    }
    let lines: String = notes.iter().map(|note| format!("{note}\n")).collect();
    fs::write(saved.join("not-right.ndjson"), lines)?;
    eprintln!(
        "lab: what the tracer said, and what was not right, is in {}",
        saved.display()
    );
    let impossible: Vec<_> = table::IMPOSSIBLE
        .iter()
        .flat_map(|part| part.iter())
        .filter(|one| choice.wants(one.kind) && choice.wants_row(one.id))
        .copied()
        .collect();
    let controls: Vec<tally::Control> = controls.into_iter().map(|ran| ran.result).collect();
    let findings = report::Findings {
        seed: options.seed,
        kinds,
        tally: &tally,
        impossible: &impossible,
        controls: &controls,
        stray,
        lost,
        notes: &notes,
    };
    Ok(Outcome {
        json: report::json(&findings),
        text: report::text(&findings),
        held: tally::held(&tally, findings.false_cases()),
    })
}

/// A directory of this run. Two runs at once do not overwrite each other's files.
fn saved_to() -> Result<PathBuf> {
    let directory = crate::paths::root().join(format!("target/lab/{}", std::process::id()));
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    Ok(directory)
}

/// How far it has got, on standard error: drawn again and again on a terminal, else a line now and
/// then.
struct Progress {
    what: &'static str,
    total: usize,
    terminal: bool,
    started: Instant,
    said: Duration,
}

impl Progress {
    fn new(what: &'static str, total: usize) -> Self {
        Self {
            what,
            total,
            terminal: std::io::IsTerminal::is_terminal(&std::io::stderr()),
            started: Instant::now(),
            said: Duration::ZERO,
        }
    }

    fn show(&mut self, done: usize) {
        let elapsed = self.started.elapsed();
        let text = format!(
            "lab: {done} of {} {}, {} s",
            self.total,
            self.what,
            elapsed.as_secs()
        );
        if self.terminal {
            eprint!("\r{text}\x1b[K");
        } else if elapsed > self.said + Duration::from_secs(10) {
            self.said = elapsed;
            eprintln!("{text}");
        }
    }

    fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_of_a_trial_are_known_by_its_name() {
        let trials = ["E15-nginx-crossing-1".to_owned()];
        for (path, expected) in [
            ("/ok/E15-nginx-crossing-1", true),
            ("/ok/E15-nginx-crossing-1-54", true),
            ("/ok/W-E15-nginx-crossing-1-54", true),
            ("/ok/E15-nginx-crossing-1-again2-3", true),
            ("/ok/E15-nginx-crossing-10", false),
            ("/ok/E15-haproxy-crossing-1", false),
            ("", false),
        ] {
            assert_eq!(is_attempt(path, &trials), expected, "{path}");
        }
        assert!(!is_attempt("/ok/x", &[]));
    }
}
