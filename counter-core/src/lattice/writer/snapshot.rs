//! One writer's snapshot: its cells, its record and its tombstones. The cells are dense, found by
//! key, and walked in version order.

use std::collections::BTreeMap;

use crate::incarnation::record::Record;
use crate::lattice::cell::amounts::Amounts;
use crate::lattice::cell::{Cell, CellExtra, Origin, PlainCell};
use crate::lattice::keys::{Keys, Renumbering};
use crate::lattice::state_hash::{cell_hash, record_hash, tombstone_hash};
use crate::lattice::versions::Version;
use crate::lattice::writer::ring::Ring;
use crate::lattice::writer::slots::CellSlots;
use crate::lattice::writer::tombstones::{Tombstones, key_bytes};
use crate::replica_id::ReplicaId;

/// Dropping cells never shrinks the room below this many cells.
const ROOM_KEPT: usize = 64;

/// One writer's snapshot: exactly its cells, its record and its tombstones as of version `seen`.
/// Its dedup entries are held beside it, as of the same version.
///
/// 36 bytes per cell, and about 6 of index if its slot differs from its key. A walk back from the
/// newest cell finds the changes since a version in O(changed).
///
/// The hash covers the cells, the record and the tombstones, or is absent. Each change keeps it up
/// to date or forgets it.
#[derive(Clone)]
pub(crate) struct Writer {
    id: ReplicaId,
    /// Every change of this writer up to this version is held, and none after it.
    seen: Version,
    record: Option<Record>,
    /// The cells that it dropped, except for drops that its record marks as forgotten.
    tombstones: Tombstones,
    plain: Vec<PlainCell>,
    slots: CellSlots,
    ring: Ring,
    /// The few cells that have more than amounts, by slot.
    extras: BTreeMap<u32, CellExtra>,
    /// Sum of the hashes of the cells, the record and the tombstones; None when it must be
    /// recomputed.
    hash: Option<u128>,
}

impl Writer {
    pub(crate) fn new(id: ReplicaId) -> Self {
        Self {
            id,
            seen: 0,
            record: None,
            tombstones: Tombstones::default(),
            plain: Vec::new(),
            slots: CellSlots::default(),
            ring: Ring::default(),
            extras: BTreeMap::new(),
            hash: None,
        }
    }

    /// Changes the id, including mentions of it in its own cells and record.
    pub(crate) fn rename(&mut self, to: ReplicaId) {
        let from = std::mem::replace(&mut self.id, to);
        self.extras.values_mut().for_each(|extra| extra.rename(from, to));
        self.record.iter_mut().for_each(|record| record.rename(from, to));
        self.hash = None;
    }

    #[inline]
    pub(crate) fn id(&self) -> ReplicaId {
        self.id
    }

    /// The version as of which this snapshot is exact.
    #[inline]
    pub(crate) fn seen(&self) -> Version {
        self.seen
    }

    /// The version of the writer's next own change.
    #[inline]
    pub(crate) fn next_version(&self) -> Version {
        self.seen + 1
    }

    /// Notes that everything up to `version` is held.
    #[inline]
    pub(crate) fn set_seen(&mut self, version: Version) {
        self.seen = version;
    }

    #[inline]
    pub(crate) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    pub(crate) fn set_record(&mut self, record: Record) {
        if let Some(sum) = self.hash {
            let mut scratch = Vec::new();
            let new = record_hash(&mut scratch, self.id, &record);
            self.hash = Some(sum.wrapping_sub(self.record_hash(&mut scratch)).wrapping_add(new));
        }
        let forgot = record.forgot();
        self.record = Some(record);
        let (Self { tombstones, hash, id, .. }, mut scratch) = (self, Vec::new());
        tombstones.forget(forgot, |version, key| {
            if let Some(sum) = hash {
                *sum = sum.wrapping_sub(tombstone_hash(&mut scratch, *id, version, key));
            }
        });
    }

    /// The version up to which all replicas know this writer's drops, so that it needs no
    /// tombstones for them.
    #[inline]
    pub(crate) fn forgot(&self) -> Version {
        self.record.as_ref().map_or(0, Record::forgot)
    }

    pub(crate) fn tombstones(&self) -> &Tombstones {
        &self.tombstones
    }

    /// Takes a tombstone, unless it is held or forgotten. Tombstones come in version order. The
    /// caller drops the cell.
    pub(crate) fn put_tombstone(&mut self, version: Version, key: &[u8]) {
        if version <= self.forgot().max(self.tombstones.newest()) {
            return;
        }
        self.tombstones.push(version, key);
        if let Some(sum) = self.hash {
            let hash = tombstone_hash(&mut Vec::new(), self.id, version, key);
            self.hash = Some(sum.wrapping_add(hash));
        }
    }

