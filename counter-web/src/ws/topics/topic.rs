//! All clients of one counter. One task reads the node once per change, and writes the frame into
//! every client sink without waking the clients' own tasks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::time::{Duration, Instant};

use bytes::Bytes;
use counter_net::{Changes, CounterView, Interest, Node};
use futures::StreamExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use crate::app::counts::Counts;
use crate::ws::topics::client_sink::Feed;
use crate::ws::topics::snapshot_frame::{Naming, SnapshotFrame};
use crate::ws::wire::frames::TextFrame;

/// The least time between the starts of two rounds, so that a storm of clicks is not a storm of
/// frames. A lone click never waits. With many clients a round takes longer than this anyway.
const ROUND_MIN: Duration = Duration::from_millis(2);

/// Client sinks that a round writes to before it yields the thread, about 1 ms of work. A smaller
/// number would wake other threads more often, and they would find little to do.
const FEEDS_PER_TURN: usize = 256;

/// The least time from a round to one that carries only a new state hash, if other counters moved
/// the hash.
const HASH_PAUSE: Duration = Duration::from_secs(1);

/// The same if this counter moved the hash. Its adds are sent at once, and move the hash some
/// milliseconds later, when they become cells.
const OWN_HASH_PAUSE: Duration = Duration::from_millis(100);

/// One watched counter. Open while it has subscribers.
///
/// Versions never go backwards for a client. No version overtakes the replies to adds that it
/// contains.
pub(crate) struct Topic {
    node: Node,
    name: String,
    latest: watch::Sender<Arc<SnapshotFrame>>,
    /// Write-locked while the node is read, so that versions never go backwards. Read-locked from
    /// the first add of a batch until its replies are sent: one round then carries the whole batch,
    /// and no round precedes the replies.
    order: RwLock<()>,
    feeds: Mutex<Feeds>,
    /// Notified of local adds, which are sent without waiting for their cells.
    added: Arc<Notify>,
    counts: Arc<Counts>,
    task: OnceLock<tokio::task::AbortHandle>,
    /// The open topics, this one among them.
    open: Arc<OpenTopics>,
}

/// The open topics by the name of their counter. A topic leaves when it closes.
#[derive(Default)]
pub(crate) struct OpenTopics(Mutex<HashMap<String, Weak<Topic>>>);

impl OpenTopics {
    fn topics(&self) -> MutexGuard<'_, HashMap<String, Weak<Topic>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the topic of `name`. Opens it for its first subscriber.
    pub(crate) fn get_or_open(
        self: &Arc<Self>,
        node: &Node,
        name: &str,
        counts: &Arc<Counts>,
    ) -> Arc<Topic> {
        let mut topics = self.topics();
        if let Some(topic) = topics.get(name).and_then(Weak::upgrade) {
            return topic;
        }
        let topic = Topic::open(node.clone(), name, Arc::clone(counts), Arc::clone(self));
        topics.insert(name.to_owned(), Arc::downgrade(&topic));
        topic
    }

    /// Returns the open topics among those of these counters.
    pub(crate) fn among<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Arc<Topic>> {
        let topics = self.topics();
        if topics.is_empty() {
            return Vec::new();
        }
        // A topic that closes takes the lock, so none may be dropped under it.
        names.filter_map(|name| topics.get(name)).filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.topics().len()
    }

    /// Removes a topic that has closed, unless there is a new one of that name.
    fn remove(&self, name: &str) {
        let mut topics = self.topics();
        if topics.get(name).is_some_and(|topic| topic.strong_count() == 0) {
            topics.remove(name);
        }
    }
}

/// The feeds of a topic's clients, in the order they came.
#[derive(Default)]
struct Feeds {
    next: u64,
    open: BTreeMap<u64, Feed>,
    /// A copy of `open` for rounds. Cleared when a feed comes or goes, so that it keeps no closed
    /// sink.
    round: Option<Arc<[Feed]>>,
}

impl Feeds {
    fn insert(&mut self, feed: Feed) -> u64 {
        let number = self.next;
        self.next += 1;
        self.open.insert(number, feed);
        self.round = None;
        number
    }

    fn remove(&mut self, number: u64) {
        self.open.remove(&number);
        self.round = None;
    }

    /// All feeds, for one round.
    fn round(&mut self) -> Arc<[Feed]> {
        Arc::clone(self.round.get_or_insert_with(|| self.open.values().cloned().collect()))
    }
}

