//! Reading a map: totals, values, names, versions, hashes.

use crate::incarnation::record::Record;
use crate::lattice::cell::pn_counter::PnCounter;
use crate::lattice::counter_map::CounterMap;
use crate::lattice::keys::{KeyId, Keys};
use crate::lattice::versions::{Version, VersionVector};
use crate::lattice::writer::Writer;
use crate::replica_id::ReplicaId;

impl CounterMap {
    #[inline]
    pub(super) fn keys(&self) -> &Keys {
        self.cells().keys()
    }

    /// A counter's total over all regions; 0 if it is unknown. O(1).
    pub fn total(&self, counter: &str) -> i128 {
        self.keys().counter(counter).map_or(0, |number| self.cells().total(number))
    }

    /// The total over all counters. O(1).
    pub fn total_of_all(&self) -> i128 {
        self.cells().total_of_all()
    }

    /// A counter's value in one region; 0 if nobody added there. O(1).
    pub fn value(&self, counter: &str, region: &str) -> i128 {
        self.keys().find(counter, region).map_or(0, |key| self.cells().value(key))
    }

    /// The value of a key of this map; 0 for a key that it does not have. O(1).
    pub fn value_of(&self, key: KeyId) -> i128 {
        self.cells().value(key.0)
    }

    /// A counter's regions with their values, in the order in which they were first seen. Removed
    /// regions are left out. O(regions).
    pub fn regions(&self, counter: &str) -> impl Iterator<Item = (&str, i128)> {
        let keys = self
            .keys()
            .counter(counter)
            .into_iter()
            .flat_map(|number| self.keys().of_counter(number));
        let any_dead = self.keys().dead_count() > 0;
        let keys = keys.filter(move |&key| !any_dead || !self.keys().is_dead(key));
        keys.map(|key| (self.keys().region_of(key), self.cells().value(key)))
    }

    /// The name of every counter, in the order in which they were first seen.
    pub fn counters(&self) -> impl Iterator<Item = &str> {
        self.keys().counters()
    }

    /// The share of each replica in one region of a counter: its increments minus its decrements,
    /// above its reset baseline. O(writers).
    pub fn by_replica(&self, counter: &str, region: &str) -> Vec<(ReplicaId, i128)> {
        let key = self.keys().find(counter, region);
        key.into_iter()
            .flat_map(|key| self.cells().shares(key).map(|(id, amounts)| (id, amounts.net())))
            .collect()
    }

    /// The PN-counter of one region of a counter, with every replica's cell. O(writers).
    pub fn pn_counter(&self, counter: &str, region: &str) -> PnCounter {
        let Some(key) = self.keys().find(counter, region) else { return PnCounter::default() };
        self.writers()
            .iter()
            .filter_map(|writer| writer.slot(key, key).map(|slot| (writer.id(), writer.cell(slot))))
            .collect()
    }

    /// The key of (counter, region), if it was ever written or interned.
    pub fn key(&self, counter: &str, region: &str) -> Option<KeyId> {
        self.keys().find(counter, region).map(KeyId)
    }

    /// (counter, region) of a key of this map. O(1).
    ///
    /// # Panics
    /// May panic, or return other names, if the key is another map's or was renumbered since.
    pub fn name_of(&self, key: KeyId) -> (&str, &str) {
        self.keys().names(key.0)
    }

    /// The number of a counter's name. It changes only when keys are renumbered.
    #[inline]
    pub(crate) fn counter_number(&self, counter: &str) -> Option<u32> {
        self.keys().counter(counter)
    }

    /// True if the counter exists and not all of its keys are dead.
    pub(crate) fn has_counter(&self, counter: &str) -> bool {
        self.keys().counter(counter).is_some_and(|number| !self.keys().is_dead_counter(number))
    }

    /// The number of a key's counter.
    pub(crate) fn counter_of(&self, key: KeyId) -> u32 {
        self.keys().counter_of(key.0)
    }

    /// The keys of a counter.
    pub(crate) fn keys_of(&self, counter: &str) -> Vec<u32> {
        self.keys()
            .counter(counter)
            .map_or(Vec::new(), |number| self.keys().of_counter(number).collect())
    }

    /// The number of keys.
    pub fn key_count(&self) -> usize {
        self.keys().len()
    }

