//! Maps the keys of a delta to the keys of this map.

use smallvec::SmallVec;

use crate::codec::dictionary::KeyNames;
use crate::dedup::entry::DedupEntry;
use crate::error::JoinError;
use crate::lattice::counter_map::CounterMap;
use crate::lattice::delta::{Delta, DeltaPart};
use crate::lattice::keys::KeySearch;
use crate::lattice::versions::Version;

/// A join accepts this many times `counters_max`: both sides of a partition may have reached the
/// bound.
const JOIN_COUNTERS_FACTOR: usize = 2;

/// For each key of a delta, the key of this map.
pub(super) enum DeltaKeys {
    /// Each has the same number.
    Same,
    /// By the delta's number.
    Renumbered(SmallVec<[u32; 4]>),
}

impl DeltaKeys {
    /// Finds the keys of the newer cells and entries in these parts, and makes the missing ones.
    /// Each part comes with the version up to which its writer is held.
    ///
    /// # Errors
    /// `TooManyCounters` or `TooManyReplicas`. Nothing changed.
    pub(super) fn find_or_make(
        map: &mut CounterMap,
        delta: &Delta,
        parts: &[(&DeltaPart, Version)],
    ) -> Result<Self, JoinError> {
        let new_replicas =
            parts.iter().filter(|(part, _)| map.writers().get(part.span.replica).is_none()).count();
        if new_replicas > 0 && map.writers().len() + new_replicas > map.replicas_max() {
            return Err(JoinError::TooManyReplicas);
        }
        let count = delta.keys.pairs.len();
        if map.keys().same_prefix_of_delta(&delta.keys) as usize == count {
            return Ok(Self::Same);
        }
        const UNUSED: u32 = u32::MAX;
        const NEW: u32 = u32::MAX - 1;
        let mut keys: SmallVec<[u32; 4]> = SmallVec::from_elem(UNUSED, count);
        let (mut search, mut new) = (KeySearch::default(), 0);
        let used = parts.iter().flat_map(|(part, seen)| {
            let cells = part.cells.iter().filter(|cell| cell.version > *seen).map(|cell| cell.key);
            cells.chain(
                part.dedup.iter().filter(|entry| entry.version > *seen).flat_map(DedupEntry::keys),
            )
        });
        for number in used {
            let key = &mut keys[number as usize];
            if *key == UNUSED {
                *key = map.keys().find_same(&mut search, &delta.keys, number).unwrap_or(NEW);
                new += usize::from(*key == NEW);
            }
        }
        if new > 0 {
            let new_keys =
                keys.iter().zip(0..).filter(|(key, _)| **key == NEW).map(|(_, number)| number);
            check_room(map, delta, new, new_keys)?;
        }
        for (key, number) in keys.iter_mut().zip(0..).filter(|(key, _)| **key == NEW) {
            let (counter, region) = delta.keys.names(number);
            *key = map.cells_mut().make_key(counter, region);
        }
        Ok(Self::Renumbered(keys))
    }

    /// The key of this map for one of the delta's keys.
    #[inline]
    pub(super) fn key(&self, theirs: u32) -> u32 {
        match self {
            Self::Same => theirs,
            Self::Renumbered(keys) => keys[theirs as usize],
        }
    }
}

/// Checks that there is room for `new` keys of a delta. O(1), and near the bound O(new).
fn check_room(
    map: &CounterMap,
    delta: &Delta,
    new: usize,
    new_keys: impl Iterator<Item = u32>,
) -> Result<(), JoinError> {
    let counters_max = map.counters_max().saturating_mul(JOIN_COUNTERS_FACTOR);
    let counters = map.keys().counter_count();
    let is_near = counters + new > counters_max;
    let is_over = is_near && {
        let mut new_counters: Vec<u32> =
            new_keys.map(|number| delta.keys.pairs[number as usize].0).collect();
        new_counters.sort_unstable();
        new_counters.dedup();
        new_counters
            .retain(|counter| map.keys().counter(delta.keys.counter_name(*counter)).is_none());
        !new_counters.is_empty() && counters + new_counters.len() > counters_max
    };
    match is_over || map.keys().len() + new > CounterMap::keys_max(map.counters_max()) {
        true => Err(JoinError::TooManyCounters),
        false => Ok(()),
    }
}
