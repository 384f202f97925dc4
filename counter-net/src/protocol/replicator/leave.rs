//! Takes this node out of the cluster. If it leaves for good, it writes a last statement and waits
//! until a member covers it.

use counter_core::Replica;

use super::Replicator;
use crate::protocol::interface::Notice;
use crate::protocol::peers::Asked;
use crate::protocol::pull::ASKED_AT_ONCE_MAX;

impl Replicator {
    /// Publishes pending amounts, announces the leave, and sends the last cells to the peers.
    pub(super) fn on_leave(&mut self, replica: &mut Replica, for_good: bool) {
        if self.membership.is_leaving() {
            return;
        }
        self.membership.begin_leave();
        self.flush(replica);
        self.membership.announce_leave(&mut self.ctx, &self.peers);
        if for_good {
            self.leave.want(&mut self.ctx);
            self.write_last_statement(replica);
        }
        if !self.leave.has_statement() {
            self.tell_all(replica);
        }
    }

    /// Writes the last statement once this node is synced and every connected peer is recorded, or
    /// the time for that has passed.
    fn write_last_statement(&mut self, replica: &mut Replica) {
        let is_synced = self.is_synced();
        let Self { ctx, leave, peers, membership, .. } = self;
        if !leave.may_write_statement(ctx, replica.map(), peers, membership, is_synced) {
            return;
        }
        self.flush(replica);
        replica.leave();
        self.leave.set_statement(replica.map().version_vector());
        self.publish_own(replica);
        self.ctx.out.notify(Notice::Changed { keys: Vec::new() });
        self.tell_all(replica);
    }

    fn tell_all(&mut self, replica: &Replica) {
        for peer in self.peers.nodes() {
            self.exchange(replica).tell(peer);
        }
    }

    /// Keeps asking members until one is known to cover the last statement.
    pub(super) fn pursue_leave(&mut self, replica: &mut Replica) {
        if !self.leave.look_again(&mut self.ctx) {
            return;
        }
        if !self.leave.has_statement() {
            return self.write_last_statement(replica);
        }
        let mut peers = self.leave.successors(replica.map(), &self.peers, &self.membership);
        self.ctx.rng.shuffle(&mut peers);
        for peer in peers.into_iter().take(ASKED_AT_ONCE_MAX) {
            if !self.peers.awaits(peer, Asked::tells_digest) {
                self.exchange(replica).ask_digest(peer);
            }
        }
    }

    /// After [`Input::Leave`](crate::protocol::Input::Leave), true once every peer that still
    /// answers has all that this replica wrote. If it leaves for good, true once a member that
    /// stays covers its last statement, or none is left that could.
    pub fn is_drained(&self, replica: &Replica) -> bool {
        if !self.leave.is_wanted() {
            return self.has_handed_over(replica);
        }
        let map = replica.map();
        let has_nobody = || {
            self.leave.has_statement()
                && self.leave.successors(map, &self.peers, &self.membership).is_empty()
        };
        self.leave.is_over() || map.is_ended(self.ctx.own) || has_nobody()
    }

    fn has_handed_over(&self, replica: &Replica) -> bool {
        let own = replica.map().seen_of(self.ctx.own);
        !replica.has_pending()
            && self
                .peers
                .iter()
                .all(|(_, peer)| peer.failures() > 0 || peer.holds(self.ctx.own) >= own)
    }

    /// After [`Input::Leave`](crate::protocol::Input::Leave) for good, true once a member that
    /// stays has confirmed all that this replica held. Stays false if the leave is over because no
    /// such member is left.
    pub fn is_leave_covered(&self) -> bool {
        self.leave.is_covered()
    }
}
