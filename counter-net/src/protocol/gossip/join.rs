//! Cells from others take effect here: joined, or kept until their gap is filled; what joining
//! shows is told.

use counter_core::{Delta, JoinError, Joined, Replica, ReplicaId, Span};

use crate::protocol::input::NodeId;
use crate::protocol::output::{Alarm, Notice, Refusal};
use crate::protocol::replicator::Replicator;
use crate::protocol::replicator::Timer;

impl Replicator {
    /// Joins what `peer` sent, and then what waited for it.
    pub(crate) fn join(&mut self, replica: &mut Replica, delta: Delta) -> Result<(), Refusal> {
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
                self.note(replica, joined);
                Ok(())
            }
            Err(cause) => Err(self.refuse_join(&cause, writers)),
        }
    }

    /// What waited for these writers takes effect as far as it now may.
    pub(crate) fn join_waiting(&mut self, replica: &mut Replica, writers: &[ReplicaId]) {
        if self.is_early() {
            return;
        }
        for writer in writers {
            while let Some(mut delta) =
                self.gaps.take_ready(*writer, replica.map().seen_of(*writer))
            {
                delta.retain(|writer| !replica.map().is_ended(writer));
                if let Err(reason) = self.join_one(replica, delta, &[*writer]) {
                    self.out.stats.refuse(reason);
                }
            }
        }
    }

    /// Joins gossip of `signer`, or keeps it where versions before it are missing.
    pub(crate) fn join_or_wait(
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
        self.out.stats.gaps += 1;
        if !self.gaps.put(gap.replica, gap.after, delta, bytes, self.now) {
            self.out.stats.gaps_dropped += 1;
        }
        self.timers
            .set_by(Timer::Gap, (self.now + self.config.gap_patience).max(self.gaps.next_ask()));
        Ok(())
    }

    /// Before this node has caught up it may not know who has ended: what a writer says itself
    /// waits until then.
    fn is_early(&self) -> bool {
        (!self.is_synced() && !self.peers.is_empty()) || self.waits_for_number()
    }

    /// Joins a part of a full pull, cell by cell.
    pub(crate) fn repair(&mut self, replica: &mut Replica, delta: Delta) -> Result<(), Refusal> {
        match replica.repair(delta) {
            Ok(joined) => {
                self.note(replica, joined);
                Ok(())
            }
            Err(cause) => Err(self.refuse_join(&cause, &[])),
        }
    }

    fn note(&mut self, replica: &Replica, joined: Joined) {
        self.out.stats.cells_joined += joined.cells() as u64;
        if joined.conflicts > 0 {
            self.out.stats.conflicts += joined.conflicts as u64;
            self.out.alarm(Alarm::Conflict { cells: joined.conflicts });
        }
        if joined.incarnations_changed {
            self.incarnations_changed(replica);
            self.renew_due |= replica.map().is_ended(self.own);
        }
        if joined.incarnations_changed || !joined.records.is_empty() {
            self.renew_due |= self.is_below_ended(replica);
        }
        if let Some(version) = joined.own_ahead {
            self.renew_due = true;
            self.out.alarm(Alarm::OwnAhead { version });
        }
        if joined.own_changed {
            // What was taken back here goes out at once.
            self.timers.set_by(Timer::Flush, self.publisher.next_flush().max(self.now));
        }
        if !joined.records.is_empty() {
            self.look_for_ended();
            // A record moves its writer's version without a cell: a target may be covered by now.
            self.confirmations.look_again();
        }
        if joined.changed.is_empty() && joined.has_more_than_cells() {
            // These move the state hash and no key. Whoever shows the hash hears of it, and the
            // store, or this node would never promise them.
            self.out.notify(Notice::Changed { keys: Vec::new() });
        }
        self.out.changed(joined.changed);
    }

    fn refuse_join(&mut self, cause: &JoinError, writers: &[ReplicaId]) -> Refusal {
        if let JoinError::OpenPart(_) = cause {
            return Refusal::Malformed;
        }
        self.bootstrap.set_refused(writers, true);
        self.out.alarm(Alarm::JoinRefused { cause: cause.to_string() });
        Refusal::JoinRefused
    }
}
