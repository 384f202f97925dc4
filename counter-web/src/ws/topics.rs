//! The topics of all watched counters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use counter_net::{CounterView, Node};
use tokio::net::TcpStream;

use crate::api::json::{Integer, regions_json};
use crate::app::counts::Counts;
use crate::ws::frames::TextFrame;
use crate::ws::message::ServerMessage;
use crate::ws::topic::{Follower, Subscription, Topic};

/// Opens a topic with its first subscriber, and makes the state that each subscriber gets first. A
/// topic closes with its last subscriber.
pub(crate) struct Topics {
    node: Node,
    region: String,
    counts: Arc<Counts>,
    open: Mutex<HashMap<String, Weak<Topic>>>,
}

impl Topics {
    pub(crate) fn new(node: Node, counts: Arc<Counts>) -> Arc<Self> {
        let info = node.info();
        Arc::new(Self { node, region: info.region, counts, open: Mutex::default() })
    }

    /// Follows the counter `name`: returns its state as of now, and a follower of its changes.
    pub(crate) fn follow(&self, name: &str) -> (TextFrame, Follower) {
        let (view, follower) = self.topic(name).follow();
        (self.state(&view), follower)
    }

    /// Subscribes a socket to the counter `name`. The state waits in the client sink to be flushed;
    /// the topic writes the changes after it.
    pub(crate) fn subscribe(&self, name: &str, stream: TcpStream) -> Subscription {
        self.topic(name).subscribe(stream, |view| self.state(view).bytes().clone())
    }

    /// Reports a local add to the counter `name`. Its clients get the change at once.
    pub(crate) fn added(&self, name: &str) {
        let topic = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .and_then(Weak::upgrade);
        if let Some(topic) = topic {
            topic.added();
        }
    }

    /// Reports local adds to these counters.
    pub(crate) fn added_many<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_empty() {
            return;
        }
        for topic in names.filter_map(|name| open.get(name)).filter_map(Weak::upgrade) {
            topic.added();
        }
    }

    fn state(&self, view: &CounterView) -> TextFrame {
        let state = ServerMessage::State {
            counter: &view.name,
            total: Integer(view.total),
            regions: regions_json(view),
            region: &self.region,
            replica: &self.node.info().replica.to_string(),
            state_hash: view.state_hash.to_string(),
            synced: view.synced,
        };
        TextFrame::new(&state.to_json())
    }

    /// The topic of `name`. Opens it for the first subscriber.
    fn topic(&self, name: &str) -> Arc<Topic> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = open.get(name).and_then(Weak::upgrade) {
            return topic;
        }
        open.retain(|_, topic| topic.strong_count() > 0);
        let topic = Topic::open(self.node.clone(), name, Arc::clone(&self.counts));
        open.insert(name.to_owned(), Arc::downgrade(&topic));
        topic
    }
}
