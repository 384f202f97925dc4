//! Joining takes the newer snapshot of each writer. Its cost grows with the changes, not the state.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{COUNTERS_JOINED_TIMES, CounterMap};
use crate::codec::dictionary::KeyNames;
use crate::dedup::entry::{DedupEntry, EntryKind};
use crate::error::JoinError;
use crate::lattice::cell::Plain;
use crate::lattice::delta::{Delta, DeltaPart, Span};
use crate::lattice::keys::order::in_order;
use crate::lattice::keys::{KeyId, KeySearch, Keys};
use crate::lattice::versions::vector::Version;
use crate::lattice::writer::Writer;
use crate::replica_id::ReplicaId;

/// The result of a join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// The keys with a changed cell. A key that several writers changed is listed once for each.
    pub changed: Vec<KeyId>,
    /// The spans that had no effect because something before them is missing here. The rest must be
    /// pulled.
    pub gaps: Vec<Span>,
    /// The replicas whose newer record was taken.
    pub records: Vec<ReplicaId>,
    /// True if one of these records speaks, or spoke, of incarnations that ended.
    pub incarnations_changed: bool,
    /// Cells that had the version of the held cell but other contents. That is a fault; the greater
    /// bytes were kept.
    pub conflicts: usize,
    /// The dedup entries that were taken, by kind and name.
    pub(crate) entries: Vec<(EntryKind, Arc<[u8]>)>,
    /// True if own amounts were taken back, because others had applied the same adds. The next
    /// flush reports it.
    pub own_changed: bool,
    /// The end of the joining replica's own span, if it lies beyond its latest version. Then
    /// another process writes under its id.
    pub own_ahead: Option<Version>,
}

impl Joined {
    /// The number of cells taken.
    pub fn cells(&self) -> usize {
        self.changed.len()
    }

    /// True if something was taken that is not in `changed`: a record, or a dedup entry.
    pub fn has_more_than_cells(&self) -> bool {
        !self.records.is_empty() || !self.entries.is_empty()
    }
}

impl CounterMap {
    /// Joins another map: takes the newer snapshot of each writer. Never fails.
    ///
    /// # Complexity
    /// O(writers + cells that changed).
    pub fn join(&mut self, other: &Self) -> Joined {
        let (mut joined, mut same, mut search) = (Joined::default(), None, KeySearch::default());
        for theirs in &other.writers {
            let seen = self.seen_of(theirs.id());
            if theirs.seen() > seen && !self.is_folded(theirs.id()) {
                self.join_drops(theirs, &other.keys, seen, &mut joined);
                // Nothing up to `seen` is missing besides drops.
                let after = seen;
                let many = theirs.many_since(after);
                // If much is new, all keys are compared at once, at the speed of memory, instead of
                // one by one.
                let same = many
                    && *same.get_or_insert_with(|| {
                        self.keys.same_prefix(&other.keys) as usize == other.keys.len()
                    });
                let mut slots =
                    Vec::with_capacity(theirs.len().min((theirs.seen() - after) as usize));
                if many {
                    slots.extend(theirs.slots_since(after))
                } else {
                    slots.extend(theirs.since(after))
                }
                let keys = if same {
                    Vec::new()
                } else {
                    self.keys_like(
                        &mut search,
                        &other.keys,
                        slots.iter().map(|&slot| theirs.key(slot)),
                    )
                };
                self.join_writer(theirs, after, &slots, &keys, &mut joined);
                self.join_entries(theirs, after, &other.keys, &mut joined);
            }
        }
        self.settle(&mut joined);
        joined
    }

