//! [`Cells`]: the cells, with keys, values and expiries kept in step.

use super::expiries::{Expiries, ExpiryRules};
use super::intake::Intake;
use super::joined::Joined;
use super::values::ValueTable;
use super::writers::Writers;
use crate::error::WriteError;
use crate::incarnation::baseline::{Baselines, HeldCell};
use crate::incarnation::record::Record;
use crate::lattice::cell::amounts::{Amounts, CELL_MAX};
use crate::lattice::cell::{CellExtra, PlainCell};
use crate::lattice::keys::{KeyId, Keys, Renumbering};
use crate::lattice::versions::Version;
use crate::lattice::writer::Writer;
use crate::lattice::writer::tombstones::key_bytes;
use crate::replica_id::ReplicaId;

/// The cells of all writers, with their keys, values and expiries.
///
/// Invariant: the value of each key follows from its cells, and each counter's total is the sum
/// over its keys. A key is dead if it had cells and has none. The index holds the latest expiry in
/// each counter's cells.
#[derive(Clone, Default)]
pub(crate) struct Cells {
    keys: Keys,
    values: ValueTable,
    writers: Writers,
    /// How long the counters that this replica creates live.
    expiry_rules: ExpiryRules,
    /// The counters that expire.
    expiries: Expiries,
}

/// Reading.
impl Cells {
    #[inline]
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    #[inline]
    pub(crate) fn writers(&self) -> &Writers {
        &self.writers
    }

    pub(crate) fn expiries(&self) -> &Expiries {
        &self.expiries
    }

    pub(crate) fn expiries_mut(&mut self) -> &mut Expiries {
        &mut self.expiries
    }

    pub(crate) fn expiry_rules(&self) -> &ExpiryRules {
        &self.expiry_rules
    }

    pub(crate) fn expiry_rules_mut(&mut self) -> &mut ExpiryRules {
        &mut self.expiry_rules
    }

    /// The value of a key.
    #[inline]
    pub(crate) fn value(&self, key: u32) -> i128 {
        self.values.of_key(key)
    }

    /// The total of a counter.
    #[inline]
    pub(crate) fn total(&self, counter: u32) -> i128 {
        self.values.of_counter(counter)
    }

    /// The total of all counters.
    pub(crate) fn total_of_all(&self) -> i128 {
        self.values.all()
    }

    /// True if some key has traces of resets, removals or absorbed incarnations, so that its value
    /// is not a plain sum of amounts.
    #[inline]
    pub(crate) fn has_adjusted(&self) -> bool {
        self.values.has_adjusted()
    }

    /// True if a key has traces of resets, removals or absorbed incarnations.
    #[inline]
    pub(crate) fn is_adjusted(&self, key: u32) -> bool {
        self.values.is_adjusted(key)
    }

    /// The keys with traces of resets, removals or absorbed incarnations, starting at `key`,
    /// ascending.
    pub(crate) fn adjusted_from(&self, key: u32) -> impl Iterator<Item = u32> + '_ {
        self.values.adjusted_from(key)
    }

    /// The cells of all writers at a key. O(writers).
    pub(crate) fn held(&self, key: u32) -> impl Iterator<Item = HeldCell<'_>> + Clone {
        self.writers.iter().filter_map(move |writer| {
            let slot = writer.slot(key, key)?;
            let PlainCell { version, amounts } = writer.plain(slot);
            Some(HeldCell { replica: writer.id(), version, amounts, extra: writer.extra(slot) })
        })
    }

    /// The amounts that each writer's cell counts for a key: its own and absorbed ones, above its
    /// reset baseline. O(writers).
    pub(crate) fn shares(&self, key: u32) -> impl Iterator<Item = (ReplicaId, Amounts)> + '_ {
        let baselines = if self.values.is_adjusted(key) {
            Baselines::of(self.held(key))
        } else {
            Baselines::default()
        };
        self.held(key)
            .filter_map(move |held| baselines.share(&held).map(|share| (held.replica, share)))
    }

    /// A writer's own and absorbed amounts at a key; zero if it has no cell there. O(log writers).
    pub(crate) fn total_of(&self, replica: ReplicaId, KeyId(key): KeyId) -> Amounts {
        let cell = self.writers.get(replica).and_then(|writer| writer.amounts(key));
        cell.map_or(Amounts::default(), |(amounts, extra)| {
            extra.map_or(amounts, |extra| amounts.plus(extra.absorbed.total()))
        })
    }

    /// The extra part of a writer's cell at a key; empty if it has no cell there.
    pub(super) fn extra_of(&self, replica: ReplicaId, key: u32) -> CellExtra {
        let cell = self.writers.get(replica).and_then(|writer| writer.amounts(key));
        cell.and_then(|(_, extra)| extra.cloned()).unwrap_or_default()
    }

    /// True if a writer has a cell of a counter. O(regions * writers).
    pub(crate) fn has_cells(&self, counter: u32) -> bool {
        self.keys.of_counter(counter).any(|key| self.held(key).next().is_some())
    }
}

