//! What the driver and every handle of a node share: the state behind one lock, and the signals
//! between them.

mod commits;
mod gate;
mod waiting;

pub(crate) use commits::Store;
pub(crate) use gate::Gate;
pub(crate) use waiting::Waiting;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use counter_core::{Replica, ReplicaId};
use tokio::sync::{Notify, watch};

use crate::error::NodeFailure;
use crate::metrics::Metrics;
use crate::protocol::{NotReady, Replicator};
use crate::store::Commits;
use crate::subscribe::Subscribers;

/// The replica and the machine that replicates it, always changed together.
pub(crate) struct State {
    pub(crate) replica: Replica,
    pub(crate) replicator: Replicator,
    /// The count of viewers that the replicator was last told.
    pub(crate) viewers_told: u64,
}

/// Who this node is; fixed at its start. Which writer it is, the replica says: a node may go on as
/// another.
pub(crate) struct Identity {
    pub(crate) region: String,
    pub(crate) cluster: String,
    pub(crate) release: String,
    pub(crate) peer_id: String,
    pub(crate) node_name: Option<String>,
}

impl Identity {
    /// The node's name; its peer id where it has none.
    pub(crate) fn name(&self) -> &str {
        self.node_name.as_deref().unwrap_or(&self.peer_id)
    }
}

/// What handles say to the driver. Each is one remembered permit, so no queue can grow.
#[derive(Default)]
pub(crate) struct Wakes {
    pub(crate) local: Arc<Notify>,
    pub(crate) viewers: Notify,
    pub(crate) waits: Notify,
    pub(crate) isolation: Notify,
    pub(crate) stop: Notify,
}

/// Shared by the driver, the node's handles, its counters and its viewers.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) origin: Instant,
    state: RwLock<State>,
    pub(crate) wakes: Wakes,
    pub(crate) gate: Gate,
    pub(crate) viewers: AtomicU64,
    pub(crate) peers: AtomicUsize,
    /// What was asked for last; the driver follows.
    pub(crate) isolated: AtomicBool,
    /// This node runs on a copy and has not caught up with a member: what it holds may be in terms
    /// that the others have given up.
    pub(crate) behind: AtomicBool,
    /// When it stops, no later incarnation of this node goes on from its directory.
    pub(crate) for_good: AtomicBool,
    pub(crate) subscribers: Subscribers,
    pub(crate) waiting: Waiting,
    pub(crate) synced: watch::Sender<bool>,
    pub(crate) readiness: watch::Sender<Result<(), NotReady>>,
    pub(crate) stopped: watch::Sender<bool>,
    failure: watch::Sender<Option<NodeFailure>>,
    pub(crate) listen: RwLock<Vec<String>>,
    pub(crate) metrics: Metrics,
    /// Where a data directory is set.
    pub(crate) commits: OnceLock<Commits>,
    /// Where a data directory is set: its file, and what loading that took.
    pub(crate) stored: OnceLock<(PathBuf, Duration)>,
    /// What keeps this node from others.
    troubles: Mutex<Vec<Trouble>>,
}

/// Something that keeps this node from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// A metric's label.
    pub(crate) cause: &'static str,
    pub(crate) sentence: String,
}

impl Shared {
    pub(crate) fn new(
        identity: Identity,
        origin: Instant,
        state: State,
        wakes: Wakes,
        metrics: Metrics,
    ) -> Arc<Self> {
        let readiness = state.replicator.readiness();
        Arc::new(Self {
            identity,
            origin,
            state: RwLock::new(state),
            wakes,
            gate: Gate::default(),
            viewers: AtomicU64::new(0),
            peers: AtomicUsize::new(0),
            isolated: AtomicBool::new(false),
            behind: AtomicBool::new(false),
            for_good: AtomicBool::new(false),
            subscribers: Subscribers::default(),
            waiting: Waiting::default(),
            synced: watch::Sender::new(false),
            readiness: watch::Sender::new(readiness),
            stopped: watch::Sender::new(false),
            failure: watch::Sender::new(None),
            listen: RwLock::new(Vec::new()),
            metrics,
            commits: OnceLock::new(),
            stored: OnceLock::new(),
            troubles: Mutex::new(Vec::new()),
        })
    }

    /// Time since this node's start: the only clock that the protocol sees.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The writer that this node is now.
    pub(crate) fn replica(&self) -> ReplicaId {
        self.read().replica.id()
    }

    /// A poisoned lock means that a reader or the driver panicked between two steps of the state;
    /// joins are repeatable, so reading goes on.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node stops by itself.
    pub(crate) fn fail(&self, failure: NodeFailure) {
        tracing::error!("{failure}");
        self.failure.send_replace(Some(failure));
    }

    /// Waits until the node has stopped by itself.
    pub(crate) async fn failed(&self) -> NodeFailure {
        let mut failure = self.failure.subscribe();
        // The sender is this one, so it is not gone while somebody waits.
        match failure.wait_for(Option::is_some).await.ok().and_then(|failure| *failure) {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_troubles(&self, troubles: Vec<Trouble>) {
        let before = std::mem::replace(
            &mut *self.troubles.lock().unwrap_or_else(PoisonError::into_inner),
            troubles.clone(),
        );
        if before != troubles {
            self.subscribers.presence_changed();
        }
    }

    pub(crate) fn viewer_count(&self) -> u64 {
        self.viewers.load(Ordering::Relaxed)
    }
}
