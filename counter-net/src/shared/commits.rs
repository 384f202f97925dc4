//! The store's view of a node's state.

use std::sync::{Arc, Weak};
use std::time::Duration;

use counter_core::{Cursor, Delta, DeltaPage, ReplicaId, VersionVector};

use super::Shared;
use crate::store::{CommitSource, Commits, DataDirectory, RedbLog, StoreError, Weight};

/// A node's open store.
pub(crate) struct Store {
    pub(crate) directory: DataDirectory,
    pub(crate) log: RedbLog,
    pub(crate) weight: Weight,
    /// The time to open and load it.
    pub(crate) load_time: Duration,
}

/// The commit thread's access to a node. It keeps the directory locked while it exists, and does
/// not keep the node alive.
struct NodeSource {
    shared: Weak<Shared>,
    _directory: DataDirectory,
}

impl CommitSource for NodeSource {
    fn changes_since(&mut self, stored: &VersionVector) -> Delta {
        let Some(shared) = self.shared.upgrade() else { return Delta::default() };
        let mut state = shared.write();
        let flushed = state.replica.flush();
        let delta = state.replica.map().delta_since(stored);
        if !flushed.changed.is_empty() {
            // The replicator reports its own flushes only. It publishes this one when woken.
            shared
                .subscribers
                .state_changed(flushed.changed.iter().map(|key| state.replica.map().name_of(*key)));
            drop(state);
            shared.wakes.local.notify_one();
        }
        delta
    }

    fn page(
        &mut self,
        have: &VersionVector,
        only: &[ReplicaId],
        cursor: Option<&Cursor>,
        bytes_max: usize,
    ) -> DeltaPage {
        match self.shared.upgrade() {
            Some(shared) => {
                shared.read().replica.map().page_since(have, Some(only), cursor, bytes_max)
            }
            None => DeltaPage { delta: Delta::default(), next: None },
        }
    }

    fn committed(&mut self, changes: &Delta) {
        if let Some(shared) = self.shared.upgrade() {
            let mut state = shared.write();
            state.replicator.note_committed(changes.spans().map(|span| (span.replica, span.upto)));
            if state.replicator.awaits_commit() {
                drop(state);
                shared.wakes.local.notify_one();
            }
        }
    }

    fn fails(&mut self, error: &StoreError) {
        if let Some(shared) = self.shared.upgrade() {
            shared.gate.store_fails(error.os_error());
        }
    }

    fn works(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.gate.store_works();
        }
    }

    fn writers(&mut self) -> Vec<ReplicaId> {
        self.shared
            .upgrade()
            .map_or_else(Vec::new, |shared| shared.read().replica.map().replicas().collect())
    }
}

impl Shared {
    /// Starts the commit thread. `stored` names the versions that the store held when it was
    /// opened.
    pub(crate) fn commit_to(
        self: &Arc<Self>,
        store: Store,
        stored: VersionVector,
        commit_interval: Duration,
    ) -> std::io::Result<()> {
        // Set once, before the node is shared.
        let _first = self.stored.set((store.directory.store_path(), store.load_time));
        self.write().replicator.follow_store(stored.clone());
        let source = NodeSource { shared: Arc::downgrade(self), _directory: store.directory };
        let commits = Commits::start(source, store.log, (stored, store.weight), commit_interval)?;
        commits.changed();
        // Set once, before the node is shared.
        let _first = self.commits.set(commits);
        Ok(())
    }

    /// Tells the store that the state changed.
    pub(crate) fn state_changed(&self) {
        if let Some(commits) = self.commits.get() {
            commits.changed();
        }
    }
}
