//! The changes that a successor writes: it absorbs the cells of incarnations that ended into its
//! own, and later rebases them to own amounts.
//!
//! The protocol decides when. Each step writes single cells, one version each, so every snapshot of
//! the successor in between is exact.

use super::store::Cells;
use crate::error::WriteError;
use crate::incarnation::baseline::Baselines;
use crate::incarnation::record::{Folded, Record};
use crate::lattice::cell::amounts::{Amounts, CELL_MAX, NEARLY_FULL};
use crate::lattice::cell::{CellExtra, Cleared, Origin, PlainCell};
use crate::lattice::delta::{Delta, DeltaCell};
use crate::lattice::keys::KeyId;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

impl Cells {
    /// See [`CounterMap::absorbable_by`](crate::CounterMap::absorbable_by).
    pub(crate) fn absorbable_by(&self, successor: ReplicaId) -> Vec<ReplicaId> {
        self.self_contained(
            successor,
            self.writers()
                .ended()
                .claimed()
                .filter(|&incarnation| self.is_for(successor, incarnation))
                .collect(),
        )
    }

    fn is_for(&self, successor: ReplicaId, incarnation: ReplicaId) -> bool {
        !self.writers().ended().is_folded(incarnation)
            && self.writers().ended().successor_of(incarnation) == Some(successor)
    }

    /// The subset of these incarnations that may be absorbed without the others, ascending.
    /// O(incarnations log incarnations) if none is left out.
    fn self_contained(
        &self,
        successor: ReplicaId,
        mut incarnations: Vec<ReplicaId>,
    ) -> Vec<ReplicaId> {
        let ended = self.writers().ended();
        loop {
            let mut closed: Vec<ReplicaId> = Vec::with_capacity(incarnations.len());
            for &incarnation in &incarnations {
                // Writers are sorted by id, so the earlier incarnations of its node come right
                // before it. If the last of them is included, all are.
                let at = self.writers().find(incarnation).unwrap_or_else(|at| at);
                let earlier = at
                    .checked_sub(1)
                    .map(|at| self.writers().at(at).id())
                    .filter(|earlier| earlier.node == incarnation.node);
                let mut claimed = self
                    .writers()
                    .record(incarnation)
                    .into_iter()
                    .flat_map(Record::claims_and_absorbs)
                    .filter(|&incarnation| self.is_for(successor, incarnation));
                let mut absorbers = ended
                    .absorbers_of(incarnation)
                    .iter()
                    .filter(|&&other| other != successor && !ended.is_folded(other));
                let has_earlier = earlier.is_none_or(|earlier| {
                    closed
                        .last()
                        .is_some_and(|last| *last >= earlier && last.node == incarnation.node)
                });
                let is_listed = |other: &ReplicaId| incarnations.binary_search(other).is_ok();
                if has_earlier && claimed.all(|other| is_listed(&other)) && absorbers.all(is_listed)
                {
                    closed.push(incarnation);
                }
            }
            if closed.len() == incarnations.len() {
                return incarnations;
            }
            incarnations = closed;
        }
    }

    /// The incarnations whose amounts, together with the successor's, fill at most half of a cell.
    /// The others keep counting separately. O(cells of the incarnations), multiplied by the writers
    /// if some amounts are near 2^62.
    pub(crate) fn fitting(
        &self,
        successor: ReplicaId,
        incarnations: &[ReplicaId],
    ) -> Vec<ReplicaId> {
        let most = |incarnation: ReplicaId| {
            self.keys_from(incarnation, 0).fold(Amounts::default(), |most, (_, key)| {
                most.join(self.total_of(incarnation, key))
            })
        };
        let every = incarnations
            .iter()
            .fold(most(successor), |sum, &incarnation| sum.saturating_plus(most(incarnation)));
        if every.is_within(CELL_MAX / 2) {
            return incarnations.to_vec();
        }
        let mut fitting: Vec<ReplicaId> = Vec::new();
        for &incarnation in incarnations {
            let sum = |key| {
                fitting
                    .iter()
                    .chain([&successor, &incarnation])
                    .fold(Amounts::default(), |sum, &of| {
                        sum.saturating_plus(self.total_of(of, key))
                    })
            };
            if self.keys_from(incarnation, 0).all(|(_, key)| sum(key).is_within(CELL_MAX / 2)) {
                fitting.push(incarnation);
            }
        }
        self.self_contained(successor, fitting)
    }

