//! The dictionary of a delta: its names, each once and sorted, and the numbers that stand for them
//! in its cells.

use std::cmp::Ordering;

use smallvec::{SmallVec, smallvec};

use crate::error::DecodeError;
use crate::lattice::keys::names::{NameSlice, READ_NAME_BYTES_MAX};
use crate::lattice::keys::order::{sorted_by_name, sorted_by_number};

/// A numbering of keys, and the names behind the numbers.
pub(crate) trait KeyNames {
    /// The numbers of a key's counter and region.
    fn numbers(&self, key: u32) -> (u32, u32);
    fn counter_name(&self, counter: u32) -> &str;
    fn region_name(&self, region: u32) -> &str;
    /// The number of counters and the number of regions.
    fn name_counts(&self) -> (usize, usize);
    /// The number of keys.
    fn key_count(&self) -> usize;
    /// True if the keys are numbered in the order of their names.
    fn sorted(&self) -> bool;

    /// (counter, region) of a key.
    #[inline]
    fn names(&self, key: u32) -> (&str, &str) {
        let (counter, region) = self.numbers(key);
        (self.counter_name(counter), self.region_name(region))
    }
}

/// Distinct names in ascending order, in one arena.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameList {
    pub(crate) arena: String,
    pub(crate) ends: SmallVec<[u32; 4]>,
}

impl NameList {
    pub(crate) fn as_slice(&self) -> NameSlice<'_> {
        NameSlice { arena: &self.arena, ends: &self.ends }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        let at = number as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.arena[start..self.ends[at] as usize]
    }

    /// A list of one name from hostile bytes.
    pub(crate) fn from_one(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > READ_NAME_BYTES_MAX {
            return Err(DecodeError::Invalid("a name must have at most 255 bytes"));
        }
        let arena = std::str::from_utf8(bytes)
            .map_err(|_| DecodeError::Invalid("names must be UTF-8"))?
            .to_owned();
        Ok(Self { ends: smallvec![arena.len() as u32], arena })
    }

    fn last(&self) -> Option<&str> {
        let last = self.ends.len().checked_sub(1)?;
        Some(self.name(last as u32))
    }

    fn push(&mut self, name: &str) {
        self.arena.push_str(name);
        self.ends.push(self.arena.len() as u32);
    }
}

/// (counter, region) pairs in ascending order of names. The key of a cell is an index into them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dictionary {
    pub(crate) counters: NameList,
    pub(crate) regions: NameList,
    pub(crate) pairs: SmallVec<[(u32, u32); 2]>,
}

impl KeyNames for Dictionary {
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
        self.pairs.len()
    }

    fn sorted(&self) -> bool {
        true
    }
}

impl Dictionary {
    pub(crate) fn names(&self, key: u32) -> (&str, &str) {
        KeyNames::names(self, key)
    }

    /// The dictionary of one key.
    pub(crate) fn of_one((counter, region): (&str, &str)) -> Self {
        let list =
            |name: &str| NameList { arena: name.to_owned(), ends: smallvec![name.len() as u32] };
        Self { counters: list(counter), regions: list(region), pairs: smallvec![(0, 0)] }
    }

    /// Refuses a counter with an empty name. A region's name may be empty: earlier releases made
    /// such regions.
    pub(crate) fn check_counters(&self) -> Result<(), DecodeError> {
        match self.counters.ends.first() {
            Some(0) => Err(DecodeError::Invalid("a counter must have a name")),
            _ => Ok(()),
        }
    }

