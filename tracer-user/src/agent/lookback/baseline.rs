//! Counters of the backends grow from the start of the agent on: what a window of the past counted is
//! the difference of two states.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::event::{BackendSnapshot, MonoNs};

/// Older states that are kept.
const KEPT: u64 = 4;

/// Former states, compressed, and the last one.
#[derive(Debug, Default)]
pub(super) struct Baselines {
    former: VecDeque<(MonoNs, Vec<u8>)>,
    last: Vec<BackendSnapshot>,
}

impl Baselines {
    /// Takes a state. `window_ns`: how far back may be asked for.
    pub(super) fn take(&mut self, state: &[BackendSnapshot], now: MonoNs, window_ns: u64) {
        self.last = state.to_vec();
        let newest = self.former.back();
        if newest.is_none_or(|(at, _)| now.saturating_sub(*at) >= window_ns / KEPT)
            && let Some(packed) = pack(state)
        {
            self.former.push_back((now, packed));
        }
        let old = |at: MonoNs| at.saturating_add(window_ns) <= now;
        while self.former.get(1).is_some_and(|(at, _)| old(*at)) {
            self.former.pop_front();
        }
    }

    /// What was counted since the moment, or a little longer: since the last state before it.
    pub(super) fn since(&self, moment: MonoNs) -> Vec<BackendSnapshot> {
        let mut before = self.former.iter().filter(|(at, _)| *at <= moment);
        let before = before.next_back().and_then(|(_, packed)| unpack(packed));
        let mut before: BTreeMap<SocketAddr, BackendSnapshot> = before
            .unwrap_or_default()
            .into_iter()
            .map(|state| (state.upstream, state))
            .collect();
        let difference = |state: &BackendSnapshot| match before.remove(&state.upstream) {
            Some(before) => difference(state, &before),
            None => state.clone(),
        };
        let mut counted: Vec<_> = self.last.iter().map(difference).collect();
        counted.retain(|state| state.connects > 0 || state.exchanges > 0);
        counted
    }

    /// Bytes of memory that the former states take.
    pub(super) fn bytes(&self) -> usize {
        self.former.iter().map(|(_, packed)| packed.len()).sum()
    }
}

fn pack(state: &[BackendSnapshot]) -> Option<Vec<u8>> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&serde_json::to_vec(state).ok()?).ok()?;
    packed.finish().ok()
}

fn unpack(packed: &[u8]) -> Option<Vec<BackendSnapshot>> {
    let mut text = Vec::new();
    DeflateDecoder::new(packed).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn difference(now: &BackendSnapshot, before: &BackendSnapshot) -> BackendSnapshot {
    BackendSnapshot {
        connects: now.connects.saturating_sub(before.connects),
        exchanges: now.exchanges.saturating_sub(before.exchanges),
        connect: buckets(&now.connect, &before.connect),
        ttfb: buckets(&now.ttfb, &before.ttfb),
        total: buckets(&now.total, &before.total),
        idle_closed: now.idle_closed.saturating_sub(before.idle_closed),
        // Limits that were seen hold whenever they were seen.
        ..now.clone()
    }
}

fn buckets(now: &[(u16, u32)], before: &[(u16, u32)]) -> Vec<(u16, u32)> {
    let before: BTreeMap<u16, u32> = before.iter().copied().collect();
    let grown = now.iter().map(|(bucket, count)| {
        let before = before.get(bucket).copied().unwrap_or(0);
        (*bucket, count.saturating_sub(before))
    });
    grown.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(exchanges: u64, ttfb: &[(u16, u32)]) -> Vec<BackendSnapshot> {
        vec![BackendSnapshot {
            upstream: ([10, 0, 0, 5], 80).into(),
            connects: 1,
            exchanges,
            connect: vec![(3, 1)],
            ttfb: ttfb.to_vec(),
            total: Vec::new(),
            idle_reused_max_us: Some(9),
            idle_closed_min_us: None,
            idle_closed: 0,
        }]
    }

    #[test]
    fn a_window_counts_its_own() {
        let mut baselines = Baselines::default();
        for minute in 0..100 {
            let now = minute * 60;
            baselines.take(&state(minute * 10, &[(5, minute as u32)]), now, 600);
        }
        // Now it is 99 × 60; states are kept every 180 s.
        let counted = baselines.since(99 * 60 - 600);
        assert_eq!(counted.len(), 1);
        assert!((100..=130).contains(&counted[0].exchanges), "{counted:?}");
        assert_eq!(counted[0].connects, 0);
        assert_eq!(counted[0].connect, []);
        assert_eq!(u64::from(counted[0].ttfb[0].1) * 10, counted[0].exchanges);
        assert_eq!(counted[0].idle_reused_max_us, Some(9));
        assert!(baselines.former.len() <= 6, "{}", baselines.former.len());
        assert!(baselines.bytes() < 4096);
    }

    #[test]
    fn a_young_agent_counts_from_its_start() {
        let mut baselines = Baselines::default();
        baselines.take(&state(0, &[]), 1000, 600);
        baselines.take(&state(7, &[(5, 7)]), 1010, 600);
        assert_eq!(baselines.since(900)[0].exchanges, 7);
        assert_eq!(baselines.since(1000)[0].exchanges, 7);
    }
}
