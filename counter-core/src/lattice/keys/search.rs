//! Finds the keys of another map or delta in this one, one after the other. Neighbours of one
//! counter share the lookup of its name.

use super::{Keys, hash_region};
use crate::codec::dictionary::KeyNames;

/// After this many failed guesses in a row, guess only one key in [`GUESS_EVERY`].
const MISSES_MAX: u32 = 8;
const GUESS_EVERY: u32 = 64;

/// The state of a search through another numbering.
#[derive(Default)]
pub(crate) struct KeySearch {
    /// The key to guess next. Two states mostly met their keys in the same order.
    near: u32,
    misses: u32,
    counter: Option<LastCounter>,
}

/// The counter of the last key.
#[derive(Clone, Copy)]
struct LastCounter {
    theirs: u32,
    here: Option<u32>,
    hash: u64,
}

impl KeySearch {
    /// A search that guesses this key first.
    pub(crate) fn near(key: u32) -> Self {
        Self { near: key, ..Self::default() }
    }

    /// Notes a new key. A counter that was missing may exist now.
    pub(crate) fn note_new(&mut self, key: u32) {
        self.near = key + 1;
        self.counter.take_if(|counter| counter.here.is_none());
    }

    /// True if the next key is worth a guess before the index.
    fn should_guess(&mut self) -> bool {
        self.misses += 1;
        self.misses <= MISSES_MAX || self.misses.is_multiple_of(GUESS_EVERY)
    }
}

impl Keys {
    /// The key of this map with the same names as key `theirs` of another numbering.
    #[inline]
    pub(crate) fn find_same(
        &self,
        search: &mut KeySearch,
        names: &impl KeyNames,
        theirs: u32,
    ) -> Option<u32> {
        let (counter, region) = names.numbers(theirs);
        let LastCounter { here, hash, .. } =
            match search.counter.filter(|last| last.theirs == counter) {
                Some(last) => last,
                None => {
                    let name = names.counter_name(counter);
                    let hash = self.counters.hash(name);
                    *search.counter.insert(LastCounter {
                        theirs: counter,
                        here: self.counters.find_hashed(name, hash),
                        hash,
                    })
                }
            };
        let here = here?;
        let region = names.region_name(region);
        let is_it = |&key: &u32| {
            let (counter, of_key) = self.pairs[key as usize];
            counter == here && self.regions.bytes(of_key) == region.as_bytes()
        };
        if search.should_guess() && (search.near as usize) < self.pairs.len() && is_it(&search.near)
        {
            search.misses = 0;
            search.near += 1;
            return Some(search.near - 1);
        }
        let found = self.index.find(hash_region(&self.seed, hash, region), is_it).copied()?;
        search.near = found + 1;
        Some(found)
    }
}