/// The result of reading the node.
enum Refresh {
    Unchanged,
    /// Only the state hash moved, too soon after the last version. Read again after this time.
    Later(Duration),
    /// There is a new version.
    Changed,
}

impl Topic {
    fn open(node: Node, name: &str, counts: Arc<Counts>, open: Arc<OpenTopics>) -> Arc<Self> {
        let changes = node.subscribe(Interest::Counter(name.to_owned()));
        let first = SnapshotFrame::first(node.view(name));
        let topic = Arc::new(Self {
            node,
            name: name.to_owned(),
            latest: watch::Sender::new(Arc::new(first)),
            order: RwLock::new(()),
            feeds: Mutex::default(),
            added: Arc::default(),
            counts,
            task: OnceLock::new(),
            open,
        });
        let task = tokio::spawn(publish_changes(
            Arc::downgrade(&topic),
            Arc::clone(&topic.added),
            changes,
        ));
        let _first = topic.task.set(task.abort_handle());
        topic
    }

    /// Returns the counter as it is now, and a follower of the changes from then on.
    pub(crate) fn follow(self: Arc<Self>) -> (CounterView, Follower) {
        let (view, changes, seen) = {
            let _order = self.order();
            let changes = self.latest.subscribe();
            let seen = changes.borrow().version();
            (self.node.view(&self.name), changes, seen)
        };
        (view, Follower { _topic: self, changes, seen })
    }

    /// Subscribes a socket. It gets the `state` of the counter as it is now, then every change.
    pub(crate) fn subscribe(
        self: Arc<Self>,
        stream: TcpStream,
        state: impl FnOnce(&CounterView) -> Bytes,
    ) -> Subscription {
        let order = self.order();
        let sent = self.latest.borrow().version();
        let state = state(&self.node.view(&self.name));
        let feed = Feed::own(stream, sent, state);
        let number = self.feeds().insert(feed.clone());
        drop(order);
        Subscription { topic: self, number, feed }
    }

    /// Subscribes a socket that has a counter of its own. [`Subscription::catch_up`] sends the
    /// state, and every change follows it.
    pub(crate) fn watch(self: Arc<Self>, own: &Subscription) -> Subscription {
        let feed = own.feed.watched();
        let number = self.feeds().insert(feed.clone());
        Subscription { topic: self, number, feed }
    }

    fn order(&self) -> RwLockWriteGuard<'_, ()> {
        self.order.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn feeds(&self) -> MutexGuard<'_, Feeds> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latest(&self) -> Arc<SnapshotFrame> {
        Arc::clone(&self.latest.borrow())
    }

    /// Reports a local add to this counter.
    pub(crate) fn added(&self) {
        self.added.notify_one();
    }

    /// Reads the node, and makes a new version if something changed. A state hash that moved alone
    /// waits until it is due, which is sooner if this counter moved it (`own_change`).
    fn refresh(&self, own_change: bool) -> Refresh {
        let _order = self.order();
        let view = self.node.view(&self.name);
        let last = self.latest();
        let changed = last.changed_regions(&view);
        let old = last.view();
        if changed.is_empty() && view.total == old.total && view.synced == old.synced {
            if view.state_hash == old.state_hash {
                return Refresh::Unchanged;
            }
            let due =
                if own_change { OWN_HASH_PAUSE } else { HASH_PAUSE }.saturating_sub(last.age());
            if !due.is_zero() {
                return Refresh::Later(due);
            }
        }
        self.latest.send_replace(Arc::new(last.next(&view, changed)));
        Refresh::Changed
    }

    /// One round: offers the latest version to every client sink.
    async fn publish(&self) {
        let frame = self.latest();
        let feeds = self.feeds().round();
        for turn in feeds.chunks(FEEDS_PER_TURN) {
            // The client's own task notices a broken socket.
            let sent = turn.iter().filter(|feed| feed.offer(&frame).unwrap_or(false)).count();
            self.counts.frames_sent.increment_by(sent);
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
        self.open.remove(&self.name);
    }
}

