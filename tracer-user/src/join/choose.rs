//! Which lines of a log are about a case, among those that fit it.

use std::collections::BTreeMap;

use super::fit::{Fit, Told, fit};
use super::pool::marks_of_line;
use super::{Joiner, Known, Sighting, Stream};

/// Equal lines are told apart by time if the nearest is nearer by this.
const NEARER_NS: u64 = 50_000_000;

impl Joiner {
    /// Lines of one stream that are about the case; `None` if that cannot be told.
    pub(super) fn choose(
        &self,
        id: u64,
        mut fits: Vec<(Fit, u64)>,
        stream: &Stream,
        crowded: bool,
    ) -> Option<Vec<(Fit, u64)>> {
        fits.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let told = &self.cases.get(id)?.told;
        let room = |told: &Told| match stream.0 {
            true => told.attempts.len().max(1),
            false => 1,
        };
        for equal in fits.chunk_by(|a, b| a.0 == b.0) {
            let best = equal[0].0;
            let mut lines = Vec::new();
            let mut rivals: BTreeMap<u64, &Told> = BTreeMap::new();
            for (_, line_id) in equal {
                let line = self.lines.get(*line_id)?;
                let (others, crowd) = self.cases.sharing(&marks_of_line(line));
                if crowd && !best.stands_out() {
                    return None;
                }
                let mut wanted_more = false;
                for other in others.into_iter().filter(|other| *other != id) {
                    let other_told = &self.cases.get(other)?.told;
                    match fit(line, other_told, self.slack_ns) {
                        Some(theirs) if theirs > best => wanted_more = true,
                        Some(theirs) if theirs == best => {
                            rivals.insert(other, other_told);
                        }
                        _ => {}
                    }
                }
                let (gone, _) = self.known.sharing(&marks_of_line(line));
                let left_without = |known: &Known| {
                    known.ambiguous.contains(stream)
                        && fit(line, &known.told, self.slack_ns) >= Some(best)
                };
                if gone
                    .into_iter()
                    .filter_map(|id| self.known.get(id))
                    .any(left_without)
                {
                    return None;
                }
                if !wanted_more {
                    lines.push((*line_id, line));
                }
            }
            if lines.is_empty() {
                continue;
            }
            if crowded && !best.stands_out() {
                return None;
            }
            let demand: usize = rivals.values().map(|told| room(told)).sum();
            let own = room(told);
            let chosen = if rivals.is_empty() {
                nearest(lines, told, own)?
            } else if lines.len() == own + demand {
                in_order(lines, told, id, &rivals, &room)
            } else {
                return None;
            };
            return Some(chosen.into_iter().map(|line_id| (best, line_id)).collect());
        }
        Some(Vec::new())
    }
}

/// The lines nearest in time, if it is clear which.
fn nearest(mut lines: Vec<(u64, &Sighting)>, told: &Told, room: usize) -> Option<Vec<u64>> {
    let gap = |line: &Sighting| {
        let apart = line.at.abs_diff(told.at);
        if line.from <= told.at && told.at <= line.to {
            0
        } else {
            apart
        }
    };
    lines.sort_by_key(|(id, line)| (gap(line), *id));
    if let (Some((_, last)), Some((_, next))) = (lines.get(room - 1), lines.get(room))
        && gap(next) <= gap(last).saturating_add(NEARER_NS)
    {
        return None;
    }
    lines.truncate(room);
    Some(lines.into_iter().map(|(id, _)| id).collect())
}

/// As many lines as cases have room for, alike but for their time: the first belong to the first.
fn in_order(
    mut lines: Vec<(u64, &Sighting)>,
    told: &Told,
    id: u64,
    rivals: &BTreeMap<u64, &Told>,
    room: &impl Fn(&Told) -> usize,
) -> Vec<u64> {
    lines.sort_by_key(|(line_id, line)| (line.at, *line_id));
    let before: usize = rivals
        .iter()
        .filter(|(other, rival)| (rival.at, **other) < (told.at, id))
        .map(|(_, rival)| room(rival))
        .sum();
    let own = lines.into_iter().skip(before).take(room(told));
    own.map(|(line_id, _)| line_id).collect()
}