    /// Takes the cells in `slots`. `keys` maps their keys to those of this map; it is empty if both
    /// maps number them alike.
    fn join_writer(
        &mut self,
        theirs: &Writer,
        after: Version,
        slots: &[u32],
        keys: &[u32],
        joined: &mut Joined,
    ) {
        let at = self.writer_or_new(theirs.id());
        let in_order = slots.is_sorted_by_key(|&slot| theirs.plain(slot).version);
        let mut intake = self.intake(at, slots.len(), in_order, joined);
        match keys {
            [] => slots.iter().for_each(|&slot| {
                intake.take(theirs.key(slot), theirs.plain(slot), theirs.extra(slot))
            }),
            keys => slots
                .iter()
                .zip(keys)
                .for_each(|(&slot, &key)| intake.take(key, theirs.plain(slot), theirs.extra(slot))),
        }
        intake.finish();
        if let Some(record) = theirs.record().filter(|record| record.version > after) {
            self.intake(at, 0, true, joined).take_record(record);
        }
        self.writers[at].hold_up_to(theirs.seen());
    }

    /// Takes the drops of a writer that are newer than `seen`: its tombstones, and where some of
    /// them are forgotten there, the cells that are missing.
    fn join_drops(&mut self, theirs: &Writer, names: &Keys, seen: Version, joined: &mut Joined) {
        if theirs.tombstones().is_empty() && theirs.forgot() <= seen {
            return;
        }
        let at = self.writer_or_new(theirs.id());
        if seen > 0 && seen < theirs.forgot() {
            let kept = theirs.slots().map(|slot| theirs.key(slot));
            self.drop_missing(at, names, kept, theirs.forgot(), joined);
        }
        for (version, key) in theirs.tombstones().since(seen) {
            self.take_tombstone(at, version, key, joined);
        }
    }

    /// The keys here for the keys of another numbering, made where they are new. The caller checks
    /// the bounds.
    fn keys_like(
        &mut self,
        search: &mut KeySearch,
        names: &impl KeyNames,
        theirs: impl Iterator<Item = u32>,
    ) -> Vec<u32> {
        theirs.map(|theirs| self.key_like(search, names, theirs)).collect()
    }

    #[inline]
    fn key_like(&mut self, search: &mut KeySearch, names: &impl KeyNames, theirs: u32) -> u32 {
        self.keys.find_same(search, names, theirs).unwrap_or_else(|| {
            let (counter, region) = names.names(theirs);
            let key = self.new_key(counter, region);
            search.note_new(key);
            key
        })
    }

    fn join_entries(
        &mut self,
        theirs: &Writer,
        after: Version,
        their_keys: &Keys,
        joined: &mut Joined,
    ) {
        let Ok(at) = self.writer_at(theirs.id()) else { return };
        for entry in theirs.entries().since(after) {
            let same =
                |map: &mut Self, key| map.key_like(&mut KeySearch::near(key), their_keys, key);
            let keys: SmallVec<[(u32, u32); 4]> =
                entry.keys().map(|key| (key, same(self, key))).collect();
            let here = |key| keys.iter().find(|pair| pair.0 == key).map_or(0, |pair| pair.1);
            self.take_entry(at, entry, here, joined);
        }
        self.trim_entries_of(at);
    }

    /// Joins a delta. A span takes effect if everything up to its `after` is held. Past a gap it
    /// has no effect and is reported.
    ///
    /// # Errors
    /// `OpenPart`, `TooManyCounters` or `TooManyReplicas`. The whole delta was refused, and the
    /// state is unchanged.
    ///
    /// # Complexity
    /// O(cells of the delta), plus a sort of them if versions do not ascend with names.
    pub fn join_delta(&mut self, delta: &Delta) -> Result<Joined, JoinError> {
        if let Some(open) = delta.parts.iter().find(|part| !part.closed) {
            return Err(JoinError::OpenPart(open.span.replica));
        }
        if let Some(joined) = self.join_one(delta) {
            return Ok(joined);
        }
        let mut joined = Joined::default();
        let mut parts: SmallVec<[(&DeltaPart, Version); 2]> =
            SmallVec::with_capacity(delta.parts.len());
        for part in delta.parts.iter().filter(|part| !self.is_folded(part.span.replica)) {
            let seen = self.seen_of(part.span.replica);
            if part.span.upto > seen && part.span.after > seen {
                joined.gaps.push(part.span);
            } else if part.span.upto > seen {
                parts.push((part, seen));
            }
        }
        let keys = self.resolve(delta, &parts)?;
        for (part, seen) in parts {
            if part.replaces(seen) {
                self.replace_by(part, &delta.keys, &mut joined);
            }
            self.take_part(part, seen, &keys, &mut joined);
        }
        self.settle(&mut joined);
        Ok(joined)
    }

