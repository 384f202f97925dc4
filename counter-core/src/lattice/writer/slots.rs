//! The slots of one writer's cells: the key of each slot, and the slot of each key.

use hashbrown::HashTable;

/// The key of each slot, and an index from keys to slots. 4 bytes per slot, and about 6 of index
/// from the first slot on whose number is not its key.
///
/// A map's keys and a writer's cells are mostly made in the same order. Then a cell's slot has the
/// number of its key, and needs no index.
#[derive(Clone)]
pub(crate) struct CellSlots {
    keys: Vec<u32>,
    /// The slots below this one have the numbers of their keys, and are not in the index.
    unindexed: u32,
    /// Key -> slot.
    index: HashTable<u32>,
    /// True if keys ascend with slots.
    ascending: bool,
}

impl Default for CellSlots {
    fn default() -> Self {
        Self { keys: Vec::new(), unindexed: 0, index: HashTable::new(), ascending: true }
    }
}

impl CellSlots {
    #[inline]
    pub(crate) fn key(&self, slot: u32) -> u32 {
        self.keys[slot as usize]
    }

    /// True if keys ascend with slots.
    pub(crate) fn ascending(&self) -> bool {
        self.ascending
    }

    pub(crate) fn reserve(&mut self, slots: usize) {
        self.keys.reserve(slots);
    }

    /// The slot of `key`. Tries the slot `hint` first, then the slot with the number of the key,
    /// which is right if the writer has all keys.
    #[inline]
    pub(crate) fn find_near(&self, key: u32, hint: u32) -> Option<u32> {
        if self.keys.get(hint as usize) == Some(&key) {
            return Some(hint);
        }
        if self.keys.get(key as usize) == Some(&key) {
            return Some(key);
        }
        self.find(key)
    }

    /// The slot of `key`, without a guess first.
    #[inline]
    pub(crate) fn find(&self, key: u32) -> Option<u32> {
        if key < self.unindexed {
            return Some(key);
        }
        self.index.find(hash_key(key), |&slot| self.keys[slot as usize] == key).copied()
    }

    /// Adds a slot for a key that has none.
    pub(crate) fn push(&mut self, key: u32) -> u32 {
        let slot = self.keys.len() as u32;
        self.ascending &= self.keys.last().is_none_or(|&last| last < key);
        self.keys.push(key);
        if slot == key && slot == self.unindexed {
            self.unindexed += 1;
        } else {
            self.insert(slot);
        }
        slot
    }

    /// Removes a slot. The last slot takes its number. Amortized O(1).
    pub(crate) fn swap_remove(&mut self, slot: u32) {
        for at in slot..self.unindexed {
            self.insert(at);
        }
        self.unindexed = self.unindexed.min(slot);
        let last = self.keys.len() as u32 - 1;
        self.remove(slot);
        if slot != last {
            self.remove(last);
        }
        self.keys.swap_remove(slot as usize);
        if slot != last {
            self.insert(slot);
            self.ascending = false;
        }
        self.ascending |= self.keys.len() < 2;
    }

    /// Frees spare capacity, like `Vec::shrink_to`.
    pub(crate) fn shrink_to(&mut self, slots: usize) {
        self.keys.shrink_to(slots);
        let keys = &self.keys;
        self.index.shrink_to(slots, |&slot| hash_key(keys[slot as usize]));
    }

    /// Renumbers the keys, and frees all spare capacity. O(slots).
    pub(crate) fn renumber(&mut self, rank: impl Fn(u32) -> u32) {
        self.keys.shrink_to_fit();
        self.keys.iter_mut().for_each(|key| *key = rank(*key));
        self.ascending = self.keys.is_sorted();
        let unindexed = (0..).zip(&self.keys).take_while(|(slot, key)| slot == *key).count();
        self.unindexed = unindexed as u32;
        self.index = HashTable::with_capacity(self.keys.len() - unindexed);
        (self.unindexed..self.keys.len() as u32).for_each(|slot| self.insert(slot));
    }

    fn insert(&mut self, slot: u32) {
        let Self { index, keys, .. } = self;
        if index.len() == index.capacity() {
            // Reserves as much room as the keys have, so the index grows no more often than they
            // do.
            let more = keys.capacity() - keys.len() + 1;
            index.reserve(more, |&other| hash_key(keys[other as usize]));
        }
        index.insert_unique(hash_key(keys[slot as usize]), slot, |&other| {
            hash_key(keys[other as usize])
        });
    }

    fn remove(&mut self, slot: u32) {
        let hash = hash_key(self.keys[slot as usize]);
        if let Ok(entry) = self.index.find_entry(hash, |&at| at == slot) {
            entry.remove();
        }
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

    #[test]
    fn keys_are_found_whatever_was_added_and_removed() {
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..300 {
            let (mut slots, mut plain): (CellSlots, Vec<u32>) = Default::default();
            for _ in 0..200 {
                // Mostly the next key, so that long runs need no index.
                let next = plain.len() as u32;
                let key = if random.u8(..) < 200 { next } else { random.u32(..300) };
                if random.u8(..) < 40 && !plain.is_empty() {
                    let slot = random.usize(..plain.len());
                    slots.swap_remove(slot as u32);
                    plain.swap_remove(slot);
                } else if !plain.contains(&key) {
                    assert_eq!(slots.push(key), next);
                    plain.push(key);
                }
                if random.u8(..) == 0 {
                    slots.shrink_to(plain.len());
                    slots.renumber(|key| key ^ 1);
                    plain.iter_mut().for_each(|key| *key ^= 1);
                }
                for key in 0..300 {
                    let slot = plain.iter().position(|held| *held == key).map(|slot| slot as u32);
                    assert_eq!((slots.find(key), slots.find_near(key, 7)), (slot, slot), "{round}");
                }
            }
            assert!((0..).zip(&plain).all(|(slot, key)| slots.key(slot) == *key));
            assert!(!slots.ascending() || plain.is_sorted());
        }
    }
}
