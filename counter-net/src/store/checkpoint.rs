//! A checkpoint in the making: the whole state in pages, one with each commit, while adds and joins
//! go on.

use counter_core::{Cursor, Page, ReplicaId, VersionVector};

/// Bytes of a page: what the state's lock is held for.
pub(super) const PAGE_BYTES_MAX: usize = 1 << 20;

/// A log shorter than this is not worth a checkpoint.
const LOG_BYTES_MIN: u64 = 1 << 20;
/// What a row costs besides its bytes, in the file and when it is loaded.
const ROW_BYTES: u64 = 64;

/// How much was written since the last checkpoint began, and how large that was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    pub(super) log: u64,
    pub(super) checkpoint: u64,
}

impl Weight {
    pub(super) fn appended(&mut self, bytes: usize) {
        self.log += bytes as u64 + ROW_BYTES;
    }

    /// The log outweighs the state: writing the state anew costs no more than was written since.
    pub(super) fn wants_checkpoint(&self) -> bool {
        self.log > LOG_BYTES_MIN.max(self.checkpoint)
    }
}

/// A walk over the writers that were there when it began.
#[derive(Debug)]
pub(super) struct Checkpoint {
    left: Vec<ReplicaId>,
    cursor: Option<Cursor>,
    pub(super) bytes: u64,
}

impl Checkpoint {
    pub(super) fn new(writers: Vec<ReplicaId>) -> Self {
        Self { left: writers, cursor: None, bytes: 0 }
    }

    /// What to ask the map for: everything of the writers left, from the cursor on.
    pub(super) fn wanted(&self) -> (VersionVector, &[ReplicaId], Option<&Cursor>) {
        (VersionVector::new(), &self.left, self.cursor.as_ref())
    }

    /// Goes on after a page that was written; true when it was the last.
    pub(super) fn written(&mut self, page: &Page, bytes: usize) -> bool {
        let closed: Vec<ReplicaId> = page.delta.spans().map(|span| span.replica).collect();
        self.left.retain(|writer| !closed.contains(writer));
        self.cursor = page.next.clone();
        self.bytes += bytes as u64;
        self.cursor.is_none()
    }
}
