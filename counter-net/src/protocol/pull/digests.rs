//! Sends this node's digest in as many messages as it takes, and takes the digests of peers.

use counter_core::{Replica, ReplicaId, VersionVector};

use super::commits::promised;
use super::open_requests::Asked;
use crate::protocol::input::NodeId;
use crate::protocol::output::Refusal;
use crate::protocol::replicator::Replicator;
use crate::protocol::wire::{DigestPart, Request, Response};
use crate::protocol::wire::{DigestPiece, NONE_FOLLOW, PartNumber, PeerStatus, WholeDigest, cut};
use crate::protocol::wire::{Id, unpack_vector};

impl Replicator {
    /// This node's digest for a message to `peer`. If it is too long this is its first part, and
    /// the others are sent now.
    ///
    /// A peer that asks faster than it takes parts is sent no others. Otherwise it would fill this
    /// node's memory.
    pub(crate) fn digest_for(&mut self, replica: &Replica, peer: NodeId) -> DigestPiece {
        let digest = replica.map().version_vector();
        let replicas_max = self.ctx.config.digest_replicas_max;
        // An earlier release takes the first part for the whole, and asks for more than it lacks.
        let takes_parts = self.peers.get(peer).is_some_and(|source| source.takes_parts());
        let others_follow =
            digest.len() > replicas_max && takes_parts && !self.has_parts_under_way(peer);
        let serial = if others_follow { self.peers.next_digest_serial() } else { NONE_FOLLOW };
        let mut pieces =
            cut(&digest, &self.not_promised(&digest), serial, replicas_max).into_iter();
        let first = pieces.next().unwrap_or_default();
        for DigestPiece { have, behind, part } in pieces.filter(|_| others_follow) {
            if let Some(part) = part {
                let further =
                    DigestPart { replica: Id(self.ctx.own), have, uncommitted: behind, part };
                self.send(peer, Asked::Digest, &Request::digest(further));
            }
        }
        first
    }

    /// True if the parts that a peer has yet to take may name `heard_replicas_max` replicas
    /// together.
    fn has_parts_under_way(&self, peer: NodeId) -> bool {
        let parts = self.requests.count(peer, |asked| asked == Asked::Digest);
        parts.saturating_mul(self.ctx.config.digest_replicas_max)
            >= self.ctx.config.heard_replicas_max
    }

    /// Reads a digest that came with a message, and `answer` with it. `None` while parts are
    /// missing.
    ///
    /// # Errors
    /// It is malformed, or names more replicas than the bounds.
    pub(crate) fn read_digest(
        &mut self,
        peer: NodeId,
        incarnation: Option<u64>,
        (have, behind): (&[u8], &[u8]),
        part: Option<PartNumber>,
        answer: Option<PeerStatus>,
    ) -> Result<Option<WholeDigest>, Refusal> {
        let replicas_max = self.ctx.config.digest_replicas_max;
        let (have, behind) =
            (unpack_vector(have, replicas_max)?, unpack_vector(behind, replicas_max)?);
        match part {
            Some(part) => {
                let replicas_max = self.ctx.config.heard_replicas_max;
                self.peers.put_part(peer, incarnation, part, (have, behind), answer, replicas_max)
            }
            None => {
                self.peers.drop_parts(peer);
                Ok(Some(WholeDigest { have, behind, answer }))
            }
        }
    }

    /// Takes a peer's whole digest. Only its committed part counts as a promise, and all of it may
    /// be pulled.
    pub(crate) fn heard(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
        digest: &WholeDigest,
    ) {
        self.shown(replica, peer, incarnation, &promised(&digest.have, &digest.behind));
        self.hear(replica, peer, digest.have.clone());
    }

    /// Takes a further part of a peer's digest. With the last part, the answer that came with the
    /// first one takes effect.
    pub(crate) fn serve_digest(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        digest: &DigestPart,
    ) -> Result<Response, Refusal> {
        let sender = digest.replica.0;
        if sender.node != peer.0 {
            return Err(Refusal::ForgedWriter);
        }
        self.not_ended(replica, sender)?;
        let bytes: (&[u8], &[u8]) = (&digest.have, &digest.uncommitted);
        if let Some(whole) =
            self.read_digest(peer, Some(sender.incarnation), bytes, Some(digest.part), None)?
        {
            self.heard(replica, peer, Some(sender.incarnation), &whole);
            if let Some(answer) = whole.answer {
                self.take_answer(peer, answer);
                self.plan(replica);
                self.tell_what_lacks(replica, peer, &whole.have);
            }
        }
        Ok(Response::taken())
    }

    /// Takes the promise of a peer's incarnation: the committed part of its own digest.
    pub(crate) fn shown(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
        digest: &VersionVector,
    ) {
        let Some(incarnation) = self.incarnation_heard(replica, peer, incarnation) else { return };
        self.snapshots.show(incarnation, digest);
        if self.may_succeed(replica, peer) {
            self.retirement.shown(digest, replica.map());
        }
        self.promises.show(incarnation, digest);
    }

    /// The enrolled replica that sent a message, if one did.
    pub(crate) fn incarnation_heard(
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

    /// True if a peer speaks as an ended incarnation. Its cells are taken from members only.
    pub(crate) fn is_ended(
        &self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
    ) -> bool {
        incarnation
            .is_some_and(|incarnation| replica.map().is_ended(ReplicaId::new(peer.0, incarnation)))
    }

    /// Takes a peer's digest as it is now, without the writers that were folded here.
    pub(crate) fn hear(&mut self, replica: &Replica, peer: NodeId, mut digest: VersionVector) {
        digest.retain(|writer| !replica.map().is_folded(writer));
        if let Some(incarnation) = self.members.get(peer).map(|entry| entry.replica) {
            self.confirmations.note_digest(incarnation, &digest, self.ctx.now);
        }
        let lacks = self.shortfall(replica, &digest);
        self.peers.hear(peer, digest, lacks, self.ctx.now);
    }
}