/// Keys.
impl Cells {
    /// As [`Keys::intern`].
    pub(crate) fn intern(
        &mut self,
        (counter, region): (&str, &str),
        counters_max: usize,
        keys_max: usize,
    ) -> Result<u32, WriteError> {
        let key = self.keys.intern(counter, region, counters_max, keys_max)?;
        self.values.cover(key, self.keys.counter_of(key));
        Ok(key)
    }

    /// As [`Keys::intern_bucket`].
    pub(crate) fn intern_bucket(
        &mut self,
        (bucket, region): (&str, &str),
        counters_max: usize,
        keys_max: usize,
    ) -> Result<u32, WriteError> {
        let key = self.keys.intern_bucket(bucket, region, counters_max, keys_max)?;
        self.values.cover(key, self.keys.counter_of(key));
        Ok(key)
    }

    /// Makes a key that does not exist yet. The caller checks the bounds.
    pub(crate) fn make_key(&mut self, counter: &str, region: &str) -> u32 {
        let key = self.keys.push(counter, region);
        self.values.cover(key, self.keys.counter_of(key));
        key
    }

    /// Forgets the names and keys without cells, except those that `keeps` accepts. O(cells).
    pub(crate) fn compact(&mut self, keeps: impl Fn(u32) -> bool) -> Renumbering {
        let mut used = vec![false; self.keys.len()];
        for writer in self.writers.iter() {
            writer.slots().for_each(|slot| used[writer.key(slot) as usize] = true);
        }
        let named = |counter| (counter, self.keys.counter_name(counter).to_owned());
        let names: std::collections::BTreeMap<u32, String> =
            self.expiries.counters().map(named).collect();
        let renumbering = self.keys.compact(|key| used[key as usize] || keeps(key));
        self.writers.iter_mut().for_each(|writer| writer.renumber(&renumbering));
        self.values.renumber(&renumbering, |key| self.keys.counter_of(key));
        self.expiries.renumber(|counter| self.keys.counter(names.get(&counter)?));
        renumbering
    }
}

/// Changes that a replica writes as its own, each under its next version.
impl Cells {
    /// Takes the next version of a writer, for a change that is stored elsewhere.
    pub(crate) fn begin_change(&mut self, replica: ReplicaId) -> Version {
        let at = self.writers.find_or_make(replica);
        let writer = self.writers.at_mut(at);
        let version = writer.next_version();
        writer.set_seen(version);
        version
    }

    /// Raises a writer's cell by both amounts. Returns the version of the change.
    ///
    /// # Errors
    /// `CellFull` if a part would pass 2^62. Nothing changed.
    pub(crate) fn raise(
        &mut self,
        replica: ReplicaId,
        key: u32,
        by: Amounts,
    ) -> Result<Version, WriteError> {
        let counter = self.keys.counter_of(key);
        raised(Amounts::default(), by).ok_or(WriteError::CellFull)?;
        let at = self.writers.find_or_make(replica);
        let writer = self.writers.at_mut(at);
        let slot = match writer.slot(key, key) {
            Some(slot) => slot,
            None => self.make_own(at, key),
        };
        let writer = self.writers.at_mut(at);
        let amounts = raised(writer.plain(slot).amounts, by).ok_or(WriteError::CellFull)?;
        let plain = PlainCell { version: writer.next_version(), amounts };
        writer.replace(&self.keys, slot, plain);
        writer.set_seen(plain.version);
        self.values.cover(key, counter);
        match self.values.is_adjusted(key) {
            false => self.values.shift(key, counter, by.net()),
            true => self.recompute(key),
        }
        Ok(plain.version)
    }

    /// The writer's place and the slot of its cell at a key, which is made if there is none.
    pub(super) fn own_cell(&mut self, replica: ReplicaId, key: u32) -> (usize, u32) {
        let at = self.writers.find_or_make(replica);
        let slot = self.writers.at(at).slot(key, key);
        (at, slot.unwrap_or_else(|| self.make_own(at, key)))
    }

