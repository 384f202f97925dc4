//! State shared by the driver and a node's handles.
//!
//! [`Shared`] holds the replica and the replicator behind one lock, and the signals between handles
//! and driver. `clock` reads this machine's clock. `gate` refuses adds, `waiting` connects waits to
//! the driver, `subscribe` coalesces changes for subscribers, and `commits` connects the state to
//! the store.

mod clock;
mod commits;
mod gate;
mod subscribe;
mod waiting;

pub(crate) use clock::{ms_since_1970, now_ms};
pub(crate) use commits::Store;
pub(crate) use gate::Gate;
pub(crate) use subscribe::Subscribers;
pub use subscribe::{Change, Changes, Interest};
pub(crate) use waiting::OpenWaits;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use counter_core::{Replica, ReplicaId};
use tokio::sync::{Notify, watch};

use crate::error::NodeFailure;
use crate::metrics::EventCounts;
use crate::protocol::{NotReady, Replicator};
use crate::store::Commits;

/// The replica and its replicator, which always change together.
pub(crate) struct NodeState {
    pub(crate) replica: Replica,
    pub(crate) replicator: Replicator,
    /// The last viewer count that the replicator was given.
    pub(crate) viewers_told: u64,
}

/// Names that are sorted under one lock. In random order among 1,000,000 that takes 0.2 ms.
const SORTED_A_LOCK: usize = 128;

/// How often a reader yields to waiting writers. After that it takes its turn, even under constant
/// writing.
const YIELDS_MAX: usize = 100;

impl NodeState {
    /// Sorts some of the new names, for lists. Returns true if all are sorted.
    pub(crate) fn sort_some_names(&self) -> bool {
        self.replica.map().sort_names(SORTED_A_LOCK)
    }

    /// True if lists find all names in order.
    pub(crate) fn has_sorted_names(&self) -> bool {
        self.replica.map().sort_names(0)
    }
}

/// A node's fixed identity. Its incarnation is in the replica, because it may change while the node
/// runs.
pub(crate) struct Identity {
    pub(crate) region: String,
    pub(crate) cluster: String,
    pub(crate) release: String,
    pub(crate) peer_id: String,
    pub(crate) node_name: Option<String>,
}

impl Identity {
    /// The node's name, or its peer id if it has none.
    pub(crate) fn name(&self) -> &str {
        self.node_name.as_deref().unwrap_or(&self.peer_id)
    }
}

/// Signals from handles to the driver. Each stores at most one permit, so no queue can grow.
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
    state: RwLock<NodeState>,
    /// The threads that wait to lock the state for writing.
    writers: AtomicUsize,
    pub(crate) wakes: Wakes,
    pub(crate) gate: Gate,
    pub(crate) viewers: AtomicU64,
    pub(crate) peers: AtomicUsize,
    /// The latest request for isolation, which the driver follows.
    pub(crate) isolated: AtomicBool,
    /// True while a node on a copied directory has not caught up with a member. Its state may name
    /// incarnations that the others have folded.
    pub(crate) behind: AtomicBool,
    /// The node leaves for good: no later incarnation will continue from its directory.
    pub(crate) for_good: AtomicBool,
    pub(crate) subscribers: Subscribers,
    pub(crate) waiting: OpenWaits,
    pub(crate) synced: watch::Sender<bool>,
    pub(crate) readiness: watch::Sender<Result<(), NotReady>>,
    pub(crate) stopped: watch::Sender<bool>,
    failure: watch::Sender<Option<NodeFailure>>,
    pub(crate) listen: RwLock<Vec<String>>,
    pub(crate) metrics: EventCounts,
    /// The commit thread, if there is a data directory.
    pub(crate) commits: OnceLock<Commits>,
    /// The data directory's file and the time to load it, if there is one.
    pub(crate) stored: OnceLock<(PathBuf, Duration)>,
    /// Causes that keep this node from others.
    troubles: Mutex<Vec<Trouble>>,
}

/// A cause that keeps this node from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The label of the metric.
    pub(crate) cause: &'static str,
    pub(crate) sentence: String,
}

impl Shared {
    pub(crate) fn new(
        identity: Identity,
        origin: Instant,
        state: NodeState,
        wakes: Wakes,
        metrics: EventCounts,
    ) -> Arc<Self> {
        let readiness = state.replicator.readiness();
        Arc::new(Self {
            identity,
            origin,
            state: RwLock::new(state),
            writers: AtomicUsize::new(0),
            wakes,
            gate: Gate::default(),
            viewers: AtomicU64::new(0),
            peers: AtomicUsize::new(0),
            isolated: AtomicBool::new(false),
            behind: AtomicBool::new(false),
            for_good: AtomicBool::new(false),
            subscribers: Subscribers::default(),
            waiting: OpenWaits::default(),
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

    /// Time since this node's start. The protocol sees no other clock.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// This node's present incarnation.
    pub(crate) fn replica(&self) -> ReplicaId {
        self.read().replica.id()
    }

    /// Locks the state for reading. A poisoned lock is used all the same: a panic between two steps
    /// leaves a valid state, because joins are repeatable.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, NodeState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, NodeState> {
        self.writers.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        self.writers.fetch_sub(1, Ordering::Relaxed);
        if state.replica.has_expiry_rules() {
            // Everything that creates a counter holds this lock.
            state.replica.set_time(now_ms());
        }
        state
    }

    /// Locks the state for reading, and lets waiting writers go first. Work that takes many short
    /// locks needs this. Otherwise it would mostly take the lock again before a writer has woken
    /// up.
    pub(crate) fn read_after_writers(&self) -> RwLockReadGuard<'_, NodeState> {
        for _ in 0..YIELDS_MAX {
            if self.writers.load(Ordering::Relaxed) == 0 {
                break;
            }
            std::thread::yield_now();
        }
        self.read()
    }

    /// Marks the node as failed.
    pub(crate) fn fail(&self, failure: NodeFailure) {
        tracing::error!("{failure}");
        self.failure.send_replace(Some(failure));
    }

    /// Waits until the node has failed.
    pub(crate) async fn failed(&self) -> NodeFailure {
        let mut failure = self.failure.subscribe();
        // `self` owns the sender, so it outlives this wait.
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
