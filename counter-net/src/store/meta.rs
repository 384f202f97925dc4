//! The store's record of its node: format, key pair, latest incarnation, and the file's identity at
//! that start (`place`), by which a copied or moved file is recognised.

use counter_core::ReplicaId;

use super::directory::DirectoryPlace;

/// The format that this release writes. An earlier one is rewritten at the first start. A later one
/// is refused.
pub(super) const FORMAT: u64 = 1;

/// The node that a store belongs to.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The node's key pair in libp2p's protobuf form; empty in a new store.
    pub(crate) key_pair: Vec<u8>,
    /// The number of the latest incarnation that started from here; 0 for none.
    pub(crate) incarnation: u64,
    /// The place of the store at that start.
    pub(crate) place: DirectoryPlace,
    /// The cluster of these counts. `None` in a store of an earlier release, until its next start.
    pub(crate) cluster: Option<String>,
    /// For a copy: the latest incarnation of each original, until it is settled.
    pub(crate) copied: Vec<ReplicaId>,
    /// True if another process had this node's identity at the stop, so the directory is a clone.
    pub(crate) gave_way: bool,
}

impl Meta {
    /// Returns true if a node has started from here before.
    pub(crate) fn has_started(&self) -> bool {
        !self.key_pair.is_empty()
    }
}

/// Omits the key pair, which is a secret.
impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Meta");
        shown
            .field("incarnation", &self.incarnation)
            .field("place", &self.place)
            .field("cluster", &self.cluster)
            .field("copied", &self.copied)
            .field("gave_way", &self.gave_way)
            .finish_non_exhaustive()
    }
}
