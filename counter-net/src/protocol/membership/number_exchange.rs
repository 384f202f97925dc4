//! Asks peers for the numbers of this node that they know, answers such questions, and settles the
//! number.

use std::time::Duration;

use counter_core::{Replica, ReplicaId, VersionVector};

use super::numbering::LATEST_MAX;
use crate::protocol::input::NodeId;
use crate::protocol::output::{Notice, Refusal};
use crate::protocol::pull::Asked;
use crate::protocol::replicator::Replicator;
use crate::protocol::wire::{Hash, Id, pack_vector};
use crate::protocol::wire::{NumberAsk, Numbered, Request, Response, StateMessage};

/// After this time, a node without synced peers no longer waits for peers that were found and do
/// not answer. By then a dial has failed or succeeded, and a discovery that says nothing is out of
/// order.
const PATIENCE: Duration = Duration::from_secs(30);

impl Replicator {
    /// Says that no disk remembers the numbers of this node's incarnations. Peers are asked before
    /// they hear of this one. Call it before the first input.
    pub fn ask_for_number(&mut self) {
        self.numbering.open();
    }

    pub(crate) fn send_number_ask(&mut self, peer: NodeId) {
        if !self.awaits(peer, |asked| asked == Asked::Number) {
            self.send(
                peer,
                Asked::Number,
                &Request::number(NumberAsk { replica: Id(self.ctx.own) }),
            );
        }
    }

    /// Answers with the latest incarnation of the peer's node that is known here, beside the one
    /// that asks.
    pub(crate) fn serve_number(
        &self,
        replica: &Replica,
        peer: NodeId,
        ask: &NumberAsk,
    ) -> Result<Response, Refusal> {
        let asking = ask.replica.0;
        if asking.node != peer.0 {
            return Err(Refusal::ForgedWriter);
        }
        let announced = self
            .members
            .get(peer)
            .map(|entry| entry.replica)
            .filter(|incarnation| *incarnation != asking);
        let latest = replica
            .map()
            .latest_beside(asking)
            .max(announced)
            .map_or(0, |incarnation| incarnation.incarnation);
        Ok(Response::numbered(Numbered { latest, synced: self.is_synced() }))
    }

    /// The answer to a peer that asks before the number is settled: nothing is here, and it is
    /// worth waiting.
    pub(crate) fn unnumbered(&self) -> Response {
        Response::state(StateMessage {
            have: Some(pack_vector(&VersionVector::new())),
            part: None,
            state: Hash(0),
            synced: false,
            waits: true,
            announcements: Vec::new(),
            delta: None,
        })
    }

    pub(crate) fn take_numbered(&mut self, peer: NodeId, said: &Numbered) -> Result<(), Refusal> {
        if said.latest > LATEST_MAX {
            return Err(Refusal::Malformed);
        }
        self.numbering.hear(said.latest);
        self.numbering.answer(peer, said.synced);
        Ok(())
    }

    /// An earlier release knows no names, so it has nothing more to say.
    pub(crate) fn cannot_number(&mut self, peer: NodeId) {
        self.numbering.answer(peer, true);
    }

    /// Settles the number once enough peers have answered.
    pub(crate) fn settle_number(&mut self, replica: &mut Replica) {
        if !self.numbering.is_open() || self.has_stated_leave() || !self.has_number_answers() {
            return;
        }
        self.numbering.close();
        let above =
            ReplicaId::new(self.ctx.own.node, self.numbering.latest()).follows().incarnation;
        if self.numbering.latest() > 0 && self.ctx.own.incarnation < above {
            self.renumber(
                replica,
                ReplicaId {
                    incarnation: above | self.ctx.own.incarnation & u64::from(u32::MAX),
                    ..self.ctx.own
                },
            );
        }
        self.publisher.start_again();
        for peer in self.peers.nodes().collect::<Vec<_>>() {
            self.ask(replica, peer);
        }
        self.announce_soon();
        self.look_for_ended();
    }

    fn has_number_answers(&self) -> bool {
        let has_answered = |peer| self.numbering.has_answered(peer);
        let all = self.peers.iter().all(|(peer, source)| has_answered(peer) || source.has_failed());
        let any = self.peers.nodes().any(has_answered);
        self.numbering.is_sure()
            || (any
                && all
                && (!self.bootstrap.expects_peers() || self.ctx.now >= self.ctx.started + PATIENCE))
    }

    /// Renews this incarnation if a later one of this node is known. No peer that was asked knew of
    /// it, so the clock was set back. The new incarnation goes above the later one and claims both.
    /// If a disk remembers the numbers, the later one is another process instead, and is left
    /// alone.
    pub(crate) fn look_for_later(&mut self, replica: &Replica) {
        let is_later = |incarnation: ReplicaId| {
            incarnation.node == self.ctx.own.node
                && incarnation.incarnation > self.ctx.own.incarnation
        };
        if self.numbering.asks()
            && !self.numbering.is_open()
            && replica.map().enrolled().any(is_later)
        {
            self.retirement.want_renewal();
        }
    }

    fn renumber(&mut self, replica: &mut Replica, incarnation: ReplicaId) {
        if !replica.rename(incarnation) {
            return;
        }
        let from = std::mem::replace(&mut self.ctx.own, incarnation);
        self.members.renew(incarnation);
        self.publisher.renew(replica);
        self.snapshots.start_again();
        self.confirmations.renew(incarnation);
        self.ctx.out.notify(Notice::Renumbered { from, replica: incarnation });
    }

    /// True while cells of peers have to wait: they might end this incarnation before it has its
    /// number.
    pub(crate) fn waits_for_number(&self) -> bool {
        self.numbering.is_open() && !self.peers.is_empty()
    }
}
