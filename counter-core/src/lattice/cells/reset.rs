//! Observed reset: clears exactly the amounts that the resetter has seen. Concurrent adds stay.

use super::store::Cells;
use crate::incarnation::baseline::{Baselines, cleared_by_reset};
use crate::lattice::cell::amounts::Amounts;
use crate::lattice::cell::{Cleared, Origin};
use crate::lattice::versions::Version;
use crate::lattice::writer::tombstones::key_bytes;
use crate::replica_id::ReplicaId;

impl Cells {
    /// Clears the amounts of every writer that are held at a key. Returns the version of the
    /// change, or None if there is nothing to reset. See
    /// [`CounterMap::reset`](crate::CounterMap::reset).
    pub(crate) fn reset(&mut self, replica: ReplicaId, key: u32) -> Option<Version> {
        let baselines = Baselines::of(self.held(key));
        if self
            .held(key)
            .all(|held| baselines.share(&held).is_none_or(|share| share == Amounts::default()))
        {
            return None;
        }
        Some(self.clear(replica, key, false))
    }

    /// Clears everything that is held at a key as `replica`. If `removes` is true, also asks for
    /// the removal of the counter. Returns the version of the change.
    pub(super) fn clear(&mut self, replica: ReplicaId, key: u32, removes: bool) -> Version {
        let baselines = Baselines::of(self.held(key));
        // Dropped cells are included, for replicas that still hold them.
        let seen: Vec<(ReplicaId, Cleared, Origin)> = cleared_by_reset(self.held(key))
            .into_iter()
            .chain(self.dropped(key))
            .map(|(id, cleared)| (id, cleared, self.origin_of(&baselines, id, key)))
            .collect();
        let (at, slot) = self.own_cell(replica, key);
        let writer = self.writers().at(at);
        let mut extra = writer.extra(slot).cloned().unwrap_or_default();
        if removes {
            extra.removal = writer.next_version();
        }
        let version = writer.next_version();
        for (id, mut cleared, origin) in seen {
            if id == replica {
                // This write moves the resetter's cell to `version`, so its reset of itself must
                // carry that version.
                cleared.version = version;
            }
            extra.resets.clear(id, cleared, origin);
        }
        self.write_extra(at, slot, extra)
    }

    /// The writers that have dropped their cells at a key, in the form that a reset records. Leaves
    /// out writers that have forgotten the drop or made a new cell.
    pub(super) fn dropped(&self, key: u32) -> impl Iterator<Item = (ReplicaId, Cleared)> + '_ {
        let name = key_bytes(self.keys().names(key));
        self.writers().iter().filter_map(move |writer| {
            if writer.tombstones().is_empty() || writer.slot(key, key).is_some() {
                return None;
            }
            let version = writer.tombstones().latest(&name)?;
            Some((writer.id(), Cleared { version, amounts: Amounts::default() }))
        })
    }

    /// The origin of a replica's cell at a key. If the cell was dropped, the origin that its next
    /// cell would have.
    pub(super) fn origin_of(&self, baselines: &Baselines, replica: ReplicaId, key: u32) -> Origin {
        let dropped = || {
            let writer = self.writers().get(replica)?;
            if writer.tombstones().is_empty() || writer.slot(key, key).is_some() {
                return None;
            }
            let version = writer.tombstones().latest(&key_bytes(self.keys().names(key)))?;
            Some(Origin::after_drop(version))
        };
        baselines.origin_of(replica).or_else(dropped).unwrap_or_default()
    }
}
