//! The own digest goes out in as many messages as it takes, and peers' digests come in.

use counter_core::Replica;

use super::asked::Asked;
use super::committed::promised;
use crate::protocol::input::NodeId;
use crate::protocol::output::Refusal;
use crate::protocol::replicator::Replicator;
use crate::protocol::wire::{Answer, NONE_FOLLOW, Part, Piece, Whole, cut};
use crate::protocol::wire::{DigestPart, Request, Response};
use crate::protocol::wire::{Id, unpack_vector};

impl Replicator {
    /// This node's digest for a message to `peer`. Where it is too long this is its first part, and
    /// the others are sent now.
    ///
    /// A peer that asks faster than it takes parts is sent no others, or it would fill this node's
    /// memory.
    pub(crate) fn digest_for(&mut self, replica: &Replica, peer: NodeId) -> Piece {
        let digest = replica.map().version_vector();
        let replicas_max = self.config.digest_replicas_max;
        // An earlier release takes the first part for the whole: it asks for more than it lacks.
        let takes_parts = self.sources.get(peer).is_some_and(|source| !source.takes_no_parts);
        let others_follow =
            digest.len() > replicas_max && takes_parts && !self.has_parts_under_way(peer);
        self.digest_serial += u64::from(others_follow);
        let serial = if others_follow { self.digest_serial } else { NONE_FOLLOW };
        let mut pieces =
            cut(&digest, &self.not_promised(&digest), serial, replicas_max).into_iter();
        let first = pieces.next().unwrap_or_default();
        for Piece { have, behind, part } in pieces.filter(|_| others_follow) {
            if let Some(part) = part {
                let further = DigestPart { replica: Id(self.own), have, uncommitted: behind, part };
                self.send(peer, Asked::Digest, &Request::digest(further));
            }
        }
        first
    }

    /// Whether a peer has yet to take parts that may name `heard_replicas_max` replicas together.
    fn has_parts_under_way(&self, peer: NodeId) -> bool {
        let parts = self
            .pending
            .values()
            .filter(|pending| pending.peer == peer && pending.asked == Asked::Digest)
            .count();
        parts.saturating_mul(self.config.digest_replicas_max) >= self.config.heard_replicas_max
    }

    /// Reads a digest that came with a message, and `answer` with it. `None` while parts of it are
    /// missing.
    ///
    /// # Errors
    /// It is malformed, or names more replicas than the bounds.
    pub(crate) fn read_digest(
        &mut self,
        peer: NodeId,
        incarnation: Option<u64>,
        (have, behind): (&[u8], &[u8]),
        part: Option<Part>,
        answer: Option<Answer>,
    ) -> Result<Option<Whole>, Refusal> {
        let replicas_max = self.config.digest_replicas_max;
        let (have, behind) =
            (unpack_vector(have, replicas_max)?, unpack_vector(behind, replicas_max)?);
        let source = self.sources.get_mut(peer);
        match (part, source) {
            (Some(part), Some(source)) => source.incoming.put(
                incarnation,
                part,
                (have, behind),
                answer,
                self.config.heard_replicas_max,
            ),
            (Some(_), None) => Ok(None),
            (None, source) => {
                source.into_iter().for_each(|source| source.incoming.clear());
                Ok(Some(Whole { have, behind, answer }))
            }
        }
    }

    /// A peer's whole digest. What is on its disk counts where others agree; all of it may be
    /// pulled.
    pub(crate) fn heard(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
        digest: &Whole,
    ) {
        self.shown(replica, peer, incarnation, &promised(&digest.have, &digest.behind));
        self.hear(replica, peer, digest.have.clone());
    }

    /// A further part of a peer's digest. With the last one, what the first one came with takes
    /// effect.
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
}
