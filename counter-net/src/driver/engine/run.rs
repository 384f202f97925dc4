//! Waits for the first event, hands it to the part that it concerns, and feeds the replicator.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use counter_core::ExpiredBuckets;
use futures::StreamExt;
use libp2p::Swarm;
use tokio::time::{Instant, sleep_until};

use super::cut_peers::CutPeers;
use super::in_flight::InFlight;
use super::introductions::Introductions;
use super::{Driver, expiry};
use crate::config::{NodeConfig, SWEEP_INTERVAL};
use crate::discovery::DiscoveryTasks;
use crate::driver::address_book::AddressBook;
use crate::driver::incarnations::Incarnations;
use crate::driver::search::PeerSearch;
use crate::driver::sessions::{Processes, Sessions};
use crate::error::NodeFailure;
use crate::network::{Behaviour, ProtocolNames};
use crate::protocol::{Input, Output};
use crate::shared::{Shared, now_ms};

/// Marks the node as stopped when the driver's task ends, even if it was aborted before it ran.
pub(in crate::driver) struct DriverGuard(Arc<Shared>);

impl DriverGuard {
    pub(in crate::driver) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl Drop for DriverGuard {
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
    pub(in crate::driver) fn new(
        shared: Arc<Shared>,
        (swarm, names): (Swarm<Behaviour>, ProtocolNames),
        config: &NodeConfig,
        discovery_tasks: DiscoveryTasks,
        incarnations: Incarnations,
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
            sessions: Sessions::default(),
            processes: Processes::default(),
            in_flight: InFlight::default(),
            cut_peers: CutPeers::default(),
            introductions: Introductions::new(now),
            search: PeerSearch::new(&config.discovery, config.key_fingerprints()),
            discovery_tasks,
            incarnations,
            next_timer: None,
            next_sweep: now + SWEEP_INTERVAL,
            next_expiry: None,
            has_new_names: false,
            expired_buckets: ExpiredBuckets::default(),
            isolated: false,
            shared,
        }
    }

    /// Runs until the node is stopped, then says good-bye.
    pub(in crate::driver) async fn run(mut self, _ending: DriverGuard) {
        let shared = Arc::clone(&self.shared);
        self.on_listeners_changed();
        self.feed(Input::Viewers(shared.viewer_count()));
        loop {
            if self.incarnations.gives_way() {
                return self.give_way();
            }
            self.dial_due();
            self.tell_search();
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = shared.wakes.stop.notified() => break,
                () = shared.wakes.local.notified() => self.feed(Input::LocalChange),
                () = shared.wakes.waits.notified() => self.feed_waits(),
                () = shared.wakes.viewers.notified() => self.feed_viewers(),
                () = shared.wakes.isolation.notified() => self.follow_isolation(),
                () = at(deadline) => self.on_deadline(),
                report = self.discovery_tasks.next_report() => self.on_discovery(report),
                event = self.swarm.select_next_some() => self.on_event(event),
                () = tokio::task::yield_now(), if self.has_new_names => self.sort_some_names(),
            }
        }
        self.farewell().await;
    }

    /// Ends without a farewell, because members would attribute it to the other process.
    fn give_way(&self) {
        self.shared.commits.get().into_iter().for_each(crate::store::Commits::gives_way);
        self.shared.fail(NodeFailure::SecondProcess);
    }

    /// Hands one input to the replicator and carries out every output that follows.
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
        self.next_timer = state.replicator.poll_timeout();
        let now_ms = now_ms();
        let next_expiry = state.replica.next_expiry(now_ms);
        self.next_expiry = next_expiry.map(|at| expiry::due_at(at, now_ms, now));
        self.has_new_names = !state.has_sorted_names();
        std::iter::from_fn(|| state.replicator.poll_output()).collect()
    }

    fn sort_some_names(&mut self) {
        self.has_new_names = !self.shared.read_after_writers().sort_some_names();
    }

    fn feed_waits(&mut self) {
        let waits = self.shared.waiting.take_new();
        waits.into_iter().for_each(|wait| self.feed(wait));
    }

    fn feed_viewers(&mut self) {
        let viewers = self.shared.viewer_count();
        if self.shared.read().viewers_told != viewers {
            self.feed(Input::Viewers(viewers));
        }
    }

    /// The earliest time at which the replicator, a dial, the search, an expiry or the sweep is
    /// due.
    fn deadline(&self) -> Instant {
        let next_dial = self.book.next_due().filter(|_| !self.isolated);
        let next = [self.next_timer, next_dial, self.search.next_due(), self.next_expiry]
            .into_iter()
            .flatten()
            .fold(self.next_sweep, Duration::min);
        Instant::from_std(self.shared.origin + next)
    }

    fn on_deadline(&mut self) {
        let now = self.shared.now();
        if self.next_timer.is_some_and(|timer| timer <= now) {
            self.feed(Input::Timer);
        }
        if self.next_expiry.is_some_and(|expiry| expiry <= now) {
            self.expire_counters();
        }
        self.on_search_due(now);
        if self.next_sweep <= now {
            let late = now - self.next_sweep >= SWEEP_INTERVAL;
            self.next_sweep = now + SWEEP_INTERVAL;
            self.sweep(now, late);
            let settled = self.incarnations.settle(&self.shared, now);
            if self.drop_expired_buckets() || settled {
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
