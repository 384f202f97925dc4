//! Dedup entries in the map: a replica writes them under its next version, and a join takes them.

use crate::dedup::entry::DedupEntry;
use crate::dedup::table::PutOutcome;
use crate::dedup::tables::NewEntry;
use crate::error::WriteError;
use crate::lattice::counter_map::{CounterMap, Joined};
use crate::lattice::keys::KeyId;
use crate::lattice::versions::Version;
use crate::lattice::writer::tombstones::key_bytes;
use crate::replica_id::ReplicaId;

impl CounterMap {
    /// The number of dedup entries of all writers.
    pub fn entry_count(&self) -> usize {
        self.dedup().len()
    }

    /// Writes an entry as `replica`, under its next version.
    pub(crate) fn write_entry(&mut self, replica: ReplicaId, entry: NewEntry) -> PutOutcome {
        let version = self.cells_mut().begin_change(replica);
        let (cells, dedup) = self.cells_and_dedup();
        dedup.write(replica, version, entry, cells.keys())
    }

    /// Absorbs the cells of ended incarnations at a key, see `Cells::absorb`.
    ///
    /// # Errors
    /// `CellFull`. Nothing changed.
    pub(crate) fn absorb_cells(
        &mut self,
        successor: ReplicaId,
        incarnations: &[ReplicaId],
        begun: Version,
        key: KeyId,
    ) -> Result<usize, WriteError> {
        let name = key_bytes(self.cells().keys().names(key.0));
        let settled = incarnations.iter().map(|&of| (of, self.dedup().settled_upto(of, &name)));
        let settled: Vec<(ReplicaId, Version)> = settled.filter(|(_, upto)| *upto > 0).collect();
        let settled = |of| settled.iter().find(|known| known.0 == of).map_or(0, |known| known.1);
        self.cells_mut().absorb(successor, incarnations, begun, key, settled)
    }

    /// The number of changes made by a writer and the later incarnations of its node before `own`.
    /// O(writers).
    pub(crate) fn written_since(&self, ended: ReplicaId, own: ReplicaId) -> Version {
        let of_node = self.writers().iter().filter(|writer| {
            writer.id().node == ended.node && writer.id() >= ended && writer.id() != own
        });
        of_node.fold(0, |written, writer| written.saturating_add(writer.seen()))
    }

    /// Takes a writer's entry from a join, unless a newer one of its name is held. `key` maps the
    /// entry's keys to the keys of this map.
    pub(super) fn take_entry(
        &mut self,
        writer: ReplicaId,
        entry: &DedupEntry,
        key: impl Fn(u32) -> u32,
        joined: &mut Joined,
    ) {
        let mut entry = entry.clone();
        entry.renumber(key);
        let (kind, name) = (entry.body.kind(), entry.name.clone());
        let (cells, dedup) = self.cells_and_dedup();
        if dedup.put(writer, entry, cells.keys()).taken {
            joined.entries.push((kind, name));
        }
    }

    /// Drops the entries of a writer that are no longer needed once writers are folded.
    pub(super) fn trim_entries_of(&mut self, writer: ReplicaId) {
        let (cells, dedup) = self.cells_and_dedup();
        dedup.trim(writer, |replica| cells.writers().ended().is_folded(replica));
    }

    /// Like [`trim_entries_of`](Self::trim_entries_of), for all writers.
    pub(crate) fn trim_entries(&mut self) {
        let (cells, dedup) = self.cells_and_dedup();
        dedup.trim_all(|replica| cells.writers().ended().is_folded(replica));
    }
}
