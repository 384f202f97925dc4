//! The map CRDT: (counter, region) -> PN-counter, held as one snapshot for each writer.

use crate::dedup::table::DedupBounds;
use crate::dedup::tables::DedupTables;
use crate::error::WriteError;
use crate::incarnation::record::Record;
use crate::lattice::cell::amounts::{AMOUNT_MAX, Amounts};
use crate::lattice::cells::{Cells, Writers};
use crate::lattice::keys::names::is_name;
use crate::lattice::keys::{KeyId, Renumbering};
use crate::lattice::state_hash::StateHash;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// Default bound on the counters that a replica creates, so that no client can grow a map forever.
pub const COUNTERS_MAX: usize = 2_000_000;
/// Keys allowed for each counter up to `counters_max`: its regions, on average.
const KEYS_PER_COUNTER: usize = 8;
/// Keys allowed however small `counters_max` is, because a few counters may have many regions.
const KEYS_MIN: usize = 2_000_000;
/// Default bound on replicas.
pub const REPLICAS_MAX: usize = 100_000;

/// A map from (counter, region) to a PN-counter, replicated by joining deltas in any order.
///
/// Each region of a counter is a PN-counter (Shapiro et al. 2011, specification 7) in a map of
/// lattices. Each process in a region is one replica, that is, one writer. Only a replica writes
/// its own cells, and its versions are one sequence over all of them. The map holds each writer's
/// cells exactly as of one version, so equal version vectors mean equal states.
///
/// # Complexity
/// Totals are O(1). An add is O(1), a join O(changed), and a delta O(changed) plus a sort of
/// changed names that did not come in order. Memory grows with cells, keys, counters and their
/// names; the repository's `docs/performance.md` has the figures.
///
/// # Examples
/// ```
/// use counter_core::{CounterMap, ReplicaId};
/// let (ord, fra) = (ReplicaId::new(1, 1), ReplicaId::new(2, 1));
/// let (mut here, mut there) = (CounterMap::new(), CounterMap::new());
/// here.add(ord, "clicks", "ord", 5)?;
/// there.add(fra, "clicks", "fra", 7)?;
/// there.subtract(fra, "clicks", "fra", 1)?;
/// here.join(&there);
/// assert_eq!(here.total("clicks"), 11);
/// assert_eq!(here.regions("clicks").collect::<Vec<_>>(), [("ord", 5), ("fra", 6)]);
/// # Ok::<(), counter_core::WriteError>(())
/// ```
#[derive(Clone)]
pub struct CounterMap {
    cells: Cells,
    dedup: DedupTables,
    counters_max: usize,
    replicas_max: usize,
    /// The number of times that the keys were renumbered.
    renumberings: u64,
}

impl Default for CounterMap {
    fn default() -> Self {
        Self::new()
    }
}

impl CounterMap {
    /// An empty map: the bottom of the lattice.
    pub fn new() -> Self {
        Self::with_bounds(COUNTERS_MAX, REPLICAS_MAX)
    }

    /// An empty map with other bounds on counters and replicas.
    ///
    /// The bound on counters refuses only new ones. Existing counters still accept adds, in every
    /// region. A join accepts up to twice `counters_max`, because both sides of a partition may
    /// have reached the bound. A delta that would pass that, `replicas_max` or
    /// [`keys_max`](Self::keys_max) is refused whole. Give all replicas the same bounds, or some
    /// refuse deltas that others accept.
    pub fn with_bounds(counters_max: usize, replicas_max: usize) -> Self {
        Self {
            cells: Cells::default(),
            dedup: DedupTables::default(),
            counters_max,
            replicas_max,
            renumberings: 0,
        }
    }

    /// The same state under other bounds. Anything held above them stays.
    pub fn bounded(self, counters_max: usize, replicas_max: usize) -> Self {
        Self { counters_max, replicas_max, ..self }
    }

    /// The number of counters that this map may create. A join accepts up to twice as many.
    pub fn counters_max(&self) -> usize {
        self.counters_max
    }

    /// The number of replicas that a join accepts.
    pub(super) fn replicas_max(&self) -> usize {
        self.replicas_max
    }

