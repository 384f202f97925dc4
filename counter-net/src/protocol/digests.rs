//! The own digest goes out in as many messages as it takes, and peers' digests come in.

use counter_core::{Replica, VersionVector};

use super::asked::Asked;
use super::digest::{Answer, NONE_FOLLOW, Part, Piece, Whole, cut};
use super::input::NodeId;
use super::message::{DigestPart, Request, Response};
use super::output::Refusal;
use super::replicator::Replicator;
use super::wire::{Id, unpack_vector};

impl Replicator {
    /// This node's digest for a message to `peer`. Where it is too long this is its first part, and the others are sent now.
    ///
    /// A peer that asks faster than it takes parts is sent no others, or it would fill this node's memory.
    pub(super) fn digest_for(&mut self, replica: &Replica, peer: NodeId) -> Piece {
        let digest = replica.map().version_vector();
        let replicas_max = self.config.digest_replicas_max;
        // An earlier release takes the first part for the whole: it asks for more than it lacks.
        let takes_parts = self.sources.get(peer).is_some_and(|source| !source.takes_no_parts);
        let others_follow = digest.len() > replicas_max && takes_parts && !self.has_parts_under_way(peer);
        self.digest_serial += u64::from(others_follow);
        let serial = if others_follow { self.digest_serial } else { NONE_FOLLOW };
        let mut pieces = cut(&digest, serial, replicas_max).into_iter();
        let first = pieces.next().unwrap_or_default();
        for Piece { have, part } in pieces.filter(|_| others_follow) {
            if let Some(part) = part {
                let further = DigestPart { replica: Id(self.own), have, part };
                self.send(peer, Asked::Digest, &Request::digest(further));
            }
        }
        first
    }

    /// Whether a peer has yet to take parts that may name `heard_replicas_max` replicas together.
    fn has_parts_under_way(&self, peer: NodeId) -> bool {
        let parts = self.pending.values().filter(|pending| pending.peer == peer && pending.asked == Asked::Digest).count();
        parts.saturating_mul(self.config.digest_replicas_max) >= self.config.heard_replicas_max
    }

    /// Reads a digest that came with a message, and `answer` with it. `None` while parts of it are missing.
    ///
    /// # Errors
    /// It is malformed, or names more replicas than the bounds.
    pub(super) fn read_digest(
        &mut self,
        peer: NodeId,
        generation: Option<u64>,
        have: &[u8],
        part: Option<Part>,
        answer: Option<Answer>,
    ) -> Result<Option<Whole>, Refusal> {
        let entries = unpack_vector(have, self.config.digest_replicas_max)?;
        let Some(source) = self.sources.get_mut(peer) else { return Ok(part.is_none().then_some((entries, answer))) };
        match part {
            Some(part) => source.incoming.put(generation, part, entries, answer, self.config.heard_replicas_max),
            None => {
                source.incoming.clear();
                Ok(Some((entries, answer)))
            }
        }
    }

    /// A peer's whole digest.
    pub(super) fn heard(&mut self, replica: &Replica, peer: NodeId, generation: Option<u64>, digest: &VersionVector) {
        self.shown(replica, peer, generation, digest);
        self.hear(replica, peer, digest.clone());
    }

    /// A further part of a peer's digest. With the last one, what the first one came with takes effect.
    pub(super) fn serve_digest(&mut self, replica: &mut Replica, peer: NodeId, digest: &DigestPart) -> Result<Response, Refusal> {
        let sender = digest.replica.0;
        if sender.node != peer.0 {
            return Err(Refusal::ForgedWriter);
        }
        self.not_ended(replica, sender)?;
        if let Some((whole, answer)) = self.read_digest(peer, Some(sender.generation), &digest.have, Some(digest.part), None)? {
            self.heard(replica, peer, Some(sender.generation), &whole);
            if let Some(answer) = answer {
                self.take_answer(peer, answer);
                self.plan(replica);
                self.tell_what_lacks(replica, peer, &whole);
            }
        }
        Ok(Response::taken())
    }
}
