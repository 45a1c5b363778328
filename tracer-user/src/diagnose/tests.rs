//! Properties of the whole table.

use std::collections::HashSet;

use super::testing::{AttemptBuilder, case};
use super::*;

/// Class names of the catalogue of causes, and `unexplained`.
pub(super) const CONTRACT: [&str; 42] = [
    "connect-refused",
    "connect-timeout",
    "connect-unreachable",
    "local-port-exhausted",
    "local-fd-exhausted",
    "listen-queue-overflow",
    "no-backend-available",
    "name-resolution-failed",
    "queue-timeout",
    "tls-peer-closed",
    "tls-reset",
    "tls-alert-from-backend",
    "tls-verify-failed",
    "tls-to-plaintext",
    "plaintext-to-tls",
    "tls-handshake-timeout",
    "keepalive-race",
    "idle-drop-by-middlebox",
    "fin-before-response",
    "rst-before-response",
    "backend-process-exit",
    "backend-restart",
    "response-timeout",
    "request-body-rejected",
    "informational-only-response",
    "partial-header",
    "header-too-large",
    "malformed-response",
    "conflicting-framing",
    "protocol-version-mismatch",
    "upgrade-refused",
    "body-truncated-fin",
    "body-truncated-rst",
    "body-stalled",
    "chunk-framing-invalid",
    "body-longer-than-declared",
    "mtu-black-hole",
    "packet-loss",
    "path-reset",
    "application-502",
    "client-abort",
    "unexplained",
];

#[test]
fn ids_are_those_of_the_contract() {
    let ids: HashSet<&str> = rules().iter().map(|rule| rule.id).collect();
    assert!(ids.is_subset(&HashSet::from(CONTRACT)), "{ids:?}");
    assert_eq!(ids.len(), rules().len(), "an id stands twice");
    assert_eq!(rules().last().map(|rule| rule.id), Some("unexplained"));
    assert!(rule("no-such-rule").is_none());
}

#[test]
fn every_rule_is_documented() {
    for rule in rules() {
        assert!(rule.explanation.len() > 60, "{}", rule.id);
        assert!(
            !rule.evidence.is_empty() && !rule.confused_with.is_empty() && !rule.confirm.is_empty(),
            "{}",
            rule.id
        );
        for advice in rule.remedies {
            assert!(
                TARGETS.contains(&advice.target),
                "{}: {}",
                rule.id,
                advice.target
            );
        }
        for text in rule
            .remedies
            .iter()
            .flat_map(|advice| [advice.change, advice.why])
            .chain([rule.explanation])
            .chain(rule.evidence.iter().chain(rule.confirm).copied())
        {
            assert!(
                !text.contains("  #") || text.split("  #").count() == 2,
                "{text}"
            );
            assert!(!text.contains('\n'), "{text}");
        }
    }
}

#[test]
fn remedies_fit_the_proxy() {
    let race = rule("keepalive-race").unwrap();
    let targets = |proxy: &ProxyKind| -> Vec<String> {
        race.remedies_for(proxy)
            .into_iter()
            .map(|r| r.target)
            .collect()
    };
    assert_eq!(targets(&ProxyKind::Haproxy), ["haproxy", "backend"]);
    assert_eq!(targets(&ProxyKind::Other("pound".into())), ["backend"]);
}

#[test]
fn confidence_is_that_of_the_tie() {
    let mut facts = case(
        ProxyKind::Nginx,
        502,
        vec![
            AttemptBuilder::sent().fin(3).closed(3).build(),
            AttemptBuilder::sent().fin(9).closed(9).build(),
        ],
    );
    for tie in [Confidence::Weak, Confidence::Strong, Confidence::Exact] {
        facts.tie = tie;
        let verdict = judge(&facts);
        assert_eq!(verdict.confidence, tie);
        let names: Vec<_> = verdict.evidence.iter().map(|e| e.fact).collect();
        assert_eq!(names.contains(&"candidates"), tie == Confidence::Weak);
        assert_eq!(names.contains(&"earlier-attempt"), tie != Confidence::Weak);
    }
}

#[test]
fn summaries_say_what_the_client_got() {
    let mut facts = case(
        ProxyKind::Nginx,
        502,
        vec![AttemptBuilder::connecting().reset(0).closed(0).build()],
    );
    for (outcome, status, hidden_by, want) in [
        (
            Outcome::ErrorResponse,
            Some(502),
            None,
            "10.0.0.5:8080 refused the connection after 1.00 ms; the request was never sent, so a retry is safe; \
             the client got 502 from nginx.",
        ),
        (
            Outcome::Masked,
            Some(200),
            Some(HiddenBy::Retry),
            "a retry hid it: the client got 200.",
        ),
        (
            Outcome::Masked,
            Some(200),
            Some(HiddenBy::Proxy),
            "nginx hid it with an answer of its own: the client got 200.",
        ),
        (
            Outcome::Dropped,
            None,
            None,
            "the client's connection ended without a response.",
        ),
        (
            Outcome::Truncated,
            Some(200),
            None,
            "the client's response was cut after 150 bytes.",
        ),
    ] {
        (facts.outcome, facts.status, facts.hidden_by) = (outcome, status, hidden_by);
        let summary = judge(&facts).summary;
        assert!(summary.ends_with(want), "{summary}");
    }
}
