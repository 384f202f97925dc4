//! Joining takes the newer snapshot of each writer. Its cost grows with the changes, not the state.

use smallvec::SmallVec;

use crate::codec::dictionary::KeyNames;
use crate::dedup::table::DedupTable;
use crate::error::JoinError;
use crate::lattice::cell::PlainCell;
use crate::lattice::counter_map::delta_keys::DeltaKeys;
use crate::lattice::counter_map::{CounterMap, Joined};
use crate::lattice::delta::{Delta, DeltaPart};
use crate::lattice::keys::order::sorted_by_number;
use crate::lattice::keys::{KeyId, KeySearch, Keys};
use crate::lattice::versions::Version;
use crate::lattice::writer::Writer;
use crate::replica_id::ReplicaId;

impl CounterMap {
    /// Joins another map: takes the newer snapshot of each writer. Never fails.
    ///
    /// # Complexity
    /// O(writers + cells that changed).
    pub fn join(&mut self, other: &Self) -> Joined {
        let (mut joined, mut same, mut search) = (Joined::default(), None, KeySearch::default());
        for theirs in other.writers().iter() {
            let seen = self.seen_of(theirs.id());
            if theirs.seen() > seen && !self.is_folded(theirs.id()) {
                self.join_drops(theirs, other.keys(), seen, &mut joined);
                // All changes up to `seen` are held, except for the drops just taken.
                let after = seen;
                let many = theirs.many_since(after);
                // If much is new, comparing all keys in one pass is faster than looking each one
                // up.
                let same = many
                    && *same.get_or_insert_with(|| {
                        self.keys().same_prefix(other.keys()) as usize == other.keys().len()
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
                    self.local_keys(
                        &mut search,
                        other.keys(),
                        slots.iter().map(|&slot| theirs.key(slot)),
                    )
                };
                self.join_writer(theirs, after, &slots, &keys, &mut joined);
                if let Some(entries) = other.dedup().of(theirs.id()) {
                    self.join_entries(theirs.id(), (entries, other.keys()), after, &mut joined);
                }
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
        let at = self.cells_mut().find_or_make_writer(theirs.id());
        let in_order = slots.is_sorted_by_key(|&slot| theirs.plain(slot).version);
        let mut intake = self.cells_mut().intake(at, slots.len(), in_order, joined);
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
            self.cells_mut().intake(at, 0, true, joined).take_record(record);
        }
        self.cells_mut().set_seen(at, theirs.seen());
    }

    /// Takes a writer's drops after `seen`. They are its tombstones and, if the other map has
    /// forgotten some, the cells that it no longer holds.
    fn join_drops(&mut self, theirs: &Writer, names: &Keys, seen: Version, joined: &mut Joined) {
        if theirs.tombstones().is_empty() && theirs.forgot() <= seen {
            return;
        }
        let at = self.cells_mut().find_or_make_writer(theirs.id());
        if seen > 0 && seen < theirs.forgot() {
            let kept = theirs.slots().map(|slot| theirs.key(slot));
            self.cells_mut().drop_missing(at, names, kept, theirs.forgot(), joined);
        }
        for (version, key) in theirs.tombstones().since(seen) {
            self.cells_mut().take_tombstone(at, version, key, joined);
        }
    }

    /// Maps keys of another numbering to the keys of this map, and makes the missing ones. The
    /// caller checks the bounds.
    fn local_keys(
        &mut self,
        search: &mut KeySearch,
        names: &impl KeyNames,
        theirs: impl Iterator<Item = u32>,
    ) -> Vec<u32> {
        theirs.map(|theirs| self.local_key(search, names, theirs)).collect()
    }

    #[inline]
    fn local_key(&mut self, search: &mut KeySearch, names: &impl KeyNames, theirs: u32) -> u32 {
        self.keys().find_same(search, names, theirs).unwrap_or_else(|| {
            let (counter, region) = names.names(theirs);
            let key = self.cells_mut().make_key(counter, region);
            search.note_new(key);
            key
        })
    }

    /// Takes the dedup entries of a writer that are newer than `after`.
    fn join_entries(
        &mut self,
        writer: ReplicaId,
        (theirs, their_keys): (&DedupTable, &Keys),
        after: Version,
        joined: &mut Joined,
    ) {
        for entry in theirs.since(after) {
            let same =
                |map: &mut Self, key| map.local_key(&mut KeySearch::near(key), their_keys, key);
            let keys: SmallVec<[(u32, u32); 4]> =
                entry.keys().map(|key| (key, same(self, key))).collect();
            let here = |key| keys.iter().find(|pair| pair.0 == key).map_or(0, |pair| pair.1);
            self.take_entry(writer, entry, here, joined);
        }
        self.trim_entries_of(writer);
    }

    /// Joins a delta. A span takes effect if everything up to its `after` is held. Past a gap it
    /// has no effect and is reported.
    ///
    /// # Errors
    /// `OpenPart`, `TooManyCounters` or `TooManyReplicas`. The whole delta was refused, and the
    /// state is unchanged.
    ///
    /// # Complexity
    /// O(cells of the delta), plus a sort of them if they are not in version order.
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
        let keys = DeltaKeys::find_or_make(self, delta, &parts)?;
        for (part, seen) in parts {
            if part.replaces(seen) {
                self.drop_missing(part, &delta.keys, &mut joined);
            }
            self.take_part(part, seen, &keys, &mut joined);
        }
        self.settle(&mut joined);
        Ok(joined)
    }

    /// Joins a delta from a log that overlaps a checkpoint. The checkpoint's early pages may hold
    /// cells that were dropped before its last page, with tombstones that are already forgotten. So
    /// drops apply even if the state is past their versions.
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
            if let Ok(at) = self.writers().find(part.span.replica) {
                for tombstone in &part.tombstones {
                    self.cells_mut().drop_older(at, tombstone.version, &tombstone.key, &mut joined);
                }
                if part.span.after == 0 {
                    self.drop_missing(part, &delta.keys, &mut joined);
                }
            }
        }
        Ok(joined)
    }

    /// Fast path for the most common delta: one plain cell, newer and without a gap, of a known
    /// writer and a known counter. Returns None for any other delta, and changes nothing. O(log
    /// writers).
    fn join_one(&mut self, delta: &Delta) -> Option<Joined> {
        let [part] = delta.parts.as_slice() else { return None };
        let [cell] = part.cells.as_slice() else { return None };
        if part.record.is_some()
            || !part.extras.is_empty()
            || !part.dedup.is_empty()
            || !part.tombstones.is_empty()
            || self.cells().has_adjusted()
        {
            return None;
        }
        let at = self.writers().find(part.span.replica).ok()?;
        let (counter, region) = delta.keys.names(cell.key);
        let key = self.keys().find(counter, region)?;
        let writer = self.writers().at(at);
        if part.span.after > writer.seen() || cell.version <= writer.seen() || writer.has_extras() {
            return None;
        }
        let plain = PlainCell { version: cell.version, amounts: cell.amounts };
        self.cells_mut().take_plain(at, key, plain, part.span.upto);
        Some(Joined { changed: vec![KeyId(key)], ..Joined::default() })
    }

    /// Joins the result of a full pull after a divergence. It keeps the greater version of each
    /// cell; if versions are equal, the cell that compares as greater. Spans take effect as in a
    /// join.
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
        let keys = DeltaKeys::find_or_make(self, delta, &parts)?;
        for (part, _) in parts {
            if part.span.after == 0 {
                self.drop_missing(part, &delta.keys, &mut joined);
            }
            self.repair_part(part, &keys, &mut joined);
        }
        self.settle(&mut joined);
        Ok(joined)
    }

    fn take_part(
        &mut self,
        part: &DeltaPart,
        seen: Version,
        keys: &DeltaKeys,
        joined: &mut Joined,
    ) {
        let at = self.cells_mut().find_or_make_writer(part.span.replica);
        for tombstone in part.tombstones.iter().filter(|tombstone| tombstone.version > seen) {
            self.cells_mut().take_tombstone(at, tombstone.version, &tombstone.key, joined);
        }
        let in_order = part.cells.is_sorted_by_key(|cell| cell.version);
        let mut intake = self.cells_mut().intake(at, part.cells.len(), in_order, joined);
        for cell in part.cells.iter().filter(|cell| cell.version > seen) {
            let extra = if part.extras.is_empty() { None } else { part.extra(cell.key) };
            intake.take(
                keys.key(cell.key),
                PlainCell { version: cell.version, amounts: cell.amounts },
                extra,
            );
        }
        intake.finish();
        if let Some(record) = part.record.as_ref().filter(|record| record.version > seen) {
            self.cells_mut().intake(at, 0, true, joined).take_record(record);
        }
        self.take_entries(part, seen, keys, joined);
        self.cells_mut().set_seen(at, part.span.upto);
    }

    /// Takes the entries of a part that are newer than `seen`.
    fn take_entries(
        &mut self,
        part: &DeltaPart,
        seen: Version,
        keys: &DeltaKeys,
        joined: &mut Joined,
    ) {
        if self.dedup().is_empty() && part.dedup.is_empty() {
            return;
        }
        for entry in part.dedup.iter().filter(|entry| entry.version > seen) {
            self.take_entry(part.span.replica, entry, |key| keys.key(key), joined);
        }
        self.trim_entries_of(part.span.replica);
    }

    /// Drops the cells that a writer's whole snapshot no longer has, and whose tombstones are
    /// forgotten.
    fn drop_missing(&mut self, part: &DeltaPart, names: &impl KeyNames, joined: &mut Joined) {
        let (at, forgot) = (
            self.cells_mut().find_or_make_writer(part.span.replica),
            part.record.as_ref().map_or(0, |record| record.forgot()),
        );
        self.cells_mut().drop_missing(
            at,
            names,
            part.cells.iter().map(|cell| cell.key),
            forgot,
            joined,
        );
    }

    /// Stages the open parts: keeps the newer cell of each key, and takes their spans without
    /// looking for gaps.
    pub(crate) fn stage(&mut self, delta: &Delta) {
        let parts: Vec<_> =
            delta.parts.iter().filter(|part| !part.closed).map(|part| (part, 0)).collect();
        // A staging map has no bounds of its own.
        let Ok(keys) = DeltaKeys::find_or_make(self, delta, &parts) else { return };
        for (part, _) in parts {
            self.repair_part(part, &keys, &mut Joined::default());
        }
    }

    fn repair_part(&mut self, part: &DeltaPart, keys: &DeltaKeys, joined: &mut Joined) {
        let at = self.cells_mut().find_or_make_writer(part.span.replica);
        self.cells_mut().forget_hash(at);
        for tombstone in &part.tombstones {
            self.cells_mut().take_tombstone(at, tombstone.version, &tombstone.key, joined);
        }
        // In version order each cell goes to the end of the ring. In key order each would need a
        // search.
        for number in
            sorted_by_number(part.cells.iter().map(|cell| cell.version).zip(0..).collect())
        {
            let cell = &part.cells[number as usize];
            let key = keys.key(cell.key);
            let offered =
                (cell.version, cell.amounts, part.extra(cell.key).cloned().unwrap_or_default());
            let writer = self.writers().at(at);
            let held = writer.slot(key, key).map(|slot| writer.cell(slot)).unwrap_or_default();
            let held = (held.version, held.amounts, held.extra);
            joined.conflicts += usize::from(held.0 == offered.0 && held != offered);
            if offered > held {
                let extra = Some(&offered.2).filter(|extra| !extra.is_empty());
                let mut intake = self.cells_mut().intake(at, 1, true, joined);
                intake.take(key, PlainCell { version: offered.0, amounts: offered.1 }, extra);
                intake.finish();
            }
        }
        if let Some(record) =
            part.record.as_ref().filter(|record| self.writers().at(at).record() < Some(record))
        {
            self.cells_mut().intake(at, 0, true, joined).take_record(record);
        }
        self.take_entries(part, 0, keys, joined);
        let upto = self.writers().at(at).seen().max(part.span.upto);
        self.cells_mut().set_seen(at, upto);
    }

    /// Brings values up to date, and forgets the writers that the new records folded.
    #[inline]
    fn settle(&mut self, joined: &mut Joined) {
        self.cells_mut().recompute_adjusted(&joined.changed);
        if joined.incarnations_changed {
            joined.changed.extend(self.forget_folded());
        }
    }
}