    fn record_hash(&self, scratch: &mut Vec<u8>) -> u128 {
        self.record.as_ref().map_or(0, |record| record_hash(scratch, self.id, record))
    }

    /// The hash of the snapshot. O(1) while it is kept up to date, else O(cells),
    /// about 20 ns each.
    pub(crate) fn hash(&mut self, scratch: &mut Vec<u8>, keys: &Keys) -> u128 {
        let hash = self.hash.unwrap_or_else(|| {
            let tombstones = self.tombstones.since(0).fold(0u128, |sum, (version, key)| {
                sum.wrapping_add(tombstone_hash(scratch, self.id, version, key))
            });
            let others = tombstones.wrapping_add(self.record_hash(scratch));
            self.slots().fold(others, |sum, slot| {
                sum.wrapping_add(self.cell_hash(scratch, keys, slot, self.plain(slot)))
            })
        });
        self.hash = Some(hash);
        hash
    }

    fn cell_hash(&self, scratch: &mut Vec<u8>, keys: &Keys, slot: u32, plain: PlainCell) -> u128 {
        cell_hash(scratch, self.id, keys.names(self.key(slot)), plain, self.extra(slot))
    }

    /// True while the hash is kept up to date with each change.
    #[inline]
    pub(crate) fn has_hash(&self) -> bool {
        self.hash.is_some()
    }

    /// Drops the hash before many changes, when computing it afresh is cheaper.
    pub(crate) fn forget_hash(&mut self) {
        self.hash = None;
    }

    /// Brings the hash up to date for a cell that is about to change its amounts.
    pub(crate) fn rehash(&mut self, keys: &Keys, slot: u32, plain: PlainCell) {
        let Some(sum) = self.hash else { return };
        let mut scratch = Vec::with_capacity(96);
        let (new, previous) = (self.cell_hash(&mut scratch, keys, slot, plain), self.plain(slot));
        let old = match previous.version {
            0 => 0,
            _ => self.cell_hash(&mut scratch, keys, slot, previous),
        };
        self.hash = Some(sum.wrapping_sub(old).wrapping_add(new));
    }

    pub(crate) fn len(&self) -> usize {
        self.plain.len()
    }

    pub(crate) fn reserve(&mut self, cells: usize) {
        self.plain.reserve(cells);
        self.slots.reserve(cells);
        self.ring.reserve(cells);
    }

    /// The slot of `key`. Tries the slot `hint` first, then the slot with the number of the key,
    /// which is right if the writer has all keys.
    #[inline]
    pub(crate) fn slot(&self, key: u32, hint: u32) -> Option<u32> {
        self.slots.find_near(key, hint)
    }

    /// The slot of `key` from the index, without a guess first.
    #[inline]
    pub(crate) fn indexed(&self, key: u32) -> Option<u32> {
        self.slots.find(key)
    }

    #[inline]
    pub(crate) fn key(&self, slot: u32) -> u32 {
        self.slots.key(slot)
    }

    /// True if keys ascend with slots.
    pub(crate) fn ascending(&self) -> bool {
        self.slots.ascending()
    }

    #[inline]
    pub(crate) fn plain(&self, slot: u32) -> PlainCell {
        self.plain[slot as usize]
    }

    pub(crate) fn extra(&self, slot: u32) -> Option<&CellExtra> {
        if self.extras.is_empty() { None } else { self.extras.get(&slot) }
    }

    /// The cells from `slot` on that have more than amounts.
    pub(crate) fn extras_from(&self, slot: u32) -> impl Iterator<Item = (u32, &CellExtra)> {
        self.extras.range(slot..).map(|(slot, extra)| (*slot, extra))
    }

    /// True if some cell has more than amounts.
    pub(crate) fn has_extras(&self) -> bool {
        !self.extras.is_empty()
    }

    pub(crate) fn cell(&self, slot: u32) -> Cell {
        let PlainCell { version, amounts } = self.plain(slot);
        Cell { version, amounts, extra: self.extra(slot).cloned().unwrap_or_default() }
    }

    /// The amounts and the extra part of `key`; None if this writer has no cell for it.
    pub(crate) fn amounts(&self, key: u32) -> Option<(Amounts, Option<&CellExtra>)> {
        self.slot(key, key).map(|slot| (self.plain(slot).amounts, self.extra(slot)))
    }

    /// Makes a cell for a key that has none. It is outside the version order until
    /// [`put`](Self::put).
    pub(crate) fn make(&mut self, key: u32) -> u32 {
        self.plain.push(PlainCell::default());
        self.ring.make();
        self.slots.push(key)
    }

