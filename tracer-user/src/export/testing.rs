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

/// A response of 10.0.0.6 that was cut after 6.1 ms.
pub(super) fn truncated() -> Case {
    let mut case = fixture::masked();
    case.id = "cut".into();
    case.outcome = crate::case::Outcome::Truncated;
    case.attempts.remove(0);
    let attempt = &mut case.attempts[0];
    attempt.how = crate::case::How::Fin;
    let mut last = attempt.events[0].clone();
    (last.t_us, last.event) = (6_300, "response_last_byte");
    attempt.events.push(last);
    case
}

/// What the kernel counted of a backend.
pub(super) fn snapshot(upstream: &str, exchanges: u64) -> crate::event::BackendSnapshot {
    let bucket = |us| tracer_ebpf::bucket_of_us(us) as u16;
    crate::event::BackendSnapshot {
        upstream: upstream.parse().unwrap(),
        connects: 3,
        exchanges,
        connect: vec![(bucket(180), 2), (bucket(1_200), 1)],
        ttfb: vec![(bucket(900), 40), (bucket(1_400_000), 1)],
        total: vec![(bucket(0), 1), (bucket(2_500), 40), (bucket(1_500_000), 8)],
        idle_reused_max_us: None,
        idle_closed_min_us: None,
        idle_closed: 0,
    }
}

mod names {
    use super::{cases, origin, truncated};
    use crate::export::{Metrics, spans};

    /// Every name that is exported stands in docs/export.md.
    #[test]
    fn every_name_is_documented() {
        let doc = include_str!("../../../docs/export.md");
        let is_there = |name: &str| assert!(doc.contains(&format!("`{name}`")), "{name}");
        let mut metrics = Metrics::new();
        for case in cases().iter().chain([&truncated()]) {
            metrics.case(case, &origin());
            let proxy = &case.proxy;
            let resource = origin().resource(Some(&proxy.kind), Some(proxy.pid));
            for span in spans::of(case, &origin()) {
                let events = span.events.iter().flat_map(|event| event.attributes.iter());
                let all = resource.iter().chain(span.attributes.iter()).chain(events);
                all.for_each(|(name, _)| is_there(name));
            }
        }
        for family in metrics.families() {
            is_there(family.name);
            assert!(
                doc.contains(&family.name.replace('.', "_")),
                "{}",
                family.name
            );
        }
    }
}
