//! Answers to this node's requests: digests, pages of a pull, refusals.

use std::time::Duration;

use counter_core::{Delta, Replica, ReplicaId};

use super::Replicator;
use crate::protocol::context::Timer;
use crate::protocol::interface::{Counted, MessageKind, NodeId, Notice, Refusal};
use crate::protocol::peers::{Asked, OpenRequest};
use crate::protocol::promises::committed_part;
use crate::protocol::wire::{self, Noted, PageMessage, PeerStatus, Response, StateMessage};
use crate::protocol::wire::{Refused, unpack_vector};

/// How soon an unsynced node asks again a peer that itself waits for others.
const WAITING_INTERVAL: Duration = Duration::from_millis(200);

impl Replicator {
    pub(super) fn on_response(
        &mut self,
        replica: &mut Replica,
        peer: NodeId,
        id: u64,
        payload: &[u8],
    ) {
        let Some(request) = self.peers.close(&mut self.ctx, id, peer) else {
            self.ctx.out.count_in(MessageKind::Other, payload.len());
            return self.ctx.out.count_refusal(Refusal::Unasked);
        };
        self.ctx.out.count_in(request.asked.kind(), payload.len());
        let taken = wire::decode(payload, usize::MAX)
            .and_then(|response| self.take_response(replica, request, response));
        match taken {
            Ok(()) => self.peers.request_succeeded(peer),
            Err(reason) => {
                self.ctx.out.refuse(peer, reason);
                self.failed(replica, request, false);
            }
        }
    }

    fn take_response(
        &mut self,
        replica: &mut Replica,
        request: OpenRequest,
        response: Response,
    ) -> Result<(), Refusal> {
        let (peer, incarnation) = (request.peer, response.incarnation);
        let uncommitted = response.uncommitted.clone();
        if let Some(refused) = &response.refused {
            return self.take_refused(request, refused);
        }
        if incarnation.is_some() && !replica.map().may_write(speaker(peer, incarnation)) {
            return Err(Refusal::Ended);
        }
        let Self { ctx, peers, membership, .. } = self;
        match (request.asked, response) {
            (Asked::Compare { seen }, Response { same: Some(same), .. }) => {
                ctx.out.count(Counted::RoundEqual);
                self.hear_equal(replica, peer, (incarnation, &uncommitted), seen, same.synced)
            }
            (Asked::Compare { .. } | Asked::Ask { .. }, Response { state: Some(state), .. }) => {
                self.take_state(replica, request, incarnation, state, &uncommitted)
            }
            (Asked::Pull, Response { page: Some(page), .. }) => {
                self.take_page(replica, speaker(peer, incarnation), page)
            }
            (Asked::Tell, Response { noted: Some(noted), .. }) => {
                self.take_noted(replica, peer, incarnation, &noted, &uncommitted)
            }
            (Asked::Confirm, Response { confirm: Some(answer), .. }) => {
                self.stability.take_answer(ctx, replica.map(), peers, peer, &answer)
            }
            (Asked::Digest | Asked::Tell, Response { taken: Some(_), .. }) => Ok(()),
            (Asked::Number, Response { numbered: Some(numbered), .. }) => {
                membership.take_numbered(peer, &numbered)
            }
            (Asked::Ack { version }, Response { ack: Some(ack), .. }) => {
                self.acks.take_ack(ctx, peers, peer, ack.version, version);
                Ok(())
            }
            _ => Err(Refusal::Unasked),
        }
    }

    /// A peer refused a request. An earlier release refuses the kinds of request that it does not
    /// know, and serves all others.
    fn take_refused(&mut self, request: OpenRequest, refused: &Refused) -> Result<(), Refusal> {
        let peer = request.peer;
        if refused.reason == Refusal::UnknownVersion.label() && self.peers.contains(peer) {
            match request.asked {
                Asked::Confirm => self.peers.set_confirms_nothing(&mut self.ctx, peer),
                Asked::Digest => self.peers.set_takes_no_parts(peer),
                Asked::Number => self.membership.cannot_number(peer),
                _ => return Err(Refusal::RefusedByPeer),
            }
            return Ok(());
        }
        if refused.reason == Refusal::Ended.label() {
            self.told_ended(request.asker);
        }
        if refused.reason == Refusal::SecondProcess.label() {
            self.ctx.out.notify(Notice::SecondProcess);
        }
        Err(Refusal::RefusedByPeer)
    }

    /// The peer's version vector has the hash `asked`, so the peer holds exactly what this node
    /// held when it sent the request. This node may hold more by now. `uncommitted` counts the
    /// versions of each writer that are not on the peer's disk.
    fn hear_equal(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        (incarnation, uncommitted): (Option<u64>, &[u8]),
        asked: u128,
        synced: bool,
    ) -> Result<(), Refusal> {
        let uncommitted = unpack_vector(uncommitted, self.ctx.config.digest_replicas_max)?;
        if uncommitted.is_empty()
            && let Some(incarnation) = self.incarnation_heard(replica, peer, incarnation)
        {
            self.stability.take_promised_hash(incarnation, asked);
        }
        let seen = replica.map().version_vector();
        if seen.digest_hash() == asked {
            self.take_promise(replica, peer, incarnation, &committed_part(&seen, &uncommitted));
            self.hear(replica, peer, seen);
        }
        self.peers.set_equal(peer, synced);
        Ok(())
    }

