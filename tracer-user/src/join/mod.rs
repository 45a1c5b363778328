//! Joins the lines of logs to cases.
//!
//! Cases wait a moment for their lines, lines for their cases. What a line and a case have in common
//! decides ([`fit`]); where several fit equally well, the order of time pairs them only if there are as
//! many of one as of the other, and else nothing is joined. A line that no case is about may be the
//! only one to know of a failure (a client behind TLS): then the kernel's cause is looked for.

mod choose;
mod counts;
mod fit;
mod pool;
mod sighting;
mod skew;

use std::collections::BTreeMap;

use crate::case::{Case, Confidence, Evidence, JoinKey};
use crate::correlate::Correlator;
use crate::event::{HostRole, LogRead, LogSource, MonoNs, SessionStart};
use crate::logs::{Blame, Kind};
use crate::report::Clock;
use counts::Counts;
pub(crate) use counts::JoinCounts;
use fit::{Fit, SLACK_NS, Told, fit};
use pool::{Pool, marks_of_case, marks_of_line};
pub(crate) use sighting::{SightedAttempt, Sighting};

/// A case waits this long for lines about it.
const CASE_WAITS_NS: u64 = 1_200_000_000;
/// A line waits this long for its case.
const LINE_WAITS_NS: u64 = 2_500_000_000;
/// What an error log tells of, an access log tells with its status: those lines go first.
const ERROR_WAITS_NS: u64 = LINE_WAITS_NS + 300_000_000;
/// Lines that come late still find that their case is known.
const REMEMBERED_NS: u64 = 10_000_000_000;
/// Cases that wait at once, and that are remembered.
const CASES_MAX: usize = 16_384;
/// Cases of a recording, whose logs are read whole.
const CASES_MAX_AT_END: usize = 100_000;
/// Lines that wait at once.
const LINES_MAX: usize = 65_536;
const LINES_MAX_AT_END: usize = 500_000;
/// Logs of another host whose clock could not be compared with ours may be this far off.
const UNKNOWN_SKEW_NS: u64 = 2_000_000_000;

/// When lines and cases are brought together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// There are no logs.
    #[default]
    Off,
    /// While both come.
    Live,
    /// When all have come.
    AtEnd,
}

#[derive(Debug)]
struct Waiting {
    case: Case,
    told: Told,
}

/// A log file, and whether it is about more than access.
type Stream = (bool, String);

/// A case that was let go.
#[derive(Debug)]
struct Known {
    told: Told,
    /// Where several lines were as good: one of those may be its own still.
    ambiguous: Vec<Stream>,
}

/// Cases and lines that wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    mode: Mode,
    clock: Clock,
    utc_offset_s: i32,
    other_host: bool,
    statuses: Vec<u16>,
    slack_ns: u64,
    cases: Pool<Waiting>,
    lines: Pool<Sighting>,
    known: Pool<Known>,
    counts: Counts,
}

impl Joiner {
    pub(crate) fn start(&mut self, start: &SessionStart) {
        self.clock = Clock::of(start);
        self.utc_offset_s = start.utc_offset_s;
        self.statuses.clone_from(&start.statuses);
        self.other_host = start.role == HostRole::Backend;
        self.slack_ns = SLACK_NS;
        if start.logs && self.mode == Mode::Off {
            self.mode = Mode::Live;
        }
    }

    /// Logs are read whole, after the recording.
    pub(crate) fn wait_for_all(&mut self) {
        self.mode = Mode::AtEnd;
    }

    pub(crate) fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    /// A line was read.
    pub(crate) fn line(&mut self, read: &LogRead) {
        let Some(line) = Sighting::new(read, self.clock, self.utc_offset_s) else {
            return;
        };
        // It tells of a backend or of the proxy, not of a request.
        if matches!(line.kind, Kind::Health | Kind::Connection) {
            return;
        }
        self.counts.of(&read.path).failures += 1;
        let (most, waits) = match (self.mode, line.kind) {
            (Mode::AtEnd, _) => (LINES_MAX_AT_END, MonoNs::MAX),
            (_, Kind::Error) => (LINES_MAX, ERROR_WAITS_NS),
            (_, _) => (LINES_MAX, LINE_WAITS_NS),
        };
        if self.lines.len() >= most {
            self.counts.of(&read.path).let_go += 1;
            return;
        }
        self.add_line(line, waits);
    }

    fn add_line(&mut self, line: Sighting, waits: u64) {
        let marks = marks_of_line(&line);
        let deadline = line.read_at.saturating_add(waits);
        self.lines.insert(line, marks, deadline);
    }

    pub(crate) fn sources(&mut self, sources: &[LogSource]) {
        self.counts.sources(sources);
    }

    /// What became of the lines, by file.
    pub(crate) fn counts(&self) -> Vec<JoinCounts> {
        self.counts.list()
    }

