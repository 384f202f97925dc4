//! One watched counter: reads the node once a change, and writes the change to every socket itself,
//! in one task, without waking theirs.

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
use crate::ws::client_sink::Seat;
use crate::ws::frames::Frame;
use crate::ws::snapshot_frame::{Shown, changed_regions};

/// The least time from the begin of one round to that of the next, so that a storm of clicks is not
/// a storm of frames. A lone click never waits, and where many watch, a round takes longer than
/// this by itself.
const ROUND_MIN: Duration = Duration::from_millis(2);

/// Sockets that a round writes to before it lets others have the thread: some 1 ms. Each turn wakes
/// another thread, which finds little to do.
const TURN: usize = 256;

/// The least time from a round to one that carries nothing but a state hash which other counters
/// moved.
const HASH_PAUSE: Duration = Duration::from_secs(1);

/// The same where this counter moved it: its adds are shown before they are cells, which move the
/// hash some milliseconds later.
const OWN_HASH_PAUSE: Duration = Duration::from_millis(100);

/// One watched counter. Open while it has followers.
pub(crate) struct Room {
    node: Node,
    name: String,
    latest: watch::Sender<Arc<Shown>>,
    /// Held alone while the node is read, so that what followers are shown never goes backwards;
    /// held by those who apply adds that came together, so that one round shows them all, and until
    /// they are answered, so that no round precedes the answers.
    order: RwLock<()>,
    seats: Mutex<Seats>,
    /// Told of adds made here, which are shown without waiting until they are cells.
    added: Arc<Notify>,
    counts: Arc<Counts>,
    task: OnceLock<tokio::task::AbortHandle>,
}

/// The sockets in a room, by the order of their coming.
#[derive(Default)]
struct Seats {
    next: u64,
    taken: BTreeMap<u64, Arc<Seat>>,
    /// `taken` as the last round walked it; nothing since somebody came or went, so that it keeps
    /// no seat that was given up.
    walked: Option<Arc<[Arc<Seat>]>>,
}

impl Seats {
    fn take(&mut self, seat: Arc<Seat>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.taken.insert(number, seat);
        self.walked = None;
        number
    }

    fn give_up(&mut self, number: u64) {
        self.taken.remove(&number);
        self.walked = None;
    }

    /// All of them, for one round.
    fn walk(&mut self) -> Arc<[Arc<Seat>]> {
        Arc::clone(self.walked.get_or_insert_with(|| self.taken.values().cloned().collect()))
    }
}

/// What a look at the node came to.
enum Look {
    /// Nothing to show.
    Settled,
    /// Only the state hash moved, and too soon: look again after this time.
    Later(Duration),
    /// There is something to show.
    News,
}

impl Room {
    pub(crate) fn open(node: Node, name: &str, counts: Arc<Counts>) -> Arc<Self> {
        let changes = node.subscribe(Interest::Counter(name.to_owned()));
        let first = Shown::first(node.view(name));
        let room = Arc::new(Self {
            node,
            name: name.to_owned(),
            latest: watch::Sender::new(Arc::new(first)),
            order: RwLock::new(()),
            seats: Mutex::default(),
            added: Arc::default(),
            counts,
            task: OnceLock::new(),
        });
        let task =
            tokio::spawn(show_changes(Arc::downgrade(&room), Arc::clone(&room.added), changes));
        let _first = room.task.set(task.abort_handle());
        room
    }

    /// Everything as it is now, and who follows from there on.
    pub(crate) fn follow(self: Arc<Self>) -> (CounterView, Follower) {
        let (view, changes, seen) = {
            let _order = self.order();
            let changes = self.latest.subscribe();
            let seen = changes.borrow().version;
            (self.node.view(&self.name), changes, seen)
        };
        (view, Follower { _room: self, changes, seen })
    }

    /// Gives a socket a seat: it is to be sent `state` of the node as it is now, and then every
    /// change.
    pub(crate) fn seat(
        self: Arc<Self>,
        stream: TcpStream,
        state: impl FnOnce(&CounterView) -> Bytes,
    ) -> Seated {
        let order = self.order();
        let seen = self.latest.borrow().version;
        let seat = Arc::new(Seat::new(stream, seen, state(&self.node.view(&self.name))));
        let number = self.seats().take(Arc::clone(&seat));
        drop(order);
        Seated { room: self, number, seat }
    }

    fn order(&self) -> RwLockWriteGuard<'_, ()> {
        self.order.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latest(&self) -> Arc<Shown> {
        Arc::clone(&self.latest.borrow())
    }

    /// Something was added to this counter here.
    pub(crate) fn added(&self) {
        self.added.notify_one();
    }

