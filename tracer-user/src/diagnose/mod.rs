//! Rules: from a case's facts to a verdict.
//!
//! [`rules`] is the one definition that `explain`, the documents and the reports print from.
//! [`judge`] asks the rules in their order; the first that finds its evidence gives the verdict.
//! No rule fires on absence alone: [`unexplained`](rules()) is the answer when the evidence does not
//! reach.

mod errno;
mod evidence;
mod facts;
mod handshake;
pub(crate) mod idle;
pub mod page;
mod process_end;
mod refusal;
mod rules;
pub(crate) mod words;

pub use errno::{describe as describe_errno, symbol as errno_symbol};
pub use facts::{
    Around, AtPeerEnd, AttemptFacts, CaseFacts, End, FailureWas, FirstBytes, HiddenBy, NameFailure,
    NameSays, PeerHalf, Phase, ProcessEnd, Progress, RecentFailure, TlsAnswer, TlsFacts, WantsTls,
};

#[cfg(test)]
pub(crate) use facts::testing;

use crate::case::{Confidence, EndedBy, Evidence, How, Outcome, Remedy, SeenFrom, Verdict};
use crate::event::{MonoNs, ProxyKind};
use evidence::Fact;

/// One cause of a failed response: how it is recognised and what to do about it.
#[derive(Debug)]
pub struct Rule {
    /// Id (contract): never changes.
    pub id: &'static str,
    /// A heading of a few words.
    pub title: &'static str,
    /// What happens, in a few sentences.
    pub explanation: &'static str,
    /// What must have been seen.
    pub evidence: &'static [&'static str],
    /// What it is often taken for, and what separates them.
    pub confused_with: &'static [Confusion],
    /// How to confirm it by hand: commands, and what to look for in which log.
    pub confirm: &'static [&'static str],
    /// What to change, most useful first.
    pub remedies: &'static [Advice],
    decide: fn(&Context<'_>) -> Option<Finding>,
}

/// A neighbour of a rule.
#[derive(Debug)]
pub struct Confusion {
    /// A rule id, or the name of something that is no rule.
    pub with: &'static str,
    /// What separates the two.
    pub difference: &'static str,
}

/// A change that helps, for one target.
#[derive(Debug)]
pub struct Advice {
    /// One of [`TARGETS`].
    pub target: &'static str,
    /// The directive or action.
    pub change: &'static str,
    /// Why it helps.
    pub why: &'static str,
}

/// What an [`Advice`] can be for. Those from `alb` on are managed balancers and appliances, which
/// `explain` and the documents name and which are no remedy on a proxy's own host.
pub const TARGETS: [&str; 12] = [
    "nginx",
    "haproxy",
    "envoy",
    "apache",
    "backend",
    "network",
    "alb",
    "nlb",
    "app-gateway",
    "front-door",
    "gcp",
    "big-ip",
];

impl Rule {
    /// The changes that concern a proxy of this kind, its backends and the network.
    pub fn remedies_for(&self, proxy: &ProxyKind) -> Vec<Remedy> {
        self.remedies
            .iter()
            .filter(|advice| {
                matches!(advice.target, "backend" | "network") || advice.target == proxy.name()
            })
            .map(|advice| Remedy {
                target: advice.target.to_owned(),
                change: advice.change.to_owned(),
                why: advice.why.to_owned(),
            })
            .collect()
    }
}

/// What a rule is asked about: one attempt of a case, or a case without any.
struct Context<'a> {
    case: &'a CaseFacts,
    attempt: Option<&'a AttemptFacts>,
    /// This attempt decided what the client got.
    deciding: bool,
}

impl Context<'_> {
    /// What ended the attempt first. A proxy may answer with an error while it still holds the
    /// connection: with its answer it has given up.
    fn end(&self, attempt: &AttemptFacts) -> Option<(End, MonoNs)> {
        let answered = self.deciding && self.case.outcome == Outcome::ErrorResponse;
        attempt
            .first_end()
            .or_else(|| answered.then_some((End::Proxy, attempt.exchange.time_ns)))
    }

    /// Had the client of this attempt left before it ended? One that got the error had not, whatever
    /// a guessed link says.
    fn client_had_left(&self, attempt: &AttemptFacts) -> bool {
        let answered = self.deciding && self.case.outcome == Outcome::ErrorResponse;
        !answered && attempt.client_had_left()
    }

    /// The case, if it is an error response that no backend connection took up.
    fn alone(&self) -> Option<&CaseFacts> {
        let case = self.case;
        (self.attempt.is_none()
            && !case.taken_up
            && case.seen_from == SeenFrom::Proxy
            && case.outcome == Outcome::ErrorResponse)
            .then_some(case)
    }
}

/// What a rule answers.
#[derive(Debug)]
struct Finding {
    ended_by: EndedBy,
    how: How,
    /// What happened: a clause that begins with who did it.
    what: String,
    /// Was the request delivered? A clause; empty where it says nothing.
    delivery: String,
    facts: Vec<Fact>,
}

