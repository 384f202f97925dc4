//! Claims ended incarnations, takes the successor's steps, and cleans up after removals.

use counter_core::{Replica, ReplicaId, Version, VersionVector};

use super::Replicator;
use crate::protocol::interface::{Notice, RetireError};
use crate::protocol::promises::WaitingWork;
use crate::protocol::retirement::{Retirement, TakeOver};

/// Claims.
impl Replicator {
    /// Claims an incarnation that an operator says is lost for good. Feed
    /// [`Input::LocalChange`](crate::protocol::Input::LocalChange) afterwards.
    ///
    /// # Errors
    /// As [`force_retire`](Self::force_retire), and `Recent` if it was heard from within the last
    /// ten minutes. Nothing changed.
    pub fn retire(&mut self, replica: &mut Replica, ended: ReplicaId) -> Result<(), RetireError> {
        Retirement::may_retire(&self.ctx, replica.map(), &self.membership, ended, false)?;
        self.claim_node(replica, ended);
        Ok(())
    }

    /// As [`retire`](Self::retire), however recently the incarnation was heard from. Adds that no
    /// other node holds are lost.
    ///
    /// # Errors
    /// The incarnation is not known, is this replica's own, has ended already, or is live. Nothing
    /// changed.
    pub fn force_retire(
        &mut self,
        replica: &mut Replica,
        ended: ReplicaId,
    ) -> Result<(), RetireError> {
        Retirement::may_retire(&self.ctx, replica.map(), &self.membership, ended, true)?;
        self.claim_node(replica, ended);
        Ok(())
    }

    /// Claims an earlier incarnation of this node, which has ended, even if it is unknown here. If
    /// it left and held more than this node, the claim waits until all of that is here. Feed
    /// [`Input::LocalChange`](crate::protocol::Input::LocalChange) afterwards.
    pub fn claim_earlier(&mut self, replica: &mut Replica, earlier: ReplicaId) {
        if earlier != self.ctx.own
            && !replica.map().is_ended(earlier)
            && replica.map().covers_final_of(earlier)
        {
            self.claim(replica, earlier);
        }
    }

    /// A leaver that runs an earlier release held `have` and names this node as its successor.
    pub(super) fn take_named_successor(
        &mut self,
        replica: &mut Replica,
        from: ReplicaId,
        successor: ReplicaId,
        have: &VersionVector,
    ) {
        let map = replica.map();
        let covers = have.iter().all(|(writer, version)| map.counted_up_to(writer) >= version);
        let is_meant = successor == self.ctx.own && from != self.ctx.own;
        if is_meant && covers && self.is_synced() && !self.membership.is_leaving() {
            self.claim_node(replica, from);
        }
    }

    /// Claims an incarnation, and the earlier ones of its node that it had no time to claim. A
    /// node's incarnations are folded in order.
    fn claim_node(&mut self, replica: &mut Replica, ended: ReplicaId) {
        let is_before = |incarnation: &ReplicaId| {
            incarnation.node == ended.node
                && incarnation.incarnation < ended.incarnation
                && *incarnation != self.ctx.own
                && !self.membership.is_live(*incarnation)
        };
        let before: Vec<ReplicaId> = replica.map().enrolled().filter(is_before).collect();
        before.into_iter().chain([ended]).for_each(|incarnation| self.claim(replica, incarnation));
    }

    fn claim(&mut self, replica: &mut Replica, ended: ReplicaId) {
        if replica.claim(ended).is_some() {
            self.publish_own(replica);
            // No value changed, but the store needs to know.
            self.ctx.out.notify(Notice::Changed { keys: Vec::new() });
            self.incarnations_changed(replica);
        }
    }

    /// Claims those of these incarnations whose last statement this node covers.
    fn claim_covered(&mut self, replica: &mut Replica, incarnations: Vec<ReplicaId>) {
        for incarnation in incarnations {
            if replica.map().covers_final_of(incarnation) {
                self.claim(replica, incarnation);
            }
        }
    }