    /// Makes a cell as the writer at place `at`, and returns its slot. The cell begins anew if an
    /// earlier one was dropped at that key.
    #[inline(never)]
    fn make_own(&mut self, at: usize, key: u32) -> u32 {
        self.keys.revive(key);
        let expires_at = self.expiry_of_new(key);
        let writer = self.writers.at_mut(at);
        let origin = writer.origin_of_new(&self.keys, key).unwrap_or_default();
        let slot = writer.make(key);
        writer.begin_extra(slot, CellExtra { origin, expires_at, ..CellExtra::default() });
        if origin.is_set() {
            self.values.cover(key, self.keys.counter_of(key));
            self.values.mark_adjusted(key);
        }
        slot
    }

    /// The expiry for a cell that is made now: the expiry of the counter's other cells, or, without
    /// any, the one that the rules give. 0 for none.
    fn expiry_of_new(&mut self, key: u32) -> u64 {
        if self.expiries.is_empty() && self.expiry_rules.is_empty() {
            return 0;
        }
        let counter = self.keys.counter_of(key);
        let latest = self.expiries.latest(counter);
        if latest > 0 {
            return latest;
        }
        let at = self.expiry_rules.expiry_of(self.keys.counter_name(counter));
        if at == 0 || self.has_cells(counter) {
            return 0;
        }
        self.expiries.note(counter, at, true);
        at
    }

    /// Writes the extra part of a cell as its writer. Returns the version of the change.
    pub(super) fn write_extra(&mut self, at: usize, slot: u32, extra: CellExtra) -> Version {
        let amounts = self.writers.at(at).plain(slot).amounts;
        self.write_cell(at, slot, amounts, extra)
    }

    /// Writes the amounts and the extra part of a cell as its writer. Returns the version of the
    /// change.
    pub(super) fn write_cell(
        &mut self,
        at: usize,
        slot: u32,
        amounts: Amounts,
        extra: CellExtra,
    ) -> Version {
        let writer = self.writers.at_mut(at);
        let (key, version) = (writer.key(slot), writer.next_version());
        if extra.expires_at > 0 {
            self.expiries.note(self.keys.counter_of(key), extra.expires_at, true);
        }
        writer.put_extra(slot, Some(extra));
        writer.put(slot, version, amounts);
        writer.set_seen(version);
        self.values.cover(key, self.keys.counter_of(key));
        self.values.mark_adjusted(key);
        self.recompute(key);
        version
    }

    /// Drops the cell of `replica` at a key as its writer, and leaves a tombstone.
    pub(crate) fn drop_own(&mut self, replica: ReplicaId, key: u32) {
        let Ok(at) = self.writers.find(replica) else { return };
        let Some(slot) = self.writers.at(at).slot(key, key) else { return };
        self.drop_cell(at, slot);
        let (writer, name) = (self.writers.at_mut(at), key_bytes(self.keys.names(key)));
        let version = writer.next_version();
        writer.put_tombstone(version, &name);
        writer.set_seen(version);
    }

    /// Applies `change` to the record of `replica`. Returns the version of the change. Call
    /// [`forget_folded`](Self::forget_folded) afterwards if the record mentions ended incarnations.
    pub(crate) fn write_record(
        &mut self,
        replica: ReplicaId,
        change: impl FnOnce(&mut Record),
    ) -> Version {
        let at = self.writers.find_or_make(replica);
        let writer = self.writers.at_mut(at);
        let version = writer.next_version();
        let mut record = writer.record().cloned().unwrap_or_default();
        change(&mut record);
        record.version = version;
        writer.set_record(record);
        writer.set_seen(version);
        version
    }
}

/// Changes that come from others.
impl Cells {
    /// The place of a writer, added if it is new.
    #[inline]
    pub(crate) fn find_or_make_writer(&mut self, replica: ReplicaId) -> usize {
        self.writers.find_or_make(replica)
    }

