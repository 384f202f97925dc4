//! All clients of one counter. One task reads the node once per change, and writes the frame into
//! every client sink without waking the clients' own tasks.

use std::collections::BTreeMap;
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
use crate::ws::client_sink::ClientSink;
use crate::ws::frames::TextFrame;
use crate::ws::snapshot_frame::SnapshotFrame;

/// The least time between the starts of two rounds, so that a storm of clicks is not a storm of
/// frames. A lone click never waits. With many clients a round takes longer than this anyway.
const ROUND_MIN: Duration = Duration::from_millis(2);

/// Sinks that a round writes to before it yields the thread, about 1 ms of work. With fewer, it
/// would wake other threads more often, which find little to do.
const SINKS_PER_TURN: usize = 256;

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
    sinks: Mutex<Sinks>,
    /// Notified of local adds, which are sent without waiting for their cells.
    added: Arc<Notify>,
    counts: Arc<Counts>,
    task: OnceLock<tokio::task::AbortHandle>,
}

/// The sinks of a topic, in the order they came.
#[derive(Default)]
struct Sinks {
    next: u64,
    open: BTreeMap<u64, Arc<ClientSink>>,
    /// A copy of `open` for rounds. Cleared when a sink comes or goes, so that it keeps no closed
    /// sink.
    round: Option<Arc<[Arc<ClientSink>]>>,
}

impl Sinks {
    fn insert(&mut self, sink: Arc<ClientSink>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.open.insert(number, sink);
        self.round = None;
        number
    }

    fn remove(&mut self, number: u64) {
        self.open.remove(&number);
        self.round = None;
    }

    /// All sinks, for one round.
    fn round(&mut self) -> Arc<[Arc<ClientSink>]> {
        Arc::clone(self.round.get_or_insert_with(|| self.open.values().cloned().collect()))
    }
}

/// The result of reading the node.
enum Refresh {
    Unchanged,
    /// Only the state hash moved, and too soon. Read again after this time.
    Later(Duration),
    /// There is a new version.
    Changed,
}

impl Topic {
    pub(crate) fn open(node: Node, name: &str, counts: Arc<Counts>) -> Arc<Self> {
        let changes = node.subscribe(Interest::Counter(name.to_owned()));
        let first = SnapshotFrame::first(node.view(name));
        let topic = Arc::new(Self {
            node,
            name: name.to_owned(),
            latest: watch::Sender::new(Arc::new(first)),
            order: RwLock::new(()),
            sinks: Mutex::default(),
            added: Arc::default(),
            counts,
            task: OnceLock::new(),
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
        let sink = Arc::new(ClientSink::new(stream, sent, state));
        let number = self.sinks().insert(Arc::clone(&sink));
        drop(order);
        Subscription { topic: self, number, sink }
    }

    fn order(&self) -> RwLockWriteGuard<'_, ()> {
        self.order.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn sinks(&self) -> MutexGuard<'_, Sinks> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// One round: offers the latest version to every sink.
    async fn publish(&self) {
        let frame = self.latest();
        let sinks = self.sinks().round();
        for turn in sinks.chunks(SINKS_PER_TURN) {
            // The client's own task notices a broken socket.
            let sent = turn.iter().filter(|sink| sink.offer(&frame).unwrap_or(false)).count();
            self.counts.frames_sent.many(sent);
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The topic's task: one refresh per change, and one round if that made a version. Ends with the
/// topic or the node.
async fn publish_changes(topic: Weak<Topic>, added: Arc<Notify>, mut changes: Changes) {
    let (mut wait, mut own_change) = (None, false);
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(change) => own_change |= change.overflowed || !change.counters.is_empty(),
                None => return,
            },
            () = added.notified() => {}
            () = sleep(wait) => {}
        }
        let (Some(open), begun) = (topic.upgrade(), Instant::now()) else { return };
        let refresh = open.refresh(own_change);
        wait = match refresh {
            Refresh::Later(due) => Some(due),
            Refresh::Unchanged | Refresh::Changed => None,
        };
        own_change &= wait.is_some();
        if let Refresh::Changed = refresh {
            open.publish().await;
            drop(open);
            sleep(Some(ROUND_MIN.saturating_sub(begun.elapsed()))).await;
        }
    }
}

/// Sleeps for this time, or for ever.
async fn sleep(time: Option<Duration>) {
    match time {
        Some(Duration::ZERO) => {}
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// A socket's subscription to its topic, until it is dropped.
pub(crate) struct Subscription {
    topic: Arc<Topic>,
    number: u64,
    sink: Arc<ClientSink>,
}

impl Subscription {
    pub(crate) fn sink(&self) -> &ClientSink {
        &self.sink
    }

    /// Starts a batch of adds. The topic reads the node either before the batch or after its
    /// replies. Do not hold it across an await.
    pub(crate) fn batch(&self) -> AddBatch<'_> {
        AddBatch {
            subscription: self,
            order: self.topic.order.read().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Unsubscribes. The topic no longer writes to the sink.
    pub(crate) fn leave(self) -> Arc<ClientSink> {
        Arc::clone(&self.sink)
    }

    /// Sends the changes that this client missed while its socket was full.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub(crate) fn catch_up(&self) -> std::io::Result<()> {
        if self.sink.offer(&self.topic.latest())? {
            self.topic.counts.frames_sent.many(1);
        }
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.topic.sinks().remove(self.number);
    }
}

/// Adds of one client that are applied and answered together; see [`Subscription::batch`].
pub(crate) struct AddBatch<'a> {
    subscription: &'a Subscription,
    order: RwLockReadGuard<'a, ()>,
}

impl AddBatch<'_> {
    /// Sends the replies. If something was `added`, the first change after them on this socket
    /// contains it, and comes at once.
    ///
    /// # Errors
    ///
    /// If the socket is broken.
    pub(crate) fn reply(self, added: bool, replies: Bytes) -> std::io::Result<()> {
        let Subscription { topic, sink, .. } = self.subscription;
        if added {
            sink.skip(topic.latest.borrow().version());
        }
        let sent = if replies.is_empty() { Ok(()) } else { sink.send(replies) };
        drop(self.order);
        if added {
            topic.added();
        }
        sent
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
        let change = frame.since(self.seen).clone();
        self.seen = frame.version();
        Some(change)
    }
}
