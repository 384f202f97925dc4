//! Digests that are too long for one message.
//!
//! One message names at most `digest_replicas_max` replicas. A longer digest is cut into parts. The
//! first part goes with the message that would carry the whole, and the others follow at once in
//! requests of their own. All are of one moment, so together they mean what a digest in one piece
//! means. Until the last part is here the others mean nothing.
//!
//! Only the latest digest of each peer is put together. Parts of an earlier one are dropped, and so
//! is a digest that lost a part.

use std::collections::BTreeMap;

use counter_core::{ReplicaId, Version, VersionVector};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::encoding::pack_vector;
use crate::protocol::interface::Refusal;

/// The serial of a first part that no other parts follow. Its digest never becomes whole.
pub(crate) const NONE_FOLLOW: u64 = 0;

/// Which part of a digest a message carries.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "(u64, u32, u32)", into = "(u64, u32, u32)")]
pub(crate) struct PartNumber {
    /// The number of the digest among its sender's, greater for a later one. [`NONE_FOLLOW`] if the
    /// other parts do not follow.
    serial: u64,
    /// The number of this part, from 0. Parts ascend by the replicas that they name.
    at: u32,
    /// How many parts there are.
    of: u32,
}

impl From<(u64, u32, u32)> for PartNumber {
    fn from((serial, at, of): (u64, u32, u32)) -> Self {
        Self { serial, at, of }
    }
}

impl From<PartNumber> for (u64, u32, u32) {
    fn from(PartNumber { serial, at, of }: PartNumber) -> Self {
        (serial, at, of)
    }
}

/// A digest or a part of one, as it goes into a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct DigestPiece {
    /// A version vector, packed.
    pub have: ByteBuf,
    /// How many of these versions of each writer are not on the sender's disk yet, packed.
    pub uncommitted: ByteBuf,
    /// Absent if it is the whole digest.
    pub part: Option<PartNumber>,
}

/// The flags of an answer beside its digest. They hold once the digest is whole.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct PeerStatus {
    pub synced: bool,
    pub waits: bool,
}

/// A digest that is whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WholeDigest {
    /// The versions that the sender holds.
    pub have: VersionVector,
    /// How many of these versions of each writer are not on the sender's disk yet.
    pub uncommitted: VersionVector,
    /// The flags of the answer that brought the first part.
    pub answer: Option<PeerStatus>,
}

/// Cuts a digest into pieces of at most `replicas_max` replicas, or returns it in one piece if it
/// is short. O(replicas log replicas).
pub(crate) fn cut(
    digest: &VersionVector,
    uncommitted: &VersionVector,
    serial: u64,
    replicas_max: usize,
) -> Vec<DigestPiece> {
    if digest.len() <= replicas_max {
        return vec![DigestPiece {
            have: pack_vector(digest),
            uncommitted: pack_vector(uncommitted),
            part: None,
        }];
    }
    let entries: Vec<(ReplicaId, Version)> = digest.iter().collect();
    let chunks = entries.chunks(replicas_max.max(1));
    let of = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let piece = |(at, chunk): (u32, &[(ReplicaId, Version)])| DigestPiece {
        have: pack_vector(&chunk.iter().copied().collect()),
        uncommitted: pack_vector(
            &chunk.iter().map(|(writer, _)| (*writer, uncommitted.get(*writer))).collect(),
        ),
        part: Some(PartNumber { serial, at, of }),
    };
    (0..of).zip(chunks).map(piece).collect()
}

/// The writers of one part: their versions, and how far these are ahead of the disk.
type DigestEntries = (VersionVector, VersionVector);

/// The parts of one digest that have come so far.
#[derive(Debug)]
struct Parts {
    /// The peer's incarnation, and the number of its digest.
    number: (Option<u64>, u64),
    of: u32,
    parts: BTreeMap<u32, DigestEntries>,
    /// Replicas named by `parts`.
    replicas: usize,
    answer: Option<PeerStatus>,
}

/// The digest that is arriving from one peer.
#[derive(Debug, Default)]
pub(crate) struct DigestAssembly(Option<Parts>);

