//! The number of this node's incarnation, if no disk remembers the numbers before it.
//!
//! A node with a name and no directory draws a number from its clock. The clock may have been set
//! back, or two starts may fall into one second. Everything counted under a number at or below a
//! folded one would be lost. So before anything of this incarnation leaves the node, peers say
//! which numbers of the node they know, and the incarnation takes a higher one.

use std::collections::BTreeSet;
use std::time::Duration;

use counter_core::ReplicaId;

use crate::protocol::context::Context;
use crate::protocol::interface::{NodeId, Refusal};
use crate::protocol::peers::Peers;
use crate::protocol::wire::Numbered;

/// The greatest number that a peer may name. No clock gives a greater one, and there must be room
/// above it.
const LATEST_MAX: u64 = u64::MAX >> 1;
/// After this time, a node without synced peers no longer waits for peers that were found and do
/// not answer. By then every dial has failed or succeeded, and a discovery that has not answered is
/// broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// The state of this incarnation's number: open or settled, and the answers of peers.
///
/// Invariant: while the number is open, nobody else holds anything of this incarnation, so it may
/// still change. A synced peer's answer settles it. If no peer is synced, the answers of all
/// connected peers do.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    /// No disk remembers the numbers before this one.
    asks: bool,
    is_open: bool,
    /// The greatest number of this node that a peer named; 0 for none.
    latest: u64,
    /// A synced peer has answered.
    is_sure: bool,
    answered: BTreeSet<NodeId>,
}

impl Numbering {
    /// No disk remembers the numbers before this one, so it is open until peers have answered.
    pub(super) fn open(&mut self) {
        (self.asks, self.is_open) = (true, true);
    }

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
    pub(super) fn hear(&mut self, latest: u64) {
        self.latest = self.latest.max(latest.min(LATEST_MAX));
    }

    /// Takes a peer's answer.
    ///
    /// # Errors
    /// It names a number that no incarnation can have.
    pub(super) fn take(&mut self, peer: NodeId, said: &Numbered) -> Result<(), Refusal> {
        if said.latest > LATEST_MAX {
            return Err(Refusal::Malformed);
        }
        self.hear(said.latest);
        self.answer(peer, said.synced);
        Ok(())
    }

    /// A peer has answered, or has nothing to say.
    pub(super) fn answer(&mut self, peer: NodeId, is_synced: bool) {
        self.answered.insert(peer);
        self.is_sure |= is_synced;
    }

    /// Settles the number if enough peers have answered, and returns the incarnation under it.
    /// `expects_peers` is true while peers may turn up that are not connected yet.
    pub(super) fn settle(
        &mut self,
        ctx: &Context,
        peers: &Peers,
        expects_peers: bool,
    ) -> Option<ReplicaId> {
        if !self.is_open || !self.has_answers(ctx, peers, expects_peers) {
            return None;
        }
        self.is_open = false;
        let own = ctx.own;
        let above = ReplicaId::new(own.node, self.latest).next_incarnation().incarnation;
        let is_too_low = self.latest > 0 && own.incarnation < above;
        let number = above | own.incarnation & u64::from(u32::MAX);
        Some(if is_too_low { ReplicaId { incarnation: number, ..own } } else { own })
    }

    fn has_answers(&self, ctx: &Context, peers: &Peers, expects_peers: bool) -> bool {
        let has_answered = |node| self.answered.contains(&node);
        let any = peers.iter().any(|(node, _)| has_answered(node));
        let all = peers.iter().all(|(node, peer)| has_answered(node) || peer.has_failed());
        let is_patient = expects_peers && ctx.now < ctx.started + PATIENCE;
        self.is_sure || (any && all && !is_patient)
    }
}
