//! One replica of a story, with what it knows of the others.

use std::collections::BTreeMap;

use counter_core::{
    Cleanup, CounterMap, ExpiredBuckets, ProvenVersions, Replica, ReplicaId, Version, VersionVector,
};

pub(crate) const COUNTERS: [&str; 2] = ["clicks", "likes"];
pub(crate) const REGIONS: [&str; 2] = ["fra", "ord"];

/// A counter and a region, by their places in [`COUNTERS`] and [`REGIONS`].
pub(crate) type Key = (usize, usize);

pub(crate) fn keys() -> impl Iterator<Item = Key> {
    (0..COUNTERS.len()).flat_map(|counter| (0..REGIONS.len()).map(move |region| (counter, region)))
}

pub(crate) struct Node {
    pub(crate) replica: Replica,
    pub(crate) work: Cleanup,
    pub(crate) expired: ExpiredBuckets,
    pub(crate) digests: BTreeMap<ReplicaId, VersionVector>,
    pub(crate) caught_up: bool,
}

impl Node {
    pub(crate) fn new(number: u64, map: CounterMap, caught_up: bool) -> Self {
        let region = REGIONS[number as usize % 2];
        let replica = Replica::with_map(ReplicaId::new(number, 1), region, map).unwrap();
        let (work, expired) = (Cleanup::default(), ExpiredBuckets::default());
        Self { replica, work, expired, digests: BTreeMap::new(), caught_up }
    }

    pub(crate) fn id(&self) -> ReplicaId {
        self.replica.id()
    }

    pub(crate) fn seen(&self, writer: ReplicaId) -> Version {
        self.replica.map().seen_of(writer)
    }

    /// What every enrolled replica was shown to hold; None if somebody has shown nothing, or names
    /// a replica that is unknown here.
    pub(crate) fn shown(&self) -> Option<ProvenVersions> {
        let map = self.replica.map();
        let (mut by_all, mut by_any) = (map.version_vector(), map.version_vector());
        for member in map.enrolled().filter(|member| *member != self.id()) {
            let digest = self.digests.get(&member)?;
            if digest.iter().any(|(writer, _)| map.seen_of(writer) == 0) {
                return None;
            }
            by_all = by_all.iter().map(|(id, seen)| (id, seen.min(digest.get(id)))).collect();
            by_any.join(digest);
        }
        Some(ProvenVersions { by_all, by_any })
    }

    pub(crate) fn has_cells(&self, key: Key) -> bool {
        self.replica.map().pn_counter(COUNTERS[key.0], REGIONS[key.1]).cells().len() > 0
    }

    /// This writer's own amounts at a key, above what it names as cleared itself.
    pub(crate) fn own(&self, key: Key) -> Option<(u64, u64)> {
        let counter = self.replica.map().pn_counter(COUNTERS[key.0], REGIONS[key.1]);
        counter.cells().find(|(writer, _)| *writer == self.id()).map(|(_, cell)| {
            let named = cell.cleared().iter().find(|(writer, _)| *writer == self.id());
            let left =
                cell.amounts.above(named.map_or(Default::default(), |(_, seen)| seen.amounts));
            (left.increments, left.decrements)
        })
    }
}