impl DigestAssembly {
    /// A digest came in one piece, so the parts of an earlier one are of no use.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// Takes a part. Returns the whole with the last one.
    ///
    /// # Errors
    /// `Malformed` if the parts do not fit together, and `DigestOverBound` if they name more than
    /// `replicas_max` replicas. The parts are dropped.
    pub(crate) fn put(
        &mut self,
        incarnation: Option<u64>,
        part: PartNumber,
        entries: DigestEntries,
        answer: Option<PeerStatus>,
        replicas_max: usize,
    ) -> Result<Option<WholeDigest>, Refusal> {
        let PartNumber { serial, at, of } = part;
        if at >= of || of < 2 || entries.0.is_empty() {
            return Err(Refusal::Malformed);
        }
        if serial == NONE_FOLLOW {
            return Ok(None);
        }
        let number = (incarnation, serial);
        match &self.0 {
            Some(parts) if parts.number > number => return Ok(None),
            Some(parts) if parts.number < number => self.0 = None,
            _ => {}
        }
        let parts = self.0.get_or_insert_with(|| Parts {
            number,
            of,
            parts: BTreeMap::new(),
            replicas: 0,
            answer: None,
        });
        if parts.of != of {
            self.0 = None;
            return Err(Refusal::Malformed);
        }
        parts.answer = parts.answer.or(answer);
        parts.replicas += entries.0.len();
        if let Some(before) = parts.parts.insert(at, entries) {
            parts.replicas -= before.0.len();
        }
        if parts.replicas > replicas_max {
            self.0 = None;
            return Err(Refusal::DigestOverBound);
        }
        if parts.parts.len() < of as usize {
            return Ok(None);
        }
        self.0.take().map(join).transpose()
    }
}