    /// The most keys, one for each region of each counter, in a map that may create `counters_max`
    /// counters: eight for each, and at least 2,000,000. No add and no join exceeds it. It bounds
    /// the memory that a faulty member can fill.
    pub fn keys_max(counters_max: usize) -> usize {
        counters_max.saturating_mul(KEYS_PER_COUNTER).max(KEYS_MIN)
    }

    /// The same map with `dedup_max` entries per writer instead of
    /// [`DEDUP_ENTRIES_MAX`](crate::DEDUP_ENTRIES_MAX), and all other bounds of dedup entries in
    /// proportion. For tests of evictions. If replicas differ in it, equal version vectors are not
    /// equal states.
    #[doc(hidden)]
    pub fn with_dedup_max(mut self, dedup_max: usize) -> Self {
        self.dedup.set_bounds(DedupBounds::of(dedup_max));
        self
    }

    #[inline]
    pub(crate) fn cells(&self) -> &Cells {
        &self.cells
    }

    /// The cells, for changes that a replica writes as its own.
    #[inline]
    pub(crate) fn cells_mut(&mut self) -> &mut Cells {
        &mut self.cells
    }

    #[inline]
    pub(crate) fn dedup(&self) -> &DedupTables {
        &self.dedup
    }

    #[inline]
    pub(crate) fn writers(&self) -> &Writers {
        self.cells.writers()
    }

    pub(super) fn cells_and_dedup(&mut self) -> (&Cells, &mut DedupTables) {
        (&self.cells, &mut self.dedup)
    }

    /// Adds `amount` as `replica`. Returns the version of the change.
    ///
    /// # Errors
    /// `AmountOutOfRange`, `CellFull`, `NameOutOfRange` or `TooManyCounters`. Nothing changed.
    pub fn add(
        &mut self,
        replica: ReplicaId,
        counter: &str,
        region: &str,
        amount: u64,
    ) -> Result<Version, WriteError> {
        self.change(
            replica,
            counter,
            region,
            Amounts { increments: in_range(amount)?, decrements: 0 },
        )
    }

