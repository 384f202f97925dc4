//! Claims ended incarnations: on an operator's word, after a leave, and for this node's own past.

use std::time::Duration;

use counter_core::{Flushed, Replica, ReplicaId, VersionVector};

use crate::protocol::output::{Notice, RetireError};
use crate::protocol::replicator::Replicator;

/// How long an incarnation must have been silent before an operator may retire it without force.
const QUIET: Duration = Duration::from_secs(600);

impl Replicator {
    /// Claims an incarnation that an operator says is lost for good. Feed
    /// [`Input::LocalChange`](crate::protocol::Input::LocalChange) afterwards.
    ///
    /// # Errors
    /// As [`force_retire`](Self::force_retire), and `Recent` if it was heard of within the last ten
    /// minutes. Nothing changed.
    pub fn retire(&mut self, replica: &mut Replica, ended: ReplicaId) -> Result<(), RetireError> {
        self.may_retire(replica, ended)?;
        let ago =
            self.members.last_word(ended).map(|last_word| self.ctx.now.saturating_sub(last_word));
        match ago.filter(|ago| *ago < QUIET) {
            Some(ago) => Err(RetireError::Recent { ago }),
            None => self.force_retire(replica, ended),
        }
    }

    /// As [`retire`](Self::retire), however recently the incarnation was heard of. Adds that no
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
        self.may_retire(replica, ended)?;
        self.claim_node(replica, ended);
        Ok(())
    }

    fn may_retire(&self, replica: &Replica, ended: ReplicaId) -> Result<(), RetireError> {
        if ended == self.ctx.own {
            return Err(RetireError::Own);
        }
        // If all that claimed it have ended themselves, it may be claimed anew.
        if replica.map().is_folded(ended) || replica.map().successor_of(ended).is_some() {
            return Err(RetireError::Ended);
        }
        if replica.map().seen_of(ended) == 0 && !replica.map().is_ended(ended) {
            return Err(RetireError::Unknown);
        }
        if self.members.is_live(ended) { Err(RetireError::Live) } else { Ok(()) }
    }

    /// Claims an earlier incarnation of this node, which has ended, whether anything of it is known
    /// here or not. One that left and held more than this node is claimed once that is here. Feed
    /// [`Input::LocalChange`](crate::protocol::Input::LocalChange) afterwards.
    pub fn claim_earlier(&mut self, replica: &mut Replica, earlier: ReplicaId) {
        if earlier != self.ctx.own
            && !replica.map().is_ended(earlier)
            && replica.map().covers_final_of(earlier)
        {
            self.claim(replica, earlier);
        }
    }

    /// A leaver of an earlier release, which held `have`, names this node its successor.
    pub(crate) fn take_bequest(
        &mut self,
        replica: &mut Replica,
        from: ReplicaId,
        successor: ReplicaId,
        have: &VersionVector,
    ) {
        let map = replica.map();
        let covers = have.iter().all(|(writer, version)| map.counted_up_to(writer) >= version);
        if successor == self.ctx.own
            && from != self.ctx.own
            && covers
            && self.is_synced()
            && !self.leaving
        {
            self.claim_node(replica, from);
        }
    }

    /// Claims an incarnation, and the earlier ones of its node that it had no time to claim. What a
    /// node wrote is folded in the order of its incarnations.
    fn claim_node(&mut self, replica: &mut Replica, ended: ReplicaId) {
        let is_before = |incarnation: &ReplicaId| {
            incarnation.node == ended.node
                && incarnation.incarnation < ended.incarnation
                && *incarnation != self.ctx.own
                && !self.members.is_live(*incarnation)
        };
        let before: Vec<ReplicaId> = replica.map().enrolled().filter(is_before).collect();
        before.into_iter().chain([ended]).for_each(|incarnation| self.claim(replica, incarnation));
    }

    fn claim(&mut self, replica: &mut Replica, ended: ReplicaId) {
        if replica.claim(ended).is_some() {
            self.publish_own(replica, &Flushed::default());
            // No value moved, but the store needs to know.
            self.ctx.out.notify(Notice::Changed { keys: Vec::new() });
            self.incarnations_changed(replica);
        }
    }

    /// Claims incarnations that left, and those whose claimants have all ended, if it is this
    /// node's turn.
    pub(super) fn claim_waiting(&mut self, replica: &mut Replica) {
        if self.retirement.is_stale {
            let later = self.ctx.rng.f64();
            let waiting = replica
                .map()
                .without_successor()
                .into_iter()
                .filter(|incarnation| *incarnation != self.ctx.own)
                .collect();
            self.retirement.claims.wait_for(waiting, later, self.ctx.now);
            self.claim_own_earlier(replica);
            self.look_for_later(replica);
        }
        if self.retirement.claims.is_empty()
            || !self.is_synced()
            || replica.map().is_ended(self.ctx.own)
        {
            return;
        }
        let is_first = !self
            .members
            .iter()
            .any(|(_, entry)| entry.is_live() && entry.synced && entry.replica < self.ctx.own);
        for incarnation in self.retirement.claims.due(is_first, self.ctx.now) {
            if replica.map().covers_final_of(incarnation) {
                self.claim(replica, incarnation);
            }
        }
    }

    /// Claims the earlier incarnations of this node, which ended when this one started. A start
    /// from a directory claims those that it remembers. Others may know more, after a disk was set
    /// back, or of a node that has a name and no disk.
    fn claim_own_earlier(&mut self, replica: &mut Replica) {
        // Without a name and a disk this node has no past.
        let has_past = self.numbering.asks() || self.commits.promised().is_some();
        if !has_past
            || !self.is_synced()
            || self.numbering.is_open()
            || replica.map().is_ended(self.ctx.own)
        {
            return;
        }
        let is_earlier = |incarnation: &ReplicaId| {
            incarnation.node == self.ctx.own.node
                && incarnation.incarnation < self.ctx.own.incarnation
        };
        let earlier: Vec<ReplicaId> = replica.map().enrolled().filter(is_earlier).collect();
        for incarnation in earlier
            .into_iter()
            .filter(|incarnation| replica.map().covers_final_of(*incarnation))
            .collect::<Vec<_>>()
        {
            self.claim(replica, incarnation);
        }
    }

    /// Claims an incarnation anew if all that claimed it have ended. This comes before one of the
    /// claimants is absorbed, because the word that it ended would go with the claimant's record.
    /// True if something was claimed.
    pub(super) fn claim_for_the_ended(&mut self, replica: &mut Replica) -> bool {
        let open = replica
            .map()
            .without_successor()
            .into_iter()
            .filter(|incarnation| *incarnation != self.ctx.own);
        let open: Vec<ReplicaId> =
            open.filter(|incarnation| replica.map().covers_final_of(*incarnation)).collect();
        let is_any = !open.is_empty();
        open.into_iter().for_each(|incarnation| self.claim(replica, incarnation));
        is_any
    }
}
