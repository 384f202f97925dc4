//! The keys of a map: (counter, region) pairs under dense numbers, and the regions of each counter.

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
use crate::lattice::keys::names::{NameSet, NameSlice, is_name};
use crate::lattice::keys::sorted::SortedNames;

/// One (counter, region) of one [`CounterMap`](crate::CounterMap), valid as long as that map lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(crate) u32);

impl KeyId {
    /// The number as an index: keys are numbered from 0 in the order in which they came.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// No key: the end of a chain.
const NO_KEY: u32 = u32::MAX;

/// A counter: its keys are a chain through `next`, in the order in which they came.
#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

/// Interned (counter, region) pairs. 12 bytes a key and 8 a counter besides the names and about 6
/// bytes of index a key.
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
    chains: Vec<Chain>,
    index: HashTable<u32>,
    seed: RandomState,
    /// True if some key sorts before the one that came before it.
    unsorted: bool,
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn counter_count(&self) -> usize {
        self.chains.len()
    }

    pub(crate) fn counters(&self) -> impl Iterator<Item = &str> {
        (0..self.counters.len()).map(|number| self.counters.name(number as u32))
    }

    /// Sorts up to `max` names of counters that are new since the last call. Returns true if none is
    /// left.
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

    /// The keys of a counter by its number, in the order in which they came.
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

    /// The number of leading keys that both number alike. May return 0 instead if they are hard to
    /// compare. O(keys), at the speed of memory.
    pub(crate) fn same_prefix(&self, other: &Self) -> u32 {
        let count = self.len().min(other.len());
        let same = self.pairs[..count] == other.pairs[..count]
            && self.counters.same_start(other.counters.as_slice())
            && self.regions.same_start(other.regions.as_slice());
        if same { count as u32 } else { 0 }
    }

    /// As [`same_prefix`](Self::same_prefix), of the keys of a delta.
    pub(crate) fn same_prefix_of_delta(&self, other: &Dictionary) -> u32 {
        let count = self.len().min(other.pairs.len());
        let same = self.counters.same_start(other.counters.as_slice())
            && self.regions.same_start(other.regions.as_slice())
            && self.pairs[..count] == other.pairs[..count];
        if same { count as u32 } else { 0 }
    }

    /// The names of counters and regions, if they are in the order of a dictionary of all keys.
    pub(crate) fn in_order(&self) -> Option<(NameSlice<'_>, NameSlice<'_>)> {
        let in_order = !self.unsorted && self.regions.sorted();
        in_order.then(|| (self.counters.as_slice(), self.regions.as_slice()))
    }

    /// The key of (counter, region), made now if it is new.
    ///
    /// # Errors
    /// `NameOutOfRange` where a new name may not be given; `TooManyCounters` where a new counter
    /// would pass `counters_max` or a new key `keys_max`. Nothing changed.
    pub(crate) fn intern(
        &mut self,
        counter: &str,
        region: &str,
        counters_max: usize,
        keys_max: usize,
    ) -> Result<u32, WriteError> {
        if let Some(key) = self.find(counter, region) {
            return Ok(key);
        }
        let may_be = |name, names: &NameSet| is_name(name) || names.find(name).is_some();
        if !may_be(counter, &self.counters) || !may_be(region, &self.regions) {
            return Err(WriteError::NameOutOfRange);
        }
        let is_over = self.counter_count() >= counters_max && self.counter(counter).is_none();
        if is_over || self.len() >= keys_max.min(NO_KEY as usize) {
            return Err(WriteError::TooManyCounters);
        }
        Ok(self.push(counter, region))
    }

    /// The key of a pair, made now if it is new. The caller checks the bounds.
    pub(crate) fn intern_unbounded(&mut self, (counter, region): (&str, &str)) -> u32 {
        self.find(counter, region).unwrap_or_else(|| self.push(counter, region))
    }

    /// A key for a pair that has none.
    pub(crate) fn push(&mut self, counter: &str, region: &str) -> u32 {
        let key = self.len() as u32;
        if let Some(last) = key.checked_sub(1) {
            self.unsorted |= self.names(last) > (counter, region);
        }
        let hash = self.hash(counter, region);
        let (counter, region) = (self.counters.intern(counter), self.regions.intern(region));
        self.pairs.push((counter, region));
        self.next.push(NO_KEY);
        match self.chains.get_mut(counter as usize) {
            Some(chain) => {
                self.next[chain.last as usize] = key;
                chain.last = key;
            }
            None => self.chains.push(Chain { first: key, last: key }),
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

/// The hash of a pair from that of its counter, which many pairs share.
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