    /// Subtracts `amount` as `replica`. Returns the version of the change.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn subtract(
        &mut self,
        replica: ReplicaId,
        counter: &str,
        region: &str,
        amount: u64,
    ) -> Result<Version, WriteError> {
        self.change(
            replica,
            counter,
            region,
            Amounts { increments: 0, decrements: in_range(amount)? },
        )
    }

    fn change(
        &mut self,
        replica: ReplicaId,
        counter: &str,
        region: &str,
        by: Amounts,
    ) -> Result<Version, WriteError> {
        let key = self.intern(counter, region)?;
        self.change_key(replica, key, by)
    }

    /// The key of (counter, region), made now if it is new.
    ///
    /// # Errors
    /// `NameOutOfRange` or `TooManyCounters`. Nothing changed.
    pub fn intern(&mut self, counter: &str, region: &str) -> Result<KeyId, WriteError> {
        let keys_max = Self::keys_max(self.counters_max);
        self.cells.intern((counter, region), self.counters_max, keys_max).map(KeyId)
    }

    /// Like [`intern`](Self::intern), for a bucket of a window.
    pub(crate) fn intern_bucket(
        &mut self,
        bucket: &str,
        region: &str,
    ) -> Result<KeyId, WriteError> {
        let keys_max = Self::keys_max(self.counters_max);
        self.cells.intern_bucket((bucket, region), self.counters_max, keys_max).map(KeyId)
    }

    /// Raises the cell of `replica` at `key` by both amounts, in one version. Returns that version.
    /// O(log writers); O(writers) if a cell of the key holds resets or absorbed amounts.
    ///
    /// # Errors
    /// `CellFull` if a part would pass 2^62. Nothing changed.
    ///
    /// # Panics
    /// May panic, or change another cell, if the key is another map's or was renumbered since.
    pub fn change_key(
        &mut self,
        replica: ReplicaId,
        key: KeyId,
        by: Amounts,
    ) -> Result<Version, WriteError> {
        self.cells.raise(replica, key.0, by)
    }

    /// Resets one region of a counter as `replica`: clears the amounts that are held here, of every
    /// writer. Returns the version of the change, or None if there was nothing to reset.
    ///
    /// The cleared amounts are written into the *resetter's own* cell. The value is then a sum over
    /// all writers: the writer's total minus the largest amount that any cell cleared of it. So an
    /// add that the resetter had not seen stays, wherever it was made. Resets commute with
    /// everything.
    ///
    /// # Complexity
    /// O(writers) time, and as much space in the resetter's cell.
    ///
    /// # Examples
    /// ```
    /// use counter_core::{CounterMap, ReplicaId};
    /// let (a, b) = (ReplicaId::new(1, 1), ReplicaId::new(2, 1));
    /// let (mut at_a, mut at_b) = (CounterMap::new(), CounterMap::new());
    /// at_a.add(a, "clicks", "ord", 5)?;
    /// at_b.join(&at_a);
    /// at_b.reset(b, "clicks", "ord");
    /// at_a.add(a, "clicks", "ord", 2)?; // while b resets the five
    /// at_a.join(&at_b);
    /// assert_eq!(at_a.total("clicks"), 2);
    /// # Ok::<(), counter_core::WriteError>(())
    /// ```
    pub fn reset(&mut self, replica: ReplicaId, counter: &str, region: &str) -> Option<Version> {
        let key = self.cells.keys().find(counter, region)?;
        self.cells.reset(replica, key)
    }

    /// Writes the record of `replica`: its region. Returns the version of the change. O(bytes of
    /// the record), and O(writers) for a new replica.
    ///
    /// # Errors
    /// `NameOutOfRange` if no region may have that name. Nothing changed.
    pub fn set_region(&mut self, replica: ReplicaId, region: &str) -> Result<Version, WriteError> {
        if !is_name(region) {
            return Err(WriteError::NameOutOfRange);
        }
        Ok(self.cells.write_record(replica, |record| record.region = region.into()))
    }

    /// Changes the record of `replica`, if it has one. Returns the version of the change.
    pub(crate) fn change_record(
        &mut self,
        replica: ReplicaId,
        change: impl FnOnce(&mut Record),
    ) -> Option<Version> {
        self.record(replica)?;
        let version = self.cells.write_record(replica, change);
        self.forget_folded();
        Some(version)
    }

    /// Forgets the writers that the records have folded. Returns the keys whose values changed.
    pub(super) fn forget_folded(&mut self) -> Vec<KeyId> {
        let changed = self.cells.forget_folded();
        let writers = self.cells.writers();
        self.dedup.retain(|writer| writers.find(writer).is_ok());
        self.dedup.trim_all(|replica| writers.ended().is_folded(replica));
        changed
    }

    /// Forgets a writer, so that its state is pulled again from members. Returns the keys whose
    /// values changed.
    pub(crate) fn unlearn(&mut self, replica: ReplicaId) -> Vec<KeyId> {
        let mut changed = self.cells.forget_writer(replica);
        changed.extend(self.forget_folded());
        changed
    }

    /// Forgets a writer's cells, record, entries and version without updating the values. Only for
    /// a map that is no replica's state, such as one that stages pages.
    pub(crate) fn discard_writer(&mut self, replica: ReplicaId) {
        self.cells.discard_writer(replica);
        self.dedup.retain(|writer| writer != replica);
    }

    /// Gives another id to a writer: the cells, record and dedup entries of `from` become those of
    /// `to`, under the same versions. Values do not change. Returns false, and changes nothing, if
    /// nothing of `from` is held or something of `to` is. O(cells of the writer).
    pub(crate) fn rename(&mut self, from: ReplicaId, to: ReplicaId) -> bool {
        let is_renamed = self.cells.rename(from, to);
        if is_renamed {
            self.dedup.rename(from, to, self.cells.keys());
        }
        is_renamed
    }

    /// Forgets the names and keys without a cell or a dedup entry, except those that `keeps`
    /// accepts. Every [`KeyId`] changes. O(cells).
    pub(crate) fn compact(&mut self, keeps: impl Fn(KeyId) -> bool) -> Renumbering {
        let mut used = vec![false; self.key_count()];
        self.dedup.keys().for_each(|key| used[key as usize] = true);
        let renumbering = self.cells.compact(|key| used[key as usize] || keeps(KeyId(key)));
        self.dedup.renumber(&renumbering);
        self.renumberings += 1;
        renumbering
    }

    /// The number of times that all [`KeyId`]s have changed.
    pub fn renumberings(&self) -> u64 {
        self.renumberings
    }

    /// The hash of the whole state. O(writers). The first call, and each writer with many changes
    /// since the last call, costs O(cells).
    pub fn state_hash(&mut self) -> StateHash {
        StateHash(self.cells.hash().wrapping_add(self.dedup.hash()))
    }
}