    /// Drops a cell. The last cell takes its slot. Returns the cell's amounts.
    pub(crate) fn drop_cell(&mut self, keys: &Keys, slot: u32) -> Amounts {
        if let Some(sum) = self.hash {
            let hash = self.cell_hash(&mut Vec::new(), keys, slot, self.plain(slot));
            self.hash = Some(sum.wrapping_sub(hash));
        }
        let last = self.plain.len() as u32 - 1;
        self.extras.remove(&slot);
        if slot != last
            && let Some(extra) = self.extras.remove(&last)
        {
            self.extras.insert(slot, extra);
        }
        self.ring.swap_remove(slot);
        self.slots.swap_remove(slot);
        let amounts = self.plain.swap_remove(slot as usize).amounts;
        self.shrink_room();
        amounts
    }

    /// Frees room once three quarters of it are empty. Amortized O(1) per drop.
    fn shrink_room(&mut self) {
        let (cells, room) = (self.plain.len(), self.plain.capacity());
        if room > ROOM_KEPT && cells < room / 4 {
            self.plain.shrink_to(cells * 2);
            self.slots.shrink_to(cells * 2);
            self.ring.shrink_to(cells * 2);
        }
    }

    /// Renumbers the keys, and frees all spare capacity. All keys of its cells are kept. O(cells).
    pub(crate) fn renumber(&mut self, renumbering: &Renumbering) {
        let rank = |key| renumbering.key(key).unwrap_or(key);
        self.plain.shrink_to_fit();
        self.ring.shrink_to(0);
        self.slots.renumber(rank);
    }

    /// The origin of the next cell at this key. Some if the writer dropped a cell there and has not
    /// forgotten that.
    pub(crate) fn origin_of_new(&self, keys: &Keys, key: u32) -> Option<Origin> {
        if self.tombstones.is_empty() {
            return None;
        }
        self.tombstones.latest(&key_bytes(keys.names(key)))?;
        Some(Origin::after_drop(self.next_version()))
    }

    /// Like [`put`](Self::put), and keeps the hash up to date.
    #[inline]
    pub(crate) fn replace(&mut self, keys: &Keys, slot: u32, plain: PlainCell) -> Amounts {
        if self.hash.is_some() {
            self.rehash(keys, slot, plain);
        }
        self.put(slot, plain.version, plain.amounts)
    }

    /// Writes a cell and moves it to its place in version order, which is the end unless a repair
    /// writes an older version. Returns the previous amounts.
    #[inline]
    pub(crate) fn put(&mut self, slot: u32, version: Version, amounts: Amounts) -> Amounts {
        let previous =
            std::mem::replace(&mut self.plain[slot as usize], PlainCell { version, amounts });
        let plain = &self.plain;
        self.ring.put(slot, previous.version, version, |slot| plain[slot as usize].version);
        previous.amounts
    }

    /// Writes a cell without moving it in version order. Call [`order`](Self::order) for all such
    /// cells afterwards. Returns the previous cell.
    #[inline]
    pub(crate) fn write(&mut self, slot: u32, plain: PlainCell) -> PlainCell {
        std::mem::replace(&mut self.plain[slot as usize], plain)
    }

    /// Moves cells that were [written](Self::write) to the end of the version order. `slots` are in
    /// the order of their new versions, which are above those of all other cells. O(slots).
    pub(crate) fn order(&mut self, slots: &[u32]) {
        self.ring.order(slots);
    }

    /// Gives a cell that was just [made](Self::make) its extra part, unless that is empty. The cell
    /// is not part of the hash yet.
    pub(crate) fn begin_extra(&mut self, slot: u32, extra: CellExtra) {
        if !extra.is_empty() {
            self.extras.insert(slot, extra);
        }
    }

    /// Replaces the extra part of a cell.
    pub(crate) fn put_extra(&mut self, slot: u32, extra: Option<CellExtra>) {
        self.hash = None;
        match extra {
            Some(extra) if !extra.is_empty() => drop(self.extras.insert(slot, extra)),
            _ if self.extras.is_empty() => {}
            _ => drop(self.extras.remove(&slot)),
        }
    }

    /// Slots in the order in which cells were made.
    pub(crate) fn slots(&self) -> std::ops::Range<u32> {
        0..self.plain.len() as u32
    }

    fn version(&self, slot: u32) -> Version {
        self.plain[slot as usize].version
    }

    /// A holder of everything up to `seen` needs this writer's changes after the returned version.
    /// It is 0 if tombstones that the holder lacks are forgotten here: then it needs the whole
    /// snapshot.
    #[inline]
    pub(crate) fn needed_after(&self, seen: Version) -> Version {
        if seen < self.forgot() { 0 } else { seen }
    }

