//! Adds that wait for the disk, and how the store looks at a node's state.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use counter_core::{Cursor, Delta, Page, ReplicaId, VersionVector};

use super::Shared;
use crate::store::{Commits, Directory, NotDurable, RedbLog, Source, Ticket, Weight};

/// A node's open store.
pub(crate) struct Store {
    pub(crate) directory: Directory,
    pub(crate) log: RedbLog,
    pub(crate) weight: Weight,
    /// What opening and loading it took.
    pub(crate) load_time: Duration,
}

/// Resolves once everything that was added before it was made is on the disk, or at once on a node without a data directory: there the cluster's
/// memories are the copies.
///
/// Dropping it does not take the add back.
#[derive(Debug)]
#[must_use = "it says whether the add is on the disk"]
pub struct Durable(Option<Ticket>);

impl Durable {
    pub(super) fn new(ticket: Option<Ticket>) -> Self {
        Self(ticket)
    }
}

impl Future for Durable {
    type Output = Result<(), NotDurable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(ticket) = self.0.as_mut() else { return Poll::Ready(Ok(())) };
        let answer = ready!(Pin::new(ticket).poll(context));
        self.0 = None;
        Poll::Ready(answer.unwrap_or(Err(NotDurable::Stopped)))
    }
}

/// What the commit thread sees of a node. It keeps the directory locked while it lives, and does not keep the node.
struct Stored {
    shared: Weak<Shared>,
    _directory: Directory,
}

impl Source for Stored {
    fn changes_since(&mut self, stored: &VersionVector) -> Delta {
        let Some(shared) = self.shared.upgrade() else { return Delta::default() };
        let mut state = shared.write();
        let flushed = state.replica.flush();
        let delta = state.replica.map().delta_since(stored);
        if !flushed.changed.is_empty() {
            // The replicator tells of what it flushes itself; this flush was ours, and it publishes it when it is woken.
            shared.subscribers.state_changed(flushed.changed.iter().map(|key| state.replica.map().name_of(*key)));
            drop(state);
            shared.wakes.local.notify_one();
        }
        delta
    }

    fn page(&mut self, have: &VersionVector, only: &[ReplicaId], cursor: Option<&Cursor>, bytes_max: usize) -> Page {
        match self.shared.upgrade() {
            Some(shared) => shared.read().replica.map().page_since(have, Some(only), cursor, bytes_max),
            None => Page { delta: Delta::default(), next: None },
        }
    }

    fn writers(&mut self) -> Vec<ReplicaId> {
        self.shared.upgrade().map_or_else(Vec::new, |shared| shared.read().replica.map().replicas().collect())
    }
}

impl Shared {
    /// Starts to commit what changes; `stored` is what the store held when it was opened.
    pub(crate) fn commit_to(self: &Arc<Self>, store: Store, stored: VersionVector, commit_interval: Duration) -> std::io::Result<()> {
        // Set once, before anybody else has this node.
        let _first = self.stored.set((store.directory.store_path(), store.load_time));
        let source = Stored { shared: Arc::downgrade(self), _directory: store.directory };
        let commits = Commits::start(source, store.log, (stored, store.weight), commit_interval)?;
        commits.changed();
        // Set once, before anybody else has this node.
        let _first = self.commits.set(commits);
        Ok(())
    }

    /// The state changed; the store hears of it.
    pub(crate) fn state_changed(&self) {
        if let Some(commits) = self.commits.get() {
            commits.changed();
        }
    }

    /// A ticket for everything added until now.
    pub(super) fn durable(&self) -> Durable {
        Durable::new(self.commits.get().map(Commits::ticket))
    }

    /// False while the store cannot be written.
    pub(super) fn takes_adds(&self) -> bool {
        self.commits.get().is_none_or(|commits| !commits.is_failing())
    }
}