/// One digest of all parts, which must ascend.
fn join(parts: Parts) -> Result<WholeDigest, Refusal> {
    let of = |part: fn(&DigestEntries) -> &VersionVector| {
        parts.parts.values().flat_map(move |entries| part(entries).iter())
    };
    let entries: Vec<(ReplicaId, Version)> = of(|entries| &entries.0).collect();
    match entries.is_sorted_by(|(one, _), (next, _)| one < next) {
        true => Ok(WholeDigest {
            have: entries.into_iter().collect(),
            uncommitted: of(|entries| &entries.1).collect(),
            answer: parts.answer,
        }),
        false => Err(Refusal::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::unpack_vector;

    fn digest(replicas: u64) -> VersionVector {
        (1..=replicas).map(|node| (ReplicaId::new(node, 1), node)).collect()
    }

    fn parts(replicas: u64, serial: u64) -> Vec<(PartNumber, VersionVector)> {
        let pieces = cut(&digest(replicas), &VersionVector::new(), serial, 3);
        pieces
            .into_iter()
            .map(|piece| (piece.part.unwrap(), unpack_vector(&piece.have, 3).unwrap()))
            .collect()
    }

    fn put(
        incoming: &mut DigestAssembly,
        (part, entries): (PartNumber, VersionVector),
    ) -> Result<Option<VersionVector>, Refusal> {
        incoming
            .put(Some(1), part, (entries, VersionVector::new()), None, 10)
            .map(|whole| whole.map(|whole| whole.have))
    }

    #[test]
    fn a_short_digest_is_one_piece() {
        let pieces = cut(&digest(3), &VersionVector::new(), 1, 3);
        assert!(pieces.len() == 1 && pieces[0].part.is_none());
    }

    #[test]
    fn parts_join_in_any_order() {
        let mut incoming = DigestAssembly::default();
        let [one, two, three, four] = parts(10, 1).try_into().unwrap();
        for part in [three.clone(), one, three, four] {
            assert_eq!(put(&mut incoming, part), Ok(None));
        }
        assert_eq!(put(&mut incoming, two), Ok(Some(digest(10))));
        assert!(incoming.0.is_none());
    }

    #[test]
    fn answer_comes_with_the_whole() {
        let answer = Some(PeerStatus { synced: true, waits: false });
        for first in [0, 1] {
            let mut incoming = DigestAssembly::default();
            for at in [first, 1 - first] {
                let (part, entries) = parts(6, 1).swap_remove(at);
                let said = answer.filter(|_| at == 0);
                let uncommitted = entries.iter().map(|(writer, _)| (writer, 1)).collect();
                let whole = incoming.put(Some(1), part, (entries, uncommitted), said, 10);
                let uncommitted = digest(6).iter().map(|(writer, _)| (writer, 1)).collect();
                assert_eq!(
                    whole,
                    Ok((at != first).then(|| WholeDigest { have: digest(6), uncommitted, answer }))
                );
            }
        }
    }

    #[test]
    fn a_later_digest_displaces_an_earlier_one() {
        let mut incoming = DigestAssembly::default();
        let [one, two] = parts(6, 1).try_into().unwrap();
        let [later, last] = parts(5, 2).try_into().unwrap();
        for part in [one, later, two] {
            assert_eq!(put(&mut incoming, part), Ok(None));
        }
        assert_eq!(put(&mut incoming, last), Ok(Some(digest(5))));
    }

    #[test]
    fn parts_are_bounded() {
        let mut incoming = DigestAssembly::default();
        let mut parts = parts(12, 1);
        let last = parts.pop().unwrap();
        parts.into_iter().for_each(|part| assert_eq!(put(&mut incoming, part), Ok(None)));
        assert_eq!(put(&mut incoming, last), Err(Refusal::DigestOverBound));
        assert!(incoming.0.is_none());
    }

    #[test]
    fn repeated_part_counts_in_full() {
        let mut incoming = DigestAssembly::default();
        let of = 4;
        for at in 0..3 {
            assert_eq!(put(&mut incoming, (PartNumber { serial: 1, at, of }, digest(1))), Ok(None));
        }
        assert_eq!(put(&mut incoming, (PartNumber { serial: 1, at: 0, of }, digest(8))), Ok(None));
        assert_eq!(
            put(&mut incoming, (PartNumber { serial: 1, at: 1, of }, digest(2))),
            Err(Refusal::DigestOverBound)
        );
    }

    #[test]
    fn lone_first_part_is_dropped() {
        let mut incoming = DigestAssembly::default();
        let alone = |of| (PartNumber { serial: NONE_FOLLOW, at: 0, of }, digest(3));
        // The digest grew meanwhile.
        for of in [2, 3] {
            assert_eq!(put(&mut incoming, alone(of)), Ok(None));
            assert!(incoming.0.is_none());
        }
        let [one, two] = parts(6, 1).try_into().unwrap();
        for part in [one, alone(4)] {
            assert_eq!(put(&mut incoming, part), Ok(None));
        }
        assert_eq!(put(&mut incoming, two), Ok(Some(digest(6))));
    }

    #[test]
    fn mismatched_parts_are_refused() {
        let whole = || digest(3);
        for part in [
            PartNumber { serial: 1, at: 2, of: 2 },
            PartNumber { serial: 1, at: 0, of: 1 },
            PartNumber { serial: 1, at: 0, of: 0 },
        ] {
            assert_eq!(
                put(&mut DigestAssembly::default(), (part, whole())),
                Err(Refusal::Malformed)
            );
        }
        let mut incoming = DigestAssembly::default();
        let part = |at, of| PartNumber { serial: 1, at, of };
        assert_eq!(put(&mut incoming, (part(0, 2), VersionVector::new())), Err(Refusal::Malformed));
        assert_eq!(put(&mut incoming, (part(0, 2), whole())), Ok(None));
        assert_eq!(
            put(&mut incoming, (part(1, 2), whole())),
            Err(Refusal::Malformed),
            "they do not ascend"
        );
        assert_eq!(put(&mut incoming, (part(0, 2), whole())), Ok(None));
        assert_eq!(
            put(&mut incoming, (part(1, 3), whole())),
            Err(Refusal::Malformed),
            "another number of parts"
        );
    }
}
