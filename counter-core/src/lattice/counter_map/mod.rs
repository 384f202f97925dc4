//! The map CRDT: (counter, region) -> PN-counter, held as one snapshot for each writer.
//!
//! The map has four parts, each behind verbs of its own: the keys, the values beside the cells, the
//! writers, and the index of incarnations that ended. The files here add what the parts do
//! together: join, reset, read, list, page, absorb, expire.

mod absorb;
mod dedup;
mod expiry;
mod incarnations;
mod intake;
mod join;
mod listing;
mod pages;
mod read;
mod removal;
mod rename;
mod reset;
mod values;

pub(crate) use dedup::KnownCopy;
pub use join::Joined;
pub use listing::{CounterPage, Largest};
pub use pages::{Cursor, Page};

use crate::dedup::table::DedupBounds;
use crate::error::WriteError;
use crate::incarnation::index::Incarnations;
use crate::lattice::amounts::{AMOUNT_MAX, Amounts, CELL_MAX};
use crate::lattice::cell::Plain;
use crate::lattice::expiries::{Expiries, ExpiryRules};
use crate::lattice::keys::names::is_name;
use crate::lattice::keys::{KeyId, Keys};
use crate::lattice::versions::vector::Version;
use crate::lattice::writer::Writer;
use crate::replica_id::ReplicaId;
use values::Values;

