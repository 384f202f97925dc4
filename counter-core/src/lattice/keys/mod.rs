//! The keys of a map: (counter, region) pairs under dense numbers, and the regions of each counter.

mod key_bits;
pub(crate) mod names;
pub(crate) mod order;
mod search;
mod sorted;

pub(crate) use search::KeySearch;

use std::hash::{BuildHasher, Hasher};
use std::ops::Bound;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::codec::dictionary::{Dictionary, KeyNames};
use crate::error::WriteError;
use crate::lattice::keys::key_bits::KeyBits;
use crate::lattice::keys::names::{NameSet, NameSlice, is_name};
use crate::lattice::keys::sorted::SortedNames;

/// One (counter, region) of one [`CounterMap`](crate::CounterMap), valid until
/// [`Replica::collect_garbage`](crate::Replica::collect_garbage) renumbers its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(crate) u32);

impl KeyId {
    /// The number as an index: keys are numbered from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// No key: the end of a chain.
const NO_KEY: u32 = u32::MAX;

/// The keys of one counter: a chain through `next`, in the order in which they were made.
#[derive(Clone, Copy)]
struct CounterChain {
    first: u32,
    last: u32,
}

/// Interned (counter, region) pairs. Besides the names, a key takes 12 bytes and about 6 of index,
/// and a counter takes 8.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    counters: NameSet,
    /// The counters in the order of their names.
    sorted: SortedNames,
    regions: NameSet,
    /// By key: its counter's and its region's numbers.
    pairs: Vec<(u32, u32)>,
    /// By key: its counter's next key, or NO_KEY.
    next: Vec<u32>,
    chains: Vec<CounterChain>,
    index: HashTable<u32>,
    seed: RandomState,
    /// True if some key sorts before the previous one.
    unsorted: bool,
    /// Keys that had cells and have none any more.
    dead: KeyBits,
    /// The number of counters all of whose keys are dead.
    dead_counters: usize,
}

/// The new numbers of keys and counters after a [compaction](Keys::compact), by the old ones.
#[derive(Debug)]
pub(crate) struct Renumbering {
    /// `NO_KEY` for a key that is gone.
    keys: Vec<u32>,
}

impl Renumbering {
    /// The new number of a key; None if it is gone.
    pub(crate) fn key(&self, key: u32) -> Option<u32> {
        self.keys.get(key as usize).copied().filter(|&key| key != NO_KEY)
    }
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The number of counters that have a live key.
    pub(crate) fn counter_count(&self) -> usize {
        self.chains.len() - self.dead_counters
    }

