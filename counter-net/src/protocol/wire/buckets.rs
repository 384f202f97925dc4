//! Digests of large clusters, compared in buckets.
//!
//! A digest names every writer, 17 to 20 bytes each. Two nodes that differ in a few writers need
//! not send all of it. Each writer belongs to one of [`BUCKETS`] buckets by its id. One node sends
//! a hash of each bucket, and the other answers with the writers of the buckets that differ. The
//! other buckets equal those that the asking node compared. So the asking node can put together the
//! whole digest of the answering node.

use counter_core::{ReplicaId, VersionVector};
use serde_bytes::ByteBuf;

use crate::protocol::interface::Refusal;

/// The number of buckets. 64 hashes take 512 bytes, as much as 28 writers in a digest.
const BUCKETS: usize = 64;

/// The buckets of a digest that a message has: bit `n` for bucket `n`.
pub(crate) type BucketMask = u64;

/// A hash of each bucket of a digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BucketHashes([u64; BUCKETS]);

impl BucketHashes {
    /// O(writers).
    pub(crate) fn of(digest: &VersionVector) -> Self {
        let mut buckets: [VersionVector; BUCKETS] = std::array::from_fn(|_| VersionVector::new());
        for (writer, version) in digest.iter() {
            buckets[bucket_of(writer)].raise(writer, version);
        }
        Self(buckets.map(|bucket| bucket.digest_hash() as u64))
    }

    /// The hashes in order, 8 bytes each.
    pub(crate) fn pack(&self) -> ByteBuf {
        ByteBuf::from(self.0.iter().flat_map(|hash| hash.to_be_bytes()).collect::<Vec<u8>>())
    }

    /// Reads [`pack`](Self::pack).
    ///
    /// # Errors
    /// `Malformed` for any other length.
    pub(crate) fn unpack(bytes: &[u8]) -> Result<Self, Refusal> {
        let (hashes, rest) = bytes.as_chunks::<8>();
        match <[[u8; 8]; BUCKETS]>::try_from(hashes) {
            Ok(hashes) if rest.is_empty() => Ok(Self(hashes.map(u64::from_be_bytes))),
            _ => Err(Refusal::Malformed),
        }
    }

    /// The buckets whose hashes differ.
    pub(crate) fn differing(&self, other: &Self) -> BucketMask {
        let pairs = self.0.iter().zip(&other.0).enumerate();
        pairs.fold(0, |mask, (at, (one, other))| mask | u64::from(one != other) << at)
    }
}

/// The writers of a digest that are in these buckets.
pub(crate) fn in_buckets(digest: &VersionVector, mask: BucketMask) -> VersionVector {
    digest.iter().filter(|(writer, _)| is_in(*writer, mask)).collect()
}

/// The whole digest of a peer: its `part` in the buckets of the mask, and in the others what this
/// node held when it sent its hashes, `compared`.
///
/// # Errors
/// `Malformed` if `part` names a writer of another bucket.
pub(crate) fn whole_of(
    compared: &VersionVector,
    part: &VersionVector,
    mask: BucketMask,
) -> Result<VersionVector, Refusal> {
    if part.iter().any(|(writer, _)| !is_in(writer, mask)) {
        return Err(Refusal::Malformed);
    }
    let equal = compared.iter().filter(|(writer, _)| !is_in(*writer, mask));
    Ok(equal.chain(part.iter()).collect())
}

fn is_in(writer: ReplicaId, mask: BucketMask) -> bool {
    mask >> bucket_of(writer) & 1 == 1
}

/// The bucket of a writer. The golden ratio spreads consecutive ids.
fn bucket_of(writer: ReplicaId) -> usize {
    (writer.node.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(writers: u64) -> VersionVector {
        (1..=writers).map(|node| (ReplicaId::new(node, 1), node)).collect()
    }

    #[test]
    fn differing_buckets_and_the_rest_make_the_whole() {
        let here = digest(1_000);
        let mut there = here.clone();
        for (node, version) in [(7, 8), (300, 301), (5_000, 1)] {
            there.raise(ReplicaId::new(node, 1), version);
        }
        let mask = BucketHashes::of(&here).differing(&BucketHashes::of(&there));
        assert!((1..=3).contains(&mask.count_ones()));
        let part = in_buckets(&there, mask);
        assert!(part.len() < 100, "{}", part.len());
        assert_eq!(whole_of(&here, &part, mask), Ok(there.clone()));
        assert_eq!(whole_of(&here, &there, mask), Err(Refusal::Malformed));
    }

    #[test]
    fn hashes_read_back() {
        let hashes = BucketHashes::of(&digest(200));
        assert_eq!(BucketHashes::unpack(&hashes.pack()), Ok(hashes.clone()));
        assert_eq!(hashes.differing(&hashes), 0);
        assert_eq!(BucketHashes::unpack(&hashes.pack()[1..]), Err(Refusal::Malformed));
        assert_eq!(BucketHashes::unpack(&[0; 520]), Err(Refusal::Malformed));
    }
}