    /// Takes new cases, and gives those that have waited long enough.
    pub(crate) fn advance(
        &mut self,
        new: Vec<Case>,
        now: MonoNs,
        correlator: &mut Correlator,
    ) -> Vec<Case> {
        let (most, waits) = match self.mode {
            Mode::AtEnd => (CASES_MAX_AT_END, MonoNs::MAX),
            Mode::Live | Mode::Off => (CASES_MAX, CASE_WAITS_NS),
        };
        for case in new {
            self.add_case(case, now.saturating_add(waits));
        }
        let mut ready = Vec::new();
        while let Some(id) = self.cases.due(now) {
            ready.extend(self.resolve(id));
        }
        while self.cases.len() > most
            && let Some(id) = self.cases.first()
        {
            self.counts.hurried += 1;
            ready.extend(self.resolve(id));
        }
        while let Some(id) = self.lines.due(now) {
            ready.extend(self.unclaimed(id, now, correlator));
        }
        while let Some(id) = self.known.due(now) {
            self.known.remove(id);
        }
        ready
    }

    /// Nothing more will come.
    pub(crate) fn finish(
        &mut self,
        new: Vec<Case>,
        now: MonoNs,
        correlator: &mut Correlator,
    ) -> Vec<Case> {
        for case in new {
            self.add_case(case, now);
        }
        if self.mode == Mode::AtEnd {
            if self.other_host {
                self.set_clock();
            }
            self.leave_out(now);
        }
        let mut ready = Vec::new();
        while let Some(id) = self.cases.first() {
            ready.extend(self.resolve(id));
        }
        // Lines with a status tell more of a failure than lines without.
        for access in [true, false] {
            let ids: Vec<u64> = self
                .lines
                .iter()
                .filter(|(_, line)| (line.kind == Kind::Access) == access)
                .map(|(id, _)| id)
                .collect();
            for id in ids {
                ready.extend(self.unclaimed(id, now, correlator));
            }
        }
        ready.sort_by(|a, b| (a.time_ns, &a.id).cmp(&(b.time_ns, &b.id)));
        ready
    }

    fn add_case(&mut self, case: Case, deadline: MonoNs) -> u64 {
        let told = Told::of(&case);
        let marks = marks_of_case(&told);
        self.cases.insert(Waiting { case, told }, marks, deadline)
    }

