//! Presence: a guard that counts one viewer while it exists.

use crate::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A guard that counts one viewer of this node's region until it is dropped.
///
/// A region's viewers are the guards of its live nodes, so the count cannot drift.
pub struct Viewer {
    shared: Arc<Shared>,
}

impl Viewer {
    pub(super) fn arrive(shared: Arc<Shared>) -> Self {
        shared.viewers.fetch_add(1, Ordering::Relaxed);
        shared.wakes.viewers.notify_one();
        Self { shared }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.shared.viewers.fetch_sub(1, Ordering::Relaxed);
        self.shared.wakes.viewers.notify_one();
    }
}

impl std::fmt::Debug for Viewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Viewer")
            .field("region", &self.shared.identity.region)
            .finish_non_exhaustive()
    }
}