/// Default bound on the counters that are made here, so that no client can grow a map for ever.
pub const COUNTERS_MAX: usize = 2_000_000;
/// A join accepts this many times `counters_max`: both sides of a partition may have reached the
/// bound.
const COUNTERS_JOINED_TIMES: usize = 2;
/// Keys allowed for each counter that may be made here: its regions, on average.
const KEYS_PER_COUNTER: usize = 8;
/// Keys allowed under any `counters_max`, because few counters may each have many regions.
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
    keys: Keys,
    values: Values,
    /// Sorted by id.
    writers: Vec<Writer>,
    /// The claims and folds of all records. No folded writer is among the writers.
    incarnations: Incarnations,
    /// How long counters that are made here live.
    expiry_rules: ExpiryRules,
    /// The counters that end.
    expiries: Expiries,
    counters_max: usize,
    replicas_max: usize,
    /// The bounds of each writer's dedup entries.
    dedup_bounds: DedupBounds,
    /// How often the keys were renumbered.
    generation: u64,
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
    /// The bound on counters refuses only new ones: existing counters go on, in every region. A
    /// join accepts up to twice `counters_max`, because both sides of a partition may have reached
    /// the bound. A delta that would pass that, `replicas_max` or [`keys_max`](Self::keys_max) is
    /// refused whole. Give all replicas the same bounds, or some replicas refuse what others
    /// accept.
    pub fn with_bounds(counters_max: usize, replicas_max: usize) -> Self {
        Self {
            keys: Keys::default(),
            values: Values::default(),
            writers: Vec::new(),
            incarnations: Incarnations::default(),
            expiry_rules: ExpiryRules::default(),
            expiries: Expiries::default(),
            counters_max,
            replicas_max,
            dedup_bounds: DedupBounds::default(),
            generation: 0,
        }
    }

    /// The same state under other bounds. Anything held above them stays.
    pub fn bounded(self, counters_max: usize, replicas_max: usize) -> Self {
        Self { counters_max, replicas_max, ..self }
    }

    /// The number of counters that may be made here. A join accepts up to twice as many.
    pub fn counters_max(&self) -> usize {
        self.counters_max
    }

    /// The number of keys, that is, of regions of all counters, in a map that makes `counters_max`
    /// counters: eight for each, and at least 2,000,000. Neither an add nor a join passes it. It
    /// bounds the memory that a faulty member can fill.
    pub fn keys_max(counters_max: usize) -> usize {
        counters_max.saturating_mul(KEYS_PER_COUNTER).max(KEYS_MIN)
    }

    /// The same map with `dedup_max` entries a writer instead of
    /// [`DEDUP_ENTRIES_MAX`](crate::DEDUP_ENTRIES_MAX), and all other bounds of dedup entries in
    /// proportion. For tests of evictions. If replicas differ in it, equal version vectors are not
    /// equal states.
    #[doc(hidden)]
    pub fn with_dedup_max(self, dedup_max: usize) -> Self {
        Self { dedup_bounds: DedupBounds::of(dedup_max), ..self }
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
        let key = self.keys.intern(
            counter,
            region,
            self.counters_max,
            Self::keys_max(self.counters_max),
        )?;
        self.change_key(replica, KeyId(key), by)
    }

    /// The key of (counter, region), made now if it is new.
    ///
    /// # Errors
    /// `NameOutOfRange` or `TooManyCounters`. Nothing changed.
    pub fn intern(&mut self, counter: &str, region: &str) -> Result<KeyId, WriteError> {
        let key = self.keys.intern(
            counter,
            region,
            self.counters_max,
            Self::keys_max(self.counters_max),
        )?;
        self.values.cover(key, self.keys.counter_of(key));
        Ok(KeyId(key))
    }

    /// As [`intern`](Self::intern), for a bucket of a window.
    pub(crate) fn intern_bucket(
        &mut self,
        bucket: &str,
        region: &str,
    ) -> Result<KeyId, WriteError> {
        let keys_max = Self::keys_max(self.counters_max);
        let key = self.keys.intern_bucket(bucket, region, self.counters_max, keys_max)?;
        self.values.cover(key, self.keys.counter_of(key));
        Ok(KeyId(key))
    }

    /// Raises the cell of `replica` at `key` by both amounts, in one version, which it returns.
    /// O(log writers); O(writers) if a cell of the key has reset or absorbed something.
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
        let KeyId(key) = key;
        let counter = self.keys.counter_of(key);
        raised(Amounts::default(), by).ok_or(WriteError::CellFull)?;
        let at = self.writer_or_new(replica);
        let writer = &mut self.writers[at];
        let slot = match writer.slot(key, key) {
            Some(slot) => slot,
            None => self.make_own(at, key),
        };
        let writer = &mut self.writers[at];
        let amounts = raised(writer.plain(slot).amounts, by).ok_or(WriteError::CellFull)?;
        let plain = Plain { version: writer.next_version(), amounts };
        writer.replace(&self.keys, slot, plain);
        writer.hold_up_to(plain.version);
        self.values.cover(key, counter);
        match self.values.is_shaped(key) {
            false => self.values.shift(key, counter, by.net()),
            true => self.recount_value(key),
        }
        Ok(plain.version)
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
        let at = self.writer_or_new(replica);
        let writer = &mut self.writers[at];
        let version = writer.next_version();
        let mut record = writer.record().cloned().unwrap_or_default();
        (record.version, record.region) = (version, region.into());
        writer.set_record(record);
        writer.hold_up_to(version);
        Ok(version)
    }

    fn writer(&self, replica: ReplicaId) -> Option<&Writer> {
        self.writer_at(replica).ok().map(|at| &self.writers[at])
    }

    fn writer_at(&self, replica: ReplicaId) -> Result<usize, usize> {
        self.writers.binary_search_by_key(&replica, |writer| writer.id())
    }

    fn writer_or_new(&mut self, replica: ReplicaId) -> usize {
        self.writer_at(replica).unwrap_or_else(|at| {
            self.writers.insert(at, Writer::new(replica));
            at
        })
    }
}

fn in_range(amount: u64) -> Result<u64, WriteError> {
    match (1..=AMOUNT_MAX).contains(&amount) {
        true => Ok(amount),
        false => Err(WriteError::AmountOutOfRange),
    }
}

/// Both sums, or None if one passes 2^62.
fn raised(amounts: Amounts, by: Amounts) -> Option<Amounts> {
    let part = |a: u64, b: u64| a.checked_add(b).filter(|&sum| sum <= CELL_MAX);
    Some(Amounts {
        increments: part(amounts.increments, by.increments)?,
        decrements: part(amounts.decrements, by.decrements)?,
    })
}