    /// Joins a delta from a log that overlaps a checkpoint. The checkpoint's early pages may hold
    /// cells that were dropped, and whose tombstones were forgotten, before its last page. So drops
    /// count even where the state is past them.
    ///
    /// # Complexity
    /// As [`join_delta`](Self::join_delta), and O(n log n) for the `n` cells of each writer whose
    /// span starts at 0.
    ///
    /// # Errors
    /// As [`join_delta`](Self::join_delta).
    pub fn join_logged(&mut self, delta: &Delta) -> Result<Joined, JoinError> {
        let mut joined = self.join_delta(delta)?;
        for part in &delta.parts {
            if let Ok(at) = self.writer_at(part.span.replica) {
                for tombstone in &part.tombstones {
                    self.drop_older(at, tombstone.version, &tombstone.key, &mut joined);
                }
                if part.span.after == 0 {
                    self.replace_by(part, &delta.keys, &mut joined);
                }
            }
        }
        Ok(joined)
    }

    /// Joins the delta that is sent most often: one plain cell of a counter and a writer that are
    /// held, if it is new and follows what is held. Returns None for any other delta, and nothing
    /// changed. O(log writers).
    fn join_one(&mut self, delta: &Delta) -> Option<Joined> {
        let [part] = delta.parts.as_slice() else { return None };
        let [cell] = part.cells.as_slice() else { return None };
        if part.record.is_some()
            || !part.extras.is_empty()
            || !part.dedup.is_empty()
            || !part.tombstones.is_empty()
            || self.values.has_shaped()
        {
            return None;
        }
        let at = self.writer_at(part.span.replica).ok()?;
        let (counter, region) = delta.keys.names(cell.key);
        let key = self.keys.find(counter, region)?;
        let writer = &mut self.writers[at];
        if part.span.after > writer.seen() || cell.version <= writer.seen() || writer.has_extras() {
            return None;
        }
        let slot = match writer.slot(key, key) {
            Some(slot) => slot,
            None => {
                self.keys.revive(key);
                writer.make(key)
            }
        };
        let plain = Plain { version: cell.version, amounts: cell.amounts };
        let stood = writer.replace(&self.keys, slot, plain);
        writer.hold_up_to(part.span.upto);
        self.values.shift(key, self.keys.counter_of(key), plain.amounts.net() - stood.net());
        Some(Joined { changed: vec![KeyId(key)], ..Joined::default() })
    }

    /// Takes the result of a full pull after a divergence: cell by cell the greater version, and of
    /// equal versions the greater bytes. Spans take effect as in a join.
    ///
    /// # Complexity
    /// O(n log n) for the `n` cells of the delta and its writers, if most of them agree.
    ///
    /// # Errors
    /// As [`join_delta`](Self::join_delta).
    pub fn repair(&mut self, delta: &Delta) -> Result<Joined, JoinError> {
        if let Some(open) = delta.parts.iter().find(|part| !part.closed) {
            return Err(JoinError::OpenPart(open.span.replica));
        }
        let mut joined = Joined::default();
        let takes = |part: &&DeltaPart| {
            part.span.after <= self.seen_of(part.span.replica) && !self.is_folded(part.span.replica)
        };
        let parts: Vec<_> = delta.parts.iter().filter(takes).map(|part| (part, 0)).collect();
        let keys = self.resolve(delta, &parts)?;
        for (part, _) in parts {
            if part.span.after == 0 {
                self.replace_by(part, &delta.keys, &mut joined);
            }
            self.repair_part(part, &keys, &mut joined);
        }
        self.settle(&mut joined);
        Ok(joined)
    }