    /// Finds out how far the clock of the log's host is off, and puts its lines where they belong.
    fn set_clock(&mut self) {
        let cases: Vec<&Told> = self
            .cases
            .iter()
            .map(|(_, waiting)| &waiting.told)
            .collect();
        let lines: Vec<&Sighting> = self.lines.iter().map(|(_, line)| line).collect();
        let found = skew::estimate(&lines, &cases);
        let Some(skew) = found else {
            self.slack_ns = UNKNOWN_SKEW_NS;
            return;
        };
        self.counts.skew = Some(skew);
        let ids: Vec<u64> = self.lines.iter().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(line) = self.lines.remove(id) {
                self.add_line(line.shifted(skew.ns), MonoNs::MAX);
            }
        }
    }

    /// Lets go of lines about what happened before the session or behind it.
    fn leave_out(&mut self, now: MonoNs) {
        let began = self.clock.mono_ns.saturating_sub(self.slack_ns);
        let ended = now.saturating_add(self.slack_ns);
        let outside = |line: &Sighting| line.to < began || line.from > ended;
        let ids: Vec<u64> = self
            .lines
            .iter()
            .filter(|(_, line)| outside(line))
            .map(|(id, _)| id)
            .collect();
        for line in ids.into_iter().filter_map(|id| self.lines.remove(id)) {
            let counts = self.counts.of(line.stream().0);
            counts.failures = counts.failures.saturating_sub(1);
        }
    }

    /// Gives a case the lines that are about it, and lets it go.
    fn resolve(&mut self, id: u64) -> Option<Case> {
        let told = &self.cases.get(id)?.told;
        let (candidates, crowded) = self.lines.sharing(&marks_of_case(told));
        let mut streams: BTreeMap<Stream, Vec<(Fit, u64)>> = BTreeMap::new();
        for line_id in candidates {
            let Some(line) = self.lines.get(line_id) else {
                continue;
            };
            if let Some(fit) = fit(line, told, self.slack_ns) {
                let (file, kind) = line.stream();
                // Access lines first: they name their requests better.
                let stream = (kind != Kind::Access, file.to_owned());
                streams.entry(stream).or_default().push((fit, line_id));
            }
        }
        let mut taken: Vec<(Fit, u64)> = Vec::new();
        let mut connection = None;
        let mut ambiguous = Vec::new();
        for (stream, mut fits) in streams {
            self.keep_connection(connection, &mut fits);
            match self.choose(id, fits, &stream, crowded) {
                Some(chosen) => {
                    let lines = chosen.iter().filter_map(|(_, id)| self.lines.get(*id));
                    connection = connection.or(lines.filter_map(|line| line.connection).next());
                    taken.extend(chosen);
                }
                None => {
                    self.counts.of(&stream.1).ambiguous_cases += 1;
                    ambiguous.push(stream);
                }
            }
        }
        let Waiting { mut case, told } = self.cases.remove(id)?;
        self.attach(&mut case, &told, taken);
        let remembered = case.time_ns.saturating_add(REMEMBERED_NS);
        let deadline = match self.mode {
            Mode::AtEnd => MonoNs::MAX,
            Mode::Live | Mode::Off => remembered,
        };
        let marks = marks_of_case(&told);
        self.known
            .insert(Known { told, ambiguous }, marks, deadline);
        while self.mode != Mode::AtEnd && self.known.len() > CASES_MAX {
            self.known.first().and_then(|id| self.known.remove(id));
        }
        Some(case)
    }

    /// NGINX writes its number of the client's connection into both of its logs: lines with another
    /// number than that of the line that was found are about other requests.
    fn keep_connection(&self, connection: Option<u64>, fits: &mut Vec<(Fit, u64)>) {
        let Some(connection) = connection else {
            return;
        };
        fits.retain(|(_, id)| {
            let line = self.lines.get(*id);
            line.and_then(|line| line.connection)
                .is_none_or(|other| other == connection)
        });
    }

    /// Puts the lines into the case: the one that says most in front.
    fn attach(&mut self, case: &mut Case, told: &Told, taken: Vec<(Fit, u64)>) {
        let mut found = Vec::new();
        for (fit, id) in taken {
            let Some(line) = self.lines.remove(id) else {
                continue;
            };
            let counts = self.counts.of(line.stream().0);
            counts.joined += 1;
            if fit.key >= JoinKey::Client {
                counts.apart(skew::difference(&line, told));
            }
            found.push((line.kind == Kind::Error, line.at, fit, line));
        }
        found.sort_by_key(|(error, at, fit, _)| (*error, *at, *fit));
        let Some((_, _, sureness, line)) = found.pop() else {
            return;
        };
        let mut log = line.told(sureness.key);
        for (_, _, fit, line) in found {
            log.joined_by = log.joined_by.max(fit.key);
            case.log_more.push(line.told(fit.key));
        }
        let says: &[&str] = log.meaning.map_or(&[], |meaning| meaning.classes);
        let verdict = &mut case.verdict;
        verdict.agrees_with_log = (!says.is_empty() && verdict.rule != "unexplained")
            .then(|| says.contains(&verdict.rule));
        match (verdict.agrees_with_log, log.meaning) {
            (Some(false), Some(meaning)) => verdict.evidence.push(Evidence {
                fact: "log-says-otherwise",
                text: format!("the log says \"{}\": {}", meaning.code, meaning.text),
                attempt: None,
            }),
            // The log names backend and process (DESIGN section 6).
            (Some(true), _)
                if verdict.confidence == Confidence::Weak
                    && !verdict.inferred
                    && case.attempts.len() == 1
                    && sureness.is_sure() =>
            {
                verdict.confidence = Confidence::Strong;
                verdict.evidence.push(Evidence {
                    fact: "log-names-the-backend",
                    text: "the proxy's own log ties this request to this backend".to_owned(),
                    attempt: Some(0),
                });
            }
            _ => {}
        }
        case.log = Some(log);
    }

    /// No case has taken the line: it is about one that is known, or it is all that is known.
    fn unclaimed(&mut self, id: u64, now: MonoNs, correlator: &mut Correlator) -> Option<Case> {
        let line = self.lines.get(id)?;
        let (known, _) = self.known.sharing(&marks_of_line(line));
        let is_known = known
            .into_iter()
            .filter_map(|id| self.known.get(id))
            .any(|known| fit(line, &known.told, self.slack_ns).is_some());
        let counts = self.counts.of(line.stream().0);
        let blame = line.meaning.map(|meaning| meaning.blame);
        let unwatched = line
            .status
            .is_some_and(|status| status >= 500 && !self.statuses.contains(&status));
        if is_known {
            counts.known += 1;
        } else if matches!(blame, Some(Blame::Client | Blame::Proxy)) {
            counts.not_the_backend += 1;
        } else if unwatched {
            counts.unwatched += 1;
        } else if let Some(case) = correlator.logged(line, self.slack_ns) {
            let key = if line.client_addr().is_some() {
                JoinKey::Client
            } else {
                JoinKey::Upstream
            };
            let own = line.told(key);
            let case_id = self.add_case(case, now);
            let mut case = self.resolve(case_id)?;
            if case.log.is_none() {
                self.counts.of(&own.path).joined += 1;
                case.log = Some(own);
            }
            self.lines.remove(id);
            self.counts.from_logs += 1;
            return Some(case);
        } else {
            counts.without_cause(line);
        }
        self.lines.remove(id);
        None
    }
}

#[cfg(test)]
mod tests;
