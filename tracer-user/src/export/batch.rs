//! Cases to documents of bounded size.

use crate::case::{Case, SeenFrom};
use crate::deliver::Payload;

use super::attributes::Attributes;
use super::place::ATTEMPTS_MAX;
use super::resource::Origin;

/// Most spans of a document, as OpenTelemetry's exporters have it (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
const SPANS_MAX: usize = 512;
/// Most bytes of a document, unless a single case has more. Collectors take 20 MiB by default.
const BYTES_MAX: usize = 4 << 20;

/// Makes documents of as many cases as fit into each. `document` gives the document of some cases.
pub(super) fn documents(
    cases: &[Case],
    document: &impl Fn(&[Case]) -> Option<Payload>,
) -> Vec<Payload> {
    let mut payloads = Vec::new();
    let mut rest = cases;
    while !rest.is_empty() {
        let mut spans = 0;
        let fits = |case: &&Case| {
            spans += spans_of(case);
            spans <= SPANS_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (some, others) = rest.split_at(count);
        halve(some, document, &mut payloads);
        rest = others;
    }
    payloads
}

fn halve(
    cases: &[Case],
    document: &impl Fn(&[Case]) -> Option<Payload>,
    payloads: &mut Vec<Payload>,
) {
    let Some(payload) = document(cases) else {
        return;
    };
    if payload.body.len() <= BYTES_MAX || cases.len() < 2 {
        payloads.push(payload);
        return;
    }
    drop(payload);
    let (some, others) = cases.split_at(cases.len() / 2);
    halve(some, document, payloads);
    halve(others, document, payloads);
}

fn spans_of(case: &Case) -> usize {
    match case.seen_from {
        SeenFrom::Proxy => 1 + case.attempts.len().min(ATTEMPTS_MAX),
        SeenFrom::Backend => 1,
    }
}

/// Puts what belongs to one process under its resource, in the order in which processes first come.
pub(super) fn by_resource<T>(
    cases: &[Case],
    origin: &Origin,
    items: impl Fn(&Case) -> Vec<T>,
) -> Vec<(Attributes, Vec<T>)> {
    let mut resources: Vec<(Attributes, Vec<T>)> = Vec::new();
    for case in cases {
        let resource = origin.resource(Some(&case.proxy.kind), Some(case.proxy.pid));
        let items = items(case);
        match resources.iter_mut().find(|(known, _)| *known == resource) {
            Some((_, all)) => all.extend(items),
            None => resources.push((resource, items)),
        }
    }
    resources
}
