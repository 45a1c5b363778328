//! Loads and attaches the programs of a capture for a moment: the only way to know that this kernel
//! takes them, and what they cost it. No process is traced, and they are gone when this returns.

use std::time::{Duration, Instant};

use aya::maps::MapInfo;

use crate::event::HostRole;
use crate::kernel::attach::{Attached, Loaded};
use crate::kernel::loader::{LoadError, Settings, Tracer};
use crate::kernel::preflight::Preflight;
use crate::kernel::types::TypeSource;

/// What the programs were to this kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// The programs, by name.
    pub programs: Vec<Loaded>,
    /// Where they are attached.
    pub attached: Vec<Attached>,
    /// Hooks that the kernel refused.
    pub refused: Vec<&'static str>,
    /// Their maps, by name.
    pub maps: Vec<MapRow>,
    /// From the first byte of the object to the last hook.
    pub took: Duration,
}

/// One map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapRow {
    /// Its name, as long as the kernel keeps it (15 characters).
    pub name: String,
    /// Entries that it can hold; of a ring buffer, bytes.
    pub max_entries: u32,
    /// Bytes of a key and a value.
    pub entry_bytes: u32,
}

/// Fails with what stands in the way, in full.
pub(super) fn weigh(preflight: &Preflight, source: &TypeSource) -> Result<Weight, String> {
    preflight.check().map_err(|blocked| blocked.to_string())?;
    // Where a program can stand by, it has more to do: the verifier is to see all of it.
    let stands_by = preflight.features.standby == Some(true);
    load(source, stands_by.then_some(HostRole::Proxy))
        .map_err(|error| super::trial::in_full(&error))
}

fn load(source: &TypeSource, standby: Option<HostRole>) -> Result<Weight, LoadError> {
    let begin = Instant::now();
    let mut tracer = Tracer::load(&Settings {
        snaplen: 512,
        sample_every: 0,
        standby,
        verbose: false,
        statuses: vec![502, 503, 504],
        ring_bytes: None,
        max_connections: None,
        types: source.clone(),
        verifier_figures: true,
    })?;
    tracer.attach()?;
    let took = begin.elapsed();
    let programs = tracer.loaded()?;
    let mut ids: Vec<u32> = programs
        .iter()
        .flat_map(|program| program.map_ids.iter().copied())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let mut maps: Vec<MapRow> = ids.into_iter().filter_map(map).collect();
    maps.sort();
    Ok(Weight {
        attached: tracer.attached().to_vec(),
        refused: tracer.refused_hooks().to_vec(),
        programs,
        maps,
        took,
    })
}

fn map(id: u32) -> Option<MapRow> {
    let info = MapInfo::from_id(id).ok()?;
    Some(MapRow {
        name: info.name_as_str()?.to_owned(),
        max_entries: info.max_entries(),
        entry_bytes: info.key_size() + info.value_size(),
    })
}
