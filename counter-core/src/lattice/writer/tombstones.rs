//! One writer's tombstones: the keys whose cells it dropped, in the order of versions.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::lattice::versions::Version;

/// The names of a key, as a tombstone keeps them: the length of the counter's name in one byte, the
/// counter's name, the region's name.
pub(crate) type KeyBytes = smallvec::SmallVec<[u8; 64]>;

/// The names of a key as [`KeyBytes`]. Names have at most 255 bytes.
pub(crate) fn key_bytes((counter, region): (&str, &str)) -> KeyBytes {
    let mut bytes = KeyBytes::with_capacity(1 + counter.len() + region.len());
    bytes.push(counter.len() as u8);
    bytes.extend_from_slice(counter.as_bytes());
    bytes.extend_from_slice(region.as_bytes());
    bytes
}

/// (counter, region) of [`key_bytes`]; None for any other bytes.
pub(crate) fn names_of(bytes: &[u8]) -> Option<(&str, &str)> {
    let (&length, names) = bytes.split_first()?;
    let (counter, region) = names.split_at_checked(length.into())?;
    Some((std::str::from_utf8(counter).ok()?, std::str::from_utf8(region).ok()?))
}

/// The tombstones of one writer that it has not forgotten. Each names a key and the version at
/// which the writer dropped its cell there. Besides the names, each takes 13 bytes and about 6 of
/// index, and the spare capacity of both.
///
/// A key that was dropped twice has two tombstones, so the tombstones between two versions do not
/// depend on the order of arrival. They hold names instead of keys, because a key may go with its
/// last cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones {
    /// Ascending. Those before `start` are forgotten, and still take room.
    versions: Vec<Version>,
    /// The end of each key's bytes in the arena. It starts where the one before ends.
    ends: Vec<u32>,
    arena: Vec<u8>,
    start: usize,
    /// By key: the latest tombstone.
    latest: HashTable<u32>,
    seed: RandomState,
}

impl Tombstones {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.versions.len() - self.start
    }

    /// The version of the latest tombstone; 0 if there is none.
    pub(crate) fn newest(&self) -> Version {
        self.versions[self.start..].last().copied().unwrap_or(0)
    }

    /// Adds a tombstone. Its version must be above all held ones.
    pub(crate) fn push(&mut self, version: Version, key: &[u8]) {
        debug_assert!(self.versions.last().is_none_or(|last| *last < version));
        let at = self.versions.len() as u32;
        self.versions.push(version);
        self.arena.extend_from_slice(key);
        self.ends.push(self.arena.len() as u32);
        let Self { arena, ends, latest, seed, .. } = self;
        let is_it = |&other: &u32| bytes_at(arena, ends, other) == key;
        match latest.find_mut(hash(seed, key), is_it) {
            Some(held) => *held = at,
            None => {
                latest.insert_unique(hash(seed, key), at, |&other| {
                    hash(seed, bytes_at(arena, ends, other))
                });
            }
        }
    }

    /// The version at which a key was last dropped; None if it was not, or that is forgotten.
    pub(crate) fn latest(&self, key: &[u8]) -> Option<Version> {
        let is_it = |&other: &u32| bytes_at(&self.arena, &self.ends, other) == key;
        self.latest.find(hash(&self.seed, key), is_it).map(|&at| self.versions[at as usize])
    }

    /// Each tombstone above a version, oldest first. O(log tombstones) and O(1) each.
    pub(crate) fn since(&self, after: Version) -> impl Iterator<Item = (Version, &[u8])> {
        let held = &self.versions[self.start..];
        let first = self.start + held.partition_point(|&version| version <= after);
        (first..self.versions.len())
            .map(|at| (self.versions[at], bytes_at(&self.arena, &self.ends, at as u32)))
    }

    /// Forgets every tombstone up to a version, and passes each to `each` first. Amortized O(1)
    /// each.
    pub(crate) fn forget(&mut self, upto: Version, mut each: impl FnMut(Version, &[u8])) {
        while self.versions.get(self.start).is_some_and(|&version| version <= upto) {
            let at = self.start as u32;
            let key = bytes_at(&self.arena, &self.ends, at);
            each(self.versions[self.start], key);
            if let Ok(entry) = self.latest.find_entry(hash(&self.seed, key), |&other| other == at) {
                entry.remove();
            }
            self.start += 1;
        }
        if self.start > self.versions.len() / 2 {
            *self = self.rebuilt();
        }
    }

    /// The same tombstones without the room of the forgotten ones.
    fn rebuilt(&self) -> Self {
        let mut rebuilt = Self::default();
        self.since(0).for_each(|(version, key)| rebuilt.push(version, key));
        rebuilt
    }
}

fn bytes_at<'a>(arena: &'a [u8], ends: &[u32], at: u32) -> &'a [u8] {
    let at = at as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] as usize };
    &arena[start..ends[at] as usize]
}

fn hash(seed: &RandomState, key: &[u8]) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write(key);
    hasher.finish()
}

impl PartialEq for Tombstones {
    fn eq(&self, other: &Self) -> bool {
        self.since(0).eq(other.since(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_drop_of_a_key_is_found_until_it_is_forgotten() {
        let mut tombstones = Tombstones::default();
        let keys: Vec<KeyBytes> =
            (0..100).map(|at| key_bytes((&format!("c{at}"), "ord"))).collect();
        for round in 0..5u64 {
            for (key, at) in keys.iter().zip(1..) {
                tombstones.push(round * 100 + at, key);
            }
        }
        assert_eq!((tombstones.len(), tombstones.latest(&keys[7])), (500, Some(408)));
        let mut forgotten = 0;
        tombstones.forget(408, |_, _| forgotten += 1);
        assert_eq!((forgotten, tombstones.len()), (408, 92));
        assert_eq!((tombstones.latest(&keys[7]), tombstones.latest(&keys[8])), (None, Some(409)));
        assert_eq!(tombstones.since(498).map(|entry| entry.0).collect::<Vec<_>>(), [499, 500]);
        tombstones.forget(500, |_, _| ());
        assert!(tombstones.is_empty() && tombstones.latest(&keys[99]).is_none());
        tombstones.push(501, &keys[1]);
        assert_eq!(tombstones.latest(&keys[1]), Some(501));
    }

    #[test]
    fn names_read_back() {
        assert_eq!(names_of(&key_bytes(("clicks", "ord"))), Some(("clicks", "ord")));
        assert_eq!(names_of(&key_bytes(("é", ""))), Some(("é", "")));
        assert_eq!((names_of(&[]), names_of(&[3, b'a'])), (None, None));
    }
}
