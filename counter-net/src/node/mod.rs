//! The public API of a running node.
//!
//! [`Node`] is one replica of every counter with its network. [`NodeBuilder`] starts it,
//! [`Counter`] adds to and reads one counter, and the other types here are their answers.

mod batch;
mod builder;
mod clearing;
mod counter;
mod durable;
mod expiry;
mod incarnations;
mod info;
mod listing;
mod stable;
mod token;
mod view;
mod viewer;
mod waiting;
mod window;

pub use batch::{AddedBatch, BatchError, BatchResult};
pub use builder::NodeBuilder;
pub use counter::Counter;
pub use durable::Durable;
pub use incarnations::{Incarnation, Standing};
pub use info::{Lag, Member, NodeInfo};
pub use listing::{CounterTotal, Counters};
pub use stable::StableTotal;
pub use token::{Token, TokenError};
pub use view::{CounterView, RegionView};
pub use viewer::Viewer;
pub use waiting::{NotReached, NotReplicated, Replicated};
pub use window::{LimitCheck, Window};

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use counter_core::ReplicaId;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::error::{AddError, NodeFailure, StartError};
use crate::metrics::{MetricsFormat, NodeCollector};
use crate::protocol::{Agreement, Copies, NotReady, RetireError};
use crate::shared::Shared;
use crate::shared::{Changes, Interest};

