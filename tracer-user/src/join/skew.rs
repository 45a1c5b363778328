//! How far a log's clock and ours are apart.

use std::collections::BTreeMap;

use super::fit::{Told, trace_id};
use super::sighting::Sighting;

/// Farther apart than this no two clocks are taken to be.
const MOST_NS: i64 = 3_600_000_000_000;
/// Votes this close together are for the same difference.
const BUCKET_NS: i64 = 200_000_000;
/// Fewest pairs that agree before a difference is believed that no id proves.
const VOTES_MIN: usize = 3;
/// Pairs that are looked at.
const PAIRS_MAX: usize = 200_000;

/// The difference of two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skew {
    /// The log's clock minus ours, ns.
    pub(super) ns: i64,
    /// Pairs that say so.
    pub(super) pairs: usize,
}

/// Pairs whose ids or ports are equal prove it; without any, pairs to the same backend vote.
pub(super) fn estimate(lines: &[&Sighting], cases: &[&Told]) -> Option<Skew> {
    proven(lines, cases).or_else(|| voted(lines, cases))
}

/// The middle one of these differences.
pub(super) fn median(mut differences: Vec<i64>) -> Option<Skew> {
    differences.sort_unstable();
    let ns = *differences.get(differences.len() / 2)?;
    let pairs = differences.len();
    Some(Skew { ns, pairs })
}

/// The line's time minus the case's. A time that was cut to whole seconds lies in the middle of its
/// second as likely as anywhere.
pub(super) fn difference(line: &Sighting, case: &Told) -> i64 {
    let at = line.at.saturating_add(line.resolution_ns / 2);
    at.cast_signed().saturating_sub(case.at.cast_signed())
}

fn proven(lines: &[&Sighting], cases: &[&Told]) -> Option<Skew> {
    let mut by_id: BTreeMap<String, &Told> = BTreeMap::new();
    let mut by_ends: BTreeMap<(std::net::SocketAddr, u16), Vec<&Told>> = BTreeMap::new();
    for case in cases {
        for id in case.request_ids.iter().chain(&case.trace_id) {
            by_id.insert(id.clone(), case);
        }
        for (upstream, local, _) in &case.attempts {
            let Some(local) = local else { continue };
            by_ends
                .entry((*upstream, local.port()))
                .or_default()
                .push(case);
        }
    }
    let differences = lines.iter().filter_map(|line| {
        let trace = line.traceparent.as_deref().and_then(trace_id);
        let ids = [line.request_id.clone(), trace];
        if let Some(case) = ids.iter().flatten().find_map(|id| by_id.get(id)) {
            return Some(difference(line, case));
        }
        let last = line.attempts.last()?;
        let port = last.local.map(|local| local.port()).or(last.local_port)?;
        let ends = (super::fit::canonical(last.addr?), port);
        // A port that came again proves nothing.
        let [only] = by_ends.get(&ends)?.as_slice() else {
            return None;
        };
        Some(difference(line, only))
    });
    median(differences.filter(|ns| ns.abs() <= MOST_NS).collect())
}

fn voted(lines: &[&Sighting], cases: &[&Told]) -> Option<Skew> {
    let mut buckets: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let (mut voters, mut pairs) = (0_usize, 0_usize);
    for line in lines {
        let Some(last) = line.attempts.last().filter(|last| last.names_backend()) else {
            continue;
        };
        voters += 1;
        for case in cases {
            let same = case.attempts.iter().any(|(up, _, _)| last.is_to(*up));
            let paths = (&line.path, &case.path);
            let other = matches!(paths, (Some(a), Some(b)) if a != b);
            let apart = difference(line, case);
            if same && !other && apart.abs() <= MOST_NS {
                buckets
                    .entry(apart.div_euclid(BUCKET_NS))
                    .or_default()
                    .push(apart);
                pairs += 1;
            }
            if pairs > PAIRS_MAX {
                return None;
            }
        }
    }
    // A cluster may lie across the border of two buckets.
    let together = |bucket: i64| {
        let near = buckets.range(bucket..=bucket + 1);
        near.flat_map(|(_, votes)| votes)
            .copied()
            .collect::<Vec<i64>>()
    };
    let best = buckets
        .keys()
        .max_by_key(|bucket| (together(**bucket).len(), -bucket.abs()))?;
    let votes = together(*best);
    let needed = VOTES_MIN.max(voters.min(cases.len()) / 2);
    (votes.len() >= needed).then(|| median(votes)).flatten()
}
