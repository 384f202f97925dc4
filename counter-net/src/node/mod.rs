//! The public `Node`: one replica of every counter, its network, and what an application asks of
//! them.

mod builder;
mod counter;
mod durable;
mod incarnations;
mod info;
mod stable;
mod token;
mod view;
mod viewer;
mod waiting;

pub use builder::NodeBuilder;
pub use counter::Counter;
pub use durable::Durable;
pub use incarnations::{Incarnation, Standing};
pub use info::{Lag, Member, NodeInfo};
pub use stable::StableTotal;
pub use token::{Token, TokenError};
pub use view::{CounterView, RegionView};
pub use viewer::Viewer;
pub use waiting::{NotReached, NotReplicated, Replicated};

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use counter_core::{AddError, ReplicaId};
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::error::{NodeFailure, StartError};
use crate::metrics::{MetricsFormat, NodeCollector};
use crate::protocol::{Agreement, Copies, NotReady, RetireError};
use crate::shared::Shared;
use crate::subscribe::{Changes, Interest};

/// A running node: cheap to clone, `Send + Sync`, usable from any task or thread.
///
/// Reads and adds are answered from this node's own memory and never wait for the network. The node
/// stops when [`Node::shutdown`] is called, or abruptly (as if its process had died) when the last
/// clone is dropped; [`Counter`]s and [`Viewer`]s do not keep it running. The counters of a stopped
/// node refuse adds with [`AddError::Stopped`], and can still be read.
///
/// # Examples
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use counter_net::{Discovery, Node};
///
/// let node = Node::builder().region("ord").cluster("docs-node").discover(Discovery::None).start().await?;
/// let clicks = node.counter("clicks")?;
/// clicks.add(3)?;
/// assert_eq!(node.view("clicks").total, 3);
/// node.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Node {
    running: Arc<Running>,
}

/// The driver's task; aborted when the last `Node` goes.
struct Running {
    shared: Arc<Shared>,
    ending: Mutex<Ending>,
    abort: tokio::task::AbortHandle,
    /// A shutdown may be polled outside of it.
    runtime: Handle,
}

/// What a shutdown waits for, one after the other, and goes on with where it was dropped.
struct Ending {
    driver: Option<JoinHandle<()>>,
    /// Closes the data directory: a last commit may wait for the disk.
    store: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.gate.stop();
        self.abort.abort();
    }
}

impl NodeBuilder {
    /// Starts the node on the current tokio runtime. Ready when it listens: [`Node::info`] then has
    /// the addresses.
    ///
    /// Cancel safe: dropping the future leaves nothing running.
    ///
    /// # Errors
    ///
    /// See [`StartError`]; each says what to write instead.
    ///
    /// # Panics
    ///
    /// In a tokio runtime without time or I/O.
    pub async fn start(self) -> Result<Node, StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let (shared, task) = crate::driver::start(self.check()?).await?;
        Ok(Node::running(shared, task, runtime))
    }
}