    /// Claims incarnations that left, and those whose claimants have all ended, if it is this
    /// node's turn.
    fn claim_waiting(&mut self, replica: &mut Replica) {
        if self.retirement.is_stale() {
            self.retirement.look_up_claims(&mut self.ctx, replica.map());
            self.claim_own_earlier(replica);
            self.look_for_later(replica);
        }
        if self.is_synced() && !replica.map().is_ended(self.ctx.own) {
            let due = self.retirement.claimable(&self.ctx, &self.membership);
            self.claim_covered(replica, due);
        }
    }

    /// Claims the earlier incarnations of this node, which ended when this one started. A start
    /// from a directory claims those that it remembers. Other nodes may know of more, if the disk
    /// was set back or the node has a name and no disk.
    fn claim_own_earlier(&mut self, replica: &mut Replica) {
        let (own, numbering) = (self.ctx.own, self.membership.numbering());
        // Without a name and a disk this node has no past.
        let has_past = numbering.asks() || self.committed.promised().is_some();
        if !has_past || !self.is_synced() || numbering.is_open() || replica.map().is_ended(own) {
            return;
        }
        let is_earlier = |incarnation: &ReplicaId| {
            incarnation.node == own.node
                && incarnation.incarnation < own.incarnation
                && replica.map().covers_final_of(*incarnation)
        };
        let earlier: Vec<ReplicaId> = replica.map().enrolled().filter(is_earlier).collect();
        earlier.into_iter().for_each(|incarnation| self.claim(replica, incarnation));
    }

    /// Renews this incarnation if a later one of this node is known. No peer that was asked knew of
    /// it, so the clock was set back. The new incarnation goes above the later one and claims both.
    /// If a disk remembers the numbers, the later one is another process instead, and is left
    /// alone.
    fn look_for_later(&mut self, replica: &Replica) {
        let (own, numbering) = (self.ctx.own, self.membership.numbering());
        let is_later = |incarnation: ReplicaId| {
            incarnation.node == own.node && incarnation.incarnation > own.incarnation
        };
        if numbering.asks() && !numbering.is_open() && replica.map().enrolled().any(is_later) {
            self.retirement.want_renewal();
        }
    }

    /// Claims an incarnation again if all that claimed it have ended. This must happen before a
    /// claimant is absorbed. The claimant's record says that the incarnation ended, and goes with
    /// the claimant. Returns true if something was claimed.
    fn claim_for_the_ended(&mut self, replica: &mut Replica) -> bool {
        let mut open = replica.map().without_successor();
        open.retain(|incarnation| {
            *incarnation != self.ctx.own && replica.map().covers_final_of(*incarnation)
        });
        let is_any = !open.is_empty();
        open.into_iter().for_each(|incarnation| self.claim(replica, incarnation));
        is_any
    }
}

/// The successor's steps.
impl Replicator {
    /// An enrolled replica that this successor waits for, if there is one.
    pub fn waits_for(&self, replica: &Replica) -> Option<ReplicaId> {
        self.retirement.waits_for(&self.ctx, replica.map(), &self.promises)
    }

    /// Takes the next step if it may be taken. Sets its timer again while there is work.
    pub(super) fn on_retire(&mut self, replica: &mut Replica) {
        if self.membership.is_leaving() {
            // The successor of this incarnation takes over its work. Anything written now would
            // come too late for it.
            self.promises.want(WaitingWork::Retirement, false);
            return self.pursue_leave(replica);
        }
        if replica.map().is_ended(self.ctx.own) {
            // Others take over its work, and this node continues as a new incarnation.
            return;
        }
        self.claim_waiting(replica);
        let waits = self.retirement.look_up_work(&mut self.ctx, replica);
        self.promises.want(WaitingWork::Retirement, waits);
        if waits {
            match self.retirement.has_work() {
                true => self.take_over(replica),
                false => self.forget_cleared(replica),
            }
            self.publish_own(replica);
        }
        self.ctx.out.set_ended(replica.map().ended_count());
    }

