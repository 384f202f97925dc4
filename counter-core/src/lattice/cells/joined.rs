//! The result of a join.

use std::sync::Arc;

use crate::dedup::entry::EntryKind;
use crate::lattice::delta::Span;
use crate::lattice::keys::KeyId;
use crate::lattice::versions::Version;
use crate::replica_id::ReplicaId;

/// The result of a join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// The keys with a changed cell. A key that several writers changed is listed once for each.
    pub changed: Vec<KeyId>,
    /// The spans that had no effect because something before them is missing here. The rest must be
    /// pulled.
    pub gaps: Vec<Span>,
    /// The replicas whose newer record was taken.
    pub records: Vec<ReplicaId>,
    /// True if one of these records mentions ended incarnations, or did before this join.
    pub incarnations_changed: bool,
    /// The number of cells with the version of the held cell but different contents. Each is a
    /// fault, and the greater cell was kept.
    pub conflicts: usize,
    /// The dedup entries that were taken, by kind and name.
    pub(crate) entries: Vec<(EntryKind, Arc<[u8]>)>,
    /// True if this replica took back own amounts, because others had applied the same adds. The
    /// next flush reports them.
    pub own_changed: bool,
    /// The end of the joining replica's own span, if it lies beyond its latest version. Then
    /// another process writes under its id.
    pub own_ahead: Option<Version>,
}

impl Joined {
    /// The number of cells taken.
    pub fn cells(&self) -> usize {
        self.changed.len()
    }

    /// True if something was taken that is not in `changed`: a record, or a dedup entry.
    pub fn has_more_than_cells(&self) -> bool {
        !self.records.is_empty() || !self.entries.is_empty()
    }
}
