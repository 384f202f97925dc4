//! The interface of a log: one batch per commit, durable as a whole or not at all.

use super::error::StoreError;

/// The contents of one commit.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Begins a checkpoint. When it comes into force, deltas before this one are removed.
    pub(crate) begin_checkpoint: bool,
    /// A delta, encoded.
    pub(crate) delta: Option<Vec<u8>>,
    /// A page of the checkpoint in progress, encoded.
    pub(crate) page: Option<Vec<u8>>,
    /// The page is the last, so the checkpoint comes into force.
    pub(crate) end_checkpoint: bool,
    /// Changes of the node's own record.
    pub(crate) meta_change: MetaChange,
}

/// Changes that a running node makes to its own record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MetaChange {
    /// It continues as this later incarnation.
    pub(crate) incarnation: Option<u64>,
    /// The incarnations of this copy's original are settled.
    pub(crate) is_settled: bool,
    /// Another process has this node's identity, so the next start takes a new one.
    pub(crate) gives_way: bool,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.delta.is_none()
            && self.page.is_none()
            && !self.begin_checkpoint
            && !self.end_checkpoint
            && self.meta_change == MetaChange::default()
    }
}

/// A durable log.
pub(crate) trait Log: Send + 'static {
    /// Writes a batch, which is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// If the batch could not be written. Nothing of it was. A retry may succeed, such as when
    /// there is space again.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Returns true if replaced rows remain. Each commit removes a few.
    fn has_leftovers(&self) -> bool;
}