    fn take_noted(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        incarnation: Option<u64>,
        noted: &Noted,
        uncommitted: &[u8],
    ) -> Result<(), Refusal> {
        if let Some(digest) =
            self.read_digest(peer, incarnation, (&noted.have, uncommitted), noted.part, None)?
        {
            self.take_digest(replica, peer, incarnation, &digest);
        }
        Ok(())
    }

    fn take_state(
        &mut self,
        replica: &mut Replica,
        request: OpenRequest,
        incarnation: Option<u64>,
        state: StateMessage,
        uncommitted: &[u8],
    ) -> Result<(), Refusal> {
        let peer = request.peer;
        self.membership.take_announcements(&mut self.ctx, &self.peers, &state.announcements);
        let compared = match request.asked {
            Asked::Compare { seen } => self.peers.take_compared(peer, seen),
            _ => None,
        };
        if state.differs {
            // If the hashes went along already, this answer would come for ever.
            if compared.is_some() {
                return Err(Refusal::Unasked);
            }
            self.compare_in_buckets(replica, peer);
            return Ok(());
        }
        let Some(have) = state.have else {
            self.peers.set_waits(peer, state.waits);
            if let Asked::Compare { seen } = request.asked {
                self.hear_equal(replica, peer, (incarnation, uncommitted), seen, state.synced)?;
            }
            return Ok(());
        };
        let answer = PeerStatus { synced: state.synced, waits: state.waits };
        let digest = match (state.buckets, compared) {
            (Some(mask), Some(compared)) => {
                Some(self.read_buckets(peer, (&have, uncommitted), mask, &compared)?)
            }
            // The answer to an earlier compare, and this node no longer knows what it held then.
            (Some(_), None) => return Ok(()),
            (None, _) => {
                self.read_digest(peer, incarnation, (&have, uncommitted), state.part, Some(answer))?
            }
        };
        if let Some(digest) = &digest {
            if digest.have != replica.map().version_vector() {
                self.anti_entropy.differed(&self.ctx);
            }
            self.take_digest(replica, peer, incarnation, digest);
            self.take_status(peer, answer);
        }
        let joined = match state.delta {
            Some(bytes) => wire::decode_delta(&bytes)
                .and_then(|delta| self.take_pulled(replica, speaker(peer, incarnation), delta)),
            None => Ok(()),
        };
        self.begin_pulls(replica);
        if let Some(digest) = digest {
            if digest.have == replica.map().version_vector() {
                if replica.state_hash().0 != state.state.0 {
                    self.anti_entropy.diverged(&mut self.ctx, &mut self.peers, peer);
                }
            } else {
                let in_buckets = state.buckets.is_some();
                self.exchange(replica).tell_lacking(peer, &digest.have, in_buckets);
            }
        }
        joined
    }

    /// Takes the status that came with an answer, once the answer's digest is whole.
    pub(super) fn take_status(&mut self, peer: NodeId, status: PeerStatus) {
        self.peers.set_status(peer, status);
        if status.waits && !self.is_synced() {
            self.ctx.timers.set_by(Timer::Retry(peer), self.ctx.now + WAITING_INTERVAL);
        }
    }

    /// Joins cells that `source` sent, or holds them back until they can take effect in one step.
    fn take_pulled(
        &mut self,
        replica: &mut Replica,
        source: ReplicaId,
        delta: Delta,
    ) -> Result<(), Refusal> {
        let is_synced = self.is_synced();
        let Self { ctx, anti_entropy, peers, .. } = self;
        let ready = anti_entropy.take_pulled(ctx, replica.map(), peers, (source, delta), is_synced);
        self.join_all(replica, ready)
    }

    fn take_page(
        &mut self,
        replica: &mut Replica,
        source: ReplicaId,
        page: PageMessage,
    ) -> Result<(), Refusal> {
        let peer = NodeId(source.node);
        let page = self.anti_entropy.take_page(&mut self.ctx, peer, page)?;
        match page.is_repair {
            true => self.repair(replica, page.ready)?,
            false => self.take_pulled(replica, source, page.ready)?,
        }
        if page.is_last {
            self.anti_entropy.finish_pull(replica.map(), &mut self.peers, peer);
            self.begin_pulls(replica);
        } else {
            self.anti_entropy.continue_pull(&mut self.ctx, &mut self.peers, peer);
        }
        Ok(())
    }
}

/// The replica that a peer speaks as. An earlier release does not name its incarnation.
fn speaker(peer: NodeId, incarnation: Option<u64>) -> ReplicaId {
    ReplicaId::new(peer.0, incarnation.unwrap_or_default())
}
