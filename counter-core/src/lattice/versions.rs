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

    /// Raises the entry of `replica` to `version`, and never lowers it. O(log writers), and
    /// O(writers) for a new one.
    pub fn raise(&mut self, replica: ReplicaId, version: Version) {
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

    /// True if everything that `other` has seen was seen here. O(writers).
    pub fn contains(&self, other: &Self) -> bool {
        other.iter().all(|(replica, version)| self.get(replica) >= version)
    }

    /// The least upper bound of both. O(writers).
    pub fn join(&mut self, other: &Self) {
        other.iter().for_each(|(replica, version)| self.raise(replica, version));
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
        let mut vector = Self::new();
        entries.into_iter().for_each(|(replica, version)| vector.raise(replica, version));
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
}
