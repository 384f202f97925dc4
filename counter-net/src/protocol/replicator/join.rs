//! Joins cells of other writers, or keeps them until the gap before them is filled. Reports what
//! changed.

use counter_core::{Delta, JoinError, Joined, Replica, ReplicaId, Span};

use super::Replicator;
use crate::protocol::interface::{Alarm, Counted, NodeId, Notice, Refusal};

impl Replicator {
    /// Joins deltas in their order, up to the first one that is refused.
    pub(super) fn join_all(
        &mut self,
        replica: &mut Replica,
        deltas: Vec<Delta>,
    ) -> Result<(), Refusal> {
        deltas.into_iter().try_for_each(|delta| self.join(replica, delta))
    }

    /// Joins a delta, and then the deltas that waited for it.
    pub(super) fn join(&mut self, replica: &mut Replica, delta: Delta) -> Result<(), Refusal> {
        let writers: Vec<ReplicaId> = delta.replicas().collect();
        self.join_one(replica, delta, &writers)?;
        self.join_waiting(replica, &writers);
        Ok(())
    }

    fn join_one(
        &mut self,
        replica: &mut Replica,
        delta: Delta,
        writers: &[ReplicaId],
    ) -> Result<(), Refusal> {
        match replica.join_delta(delta) {
            Ok(joined) => {
                self.bootstrap.set_refused(writers, false);
                self.on_joined(replica, joined);
                Ok(())
            }
            Err(cause) => Err(self.refuse_join(&cause, writers)),
        }
    }

    /// Joins the deltas that waited for these writers, as far as they are ready.
    pub(super) fn join_waiting(&mut self, replica: &mut Replica, writers: &[ReplicaId]) {
        if self.is_early() {
            return;
        }
        for writer in writers {
            while let Some(mut delta) =
                self.gossip.take_ready(*writer, replica.map().seen_of(*writer))
            {
                delta.retain(|writer| replica.map().may_write(writer));
                if let Err(reason) = self.join_one(replica, delta, &[*writer]) {
                    self.ctx.out.count_refusal(reason);
                }
            }
        }
    }

    /// Joins gossip of `signer`, or keeps it if versions before it are missing.
    pub(super) fn join_or_wait(
        &mut self,
        replica: &mut Replica,
        signer: NodeId,
        delta: Delta,
        bytes: usize,
    ) -> Result<(), Refusal> {
        for span in delta.spans() {
            self.peers.hear_writer(signer, span.replica, span.upto);
        }
        let waits =
            |span: &Span| self.is_early() || replica.map().seen_of(span.replica) < span.after;
        let Some(gap) = delta.spans().find(waits) else { return self.join(replica, delta) };
        self.gossip.wait(&mut self.ctx, gap, delta, bytes);
        Ok(())
    }

    /// True until this node has caught up and has its number. Until then it shows its directory's
    /// state and may not know which incarnations ended. Cells that come from their writers wait,
    /// because a record among them might end this incarnation.
    fn is_early(&self) -> bool {
        !self.is_synced() || self.membership.numbering().is_open()
    }

    /// Joins a part of a full pull, cell by cell.
    pub(super) fn repair(&mut self, replica: &mut Replica, delta: Delta) -> Result<(), Refusal> {
        match replica.repair(delta) {
            Ok(joined) => {
                self.on_joined(replica, joined);
                Ok(())
            }
            Err(cause) => Err(self.refuse_join(&cause, &[])),
        }
    }

    /// Tells the machines and the readers what a join changed.
    fn on_joined(&mut self, replica: &Replica, joined: Joined) {
        self.ctx.out.count_many(Counted::CellJoined, joined.cells());
        if joined.conflicts > 0 {
            self.ctx.out.count_many(Counted::Conflict, joined.conflicts);
            self.ctx.out.alarm(Alarm::Conflict { cells: joined.conflicts });
        }
        if joined.incarnations_changed {
            self.incarnations_changed(replica);
        }
        let has_ended = joined.incarnations_changed && replica.map().is_ended(self.ctx.own);
        let has_news = joined.incarnations_changed || !joined.records.is_empty();
        if has_ended || (has_news && self.is_below_ended(replica)) {
            self.retirement.want_renewal();
        }
        if let Some(version) = joined.own_ahead {
            self.retirement.want_renewal();
            self.ctx.out.alarm(Alarm::OwnAhead { version });
        }
        if joined.own_changed {
            // Other nodes learn at once that an add was taken back.
            self.gossip.flush_soon(&mut self.ctx);
        }
        if !joined.records.is_empty() {
            self.retirement.look_again(&mut self.ctx);
            // A record moves its writer's version without a cell, so a target may be covered now.
            self.stability.look_again();
        }
        if joined.changed.is_empty() && joined.has_more_than_cells() {
            // The state hash changed and no value did. Readers that show the hash need to know. The
            // store needs to know too, or this node would never promise the new versions.
            self.ctx.out.notify(Notice::Changed { keys: Vec::new() });
        }
        self.ctx.out.changed(joined.changed);
    }

    fn refuse_join(&mut self, cause: &JoinError, writers: &[ReplicaId]) -> Refusal {
        if let JoinError::OpenPart(_) = cause {
            return Refusal::Malformed;
        }
        self.bootstrap.set_refused(writers, true);
        self.ctx.out.alarm(Alarm::JoinRefused { cause: cause.to_string() });
        Refusal::JoinRefused
    }
}