    /// Prepares to take about `cells` cells of the writer at a place, see [`Intake::begin`].
    pub(crate) fn intake<'a>(
        &'a mut self,
        at: usize,
        cells: usize,
        in_order: bool,
        joined: &'a mut Joined,
    ) -> Intake<'a> {
        let Self { keys, values, writers, expiries, .. } = self;
        Intake::begin(writers.at_mut(at), keys, (values, expiries), joined, (cells, in_order))
    }

    /// Takes one newer cell, and sets the version of its writer to `upto`. Neither the cell nor any
    /// other of its writer may have an extra part, and the key must have no traces.
    #[inline(always)]
    pub(crate) fn take_plain(&mut self, at: usize, key: u32, plain: PlainCell, upto: Version) {
        let writer = self.writers.at_mut(at);
        let slot = match writer.slot(key, key) {
            Some(slot) => slot,
            None => {
                self.keys.revive(key);
                writer.make(key)
            }
        };
        let previous = writer.replace(&self.keys, slot, plain);
        writer.set_seen(upto);
        self.values.shift(key, self.keys.counter_of(key), plain.amounts.net() - previous.net());
    }

    /// Notes that everything of the writer at a place up to `version` is held.
    #[inline]
    pub(crate) fn set_seen(&mut self, at: usize, version: Version) {
        self.writers.at_mut(at).set_seen(version);
    }

    /// Drops the writer's hash before many changes, when computing it afresh is cheaper.
    pub(crate) fn forget_hash(&mut self, at: usize) {
        self.writers.at_mut(at).forget_hash();
    }

    /// Keeps a tombstone of another writer. [`drop_older`](Self::drop_older) drops the cell.
    pub(super) fn put_tombstone(&mut self, at: usize, version: Version, key: &[u8]) {
        self.writers.at_mut(at).put_tombstone(version, key);
    }

    /// Drops a cell, and brings the values up to date.
    pub(super) fn drop_cell(&mut self, at: usize, slot: u32) {
        let writer = self.writers.at_mut(at);
        let key = writer.key(slot);
        let amounts = writer.drop_cell(&self.keys, slot);
        match self.values.is_adjusted(key) {
            true => self.recompute(key),
            false => self.values.shift(key, self.keys.counter_of(key), -amounts.net()),
        }
        self.bury_without_cells(key);
    }

    /// Forgets the writers that the records have folded. Returns the keys whose values changed.
    /// There are none if everything that the successor wrote before the fold is held.
    pub(crate) fn forget_folded(&mut self) -> Vec<KeyId> {
        let gone = self.writers.take_folded();
        self.values_without(gone)
    }

    /// Forgets a writer: its cells, its record and its version. Returns the keys whose values
    /// changed.
    pub(crate) fn forget_writer(&mut self, replica: ReplicaId) -> Vec<KeyId> {
        let gone = self.writers.take(replica);
        self.values_without(gone)
    }

    /// Forgets a writer without updating the values. Only for a map whose values are never read.
    pub(crate) fn discard_writer(&mut self, replica: ReplicaId) {
        self.writers.take(replica);
    }

    /// Renames a writer, see [`Writers::rename`].
    pub(crate) fn rename(&mut self, from: ReplicaId, to: ReplicaId) -> bool {
        self.writers.rename(from, to)
    }

    /// The hash of all writers' cells, records and tombstones.
    pub(crate) fn hash(&mut self) -> u128 {
        self.writers.hash(&self.keys)
    }

    /// Recomputes the values of the changed keys that have traces.
    #[inline]
    pub(crate) fn recompute_adjusted(&mut self, changed: &[KeyId]) {
        if !self.values.has_adjusted() {
            return;
        }
        for &KeyId(key) in changed {
            if self.values.is_adjusted(key) {
                self.recompute(key);
            }
        }
    }

    /// Recomputes the value of a key from all its cells.
    fn recompute(&mut self, key: u32) {
        let value = self.shares(key).map(|(_, amounts)| amounts.net()).sum();
        self.values.set(key, self.keys.counter_of(key), value);
        if !self.held(key).any(|held| held.extra.is_some_and(CellExtra::adjusts_values)) {
            self.values.mark_plain(key);
        }
    }

    fn values_without(&mut self, gone: impl IntoIterator<Item = Writer>) -> Vec<KeyId> {
        let mut changed = Vec::new();
        for writer in gone {
            for key in writer.slots().map(|slot| writer.key(slot)) {
                let before = self.values.of_key(key);
                self.recompute(key);
                self.bury_without_cells(key);
                if self.values.of_key(key) != before {
                    changed.push(KeyId(key));
                }
            }
        }
        changed
    }

    /// Buries a key if its last cell is gone.
    fn bury_without_cells(&mut self, key: u32) {
        if self.held(key).next().is_some() {
            return;
        }
        self.keys.bury(key);
        if !self.expiries.is_empty() {
            let counter = self.keys.counter_of(key);
            if !self.has_cells(counter) {
                self.expiries.bury(counter);
            }
        }
    }
}

/// The sum of each part, or None if one passes 2^62.
pub(super) fn raised(amounts: Amounts, by: Amounts) -> Option<Amounts> {
    let part = |a: u64, b: u64| a.checked_add(b).filter(|&sum| sum <= CELL_MAX);
    Some(Amounts {
        increments: part(amounts.increments, by.increments)?,
        decrements: part(amounts.decrements, by.decrements)?,
    })
}
