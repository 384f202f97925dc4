//! The map CRDT: (counter, region) -> PN-counter, held as one snapshot a writer.

mod absorb;
mod dedup;
mod encode;
mod incarnations;
mod intake;
mod join;
mod one;
mod pages;
mod read;
mod rename;
mod reset;
mod values;

pub(crate) use dedup::Stance;
pub use join::Joined;
pub use pages::{Cursor, Page};

use crate::dedup::table::Bounds;
use crate::error::WriteError;
use crate::incarnation::record::Record;
use crate::lattice::amounts::{AMOUNT_MAX, Amounts, CELL_MAX};
use crate::lattice::keys::names::is_name;
use crate::lattice::keys::{KeyId, Keys};
use crate::lattice::state_hash::{cell_hash, record_hash};
use crate::lattice::versions::vector::Version;
use crate::lattice::writer::{Plain, Writer};
use crate::replica_id::ReplicaId;
use incarnations::Incarnations;
use values::Values;

/// Default bound on the counters that are made here, by which no client can grow a map for ever.
pub const COUNTERS_MAX: usize = 2_000_000;
/// A join takes this many times as many counters as may be made here. Two sides of a cut may each
/// have made as many as they may.
const COUNTERS_JOINED: usize = 2;
/// How many keys there may be for each counter that may be made here: the regions of a counter, on
/// average.
const KEYS_A_COUNTER: usize = 8;
/// So many keys there may be in any case. Where few counters may be made, each may have many
/// regions.
const KEYS_MIN: usize = 2_000_000;
/// Default bound on replicas.
pub const REPLICAS_MAX: usize = 100_000;

/// A map from (counter, region) to a PN-counter, replicated by joining deltas in any order.
///
/// A region is a PN-counter (Shapiro et al. 2011, specification 7) in a map of lattices; each
/// process that runs in a region is one replica, one writer, of it. Only a replica writes its own
/// cells; its versions are one sequence over all of them, and what is held of a writer is exactly
/// its cells as of a version. So equal version vectors mean equal states.
///
/// # Complexity
/// Totals are O(1). An add is O(1), a join O(changed), a delta O(changed) and, for names that did
/// not come in order, a sort of the changed ones. Memory: about 42 bytes a cell (36 dense, 6 of
/// index), 42 a key and 30 a counter besides the names.
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
    /// What the records say of incarnations that ended. No writer that was folded is among the
    /// writers.
    incarnations: Incarnations,
    counters_max: usize,
    replicas_max: usize,
    /// How many dedup entries are kept of each writer.
    dedup_bounds: Bounds,
}

impl Default for CounterMap {
    fn default() -> Self {
        Self::new()
    }
}

impl CounterMap {
    /// Bottom: no counter, no writer.
    pub fn new() -> Self {
        Self::with_bounds(COUNTERS_MAX, REPLICAS_MAX)
    }

    /// As [`new`](Self::new), with other bounds on counters and replicas.
    ///
    /// The bound on counters refuses only what is new. No counter is made here once there are
    /// `counters_max`. Counters that exist go on, in every region. A join takes up to twice as
    /// many, because replicas that were cut off from each other may each have made as many as they
    /// may. A delta that would pass that is refused whole. So is one that would pass
    /// `replicas_max`, or [`keys_max`](Self::keys_max). All replicas should have the same bounds,
    /// or the one with less keeps less.
    pub fn with_bounds(counters_max: usize, replicas_max: usize) -> Self {
        Self {
            keys: Keys::default(),
            values: Values::default(),
            writers: Vec::new(),
            incarnations: Incarnations::default(),
            counters_max,
            replicas_max,
            dedup_bounds: Bounds::default(),
        }
    }

    /// The same state under other bounds. What is held above them stays.
    pub fn bounded(self, counters_max: usize, replicas_max: usize) -> Self {
        Self { counters_max, replicas_max, ..self }
    }

    /// How many counters may be made here. A join takes up to twice as many.
    pub fn counters_max(&self) -> usize {
        self.counters_max
    }

    /// How many keys, the regions of all counters, a map holds that makes `counters_max` counters:
    /// eight for each, and at least 2,000,000. Neither an add nor a join passes it. It bounds the
    /// memory that a faulty member can fill.
    pub fn keys_max(counters_max: usize) -> usize {
        counters_max.saturating_mul(KEYS_A_COUNTER).max(KEYS_MIN)
    }

