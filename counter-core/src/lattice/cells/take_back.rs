//! Taking an add back: subtracts its amount again, unless a reset has cleared the add.

use super::store::{Cells, raised};
use crate::error::WriteError;
use crate::incarnation::baseline::Baselines;
use crate::lattice::cell::Retraction;
use crate::lattice::cell::amounts::Amounts;
use crate::lattice::keys::KeyId;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

impl Cells {
    /// Raises a cell of `holder` by the opposite of an add. `seen_in` lists the writers whose cells
    /// contained the add, each with the first version that did. A reset that saw one of these
    /// counts as if it had seen the subtraction too.
    ///
    /// # Errors
    /// `CellFull` if a part would pass 2^62. Nothing changed.
    pub(crate) fn take_back(
        &mut self,
        holder: ReplicaId,
        KeyId(key): KeyId,
        by: Amounts,
        seen_in: &[(ReplicaId, Version)],
    ) -> Result<Version, WriteError> {
        if seen_in.is_empty() || self.extra_of(holder, key).retractions.is_full() {
            return self.raise(holder, key, by);
        }
        let held = self.writers().get(holder).and_then(|writer| writer.amounts(key));
        let held = held.map_or(Amounts::default(), |(amounts, _)| amounts);
        let amounts = raised(held, by).ok_or(WriteError::CellFull)?;
        let (place, slot) = self.own_cell(holder, key);
        let writer = self.writers().at(place);
        let at = writer.next_version();
        let mut extra = writer.extra(slot).cloned().unwrap_or_default();
        let from = seen_in.iter().find(|(replica, _)| *replica == holder);
        let others = seen_in.iter().filter(|(replica, _)| *replica != holder);
        extra.retractions.insert(Retraction {
            holder,
            at,
            from: from.map_or(at, |&(_, from)| from.min(at)),
            by,
            others: others.copied().collect(),
        });
        Ok(self.write_cell(place, slot, amounts, extra))
    }

    /// The cells that have absorbed the cell of `replica` at a key, with the version from which
    /// each contains it.
    pub(crate) fn absorbed_in(
        &self,
        replica: ReplicaId,
        KeyId(key): KeyId,
    ) -> impl Iterator<Item = (ReplicaId, Version)> + '_ {
        self.held(key).filter_map(move |held| {
            let extra = held.extra?;
            let has_absorbed = extra.absorbed.iter().any(|item| item.replica == replica);
            has_absorbed.then_some((held.replica, extra.absorbed_at))
        })
    }

    /// The greatest version of a writer's cell at a key that another writer's reset saw; 0 if none
    /// did. O(writers).
    pub(crate) fn seen_by_others(&self, replica: ReplicaId, KeyId(key): KeyId) -> Version {
        match self.is_adjusted(key) {
            true => Baselines::of(self.held(key)).seen_by_others(replica),
            false => 0,
        }
    }
}