    /// The number of cells with a version above `after`, counted up to `max`. O(counted).
    pub(crate) fn count_since(&self, after: Version, max: usize) -> usize {
        self.ring.newest_first().take(max).take_while(|&slot| self.version(slot) > after).count()
    }

    /// Slots of the cells with a version above `after`, oldest first. O(changed).
    #[inline]
    pub(crate) fn since(&self, after: Version) -> impl Iterator<Item = u32> + '_ {
        let all = self.ring.oldest().filter(|&oldest| self.version(oldest) > after);
        let first = all.or_else(|| {
            self.ring.newest_first().take_while(|&slot| self.version(slot) > after).last()
        });
        self.ring.from(first)
    }

    /// True if so many cells have a version above `after` that one pass through memory in slot
    /// order beats a walk in version order. O(changed).
    pub(crate) fn many_since(&self, after: Version) -> bool {
        let few = self.len() / 32;
        self.ring.oldest().is_some_and(|oldest| self.version(oldest) > after)
            || self.count_since(after, few + 1) > few
    }

    /// Like [`since`](Self::since), in slot order. O(cells).
    #[inline]
    pub(crate) fn slots_since(&self, after: Version) -> impl Iterator<Item = u32> + Clone + '_ {
        self.slots().filter(move |&slot| self.version(slot) > after)
    }

    /// Like [`since`](Self::since), but O(1) if the cell in `slot` is still the last one up to
    /// version `after`.
    pub(crate) fn since_near(&self, after: Version, slot: u32) -> impl Iterator<Item = u32> + '_ {
        let is_up_to =
            self.plain.get(slot as usize).is_some_and(|plain| (1..=after).contains(&plain.version));
        let following = if is_up_to { self.ring.following(slot) } else { None };
        let unmoved = is_up_to && following.is_none_or(|next| self.version(next) > after);
        self.ring.from(if unmoved { following } else { self.since(after).next() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(writer: &mut Writer, key: u32, version: Version) {
        let slot = writer.slot(key, key).unwrap_or_else(|| writer.make(key));
        writer.put(slot, version, Amounts { increments: version, decrements: 0 });
    }

    fn keys_since(writer: &Writer, after: Version) -> Vec<u32> {
        writer.since(after).map(|slot| writer.key(slot)).collect()
    }

    #[test]
    fn cells_are_walked_in_version_order_from_any_version() {
        let mut writer = Writer::new(ReplicaId::default());
        for (version, key) in [5, 6, 7, 5, 8, 6].into_iter().enumerate() {
            add(&mut writer, key, version as u64 + 1);
        }
        assert_eq!(keys_since(&writer, 0), [7, 5, 8, 6]);
        assert_eq!(keys_since(&writer, 4), [8, 6]);
        assert_eq!(keys_since(&writer, 6), []);
        let five = writer.slot(5, 0).unwrap();
        assert_eq!(
            writer.since_near(4, five).map(|slot| writer.key(slot)).collect::<Vec<_>>(),
            [8, 6]
        );
    }

    #[test]
    fn bulk_cells_join_the_version_order() {
        let mut writer = Writer::new(ReplicaId::default());
        for (version, key) in [5, 6, 7, 8].into_iter().enumerate() {
            add(&mut writer, key, version as u64 + 1);
        }
        for (key, version) in [(6, 12), (9, 11), (5, 10)] {
            let slot = writer.slot(key, key).unwrap_or_else(|| writer.make(key));
            writer.write(slot, PlainCell { version, amounts: Amounts::default() });
        }
        writer.order(&[0, 4, 1]);
        assert_eq!(
            (keys_since(&writer, 0), keys_since(&writer, 10)),
            (vec![7, 8, 5, 9, 6], vec![9, 6])
        );
        for slot in 0..5 {
            writer.write(
                slot,
                PlainCell { version: 20 - u64::from(slot), amounts: Amounts::default() },
            );
        }
        writer.order(&[4, 3, 2, 1, 0]);
        assert_eq!(
            (keys_since(&writer, 0), keys_since(&writer, 18)),
            (vec![9, 8, 7, 6, 5], vec![6, 5])
        );
        add(&mut writer, 9, 30);
        assert_eq!(keys_since(&writer, 0), [8, 7, 6, 5, 9]);
    }

    #[test]
    fn an_older_version_goes_to_its_place() {
        let mut writer = Writer::new(ReplicaId::default());
        for (key, version) in [(1, 10), (2, 20), (3, 30), (3, 15), (1, 5)] {
            add(&mut writer, key, version);
        }
        assert_eq!(keys_since(&writer, 0), [1, 3, 2]);
    }
}
