//! One writer's snapshot: its cells, dense, found by key and walked in version order.

use std::collections::BTreeMap;

use hashbrown::HashTable;

use crate::cell::{Amounts, Cell, Extra};
use crate::record::Record;
use crate::replica_id::ReplicaId;
use crate::version_vector::Version;

const NONE: u32 = u32::MAX;

/// What most cells are: 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plain {
    pub(crate) version: Version,
    pub(crate) amounts: Amounts,
}

/// Where a cell stands: its key, and its neighbours in version order.
#[derive(Clone, Copy)]
struct Place {
    key: u32,
    prev: u32,
    next: u32,
}

/// Exactly one writer's cells as of version `seen`. 36 bytes a cell and about 6 of index; what changed since a version is
/// found in O(changed), by walking back from the newest.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) id: ReplicaId,
    /// Every change of this writer up to here is held, none after it.
    pub(crate) seen: Version,
    pub(crate) record: Option<Record>,
    plain: Vec<Plain>,
    places: Vec<Place>,
    /// Key -> slot.
    index: HashTable<u32>,
    /// The few cells that have more than amounts, by slot.
    extras: BTreeMap<u32, Extra>,
    /// Ends of the chain in version order, NONE when there is no cell.
    oldest: u32,
    newest: u32,
    /// Sum of the hashes of the cells and the record; None when it must be counted afresh.
    pub(crate) hash: Option<u128>,
}

impl Writer {
    pub(crate) fn new(id: ReplicaId) -> Self {
        Self {
            id,
            seen: 0,
            record: None,
            plain: Vec::new(),
            places: Vec::new(),
            index: HashTable::new(),
            extras: BTreeMap::new(),
            oldest: NONE,
            newest: NONE,
            hash: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.plain.len()
    }

    pub(crate) fn reserve(&mut self, cells: usize) {
        self.plain.reserve(cells);
        self.places.reserve(cells);
    }

    /// The slot of `key`, looking at `hint` first.
    #[inline]
    pub(crate) fn slot(&self, key: u32, hint: u32) -> Option<u32> {
        match self.places.get(hint as usize) {
            Some(place) if place.key == key => Some(hint),
            _ => self.index.find(hash_key(key), |&slot| self.places[slot as usize].key == key).copied(),
        }
    }

    pub(crate) fn key(&self, slot: u32) -> u32 {
        self.places[slot as usize].key
    }

    pub(crate) fn plain(&self, slot: u32) -> Plain {
        self.plain[slot as usize]
    }

    pub(crate) fn extra(&self, slot: u32) -> Option<&Extra> {
        if self.extras.is_empty() { None } else { self.extras.get(&slot) }
    }

    /// Whether some cell has more than amounts.
    pub(crate) fn has_extras(&self) -> bool {
        !self.extras.is_empty()
    }

    pub(crate) fn cell(&self, slot: u32) -> Cell {
        let Plain { version, amounts } = self.plain(slot);
        Cell { version, amounts, extra: self.extra(slot).cloned().unwrap_or_default() }
    }

    /// Amounts of `key`, zero when this writer has no cell for it.
    pub(crate) fn amounts(&self, key: u32) -> Option<(Amounts, Option<&Extra>)> {
        self.slot(key, key).map(|slot| (self.plain(slot).amounts, self.extra(slot)))
    }

    /// A new cell for a key that has none, still outside the version order: [`put`](Self::put) follows.
    pub(crate) fn make(&mut self, key: u32) -> u32 {
        let slot = self.plain.len() as u32;
        self.plain.push(Plain::default());
        self.places.push(Place { key, prev: NONE, next: NONE });
        let places = &self.places;
        self.index.insert_unique(hash_key(key), slot, |&other| hash_key(places[other as usize].key));
        slot
    }

    /// Writes a cell and moves it to its place in version order, which is the end unless a repair writes an older one.
    /// Returns the amounts that stood there.
    #[inline]
    pub(crate) fn put(&mut self, slot: u32, version: Version, amounts: Amounts) -> Amounts {
        let stood = std::mem::replace(&mut self.plain[slot as usize], Plain { version, amounts });
        if self.newest != slot || stood.version > version {
            if stood.version != 0 {
                self.unlink(slot);
            }
            self.link(slot, version);
        }
        stood.amounts
    }

    /// Replaces what a cell has besides amounts.
    pub(crate) fn put_extra(&mut self, slot: u32, extra: Option<Extra>) {
        match extra {
            Some(extra) if !extra.is_empty() => drop(self.extras.insert(slot, extra)),
            _ if self.extras.is_empty() => {}
            _ => drop(self.extras.remove(&slot)),
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Place { prev, next, .. } = self.places[slot as usize];
        match self.places.get_mut(prev as usize) {
            Some(place) => place.next = next,
            None => self.oldest = next,
        }
        match self.places.get_mut(next as usize) {
            Some(place) => place.prev = prev,
            None => self.newest = prev,
        }
    }

    #[inline]
    fn link(&mut self, slot: u32, version: Version) {
        let mut prev = self.newest;
        while prev != NONE && self.plain[prev as usize].version > version {
            prev = self.places[prev as usize].prev;
        }
        let next = match self.places.get_mut(prev as usize) {
            Some(place) => std::mem::replace(&mut place.next, slot),
            None => std::mem::replace(&mut self.oldest, slot),
        };
        match self.places.get_mut(next as usize) {
            Some(place) => place.prev = slot,
            None => self.newest = slot,
        }
        let place = &mut self.places[slot as usize];
        (place.prev, place.next) = (prev, next);
    }

    /// Slots in the order in which cells were made.
    pub(crate) fn slots(&self) -> std::ops::Range<u32> {
        0..self.plain.len() as u32
    }

    /// Slots of the cells with a version above `after`, newest first. O(changed).
    pub(crate) fn newest_first(&self, after: Version) -> Vec<u32> {
        let mut slots = Vec::with_capacity(self.len().min((self.seen.saturating_sub(after)) as usize));
        let mut slot = self.newest;
        while slot != NONE && self.plain[slot as usize].version > after {
            slots.push(slot);
            slot = self.places[slot as usize].prev;
        }
        slots
    }

    /// Slots of the cells with a version above `after`, oldest first. O(changed).
    pub(crate) fn since(&self, after: Version) -> impl Iterator<Item = u32> + '_ {
        let mut first = NONE;
        if self.oldest != NONE && self.plain[self.oldest as usize].version > after {
            first = self.oldest;
        } else {
            let mut slot = self.newest;
            while slot != NONE && self.plain[slot as usize].version > after {
                first = slot;
                slot = self.places[slot as usize].prev;
            }
        }
        self.chain(first)
    }

    /// As [`since`](Self::since), and O(1) where the cell in `slot` still has version `after`.
    pub(crate) fn since_near(&self, after: Version, slot: u32) -> impl Iterator<Item = u32> + '_ {
        let unmoved = self.plain.get(slot as usize).is_some_and(|plain| plain.version == after && after > 0);
        let first = if unmoved { Some(self.places[slot as usize].next) } else { self.since(after).next() };
        self.chain(first.unwrap_or(NONE))
    }

    fn chain(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        let some = |slot: u32| Some(slot).filter(|&slot| slot != NONE);
        std::iter::successors(some(first), move |&slot| some(self.places[slot as usize].next))
    }
}

#[inline]
fn hash_key(key: u32) -> u64 {
    let mixed = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
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
        assert_eq!(writer.since_near(4, five).map(|slot| writer.key(slot)).collect::<Vec<_>>(), [8, 6]);
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
