//! The small trait behind which the store stands: one batch, durable as a whole or not at all.

use super::error::StoreError;

/// What one commit writes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Begins a checkpoint: this delta and those after it are kept when the checkpoint comes into
    /// force, those before it go.
    pub(crate) begin_checkpoint: bool,
    /// A delta, encoded.
    pub(crate) delta: Option<Vec<u8>>,
    /// A page of the checkpoint under way, encoded.
    pub(crate) page: Option<Vec<u8>>,
    /// The page was the last: the checkpoint comes into force.
    pub(crate) end_checkpoint: bool,
    /// What changed about the node itself.
    pub(crate) about: About,
}

/// What a running node changes of what its store says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// It goes on as a later incarnation, of this incarnation.
    pub(crate) incarnation: Option<u64>,
    /// It is known what became of the incarnations that wrote the original of this copy.
    pub(crate) is_settled: bool,
    /// Another process has this node's identity: the next start takes another.
    pub(crate) gives_way: bool,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.delta.is_none()
            && self.page.is_none()
            && !self.begin_checkpoint
            && !self.end_checkpoint
            && self.about == About::default()
    }
}

/// Where batches go.
pub(crate) trait Log: Send + 'static {
    /// Writes a batch; it is on the disk when this returns.
    ///
    /// # Errors
    /// Nothing of the batch was written; another try may succeed, such as when there is space
    /// again.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Whether replaced rows wait to be removed, a few with each commit.
    fn has_leftovers(&self) -> bool;
}
