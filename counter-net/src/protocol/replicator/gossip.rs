//! Gossip, out and in. Local changes are flushed to cells, which go out. What others gossip is
//! checked, and then taken, kept for later or refused.

use counter_core::{Replica, Span};

use super::Replicator;
use crate::protocol::interface::{Acceptance, Counted, MessageKind, NodeId, Refusal};
use crate::protocol::wire::{self, GossipMessage, is_delta};

/// Gossip of this node.
impl Replicator {
    /// Flushes pending amounts at once if the flush interval has passed, or else when it has.
    pub(super) fn on_local_change(&mut self, replica: &mut Replica) {
        if self.gossip.may_flush(&self.ctx) {
            self.flush(replica);
        } else {
            self.gossip.flush_soon(&mut self.ctx);
        }
    }

    /// Flushes pending amounts. Does nothing once this node has written its last statement, because
    /// no node takes anything that it writes afterwards.
    pub(super) fn flush(&mut self, replica: &mut Replica) {
        if self.leave.has_statement() {
            return;
        }
        let flushed = self.gossip.flush(&self.ctx, replica);
        self.acks.flushed(replica.map().seen_of(self.ctx.own));
        self.publish_flushed(replica, flushed.span);
        self.ctx.out.changed(flushed.changed);
        if replica.has_pending() {
            self.gossip.flush_soon(&mut self.ctx);
        }
    }

    /// Publishes the own cells that were not published yet.
    pub(super) fn publish_own(&mut self, replica: &Replica) {
        self.publish_flushed(replica, None);
    }

    /// Nothing of an incarnation goes out while its number is open.
    fn publish_flushed(&mut self, replica: &Replica, flushed: Option<Span>) {
        if !self.membership.numbering().is_open() {
            let Self { ctx, gossip, peers, committed, .. } = self;
            gossip.publish_own(ctx, replica, flushed, peers, committed);
        }
    }

    /// Announces this node. The record of a node that has counted nothing yet goes out before.
    /// Otherwise it would spread by pulls alone.
    pub(super) fn on_announce(&mut self, replica: &Replica) {
        if self.gossip.is_unpublished() && !self.peers.is_empty() {
            self.publish_own(replica);
        }
        self.membership.announce(&mut self.ctx, &self.peers);
    }
}

/// Gossip of others.
impl Replicator {
    pub(super) fn on_gossip(
        &mut self,
        replica: &mut Replica,
        token: u64,
        signer: NodeId,
        payload: &[u8],
    ) {
        let acceptance = match self.take_gossip(replica, signer, payload) {
            Ok(()) => Acceptance::Accept,
            // Nobody is to blame for a later release, or for a bound of this node.
            Err(reason @ (Refusal::UnknownVersion | Refusal::JoinRefused)) => {
                self.ctx.out.count_refusal(reason);
                Acceptance::Ignore
            }
            Err(reason) => {
                self.ctx.out.refuse(signer, reason);
                Acceptance::Reject
            }
        };
        self.ctx.out.validated(token, acceptance);
    }

    fn take_gossip(
        &mut self,
        replica: &mut Replica,
        signer: NodeId,
        payload: &[u8],
    ) -> Result<(), Refusal> {
        if is_delta(payload) {
            return self.take_delta(replica, signer, payload);
        }
        let read = wire::decode(payload, self.ctx.config.payload_bytes_max);
        let is_target = read.as_ref().is_ok_and(|message: &GossipMessage| message.target.is_some());
        let kind = if is_target { MessageKind::Confirm } else { MessageKind::GossipPresence };
        let message = self.counted(kind, payload, read)?;
        let Self { ctx, peers, membership, .. } = self;
        if let Some(said) = message.announcement {
            membership.take_signed(ctx, peers, signer, &said)?;
        }
        if let Some(suspicion) = message.suspicion {
            membership.take_suspicion(ctx, peers, &suspicion);
        }
        if let Some(target) = message.target {
            self.stability.take_target(ctx, signer, &target)?;
        }
        Ok(())
    }

    /// Counts a message under its kind, or under none if it could not be read.
    fn counted<T>(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        read: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.ctx.out.count_in(if read.is_ok() { kind } else { MessageKind::Other }, payload.len());
        read
    }

    /// Takes gossiped cells. They are accepted only from their writer's node.
    fn take_delta(
        &mut self,
        replica: &mut Replica,
        signer: NodeId,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let read = wire::check_length(bytes, self.ctx.config.payload_bytes_max)
            .and_then(|()| wire::decode_delta(bytes));
        let mut delta = self.counted(MessageKind::GossipDelta, bytes, read)?;
        if delta.replicas().any(|writer| writer.node != signer.0) {
            return Err(Refusal::ForgedWriter);
        }
        if delta.has_open_part() {
            return Err(Refusal::Malformed);
        }
        // The cells of an ended incarnation come from members, and never from a late message of its
        // own.
        delta.retain(|writer| replica.map().may_write(writer));
        if delta.is_empty() {
            self.ctx.out.count(Counted::EndedIgnored);
            return Ok(());
        }
        self.join_or_wait(replica, signer, delta, bytes.len())
    }
}