    /// The names of counters that have a live key.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &str> {
        (0..self.counters.len() as u32)
            .filter(|&number| !self.is_dead_counter(number))
            .map(|number| self.counters.name(number))
    }

    /// The number of keys that had cells and have none any more.
    #[inline]
    pub(crate) fn dead_count(&self) -> usize {
        self.dead.len()
    }

    #[inline]
    pub(crate) fn is_dead(&self, key: u32) -> bool {
        self.dead.contains(key)
    }

    /// True if all keys of a counter are dead.
    pub(crate) fn is_dead_counter(&self, counter: u32) -> bool {
        self.dead_counters > 0 && self.of_counter(counter).all(|key| self.is_dead(key))
    }

    /// Marks a key as dead: it has no cells any more. O(regions of the counter).
    pub(crate) fn bury(&mut self, key: u32) {
        if self.dead.insert(key) {
            let counter = self.counter_of(key);
            let is_dead = self.of_counter(counter).all(|key| self.dead.contains(key));
            self.dead_counters += usize::from(is_dead);
        }
    }

    /// Marks a key as live: it has a cell again, or is about to. O(1) while no key is dead.
    #[inline]
    pub(crate) fn revive(&mut self, key: u32) {
        if !self.dead.is_empty() {
            self.revive_dead(key);
        }
    }

    #[cold]
    fn revive_dead(&mut self, key: u32) {
        if self.dead.contains(key) {
            let was_dead = self.is_dead_counter(self.counter_of(key));
            self.dead.remove(key);
            self.dead_counters -= usize::from(was_dead);
        }
    }

    /// Forgets the keys that `keeps` rejects, and renumbers the others. Counters keep their order.
    /// O(keys).
    pub(crate) fn compact(&mut self, keeps: impl Fn(u32) -> bool) -> Renumbering {
        let mut old = std::mem::take(self);
        let mut keys = vec![NO_KEY; old.len()];
        let mut counters = vec![NO_KEY; old.chains.len()];
        let kept = (0..old.len() as u32).filter(|&key| keeps(key)).count();
        self.pairs.reserve_exact(kept);
        self.next.reserve_exact(kept);
        self.index.reserve(kept, |_| 0);
        for counter in 0..old.chains.len() as u32 {
            for key in old.of_counter(counter).filter(|&key| keeps(key)) {
                let (name, region) = old.names(key);
                keys[key as usize] = self.push(name, region);
                counters[counter as usize] = self.counter_of(keys[key as usize]);
            }
        }
        self.chains.shrink_to_fit();
        self.counters.shrink_to_fit();
        self.sorted = std::mem::take(&mut old.sorted);
        self.sorted.renumber(|number| {
            Some(counters[number as usize]).filter(|&counter| counter != NO_KEY)
        });
        let renumbering = Renumbering { keys };
        old.dead.iter().filter_map(|key| renumbering.key(key)).for_each(|key| self.bury(key));
        renumbering
    }

    /// Sorts up to `max` names of counters that are new since the last call. Returns true if none
    /// is left.
    pub(crate) fn sort_counters(&self, max: usize) -> bool {
        self.sorted.catch_up(&self.counters, max)
    }

    /// The numbers of the first `max` sorted counters from `start` on, in the order of names.
    pub(crate) fn counters_from(&self, start: Bound<&str>, max: usize) -> Vec<u32> {
        self.sorted.range(&self.counters, start, max)
    }

    /// The name of a counter by its number.
    pub(crate) fn counter_name(&self, counter: u32) -> &str {
        self.counters.name(counter)
    }

    /// The number of a counter's name.
    pub(crate) fn counter(&self, counter: &str) -> Option<u32> {
        self.counters.find(counter)
    }

    /// The number of the counter that a key belongs to.
    #[inline]
    pub(crate) fn counter_of(&self, key: u32) -> u32 {
        self.pairs[key as usize].0
    }

    /// (counter, region) of a key.
    pub(crate) fn names(&self, key: u32) -> (&str, &str) {
        KeyNames::names(self, key)
    }

    /// The keys of a counter by its number, in the order in which they were made.
    pub(crate) fn of_counter(&self, counter: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.chains[counter as usize].first;
        std::iter::successors(Some(first), |&key| {
            Some(self.next[key as usize]).filter(|&next| next != NO_KEY)
        })
    }

    pub(crate) fn region_of(&self, key: u32) -> &str {
        self.regions.name(self.pairs[key as usize].1)
    }

    pub(crate) fn find(&self, counter: &str, region: &str) -> Option<u32> {
        let is_it = |&key: &u32| {
            let (c, r) = self.pairs[key as usize];
            self.regions.bytes(r) == region.as_bytes()
                && self.counters.bytes(c) == counter.as_bytes()
        };
        self.index.find(self.hash(counter, region), is_it).copied()
    }

    /// The number of leading keys that are the same in both. May return 0 instead if they are hard
    /// to compare. O(keys), a plain comparison of memory.
    pub(crate) fn same_prefix(&self, other: &Self) -> u32 {
        let count = self.len().min(other.len());
        let same = self.pairs[..count] == other.pairs[..count]
            && self.counters.same_start(other.counters.as_slice())
            && self.regions.same_start(other.regions.as_slice());
        if same { count as u32 } else { 0 }
    }

    /// Like [`same_prefix`](Self::same_prefix), for the keys of a delta.
    pub(crate) fn same_prefix_of_delta(&self, other: &Dictionary) -> u32 {
        let count = self.len().min(other.pairs.len());
        let same = self.counters.same_start(other.counters.as_slice())
            && self.regions.same_start(other.regions.as_slice())
            && self.pairs[..count] == other.pairs[..count];
        if same { count as u32 } else { 0 }
    }

    /// The names of counters and regions, if they are sorted as in a dictionary of all keys.
    pub(crate) fn sorted_names(&self) -> Option<(NameSlice<'_>, NameSlice<'_>)> {
        let is_sorted = !self.unsorted && self.regions.sorted();
        is_sorted.then(|| (self.counters.as_slice(), self.regions.as_slice()))
    }

    /// The key of (counter, region), made now if it is new.
    ///
    /// # Errors
    /// `NameOutOfRange` if a new name is not allowed. `TooManyCounters` if a new counter would pass
    /// `counters_max`, or a new key `keys_max`. Nothing changed.
    pub(crate) fn intern(
        &mut self,
        counter: &str,
        region: &str,
        counters_max: usize,
        keys_max: usize,
    ) -> Result<u32, WriteError> {
        if let Some(key) = self.find(counter, region) {
            if self.is_dead(key) {
                let is_new = self.is_dead_counter(self.counter_of(key));
                if is_new && self.counter_count() >= counters_max {
                    return Err(WriteError::TooManyCounters);
                }
                self.revive(key);
            }
            return Ok(key);
        }
        let is_allowed = |name, names: &NameSet| is_name(name) || names.find(name).is_some();
        if !is_allowed(counter, &self.counters) || !is_allowed(region, &self.regions) {
            return Err(WriteError::NameOutOfRange);
        }
        self.make(counter, region, counters_max, keys_max)
    }

    /// The key of a bucket. Its name is not allowed for clients.
    ///
    /// # Errors
    /// `TooManyCounters`, as for [`intern`](Self::intern).
    pub(crate) fn intern_bucket(
        &mut self,
        bucket: &str,
        region: &str,
        counters_max: usize,
        keys_max: usize,
    ) -> Result<u32, WriteError> {
        match self.find(bucket, region) {
            Some(_) => self.intern(bucket, region, counters_max, keys_max),
            None => self.make(bucket, region, counters_max, keys_max),
        }
    }

    /// Makes a key that does not exist, if there is room.
    fn make(
        &mut self,
        counter: &str,
        region: &str,
        counters_max: usize,
        keys_max: usize,
    ) -> Result<u32, WriteError> {
        let is_new = self.counter(counter).is_none_or(|number| self.is_dead_counter(number));
        let is_over = is_new && self.counter_count() >= counters_max;
        if is_over || self.len() >= keys_max.min(NO_KEY as usize) {
            return Err(WriteError::TooManyCounters);
        }
        Ok(self.push(counter, region))
    }

    /// The key of a pair, made now if it is new. The caller checks the bounds.
    pub(crate) fn intern_unbounded(&mut self, (counter, region): (&str, &str)) -> u32 {
        self.find(counter, region).unwrap_or_else(|| self.push(counter, region))
    }

    /// Makes a key for a pair that has none. The caller checks the bounds.
    pub(crate) fn push(&mut self, counter: &str, region: &str) -> u32 {
        let key = self.len() as u32;
        if let Some(last) = key.checked_sub(1) {
            self.unsorted |= self.names(last) > (counter, region);
        }
        let hash = self.hash(counter, region);
        let (counter, region) = (self.counters.intern(counter), self.regions.intern(region));
        if (counter as usize) < self.chains.len() && self.is_dead_counter(counter) {
            self.dead_counters -= 1;
        }
        self.pairs.push((counter, region));
        self.next.push(NO_KEY);
        match self.chains.get_mut(counter as usize) {
            Some(chain) => {
                self.next[chain.last as usize] = key;
                chain.last = key;
            }
            None => self.chains.push(CounterChain { first: key, last: key }),
        }
        let Self { index, seed, pairs, counters, regions, .. } = self;
        index.insert_unique(hash, key, |&other| {
            let (counter, region) = pairs[other as usize];
            hash_region(seed, counters.hash(counters.name(counter)), regions.name(region))
        });
        key
    }

    fn hash(&self, counter: &str, region: &str) -> u64 {
        hash_region(&self.seed, self.counters.hash(counter), region)
    }
}

