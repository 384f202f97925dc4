//! Local changes: a flush turns pending amounts into cells, which go out as gossip.

use counter_core::{Replica, Span};

use super::Replicator;

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