/// The topic's task: one refresh per change, and one round if that made a version. Ends with the
/// topic or the node.
async fn publish_changes(topic: Weak<Topic>, added: Arc<Notify>, mut changes: Changes) {
    let (mut read_at, mut own_change) = (None, false);
    loop {
        tokio::select! {
            change = changes.next() => {
                let Some(change) = change else { return };
                let is_own = change.overflowed || !change.counters.is_empty();
                own_change |= is_own;
                // Every counter moves the node's hash, and a node may have thousands of topics. So
                // changes of other counters are ignored while a read is scheduled.
                if read_at.is_some() && !is_own && !change.presence_changed {
                    continue;
                }
            }
            () = added.notified() => {}
            () = sleep_until(read_at) => {}
        }
        let (Some(open), begun) = (topic.upgrade(), Instant::now()) else { return };
        let refresh = open.refresh(own_change);
        read_at = match refresh {
            Refresh::Later(due) => Some(begun + due),
            Refresh::Unchanged | Refresh::Changed => None,
        };
        own_change &= read_at.is_some();
        if let Refresh::Changed = refresh {
            open.publish().await;
            drop(open);
            let next = begun + ROUND_MIN;
            if next > Instant::now() {
                sleep_until(Some(next)).await;
            }
        }
    }
}

/// Sleeps until this time, or for ever.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// A socket's subscription to a topic, until it is dropped.
pub(crate) struct Subscription {
    topic: Arc<Topic>,
    number: u64,
    feed: Feed,
}

impl Subscription {
    /// The name of the counter.
    pub(crate) fn name(&self) -> &str {
        &self.topic.name
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Starts a batch of adds to this counter. The topic reads the node either before the batch or
    /// after its replies. Do not hold it across an await. Start those of several counters in the
    /// order of their names, or two sockets could wait for each other.
    pub(crate) fn batch(&self) -> TopicBatch<'_> {
        TopicBatch {
            subscription: self,
            _order: self.topic.order.read().unwrap_or_else(PoisonError::into_inner),
            added: false,
        }
    }

    /// Brings this client up to date: sends the `state` if it has none yet, or the changes since
    /// its socket was full.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub(crate) fn catch_up(
        &self,
        state: impl FnOnce(&CounterView) -> Bytes,
    ) -> std::io::Result<()> {
        let topic = &self.topic;
        if !self.feed.is_begun() {
            return self.send_state(state);
        }
        if self.feed.offer(&topic.latest())? {
            topic.counts.frames_sent.increment();
        }
        Ok(())
    }
}

impl Subscription {
    /// Sends the `state`.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub(crate) fn send_state(
        &self,
        state: impl FnOnce(&CounterView) -> Bytes,
    ) -> std::io::Result<()> {
        let topic = &self.topic;
        let _order = topic.order();
        let sent = topic.latest().version();
        self.feed.begin(sent, &state(&topic.node.view(&topic.name)))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.topic.feeds().remove(self.number);
        self.feed.end();
    }
}

/// Adds of one client to one counter that are applied and answered together; see
/// [`Subscription::batch`].
pub(crate) struct TopicBatch<'a> {
    subscription: &'a Subscription,
    _order: RwLockReadGuard<'a, ()>,
    added: bool,
}

impl<'a> TopicBatch<'a> {
    pub(crate) fn name(&self) -> &str {
        self.subscription.name()
    }

    /// Notes that something was added. The first change after the replies contains it.
    pub(crate) fn note_add(&mut self) {
        self.added = true;
    }

    /// Skips the versions that do not contain the adds. Call it before the replies are sent.
    pub(crate) fn skip_older(&self) {
        if self.added {
            self.subscription.feed.skip(self.subscription.topic.latest.borrow().version());
        }
    }

    /// Ends the batch, after its replies. Returns the topic if it has a change to send.
    pub(crate) fn end(self) -> Option<&'a Topic> {
        self.added.then_some(&*self.subscription.topic)
    }
}

/// A view of a topic without a sink, for server-sent events. It keeps a version and no queue, so a
/// slow reader skips to the latest.
pub(crate) struct Follower {
    _topic: Arc<Topic>,
    changes: watch::Receiver<Arc<SnapshotFrame>>,
    seen: u64,
}

impl Follower {
    /// Waits for the next version. Returns the change since the last one, or all regions if some
    /// were missed. `None` once the topic is gone. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<TextFrame> {
        self.changes.changed().await.ok()?;
        let frame = Arc::clone(&self.changes.borrow_and_update());
        let change = frame.since(self.seen, Naming::Plain).clone();
        self.seen = frame.version();
        Some(change)
    }
}
