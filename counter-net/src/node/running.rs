//! Starts and stops a node, and describes it while it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::builder::NodeBuilder;
use super::info::NodeInfo;
use crate::error::{NodeFailure, StartError};
use crate::metrics::{MetricsFormat, NodeCollector};
use crate::shared::Shared;

/// A running node: one replica of every counter, connected to its cluster.
///
/// Cheap to clone, and usable from any task or thread. Reads and adds use this node's memory and
/// never wait for the network.
///
/// The node stops when [`Node::shutdown`] is called. If the last clone is dropped without that, it
/// stops as if its process had died. [`Counter`](crate::Counter)s and [`Viewer`](crate::Viewer)s do
/// not keep it running. The counters of a stopped node refuse adds with
/// [`AddError::Stopped`](crate::AddError::Stopped) and can still be read.
///
/// # Examples
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use counter_net::{Discovery, Node};
///
/// let node = Node::builder()
///     .region("ord")
///     .cluster("docs-node")
///     .discover(Discovery::None)
///     .start()
///     .await?;
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

/// The driver's task. It is aborted when the last `Node` is dropped.
struct Running {
    shared: Arc<Shared>,
    ending: Mutex<Shutdown>,
    abort: tokio::task::AbortHandle,
    /// Kept because a shutdown may be polled outside of the runtime.
    runtime: Handle,
}

/// The steps of a shutdown. A later call continues where a dropped one stopped.
struct Shutdown {
    driver: Option<JoinHandle<()>>,
    /// The task that closes the data directory after a last commit.
    store: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.gate.stop();
        self.abort.abort();
    }
}

impl NodeBuilder {
    /// Starts the node on the current tokio runtime.
    ///
    /// Resolves once the node listens; [`Node::info`] then has its addresses. Cancel safe: dropping
    /// the future leaves nothing running.
    ///
    /// # Errors
    ///
    /// [`StartError`] if a setting is invalid, or an address or the data directory cannot be used.
    /// Nothing is left running. Each message says what to write instead.
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
    /// Returns a builder with default settings; [`NodeBuilder::start`] starts the node.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    fn running(shared: Arc<Shared>, task: JoinHandle<()>, runtime: Handle) -> Self {
        let (abort, ending) =
            (task.abort_handle(), Mutex::new(Shutdown { driver: Some(task), store: None }));
        Self { running: Arc::new(Running { shared, ending, abort, runtime }) }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }

    /// Waits until the node fails, and returns the reason. Pends for ever if it does not.
    ///
    /// A failed node refuses adds and keeps those that it took. Cancel safe.
    pub async fn failed(&self) -> NodeFailure {
        self.shared().failed().await
    }

    /// Shuts down and leaves the cluster for good: another node takes over this one's counts, even
    /// if it has a data directory. Does nothing if the node has stopped.
    ///
    /// [`Node::shutdown`] does the same for a node without a data directory. If no node is reached
    /// within [`NodeBuilder::leave_within`] (5 s), this incarnation stays enrolled until some node
    /// calls [`Node::retire`] for it, or a node starts from its directory. Cancel safe like
    /// [`Node::shutdown`].
    pub async fn leave(&self) {
        self.shared().for_good.store(true, Ordering::Relaxed);
        self.shutdown().await;
    }

    /// Returns this node's identity, addresses and connections.
    ///
    /// # Complexity
    ///
    /// Short shared locks, and a look at each connected peer.
    pub fn info(&self) -> NodeInfo {
        self.shared().info()
    }

    /// Cuts this node off from all others, or reconnects it. For demonstrations and drills.
    ///
    /// An isolated node has no connections and accepts none. Reads, adds and commits continue. To
    /// the others it looks as if its network broke. Once healed, it dials all known nodes at once,
    /// and both sides pull what they missed. A restart ends the isolation.
    pub fn set_isolated(&self, isolated: bool) {
        self.shared().isolated.store(isolated, Ordering::Relaxed);
        self.shared().wakes.isolation.notify_one();
        self.shared().subscribers.presence_changed();
    }

    /// Returns the latest value passed to [`Node::set_isolated`].
    pub fn is_isolated(&self) -> bool {
        self.shared().isolated.load(Ordering::Relaxed)
    }

    /// Returns the node's metrics in the Prometheus text format 0.0.4; the README lists them.
    ///
    /// [`Node::register`] adds them to your own registry, and [`MetricsFormat`] writes a registry
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

    /// Stops the node: flushes every add, says good-bye to the cluster, and closes all connections.
    ///
    /// Every add that returned `Ok` is flushed and handed over. During the call, adds, resets and
    /// waits begin to fail with [`AddError::Stopped`](crate::AddError::Stopped) and the like; reads
    /// continue. An add at that very moment may fail with
    /// [`AddError::MaybeAdded`](crate::AddError::MaybeAdded). Messages get at most 500 ms to go
    /// out, or [`NodeBuilder::leave_within`] if the node leaves for good.
    ///
    /// May be called again and from several clones; each call waits for the same end. Cancel safe:
    /// if the future is dropped, the node still stops, and another call waits for that.
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
