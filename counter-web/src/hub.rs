//! Fan-out: one room a counter reads the node once a change, serialises it once, and every client takes the latest when it can.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use counter_net::{Change, Changes, CounterView, Interest, Node};
use futures::StreamExt;
use tokio::sync::watch;

use crate::frames::{Frame, text_frame};
use crate::model::{Integer, RegionJson, RegionsJson, ServerMessage, regions_json};

/// The least time between two changes of one counter, so that a storm of clicks is not a storm of frames; a lone click never waits.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// What the pause grows by for each client: about what a frame costs the server.
const PAUSE_PER_CLIENT: Duration = Duration::from_micros(5);

/// The least time between two changes that carry nothing but a state hash.
const HASH_PAUSE: Duration = Duration::from_secs(1);

/// Every counter that somebody watches.
pub(crate) struct Hub {
    node: Node,
    region: String,
    rooms: Mutex<HashMap<String, Weak<Room>>>,
}

impl Hub {
    pub(crate) fn new(node: Node) -> Arc<Self> {
        let info = node.info();
        Arc::new(Self { node, region: info.region, rooms: Mutex::default() })
    }

    /// Begins to follow the counter `name`: everything as it is now, and then its changes.
    pub(crate) fn follow(&self, name: &str) -> (Frame, Follower) {
        let room = self.room(name);
        let (view, changes, seen) = {
            let _order = room.order();
            let changes = room.latest.subscribe();
            let seen = changes.borrow().version;
            (self.node.view(name), changes, seen)
        };
        (text_frame(&self.state_json(&view)), Follower { _room: room, changes, seen })
    }

    fn state_json(&self, view: &CounterView) -> String {
        ServerMessage::State {
            counter: &view.name,
            total: Integer(view.total),
            regions: regions_json(view),
            region: &self.region,
            replica: &self.node.info().replica.to_string(),
            state_hash: view.state_hash.to_string(),
            synced: view.synced,
        }
        .to_json()
    }

    /// The room of `name`, opened if nobody watches it yet. Rooms close with their last follower.
    fn room(&self, name: &str) -> Arc<Room> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(name).and_then(Weak::upgrade) {
            return room;
        }
        rooms.retain(|_, room| room.strong_count() > 0);
        let room = Room::open(self.node.clone(), name);
        rooms.insert(name.to_owned(), Arc::downgrade(&room));
        room
    }
}

/// One watched counter.
struct Room {
    node: Node,
    name: String,
    latest: watch::Sender<Arc<Shown>>,
    /// Held while the node is read, so that what followers are shown never goes backwards.
    order: Mutex<()>,
    task: OnceLock<tokio::task::AbortHandle>,
}

/// What the room showed last, and its two serialised forms.
struct Shown {
    version: u64,
    view: CounterView,
    at: Instant,
    /// The regions that differ from the version before.
    change: Frame,
    /// All regions, for a follower that missed a version; made when the first such asks.
    whole: OnceLock<Frame>,
}

impl Shown {
    fn whole(&self) -> Frame {
        self.whole.get_or_init(|| change_frame(&self.view, regions_json(&self.view))).clone()
    }
}

/// What a look at the node came to.
enum Look {
    /// Nothing to show.
    Settled,
    /// Only the state hash moved, and too soon: look again after this time.
    Later(Duration),
    /// Something was shown.
    Showed,
}

impl Room {
    fn open(node: Node, name: &str) -> Arc<Self> {
        let changes = node.subscribe(Interest::Counter(name.to_owned()));
        let view = node.view(name);
        let shown = Shown { version: 0, change: change_frame(&view, RegionsJson::new()), view, at: Instant::now(), whole: OnceLock::new() };
        let room = Arc::new(Self {
            node,
            name: name.to_owned(),
            latest: watch::Sender::new(Arc::new(shown)),
            order: Mutex::new(()),
            task: OnceLock::new(),
        });
        let task = tokio::spawn(show_changes(Arc::downgrade(&room), changes));
        let _first = room.task.set(task.abort_handle());
        room
    }

    fn order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the node and shows what differs from the last time; a state hash that moved alone only if it is `own` (moved by this counter) or due.
    fn look(&self, own: bool) -> Look {
        let _order = self.order();
        let view = self.node.view(&self.name);
        let last = Arc::clone(&self.latest.borrow());
        let changed = changed_regions(&last.view, &view);
        if changed.is_empty() && view.total == last.view.total && view.synced == last.view.synced {
            if view.state_hash == last.view.state_hash {
                return Look::Settled;
            }
            let due = HASH_PAUSE.saturating_sub(last.at.elapsed());
            if !own && !due.is_zero() {
                return Look::Later(due);
            }
        }
        let change = change_frame(&view, changed);
        let shown = Shown { version: last.version + 1, change, view, at: Instant::now(), whole: OnceLock::new() };
        self.latest.send_replace(Arc::new(shown));
        Look::Showed
    }

    fn pause(&self) -> Duration {
        let clients = u32::try_from(self.latest.receiver_count()).unwrap_or(u32::MAX);
        PAUSE_MIN + PAUSE_PER_CLIENT.saturating_mul(clients)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The room's task: one look a change, with a pause after each that showed something. Ends with the room or the node.
async fn show_changes(room: Weak<Room>, mut changes: Changes) {
    let mut wait = None;
    loop {
        let change = match wait {
            Some(due) => tokio::time::timeout(due, changes.next()).await.unwrap_or_else(|_| Some(Change::default())),
            None => changes.next().await,
        };
        let (Some(change), Some(open)) = (change, room.upgrade()) else { return };
        let own = change.overflowed || !change.counters.is_empty();
        let (look, pause) = (open.look(own), open.pause());
        drop(open);
        wait = None;
        match look {
            Look::Settled => {}
            Look::Later(due) => wait = Some(due),
            Look::Showed => tokio::time::sleep(pause).await,
        }
    }
}

/// What is shown of a region that has no value, viewer or node any more.
const GONE: RegionJson = RegionJson { value: Integer(0), connected: 0, nodes: 0 };

/// The regions of `new` that differ from `old`, and those that are no longer there as zeros.
fn changed_regions<'a>(old: &'a CounterView, new: &'a CounterView) -> RegionsJson<'a> {
    let gone = old.regions.keys().filter(|code| !new.regions.contains_key(*code)).map(|code| (code.as_str(), GONE));
    let changed = new.regions.iter().filter(|(code, region)| old.regions.get(*code) != Some(region));
    changed.map(|(code, region)| (code.as_str(), region.into())).chain(gone).collect()
}

fn change_frame(view: &CounterView, regions: RegionsJson<'_>) -> Frame {
    let message =
        ServerMessage::Change { total: Integer(view.total), regions, state_hash: view.state_hash.to_string(), synced: view.synced };
    text_frame(&message.to_json())
}

/// One client's view of a counter. It holds a place in time, never a queue: who is slow skips to the latest.
pub(crate) struct Follower {
    _room: Arc<Room>,
    changes: watch::Receiver<Arc<Shown>>,
    seen: u64,
}

impl Follower {
    /// The next thing to show: the change since the last, or, where some were missed, all regions. `None` once the room is gone. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.changes.changed().await.ok()?;
        let shown = Arc::clone(&self.changes.borrow_and_update());
        let frame = if shown.version == self.seen + 1 { shown.change.clone() } else { shown.whole() };
        self.seen = shown.version;
        Some(frame)
    }
}