    /// The same map with tables of `dedup_max` entries instead of
    /// [`DEDUP_ENTRIES_MAX`](crate::DEDUP_ENTRIES_MAX) and all other bounds of dedup entries in
    /// proportion, for tests of evictions. All replicas must have the same, or equal version
    /// vectors are not equal states.
    #[doc(hidden)]
    pub fn with_dedup_max(self, dedup_max: usize) -> Self {
        Self { dedup_bounds: Bounds::of(dedup_max), ..self }
    }

    /// Adds `amount` as `replica`; returns the version of the change.
    ///
    /// # Errors
    /// An amount of 0 or above 2^32, a cell that is full, a name that is empty or too long, a
    /// counter too many: nothing changed.
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

    /// Subtracts `amount` as `replica`; returns the version of the change.
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
    /// `NameOutOfRange` or `TooManyCounters`; nothing changed.
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

    /// Raises the own cell of `key` by both amounts in one version, which is returned. O(1).
    ///
    /// # Errors
    /// `CellFull` where a part would pass 2^62; nothing changed.
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
        let slot = writer.slot(key, key).unwrap_or_else(|| writer.make(key));
        let stood = writer.plain(slot);
        let amounts = raised(stood.amounts, by).ok_or(WriteError::CellFull)?;
        let plain = Plain { version: writer.seen + 1, amounts };
        if writer.hash.is_some() {
            rehash(writer, &self.keys, slot, stood, plain);
        }
        writer.put(slot, plain.version, amounts);
        writer.seen = plain.version;
        self.values.cover(key, counter);
        match self.values.is_shaped(key) {
            false => self.values.shift(key, counter, by.net()),
            true => self.value_again(key),
        }
        Ok(plain.version)
    }

    /// Writes the record of `replica`: where it runs. Returns the version of the change.
    ///
    /// # Errors
    /// `NameOutOfRange` where no region may have that name; nothing changed.
    pub fn set_region(&mut self, replica: ReplicaId, region: &str) -> Result<Version, WriteError> {
        if !is_name(region) {
            return Err(WriteError::NameOutOfRange);
        }
        let at = self.writer_or_new(replica);
        let version = self.writers[at].seen + 1;
        let writer = &mut self.writers[at];
        let record = match writer.record.take() {
            Some(record) => Record { version, region: region.into(), ..record },
            None => Record::new(version, region),
        };
        writer.record = Some(record);
        (writer.seen, writer.hash) = (version, None);
        Ok(version)
    }

    fn writer(&self, replica: ReplicaId) -> Option<&Writer> {
        self.writer_at(replica).ok().map(|at| &self.writers[at])
    }

    fn writer_at(&self, replica: ReplicaId) -> Result<usize, usize> {
        self.writers.binary_search_by_key(&replica, |writer| writer.id)
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

/// Both sums, or None where one passes 2^62.
fn raised(amounts: Amounts, by: Amounts) -> Option<Amounts> {
    let part = |a: u64, b: u64| a.checked_add(b).filter(|&sum| sum <= CELL_MAX);
    Some(Amounts {
        increments: part(amounts.increments, by.increments)?,
        decrements: part(amounts.decrements, by.decrements)?,
    })
}

/// Brings a writer's hash up to date for one cell that changes its amounts.
fn rehash(writer: &mut Writer, keys: &Keys, slot: u32, stood: Plain, plain: Plain) {
    let (names, extra) = (keys.names(writer.key(slot)), writer.extra(slot));
    let mut scratch = Vec::with_capacity(96);
    let new = cell_hash(&mut scratch, writer.id, names, plain, extra);
    let old = if stood.version == 0 {
        0
    } else {
        cell_hash(&mut scratch, writer.id, names, stood, extra)
    };
    writer.hash = writer.hash.map(|sum| sum.wrapping_sub(old).wrapping_add(new));
}

/// Brings a writer's hash up to date for a record that replaces another.
fn rehash_record(writer: &mut Writer, record: &Record) {
    let mut scratch = Vec::new();
    let new = record_hash(&mut scratch, writer.id, record);
    let old = writer.record.as_ref().map_or(0, |stood| record_hash(&mut scratch, writer.id, stood));
    writer.hash = writer.hash.map(|sum| sum.wrapping_sub(old).wrapping_add(new));
}
