//! Continues this node as another incarnation, if its own was ended or its number was taken.

use counter_core::{Replica, ReplicaId};

use super::Replicator;
use crate::protocol::interface::{Counted, Notice, RenewalCause};
use crate::protocol::retirement::Retirement;

impl Replicator {
    /// Continues as a new writer. This incarnation was ended by others, another process writes
    /// under its id, or a second process ran above it.
    pub(super) fn renew(&mut self, replica: &mut Replica) {
        let own = self.ctx.own;
        let numbers = replica
            .map()
            .replicas()
            .filter(|incarnation| incarnation.node == own.node)
            .map(|incarnation| incarnation.incarnation);
        let latest = ReplicaId { incarnation: numbers.fold(own.incarnation, u64::max), ..own };
        let number = latest.next_incarnation().incarnation | u64::from(self.ctx.rng.u32(..));
        let cause = match replica.map().is_ended(own) {
            true => RenewalCause::Ended,
            false if self.is_below_ended(replica) => RenewalCause::LaterOneEnded,
            false => RenewalCause::TwoWriters,
        };
        let incarnation = ReplicaId { incarnation: number, ..own };
        let Ok(changed) = replica.renew(incarnation) else { return };
        // Nobody else writes as the one before.
        if cause == RenewalCause::LaterOneEnded {
            replica.claim(own);
        }
        self.ctx.out.changed(changed);
        self.ctx.out.notify(Notice::Changed { keys: Vec::new() });
        self.become_incarnation(replica, incarnation);
        self.retirement = Retirement::default();
        self.ctx.out.count(Counted::Renewal);
        self.ctx.out.notify(Notice::Renewed { replica: incarnation, cause });
        self.publish_own(replica);
        self.membership.announce_soon(&mut self.ctx);
        // Nobody knows this incarnation yet. Each peer gets its record with the next question.
        for peer in self.peers.nodes() {
            self.exchange(replica).ask_digest(peer);
        }
        self.incarnations_changed(replica);
    }

    /// Settles the number of this incarnation once enough peers have answered, and introduces it to
    /// them.
    pub(super) fn settle_number(&mut self, replica: &mut Replica) {
        if self.leave.has_statement() {
            return;
        }
        let expects_peers = self.bootstrap.expects_peers();
        let settled = self.membership.settle_number(&self.ctx, &self.peers, expects_peers);
        let Some(incarnation) = settled else { return };
        let from = self.ctx.own;
        if incarnation != from && replica.rename(incarnation) {
            self.become_incarnation(replica, incarnation);
            self.ctx.out.notify(Notice::Renumbered { from, replica: incarnation });
        }
        self.gossip.start_again();
        for peer in self.peers.nodes() {
            self.exchange(replica).ask(peer);
        }
        self.membership.announce_soon(&mut self.ctx);
        self.retirement.look_again(&mut self.ctx);
    }

    fn become_incarnation(&mut self, replica: &Replica, incarnation: ReplicaId) {
        self.ctx.own = incarnation;
        self.membership.renew(incarnation);
        self.gossip.renew(replica);
        self.stability.renew(incarnation);
    }

    /// A member says that the incarnation that asked it has ended. If that is still this one, a
    /// leaver is done, and any other node continues as a new incarnation.
    pub(super) fn told_ended(&mut self, asker: ReplicaId) {
        if asker == self.ctx.own {
            self.leave.claimed();
            if !self.membership.is_leaving() {
                self.retirement.want_renewal();
            }
        }
    }

    /// True if a second process ran under this node's identity and has ended. It started later, and
    /// a node's incarnations are folded in order, so this one has to end too.
    pub(super) fn is_below_ended(&self, replica: &Replica) -> bool {
        let own = self.ctx.own;
        let is_later =
            |other: &ReplicaId| other.node == own.node && other.incarnation > own.incarnation;
        replica.map().replicas().filter(is_later).any(|later| replica.map().is_ended(later))
    }
}
