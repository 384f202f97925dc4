//! The loop: waits for whatever comes first, handles it, and does what the replicator asks for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use libp2p::gossipsub::MessageId;
use libp2p::request_response::{OutboundRequestId, ResponseChannel};
use libp2p::swarm::ConnectionId;
use libp2p::{PeerId, Swarm};
use tokio::time::{Instant, sleep_until};

use super::book::{AddressBook, Target};
use super::contacts::Contacts;
use super::departed::Departed;
use super::predecessors::Predecessors;
use super::processes::Processes;
use super::search::Searching;
use crate::behaviour::{Behaviour, Names};
use crate::config::{INTRODUCTION_INTERVAL, NodeConfig, SWEEP_INTERVAL};
use crate::discovery::Finders;
use crate::error::NodeFailure;
use crate::protocol::{Input, NodeId, Output};
use crate::shared::Shared;

pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) names: Names,
    pub(super) book: AddressBook,
    pub(super) contacts: Contacts,
    finders: Finders,
    /// Which entry of the book a connection in the making was dialled for.
    pub(super) dials: HashMap<ConnectionId, Target>,
    /// Our requests on the way, as the replicator knows them. Bounded by its pulls, each ended by a
    /// timeout.
    pub(super) asked: HashMap<OutboundRequestId, (NodeId, u64)>,
    /// Requests that the replicator is to answer: before the next event, but for a few that wait
    /// for a commit.
    pub(super) owed: HashMap<u64, ResponseChannel<Vec<u8>>>,
    /// Gossip that the replicator is to judge; it does so before the next event.
    pub(super) unjudged: HashMap<u64, (MessageId, PeerId)>,
    /// Peers cut off, with the time when they may come back. Bounded: the earliest makes room.
    pub(super) cut: VecDeque<(Duration, PeerId)>,
    pub(super) tokens: u64,
    /// When the replicator wants to be called, on its clock.
    pub(super) wanted: Option<Duration>,
    pub(super) searching: Searching,
    pub(super) next_sweep: Duration,
    pub(super) next_introduction: Duration,
    /// Whose turn it is to introduce others.
    pub(super) introductions: usize,
    /// Of this node's cluster keys, the first one's first.
    pub(super) key_fingerprints: Vec<String>,
    predecessors: Predecessors,
    pub(super) departed: Departed,
    pub(super) processes: Processes,
    /// Requests of a peer that may be two processes, until that is known. Bounded: the earliest
    /// makes room.
    pub(super) unsure: VecDeque<Unsure>,
    /// Another process runs as this node and was there before: this one stops.
    pub(super) is_second: bool,
    /// What the network has been brought to; what is asked for is in `shared`.
    pub(super) isolated: bool,
}

/// A request over a connection of which it is not known whether it leads to the peer.
pub(super) struct Unsure {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) request: Vec<u8>,
    pub(super) channel: ResponseChannel<Vec<u8>>,
}

/// Says that the driver is gone, also when its task was aborted, even before it first ran.
pub(super) struct Ending(pub(super) Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.gate.stop();
        self.0.peers.store(0, Ordering::Relaxed);
        self.0.stopped.send_replace(true);
        self.0.subscribers.close();
        self.0.waiting.close();
        // Counters may outlive the node; its directory must not stay locked for them.
        self.0.commits.get().into_iter().for_each(crate::store::Commits::finish);
    }
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        (swarm, names): (Swarm<Behaviour>, Names),
        config: &NodeConfig,
        finders: Finders,
        predecessors: Predecessors,
    ) -> Self {
        let now = shared.now();
        let mut book =
            AddressBook::new(*swarm.local_peer_id(), config.keys.is_empty(), fastrand::u64(..));
        for peer in &config.peers {
            book.name(peer.clone(), now);
        }
        Self {
            swarm,
            names,
            book,
            contacts: Contacts::default(),
            finders,
            dials: HashMap::new(),
            asked: HashMap::new(),
            owed: HashMap::new(),
            unjudged: HashMap::new(),
            cut: VecDeque::new(),
            tokens: 0,
            wanted: None,
            searching: Searching::new(&config.discovery),
            next_sweep: now + SWEEP_INTERVAL,
            next_introduction: now + INTRODUCTION_INTERVAL,
            introductions: 0,
            key_fingerprints: config.key_fingerprints(),
            predecessors,
            departed: Departed::default(),
            processes: Processes::default(),
            unsure: VecDeque::new(),
            is_second: false,
            isolated: false,
            shared,
        }
    }

    /// Runs until the node is told to stop, then says good-bye.
    pub(super) async fn run(mut self, _ending: Ending) {
        let shared = Arc::clone(&self.shared);
        self.on_listeners_changed();
        self.feed(Input::Viewers(shared.viewer_count()));
        loop {
            if self.is_second {
                return self.give_way();
            }
            self.dial_due();
            self.tell_search();
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = shared.wakes.stop.notified() => break,
                () = shared.wakes.local.notified() => self.feed(Input::LocalChange),
                () = shared.wakes.waits.notified() => shared.waiting.take_new().into_iter().for_each(|wait| self.feed(wait)),
                () = shared.wakes.viewers.notified() => self.feed_viewers(),
                () = shared.wakes.isolation.notified() => self.follow_isolation(),
                () = at(deadline) => self.on_deadline(),
                finding = self.finders.found() => self.on_finding(finding),
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        }
        self.farewell().await;
    }

    /// Ends without a farewell, which would be one of the other process too.
    fn give_way(&self) {
        self.shared.commits.get().into_iter().for_each(crate::store::Commits::gives_way);
        self.shared.fail(NodeFailure::SecondProcess);
    }

    /// Hands one input to the replicator and does all that follows from it.
    pub(super) fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.step(input) {
                inputs.extend(self.perform(output));
            }
        }
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let now = self.shared.now();
        let mut guard = self.shared.write();
        let state = &mut *guard;
        if let Input::Viewers(viewers) = input {
            state.viewers_told = viewers;
        }
        state.replicator.handle(&mut state.replica, input, now);
        self.wanted = state.replicator.poll_timeout();
        std::iter::from_fn(|| state.replicator.poll_output()).collect()
    }

    fn feed_viewers(&mut self) {
        let viewers = self.shared.viewer_count();
        if self.shared.read().viewers_told != viewers {
            self.feed(Input::Viewers(viewers));
        }
    }

    /// Whichever comes first of what replicator, address book and sweep wait for.
    fn deadline(&self) -> Instant {
        let next_dial = self.book.next_due().filter(|_| !self.isolated);
        let next = [self.wanted, next_dial, self.search_due()]
            .into_iter()
            .flatten()
            .fold(self.next_sweep, Duration::min);
        Instant::from_std(self.shared.origin + next)
    }

    fn on_deadline(&mut self) {
        let now = self.shared.now();
        if self.wanted.is_some_and(|wanted| wanted <= now) {
            self.feed(Input::Timer);
        }
        self.on_search_due(now);
        if self.next_sweep <= now {
            let late = now - self.next_sweep >= SWEEP_INTERVAL;
            self.next_sweep = now + SWEEP_INTERVAL;
            self.sweep(now, late);
            let settled = self.predecessors.settle(&self.shared, now);
            if self.departed.settle(&self.shared, now) || settled {
                self.feed(Input::LocalChange);
            }
        }
    }
}

/// Returns at `deadline`, at once if it has passed: tokio's timer would add up to a millisecond.
async fn at(deadline: Instant) {
    if deadline > Instant::now() {
        sleep_until(deadline).await;
    }
}