fn in_range(amount: u64) -> Result<u64, WriteError> {
    match (1..=AMOUNT_MAX).contains(&amount) {
        true => Ok(amount),
        false => Err(WriteError::AmountOutOfRange),
    }
}

#[cfg(test)]
mod tests {
    use crate::lattice::delta::Delta;
    use crate::lattice::versions::VersionVector;
    use crate::replica::Replica;
    use crate::replica_id::ReplicaId;

    const EARLY: ReplicaId = ReplicaId::new(5, (1 << 32) + 7);
    const LATE: ReplicaId = ReplicaId::new(5, (9 << 32) + 7);

    /// A replica that adds, resets and adds with ids, and holds another one's cells.
    fn written_by(id: ReplicaId, renamed: Option<ReplicaId>) -> Replica {
        let mut other = Replica::new(ReplicaId::new(6, 1 << 32), "fra").unwrap();
        other.add("clicks", 3).unwrap();
        other.add_once("tab:1", "likes", 2).unwrap();
        other.flush();
        let mut replica = Replica::new(id, "ord").unwrap();
        replica.add("clicks", 5).unwrap();
        replica.add_once("tab:1", "likes", 2).unwrap();
        replica.add_once("single", "likes", 4).unwrap();
        replica.flush();
        replica.reset("clicks", "ord").unwrap();
        replica.join_delta(other.map().delta_since(&VersionVector::new())).unwrap();
        replica.flush();
        replica.add("clicks", 1).unwrap();
        if let Some(later) = renamed {
            assert!(replica.rename(later));
        }
        replica.add("clicks", 2).unwrap();
        replica.flush();
        replica
    }

    #[test]
    fn renamed_replica_equals_one_born_with_the_id() {
        let (mut one, mut other) = (written_by(LATE, None), written_by(EARLY, Some(LATE)));
        assert_eq!(
            (one.id(), one.version(), one.total("clicks")),
            (other.id(), other.version(), other.total("clicks"))
        );
        assert_eq!(one.state_hash(), other.state_hash());
        let nothing = VersionVector::new();
        let bytes = |replica: &Replica| replica.map().delta_since(&nothing).encode();
        assert_eq!(bytes(&one), bytes(&other));
        let mut fresh = Replica::new(ReplicaId::new(7, 1), "sin").unwrap();
        fresh.join_delta(Delta::decode(&bytes(&other)).unwrap()).unwrap();
        assert_eq!(
            (fresh.total("clicks"), fresh.total("likes")),
            (other.total("clicks"), other.total("likes"))
        );
    }

    #[test]
    fn taken_id_is_refused() {
        let mut replica = Replica::new(EARLY, "ord").unwrap();
        let later = Replica::new(LATE, "ord").unwrap();
        replica.join_delta(later.map().delta_since(&VersionVector::new())).unwrap();
        assert!(!replica.rename(LATE) && replica.id() == EARLY);
    }

    #[test]
    fn latest_incarnation_may_be_held_claimed_or_folded() {
        let mut replica = Replica::new(ReplicaId::new(1, 1 << 32), "ord").unwrap();
        assert_eq!(replica.map().latest_other_incarnation(ReplicaId::new(5, 0)), None);
        let mut ended = Replica::new(EARLY, "fra").unwrap();
        ended.flush();
        replica.join_delta(ended.map().delta_since(&VersionVector::new())).unwrap();
        assert_eq!(replica.map().latest_other_incarnation(ReplicaId::new(5, 0)), Some(EARLY));
        replica.claim(EARLY);
        replica.claim(LATE);
        assert_eq!(replica.map().latest_other_incarnation(ReplicaId::new(5, 0)), Some(LATE));
        let mut work = replica.absorb_round(None).unwrap();
        replica.absorb(&mut work, usize::MAX).unwrap();
        replica.fold(&mut work);
        assert!(
            replica.map().latest_other_incarnation(ReplicaId::new(5, 0)).unwrap() >= LATE
                && replica.map().is_folded(LATE)
        );
    }
}
