//! Handles peers that come, go, fail and are asked again. Begins the rounds, and asks about gaps.

use counter_core::Replica;

use super::Replicator;
use crate::protocol::interface::{Counted, NodeId};
use crate::protocol::peers::{Asked, OpenRequest};
use crate::protocol::pull::{AntiEntropy, DigestExchange};

impl Replicator {
    /// Borrows the machines that describe this node in a message with its digest.
    pub(super) fn exchange<'a>(&'a mut self, replica: &'a Replica) -> DigestExchange<'a> {
        let Self { ctx, peers, membership, gossip, committed, leave, .. } = self;
        DigestExchange { ctx, peers, replica, membership, gossip, committed, leave }
    }

    /// Begins every pull that is needed and has room.
    pub(super) fn begin_pulls(&mut self, replica: &Replica) {
        let Self { ctx, peers, membership, gossip, committed, leave, anti_entropy, .. } = self;
        anti_entropy.begin_pulls(&mut DigestExchange {
            ctx,
            peers,
            replica,
            membership,
            gossip,
            committed,
            leave,
        });
    }

    /// Compares hashes with a peer.
    pub(super) fn compare(&mut self, replica: &mut Replica, peer: NodeId) {
        let (state, at_once) = (replica.state_hash(), self.anti_entropy.is_differing(&self.ctx));
        self.exchange(replica).compare(peer, state, at_once);
    }

    /// Sends a peer the hashes of this node's buckets.
    pub(super) fn compare_in_buckets(&mut self, replica: &mut Replica, peer: NodeId) {
        let state = replica.state_hash();
        self.exchange(replica).compare(peer, state, true);
    }

    pub(super) fn on_peer_up(&mut self, replica: &Replica, peer: NodeId) {
        if peer == self.node() || !self.peers.up(peer) {
            return;
        }
        self.membership.absolve_connected(&mut self.ctx, &self.peers, peer);
        if self.peers.len() == 1 {
            self.membership.first_peer_up(&mut self.ctx);
        }
        self.exchange(replica).ask(peer);
    }

    pub(super) fn on_peer_down(&mut self, replica: &Replica, peer: NodeId) {
        self.acks.peer_down(&self.ctx, &self.peers, &self.membership, peer);
        if !self.peers.down(&mut self.ctx, peer) {
            return;
        }
        self.refuse_deferred(peer);
        self.stability.peer_down(peer);
        self.anti_entropy.abandon(&mut self.ctx, peer);
        if !self.membership.is_leaving() {
            self.membership.watch_lost(&mut self.ctx, peer);
            self.membership.dial_soon(&mut self.ctx);
        }
        self.begin_pulls(replica);
    }

    /// A peer fell silent. It is suspected as if its connection were lost, unless it says something
    /// first.
    pub(super) fn on_peer_silent(&mut self, peer: NodeId) {
        if !self.membership.is_leaving() && self.peers.fell_silent(peer) {
            self.membership.watch_lost(&mut self.ctx, peer);
        }
    }

    pub(super) fn on_peer_heard(&mut self, peer: NodeId) {
        if self.peers.spoke(peer) {
            self.membership.absolve_connected(&mut self.ctx, &self.peers, peer);
        }
    }

    /// One round with one random peer: a compare of hashes, or an ask if no ask was answered yet.
    pub(super) fn on_round(&mut self, replica: &mut Replica) {
        AntiEntropy::set_next_round(&mut self.ctx);
        self.gossip.drop_overdue(&self.ctx);
        self.begin_pulls(replica);
        let Some(node) = self.peers.random_free(&mut self.ctx) else { return };
        self.ctx.out.count(Counted::Round);
        match self.has_answered_ask(node) {
            true => self.compare(replica, node),
            false => self.exchange(replica).ask(node),
        }
    }

    /// True if a peer has answered an ask. Its digest may have come with a request of its own, but
    /// only its answer says whether it is synced and waits.
    fn has_answered_ask(&self, node: NodeId) -> bool {
        self.peers.get(node).is_some_and(|peer| peer.has_digest() && peer.answered_ask())
    }

    /// Gossip did not bring the predecessor of a waiting delta. It is pulled from a peer that is
    /// known to have it, else one random peer is asked.
    pub(super) fn on_gap(&mut self, replica: &mut Replica) {
        self.begin_pulls(replica);
        let is_unpulled = |writer| !self.anti_entropy.is_pulling(&self.ctx, writer);
        if self.gossip.waiting_writers().into_iter().any(is_unpulled)
            && let Some(peer) = self.peers.random_free(&mut self.ctx)
        {
            self.gossip.asked(&self.ctx);
            let is_long = replica.map().replicas().count() >= self.ctx.config.bucketed_min;
            match self.has_answered_ask(peer) && is_long {
                true => self.compare_in_buckets(replica, peer),
                false => self.exchange(replica).ask(peer),
            }
        }
    }

    /// A peer that rested may be asked again.
    pub(super) fn on_retry(&mut self, replica: &Replica, node: NodeId) {
        self.anti_entropy.continue_pull(&mut self.ctx, &mut self.peers, node);
        match self.peers.get(node) {
            Some(peer) if !peer.is_pulled() || !(peer.is_synced() || self.is_synced()) => {
                self.exchange(replica).ask(node)
            }
            _ => self.begin_pulls(replica),
        }
    }

    pub(super) fn on_request_failed(&mut self, replica: &Replica, peer: NodeId, id: u64) {
        if let Some(request) = self.peers.close(&mut self.ctx, id, peer) {
            self.failed(replica, request, true);
        }
    }

    pub(super) fn on_overdue(&mut self, replica: &Replica, id: u64) {
        if let Some(request) = self.peers.close_overdue(&mut self.ctx, id) {
            self.failed(replica, request, false);
        }
    }

    /// A request failed. The work that it was for continues elsewhere, or later at the same peer if
    /// `resume`.
    pub(super) fn failed(&mut self, replica: &Replica, request: OpenRequest, resume: bool) {
        if request.asked == Asked::Digest {
            // The peer asks again if it misses a part. A digest of many parts must not count as
            // many failures.
            return;
        }
        self.anti_entropy.request_failed(&mut self.ctx, &mut self.peers, request, resume);
        self.begin_pulls(replica);
    }
}