    /// The keys here of a delta's dictionary, made where they are new. Checks the bounds before
    /// anything changes.
    fn resolve(
        &mut self,
        delta: &Delta,
        parts: &[(&DeltaPart, Version)],
    ) -> Result<Resolved, JoinError> {
        let new_replicas =
            parts.iter().filter(|(part, _)| self.writer(part.span.replica).is_none()).count();
        if new_replicas > 0 && self.writers.len() + new_replicas > self.replicas_max {
            return Err(JoinError::TooManyReplicas);
        }
        let count = delta.keys.pairs.len();
        if self.keys.same_prefix_of_delta(&delta.keys) as usize == count {
            return Ok(Resolved::Same);
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
                *key = self.keys.find_same(&mut search, &delta.keys, number).unwrap_or(NEW);
                new += usize::from(*key == NEW);
            }
        }
        if new > 0 {
            let new_keys =
                keys.iter().zip(0..).filter(|(key, _)| **key == NEW).map(|(_, number)| number);
            self.check_room(delta, new, new_keys)?;
        }
        for (key, number) in keys.iter_mut().zip(0..).filter(|(key, _)| **key == NEW) {
            let (counter, region) = delta.keys.names(number);
            *key = self.new_key(counter, region);
        }
        Ok(Resolved::Renumbered(keys))
    }

    /// Checks that there is room for `new` keys of a delta. O(1), and near the bound O(new).
    fn check_room(
        &self,
        delta: &Delta,
        new: usize,
        new_keys: impl Iterator<Item = u32>,
    ) -> Result<(), JoinError> {
        let counters_max = self.counters_max.saturating_mul(COUNTERS_JOINED_TIMES);
        let counters = self.keys.counter_count();
        let is_near = counters + new > counters_max;
        let is_over = is_near && {
            let mut new_counters: Vec<u32> =
                new_keys.map(|number| delta.keys.pairs[number as usize].0).collect();
            new_counters.sort_unstable();
            new_counters.dedup();
            new_counters
                .retain(|counter| self.keys.counter(delta.keys.counter_name(*counter)).is_none());
            !new_counters.is_empty() && counters + new_counters.len() > counters_max
        };
        match is_over || self.keys.len() + new > Self::keys_max(self.counters_max) {
            true => Err(JoinError::TooManyCounters),
            false => Ok(()),
        }
    }

    /// Makes a key that was looked for and not found. The caller checks the bounds.
    fn new_key(&mut self, counter: &str, region: &str) -> u32 {
        let key = self.keys.push(counter, region);
        self.values.cover(key, self.keys.counter_of(key));
        key
    }

    fn take_part(&mut self, part: &DeltaPart, seen: Version, keys: &Resolved, joined: &mut Joined) {
        let at = self.writer_or_new(part.span.replica);
        for tombstone in part.tombstones.iter().filter(|tombstone| tombstone.version > seen) {
            self.take_tombstone(at, tombstone.version, &tombstone.key, joined);
        }
        let in_order = part.cells.is_sorted_by_key(|cell| cell.version);
        let mut intake = self.intake(at, part.cells.len(), in_order, joined);
        for cell in part.cells.iter().filter(|cell| cell.version > seen) {
            let extra = if part.extras.is_empty() { None } else { part.extra(cell.key) };
            intake.take(
                keys.key(cell.key),
                Plain { version: cell.version, amounts: cell.amounts },
                extra,
            );
        }
        intake.finish();
        if let Some(record) = part.record.as_ref().filter(|record| record.version > seen) {
            self.intake(at, 0, true, joined).take_record(record);
        }
        self.take_entries(at, part, seen, |key| keys.key(key), joined);
        self.writers[at].hold_up_to(part.span.upto);
    }

    /// Drops the cells of a writer that its whole snapshot no longer has, and whose tombstones are
    /// forgotten.
    fn replace_by(&mut self, part: &DeltaPart, names: &impl KeyNames, joined: &mut Joined) {
        let (at, forgot) = (
            self.writer_or_new(part.span.replica),
            part.record.as_ref().map_or(0, |record| record.forgot()),
        );
        self.drop_missing(at, names, part.cells.iter().map(|cell| cell.key), forgot, joined);
    }

    /// Takes the cells of open parts as they are, the newer one of each key. Versions rise only to
    /// those that are there.
    pub(crate) fn stage(&mut self, delta: &Delta) {
        let parts: Vec<_> =
            delta.parts.iter().filter(|part| !part.closed).map(|part| (part, 0)).collect();
        // A staging map has no bounds of its own.
        let Ok(keys) = self.resolve(delta, &parts) else { return };
        for (part, _) in parts {
            self.repair_part(part, &keys, &mut Joined::default());
        }
    }

    /// Forgets a writer: its cells, its record and its version. Not a join: for maps that are no
    /// replica's state.
    pub(crate) fn forget(&mut self, replica: ReplicaId) {
        self.writers.retain(|writer| writer.id() != replica);
    }

    fn repair_part(&mut self, part: &DeltaPart, keys: &Resolved, joined: &mut Joined) {
        let at = self.writer_or_new(part.span.replica);
        self.writers[at].forget_hash();
        for tombstone in &part.tombstones {
            self.take_tombstone(at, tombstone.version, &tombstone.key, joined);
        }
        // In version order each cell goes to the end. In key order each would need a search for its
        // place.
        for number in in_order(part.cells.iter().map(|cell| cell.version).zip(0..).collect()) {
            let cell = &part.cells[number as usize];
            let key = keys.key(cell.key);
            let offered =
                (cell.version, cell.amounts, part.extra(cell.key).cloned().unwrap_or_default());
            let writer = &self.writers[at];
            let held = writer.slot(key, key).map(|slot| writer.cell(slot)).unwrap_or_default();
            let held = (held.version, held.amounts, held.extra);
            joined.conflicts += usize::from(held.0 == offered.0 && held != offered);
            if offered > held {
                let extra = Some(&offered.2).filter(|extra| !extra.is_empty());
                let mut intake = self.intake(at, 1, true, joined);
                intake.take(key, Plain { version: offered.0, amounts: offered.1 }, extra);
                intake.finish();
            }
        }
        if let Some(record) =
            part.record.as_ref().filter(|record| self.writers[at].record() < Some(record))
        {
            self.intake(at, 0, true, joined).take_record(record);
        }
        self.take_entries(at, part, 0, |key| keys.key(key), joined);
        let writer = &mut self.writers[at];
        writer.hold_up_to(writer.seen().max(part.span.upto));
    }

    /// Brings values up to date, and forgets the writers that the new records folded.
    #[inline]
    fn settle(&mut self, joined: &mut Joined) {
        self.recount_values(&joined.changed);
        if joined.incarnations_changed {
            joined.changed.extend(self.refresh_incarnations());
        }
    }

    /// Recounts the changed keys whose value is more than a sum of amounts.
    #[inline]
    fn recount_values(&mut self, changed: &[KeyId]) {
        if !self.values.has_shaped() {
            return;
        }
        for &KeyId(key) in changed {
            if self.values.is_shaped(key) {
                self.recount_value(key);
            }
        }
    }
}

/// The keys here of a delta's keys.
enum Resolved {
    /// Each has the same number.
    Same,
    /// By the delta's number.
    Renumbered(SmallVec<[u32; 4]>),
}

impl Resolved {
    #[inline]
    fn key(&self, theirs: u32) -> u32 {
        match self {
            Self::Same => theirs,
            Self::Renumbered(keys) => keys[theirs as usize],
        }
    }
}
