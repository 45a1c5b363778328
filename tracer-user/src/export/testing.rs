//! What the tests of this folder have in common.

use super::resource::{Origin, ResourceConfig};
use crate::case::Case;
use crate::report::fixture;

pub(super) fn origin() -> Origin {
    Origin::new(&fixture::start(), ResourceConfig::default())
}

/// One case of each kind of trace: joined, without attempts, a retry, hostile.
pub(super) fn cases() -> Vec<Case> {
    let mut alone = fixture::reuse_race();
    alone.id = "alone".into();
    alone.downstream.request = None;
    alone.attempts.clear();
    alone.outcome = crate::case::Outcome::Dropped;
    alone.status = None;
    let mut unsampled = fixture::masked();
    unsampled.id = "unsampled".into();
    if let Some(request) = &mut unsampled.downstream.request {
        let header = request.traceparent.take().unwrap_or_default();
        request.traceparent = Some(header.replace("-01", "-00"));
    }
    for attempt in &mut unsampled.attempts {
        attempt.request = None;
    }
    vec![
        fixture::reuse_race(),
        fixture::masked(),
        alone,
        unsampled,
        hostile(),
    ]
}

/// Every text that somebody else chose is long and tries to act.
pub(super) fn hostile() -> Case {
    let evil = format!("\x1b[2J\r\n\u{202e}\"\\{}\t\0", "evil".repeat(2_000));
    let mut case = fixture::reuse_race();
    case.id.clone_from(&evil);
    case.proxy.kind = crate::event::ProxyKind::Other(evil.clone());
    let downstream = case.downstream.request.iter_mut();
    let upstream = case.attempts.iter_mut().filter_map(|a| a.request.as_mut());
    for request in downstream.chain(upstream) {
        request.method.clone_from(&evil);
        request.path = format!("/{evil}");
        request.protocol = format!("HTTP/{evil}");
        request.host = Some(evil.clone());
        request.request_id = Some(evil.clone());
        request.traceparent = Some(evil.clone());
    }
    case.attempts[0].reset_reason = Some(evil.clone());
    case.attempts[0].events = vec![case.attempts[0].events[2].clone(); 100];
    for event in &mut case.attempts[0].events {
        event.detail = Some(evil.clone());
    }
    case.verdict.summary.clone_from(&evil);
    case.verdict.evidence = vec![case.verdict.evidence[0].clone(); 40];
    for evidence in &mut case.verdict.evidence {
        evidence.text.clone_from(&evil);
    }
    case.verdict.remedies = vec![
        crate::case::Remedy {
            target: evil.clone(),
            change: evil.clone(),
            why: evil.clone(),
        };
        40
    ];
    if let Some(log) = &mut case.log {
        log.line.clone_from(&evil);
    }
    case
}

/// Holds documents, one a line, to the file in `golden/`; `WHY502_BLESS=1` writes it.
pub(super) fn golden(name: &str, payloads: &[crate::deliver::Payload]) {
    let mut text = String::new();
    for payload in payloads {
        let document: serde_json::Value = serde_json::from_slice(&payload.body).unwrap();
        // For the reader of a change; the documents themselves have no spaces.
        text.push_str(&format!("{document:#}\n"));
    }
    golden_text(name, &text);
}

/// Like [`golden`], for text.
pub(super) fn golden_text(name: &str, text: &str) {
    // A new version changes nothing else.
    let text = text.replace(super::resource::VERSION, "VERSION");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/export/golden");
    let path = path.join(name);
    if std::env::var_os("WHY502_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{name} is not as it was (WHY502_BLESS=1 writes it anew):\n{text}"
    );
}
