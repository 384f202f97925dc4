//! Presence: a guard that counts one viewer while it incarnations.

use crate::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One viewer of this node's region; dropping it is leaving. Presence is a sum over live nodes of
/// such guards, so it cannot drift.
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
