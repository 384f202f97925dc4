//! The number of this node's incarnation, if no disk remembers the numbers before it.
//!
//! A node with a name and no directory draws a number from its clock. The clock may have been set
//! back, or two starts may fall into one second. A number at or below a folded one would lose all
//! that is counted under it. So before anything of this incarnation leaves the node, peers say
//! which numbers of the node they know, and the incarnation takes a higher one.
//!
//! Invariant: while the number is open, nobody else holds anything of this incarnation, so it may
//! still change. A synced peer's answer settles it. If no peer is synced, the answers of all
//! connected peers do.

use std::collections::BTreeSet;
use std::time::Duration;

use counter_core::{Replica, ReplicaId, VersionVector};

use crate::protocol::input::NodeId;
use crate::protocol::output::{Notice, Refusal};
use crate::protocol::pull::Asked;
use crate::protocol::replicator::Replicator;
use crate::protocol::wire::{Hash, Id, pack_vector};
use crate::protocol::wire::{NumberAsk, Numbered, Request, Response, StateMessage};

/// The greatest number that a peer may name. No clock gives a greater one, and there must be room
/// above it.
const LATEST_MAX: u64 = u64::MAX >> 1;

/// After this time, a node without synced peers no longer waits for peers that were found and do
/// not answer. By then a dial has failed or succeeded, and a discovery that says nothing is out of
/// order.
const PATIENCE: Duration = Duration::from_secs(30);

/// The state of this incarnation's number: open or settled, and the answers of peers.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    /// No disk remembers the numbers before this one.
    asks: bool,
    is_open: bool,
    /// The greatest number of this node that a peer named.
    latest: u64,
    /// A synced peer has answered.
    is_sure: bool,
    answered: BTreeSet<NodeId>,
}

impl Numbering {
    /// True while the number may still change. Nothing of this incarnation leaves the node
    /// meanwhile.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// True if no disk remembers the numbers of this node, so that its own may turn out too low.
    pub(crate) fn asks(&self) -> bool {
        self.asks
    }

    /// A member named a number of this node.
    pub(crate) fn hear(&mut self, latest: u64) {
        self.latest = self.latest.max(latest.min(LATEST_MAX));
    }

    fn answer(&mut self, peer: NodeId, is_synced: bool) {
        self.answered.insert(peer);
        self.is_sure |= is_synced;
    }
}

impl Replicator {
    /// Says that no disk remembers the numbers of this node's incarnations. Peers are asked before
    /// they hear of this one. Call it before the first input.
    pub fn ask_for_number(&mut self) {
        (self.numbering.asks, self.numbering.is_open) = (true, true);
    }

    pub(crate) fn send_number_ask(&mut self, peer: NodeId) {
        if !self.awaits(peer, |asked| asked == Asked::Number) {
            self.send(peer, Asked::Number, &Request::number(NumberAsk { replica: Id(self.own) }));
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
        if !self.numbering.is_open || self.has_stated_leave() || !self.has_number_answers() {
            return;
        }
        self.numbering.is_open = false;
        let above = ReplicaId::new(self.own.node, self.numbering.latest).follows().incarnation;
        if self.numbering.latest > 0 && self.own.incarnation < above {
            self.renumber(
                replica,
                ReplicaId {
                    incarnation: above | self.own.incarnation & u64::from(u32::MAX),
                    ..self.own
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
        let has_answered = |peer| self.numbering.answered.contains(&peer);
        let all = self.peers.iter().all(|(peer, source)| has_answered(peer) || source.has_failed());
        let any = self.peers.nodes().any(has_answered);
        self.numbering.is_sure
            || (any
                && all
                && (!self.bootstrap.expects_peers() || self.now >= self.started + PATIENCE))
    }

    /// Renews this incarnation if a later one of this node is known. No peer that was asked knew of
    /// it, so the clock was set back. The new incarnation goes above the later one and claims both.
    /// If a disk remembers the numbers, the later one is another process instead, and is left
    /// alone.
    pub(crate) fn look_for_later(&mut self, replica: &Replica) {
        let is_later = |incarnation: ReplicaId| {
            incarnation.node == self.own.node && incarnation.incarnation > self.own.incarnation
        };
        if self.numbering.asks && !self.numbering.is_open && replica.map().enrolled().any(is_later)
        {
            self.retirement.want_renewal();
        }
    }

    fn renumber(&mut self, replica: &mut Replica, incarnation: ReplicaId) {
        if !replica.rename(incarnation) {
            return;
        }
        let from = std::mem::replace(&mut self.own, incarnation);
        self.members.renew(incarnation);
        self.publisher.renew(replica);
        self.snapshots.start_again();
        self.confirmations.renew(incarnation);
        self.out.notify(Notice::Renumbered { from, replica: incarnation });
    }

    /// True while cells of peers have to wait: they might end this incarnation before it has its
    /// number.
    pub(crate) fn waits_for_number(&self) -> bool {
        self.numbering.is_open && !self.peers.is_empty()
    }
}
