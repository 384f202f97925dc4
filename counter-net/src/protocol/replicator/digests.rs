//! Takes peers' digests: the versions that they hold, and those that they promise to keep.

use counter_core::{Replica, ReplicaId, VersionVector};

use super::Replicator;
use crate::protocol::interface::{NodeId, Refusal};
use crate::protocol::promises::committed_part;
use crate::protocol::wire::{
    BucketMask, DigestAssembly, DigestPart, PartNumber, PeerStatus, WholeDigest, unpack_vector,
    whole_of,
};

impl Replicator {
    /// Reads the digest of a message, and keeps `answer` with it. `None` while parts are missing.
    ///
    /// # Errors
    /// It is malformed, or names more replicas than the bounds.
    pub(super) fn read_digest(
        &mut self,
        peer: NodeId,
        incarnation: Option<u64>,
        (have, uncommitted): (&[u8], &[u8]),
        part: Option<PartNumber>,
        answer: Option<PeerStatus>,
    ) -> Result<Option<WholeDigest>, Refusal> {
        let replicas_max = self.ctx.config.digest_replicas_max;
        let (have, uncommitted) =
            (unpack_vector(have, replicas_max)?, unpack_vector(uncommitted, replicas_max)?);
        let replicas_max = self.ctx.config.heard_replicas_max;
        match (part, self.peers.incoming_digest(peer)) {
            (Some(part), Some(incoming)) => {
                incoming.put(incarnation, part, (have, uncommitted), answer, replicas_max)
            }
            (Some(_), None) => Ok(None),
            (None, incoming) => {
                incoming.into_iter().for_each(DigestAssembly::clear);
                Ok(Some(WholeDigest { have, uncommitted, answer }))
            }
        }
    }

    /// Reads a digest that came without the buckets outside of `mask`. Those equal the buckets of
    /// `compared`, the digest that this node sent hashes of.
    ///
    /// # Errors
    /// It is malformed, or names more replicas than the bounds.
    pub(super) fn read_buckets(
        &mut self,
        peer: NodeId,
        (have, uncommitted): (&[u8], &[u8]),
        mask: BucketMask,
        compared: &VersionVector,
    ) -> Result<WholeDigest, Refusal> {
        let replicas_max = self.ctx.config.digest_replicas_max;
        let (part, uncommitted) =
            (unpack_vector(have, replicas_max)?, unpack_vector(uncommitted, replicas_max)?);
        let have = whole_of(compared, &part, mask)?;
        self.peers.incoming_digest(peer).into_iter().for_each(DigestAssembly::clear);
        Ok(WholeDigest { have, uncommitted, answer: None })
    }

    /// Takes a peer's whole digest. Only its committed part counts as a promise, and all of it may
    /// be pulled.
    pub(super) fn take_digest(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
        digest: &WholeDigest,
    ) {
        self.take_promise(
            replica,
            peer,
            incarnation,
            &committed_part(&digest.have, &digest.uncommitted),
        );
        self.hear(replica, peer, digest.have.clone());
    }

    /// Takes a further part of a peer's digest. With the last part, the answer that came with the
    /// first one takes effect.
    ///
    /// # Errors
    /// The part is malformed, over a bound, or of an ended incarnation.
    pub(super) fn take_part(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        digest: &DigestPart,
    ) -> Result<(), Refusal> {
        let sender = digest.replica.0;
        if sender.node != peer.0 {
            return Err(Refusal::ForgedWriter);
        }
        check_not_ended(replica, sender)?;
        let bytes: (&[u8], &[u8]) = (&digest.have, &digest.uncommitted);
        let incarnation = Some(sender.incarnation);
        let Some(whole) = self.read_digest(peer, incarnation, bytes, Some(digest.part), None)?
        else {
            return Ok(());
        };
        self.take_digest(replica, peer, incarnation, &whole);
        if let Some(answer) = whole.answer {
            self.take_status(peer, answer);
            self.begin_pulls(replica);
            self.exchange(replica).tell_lacking(peer, &whole.have, false);
        }
        Ok(())
    }

    /// Takes the promise of a peer's incarnation: the committed part of its own digest.
    pub(super) fn take_promise(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
        digest: &VersionVector,
    ) {
        let Some(incarnation) = self.incarnation_heard(replica, peer, incarnation) else { return };
        self.stability.take_promise(incarnation, digest);
        if self.leave.may_succeed(replica.map(), &self.membership, peer) {
            self.leave.take_promise(digest, |writer| replica.map().is_folded(writer));
        }
        self.promises.take_promise(incarnation, digest);
    }

    /// The enrolled replica that sent a message, if one did.
    pub(super) fn incarnation_heard(
        &self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
    ) -> Option<ReplicaId> {
        let incarnation = ReplicaId::new(peer.0, incarnation?);
        (incarnation != self.ctx.own
            && replica.map().seen_of(incarnation) > 0
            && !replica.map().is_ended(incarnation))
        .then_some(incarnation)
    }

    /// Takes a peer's digest as it is now, without the writers that were folded here.
    pub(super) fn hear(&mut self, replica: &Replica, peer: NodeId, mut digest: VersionVector) {
        digest.retain(|writer| !replica.map().is_folded(writer));
        let Self { ctx, stability, peers, membership, .. } = self;
        stability.hear(ctx, replica.map(), peers, membership, peer, digest);
    }
}

/// Refuses an ended incarnation. The refusal tells it that it ended, so it continues as a new one.
pub(super) fn check_not_ended(replica: &Replica, requester: ReplicaId) -> Result<(), Refusal> {
    if replica.map().is_ended(requester) { Err(Refusal::Ended) } else { Ok(()) }
}
