//! Interned names: each distinct string once, in one arena, under a small number.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The longest name of a counter or region, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// The longest name that a decoder accepts, in bytes: the format has one byte for a length. Earlier
/// releases allowed names of this length.
pub(crate) const READ_NAME_BYTES_MAX: usize = 255;

/// True if a counter or region may be given this name: 1 to [`NAME_BYTES_MAX`] bytes, none of them
/// a control character. Names that were stored or received earlier may break this rule.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The start of the names of buckets, which clients cannot write.
pub(crate) const BUCKET_PREFIX: &str = "\u{1}w";

/// Names in ascending order, one after the other in an arena, with the end of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameSlice<'a> {
    pub(crate) arena: &'a str,
    pub(crate) ends: &'a [u32],
}

/// An append-only set of strings; the n-th distinct string has number n. About 9 bytes per name
/// besides its own.
///
/// The hash is seeded at random, against crafted names. No order and no output depends on it.
#[derive(Clone, Default)]
pub(crate) struct NameSet {
    arena: String,
    /// The end of each name in the arena. It starts where the one before ends.
    ends: Vec<u32>,
    numbers: HashTable<u32>,
    seed: RandomState,
    /// True if some name sorts before the previous one.
    unsorted: bool,
}

impl NameSet {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if names ascend with their numbers.
    pub(crate) fn sorted(&self) -> bool {
        !self.unsorted
    }

    pub(crate) fn as_slice(&self) -> NameSlice<'_> {
        NameSlice { arena: &self.arena, ends: &self.ends }
    }

    /// True if one of the lists is a prefix of the other.
    pub(crate) fn same_start(&self, other: NameSlice<'_>) -> bool {
        let count = self.ends.len().min(other.ends.len());
        let bytes = count.checked_sub(1).map_or(0, |last| self.ends[last] as usize);
        self.ends[..count] == other.ends[..count]
            && self.arena.as_bytes()[..bytes] == other.arena.as_bytes()[..bytes]
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        &self.arena[self.range(number)]
    }

    /// The bytes of a name, which are cheaper to slice than the string.
    #[inline]
    pub(crate) fn bytes(&self, number: u32) -> &[u8] {
        &self.arena.as_bytes()[self.range(number)]
    }

    #[inline]
    fn range(&self, number: u32) -> std::ops::Range<usize> {
        let at = number as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        start..self.ends[at] as usize
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.find_hashed(name, self.hash(name))
    }

    /// Like [`find`](Self::find), with the [hash](Self::hash) of the name.
    #[inline]
    pub(crate) fn find_hashed(&self, name: &str, hash: u64) -> Option<u32> {
        self.numbers.find(hash, |&number| self.bytes(number) == name.as_bytes()).copied()
    }

    /// The number of `name`, given now if it is new.
    pub(crate) fn intern(&mut self, name: &str) -> u32 {
        if let Some(number) = self.find(name) {
            return number;
        }
        let number = self.ends.len() as u32;
        self.unsorted |= number > 0 && self.name(number - 1) > name;
        self.arena.push_str(name);
        self.ends.push(self.arena.len() as u32);
        let hash = self.hash(name);
        let (arena, ends, seed) = (&self.arena, &self.ends, &self.seed);
        self.numbers.insert_unique(hash, number, |&other| {
            let at = other as usize;
            let start = if at == 0 { 0 } else { ends[at - 1] as usize };
            hash_str(seed, &arena[start..ends[at] as usize])
        });
        number
    }

    /// Frees spare capacity.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.arena.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// The hash of a name in this set.
    #[inline]
    pub(crate) fn hash(&self, name: &str) -> u64 {
        hash_str(&self.seed, name)
    }
}

fn hash_str(seed: &RandomState, name: &str) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write(name.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number() {
        let mut names = NameSet::default();
        let numbers: Vec<u32> = (0..1000).map(|i| names.intern(&format!("n{i}"))).collect();
        assert_eq!(numbers, (0..1000).collect::<Vec<u32>>());
        assert_eq!(names.intern("n7"), 7);
        assert_eq!((names.name(0), names.name(999)), ("n0", "n999"));
        assert_eq!(names.find("absent"), None);
        assert_eq!(names.len(), 1000);
    }
}
