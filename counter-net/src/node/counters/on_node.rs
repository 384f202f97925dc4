//! The counters of a node, by name.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::counter::Counter;
use super::listing::{CounterTotal, Counters};
use super::view::CounterView;
use super::viewer::Viewer;
use super::window::Window;
use super::{clearing, expiry};
use crate::error::AddError;
use crate::node::Node;
use crate::shared::{Changes, Interest};

impl Node {
    /// Returns a handle to the counter `name`, and creates the counter if it does not exist.
    ///
    /// A new counter has the value 0 in this region.
    ///
    /// # Errors
    ///
    /// If the name is not 1-128 bytes of UTF-8 without control characters, or the node already
    /// holds `counters_max` counters. Nothing was created.
    ///
    /// # Complexity
    ///
    /// A short exclusive lock and a hash look-up. Keep the handle if many adds go to one counter.
    pub fn counter(&self, name: &str) -> Result<Counter, AddError> {
        Counter::open(Arc::clone(self.shared()), name)
    }

    /// Returns a handle to the counter `name` like [`Node::counter`], and makes the counter end at
    /// `expires_at`, or at the end that it has already if that is later.
    ///
    /// Every node drops its part of the counter after that time, by its own clock. A few seconds
    /// later nothing is left of it anywhere in reach. Adds are refused with
    /// [`WriteError::Expired`](counter_core::WriteError::Expired) meanwhile. After that an add
    /// creates the counter again. It then ends only if its name has a prefix of
    /// [`NodeBuilder::expire`](crate::NodeBuilder::expire).
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
    /// node page by page, so adds continue meanwhile; [`Counters`] says what that means for the
    /// list. It ends when no more names follow, also on a stopped node.
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
    /// `prefix`, the largest first. Equal totals are in the order of their names. Creates nothing.
    ///
    /// The totals may be from slightly different moments, as in [`Node::counters`].
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

    /// Returns a sliding window of width `within` over the adds of all regions. `None` if `within`
    /// is 0 or more than 31 days.
    ///
    /// Windows are separate from counters of the same name, are not listed, and need no removal: a
    /// minute after an add has left the window, nothing is left of it. Until then each tenth of the
    /// window's width that has adds counts as one counter of `counters_max`.
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
    /// creates it again. Once every enrolled replica has confirmed the removal, nothing of the
    /// counter is left anywhere; a replica that is out of reach holds that back until it is back,
    /// leaves, or is [retired](Node::retire). Until then a removed counter costs about 20 bytes and
    /// its name.
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
}