/// A running node: one replica of every counter, connected to its cluster.
///
/// Cheap to clone, and usable from any task or thread. Reads and adds use this node's memory and
/// never wait for the network.
///
/// The node stops when [`Node::shutdown`] is called. If the last clone is dropped without that, it
/// stops as if its process had died. [`Counter`]s and [`Viewer`]s do not keep it running. The
/// counters of a stopped node refuse adds with [`AddError::Stopped`] and can still be read.
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

    fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }

    /// Returns a handle to the counter `name`, and creates the counter if it does not exist.
    ///
    /// A new counter has the value 0 in this region.
    ///
    /// # Errors
    ///
    /// If the name is not 1-128 bytes of UTF-8 without control characters, or the node holds as
    /// many counters as may be made. Nothing was created.
    ///
    /// # Complexity
    ///
    /// A short exclusive lock and a hash look-up. Keep the handle if many adds go to one counter.
    pub fn counter(&self, name: &str) -> Result<Counter, AddError> {
        Counter::open(Arc::clone(self.shared()), name)
    }

    /// Returns a handle to the counter `name` like [`Node::counter`], and has the counter end at
    /// `expires_at`, or when it ends already if that is later.
    ///
    /// Every node drops its part of the counter after that time, by its own clock. A few seconds
    /// later nothing is left of it anywhere in reach. Adds are refused with
    /// [`WriteError::Expired`](counter_core::WriteError::Expired) meanwhile. After that an add makes
    /// the counter anew, and it then ends only where [`NodeBuilder::expire`] says so.
    ///
    /// # Errors
    ///
    /// As for [`Node::counter`], and if an earlier counter of this name has expired and is not gone
    /// yet. Nothing was created.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::{Duration, SystemTime};
    /// # use counter_net::{Discovery, Node};
    /// # let node =
    /// #     Node::builder().cluster("docs-until").discover(Discovery::None).start().await?;
    /// let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    /// let votes = node.counter_until("votes:today", tomorrow)?;
    /// votes.add(1)?;
    /// assert!(node.expires_at("votes:today") > Some(SystemTime::now()));
    /// # node.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn counter_until(&self, name: &str, expires_at: SystemTime) -> Result<Counter, AddError> {
        expiry::counter_until(self.shared(), name, expires_at)
    }

    /// Returns when the counter `name` ends, to the millisecond. `None` if it does not end, or if
    /// this node holds nothing of it.
    ///
    /// # Complexity
    ///
    /// A short shared lock, and linear in the counter's replicas.
    pub fn expires_at(&self, name: &str) -> Option<SystemTime> {
        expiry::expires_at(self.shared(), name)
    }

    /// Returns true if the counter `name` exists, as far as this node knows: it was made and not
    /// removed since. Never creates it.
    ///
    /// # Complexity
    ///
    /// A short shared lock and a hash look-up.
    pub fn exists(&self, name: &str) -> bool {
        self.shared().read().replica.map().contains(name)
    }

    /// Returns a snapshot of the counter `name`: its total, regions and viewers. Never creates the
    /// counter; an unknown one has a total of 0.
    ///
    /// Lists every region with a value in this counter, a viewer or a live node. That always
    /// includes this node's own.
    ///
    /// # Complexity
    ///
    /// Linear in the counter's regions, the cluster's members, and the cells changed since the
    /// state hash was last read. The lock is exclusive, because the hash is brought up to date.
    pub fn view(&self, name: &str) -> CounterView {
        CounterView::of(self.shared(), name)
    }

    /// Returns the sum over all regions of the counter `name`; 0 if it is unknown. Never creates
    /// the counter.
    ///
    /// # Complexity
    ///
    /// A short shared lock and a hash look-up.
    pub fn total(&self, name: &str) -> i128 {
        self.shared().read().replica.total(name)
    }

    /// Returns the value of the counter `name` in one region; 0 if nobody added there. Never
    /// creates the counter.
    ///
    /// # Complexity
    ///
    /// A short shared lock and a hash look-up.
    pub fn value(&self, name: &str, region: &str) -> i128 {
        self.shared().read().replica.value(name, region)
    }

    /// Lists the counters whose names start with `prefix`, in the order of the bytes of their
    /// names; an empty prefix means all. Creates nothing.
    ///
    /// A counter is listed from its first add on, and also after a reset. The iterator reads the
    /// node page by page, so adds go on meanwhile; [`Counters`] says what that means for the list.
    /// It ends when no more names follow, also on a stopped node.
    ///
    /// # Complexity
    ///
    /// O(log counters) for the first of each 128 names, and O(1) for the others. Each page takes a
    /// shared lock, for less than 0.1 ms. The order of names takes about 6 bytes a counter. New
    /// names are sorted in the background; the first page sorts those that are left, about 1 µs
    /// each.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use counter_net::{Discovery, Node};
    /// # let node =
    /// #     Node::builder().cluster("docs-counters").discover(Discovery::None).start().await?;
    /// for (name, amount) in [("likes:1", 5), ("likes:2", 3), ("likes:3", 4), ("sold", 9)] {
    ///     node.counter(name)?.add(amount)?;
    /// }
    /// // In pages: the last name of one page starts the next.
    /// let page: Vec<_> = node.counters("likes:").take(2).collect();
    /// assert_eq!((page[0].name.as_str(), page[0].total), ("likes:1", 5));
    /// let rest: Vec<_> = node.counters("likes:").after(&page[1].name).collect();
    /// assert_eq!((rest.len(), rest[0].name.as_str()), (1, "likes:3"));
    /// # node.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn counters(&self, prefix: &str) -> Counters {
        Counters::new(Arc::clone(self.shared()), prefix)
    }

    /// Returns the `count` counters with the largest totals among those whose names start with
    /// `prefix`, the largest first. Of equal totals the first name comes first. Creates nothing.
    ///
    /// Totals may be of slightly different moments, as in [`Node::counters`].
    ///
    /// # Complexity
    ///
    /// Looks at every counter of the prefix, about 0.2 s for 1,000,000. In async code call it from
    /// `spawn_blocking` if there are that many. Like [`Node::counters`] it takes a shared lock for
    /// each 128 names.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use counter_net::{Discovery, Node};
    /// # let node = Node::builder().cluster("docs-top").discover(Discovery::None).start().await?;
    /// for (name, amount) in [("likes:1", 5), ("likes:2", 3), ("likes:3", 4)] {
    ///     node.counter(name)?.add(amount)?;
    /// }
    /// let names: Vec<_> = node.top("likes:", 2).into_iter().map(|counter| counter.name).collect();
    /// assert_eq!(names, ["likes:1", "likes:3"]);
    /// # node.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn top(&self, prefix: &str, count: usize) -> Vec<CounterTotal> {
        self.shared().top(prefix, count)
    }

    /// Counts one viewer in this node's region until the returned guard is dropped.
    pub fn viewer(&self) -> Viewer {
        Viewer::arrive(Arc::clone(self.shared()))
    }

    /// Returns a stream of changes, which tells when to read [`Node::view`] again. It carries no
    /// values.
    ///
    /// Changes are coalesced for each subscriber. A slow one gets fewer of them, never a backlog,
    /// and does not slow the node. The stream ends when the node stops.
    pub fn subscribe(&self, interest: Interest) -> Changes {
        self.shared().subscribers.subscribe(interest)
    }

    /// Returns true once this node has caught up with the cluster. Never becomes false again.
    pub fn is_synced(&self) -> bool {
        self.shared().read().replicator.is_synced()
    }

    /// Returns true if this node may serve; see [`Node::readiness`].
    pub fn is_ready(&self) -> bool {
        self.readiness().is_ok()
    }

    /// Returns `Ok` if this node may serve: it is synced, or [`NodeBuilder::ready_within`] has
    /// passed.
    ///
    /// # Errors
    ///
    /// [`NotReady`] if the node is still catching up, every peer that was found has another cluster
    /// key, or a bound of the state refuses what peers hold.
    pub fn readiness(&self) -> Result<(), NotReady> {
        self.shared().read().replicator.readiness()
    }

    /// Waits until this node may serve, or has stopped. Cancel safe.
    pub async fn ready(&self) {
        let mut readiness = self.shared().readiness.subscribe();
        let mut stopped = self.shared().stopped.subscribe();
        tokio::select! {
            _ = readiness.wait_for(Result::is_ok) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    /// Reports how far the live members have confirmed this node's state.
    ///
    /// While the state changes, members confirm it about twice a second. Within two seconds every
    /// change is known to be everywhere, or [`Agreement::late`] names the members that have not
    /// confirmed. The call sends nothing.
    ///
    /// # Complexity
    ///
    /// O(members + writers) under a short exclusive lock.
    pub fn agreement(&self) -> Agreement {
        let now = self.shared().now();
        let mut guard = self.shared().write();
        let state = &mut *guard;
        state.replicator.agreement(&state.replica, now)
    }

    /// Waits until this node has caught up with a synced peer, or knows that it is alone.
    ///
    /// Resolves at once without discovery and peers. While named peers do not answer it keeps
    /// waiting; [`Node::ready`] bounds that wait. Resolves when the node stops. Cancel safe.
    pub async fn synced(&self) {
        let mut synced = self.shared().synced.subscribe();
        let mut stopped = self.shared().stopped.subscribe();
        tokio::select! {
            _ = synced.wait_for(|synced| *synced) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    /// Resolves once every reset, removal and batch before the call is on this node's disk, or at
    /// once without a data directory. For adds through a handle await [`Counter::durable`].
    ///
    /// # Errors
    ///
    /// The future fails with [`NotDurable::Store`](crate::NotDurable::Store) if the commit failed;
    /// the node retries it. It fails with [`NotDurable::Stopped`](crate::NotDurable::Stopped) if
    /// the node stopped first. The changes count in any case.
    pub fn durable(&self) -> Durable {
        self.shared().durable()
    }

    /// Returns true if the node has a data directory, so that [`Counter::durable`] waits for a
    /// disk.
    pub fn is_durable(&self) -> bool {
        self.shared().commits.get().is_some()
    }

    /// Resolves once `copies` replicas hold everything added to this node before the call; see
    /// [`Counter::add_replicated`].
    ///
    /// # Errors
    ///
    /// The future fails with [`NotReplicated::Few`] after `within`, with [`NotReplicated::Busy`] if
    /// too many waits are open, and with [`NotReplicated::Stopped`] if the node stopped first. The
    /// adds count in any case.
    pub fn replicated(&self, copies: Copies, within: Duration) -> Replicated {
        self.shared().replicated(copies, within)
    }

    /// Returns a token for this node's present state of all counters, its own adds included. A node
    /// that holds the token shows no less.
    ///
    /// Flushes pending adds first, which gives them a version.
    ///
    /// # Complexity
    ///
    /// Linear in the known replicas and the pending adds, under a short exclusive lock.
    /// [`Counter::token`] is smaller.
    pub fn token(&self) -> Token {
        self.shared().token(None)
    }

    /// Returns a token for this node's present state of the counter `name`; see [`Counter::token`].
    /// Never creates the counter.
    ///
    /// # Complexity
    ///
    /// As for [`Counter::token`].
    pub fn token_of(&self, name: &str) -> Token {
        self.shared().token(Some(name))
    }

    /// Returns true if this node holds everything that the token has seen. Never waits.
    ///
    /// # Complexity
    ///
    /// A short shared lock, and a look-up for each writer that the token names.
    pub fn holds(&self, token: &Token) -> bool {
        self.shared().holds(token)
    }

    /// Waits until this node holds everything that the token has seen.
    ///
    /// Meanwhile the node asks its peers for it. Read [`Node::view`] or a counter's total
    /// afterwards. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`NotReached::Behind`] after `within`: read the older state and say so, or send the client
    /// to another node. [`NotReached::Busy`] at once if too many waits are open.
    /// [`NotReached::Stopped`] if the node stopped first.
    pub async fn reach(&self, token: &Token, within: Duration) -> Result<(), NotReached> {
        self.shared().reach(token, within).await
    }

    /// Returns the total of the counter `name` that every enrolled replica holds; see
    /// [`Counter::stable_total`]. Never creates the counter.
    ///
    /// # Complexity
    ///
    /// As for [`Counter::stable_total`].
    pub fn stable_total(&self, name: &str) -> Option<StableTotal> {
        self.shared().stable_total(name)
    }

    /// Returns a sliding window of width `within` over the adds of all regions. `None` if `within`
    /// is 0 or more than 31 days.
    ///
    /// Windows are apart from counters of the same name, are not listed, and need no removal: a
    /// minute after an add has left the window, nothing is left of it. Until then a window takes a
    /// counter of `counters_max` for each tenth of its width with adds.
    ///
    /// # Complexity
    ///
    /// Takes no lock, and copies the name.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use counter_net::{Discovery, Node};
    /// # let node =
    /// #     Node::builder().cluster("docs-window").discover(Discovery::None).start().await?;
    /// let logins = node.window("logins:anna", Duration::from_secs(60)).ok_or("too wide")?;
    /// for _ in 0..3 {
    ///     assert!(logins.check(1, 3)?.allowed);
    /// }
    /// let refused = logins.check(1, 3)?;
    /// assert!(!refused.allowed && refused.retry_after <= Duration::from_secs(60));
    /// # node.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn window(&self, name: &str, within: Duration) -> Option<Window> {
        Window::new(Arc::clone(self.shared()), name, within)
    }

    /// Resets every region of the counter `name` by the value that this node has seen; see
    /// [`Counter::reset`]. Returns false if this node holds nothing of it. Never creates the
    /// counter.
    ///
    /// # Errors
    ///
    /// As for [`Counter::reset`].
    ///
    /// # Complexity
    ///
    /// As for [`Counter::reset`].
    pub fn reset(&self, name: &str) -> Result<bool, AddError> {
        clearing::reset(self.shared(), name)
    }

    /// Removes the counter `name`: it reads 0 at once, and every node forgets it. Returns false if
    /// this node holds nothing of it. Never creates the counter.
    ///
    /// Adds that this node has not seen survive, and the counter lives on with them. A later add
    /// makes it anew. Once every enrolled replica has confirmed the removal, nothing of the counter
    /// is left anywhere; a replica that is out of reach holds that back until it is back, leaves,
    /// or is [retired](Node::retire). Until then a removed counter costs about 20 bytes and its
    /// name.
    ///
    /// Flushes pending adds of all counters first.
    ///
    /// # Errors
    ///
    /// [`AddError::NotCaughtUp`] until this node is [synced](Node::synced), and on a copied data
    /// directory until a member has answered. [`AddError::Stopped`] after the node has stopped.
    /// Nothing was removed.
    ///
    /// # Complexity
    ///
    /// Linear in the counter's cells and the pending adds, under a short exclusive lock.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use counter_net::{Discovery, Node};
    /// # let node =
    /// #     Node::builder().cluster("docs-remove").discover(Discovery::None).start().await?;
    /// let likes = node.counter("likes:article-7")?;
    /// likes.add(3)?;
    /// node.synced().await;
    /// assert!(node.remove("likes:article-7")?); // the article was deleted
    /// assert_eq!(likes.total(), 0);
    /// # node.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn remove(&self, name: &str) -> Result<bool, AddError> {
        clearing::remove(self.shared(), name)
    }

    /// Returns the number of tombstones: cells of removed counters that are gone here, whose
    /// removal some enrolled replica has not confirmed. About 20 bytes each and a name.
    ///
    /// It is 0 a few seconds after a removal, unless a replica is out of reach.
    pub fn tombstones(&self) -> usize {
        self.shared().read().replica.map().tombstone_count()
    }

    /// Lists the nodes of the cluster that this node knows, itself included, ordered by replica.
    ///
    /// A node that left or fell silent is listed for about 90 s more. [`Node::incarnations`] also
    /// lists those that are absent for longer.
    ///
    /// # Complexity
    ///
    /// O(members × replicas) at most, under a shared lock.
    pub fn members(&self) -> Vec<Member> {
        self.shared().members()
    }

    /// Lists every incarnation whose counts this node holds, ordered by replica.
    ///
    /// These are the enrolled ones, and those that ended and are not forgotten yet.
    ///
    /// # Complexity
    ///
    /// O(replicas log replicas).
    pub fn incarnations(&self) -> Vec<Incarnation> {
        self.shared().incarnations()
    }

    /// Declares an incarnation lost for good, and takes over its counts.
    ///
    /// Once every enrolled replica knows, the incarnation is forgotten everywhere. Use this for
    /// nodes that will not come back: one without a data directory that crashed, or one that lost
    /// its disk. A node that restarts from its data directory takes over its earlier incarnations
    /// itself. Adds that no member holds, such as those on a lost disk, are lost once the
    /// incarnation is forgotten.
    ///
    /// If this node is lost at once, the retirement is lost with it. Wait for
    /// [`durable`](Self::durable) or [`replicated`](Self::replicated) to be sure.
    ///
    /// # Errors
    ///
    /// If the incarnation is unknown here, is this node's own, is live, was heard of in the last
    /// ten minutes, or has ended already. Nothing changed.
    ///
    /// # Complexity
    ///
    /// Linear in the replicas, under a short exclusive lock. The counts are taken over in the
    /// background.
    pub fn retire(&self, ended: ReplicaId) -> Result<(), RetireError> {
        self.shared().retire(ended, false)
    }

    /// Retires an incarnation like [`retire`](Self::retire), even if it was heard of recently. Adds
    /// of it that no other node holds are lost.
    ///
    /// # Errors
    ///
    /// If the incarnation is unknown here, is this node's own, is live, or has ended already.
    /// Nothing changed.
    ///
    /// # Complexity
    ///
    /// As for [`retire`](Self::retire).
    pub fn force_retire(&self, ended: ReplicaId) -> Result<(), RetireError> {
        self.shared().retire(ended, true)
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
    /// An isolated node has no connections and accepts none. Reads, adds and commits go on. To the
    /// others it looks as if its network broke. Once healed, it dials all known nodes at once, and
    /// both sides pull what they missed. A restart ends the isolation.
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
    /// waits begin to fail with [`AddError::Stopped`] and the like; reads go on. An add at that
    /// very moment may fail with [`AddError::MaybeAdded`]. Messages get at most 500 ms to go out,
    /// or [`NodeBuilder::leave_within`] if the node leaves for good.
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
