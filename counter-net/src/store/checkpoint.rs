//! A checkpoint in progress: the whole state in pages, one per commit, while adds and joins
//! continue.

use counter_core::{Cursor, DeltaPage, ReplicaId, VersionVector};

/// The most bytes of a page. It bounds how long the state's lock is held.
pub(super) const PAGE_BYTES_MAX: usize = 1 << 20;

/// A log shorter than this is not worth a checkpoint.
const LOG_BYTES_MIN: u64 = 1 << 20;
/// The overhead of a row, in bytes: about its cost in the file and on loading.
const ROW_BYTES: u64 = 64;

/// The bytes written since the last checkpoint began, and the size of that checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    log: u64,
    checkpoint: u64,
}

impl Weight {
    /// A delta was appended to the log.
    pub(super) fn appended(&mut self, bytes: usize) {
        self.log += bytes as u64 + ROW_BYTES;
    }

    /// A checkpoint began. When it comes into force, the log before it is removed.
    pub(super) fn checkpoint_began(&mut self) {
        self.log = 0;
    }

    /// A checkpoint of this size came into force.
    pub(super) fn checkpoint_ended(&mut self, bytes: u64) {
        self.checkpoint = bytes;
    }

    /// A page of the checkpoint in force was loaded.
    pub(super) fn page_loaded(&mut self, bytes: usize) {
        self.checkpoint += bytes as u64;
    }

    /// Returns true if the log outweighs the state. A new checkpoint then costs no more than was
    /// written since the last.
    pub(super) fn wants_checkpoint(&self) -> bool {
        self.log > LOG_BYTES_MIN.max(self.checkpoint)
    }

    /// The bytes of log and checkpoint.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.log, self.checkpoint)
    }
}

/// A walk over the writers that the state had when it began.
#[derive(Debug)]
pub(super) struct Checkpoint {
    left: Vec<ReplicaId>,
    cursor: Option<Cursor>,
    bytes: u64,
}

impl Checkpoint {
    pub(super) fn new(writers: Vec<ReplicaId>) -> Self {
        Self { left: writers, cursor: None, bytes: 0 }
    }

    /// The next page to ask the map for: all cells of the remaining writers, from the cursor on.
    pub(super) fn wanted(&self) -> (VersionVector, &[ReplicaId], Option<&Cursor>) {
        (VersionVector::new(), &self.left, self.cursor.as_ref())
    }

    /// Continues after a page was written. Returns the bytes of all pages if it was the last.
    pub(super) fn written(&mut self, page: &DeltaPage, bytes: usize) -> Option<u64> {
        let closed: Vec<ReplicaId> = page.delta.spans().map(|span| span.replica).collect();
        self.left.retain(|writer| !closed.contains(writer));
        self.cursor = page.next.clone();
        self.bytes += bytes as u64;
        self.cursor.is_none().then_some(self.bytes)
    }
}
