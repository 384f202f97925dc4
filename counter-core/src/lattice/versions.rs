//! Version vectors: for each writer, the version up to which a replica holds everything.

use crate::replica_id::ReplicaId;

/// The number of a change in its writer's own sequence. Each change to the writer's cells, record,
/// dedup entries or tombstones takes the next one. 0 comes before the first.
pub type Version = u64;

/// For each writer, the version up to which everything is held, without gaps. Sorted by writer.
///
/// A replica's state *is* a vector of per-writer snapshots, so two replicas with equal version
/// vectors hold equal states. (Parker et al. 1983; as the causal context of deltas: Almeida,
/// Shoker, Baquero 2018, section 7.)
///
/// # Examples
/// ```
/// use counter_core::{ReplicaId, VersionVector};
/// let (ord, fra) = (ReplicaId::new(1, 1), ReplicaId::new(2, 1));
/// let mut here = VersionVector::from_iter([(ord, 7), (fra, 2)]);
/// let there = VersionVector::from_iter([(fra, 3)]);
/// assert_eq!((here.get(fra), there.get(ord), here.contains(&there)), (2, 0, false));
/// here.join(&there);
/// assert_eq!(here, VersionVector::from_iter([(ord, 7), (fra, 3)]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VersionVector {
    /// Sorted by replica, no replica twice, no version 0.
    entries: Vec<(ReplicaId, Version)>,
}

/// A vector this many times shorter than another is compared by lookups, and others by one walk
/// through both. A lookup among thousands of writers takes as long as some ten steps of a walk.
const FEW: usize = 16;

impl VersionVector {
    /// An empty vector: nothing was seen.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The version up to which `replica` was seen; 0 for never. O(log writers).
    pub fn get(&self, replica: ReplicaId) -> Version {
        self.entries
            .binary_search_by_key(&replica, |entry| entry.0)
            .map_or(0, |at| self.entries[at].1)
    }

    /// Raises the entry of `replica` to `version`, and never lowers it. O(1) behind the last
    /// writer. Otherwise O(log writers), and O(writers) for a new one.
    pub fn raise(&mut self, replica: ReplicaId, version: Version) {
        if self.entries.last().is_none_or(|last| last.0 < replica) {
            if version > 0 {
                self.entries.push((replica, version));
            }
            return;
        }
        match self.entries.binary_search_by_key(&replica, |entry| entry.0) {
            Ok(at) => self.entries[at].1 = self.entries[at].1.max(version),
            Err(at) if version > 0 => self.entries.insert(at, (replica, version)),
            Err(_) => {}
        }
    }

    /// Forgets a writer.
    pub fn remove(&mut self, replica: ReplicaId) {
        self.entries.retain(|entry| entry.0 != replica);
    }

    /// Keeps only some writers.
    pub fn retain(&mut self, mut keep: impl FnMut(ReplicaId) -> bool) {
        self.entries.retain(|entry| keep(entry.0));
    }