impl KeyNames for Keys {
    fn numbers(&self, key: u32) -> (u32, u32) {
        self.pairs[key as usize]
    }

    fn counter_name(&self, counter: u32) -> &str {
        self.counters.name(counter)
    }

    fn region_name(&self, region: u32) -> &str {
        self.regions.name(region)
    }

    fn name_counts(&self) -> (usize, usize) {
        (self.counters.len(), self.regions.len())
    }

    fn key_count(&self) -> usize {
        self.len()
    }

    fn sorted(&self) -> bool {
        !self.unsorted
    }
}

/// The hash of a pair, from the hash of its counter's name. Many pairs share that one.
#[inline]
fn hash_region(seed: &RandomState, counter: u64, region: &str) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write_u64(counter);
    hasher.write(region.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_is_one_key_and_a_counter_knows_its_regions() {
        let mut keys = Keys::default();
        let made: Vec<u32> = ["ord", "fra", "ord"]
            .iter()
            .map(|region| keys.intern("clicks", region, 10, 10).unwrap())
            .collect();
        assert_eq!(made, [0, 1, 0]);
        keys.intern("likes", "ord", 10, 10).unwrap();
        keys.intern("clicks", "sin", 10, 10).unwrap();
        let clicks = keys.counter("clicks").unwrap();
        assert_eq!(
            keys.of_counter(clicks).map(|key| keys.region_of(key)).collect::<Vec<_>>(),
            ["ord", "fra", "sin"]
        );
        assert_eq!(
            (keys.find("likes", "ord"), keys.find("likes", "fra"), keys.find("nobody", "ord")),
            (Some(2), None, None)
        );
        assert!(!keys.sorted());
    }

    #[test]
    fn dead_counters_make_room_and_go() {
        let mut keys = Keys::default();
        let make = |keys: &mut Keys, counter| keys.intern(counter, "ord", 3, 100);
        let made: Vec<u32> =
            ["c", "a", "b"].iter().map(|name| make(&mut keys, name).unwrap()).collect();
        keys.intern("a", "fra", 3, 100).unwrap();
        assert_eq!(make(&mut keys, "d"), Err(WriteError::TooManyCounters));
        keys.bury(made[1]);
        assert_eq!(make(&mut keys, "d"), Err(WriteError::TooManyCounters), "a lives in fra");
        keys.bury(keys.find("a", "fra").unwrap());
        assert_eq!(
            (keys.counter_count(), keys.counters().collect::<Vec<_>>()),
            (2, vec!["c", "b"])
        );
        make(&mut keys, "d").unwrap();
        assert_eq!(make(&mut keys, "a"), Err(WriteError::TooManyCounters));
        keys.bury(made[0]);
        assert_eq!(make(&mut keys, "a"), Ok(made[1]));
        let renumbering = keys.compact(|key| key != made[0]);
        assert_eq!(renumbering.key(made[0]), None);
        assert_eq!(keys.find("a", "ord"), renumbering.key(made[1]));
        assert_eq!(keys.counters().collect::<Vec<_>>(), ["a", "b", "d"]);
        assert_eq!(keys.dead_count(), 1, "a is dead in fra still");
        assert_eq!(keys.find("c", "ord"), None);
    }

    #[test]
    fn full_map_takes_new_regions_only() {
        let mut keys = Keys::default();
        keys.intern("a", "w", 1, 2).unwrap();
        assert_eq!(keys.intern("b", "w", 1, 2), Err(WriteError::TooManyCounters));
        assert_eq!(keys.intern("a", "w", 1, 2), Ok(0));
        assert_eq!(keys.intern("a", "x", 1, 2), Ok(1));
        assert_eq!(
            keys.intern("a", "y", 1, 2),
            Err(WriteError::TooManyCounters),
            "as many keys as there may be"
        );
        for (counter, region) in [("", "x"), ("c", ""), ("\u{7f}", "x"), ("c", "\n")] {
            assert_eq!(keys.intern(counter, region, 9, 9), Err(WriteError::NameOutOfRange));
        }
    }
}
