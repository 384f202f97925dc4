//! What an heir writes: the cells of lives that ended become items of its own, and then its own
//! amounts.
//!
//! When it may is the protocol's to know. Each step writes single cells, one version each, so every
//! snapshot of the heir in between is exact.

use super::CounterMap;
use crate::amounts::{Amounts, CELL_MAX, NEARLY_FULL};
use crate::cell::{Cleared, Extra};
use crate::delta::{Delta, DeltaCell};
use crate::error::AddError;
use crate::floors::Floors;
use crate::keys::KeyId;
use crate::record::{Folded, Record};
use crate::replica_id::ReplicaId;
use crate::version_vector::Version;
use crate::writer::Plain;

impl CounterMap {
    /// Lives that `heir` answers for and may take over together, ascending: with each of them all
    /// earlier lives of its node, since a fold names a node's lives by the last, and all that it
    /// claims itself and may have taken over, as far as they are not folded yet. What it claims and
    /// another answers for goes its own way. One of which nothing is held here may be among them.
    /// O(lives * claims).
    pub fn inheritance(&self, heir: ReplicaId) -> Vec<ReplicaId> {
        self.whole(heir, self.claimed().filter(|&life| self.is_for(heir, life)).collect())
    }

    fn is_for(&self, heir: ReplicaId, life: ReplicaId) -> bool {
        !self.is_folded(life) && self.heir_of(life) == Some(heir)
    }

    /// Of these lives, ascending, those that may be taken over without the others. O(lives log
    /// lives) where no life is left out.
    fn whole(&self, heir: ReplicaId, mut lives: Vec<ReplicaId>) -> Vec<ReplicaId> {
        loop {
            let mut closed: Vec<ReplicaId> = Vec::with_capacity(lives.len());
            for &life in &lives {
                // The earlier lives of its node lie right before it, so the last of them stands for
                // all.
                let at = self.writer_at(life).unwrap_or_else(|at| at);
                let earlier = at
                    .checked_sub(1)
                    .map(|at| self.writers[at].id)
                    .filter(|earlier| earlier.node == life.node);
                let mut claimed = self
                    .record(life)
                    .into_iter()
                    .flat_map(Record::claims_and_adopts)
                    .filter(|&life| self.is_for(heir, life));
                let has_earlier = earlier.is_none_or(|earlier| {
                    closed.last().is_some_and(|last| *last >= earlier && last.node == life.node)
                });
                if has_earlier && claimed.all(|other| lives.binary_search(&other).is_ok()) {
                    closed.push(life);
                }
            }
            if closed.len() == lives.len() {
                return lives;
            }
            lives = closed;
        }
    }

    /// Of lives that `heir` may take over, ascending, those whose amounts find room in its cells
    /// and leave as much again. The others stay what they are, and count. O(cells of the lives);
    /// O(that * writers) where some amounts are near 2^62.
    pub(crate) fn fitting(&self, heir: ReplicaId, lives: &[ReplicaId]) -> Vec<ReplicaId> {
        let most = |life: ReplicaId| {
            self.keys_from(life, 0)
                .fold(Amounts::default(), |most, (_, key)| most.join(self.total_of(life, key)))
        };
        let every = lives.iter().fold(most(heir), |sum, &life| sum.saturating_plus(most(life)));
        if every.is_within(CELL_MAX / 2) {
            return lives.to_vec();
        }
        let mut fitting: Vec<ReplicaId> = Vec::new();
        for &life in lives {
            let sum = |key| {
                fitting.iter().chain([&heir, &life]).fold(Amounts::default(), |sum, &of| {
                    sum.saturating_plus(self.total_of(of, key))
                })
            };
            if self.keys_from(life, 0).all(|(_, key)| sum(key).is_within(CELL_MAX / 2)) {
                fitting.push(life);
            }
        }
        self.whole(heir, fitting)
    }

    /// Changes the record of `replica`, which must have one. Returns the version of the change.
    pub(crate) fn change_record(
        &mut self,
        replica: ReplicaId,
        change: impl FnOnce(&mut Record),
    ) -> Option<Version> {
        let at = self.writer_at(replica).ok()?;
        let writer = &mut self.writers[at];
        let record = writer.record.as_mut()?;
        change(record);
        record.version = writer.seen + 1;
        (writer.seen, writer.hash) = (writer.seen + 1, None);
        let version = writer.seen;
        self.lives_again();
        Some(version)
    }

    /// The folds that are on record with any of these lives.
    pub(crate) fn folded_by(&self, lives: &[ReplicaId]) -> Vec<Folded> {
        lives
            .iter()
            .filter_map(|life| self.record(*life))
            .flat_map(|record| record.folded.iter().copied())
            .collect()
    }