    /// The folds in the records of these incarnations.
    pub(crate) fn folded_by(&self, incarnations: &[ReplicaId]) -> Vec<Folded> {
        incarnations
            .iter()
            .filter_map(|incarnation| self.writers().record(*incarnation))
            .flat_map(|record| record.folds().iter().copied())
            .collect()
    }

    /// The keys of a writer's cells with their slots, starting at `slot`.
    pub(crate) fn keys_from(
        &self,
        replica: ReplicaId,
        slot: u32,
    ) -> impl Iterator<Item = (u32, KeyId)> + '_ {
        let writer = self.writers().get(replica);
        writer.into_iter().flat_map(move |writer| {
            (slot..writer.slots().end).map(|slot| (slot, KeyId(writer.key(slot))))
        })
    }

    /// The slot of a writer's first cell, at or after `slot`, whose extra part is `wanted`.
    pub(crate) fn next_extra(
        &self,
        replica: ReplicaId,
        slot: u32,
        wanted: impl Fn(&CellExtra) -> bool,
    ) -> Option<u32> {
        self.writers()
            .get(replica)?
            .extras_from(slot)
            .find(|(_, extra)| wanted(extra))
            .map(|(slot, _)| slot)
    }

    /// Absorbs the amounts of `incarnations` at a key that nobody has absorbed yet, in a round that
    /// began after version `begun` of the successor. Returns about how many bytes the change costs
    /// each peer; 0 if there is nothing to absorb.
    ///
    /// A cell absorbs only once per round, because it records a single version for all that it
    /// absorbed. Cells that arrive later, such as from a replica that was given up, are not
    /// absorbed. They count separately until the fold.
    ///
    /// `settled` is the version up to which a writer's adds at the key are settled.
    ///
    /// # Errors
    /// `CellFull` if the successor's own amounts leave no room, or the cell still has the amounts
    /// of an earlier round. Nothing changed.
    pub(crate) fn absorb(
        &mut self,
        successor: ReplicaId,
        incarnations: &[ReplicaId],
        begun: Version,
        KeyId(key): KeyId,
        settled: impl Fn(ReplicaId) -> Version,
    ) -> Result<usize, WriteError> {
        let baselines = Baselines::of(self.held(key));
        let mut extra = self.extra_of(successor, key);
        if !extra.absorbed.is_empty() && extra.absorbed_at > begun {
            return Ok(0);
        }
        let (full, mut taken, mut removes) = (!extra.absorbed.is_empty(), false, false);
        let own = self.total_of(successor, KeyId(key));
        for held in self.held(key).filter(|held| {
            incarnations.binary_search(&held.replica).is_ok()
                && !baselines.is_absorbed(held.replica)
        }) {
            let none = CellExtra::default();
            let theirs = held.extra.unwrap_or(&none);
            let fits = own
                .saturating_plus(extra.absorbed.total())
                .saturating_plus(held.total())
                .is_within(NEARLY_FULL);
            if full
                || !fits
                || !extra.absorbed.absorb(
                    held.replica,
                    held.amounts,
                    (theirs.absorbed_at, &theirs.absorbed),
                    theirs.origin,
                )
            {
                return Err(WriteError::CellFull);
            }
            removes |= theirs.removal > 0;
            extra.retractions.extend(&theirs.retractions);
            extra.expires_at = extra.expires_at.max(theirs.expires_at);
            if let Some(version) = baselines.seen_after(held.replica, held.version) {
                // A reset saw a later state of this cell, which is lost; the cell may have been
                // dropped in it. An absorbed cell does not keep its version, so the reset must list
                // its amounts.
                let cleared = Cleared { version, amounts: held.total() };
                extra.resets.clear(held.replica, cleared, theirs.origin);
            }
            for (replica, mut cleared) in theirs.resets.iter() {
                if replica == held.replica && theirs.absorbed.is_empty() {
                    cleared = as_of_last_reset(cleared, settled(replica), theirs.origin);
                }
                extra.resets.clear(replica, cleared, self.origin_of(&baselines, replica, key));
            }
            taken = true;
        }
        if !taken {
            return Ok(0);
        }
        let is_new = self.writers().get(successor).is_none_or(|own| own.slot(key, key).is_none());
        let (at, slot) = self.own_cell(successor, key);
        let writer = self.writers().at(at);
        if let Some(new) = writer.extra(slot).filter(|_| is_new) {
            extra.origin = new.origin;
            extra.expires_at = extra.expires_at.max(new.expires_at);
        }
        extra.absorbed_at = writer.next_version();
        if removes {
            // The request of an ended writer is the successor's now.
            extra.removal = extra.absorbed_at;
        }
        self.write_extra(at, slot, extra);
        Ok(self.cell_bytes(successor, slot))
    }

    /// Adds a cell's absorbed amounts to its own amounts. Returns about how many bytes the change
    /// costs each peer; None if the sum passes 2^62.
    pub(crate) fn rebase(&mut self, successor: ReplicaId, slot: u32) -> Option<usize> {
        let at = self.writers().find(successor).ok()?;
        let key = self.writers().at(at).key(slot);
        let held = self.held(key).find(|held| held.replica == successor)?;
        let (total, baseline) = (held.total(), Baselines::of(self.held(key)).of_cell(&held));
        if total.increments > CELL_MAX || total.decrements > CELL_MAX {
            return None;
        }
        let mut extra = self.extra_of(successor, key);
        if baseline != Amounts::default() {
            // This write moves the cell to `version`, so the reset of itself must carry that
            // version.
            let version = self.writers().at(at).next_version();
            extra.resets.clear(successor, Cleared { version, amounts: baseline }, extra.origin);
        }
        (extra.absorbed_at, extra.absorbed) = Default::default();
        extra.retractions.keep_own(successor);
        self.write_cell(at, slot, total, extra);
        Some(self.cell_bytes(successor, slot))
    }

    /// Drops from a cell the resets of folded incarnations. Returns about how many bytes the change
    /// costs each peer.
    pub(crate) fn forget_cleared(&mut self, replica: ReplicaId, slot: u32) -> Option<usize> {
        let at = self.writers().find(replica).ok()?;
        let mut extra = self.extra_of(replica, self.writers().at(at).key(slot));
        extra.resets.retain(|incarnation, _| !self.writers().ended().is_folded(incarnation));
        self.write_extra(at, slot, extra);
        Some(self.cell_bytes(replica, slot))
    }

    fn cell_bytes(&self, replica: ReplicaId, slot: u32) -> usize {
        self.writers().get(replica).map_or(0, |writer| {
            let (key, PlainCell { version, amounts }) = (writer.key(slot), writer.plain(slot));
            Delta::cell_bytes_max(
                self.keys().names(key),
                DeltaCell { key, version, amounts },
                writer.extra(slot),
            )
        })
    }
}

/// What a cell records as cleared of itself, in the form of the latest reset that it sums up, which
/// saw the adds up to version `settled`. Adds after that were not cleared.
fn as_of_last_reset(cleared: Cleared, settled: Version, origin: Origin) -> Cleared {
    match settled {
        0 => cleared,
        settled => Cleared { version: settled.max(origin.version).min(cleared.version), ..cleared },
    }
}
