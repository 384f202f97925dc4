//! Reads and writes the expiry in the cells of a counter.

use super::store::Cells;
use crate::lattice::cell::CellExtra;
use crate::lattice::keys::KeyId;
use crate::replica_id::ReplicaId;

impl Cells {
    /// The latest expiry in the cells of a counter; 0 if none has one. O(regions * writers).
    pub(crate) fn expiry_in_cells(&self, counter: u32) -> u64 {
        let keys = self.keys().of_counter(counter);
        let extras = keys.flat_map(|key| self.held(key)).filter_map(|held| held.extra);
        extras.map(|extra| extra.expires_at).max().unwrap_or(0)
    }

    /// Moves the expiry of the replica's own cell at a key to `time`, and makes the cell if there
    /// is none. Returns false if the expiry is that late already.
    pub(crate) fn raise_expiry(&mut self, own: ReplicaId, KeyId(key): KeyId, time: u64) -> bool {
        let (at, slot) = self.own_cell(own, key);
        let writer = self.writers().at(at);
        let mut extra = writer.extra(slot).cloned().unwrap_or_default();
        if extra.expires_at >= time && writer.plain(slot).version > 0 {
            return false;
        }
        extra.expires_at = extra.expires_at.max(time);
        self.write_extra(at, slot, extra);
        true
    }

    /// Copies a counter's expiry to the replica's own cells that have none. Without it, such a cell
    /// would stay if the other cells were dropped while its node was down. Returns the keys that
    /// changed.
    pub(crate) fn spread_expiry(&mut self, own: ReplicaId, counter: u32) -> Vec<KeyId> {
        let at = self.expiry_in_cells(counter);
        let lacks = |key: &u32| {
            let cell = self.writers().get(own).and_then(|writer| writer.amounts(*key));
            cell.is_some_and(|(_, extra)| {
                extra.is_none_or(|extra: &CellExtra| extra.expires_at == 0)
            })
        };
        let lacking: Vec<u32> = self.keys().of_counter(counter).filter(lacks).collect();
        let raised = lacking.into_iter().map(KeyId).filter(|_| at > 0);
        raised.filter(|key| self.raise_expiry(own, *key, at)).collect()
    }
}
