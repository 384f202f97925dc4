//! Every counter that somebody watches: one room each, opened with its first follower.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use counter_net::{CounterView, Node};
use tokio::net::TcpStream;

use crate::api::model::{Integer, ServerMessage, regions_json};
use crate::app::counts::Counts;
use crate::ws::frames::{Frame, text_frame};
use crate::ws::topic::{Follower, Room, Seated};

/// Finds the room of a counter, and makes the state that each follower is shown first.
pub(crate) struct Hub {
    node: Node,
    region: String,
    counts: Arc<Counts>,
    rooms: Mutex<HashMap<String, Weak<Room>>>,
}

impl Hub {
    pub(crate) fn new(node: Node, counts: Arc<Counts>) -> Arc<Self> {
        let info = node.info();
        Arc::new(Self { node, region: info.region, counts, rooms: Mutex::default() })
    }

    /// Begins to follow the counter `name`: everything as it is now, and then its changes.
    pub(crate) fn follow(&self, name: &str) -> (Frame, Follower) {
        let (view, follower) = self.room(name).follow();
        (self.state(&view), follower)
    }

    /// Gives a socket a seat in the room of `name`. The state waits in it to be flushed; the
    /// changes after it are written by the room.
    pub(crate) fn seat(&self, name: &str, stream: TcpStream) -> Seated {
        self.room(name).seat(stream, |view| self.state(view).bytes)
    }

    /// Something was added to the counter `name` here: who watches it is shown that at once.
    pub(crate) fn added(&self, name: &str) {
        let room = self
            .rooms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .and_then(Weak::upgrade);
        if let Some(room) = room {
            room.added();
        }
    }

    fn state(&self, view: &CounterView) -> Frame {
        let state = ServerMessage::State {
            counter: &view.name,
            total: Integer(view.total),
            regions: regions_json(view),
            region: &self.region,
            replica: &self.node.info().replica.to_string(),
            state_hash: view.state_hash.to_string(),
            synced: view.synced,
        };
        text_frame(&state.to_json())
    }

    /// The room of `name`, opened if nobody watches it yet. Rooms close with their last follower.
    fn room(&self, name: &str) -> Arc<Room> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(name).and_then(Weak::upgrade) {
            return room;
        }
        rooms.retain(|_, room| room.strong_count() > 0);
        let room = Room::open(self.node.clone(), name, Arc::clone(&self.counts));
        rooms.insert(name.to_owned(), Arc::downgrade(&room));
        room
    }
}
