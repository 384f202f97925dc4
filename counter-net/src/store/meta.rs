//! What a store says of its node: the format it is written in, the key pair, the latest incarnation
//! and where it lay then.

use counter_core::ReplicaId;

use super::directory::Place;

/// The format that this release writes. An earlier one is read and rewritten at the first start; a
/// later one is refused.
pub(super) const FORMAT: u64 = 1;

/// The node that a store belongs to.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The node's key pair in libp2p's protobuf form; empty in a new store.
    pub(crate) key_pair: Vec<u8>,
    /// The incarnation of the latest incarnation that was started from here; 0 for none.
    pub(crate) incarnation: u64,
    /// Where the store lay at that start.
    pub(crate) place: Place,
    /// The cluster whose counts these are; `None` where an earlier release wrote the store, until a
    /// cluster absorbs it.
    pub(crate) cluster: Option<String>,
    /// Where this is a copy: the latest incarnation of the node that wrote the original, for each
    /// time that it was copied, until it is known what became of them.
    pub(crate) copied: Vec<ReplicaId>,
    /// Another process had this node's identity when this one stopped: the directory is a clone.
    pub(crate) gave_way: bool,
}

impl Meta {
    /// Whether a node was started from here before.
    pub(crate) fn has_lived(&self) -> bool {
        !self.key_pair.is_empty()
    }
}

/// The key pair is a secret.
impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Meta");
        shown
            .field("generation", &self.incarnation)
            .field("place", &self.place)
            .field("cluster", &self.cluster)
            .field("copied", &self.copied)
            .field("gave_way", &self.gave_way)
            .finish_non_exhaustive()
    }
}