    /// The number of keys that had cells and have none any more.
    #[inline]
    pub(crate) fn dead_count(&self) -> usize {
        self.keys().dead_count()
    }

    /// True if a key had cells and has none any more.
    #[inline]
    pub(crate) fn is_dead(&self, KeyId(key): KeyId) -> bool {
        self.keys().is_dead(key)
    }

    /// True if the counter exists: it was made, or some writer has a cell of it, and it was not
    /// removed since. O(regions * writers) if its total is 0, else O(1).
    pub fn contains(&self, counter: &str) -> bool {
        self.keys().counter(counter).is_some_and(|number| {
            self.cells().total(number) != 0
                || self
                    .keys()
                    .of_counter(number)
                    .any(|key| !self.keys().is_dead(key) && !self.cells().is_removed(key))
        })
    }

    /// True if a reset names a replica that is neither held here nor folded. If no enrolled replica
    /// holds it either, the trace stays: the replica may still turn up with the cleared adds.
    /// O(traces).
    pub fn has_reset_of_unknown(&self) -> bool {
        let is_unknown = |replica: ReplicaId| self.counted_up_to(replica) == 0;
        self.cells()
            .adjusted_from(0)
            .flat_map(|key| self.cells().held(key))
            .filter_map(|held| held.extra)
            .any(|extra| extra.resets.iter().any(|(replica, _)| is_unknown(replica)))
    }

    /// The number of tombstones of all writers. O(writers).
    pub fn tombstone_count(&self) -> usize {
        self.writers().iter().map(|writer| writer.tombstones().len()).sum()
    }

    /// The number of tombstones of one writer.
    pub fn tombstones_of(&self, replica: ReplicaId) -> usize {
        self.writers().get(replica).map_or(0, |writer| writer.tombstones().len())
    }

    /// The time after which a counter expires, in milliseconds since the start of 1970: the latest
    /// in its cells. None if it never expires, or is unknown. O(regions * writers).
    pub fn expires_at(&self, counter: &str) -> Option<u64> {
        let number = self.keys().counter(counter)?;
        Some(self.cells().expiry_in_cells(number)).filter(|&at| at > 0)
    }

    /// The number of counters.
    pub fn counter_count(&self) -> usize {
        self.keys().counter_count()
    }

    /// The number of cells of all writers.
    pub fn cell_count(&self) -> usize {
        self.writers().iter().map(|writer| writer.len()).sum()
    }

    /// The number of cells of one writer. O(log writers).
    pub fn cells_of(&self, replica: ReplicaId) -> usize {
        self.writers().get(replica).map_or(0, Writer::len)
    }

    /// Every writer, in the order of ids.
    pub fn replicas(&self) -> impl ExactSizeIterator<Item = ReplicaId> + '_ {
        self.writers().iter().map(|writer| writer.id())
    }

    /// A replica's record, if it is held.
    pub fn record(&self, replica: ReplicaId) -> Option<&Record> {
        self.writers().record(replica)
    }

    /// The version up to which everything of a writer is held; 0 if nothing is.
    pub fn seen_of(&self, replica: ReplicaId) -> Version {
        self.writers().seen_of(replica)
    }

    /// For each writer, the version up to which everything is held. O(writers).
    pub fn version_vector(&self) -> VersionVector {
        self.writers().iter().map(|writer| (writer.id(), writer.seen())).collect()
    }

    /// The first writer that both maps hold at one version with different contents. O(cells of such
    /// writers).
    #[cfg(feature = "crdts")]
    pub(crate) fn contradicted_by(&self, other: &Self) -> Option<ReplicaId> {
        self.replicas().find(|&replica| {
            self.seen_of(replica) == other.seen_of(replica)
                && self.delta_of(replica, 0) != other.delta_of(replica, 0)
        })
    }
}

/// Equal if both hold the same cells, records and dedup entries of the same writers as of the same
/// versions.
impl PartialEq for CounterMap {
    fn eq(&self, other: &Self) -> bool {
        let nothing = VersionVector::new();
        self.version_vector() == other.version_vector()
            && self.delta_since(&nothing) == other.delta_since(&nothing)
    }
}

impl std::fmt::Debug for CounterMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = f.debug_map();
        for key in (0..self.keys().len() as u32).map(KeyId) {
            map.entry(&self.name_of(key), &self.cells().shares(key.0).collect::<Vec<_>>());
        }
        map.finish()
    }
}