    /// Every writer seen with its version, in the order of ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ReplicaId, Version)> + '_ {
        self.entries.iter().copied()
    }

    /// The number of writers seen.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A lookup for writers that are asked for in ascending order. All lookups together are
    /// O(writers), so many of them are cheaper than [`get`](Self::get).
    pub fn ascending(&self) -> impl FnMut(ReplicaId) -> Version + '_ {
        let mut at = 0;
        move |replica| {
            while self.entries.get(at).is_some_and(|entry| entry.0 < replica) {
                at += 1;
            }
            self.entries.get(at).filter(|entry| entry.0 == replica).map_or(0, |entry| entry.1)
        }
    }

    /// Every writer seen, with its version here and its version in `other`, in the order of ids.
    /// O(writers of both).
    pub fn beside<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (ReplicaId, Version, Version)> + 'a {
        let mut there = other.ascending();
        self.iter().map(move |(replica, version)| (replica, version, there(replica)))
    }

    /// True if everything that `other` has seen was seen here. O(writers).
    pub fn contains(&self, other: &Self) -> bool {
        // No entry is 0, so a longer vector names a writer that this one does not.
        other.len() <= self.len()
            && match other.len() < self.len() / FEW {
                true => other.iter().all(|(replica, version)| self.get(replica) >= version),
                false => other.beside(self).all(|(_, there, here)| here >= there),
            }
    }

    /// The least upper bound of both. O(writers).
    pub fn join(&mut self, other: &Self) {
        if other.len() < self.len() / FEW {
            return other.iter().for_each(|(replica, version)| self.raise(replica, version));
        }
        let (mut at, mut new) = (0, Vec::new());
        for (replica, version) in other.iter() {
            while self.entries.get(at).is_some_and(|entry| entry.0 < replica) {
                at += 1;
            }
            match self.entries.get_mut(at) {
                Some(entry) if entry.0 == replica => entry.1 = entry.1.max(version),
                _ => new.push((replica, version)),
            }
        }
        if !new.is_empty() {
            self.entries.append(&mut new);
            // It merges the two sorted runs in one pass.
            self.entries.sort_by_key(|entry| entry.0);
        }
    }

    /// XXH3-128 of the entries: equal vectors have equal hashes. Peers compare hashes before they
    /// send a vector.
    pub fn digest_hash(&self) -> u128 {
        let mut bytes = Vec::with_capacity(self.entries.len() * (ReplicaId::BYTES + 8));
        for (replica, version) in self.iter() {
            bytes.extend_from_slice(&replica.to_bytes());
            bytes.extend_from_slice(&version.to_be_bytes());
        }
        xxhash_rust::xxh3::xxh3_128(&bytes)
    }
}

impl FromIterator<(ReplicaId, Version)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, Version)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        let mut vector = Self { entries: Vec::with_capacity(entries.size_hint().0) };
        entries.for_each(|(replica, version)| vector.raise(replica, version));
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_never_lowers_and_keeps_order() {
        let (a, b) = (ReplicaId::new(1, 1), ReplicaId::new(2, 1));
        let mut seen: VersionVector = [(b, 3), (a, 2)].into_iter().collect();
        seen.raise(b, 1);
        assert_eq!(seen.iter().collect::<Vec<_>>(), [(a, 2), (b, 3)]);
        assert!(seen.contains(&[(a, 2)].into_iter().collect()));
        assert!(!seen.contains(&[(a, 3)].into_iter().collect()));
    }

    /// Vectors of all lengths, so that both ways to compare and to join are taken.
    #[test]
    fn walks_equal_lookups() {
        let mut dice = fastrand::Rng::with_seed(3);
        for _ in 0..2_000 {
            let mut drawn = || -> VersionVector {
                let writers = [2, 8, 100][dice.usize(..3)];
                let draws = 0..dice.usize(..2 * writers);
                draws
                    .map(|_| (ReplicaId::new(dice.u64(..writers as u64), 1), dice.u64(..4)))
                    .collect()
            };
            let (one, other) = (drawn(), drawn());
            let get = |of: &VersionVector, id| {
                of.iter().find(|(replica, _)| *replica == id).map_or(0, |(_, version)| version)
            };
            let beside: Vec<_> = one.beside(&other).collect();
            let expected: Vec<_> =
                one.iter().map(|(id, here)| (id, here, get(&other, id))).collect();
            assert_eq!(beside, expected);
            assert_eq!(
                one.contains(&other),
                other.iter().all(|(id, there)| get(&one, id) >= there)
            );
            let mut joined = one.clone();
            joined.join(&other);
            let ids: std::collections::BTreeSet<ReplicaId> =
                one.iter().chain(other.iter()).map(|(id, _)| id).collect();
            let most = |id| (id, get(&one, id).max(get(&other, id)));
            assert_eq!(
                joined.iter().collect::<Vec<_>>(),
                ids.into_iter().map(most).collect::<Vec<_>>()
            );
        }
    }
}
