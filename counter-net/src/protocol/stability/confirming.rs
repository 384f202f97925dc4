//! Asks live members to confirm this node's states, and answers them.

use std::time::Duration;

use counter_core::{Replica, ReplicaId};

use super::confirmations::{Agreement, Confirmed, View};
use crate::protocol::context::Timer;
use crate::protocol::input::NodeId;
use crate::protocol::output::Refusal;
use crate::protocol::pull::{Asked, ConnectedPeer};
use crate::protocol::replicator::Replicator;
use crate::protocol::stats::Kind;
use crate::protocol::wire::{ConfirmMessage, Gossip, Request, Response, TargetMessage};

impl Replicator {
    fn view<'a>(&self, replica: &'a Replica) -> View<'a> {
        let (own, mut live, mut leads) = (self.ctx.node(), Vec::new(), true);
        for (node, entry) in
            self.members.iter().filter(|(node, entry)| *node != own && entry.is_live())
        {
            live.push(entry.replica);
            leads &= !entry.synced || node > own;
        }
        View {
            map: replica.map(),
            moved: self.moved(replica),
            live,
            is_synced: self.is_synced(),
            leads,
        }
    }

    /// A number that differs whenever the state moved.
    pub(crate) fn moved(&self, replica: &Replica) -> u64 {
        replica.map().seen_of(self.ctx.own).wrapping_add(self.ctx.out.stats().cells_joined)
    }

    /// How far the live members have confirmed this node's state. See [`Agreement`].
    ///
    /// # Complexity
    /// O(members + writers).
    pub fn agreement(&mut self, replica: &Replica, now: Duration) -> Agreement {
        self.ctx.now = self.ctx.now.max(now);
        let view = self.view(replica);
        let mut agreement = self.confirmations.agreement(&view, self.ctx.now);
        // An earlier release is not asked, so it is not late.
        let is_asked = |incarnation: &ReplicaId| {
            self.peers.get(NodeId(incarnation.node)).is_none_or(|source| source.confirms())
        };
        agreement.late.retain(is_asked);
        agreement
    }

    /// Proposes, confirms and passes on what is due.
    pub(crate) fn confirm(&mut self, replica: &Replica) {
        if self.leaving
            || self.numbering.is_open()
            || !self.confirmations.is_due(self.moved(replica), self.ctx.now)
        {
            return;
        }
        let view = self.view(replica);
        let step = self.confirmations.poll(&view, self.ctx.now, &mut self.ctx.rng);
        if let Some(target) = step.target {
            let gossip = Gossip { target: Some(target), ..Gossip::default() };
            self.ctx.publish_envelope(Kind::Confirm, gossip);
        }
        if step.spreads {
            let peers = self.confirming_peers();
            for (peer, bits) in self.confirmations.spread(&view, &peers, self.ctx.now) {
                self.send(peer, Asked::Confirm, &Request::confirm(bits));
            }
        }
        match self.confirmations.deadline() {
            Some(at) => self.ctx.timers.set(Timer::Confirm, at),
            None => self.ctx.timers.cancel(Timer::Confirm),
        }
    }

    /// The peers that answer and have no open question about bits, in random order.
    fn confirming_peers(&mut self) -> Vec<NodeId> {
        let answers = |(peer, source): (NodeId, &ConnectedPeer)| {
            let answers = source.has_answered() && !source.is_silent() && source.confirms();
            let is_free = answers && !source.rests(self.ctx.now);
            (is_free && !self.awaits(peer, |asked| asked == Asked::Confirm)).then_some(peer)
        };
        let mut peers: Vec<NodeId> = self.peers.iter().filter_map(answers).collect();
        self.ctx.rng.shuffle(&mut peers);
        peers
    }

    pub(crate) fn take_gossiped_target(
        &mut self,
        signer: NodeId,
        target: &TargetMessage,
    ) -> Result<(), Refusal> {
        self.confirmations.take_target(target, Some(signer), self.ctx.now)
    }

    pub(crate) fn serve_confirm(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        message: &ConfirmMessage,
    ) -> Result<Response, Refusal> {
        let (answer, news) = self.confirmations.serve(peer, message, self.ctx.now)?;
        self.note_confirmed(replica, news);
        Ok(Response::confirm(answer))
    }

    pub(crate) fn take_confirmed(
        &mut self,
        replica: &Replica,
        peer: NodeId,
        answer: &ConfirmMessage,
    ) -> Result<(), Refusal> {
        let (news, unknown) = self.confirmations.take_answer(peer, answer, self.ctx.now)?;
        self.note_confirmed(replica, news);
        if let Some(whole) = unknown {
            self.send(peer, Asked::Confirm, &Request::confirm(whole));
        }
        Ok(())
    }

    /// A connected peer that confirmed a target is known to hold it.
    fn note_confirmed(&mut self, replica: &Replica, news: Confirmed) {
        for (node, digest) in news {
            let Some(source) = self.peers.get(node).filter(|source| source.has_answered()) else {
                continue;
            };
            // This is not the peer's own digest: `heard` may hold cells that are only on their way
            // to it.
            let mut heard = source.heard().clone();
            heard.join(&digest);
            let lacks = self.shortfall(replica, &heard);
            self.peers.hear(node, heard, lacks, self.ctx.now);
        }
    }
}
