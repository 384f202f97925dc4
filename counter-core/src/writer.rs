//! One writer's snapshot: its cells, dense, found by key and walked in version order.

use std::collections::BTreeMap;

use hashbrown::HashTable;

use crate::amounts::Amounts;
use crate::cell::{Cell, Extra};
use crate::marks::Marks;
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

/// A cell's neighbours in version order; the newest cell's next is the oldest.
#[derive(Clone, Copy)]
struct Link {
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
    pub(crate) marks: Marks,
    plain: Vec<Plain>,
    keys: Vec<u32>,
    /// A ring in version order: a bulk of changes that takes the cells in the order in which they stand only turns it.
    links: Vec<Link>,
    /// Key -> slot.
    index: HashTable<u32>,
    /// The few cells that have more than amounts, by slot.
    extras: BTreeMap<u32, Extra>,
    /// Where the ring ends, NONE when there is no cell.
    newest: u32,
    /// Whether keys ascend with slots.
    ascending: bool,
    /// Sum of the hashes of the cells and the record; None when it must be counted afresh.
    pub(crate) hash: Option<u128>,
}

impl Writer {
    pub(crate) fn new(id: ReplicaId) -> Self {
        Self {
            id,
            seen: 0,
            record: None,
            marks: Marks::default(),
            plain: Vec::new(),
            keys: Vec::new(),
            links: Vec::new(),
            index: HashTable::new(),
            extras: BTreeMap::new(),
            newest: NONE,
            ascending: true,
            hash: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.plain.len()
    }

    pub(crate) fn reserve(&mut self, cells: usize) {
        self.plain.reserve(cells);
        self.keys.reserve(cells);
        self.links.reserve(cells);
    }

    /// The slot of `key`, looking at `hint` first, and then at where it is when the writer has all keys.
    #[inline]
    pub(crate) fn slot(&self, key: u32, hint: u32) -> Option<u32> {
        if self.keys.get(hint as usize) == Some(&key) {
            return Some(hint);
        }
        if self.keys.get(key as usize) == Some(&key) {
            return Some(key);
        }
        self.index.find(hash_key(key), |&slot| self.keys[slot as usize] == key).copied()
    }

    #[inline]
    pub(crate) fn key(&self, slot: u32) -> u32 {
        self.keys[slot as usize]
    }

    /// Whether keys ascend with slots.
    pub(crate) fn ascending(&self) -> bool {
        self.ascending
    }

    #[inline]
    pub(crate) fn plain(&self, slot: u32) -> Plain {
        self.plain[slot as usize]
    }

    pub(crate) fn extra(&self, slot: u32) -> Option<&Extra> {
        if self.extras.is_empty() { None } else { self.extras.get(&slot) }
    }

    /// The cells from `slot` on that have more than amounts.
    pub(crate) fn extras_from(&self, slot: u32) -> impl Iterator<Item = (u32, &Extra)> {
        self.extras.range(slot..).map(|(slot, extra)| (*slot, extra))
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
        self.ascending &= self.keys.last().is_none_or(|&last| last < key);
        self.keys.push(key);
        self.links.push(Link { prev: NONE, next: NONE });
        let keys = &self.keys;
        self.index.insert_unique(hash_key(key), slot, |&other| hash_key(keys[other as usize]));
        slot
    }

    /// Writes a cell and moves it to its place in version order, which is the end unless a repair writes an older one.
    /// Returns the amounts that stood there.
    #[inline]
    pub(crate) fn put(&mut self, slot: u32, version: Version, amounts: Amounts) -> Amounts {
        let stood = std::mem::replace(&mut self.plain[slot as usize], Plain { version, amounts });
        if self.newest == slot && stood.version <= version {
            return stood.amounts;
        }
        let turns = stood.version != 0 && self.oldest() == slot && self.plain[self.newest as usize].version < version;
        if turns && self.newest != slot {
            self.newest = slot;
        } else {
            self.relink(slot, stood.version != 0, version);
        }
        stood.amounts
    }

    fn oldest(&self) -> u32 {
        self.links.get(self.newest as usize).map_or(NONE, |link| link.next)
    }

    /// Replaces what a cell has besides amounts.
    pub(crate) fn put_extra(&mut self, slot: u32, extra: Option<Extra>) {
        match extra {
            Some(extra) if !extra.is_empty() => drop(self.extras.insert(slot, extra)),
            _ if self.extras.is_empty() => {}
            _ => drop(self.extras.remove(&slot)),
        }
    }

    fn relink(&mut self, slot: u32, linked: bool, version: Version) {
        if linked {
            self.unlink(slot);
        }
        self.link(slot, version);
    }

    fn unlink(&mut self, slot: u32) {
        let Link { prev, next } = self.links[slot as usize];
        self.links[prev as usize].next = next;
        self.links[next as usize].prev = prev;
        if self.newest == slot {
            self.newest = if prev == slot { NONE } else { prev };
        }
    }

    fn link(&mut self, slot: u32, version: Version) {
        if self.newest == NONE {
            self.links[slot as usize] = Link { prev: slot, next: slot };
            self.newest = slot;
            return;
        }
        let (newest, oldest) = (self.newest, self.oldest());
        let mut prev = newest;
        while self.plain[prev as usize].version > version {
            let older = self.links[prev as usize].prev;
            if prev == oldest {
                // Older than all: before the oldest, which is after the newest.
                prev = newest;
                break;
            }
            prev = older;
        }
        if self.plain[newest as usize].version <= version {
            self.newest = slot;
        }
        let next = std::mem::replace(&mut self.links[prev as usize].next, slot);
        self.links[next as usize].prev = slot;
        self.links[slot as usize] = Link { prev, next };
    }

    /// Slots in the order in which cells were made.
    pub(crate) fn slots(&self) -> std::ops::Range<u32> {
        0..self.plain.len() as u32
    }

    /// Slots of the cells with a version above `after`, newest first. O(changed).
    pub(crate) fn newest_first(&self, after: Version) -> Vec<u32> {
        let mut slots = Vec::with_capacity(self.len().min((self.seen.saturating_sub(after)) as usize));
        let (mut slot, oldest) = (self.newest, self.oldest());
        while slot != NONE && self.plain[slot as usize].version > after {
            slots.push(slot);
            slot = if slot == oldest { NONE } else { self.links[slot as usize].prev };
        }
        slots
    }

    /// How many cells have a version above `after`, counted up to `max`. O(counted).
    pub(crate) fn count_since(&self, after: Version, max: usize) -> usize {
        let (mut slot, oldest, mut cells) = (self.newest, self.oldest(), 0);
        while slot != NONE && cells < max && self.plain[slot as usize].version > after {
            cells += 1;
            slot = if slot == oldest { NONE } else { self.links[slot as usize].prev };
        }
        cells
    }

    /// Slots of the cells with a version above `after`, oldest first. O(changed).
    #[inline]
    pub(crate) fn since(&self, after: Version) -> impl Iterator<Item = u32> + '_ {
        let oldest = self.oldest();
        let all = oldest != NONE && self.plain[oldest as usize].version > after;
        self.chain(if all { oldest } else { self.first_after(after) })
    }

    /// Walks back from the newest; some cell is not above `after`, or there is none.
    fn first_after(&self, after: Version) -> u32 {
        let (mut first, mut slot) = (NONE, self.newest);
        while slot != NONE && self.plain[slot as usize].version > after {
            first = slot;
            slot = self.links[slot as usize].prev;
        }
        first
    }

    /// As [`since`](Self::since), and O(1) where the cell in `slot` is still the last one up to version `after`.
    pub(crate) fn since_near(&self, after: Version, slot: u32) -> impl Iterator<Item = u32> + '_ {
        let version = |slot: u32| self.plain[slot as usize].version;
        let is_up_to = self.plain.get(slot as usize).is_some_and(|plain| (1..=after).contains(&plain.version));
        let unmoved = is_up_to && self.following(slot).is_none_or(|next| version(next) > after);
        let first = if unmoved { self.following(slot) } else { self.since(after).next() };
        self.chain(first.unwrap_or(NONE))
    }

    #[inline]
    fn following(&self, slot: u32) -> Option<u32> {
        (slot != self.newest).then(|| self.links[slot as usize].next)
    }

    #[inline]
    fn chain(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(Some(first).filter(|&slot| slot != NONE), |&slot| self.following(slot))
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
