//! Finding the keys of another numbering one after the other: what neighbours have in common is
//! looked at once.

use super::{Keys, hash_region};
use crate::codec::dictionary::KeyNames;

/// From so many guesses on that failed since one held, only one key in as many is guessed.
const MISSES_MAX: u32 = 8;
const GUESS_EVERY: u32 = 64;

/// Where a search through another numbering stands.
#[derive(Default)]
pub(crate) struct Search {
    /// The key that probably comes next: keys of two states mostly came in the same order.
    near: u32,
    misses: u32,
    counter: Option<Counter>,
}

/// The counter of the key that was looked for last.
#[derive(Clone, Copy)]
struct Counter {
    theirs: u32,
    here: Option<u32>,
    hash: u64,
}

impl Search {
    /// A search that begins here.
    pub(crate) fn near(key: u32) -> Self {
        Self { near: key, ..Self::default() }
    }

    /// Keys were made meanwhile: a counter that was not there may be there now.
    pub(crate) fn made(&mut self, key: u32) {
        self.near = key + 1;
        self.counter.take_if(|counter| counter.here.is_none());
    }

    /// Whether the key that comes next is to be looked at before the index.
    fn guesses(&mut self) -> bool {
        self.misses += 1;
        self.misses <= MISSES_MAX || self.misses.is_multiple_of(GUESS_EVERY)
    }
}

impl Keys {
    /// The key with the names of another numbering's key.
    #[inline]
    pub(crate) fn find_same(
        &self,
        search: &mut Search,
        names: &impl KeyNames,
        theirs: u32,
    ) -> Option<u32> {
        let (counter, region) = names.numbers(theirs);
        let Counter { here, hash, .. } = match search.counter.filter(|last| last.theirs == counter)
        {
            Some(last) => last,
            None => {
                let name = names.counter_name(counter);
                let hash = self.counters.hash(name);
                *search.counter.insert(Counter {
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
        if search.guesses() && (search.near as usize) < self.pairs.len() && is_it(&search.near) {
            search.misses = 0;
            search.near += 1;
            return Some(search.near - 1);
        }
        let found = self.index.find(hash_region(&self.seed, hash, region), is_it).copied()?;
        search.near = found + 1;
        Some(found)
    }
}
