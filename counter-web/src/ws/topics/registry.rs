//! The topics of all watched counters.

use std::sync::Arc;

use counter_net::{CounterView, Node};
use tokio::net::TcpStream;

use crate::api::json::{Integer, regions_json};
use crate::app::counts::Counts;
use crate::ws::topics::topic::{Follower, OpenTopics, Subscription, Topic};
use crate::ws::wire::frames::TextFrame;
use crate::ws::wire::message::ServerMessage;

/// Opens a topic with its first subscriber, and makes the state that each subscriber gets first. A
/// topic closes with its last subscriber.
pub(crate) struct Topics {
    node: Node,
    region: String,
    counts: Arc<Counts>,
    open: Arc<OpenTopics>,
}

impl Topics {
    pub(crate) fn new(node: Node, counts: Arc<Counts>) -> Arc<Self> {
        let info = node.info();
        Arc::new(Self { node, region: info.region, counts, open: Arc::default() })
    }

    /// Follows the counter `name`: returns its state as of now, and a follower of its changes.
    pub(crate) fn follow(&self, name: &str) -> (TextFrame, Follower) {
        let (view, follower) = self.topic(name).follow();
        (self.state(&view), follower)
    }

    /// Subscribes a socket to its own counter `name`. The state waits in the client sink to be
    /// flushed; the topic writes the changes after it.
    pub(crate) fn subscribe(&self, name: &str, stream: TcpStream) -> Subscription {
        self.topic(name).subscribe(stream, |view| self.state(view).bytes().clone())
    }

    /// Subscribes the socket of `own` to one more counter.
    pub(crate) fn watch(&self, name: &str, own: &Subscription) -> Subscription {
        self.topic(name).watch(own)
    }

    /// Reports a local add to the counter `name`. Its clients get the change at once.
    pub(crate) fn added(&self, name: &str) {
        self.added_many(std::iter::once(name));
    }

    /// Reports local adds to these counters.
    pub(crate) fn added_many<'a>(&self, names: impl Iterator<Item = &'a str>) {
        for topic in self.open.among(names) {
            topic.added();
        }
    }

    /// The number of counters that sockets and event streams follow.
    pub(crate) fn count(&self) -> usize {
        self.open.count()
    }

    /// The first message to a client of this counter.
    pub(crate) fn state(&self, view: &CounterView) -> TextFrame {
        let state = ServerMessage::State {
            counter: &view.name,
            total: Integer(view.total),
            regions: regions_json(view),
            region: &self.region,
            replica: &self.node.info().replica.to_string(),
            state_hash: view.state_hash.to_string(),
            synced: view.synced,
        };
        TextFrame::new(state.to_json())
    }

    fn topic(&self, name: &str) -> Arc<Topic> {
        self.open.get_or_open(&self.node, name, &self.counts)
    }
}