/// All rules in the order in which they are asked.
pub fn rules() -> &'static [Rule] {
    rules::RULES
}

/// The rule of that id.
pub fn rule(id: &str) -> Option<&'static Rule> {
    rules().iter().find(|rule| rule.id == id)
}

/// Who ended the attempt of that index, and how.
pub fn ending(case: &CaseFacts, attempt: usize) -> (EndedBy, How) {
    let (_, finding) = classify(
        case,
        case.attempts.get(attempt),
        attempt + 1 == case.attempts.len(),
    );
    (finding.ended_by, finding.how)
}

/// Says why the case happened.
///
/// 1. the last attempt decides what the client got; its rule is the verdict's;
/// 2. the confidence is that of the tie between this attempt and the response, but `none` where
///    the backend's own answer or nothing at all explains it;
/// 3. what was inferred and not seen makes it weak at most;
/// 4. earlier attempts are cited as evidence, each with its own rule.
pub fn judge(case: &CaseFacts) -> Verdict {
    let last = case.attempts.len().checked_sub(1);
    let (rule, mut finding) = classify(case, case.deciding(), true);
    for about in [
        evidence::unseen,
        evidence::request_unread,
        evidence::tls_answer,
    ] {
        finding.facts.extend(case.deciding().and_then(about));
    }
    if case.tie == Confidence::Weak {
        finding
            .facts
            .extend(case.deciding().and_then(evidence::equal));
    }
    let inferred = finding.facts.iter().any(Fact::is_inferred);
    let mut evidence: Vec<Evidence> = finding
        .facts
        .into_iter()
        .map(|fact| fact.of_attempt(last))
        .collect();
    if case.tie == Confidence::Weak && case.attempts.len() > 1 {
        evidence.push(evidence::candidates(case).of_attempt(None));
    } else {
        for (index, attempt) in case.attempts.iter().enumerate().take(last.unwrap_or(0)) {
            let (rule, finding) = classify(case, Some(attempt), false);
            let fact = evidence::earlier_attempt(index, rule.id, &finding.what);
            evidence.push(fact.of_attempt(Some(index)));
        }
    }
    let mut what = finding.what;
    let mut because = None;
    if let Some((cause, fact)) = case.deciding().and_then(process_end::cause) {
        because = Some(cause);
        what = format!("{what}, because {}", fact.text());
        evidence.push(fact.of_attempt(last));
    }
    let confidence = match rule.id {
        "application-502" | "unexplained" => Confidence::None,
        _ if inferred => case.tie.min(Confidence::Weak),
        _ => case.tie,
    };
    Verdict {
        rule: rule.id,
        confidence,
        inferred,
        because,
        summary: summary(case, &what, &finding.delivery),
        evidence,
        remedies: rule.remedies_for(&case.proxy),
        agrees_with_log: None,
    }
}

/// The first rule that finds its evidence. The last of the table always does.
fn classify(
    case: &CaseFacts,
    attempt: Option<&AttemptFacts>,
    deciding: bool,
) -> (&'static Rule, Finding) {
    let context = Context {
        case,
        attempt,
        deciding,
    };
    rules()
        .iter()
        .find_map(|rule| Some((rule, (rule.decide)(&context)?)))
        .unwrap_or_else(|| {
            (
                &rules::unexplained::RULE,
                rules::unexplained::find(&context),
            )
        })
}

fn summary(case: &CaseFacts, what: &str, delivery: &str) -> String {
    if case.seen_from == SeenFrom::Backend {
        let client = case.deciding().map(|attempt| attempt.exchange.local.ip());
        let client = client.map_or_else(|| "the client".to_owned(), |ip| ip.to_string());
        let got = format!("what {client} made of it is in its own log");
        return [what, &got].join("; ") + ".";
    }
    let status = case
        .status
        .map_or_else(|| "an answer".to_owned(), |status| status.to_string());
    let got = match (case.outcome, case.hidden_by) {
        (Outcome::ErrorResponse, _) => format!("the client got {status} from {}", case.proxy),
        (Outcome::Masked, Some(HiddenBy::Proxy)) => {
            format!(
                "{} hid it with an answer of its own: the client got {status}",
                case.proxy
            )
        }
        (Outcome::Masked, _) => format!("a retry hid it: the client got {status}"),
        (Outcome::Truncated, _) => match case.client_bytes {
            Some(bytes) => format!(
                "the client's response was cut after {}",
                words::bytes(bytes)
            ),
            None => "the client's response was cut".to_owned(),
        },
        (Outcome::Dropped, _) => "the client's connection ended without a response".to_owned(),
    };
    [what, delivery, &got]
        .into_iter()
        .filter(|clause| !clause.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
        + "."
}

#[cfg(test)]
mod tests;
