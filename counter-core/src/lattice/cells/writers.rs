//! The writers that a map holds.

use crate::incarnation::index::Incarnations;
use crate::incarnation::record::Record;
use crate::lattice::keys::Keys;
use crate::lattice::versions::Version;
use crate::lattice::writer::Writer;
use crate::replica_id::ReplicaId;

/// The snapshots of all writers in the order of ids, and the index of the incarnations that ended.
///
/// Invariant, between joins: the index matches the writers' records, and no folded writer is held.
#[derive(Clone, Default)]
pub(crate) struct Writers {
    /// Sorted by id.
    all: Vec<Writer>,
    ended: Incarnations,
}

impl Writers {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    #[inline]
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Writer> {
        self.all.iter()
    }

    #[inline]
    pub(crate) fn get(&self, replica: ReplicaId) -> Option<&Writer> {
        self.find(replica).ok().map(|at| &self.all[at])
    }

    /// The place of a writer. The error is the place where it would be inserted. O(log writers).
    #[inline]
    pub(crate) fn find(&self, replica: ReplicaId) -> Result<usize, usize> {
        self.all.binary_search_by_key(&replica, |writer| writer.id())
    }

    /// The writer at a place.
    #[inline]
    pub(crate) fn at(&self, at: usize) -> &Writer {
        &self.all[at]
    }

    #[inline]
    pub(super) fn at_mut(&mut self, at: usize) -> &mut Writer {
        &mut self.all[at]
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Writer> {
        self.all.iter_mut()
    }

    /// The place of a writer, added if it is new. Adding is O(writers).
    #[inline]
    pub(super) fn find_or_make(&mut self, replica: ReplicaId) -> usize {
        self.find(replica).unwrap_or_else(|at| {
            self.all.insert(at, Writer::new(replica));
            at
        })
    }

    /// The version up to which everything of a writer is held; 0 if nothing is.
    #[inline]
    pub(crate) fn seen_of(&self, replica: ReplicaId) -> Version {
        self.get(replica).map_or(0, Writer::seen)
    }

    pub(crate) fn record(&self, replica: ReplicaId) -> Option<&Record> {
        self.get(replica)?.record()
    }

    /// Every record that is held, by writer.
    pub(crate) fn records(&self) -> impl Iterator<Item = (ReplicaId, &Record)> {
        self.all.iter().filter_map(|writer| Some((writer.id(), writer.record()?)))
    }

    /// The claims, absorptions and folds in all records.
    #[inline]
    pub(crate) fn ended(&self) -> &Incarnations {
        &self.ended
    }

    /// Rebuilds the index from the records, and takes out the writers that they folded.
    pub(super) fn take_folded(&mut self) -> Vec<Writer> {
        self.ended = Incarnations::of(self.records());
        let (gone, kept) = std::mem::take(&mut self.all)
            .into_iter()
            .partition(|writer| self.ended.is_folded(writer.id()));
        self.all = kept;
        gone
    }

    /// Takes a writer out. Its record stays in the index until [`take_folded`](Self::take_folded).
    pub(super) fn take(&mut self, replica: ReplicaId) -> Option<Writer> {
        self.find(replica).ok().map(|at| self.all.remove(at))
    }

    /// Gives another id to a writer: everything that `from` wrote becomes the work of `to`. Returns
    /// false, and changes nothing, if nothing of `from` is held or something of `to` is.
    pub(super) fn rename(&mut self, from: ReplicaId, to: ReplicaId) -> bool {
        if self.find(to).is_ok() {
            return false;
        }
        let Some(mut writer) = self.take(from) else { return false };
        writer.rename(to);
        let at = self.find(to).unwrap_or_else(|at| at);
        self.all.insert(at, writer);
        self.ended = Incarnations::of(self.records());
        true
    }

    /// The hash of all snapshots.
    pub(super) fn hash(&mut self, keys: &Keys) -> u128 {
        let mut scratch = Vec::with_capacity(96);
        let hashes = self.all.iter_mut().map(|writer| writer.hash(&mut scratch, keys));
        hashes.fold(0, u128::wrapping_add)
    }
}