impl Node {
    /// Where every node begins: choose region, cluster, addresses; then [`NodeBuilder::start`].
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    fn running(shared: Arc<Shared>, task: JoinHandle<()>, runtime: Handle) -> Self {
        let (abort, ending) =
            (task.abort_handle(), Mutex::new(Ending { driver: Some(task), store: None }));
        Self { running: Arc::new(Running { shared, ending, abort, runtime }) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }

    /// A handle to add to the counter `name`, which exists in this region from now on (with the
    /// value 0 until the first add).
    ///
    /// # Errors
    ///
    /// A name that is not 1-128 bytes of UTF-8 without control characters, or more counters than a
    /// node may create. Nothing was created.
    ///
    /// # Complexity
    ///
    /// One short exclusive lock and a hash look-up; keep the handle where many adds go to one
    /// counter.
    pub fn counter(&self, name: &str) -> Result<Counter, AddError> {
        Counter::open(Arc::clone(self.shared()), name)
    }

    /// True where some node made the counter `name`, as far as this node has heard. Never creates
    /// it.
    ///
    /// # Complexity
    ///
    /// One short shared lock and a hash look-up.
    pub fn exists(&self, name: &str) -> bool {
        self.shared().read().replica.map().regions(name).next().is_some()
    }

    /// Everything a page shows of the counter `name`, at one instant. Never creates the counter: an
    /// unknown one has a total of 0.
    ///
    /// Every region is in it that has a value in this counter, a viewer or a live node; so this
    /// node's own region always is.
    ///
    /// # Complexity
    ///
    /// Linear in the counter's replicas and the cluster's members, plus the cells changed since the
    /// state hash was last read.
    pub fn view(&self, name: &str) -> CounterView {
        CounterView::of(self.shared(), name)
    }

    /// Counts one viewer of this node's region, over all counters, for as long as the returned
    /// guard incarnations.
    pub fn viewer(&self) -> Viewer {
        Viewer::arrive(Arc::clone(self.shared()))
    }

    /// A stream of what changed, to know when to read [`Node::view`] again; it carries no values.
    ///
    /// Changes are coalesced for each subscriber: one who is slow gets fewer, never a backlog, and
    /// never slows the node. The stream ends when the node stops.
    pub fn subscribe(&self, interest: Interest) -> Changes {
        self.shared().subscribers.subscribe(interest)
    }

    /// Whether this node has caught up with the cluster once. Never becomes false again.
    pub fn is_synced(&self) -> bool {
        self.shared().read().replicator.is_synced()
    }

    /// Whether this node may serve; see [`Node::readiness`].
    pub fn is_ready(&self) -> bool {
        self.readiness().is_ok()
    }

    /// Whether this node may serve: it is synced, or [`NodeBuilder::ready_within`] is over.
    ///
    /// # Errors
    ///
    /// Why not: it is still catching up, every peer that was found has another cluster key, or a
    /// bound of the state refuses what peers hold.
    pub fn readiness(&self) -> Result<(), NotReady> {
        self.shared().read().replicator.readiness()
    }

    /// Waits until this node may serve. Returns at once when it has stopped. Cancel safe.
    pub async fn ready(&self) {
        let mut readiness = self.shared().readiness.subscribe();
        let mut stopped = self.shared().stopped.subscribe();
        tokio::select! {
            _ = readiness.wait_for(Result::is_ok) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    /// How far the live members have confirmed what this node holds.
    ///
    /// While the state moves, members confirm it about twice a second. So every change is known to
    /// be everywhere within two seconds, or [`Agreement::late`] names who does not confirm. Costs
    /// nothing to ask.
    ///
    /// # Complexity
    ///
    /// O(members + writers), with a short exclusive lock.
    pub fn agreement(&self) -> Agreement {
        let now = self.shared().now();
        let mut guard = self.shared().write();
        let state = &mut *guard;
        state.replicator.agreement(&state.replica, now)
    }

    /// Waits until this node holds all that a synced peer held, or knows that it is alone. Without
    /// discovery and peers that is at once.
    ///
    /// Where peers are named and none of them answers it keeps waiting; [`Node::ready`] bounds the
    /// wait. Returns at once when the node has stopped. Cancel safe.
    pub async fn synced(&self) {
        let mut synced = self.shared().synced.subscribe();
        let mut stopped = self.shared().stopped.subscribe();
        tokio::select! {
            _ = synced.wait_for(|synced| *synced) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    /// Whether a data directory is set, so that [`Counter::durable`] waits for a disk.
    pub fn is_durable(&self) -> bool {
        self.shared().commits.get().is_some()
    }

    /// Resolves when so many replicas hold everything that was added to this node before the call,
    /// or `within` is over; see [`Counter::add_replicated`].
    pub fn replicated(&self, copies: Copies, within: Duration) -> Replicated {
        self.shared().replicated(copies, within)
    }

    /// A token for all that this node holds now, its own adds until now included: a node that holds
    /// it shows no less, of any counter.
    ///
    /// # Complexity
    ///
    /// Linear in the replicas known, with a short exclusive lock. [`Counter::token`] is as small as
    /// one counter allows.
    pub fn token(&self) -> Token {
        self.shared().token(None)
    }

    /// A token for what this node shows of the counter `name` now; see [`Counter::token`]. Never
    /// creates the counter.
    pub fn token_of(&self, name: &str) -> Token {
        self.shared().token(Some(name))
    }

    /// Whether this node holds what the token has seen. Never waits.
    pub fn holds(&self, token: &Token) -> bool {
        self.shared().holds(token)
    }

    /// Waits until this node holds what the token has seen; at once where it does. While somebody
    /// waits, the node asks its peers for it.
    ///
    /// Cancel safe. To read afterwards: [`Node::view`], or any counter's total.
    ///
    /// # Errors
    ///
    /// [`NotReached::Behind`] when `within` is over: read what is there and say so, or send the
    /// client elsewhere.
    pub async fn reach(&self, token: &Token, within: Duration) -> Result<(), NotReached> {
        self.shared().reach(token, within).await
    }

    /// What every enrolled replica has of the counter `name`; see [`Counter::stable_total`]. Never
    /// creates the counter.
    pub fn stable_total(&self, name: &str) -> Option<StableTotal> {
        self.shared().stable_total(name)
    }

    /// The nodes of the cluster as this one knows them, itself included, by replica.
    pub fn members(&self) -> Vec<Member> {
        self.shared().members()
    }

    /// Every incarnation of a node of which something is held here, by replica: those that count
    /// for retirement, and those that ended and are not forgotten yet.
    ///
    /// # Complexity
    ///
    /// O(replicas log replicas).
    pub fn incarnations(&self) -> Vec<Incarnation> {
        self.shared().incarnations()
    }

    /// Declares an incarnation lost for good: this node takes over what it counted, and once every
    /// enrolled replica knows, the incarnation is forgotten everywhere.
    ///
    /// For nodes that will not come back: a memory-only one that crashed, one that was lost with
    /// its disk. A node that restarts from its data directory takes over its earlier incarnation by
    /// itself. Where something goes on to exist that has more of that incarnation than any member,
    /// such as its disk, that more is lost once the incarnation is forgotten.
    ///
    /// # Errors
    ///
    /// Where the incarnation is not known here, is this node's own, is live, was heard of in the
    /// last ten minutes, or has ended before; nothing changed.
    pub fn retire(&self, ended: ReplicaId) -> Result<(), RetireError> {
        self.shared().retire(ended, false)
    }

    /// As [`retire`](Self::retire), however late the incarnation was heard of. What it counted and
    /// no other node holds is lost.
    ///
    /// # Errors
    ///
    /// Where the incarnation is not known here, is this node's own, is live, or has ended before;
    /// nothing changed.
    pub fn force_retire(&self, ended: ReplicaId) -> Result<(), RetireError> {
        self.shared().retire(ended, true)
    }

    /// Waits until the node stops by itself, and returns why. For ever where it does not. Adds are
    /// refused from then on; what was added is kept.
    ///
    /// Cancel safe.
    pub async fn failed(&self) -> NodeFailure {
        self.shared().failed().await
    }

    /// Leaves the cluster for good, unless the node has stopped already: as [`Node::shutdown`], and
    /// another node takes over what this one counted, also where it has a data directory.
    ///
    /// A node without a directory always leaves so. Where no node is reached within 10 s, this
    /// incarnation stays enrolled until [`Node::retire`] is called for it somewhere, or its
    /// directory is started again. Cancel safe as [`Node::shutdown`] is.
    pub async fn leave(&self) {
        self.shared().for_good.store(true, Ordering::Relaxed);
        self.shutdown().await;
    }

    /// Who this node is, where it listens and whom it reaches.
    pub fn info(&self) -> NodeInfo {
        self.shared().info()
    }

    /// Cuts this node from every other, or heals that: a partition on purpose, for demonstrations
    /// and drills.
    ///
    /// While isolated it has no connection, dials nobody and takes nobody in; reads, adds and
    /// commits go on. The others see what they would see if its network broke. Once healed, it
    /// dials everybody that it knows at once, and both sides pull what they missed. Not remembered
    /// over a restart.
    pub fn set_isolated(&self, isolated: bool) {
        self.shared().isolated.store(isolated, Ordering::Relaxed);
        self.shared().wakes.isolation.notify_one();
        self.shared().subscribers.presence_changed();
    }

    /// Whether [`Node::set_isolated`] was last asked to cut this node off.
    pub fn is_isolated(&self) -> bool {
        self.shared().isolated.load(Ordering::Relaxed)
    }

    /// The node's metrics in the Prometheus text format 0.0.4; the crate's README lists them.
    ///
    /// [`Node::register`] adds them to a registry of yours, and [`MetricsFormat`] writes a registry
    /// in the format that a scraper asks for.
    ///
    /// # Complexity
    ///
    /// O(members + replicas), with a short shared lock.
    pub fn metrics_text(&self) -> String {
        let mut registry = Registry::default();
        self.register(&mut registry);
        MetricsFormat::Prometheus.encode(&registry)
    }

    /// Adds the node's metrics to `registry`, beside those of the application.
    ///
    /// They are read at each scrape, and named `counter_…` after the registry's own prefix. The
    /// registry does not keep the node running: after the last handle of the node is dropped, its
    /// metrics are gone. No label changes when a node restarts. Two nodes in one registry need a
    /// sub-registry with a label for each.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use counter_net::prometheus_client::{metrics::gauge::Gauge, registry::Registry};
    /// use counter_net::{Discovery, MetricsFormat, Node};
    ///
    /// let node = Node::builder().cluster("docs-metrics").discover(Discovery::None).start().await?;
    /// let mut registry = Registry::default();
    /// let jobs = Gauge::<i64>::default();
    /// registry.register("jobs", "Jobs that run now", jobs.clone());
    /// node.register(&mut registry);
    ///
    /// // In the handler of `/metrics`:
    /// let format = MetricsFormat::negotiate(Some("application/openmetrics-text;version=1.0.0"));
    /// let (content_type, body) = (format.content_type(), format.encode(&registry));
    /// assert!(content_type.starts_with("application/openmetrics-text"));
    /// assert!(body.contains("jobs 0\n") && body.contains("counter_adds_total 0\n"));
    /// # node.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn register(&self, registry: &mut Registry) {
        NodeCollector::register(self.shared(), registry);
    }

    /// Says good-bye to the cluster, gives that a moment to go out (at most 500 ms), and closes
    /// every connection.
    ///
    /// Every add that returned Ok is flushed and handed over. From some moment of the call on,
    /// adds, resets and waits at this node's counters fail with [`AddError::Stopped`] and its like;
    /// reads are answered as before. Calling it again, or from several clones, waits for the same
    /// end. Cancel safe: dropped midway the node stops all the same, and another call waits for
    /// that.
    pub async fn shutdown(&self) {
        self.shared().wakes.stop.notify_one();
        let mut ending = self.running.ending.lock().await;
        if let Some(driver) = ending.driver.as_mut() {
            let _ended = driver.await;
            ending.driver = None;
            let shared = Arc::clone(self.shared());
            ending.store = Some(self.running.runtime.spawn_blocking(move || {
                shared.commits.get().into_iter().for_each(crate::store::Commits::stop)
            }));
        }
        if let Some(store) = ending.store.as_mut() {
            let _closed = store.await;
            ending.store = None;
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("replica", &self.shared().replica()).finish_non_exhaustive()
    }
}