    /// The keys of a writer's cells from `slot` on, in the order in which the cells were made, with
    /// their slots.
    pub(crate) fn keys_from(
        &self,
        replica: ReplicaId,
        slot: u32,
    ) -> impl Iterator<Item = (u32, KeyId)> + '_ {
        let writer = self.writer(replica);
        writer.into_iter().flat_map(move |writer| {
            (slot..writer.slots().end).map(|slot| (slot, KeyId(writer.key(slot))))
        })
    }

    /// The first of a writer's cells from `slot` on that has something besides amounts, of which
    /// `wanted` is true.
    pub(crate) fn next_extra(
        &self,
        replica: ReplicaId,
        slot: u32,
        wanted: impl Fn(&Extra) -> bool,
    ) -> Option<u32> {
        self.writer(replica)?
            .extras_from(slot)
            .find(|(_, extra)| wanted(extra))
            .map(|(slot, _)| slot)
    }

    /// Takes over what `lives` have at a key and nobody has taken over yet, in a round that began
    /// after version `begun` of the heir. Returns about how many bytes the change costs each peer,
    /// 0 where there is nothing to take.
    ///
    /// A cell takes over once a round, since a reset names one version at which it did. So what a
    /// replica that had been given up brings afterwards is left where it is, like all of these
    /// lives that comes too late: it counts until the fold.
    ///
    /// # Errors
    /// `CellFull` where the heir's own amounts leave no room, or a cell still has what an earlier
    /// round took over; nothing changed.
    pub(crate) fn adopt(
        &mut self,
        heir: ReplicaId,
        lives: &[ReplicaId],
        begun: Version,
        KeyId(key): KeyId,
    ) -> Result<usize, AddError> {
        let floors = Floors::of(self.held(key));
        let mut extra = self.extra_of(heir, key);
        if !extra.items.is_empty() && extra.adopted_at > begun {
            return Ok(0);
        }
        let (full, mut taken) = (!extra.items.is_empty(), false);
        let own = self.total_of(heir, KeyId(key));
        for held in self.held(key).filter(|held| {
            lives.binary_search(&held.replica).is_ok() && !floors.is_taken(held.replica)
        }) {
            let none = Extra::default();
            let theirs = held.extra.unwrap_or(&none);
            let fits = own
                .saturating_plus(extra.items.total())
                .saturating_plus(held.total())
                .is_within(NEARLY_FULL);
            if full
                || !fits
                || !extra.items.take(held.replica, theirs.adopted_at, held.amounts, &theirs.items)
            {
                return Err(AddError::CellFull);
            }
            theirs.cleared.iter().for_each(|&(replica, cleared)| extra.clear(replica, cleared));
            taken = true;
        }
        if !taken {
            return Ok(0);
        }
        let at = self.writer_or_new(heir);
        let writer = &mut self.writers[at];
        let slot = writer.slot(key, key).unwrap_or_else(|| writer.make(key));
        extra.adopted_at = writer.seen + 1;
        self.write_extra(at, slot, extra);
        Ok(self.cell_bytes(heir, slot))
    }

    /// Makes what a cell has taken over its own amounts. Returns about how many bytes the change
    /// costs each peer; None where the sum passes 2^62.
    pub(crate) fn compact(&mut self, heir: ReplicaId, slot: u32) -> Option<usize> {
        let at = self.writer_at(heir).ok()?;
        let key = self.writers[at].key(slot);
        let held = self.held(key).find(|held| held.replica == heir)?;
        let (total, floor) = (held.total(), Floors::of(self.held(key)).of_cell(&held));
        if total.increments > CELL_MAX || total.decrements > CELL_MAX {
            return None;
        }
        let mut extra = self.extra_of(heir, key);
        if floor != Amounts::default() {
            // As seen by whoever saw that these were taken over.
            extra.clear(heir, Cleared { version: extra.adopted_at, amounts: floor });
        }
        (extra.adopted_at, extra.items) = Default::default();
        let writer = &mut self.writers[at];
        let before = writer.plain(slot).version;
        writer.put(slot, before, total);
        self.write_extra(at, slot, extra);
        Some(self.cell_bytes(heir, slot))
    }

    /// Drops from a cell what it cleared of lives that were folded. Returns about how many bytes
    /// the change costs each peer.
    pub(crate) fn forget_cleared(&mut self, replica: ReplicaId, slot: u32) -> Option<usize> {
        let at = self.writer_at(replica).ok()?;
        let mut extra = self.extra_of(replica, self.writers[at].key(slot));
        extra.cleared.retain(|(life, _)| !self.is_folded(*life));
        self.write_extra(at, slot, extra);
        Some(self.cell_bytes(replica, slot))
    }

    fn extra_of(&self, replica: ReplicaId, key: u32) -> Extra {
        let writer = self.writer(replica);
        writer.and_then(|writer| writer.extra(writer.slot(key, key)?)).cloned().unwrap_or_default()
    }

    fn cell_bytes(&self, replica: ReplicaId, slot: u32) -> usize {
        self.writer(replica).map_or(0, |writer| {
            let (key, Plain { version, amounts }) = (writer.key(slot), writer.plain(slot));
            Delta::cell_bytes_max(
                self.keys.names(key),
                DeltaCell { key, version, amounts },
                writer.extra(slot),
            )
        })
    }
}