    /// Reads the node, and notes what differs from the last time; a state hash that moved alone
    /// only when it is due, sooner if it is `own`: moved by this counter.
    fn look(&self, own: bool) -> Look {
        let _order = self.order();
        let view = self.node.view(&self.name);
        let last = self.latest();
        let changed = changed_regions(&last.view, &view);
        if changed.is_empty() && view.total == last.view.total && view.synced == last.view.synced {
            if view.state_hash == last.view.state_hash {
                return Look::Settled;
            }
            let due =
                if own { OWN_HASH_PAUSE } else { HASH_PAUSE }.saturating_sub(last.at.elapsed());
            if !due.is_zero() {
                return Look::Later(due);
            }
        }
        self.latest.send_replace(Arc::new(last.then(&view, changed)));
        Look::News
    }

    /// One round: writes what was noted last to every socket that takes it.
    async fn tell_all(&self) {
        let shown = self.latest();
        let seats = self.seats().walk();
        for turn in seats.chunks(TURN) {
            // A broken socket is its own task's to notice.
            let told = turn.iter().filter(|seat| seat.show(&shown).unwrap_or(false)).count();
            self.counts.frames_sent.many(told);
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The room's task: one look a change and, where it found something, one round. Ends with the room
/// or the node.
async fn show_changes(room: Weak<Room>, added: Arc<Notify>, mut changes: Changes) {
    let (mut wait, mut own) = (None, false);
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(change) => own |= change.overflowed || !change.counters.is_empty(),
                None => return,
            },
            () = added.notified() => {}
            () = sleep(wait) => {}
        }
        let (Some(open), begun) = (room.upgrade(), Instant::now()) else { return };
        let look = open.look(own);
        wait = match look {
            Look::Later(due) => Some(due),
            Look::Settled | Look::News => None,
        };
        own &= wait.is_some();
        if let Look::News = look {
            open.tell_all().await;
            drop(open);
            sleep(Some(ROUND_MIN.saturating_sub(begun.elapsed()))).await;
        }
    }
}

/// Sleeps for so long, or for ever.
async fn sleep(time: Option<Duration>) {
    match time {
        Some(Duration::ZERO) => {}
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// A socket in its room, until it is dropped.
pub(crate) struct Seated {
    room: Arc<Room>,
    number: u64,
    seat: Arc<Seat>,
}

impl Seated {
    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Held while adds are applied that came together, and until they are answered: the room looks
    /// at the node before them or after the answers. Not to be held across a wait.
    pub(crate) fn adding(&self) -> Adding<'_> {
        Adding {
            seated: self,
            order: self.room.order.read().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Gives the seat up: the room writes to it no more.
    pub(crate) fn leave(self) -> Arc<Seat> {
        Arc::clone(&self.seat)
    }

    /// Shows what this client missed while its socket took nothing.
    ///
    /// # Errors
    ///
    /// Where the socket is broken.
    pub(crate) fn catch_up(&self) -> std::io::Result<()> {
        if self.seat.show(&self.room.latest())? {
            self.room.counts.frames_sent.many(1);
        }
        Ok(())
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.room.seats().give_up(self.number);
    }
}

/// The time in which one client's adds are applied and answered; see [`Seated::adding`].
pub(crate) struct Adding<'a> {
    seated: &'a Seated,
    order: RwLockReadGuard<'a, ()>,
}

impl Adding<'_> {
    /// Sends the answers. Where something was `added`, the first change that follows them on this
    /// socket contains it, and is shown at once.
    ///
    /// # Errors
    ///
    /// Where the socket is broken.
    pub(crate) fn answer(self, added: bool, replies: Bytes) -> std::io::Result<()> {
        let Seated { room, seat, .. } = self.seated;
        if added {
            seat.skip(room.latest.borrow().version);
        }
        let sent = if replies.is_empty() { Ok(()) } else { seat.send(replies) };
        drop(self.order);
        if added {
            room.added();
        }
        sent
    }
}

/// One view of a counter for who has no seat, such as server-sent events. It holds a place in time,
/// never a queue: who is slow skips to the latest.
pub(crate) struct Follower {
    _room: Arc<Room>,
    changes: watch::Receiver<Arc<Shown>>,
    seen: u64,
}

impl Follower {
    /// The next thing to show: the change since the last, or, where some were missed, all regions.
    /// `None` once the room is gone. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.changes.changed().await.ok()?;
        let shown = Arc::clone(&self.changes.borrow_and_update());
        let frame = shown.since(self.seen).clone();
        self.seen = shown.version;
        Some(frame)
    }
}