    fn take_over(&mut self, replica: &mut Replica) {
        // Other nodes may hold newer cells of this node than its directory does. So it folds
        // nothing before it has caught up with them.
        if !self.is_synced() || self.retirement.is_too_early(&self.ctx, replica.map()) {
            return;
        }
        if self.retirement.is_at_first_step() && self.claim_for_the_ended(replica) {
            return self.retirement.drop_work();
        }
        let Self { ctx, retirement, committed, promises, .. } = self;
        match retirement.take_over(ctx, replica, committed, promises) {
            TakeOver::Idle => return,
            TakeOver::Waits(upto) => return self.ask_for_promises(replica, upto),
            TakeOver::Folded => self.incarnations_changed(replica),
            TakeOver::Changed => {}
        }
        if replica.has_pending() {
            // Absorbing a dedup entry may have taken an add back.
            self.gossip.flush_soon(&mut self.ctx);
        }
        // The state hash changed and no value did.
        self.ctx.out.notify(Notice::Changed { keys: Vec::new() });
    }

    fn forget_cleared(&mut self, replica: &mut Replica) {
        let Self { ctx, retirement, committed, promises, .. } = self;
        match retirement.forget_cleared(ctx, replica, committed, promises) {
            TakeOver::Idle => {}
            TakeOver::Waits(upto) => self.ask_for_promises(replica, upto),
            TakeOver::Changed | TakeOver::Folded => {
                self.ctx.out.notify(Notice::Changed { keys: Vec::new() })
            }
        }
    }

    /// Asks some of the peers that have not promised the own version `upto` for their digests. The
    /// cells that they lack reach them as usual.
    fn ask_for_promises(&mut self, replica: &Replica, upto: Version) {
        let behind = self.promises.lacking_own(replica.map(), self.ctx.own, upto);
        let peers = self.peers.connected_among(&behind);
        self.exchange(replica).ask_digests(peers);
    }

    /// A record brought news about ended incarnations. Digests no longer name folded writers.
    pub(super) fn incarnations_changed(&mut self, replica: &Replica) {
        let map = replica.map();
        self.peers.retain_writers(|writer| !map.is_folded(writer));
        self.committed.retain(|writer| !map.is_folded(writer));
        self.stability.forget_folded(map);
        self.promises.forget_ended(map);
        self.retirement.incarnations_changed(&mut self.ctx);
        if self.anti_entropy.drop_ended(map, &mut self.peers) {
            self.begin_pulls(replica);
        }
    }
}

/// Clean-ups.
impl Replicator {
    /// Begins a clean-up if there are traces of removals or resets. O(1).
    pub(super) fn look_for_traces(&mut self, replica: &Replica) {
        if !self.membership.is_leaving() && self.removal.begin(&mut self.ctx, replica) {
            self.promises.want(WaitingWork::Removal, true);
        }
    }

    /// Takes the next step of a clean-up. Sets its timer again while there are traces.
    pub(super) fn on_clean_up(&mut self, replica: &mut Replica) {
        if !self.removal.is_due(replica) || self.membership.is_leaving() {
            return self.promises.want(WaitingWork::Removal, false);
        }
        self.look_for_traces(replica);
        if replica.map().is_ended(self.ctx.own) || !self.is_synced() || !self.in_touch() {
            return;
        }
        let own =
            self.committed.promised().cloned().unwrap_or_else(|| replica.map().version_vector());
        let proven = self.promises.proven(replica.map(), self.ctx.own, own).unwrap_or_default();
        if let Some(changed) = self.removal.clean_up(replica, &proven) {
            self.publish_own(replica);
            // The state hash changed, even where no value did.
            self.ctx.out.notify(Notice::Changed { keys: Vec::new() });
            self.ctx.out.changed(changed);
        }
        // A replica that is out of reach blocks the clean-up anyway, so no peer is asked then.
        let missing = self.removal.missing(&self.ctx, replica.map(), &self.promises);
        let peers = self.peers.connected_among(&missing);
        if peers.len() == missing.len() {
            self.exchange(replica).ask_digests(peers);
        }
        self.removal.alarm_if_many(&mut self.ctx, replica.map(), &self.promises);
    }
}