    /// The dictionary of the keys in use, and the map from the source's numbers to the
    /// dictionary's.
    pub(crate) fn of_used<'a>(
        source: &impl KeyNames,
        used: impl Iterator<Item = impl Iterator<Item = u32> + 'a> + Clone,
    ) -> (Self, KeyRanks) {
        let keys = ascending(used, source.key_count());
        if !source.sorted() {
            return Self::of_unsorted(source, &keys);
        }
        let mut dictionary = Self { pairs: SmallVec::with_capacity(keys.len()), ..Self::default() };
        let mut ascending = true;
        for &key in &keys {
            let (counter, region) = source.names(key);
            if dictionary.counters.last() != Some(counter) {
                dictionary.counters.push(counter);
            }
            // The regions of one counter ascend. Those of several are sorted below.
            if dictionary.counters.len() == 1 {
                dictionary.regions.push(region);
                dictionary.pairs.push((0, dictionary.regions.len() as u32 - 1));
                continue;
            }
            match dictionary.regions.last().map(|last| last.cmp(region)) {
                None | Some(Ordering::Less) => dictionary.regions.push(region),
                Some(Ordering::Equal) => {}
                Some(Ordering::Greater) => {
                    ascending = false;
                    break;
                }
            }
            dictionary
                .pairs
                .push((dictionary.counters.len() as u32 - 1, dictionary.regions.len() as u32 - 1));
        }
        if !ascending {
            dictionary = Self::of_many(source, &keys);
        }
        let numbering = KeyRanks::new(&keys, source.key_count());
        (dictionary, numbering)
    }

    /// For keys in any order: sorts each name once, and then the keys by the ranks of their names.
    fn of_unsorted(source: &impl KeyNames, keys: &[u32]) -> (Self, KeyRanks) {
        let (counter_count, region_count) = source.name_counts();
        let pairs = keys.iter().map(|&key| source.numbers(key));
        let counters = ascending(std::iter::once(pairs.clone().map(|pair| pair.0)), counter_count);
        let regions = ascending(std::iter::once(pairs.clone().map(|pair| pair.1)), region_count);
        let counters = sorted_by_name(counters, |counter| source.counter_name(counter));
        let regions = sorted_by_name(regions, |region| source.region_name(region));
        let (counter_rank, region_rank) =
            (KeyRanks::new(&counters, counter_count), KeyRanks::new(&regions, region_count));
        let ranks = |(counter, region)| (counter_rank.rank(counter), region_rank.rank(region));
        let width = regions.len() as u64;
        let place = |pair| {
            let (counter, region) = ranks(pair);
            u64::from(counter) * width + u64::from(region)
        };
        let keys = sorted_by_number(pairs.map(place).zip(keys.iter().copied()).collect());
        let mut dictionary = Self {
            pairs: keys.iter().map(|&key| ranks(source.numbers(key))).collect(),
            ..Self::default()
        };
        counters.iter().for_each(|&counter| dictionary.counters.push(source.counter_name(counter)));
        regions.iter().for_each(|&region| dictionary.regions.push(source.region_name(region)));
        let numbering = KeyRanks::new(&keys, source.key_count());
        (dictionary, numbering)
    }

    /// For sorted keys of several counters, which share regions.
    fn of_many(source: &impl KeyNames, keys: &[u32]) -> Self {
        let mut regions: Vec<&str> = Vec::new();
        for region in keys.iter().map(|&key| source.names(key).1) {
            if regions.last() != Some(&region) {
                regions.push(region);
            }
        }
        regions.sort();
        regions.dedup();
        let mut dictionary = Self { pairs: SmallVec::with_capacity(keys.len()), ..Self::default() };
        regions.iter().for_each(|region| dictionary.regions.push(region));
        let mut near = 0;
        for &key in keys {
            let (counter, region) = source.names(key);
            if dictionary.counters.last() != Some(counter) {
                dictionary.counters.push(counter);
            }
            // Usually the region is the next one in the list.
            near = match regions.get(near) {
                Some(&next) if next == region => near,
                _ => regions.binary_search(&region).unwrap_or_default(),
            };
            dictionary.pairs.push((dictionary.counters.len() as u32 - 1, near as u32));
            near += 1;
        }
        dictionary
    }
}

/// The distinct numbers in `used`, ascending. O(used) if many are used, else O(used log used).
fn ascending(
    used: impl Iterator<Item = impl Iterator<Item = u32>> + Clone,
    universe: usize,
) -> Vec<u32> {
    let count: usize = used.clone().map(|numbers| numbers.size_hint().0).sum();
    if count < universe / 64 {
        let mut used: Vec<u32> = used.flatten().collect();
        used.sort_unstable();
        used.dedup();
        return used;
    }
    let mut seen = vec![false; universe];
    used.for_each(|numbers| numbers.for_each(|number| seen[number as usize] = true));
    (0..universe as u32).filter(|&number| seen[number as usize]).collect()
}

/// Maps the numbers of keys or names to their ranks in another numbering.
pub(crate) enum KeyRanks {
    /// Every number is its rank.
    Same,
    /// Rank by number, if many of the numbers are used.
    Dense(Vec<u32>),
    /// (number, rank), sorted by number.
    Sparse(Vec<(u32, u32)>),
}

impl KeyRanks {
    fn new(in_order: &[u32], universe: usize) -> Self {
        if in_order.len() == universe
            && in_order.iter().zip(0..).all(|(&number, rank)| number == rank)
        {
            return Self::Same;
        }
        let ranked = in_order.iter().zip(0u32..).map(|(&number, rank)| (number, rank));
        if in_order.len() >= universe / 16 {
            let mut ranks = vec![0; universe];
            ranked.for_each(|(number, rank)| ranks[number as usize] = rank);
            return Self::Dense(ranks);
        }
        let mut ranks: Vec<(u32, u32)> = ranked.collect();
        ranks.sort_unstable();
        Self::Sparse(ranks)
    }

    /// The rank of a number in use.
    pub(crate) fn rank(&self, number: u32) -> u32 {
        match self {
            Self::Same => number,
            Self::Dense(ranks) => ranks[number as usize],
            Self::Sparse(ranks) => {
                ranks.binary_search_by_key(&number, |entry| entry.0).map_or(0, |at| ranks[at].1)
            }
        }
    }
}
